/* scratch.c - a flag a block: whoever sets it has the block. There are as many as workers, so one
 * is free whenever somebody asks. */
#include "compute/scratch.h"

#include <stdatomic.h>
#include "base/alloc.h"

struct seg_scratch_block {
    atomic_flag taken;
    _Atomic(void *) memory; /* NULL: not made yet. Whoever gives another back looks at it too */
};

enum seg_status seg_scratch_init(struct seg_scratch *s, struct seg_pool *pool, size_t bytes)
{
    *s = (struct seg_scratch){ .bytes = bytes };
    const size_t n = pool != NULL ? seg_pool_size(pool) : 1;
    s->blocks = seg_calloc(n, sizeof *s->blocks);
    if (s->blocks == NULL) return SEG_ENOMEM;
    for (; s->n_blocks < n; s->n_blocks++)
        atomic_flag_clear(&s->blocks[s->n_blocks].taken);
    return SEG_OK;
}

void seg_scratch_release(struct seg_scratch *s)
{
    for (size_t i = 0; i < s->n_blocks; i++)
        seg_free(atomic_load_explicit(&s->blocks[i].memory, memory_order_relaxed));
    seg_free(s->blocks);
    *s = (struct seg_scratch){ 0 };
}

/* The memory of a block that is the caller's. NULL: none. */
static void *make(const struct seg_scratch *s, struct seg_scratch_block *b)
{
    void *memory = atomic_load_explicit(&b->memory, memory_order_relaxed);
    if (memory != NULL) return memory;
    memory = seg_alloc_aligned(s->bytes, 1);
    atomic_store_explicit(&b->memory, memory, memory_order_relaxed);
    return memory;
}

enum seg_status seg_scratch_make(struct seg_scratch *s)
{
    for (size_t i = 0; i < s->n_blocks; i++)
        if (make(s, &s->blocks[i]) == NULL) return SEG_ENOMEM;
    return SEG_OK;
}

void *seg_scratch_take(struct seg_scratch *s)
{
    size_t i = 0;
    while (atomic_flag_test_and_set_explicit(&s->blocks[i].taken, memory_order_acquire))
        i = (i + 1) % s->n_blocks;
    struct seg_scratch_block *b = &s->blocks[i];
    void *memory = make(s, b);
    if (memory == NULL) atomic_flag_clear_explicit(&b->taken, memory_order_release);
    return memory;
}

void seg_scratch_give(struct seg_scratch *s, void *block)
{
    size_t i = 0;
    while (atomic_load_explicit(&s->blocks[i].memory, memory_order_relaxed) != block)
        i++;
    atomic_flag_clear_explicit(&s->blocks[i].taken, memory_order_release);
}
