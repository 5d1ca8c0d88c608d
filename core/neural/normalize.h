/* normalize.h - the loops of batch and layer normalization (Ioffe and Szegedy 2015; Ba, Kiros and
 * Hinton 2016). normalize.c is compiled once for each instruction set, as layers.c is.
 * Both make y = gain * z + shift of a layer's product x, where z has mean 0 and variance 1: over
 * the rows of a batch for each unit, or over the units for each row. Tiles x, z, delta (m, 64) are
 * feature-major, aligned to 64 bytes; gain, shift (m). Pure functions over caller memory; sums run
 * in an order fixed by the shapes, and what is by row does not depend on the tile's other rows. */
#ifndef SEG_NEURAL_NORMALIZE_H
#define SEG_NEURAL_NORMALIZE_H

#include <stddef.h>

#define SEG_NORMALIZE_EPSILON 1e-5f /* added to every variance */

struct seg_normalize_kernels {
    const char *isa;

    /* Layer: x becomes z; inverse (64), or NULL, receives 1 / sqrt(variance + epsilon) of each row.
     * Sums over units run in ascending order. */
    void (*standardize)(float *x, size_t m, float *inverse);
    /* Batch: x becomes z = (x - mean) * inverse, mean and inverse (m). */
    void (*center)(float *x, size_t m, const float *mean, const float *inverse);
    /* out = gain * z + shift; out may be z. */
    void (*stretch)(const float *z, size_t m, const float *gain, const float *shift, float *out);
    /* Over the first n_rows rows, each unit's mean (m) and sum of squared distances to it (m). */
    void (*moments)(const float *x, size_t m, size_t n_rows, double *mean, double *spread);
    /* Over all rows, the sums of delta (m), which is the shift's gradient, and of delta * z (m),
     * the gain's. */
    void (*sums)(const float *delta, const float *z, size_t m, double *sum, double *sum_z);
    /* delta, the loss's derivative by y, becomes that by x. Layer: with inverse (64) of
     * standardize. */
    void (*standardize_back)(float *delta, const float *z, size_t m, const float *gain,
                             const float *inverse);
    /* Batch: with inverse (m), and the means over the batch's rows of delta and delta * z (m). Rows
     * from n_rows on become 0. */
    void (*center_back)(float *delta, const float *z, size_t m, size_t n_rows, const float *gain,
                        const float *inverse, const float *mean, const float *mean_z);
};

/* The variant for the instruction set that seg_kernels_get chose. Static storage. */
const struct seg_normalize_kernels *seg_normalize_kernels_get(void);
/* All that this build has and this machine runs, best first; NULL-terminated. For tests. */
const struct seg_normalize_kernels *const *seg_normalize_kernels_all(void);

#endif
