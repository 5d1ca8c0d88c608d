/* sampler.h - the order in which an epoch visits the rows, and the rows in that order.
 * A full shuffle of a large table would fetch every cell of every row from main memory. Instead the
 * tiles are shuffled, cut in windows that fit in the cache (but hold at least 64 tiles), and the
 * rows of a window are shuffled among themselves: rows sorted by class or by date are mixed all the
 * same, as every window draws from the whole table. A table of one window is shuffled fully.
 * Every row of a tile lies in lines of its own for each column, so a window is staged: its tiles
 * are read once, column by column, and their rows written where the shuffle wants them. A batch is
 * then one run of memory. Serves one team; the order depends on the shape of x, the seed and the
 * epoch. Nothing is allocated after seg_sampler_init. */
#ifndef SEG_NEURAL_SAMPLER_H
#define SEG_NEURAL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>
#include "base/rng.h"
#include "compute/tiles.h"
#include "neural/layers.h"
#include "neural/team.h"

struct seg_sampler {
    const struct seg_tiles *x; /* borrowed */
    const struct seg_layer_kernels *kernels;
    struct seg_rng rng; /* of this epoch */
    size_t n_tiles, n_max;
    size_t n_windows;
    size_t window;   /* next to be drawn */
    uint32_t *tiles; /* (n_tiles) order of the tiles */
    /* Drawn and not yet given out are n_rows rows from `next` on: */
    uint32_t *rows; /* their numbers */
    float *staged;  /* (rows, stride) their columns; some finite rows follow the last */
    size_t stride;  /* SEG_STAGED_STRIDE(columns); what is left of it is 0 */
    size_t next, n_rows;
    uint32_t *place; /* of the window's rows, tile by tile: where in `rows` */
    float *spare;    /* (stride) what a tile's lanes without a row are written to */
    size_t first;    /* of the window's tiles, while it is staged */
    size_t last;
};

/* n_max: rows of a full batch. SEG_ENOMEM. x has at least one row. */
enum seg_status seg_sampler_init(struct seg_sampler *s, const struct seg_tiles *x, size_t n_max);
void seg_sampler_release(struct seg_sampler *s);
/* Goes to the start of an epoch. */
void seg_sampler_start(struct seg_sampler *s, struct seg_rng rng);
/* The next rows of the epoch: how many, n_max until its last batch, 0 at its end. *ret_rows (n)
 * their numbers, *ret_staged (n, stride) their columns; up to 63 more rows and SEG_STAGED_SLACK
 * floats can be read and hold finite numbers. Both are valid until the next call. */
size_t seg_sampler_next(struct seg_sampler *s, struct seg_team *team, const uint32_t **ret_rows,
                        const float **ret_staged);

#endif
