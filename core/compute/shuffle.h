/* shuffle.h - seg_rng_shuffle for the serial work of a training, where the indices may be as many
 * as the rows of a table: gives way as it goes. */
#ifndef SEG_COMPUTE_SHUFFLE_H
#define SEG_COMPUTE_SHUFFLE_H

#include "base/rng.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

/* The order, and the state of rng after it, that seg_rng_shuffle gives. */
static inline void seg_shuffle(struct seg_rng *rng, uint32_t *index, size_t n)
{
    while (n > 1) {
        const size_t n_left = n > SEG_CHUNK_ROWS ? n - SEG_CHUNK_ROWS : 1;
        seg_rng_shuffle_tail(rng, index, n, n_left);
        n = n_left;
        seg_pool_give_way();
    }
}

#endif
