/* Memory for decoded messages: bounded, and freed all at once. */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>

struct arena {
    struct block *blocks;
    size_t used, limit;
};

void arena_init(struct arena *arena, size_t limit);
/* NULL when the limit is reached, or there is no memory. */
void *arena_alloc(struct arena *arena, size_t size);
/* Frees everything; the arena may be used again. */
void arena_clear(struct arena *arena);
/* Forgets what is in it, and keeps a block for what comes next. */
void arena_reuse(struct arena *arena);

#endif
