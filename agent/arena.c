#include "arena.h"

#include <stdlib.h>

enum { BLOCK_BYTES = 4096, ALIGNMENT = 16 };

struct block {
    struct block *next;
    size_t taken, room;
    _Alignas(ALIGNMENT) unsigned char memory[];
};

static void *arena_alloc(void *data, size_t size)
{
    struct arena *arena = data;
    if (size > arena->limit)
        return NULL;
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (arena->used + size > arena->limit)
        return NULL; /* protobuf-c gives up cleanly */
    struct block *block = arena->blocks;
    if (!block || block->room - block->taken < size) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        block = malloc(sizeof *block + room);
        if (!block)
            return NULL;
        block->taken = 0;
        block->room = room;
        block->next = arena->blocks;
        arena->blocks = block;
    }
    void *memory = block->memory + block->taken;
    block->taken += size;
    arena->used += size;
    return memory;
}

static void arena_free(void *data, void *memory)
{
    /* All goes at once in arena_clear. */
    (void)data;
    (void)memory;
}

void arena_init(struct arena *arena, size_t limit)
{
    arena->allocator = (ProtobufCAllocator){.alloc = arena_alloc, .free = arena_free, .allocator_data = arena};
    arena->blocks = NULL;
    arena->used = 0;
    arena->limit = limit;
}

void arena_clear(struct arena *arena)
{
    while (arena->blocks) {
        struct block *next = arena->blocks->next;
        free(arena->blocks);
        arena->blocks = next;
    }
    arena->used = 0;
}
