/* Messages as they travel: the encoding of Protocol Buffers, for the structures and descriptors that protoc-c
 * generates from agent.proto. It serves what that file uses: no floats, fixed-width or zigzag numbers, no groups. */
#ifndef WIRE_H
#define WIRE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"

/* The message, in memory of the arena; NULL if the bytes are not one, or the arena is too small. Fields that are not
 * known are passed over. A field that occurs twice is merged, as the encoding wants: numbers and strings by the last. */
void *wire_unpack(
    struct arena *arena, const ProtobufCMessageDescriptor *descriptor, const uint8_t *bytes, size_t length);

/* How many bytes a message takes. */
size_t wire_size(const ProtobufCMessage *message);

/* Writes that many. */
void wire_pack(const ProtobufCMessage *message, uint8_t *out);

#endif
