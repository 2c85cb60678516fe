/* Memory for decoded messages: bounded, and freed all at once. */
#ifndef ARENA_H
#define ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct arena {
    ProtobufCAllocator allocator; /* give this to protobuf-c */
    struct block *blocks;
    size_t used, limit;
};

void arena_init(struct arena *arena, size_t limit);
/* Frees everything; the arena may be used again. */
void arena_clear(struct arena *arena);

#endif
