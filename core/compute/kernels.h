/* kernels.h - the few fused loops that BLAS cannot do, on tiles of 64 rows.
 * kernels.c is compiled once for each instruction set (x86-64-v4, x86-64-v3, baseline; only the
 * last elsewhere), for the first with vectors of half its width as well, and the best one the
 * machine has is chosen by seg_kernels_get, or seg_kernels_brief.
 * Each row of a tile is a vector lane: its sums run over the columns in ascending order, so a row's
 * bits do not depend on the other rows or on where it stands. Pure functions over caller memory.
 * Tiles are aligned to 64 bytes. Shapes: x (d, 64), w (m, d) row-major. */
#ifndef SEG_COMPUTE_KERNELS_H
#define SEG_COMPUTE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define SEG_SPENT_ROOM 16u /* a vector, whatever the instruction set */

struct seg_kernels {
    const char *isa; /* "x86-64-v4", "x86-64-v4 in 256 bits", "x86-64-v3", "baseline" */

    /* out (m, 64): out[j][r] = bias[j] + sum_c w[j][c] * x[c][r]; bias (m) may be NULL. The layer,
     * the projection. */
    void (*affine)(const float *x, size_t d, const float *w, const float *bias, size_t m,
                   float *out);
    /* affine for the first n_rows (1..64) rows alone, with the same bits; out has anything in the
     * lanes of the others. One row costs a quarter of a tile and less. */
    void (*affine_few)(const float *x, size_t d, const float *w, const float *bias, size_t m,
                       size_t n_rows, float *out);
    /* out (k, 64): squared Euclidean distances to c (k, d), with the bits that nearest gives. */
    void (*squares)(const float *x, size_t d, const float *c, size_t k, float *out);
    /* Nearest of k centroids (k, d) by squared Euclidean distance, ties to the lower index: label
     * (64), dist2 (64) the distance to it, second2 (64, may be NULL) to the next one (FLT_MAX if k
     * = 1). Distances are sums of squared differences, not expanded: no cancellation.
     * A row without a distance below FLT_MAX (NaN, overflow) has label 0 and FLT_MAX twice. */
    void (*nearest)(const float *x, size_t d, const float *c, size_t k, uint32_t *label,
                    float *dist2, float *second2);
    /* out (64): squared distance of each row to centroid label (64) of c, with the bits that
     * nearest gives. */
    void (*squares_to)(const float *x, size_t d, const float *c, const uint32_t *label, float *out);
    /* out (64) = sqrt(second2) (1 - widen) - sqrt(dist2) (1 + widen) - tiny, within 2^-22 of the
     * larger root. How much nearer the nearest centroid is than the next. */
    void (*margin)(const float *dist2, const float *second2, float widen, float tiny, float *out);
    /* Bit r: not slack[r] > spent[label[r]], slack and label (64, aligned as tiles), spent
     * (m, room for SEG_SPENT_ROOM). least: the least that one of the 64 has left, slack - spent,
     * less 2^-20 of the slack. */
    uint64_t (*spent_rows)(const float *slack, const uint32_t *label, const float *spent, size_t m,
                           float *least);
    /* Takes a tile of 64 rows into what is known of the columns: sum (d) += x - shift and square
     * (d) += (x - shift)^2 in float64, largest (d) = the largest |x|. */
    void (*survey)(const float *x, size_t d, const float *shift, double *sum, double *square,
                   float *largest);
    /* In place over n floats at any address; NaN stays NaN but in clamp. exp is accurate to 2 ulp
     * on [-87, 88] and saturates outside. */
    void (*relu)(float *x, size_t n);
    /* NaN becomes 0, everything else comes within +-max. */
    void (*clamp)(float *x, size_t n, float max);
    void (*exp)(float *x, size_t n);
    void (*sigmoid)(float *x, size_t n);
    void (*tanh)(float *x, size_t n);
    void (*gelu)(float *x, size_t n); /* tanh form, Hendrycks and Gimpel 2016 */
    /* x (m, 64) logits to probabilities, column by column, the row maximum subtracted. */
    void (*softmax)(float *x, size_t m);
    /* Of x (m, 64), m >= 1: largest (64) = the largest of each row's m, index (64) = which one it
     * is, the lower at a tie. NaN is passed over, unless it is the first. Outputs at any address.
     */
    void (*argmax)(const float *x, size_t m, uint32_t *index, float *largest);
    /* Bit r of rows[c], of x (n_cols, 64): x[c][r] is NaN. */
    void (*nan_rows)(const float *x, size_t n_cols, uint64_t *rows);
    /* Bit r of a column x (64): the bits of x[r] are those of code. */
    uint64_t (*code_rows)(const float *x, uint32_t code);
    /* Transposes a tile x (d, 64) to rows out (64, d), and back. */
    void (*to_rows)(const float *x, size_t d, float *out);
    void (*from_rows)(const float *rows, size_t d, float *out);
    /* from_rows for 64 rows that lie anywhere, row[r] the address of the first of d cells. */
    void (*from_each)(const float *const *row, size_t d, float *out);
};

/* The best kernels this machine runs. Chosen once per call by cpuid; cheap, callers may keep the
 * pointer. */
const struct seg_kernels *seg_kernels_get(void);
/* The best ones for a few microseconds of work between other work, as scoring a request is: the
 * same bits. Processors of Intel slow down for everything that runs on them for a while after
 * products of 512 bits, which costs more than 256 bits do. */
const struct seg_kernels *seg_kernels_brief(void);
/* All that this build has and this machine can run, those of seg_kernels_get first;
 * NULL-terminated. For tests. */
const struct seg_kernels *const *seg_kernels_all(void);
/* How many of this build's, the best ones, this machine cannot run. Other loops that are built for
 * the same instruction sets and listed best first skip as many. */
size_t seg_kernels_n_skipped(void);

#endif
