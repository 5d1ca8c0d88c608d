/* screen.h - nearest centroids by products of 16-bit integers, at twice the rate of floats.
 * Where that cannot tell it says so, and kernels->nearest has to be asked. Whoever has a struct
 * seg_screen to himself sets it; any number may read it then. */
#ifndef SEG_COMPUTE_SCREEN_H
#define SEG_COMPUTE_SCREEN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/status.h"
#include "compute/matrix.h"

/* The length of a vector as a code (of the longest, for centroids): two of them
 * multiply to less than 2^31 by Cauchy and Schwarz, and elements fit in 16 bits, with room for
 * rounding. */
#define SEG_SCREEN_LENGTH 32256.0f

/* Centroids as integers around a centre. */
struct seg_screen {
    size_t d, k, n_pairs; /* n_pairs = ceil(d / 2) */
    float *centre;        /* (d) what is subtracted from rows and centroids */
    int32_t *code;        /* (k, n_pairs) two 16-bit integers each: (c - centre) / unit */
    float *norm2;         /* (k) squared length of c - centre */
    float unit;           /* what 1 in a code stands for */
    float length;         /* of the longest c - centre */
    float off;            /* the longest |c - centre - unit * code| */
    size_t d_padded;      /* d, rounded up to whole vectors */
    float *padded;        /* (k, d_padded) the centroids, then zeros */
    float widen;          /* relative error that kernels->nearest may make in a distance */
};

#define SEG_SCREEN_PAD 16u /* cells in the widest vector */
#define SEG_NEAR       8u  /* centroids in a list of near ones */
#define SEG_FEW        4u  /* that among_few takes at most */

struct seg_screen_kernel {
    const char *isa;
    /* The label (64) that kernels->nearest gives to the rows of a tile x (d, 64) where margin (64)
     * > 0, and that much nearer the row is to it than to any other, at least. Elsewhere (margin <=
     * 0 or NaN) it may be another. Distances are expanded, with a bound on the error. code
     * (n_pairs, 64) is scratch, aligned as tiles are. near (64, SEG_NEAR), unless NULL: the
     * centroids that seem nearest, in any order; every other one is at least rest (64) away. k must
     * be more than SEG_NEAR then. */
    void (*screen)(const struct seg_screen *s, const float *x, int32_t *code, uint32_t *label,
                   float *margin, uint16_t *near, float *rest);
    /* dist2 (n, SEG_NEAR): squared distances, by differences, of n rows, each padded with zeros to
     * d_padded columns and stride cells from the next, to the centroids of which near[row] are the
     * SEG_NEAR numbers. rows is aligned as tiles are, stride a multiple of SEG_SCREEN_PAD. */
    void (*among)(const struct seg_screen *s, const float *rows, size_t stride, unsigned n,
                  const uint16_t *const *near, float *dist2);
    /* The same to the centroids few (n_few), 1..SEG_FEW, for every row; the other cells of dist2
     * (n, SEG_NEAR) receive 0. */
    void (*among_few)(const struct seg_screen *s, const float *rows, size_t stride, unsigned n,
                      const uint16_t *few, unsigned n_few, float *dist2);
};

/* The best one for this machine; NULL where it has no such products. */
const struct seg_screen_kernel *seg_screen_kernel_get(void);
/* All that this build has, best first, that this machine can run; NULL-terminated. For tests. */
const struct seg_screen_kernel *const *seg_screen_kernels_all(void);

/* For k centroids of d columns, around centre (d), which is copied. SEG_ENOMEM. */
enum seg_status seg_screen_init(struct seg_screen *s, size_t k, size_t d, const double *centre);
void seg_screen_release(struct seg_screen *s);
/* Takes the centroids c (k, d), finite. */
void seg_screen_set(struct seg_screen *s, const struct seg_matrix *c);
/* Whether screening a tile costs less than kernels->nearest. */
bool seg_screen_pays(size_t k, size_t d);

#endif
