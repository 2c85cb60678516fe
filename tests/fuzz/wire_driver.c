/* Reads messages and writes what became of them: by wire.c, for a comparison with another implementation.
 *
 * In: the number of a type, a length (both 32 bits, this machine's order), the bytes. Out: 0, or 1, a length and the
 * message as it is written again. */
#include <stdio.h>
#include <stdlib.h>

#include "agent.pb-c.h"
#include "arena.h"
#include "bounds.h"
#include "wire.h"

static const ProtobufCMessageDescriptor *const types[] = {
    &kata__create_container_request__descriptor,
    &kata__stats_container_response__descriptor,
    &kata__response__descriptor,
    &kata__update_container_request__descriptor,
};

static void put(uint32_t number)
{
    fwrite(&number, sizeof number, 1, stdout);
}

int main(void)
{
    uint32_t head[2];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        /* Exactly as long as it is, so that the sanitizer sees a byte too far. */
        uint8_t *bytes = malloc(head[1]);
        if (fread(bytes, 1, head[1], stdin) != head[1])
            return 1;
        struct arena arena;
        arena_init(&arena, MAX_MESSAGE_MEMORY);
        ProtobufCMessage *message = wire_unpack(&arena, types[head[0]], bytes, head[1]);
        put(message != NULL);
        if (message) {
            size_t size = wire_size(message);
            uint8_t *out = malloc(size);
            wire_pack(message, out);
            put((uint32_t)size);
            fwrite(out, 1, size, stdout);
            free(out);
        }
        fflush(stdout);
        arena_clear(&arena);
        free(bytes);
    }
    return 0;
}
