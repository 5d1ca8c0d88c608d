/* sampler.h - the order in which an epoch visits the rows.
 * A full shuffle of a large table would fetch every cell of every row from main memory. Instead the
 * tiles are shuffled, cut in windows that fit in the cache (but hold at least 64 tiles), and the
 * rows of a window are shuffled among themselves: rows sorted by class or by date are mixed all the
 * same, as every window draws from the whole table. A table of one window is shuffled fully.
 * Serves one thread; the order depends on the shape of x, the seed and the epoch. */
#ifndef SEG_NEURAL_SAMPLER_H
#define SEG_NEURAL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>
#include "base/rng.h"
#include "compute/tiles.h"

struct seg_sampler {
    const struct seg_tiles *x; /* borrowed */
    struct seg_rng rng;        /* of this epoch */
    size_t n_tiles;
    size_t n_windows;
    size_t window;   /* next to be drawn */
    uint32_t *tiles; /* (n_tiles) order of the tiles */
    uint32_t *rows;  /* the rows of the current window, shuffled */
    size_t n_rows;   /* in it */
    size_t next;     /* of them */
};

/* SEG_ENOMEM. x has at least one row. */
enum seg_status seg_sampler_init(struct seg_sampler *s, const struct seg_tiles *x);
void seg_sampler_release(struct seg_sampler *s);
/* Goes to the start of an epoch. */
void seg_sampler_start(struct seg_sampler *s, struct seg_rng rng);
/* The next at most n_max rows of the epoch into rows; how many, 0 at its end. */
size_t seg_sampler_next(struct seg_sampler *s, size_t n_max, uint32_t *rows);

#endif
