#include "arena.h"

#include <stdlib.h>

enum { BLOCK_BYTES = 4096, ALIGNMENT = 16 };

struct block {
    struct block *next;
    size_t taken, room;
    _Alignas(ALIGNMENT) unsigned char memory[];
};

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > arena->limit)
        return NULL;
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (arena->used + size > arena->limit)
        return NULL;
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

void arena_init(struct arena *arena, size_t limit)
{
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

/* malloc gives the page of the last block back to the kernel, and takes another one for the next call. */
void arena_reuse(struct arena *arena)
{
    struct block *kept = arena->blocks;
    while (kept && kept->room != BLOCK_BYTES)
        kept = kept->next;
    while (arena->blocks) {
        struct block *next = arena->blocks->next;
        if (arena->blocks != kept)
            free(arena->blocks);
        arena->blocks = next;
    }
    if (kept) {
        kept->next = NULL;
        kept->taken = 0;
    }
    arena->blocks = kept;
    arena->used = 0;
}
