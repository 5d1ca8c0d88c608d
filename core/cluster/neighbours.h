/* neighbours.h - the nearest rows of every row, and means over them.
 * Exhaustive: every row is measured against every other, n^2 * d operations; its callers bound the
 * rows. Repeated means over neighbours are a diffusion along the neighbourhood graph (Coifman and
 * Lafon 2006): rows of one manifold move towards each other, rows of two do not. Pure functions;
 * any thread may call. Same data gives the same bits, whatever the worker count: a row's numbers
 * are made by one task. */
#ifndef SEG_CLUSTER_NEIGHBOURS_H
#define SEG_CLUSTER_NEIGHBOURS_H

#include "base/progress.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

#define SEG_NEIGHBOURS_MAX 64u

struct seg_neighbours {
    size_t n_rows;
    uint32_t n;     /* neighbours of each row; fewer than wanted only if there are no more rows */
    uint32_t *rows; /* (n_rows, n) nearest first, ties to the lower row; never the row itself */
};

/* x (n_rows, d), finite, at most UINT32_MAX rows; n at most SEG_NEIGHBOURS_MAX, 0 finds none.
 * SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status seg_neighbours_find(struct seg_pool *pool, const struct seg_tiles *x, uint32_t n,
                                    const struct seg_progress *progress,
                                    struct seg_neighbours *ret_nb);
void seg_neighbours_release(struct seg_neighbours *nb);

/* Each row of `to` becomes the mean of that row and its neighbours in `from`, summed in float64.
 * from, to (n_rows, m), not the same. */
void seg_neighbours_mean(struct seg_pool *pool, const struct seg_neighbours *nb,
                         const struct seg_tiles *from, struct seg_tiles *to);

#endif
