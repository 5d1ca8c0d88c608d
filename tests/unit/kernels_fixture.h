/* kernels_fixture.h - tiles and weights for the tests of kernels, every instruction set that this
 * machine runs, and canaries behind what may be written. Include after cmocka.h. */
#ifndef TESTS_UNIT_KERNELS_FIXTURE_H
#define TESTS_UNIT_KERNELS_FIXTURE_H

#include <stddef.h>
#include <stdint.h>
#include "base/rng.h"
#include "compute/kernels.h"

#define ROWS   64u
#define D_MAX  130u
#define M_MAX  40u
#define CANARY 12345.0f

/* Buffers have a tile more than is used, for canaries. */
static _Alignas(64) float x[(D_MAX + 1) * ROWS];
static const size_t WIDTHS[] = { 1, 2, 3, 4, 7, 10, 16, 20, 33, 64, D_MAX };
static const size_t COUNTS[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17, 24, 31, M_MAX };

#define N_OF(array) (sizeof(array) / sizeof *(array))

#define FOR_EACH_ISA(k)                                                                            \
    for (const struct seg_kernels *const *at = seg_kernels_all(), *k; (k = *at) != NULL; at++)

static inline void fill(struct seg_rng *rng, float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = seg_rng_float(rng) * 4 - 2;
}

static inline void assert_canaries(const float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(p[i] == CANARY);
}

static inline void set_canaries(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = CANARY;
}

/* x (d, 64), c (k, d): squared distance of row r to centroid j in float64. */
static inline double distance2(size_t d, const float *c, size_t j, size_t r)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++) {
        const double diff = (double)x[i * ROWS + r] - c[j * d + i];
        sum += diff * diff;
    }
    return sum;
}

#endif
