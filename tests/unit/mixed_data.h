/* mixed_data.h - rows of numbers and categories for the tests of mixed.h and prototypes.h, with the
 * naive float64 twin of their distance. */
#ifndef TESTS_UNIT_MIXED_DATA_H
#define TESTS_UNIT_MIXED_DATA_H

#include "base/rng.h"
#include "cluster/mixed.h"
#include "cluster_data.h"

/* Columns of the rows below: numbers and categories in turn, so that no kind is contiguous. */
#define MIXED_COLS 7u
static const uint32_t MIXED_CODES[MIXED_COLS] = { 0, 3, 0, 5, 2, 0, 40 };

static inline struct seg_mixed mixed_space(const uint32_t *n_codes, uint32_t n_cols, float weight)
{
    struct seg_mixed m;
    assert_int_equal(seg_mixed_init(&m, n_codes, n_cols), SEG_OK);
    m.weight = weight;
    return m;
}

/* Row-major rows (n, MIXED_COLS) in n_groups groups that agree in numbers and in most categories.
 * seg_free them. */
static inline float *mixed_rows(size_t n, uint32_t n_groups, uint64_t seed)
{
    struct seg_rng rng = seg_rng_make(seed, 0), noise = seg_rng_make(seed, 1);
    float *x = seg_alloc(n * MIXED_COLS, sizeof *x);
    assert_non_null(x);
    for (size_t r = 0; r < n; r++) {
        const uint32_t group = (uint32_t)seg_rng_below(&rng, n_groups);
        for (uint32_t c = 0; c < MIXED_COLS; c++) {
            const double center = (double)((group * 7 + c * 3) % 5);
            if (MIXED_CODES[c] == 0)
                x[r * MIXED_COLS + c] = (float)(center + seg_rng_normal(&noise));
            else if (seg_rng_below(&noise, 4) == 0)
                x[r * MIXED_COLS + c] = (float)seg_rng_below(&noise, MIXED_CODES[c]);
            else
                x[r * MIXED_COLS + c] = (float)((group * 5 + c) % MIXED_CODES[c]);
        }
    }
    return x;
}

/* The twin. n_codes 0 is a number. */
static inline double mixed_dist2(const float *a, const float *b, const uint32_t *n_codes,
                                 size_t n_cols, double weight)
{
    double sum = 0;
    for (size_t c = 0; c < n_cols; c++) {
        const double diff = (double)a[c] - (double)b[c];
        sum += n_codes[c] == 0 ? diff * diff : diff != 0 ? weight : 0;
    }
    return sum;
}

#endif
