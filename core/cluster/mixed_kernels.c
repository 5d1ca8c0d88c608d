/* mixed_kernels.c - the loops of mixed.h, compiled once for each instruction set (SEG_ISA).
 * Rows are lanes, as in compute/kernels.c: a block of prototypes times a block of rows stands in
 * registers, first the sums of the numbers, then the counts of categories that differ. Counts are
 * whole numbers, so that the weight is applied, and rounded, once. */
#include "cluster/mixed.h"

#include <float.h>
#include <string.h>
#include "compute/kernels_lanes.h"

/* Prototypes in a block: counts of categories take as many registers as sums do. */
#define OUTS 4u

/* Squared distances of a block of rows of x to n_outs prototypes c. n_outs is a constant at each
 * call, so that the arrays become registers. */
INLINE void sums(const struct seg_mixed *m, const float *x, const float *c, vfloat sum[OUTS][VECS],
                 const size_t n_outs)
{
    const size_t d = m->n_cols;
    vint differ[OUTS][VECS];
    UNROLL
    for (size_t j = 0; j < n_outs; j++) {
        UNROLL
        for (size_t v = 0; v < VECS; v++) {
            sum[j][v] = splat(0.0f);
            differ[j][v] = splat_int(0);
        }
    }
    for (size_t i = 0; i < m->n_numbers; i++) {
        const size_t column = m->numbers[i];
        vfloat xi[VECS];
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            xi[v] = *(const vfloat *)(x + column * ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            const vfloat center = splat(c[j * d + column]);
            UNROLL
            for (size_t v = 0; v < VECS; v++) {
                const vfloat diff = xi[v] - center;
                sum[j][v] += diff * diff;
            }
        }
    }
    for (size_t i = 0; i < m->n_categories; i++) {
        const size_t column = m->categories[i];
        vfloat xi[VECS];
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            xi[v] = *(const vfloat *)(x + column * ROWS + v * LANES);
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            const vfloat mode = splat(c[j * d + column]);
            UNROLL
            for (size_t v = 0; v < VECS; v++)
                differ[j][v] -= (vint)(xi[v] != mode); /* true is -1 */
        }
    }
    UNROLL
    for (size_t j = 0; j < n_outs; j++) {
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            sum[j][v] += __builtin_convertvector(differ[j][v], vfloat) * m->weight;
    }
}

/* Runs `call(n)` with the constant n = n_outs. */
#define WITH_OUTS(n_outs, call)                                                                    \
    switch (n_outs) {                                                                              \
    case 1: call(1); break;                                                                        \
    case 2: call(2); break;                                                                        \
    case 3: call(3); break;                                                                        \
    default: call(OUTS); break;                                                                    \
    }

INLINE void squares_block(const struct seg_mixed *m, const float *x, const float *c, float *out,
                          const size_t n_outs)
{
    vfloat sum[OUTS][VECS];
    sums(m, x, c, sum, n_outs);
    UNROLL
    for (size_t j = 0; j < n_outs; j++) {
        UNROLL
        for (size_t v = 0; v < VECS; v++)
            *(vfloat *)(out + j * ROWS + v * LANES) = sum[j][v];
    }
}

static void squares(const struct seg_mixed *m, const float *x, const float *c, size_t k, float *out)
{
    for (size_t row = 0; row < ROWS; row += BLOCK_ROWS) {
        size_t n_outs;
        for (size_t j = 0; j < k; j += n_outs) {
            n_outs = k - j < OUTS ? k - j : OUTS;
#define CALL(n) squares_block(m, x + row, c + j * m->n_cols, out + j * ROWS + row, n)
            WITH_OUTS(n_outs, CALL)
#undef CALL
        }
    }
}

/* The two nearest prototypes so far of a block of rows. */
struct best {
    vfloat dist2[VECS];
    vfloat second2[VECS];
    vint label[VECS];
};

INLINE void nearest_block(const struct seg_mixed *m, const float *x, const float *c, size_t first,
                          struct best *best, const size_t n_outs)
{
    vfloat sum[OUTS][VECS];
    sums(m, x, c, sum, n_outs);
    UNROLL
    for (size_t v = 0; v < VECS; v++) {
        UNROLL
        for (size_t j = 0; j < n_outs; j++) {
            const vfloat now = sum[j][v], dist2 = best->dist2[v], second2 = best->second2[v];
            const vfloat label = (vfloat)splat_int((int32_t)(first + j));
            const vmask is_nearer = less(now, dist2); /* not so at a tie: the lower stays */
            const vfloat loser = blend(is_nearer, dist2, now);
            best->second2[v] = blend(less(loser, second2), loser, second2);
            best->dist2[v] = blend(is_nearer, now, dist2);
            best->label[v] = (vint)blend(is_nearer, label, (vfloat)best->label[v]);
        }
    }
}

static void nearest(const struct seg_mixed *m, const float *x, const float *c, size_t k,
                    uint32_t *label, float *dist2, float *second2)
{
    for (size_t row = 0; row < ROWS; row += BLOCK_ROWS) {
        struct best best;
        for (size_t v = 0; v < VECS; v++) {
            best.dist2[v] = best.second2[v] = splat(FLT_MAX);
            best.label[v] = splat_int(0);
        }
        size_t n_outs;
        for (size_t j = 0; j < k; j += n_outs) {
            n_outs = k - j < OUTS ? k - j : OUTS;
#define CALL(n) nearest_block(m, x + row, c + j * m->n_cols, j, &best, n)
            WITH_OUTS(n_outs, CALL)
#undef CALL
        }
        memcpy(label + row, best.label, sizeof best.label);
        memcpy(dist2 + row, best.dist2, sizeof best.dist2);
        memcpy(second2 + row, best.second2, sizeof best.second2);
    }
}

extern const struct seg_mixed_kernels ISA_SYMBOL(seg_mixed_kernels_);
const struct seg_mixed_kernels ISA_SYMBOL(seg_mixed_kernels_) = { .squares = squares,
                                                                  .nearest = nearest };
