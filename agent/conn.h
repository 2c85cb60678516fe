/* Connections that speak ttrpc, and the calls that wait for an answer on them. */
#ifndef CONN_H
#define CONN_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

/* google.rpc.Code, as far as the agent uses it. */
enum status {
    STATUS_INVALID_ARGUMENT = 3,
    STATUS_DEADLINE_EXCEEDED = 4,
    STATUS_NOT_FOUND = 5,
    STATUS_RESOURCE_EXHAUSTED = 8,
    STATUS_UNIMPLEMENTED = 12,
    STATUS_INTERNAL = 13,
    STATUS_UNAVAILABLE = 14,
};

/* A request that is to be answered once, now or later. A value: copy it and keep it. */
struct call {
    uint64_t connection; /* never used twice, so an answer to a closed connection goes nowhere */
    uint32_t stream;
    int64_t deadline_ms; /* on the clock of now_ms(); 0: none */
};

/* Takes over a connected socket. */
void conn_add_socket(int fd);
/* Takes over an open virtio-serial port, whose host may come and go. "lost" is called if the port itself goes. */
void conn_add_serial(int fd, void (*lost)(void));

/* The host still waits for this answer. */
bool call_alive(const struct call *call);
void call_reply(const struct call *call, const ProtobufCMessage *response);
void call_reply_empty(const struct call *call);
void call_fail(const struct call *call, enum status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Called once, when this answer has left and the host has hung up, or after a short time. */
void call_when_sent(const struct call *call, void (*then)(void));

#endif
