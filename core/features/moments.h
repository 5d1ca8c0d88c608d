/* moments.h - mean and population variance in float64, in blocks of 64 values that are combined in
 * order (Chan, Golub, LeVeque 1983): one pass, no cancellation, the same bits however the work is
 * shared. Private to core/features. */
#ifndef SEG_FEATURES_MOMENTS_H
#define SEG_FEATURES_MOMENTS_H

#include <math.h>
#include <stddef.h>
#include "compute/worker_pool.h"

#define SEG_MOMENTS_BLOCK 64u

struct seg_moments {
    double n;
    double mean;
    double m2; /* sum of squared distances from the mean */
};

/* Adds x (n), n in 1..SEG_MOMENTS_BLOCK. Four sums instead of one let the additions overlap. */
static inline void seg_moments_add(struct seg_moments *m, const double *x, size_t n)
{
    double sums[4] = { 0 }, squares[4] = { 0 };
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t j = 0; j < 4; j++)
            sums[j] += x[i + j];
    for (; i < n; i++)
        sums[0] += x[i];
    const double mean = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / (double)n;
    for (i = 0; i + 4 <= n; i += 4)
        for (size_t j = 0; j < 4; j++)
            squares[j] += (x[i + j] - mean) * (x[i + j] - mean);
    for (; i < n; i++)
        squares[0] += (x[i] - mean) * (x[i] - mean);
    const double m2 = (squares[0] + squares[1]) + (squares[2] + squares[3]);

    const double total = m->n + (double)n;
    const double delta = mean - m->mean;
    m->mean += delta * ((double)n / total);
    m->m2 += m2 + delta * delta * (m->n * (double)n / total);
    m->n = total;
}

static inline double seg_moments_variance(const struct seg_moments *m)
{
    return m->n > 0 ? m->m2 / m->n : 0;
}

static inline double seg_moments_sd(const struct seg_moments *m)
{
    return sqrt(seg_moments_variance(m));
}

/* Of x (n). */
static inline struct seg_moments seg_moments_of(const float *x, size_t n)
{
    struct seg_moments m = { 0 };
    double block[SEG_MOMENTS_BLOCK];
    for (size_t i = 0; i < n; i += SEG_MOMENTS_BLOCK) {
        const size_t len = n - i < SEG_MOMENTS_BLOCK ? n - i : SEG_MOMENTS_BLOCK;
        if (i % (64 * SEG_MOMENTS_BLOCK) == 0) seg_pool_give_way();
        for (size_t j = 0; j < len; j++)
            block[j] = (double)x[i + j];
        seg_moments_add(&m, block, len);
    }
    return m;
}

#endif
