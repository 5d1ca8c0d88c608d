/* scratch.c - a flag a block: whoever sets it has the block. There are as many as workers, so one
 * is free whenever somebody asks. */
#include "compute/scratch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include "base/alloc.h"

struct seg_scratch_block {
    atomic_flag taken;
    void *memory; /* NULL: not made yet */
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
        seg_free(s->blocks[i].memory);
    seg_free(s->blocks);
    *s = (struct seg_scratch){ 0 };
}

static bool make(const struct seg_scratch *s, struct seg_scratch_block *b)
{
    if (b->memory == NULL) b->memory = seg_alloc_aligned(s->bytes, 1);
    return b->memory != NULL;
}

enum seg_status seg_scratch_make(struct seg_scratch *s)
{
    for (size_t i = 0; i < s->n_blocks; i++)
        if (!make(s, &s->blocks[i])) return SEG_ENOMEM;
    return SEG_OK;
}

void *seg_scratch_take(struct seg_scratch *s)
{
    size_t i = 0;
    while (atomic_flag_test_and_set_explicit(&s->blocks[i].taken, memory_order_acquire))
        i = (i + 1) % s->n_blocks;
    struct seg_scratch_block *b = &s->blocks[i];
    if (!make(s, b)) atomic_flag_clear_explicit(&b->taken, memory_order_release);
    return b->memory;
}

void seg_scratch_give(struct seg_scratch *s, void *block)
{
    size_t i = 0;
    while (s->blocks[i].memory != block)
        i++;
    atomic_flag_clear_explicit(&s->blocks[i].taken, memory_order_release);
}
