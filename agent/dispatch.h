/* From a ttrpc request to the function that serves it. */
#ifndef DISPATCH_H
#define DISPATCH_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "agent.pb-c.h"
#include "conn.h"

struct method {
    const char *name;
    const ProtobufCMessageDescriptor *request;
    /* Answers the call or keeps a copy of it to answer later. The request is valid until it returns. */
    void (*serve)(const struct call *call, const void *request);
};

struct service {
    const char *name; /* as in ttrpc's Request.service */
    const struct method *methods;
    size_t count;
};

/* Decodes a frame's body; valid until the next call. NULL: it is none, or too large. */
const Kata__Request *dispatch_unpack(const uint8_t *bytes, size_t length);
/* Serves a request, or refuses what is unknown or cannot be decoded. */
void dispatch(const struct call *call, const Kata__Request *request);

#endif
