/* cluster_data.h - the rows that the tests of clusters share; tests/reference/kmeans.py draws the
 * same ones. */
#ifndef TESTS_UNIT_CLUSTER_DATA_H
#define TESTS_UNIT_CLUSTER_DATA_H

#include <stddef.h>
#include <stdint.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "compute/tiles.h"

/* Row i is noise in [-1, 1) around a corner: column c of group i % n_groups is 3 * ((group >> c) &
 * 1). Row-major, new; NULL never, as tests stop before. */
static inline float *group_rows(size_t n_rows, uint32_t n_cols, uint32_t n_groups, float offset)
{
    float *x = seg_alloc(n_rows * n_cols, sizeof *x);
    uint32_t state = 12345;
    assert_non_null(x);
    for (size_t i = 0; i < n_rows; i++)
        for (uint32_t c = 0; c < n_cols; c++) {
            state = 1664525u * state + 1013904223u;
            float corner = c < 32 ? (float)(3 * (((i % n_groups) >> c) & 1)) : 0;
            x[i * n_cols + c] = (float)(state >> 8) / 8388608.0f - 1 + corner + offset;
        }
    return x;
}

static inline struct seg_tiles tiles_of(const float *x, size_t n_rows, uint32_t n_cols)
{
    struct seg_tiles t;
    assert_int_equal(seg_tiles_from_rows(&t, x, n_rows, n_cols), SEG_OK);
    return t;
}

static inline struct seg_tiles group_tiles(size_t n_rows, uint32_t n_cols, uint32_t n_groups,
                                           float offset)
{
    float *x = group_rows(n_rows, n_cols, n_groups, offset);
    struct seg_tiles t = tiles_of(x, n_rows, n_cols);
    seg_free(x);
    return t;
}

/* 100 rows of 3 columns: five points, each 20 times. */
static inline struct seg_tiles five_point_tiles(void)
{
    float x[100][3], *five = group_rows(5, 3, 5, 0);
    for (size_t r = 0; r < 100; r++)
        for (size_t c = 0; c < 3; c++)
            x[r][c] = five[(r % 5) * 3 + c];
    seg_free(five);
    return tiles_of(x[0], 100, 3);
}

/* 2,000 rows of 2 columns: one cluster of 1,991 and nine of one row each, far away. */
static inline struct seg_tiles hermit_tiles(void)
{
    float *x = group_rows(2000, 2, 1, 0);
    for (size_t j = 0; j < 9; j++)
        x[j * 400] = 1000 * (float)(j + 1);
    struct seg_tiles t = tiles_of(x, 2000, 2);
    seg_free(x);
    return t;
}

/* n_rows points of a normal distribution around group i % n_centers. */
static inline struct seg_tiles normal_tiles(size_t n_rows, uint32_t d, const float *centers,
                                            size_t n_centers)
{
    struct seg_rng rng = seg_rng_make(3, 0);
    float *x = seg_alloc(n_rows * d, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n_rows; i++)
        for (size_t c = 0; c < d; c++)
            x[i * d + c] =
                (float)seg_rng_normal(&rng) + (n_centers > 0 ? centers[i % n_centers * d + c] : 0);
    struct seg_tiles t = tiles_of(x, n_rows, d);
    seg_free(x);
    return t;
}

#endif
