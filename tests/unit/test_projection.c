/* test_projection.c - the axes are the leading eigenvectors, for few columns and for many. Figures
 * of numpy: tests/reference/projection.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "compute/gemm.h"
#include "cluster_data.h"
#include "explain/projection.h"

static struct seg_projection fit(struct seg_pool *pool, const struct seg_tiles *x, size_t n_points)
{
    struct seg_projection p;
    assert_int_equal(seg_projection_fit(pool, x, n_points, 5, &p), SEG_OK);
    return p;
}

static double dot(const float *a, const float *b, size_t d)
{
    double sum = 0;
    for (size_t c = 0; c < d; c++)
        sum += (double)a[c] * (double)b[c];
    return sum;
}

/* Rows whose columns have the spreads of the reference, or all the same beyond column 4. */
static float *stretched_rows(size_t n, uint32_t d)
{
    static const float STRETCH[] = { 3, 1, 2, 0.5f, 1 };
    float *x = group_rows(n, d, 6, 0);
    for (size_t i = 0; i < n; i++)
        for (uint32_t c = 0; c < d && c < 5; c++)
            x[i * d + c] *= STRETCH[c];
    return x;
}

static void projection_equals_numpy(void **state)
{
    (void)state;
    static const double AXES[2][5] = { { 0.9999089, -0.0102337, -0.0031349, 0.0006991, -0.0081902 },
                                       { 0.0003494, -0.2689210, 0.9630628, -0.0103535,
                                         0.0091736 } };
    float *x = stretched_rows(500, 5);
    struct seg_tiles t = tiles_of(x, 500, 5);
    struct seg_projection p = fit(NULL, &t, 500);
    for (size_t a = 0; a < 2; a++)
        for (size_t c = 0; c < 5; c++)
            assert_true(fabs((double)seg_matrix_row(&p.axes, a)[c] - AXES[a][c]) < 1e-5);
    assert_true(fabs(p.explained[0] - 0.682429894) < 1e-6);
    assert_true(fabs(p.explained[1] - 0.257709031) < 1e-6);
    assert_int_equal(p.n_points, 500);
    for (size_t i = 0; i < 500; i++) {
        assert_int_equal(p.rows[i], i);
        for (size_t a = 0; a < 2; a++) {
            double along = dot(x + i * 5, seg_matrix_row(&p.axes, a), 5) -
                           dot(p.mean, seg_matrix_row(&p.axes, a), 5);
            assert_true(fabs((double)p.points[2 * i + a] - along) < 1e-4);
        }
    }
    seg_projection_release(&p);
    seg_tiles_release(&t);
    seg_free(x);
}

/* Orthonormal, positive at the largest loading, descending; and the variance of the points is the
 * share explained, which holds for eigenvectors alone. */
static void assert_principal(const struct seg_projection *p, const float *x, size_t n, size_t d)
{
    const float *first = seg_matrix_row(&p->axes, 0), *second = seg_matrix_row(&p->axes, 1);
    assert_true(fabs(dot(first, first, d) - 1) < 1e-5);
    assert_true(fabs(dot(second, second, d) - 1) < 1e-5);
    assert_true(fabs(dot(first, second, d)) < 1e-5);
    assert_true(p->explained[0] >= p->explained[1] && p->explained[1] >= 0);
    assert_true(p->explained[0] + p->explained[1] <= 1 + 1e-9);
    double total = 0, along[2] = { 0 };
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < d; c++)
            total += pow((double)x[i * d + c] - (double)p->mean[c], 2);
    for (size_t i = 0; i < n; i++)
        for (size_t a = 0; a < 2; a++)
            along[a] += pow((double)p->points[2 * i + a], 2);
    for (size_t a = 0; a < 2; a++) {
        const float *axis = seg_matrix_row(&p->axes, a);
        float largest = 0;
        for (size_t c = 0; c < d; c++)
            if (fabsf(axis[c]) > fabsf(largest)) largest = axis[c];
        assert_true(largest > 0);
        assert_true(fabs(along[a] / total - p->explained[a]) < 1e-5);
    }
}

static void projection_is_principal_for_any_number_of_columns(void **state)
{
    (void)state;
    static const uint32_t N_COLS[] = { 2, 3, 40, 256, 257, 300 };
    for (size_t i = 0; i < sizeof N_COLS / sizeof *N_COLS; i++) {
        const size_t n = 200;
        float *x = stretched_rows(n, N_COLS[i]);
        struct seg_tiles t = tiles_of(x, n, N_COLS[i]);
        struct seg_projection p = fit(NULL, &t, n);
        assert_principal(&p, x, n, N_COLS[i]);
        seg_projection_release(&p);
        seg_tiles_release(&t);
        seg_free(x);
    }
}

static void projection_of_many_columns_finds_the_axes_that_few_columns_have(void **state)
{
    (void)state;
    /* 300 columns of which all but the first five are zero: the subspace must find what Jacobi
     * finds on those five. */
    const size_t n = 500, d = 300;
    float *few = stretched_rows(n, 5), *many = seg_calloc(n * d, sizeof *many);
    assert_non_null(many);
    for (size_t i = 0; i < n; i++)
        memcpy(many + i * d, few + i * 5, 5 * sizeof *few);
    struct seg_tiles a = tiles_of(few, n, 5), b = tiles_of(many, n, (uint32_t)d);
    struct seg_projection p = fit(NULL, &a, n), q = fit(NULL, &b, n);
    for (size_t i = 0; i < 2; i++) {
        assert_true(fabs(p.explained[i] - q.explained[i]) < 1e-6);
        for (size_t c = 0; c < 5; c++)
            assert_true(fabsf(seg_matrix_row(&p.axes, i)[c] - seg_matrix_row(&q.axes, i)[c]) <
                        1e-4f);
    }
    seg_projection_release(&p);
    seg_projection_release(&q);
    seg_tiles_release(&a);
    seg_tiles_release(&b);
    seg_free(few);
    seg_free(many);
}

static void projection_draws_different_rows_in_order(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(1000, 2, 4, 0);
    struct seg_projection p = fit(NULL, &t, 100);
    assert_int_equal(p.n_points, 100);
    assert_true(p.rows[99] < 1000);
    for (size_t i = 1; i < 100; i++)
        assert_true(p.rows[i] > p.rows[i - 1]);
    seg_projection_release(&p);
    seg_tiles_release(&t);
}

static void projection_survives_one_column_one_row_and_no_variance(void **state)
{
    (void)state;
    float x[] = { 1, 2, 4, 4 };
    struct seg_tiles t = tiles_of(x, 4, 1);
    struct seg_projection p = fit(NULL, &t, 4);
    assert_true(seg_matrix_row(&p.axes, 0)[0] == 1 && seg_matrix_row(&p.axes, 1)[0] == 0);
    assert_true(fabs(p.explained[0] - 1) < 1e-12 && p.explained[1] == 0);
    seg_projection_release(&p);
    seg_tiles_release(&t);

    t = tiles_of(x + 2, 1, 2);
    p = fit(NULL, &t, 4);
    assert_int_equal(p.n_points, 1);
    assert_true(p.points[0] == 0 && p.points[1] == 0 && p.explained[0] == 0);
    seg_projection_release(&p);
    seg_tiles_release(&t);

    float *same = seg_calloc(300 * 3, sizeof *same);
    assert_non_null(same);
    t = tiles_of(same, 3, 300);
    p = fit(NULL, &t, 3);
    assert_true(p.points[5] == 0 && p.explained[0] == 0 && p.explained[1] == 0);
    seg_projection_release(&p);
    seg_tiles_release(&t);
    seg_free(same);
}

static void projection_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    static const uint32_t N_COLS[] = { 6, 260 };
    struct seg_pool *pool;
    assert_int_equal(seg_pool_new(3, 4, &pool, NULL), SEG_OK);
    for (size_t i = 0; i < 2; i++) {
        struct seg_tiles t = group_tiles(3000, N_COLS[i], 8, 0);
        struct seg_projection p = fit(NULL, &t, 50), q = fit(pool, &t, 50);
        assert_memory_equal(p.axes.data, q.axes.data, 2 * N_COLS[i] * sizeof(float));
        assert_memory_equal(p.points, q.points, 100 * sizeof(float));
        assert_memory_equal(p.explained, q.explained, sizeof p.explained);
        seg_projection_release(&p);
        seg_projection_release(&q);
        seg_tiles_release(&t);
    }
    seg_pool_free(pool);
}

static void projection_survives_every_failed_allocation(void **state)
{
    (void)state;
    static const uint32_t N_COLS[] = { 3, 258 };
    for (size_t i = 0; i < 2; i++) {
        struct seg_tiles t = group_tiles(100, N_COLS[i], 4, 0);
        enum seg_status st = SEG_ENOMEM;
        uint64_t nth = 0;
        while (st != SEG_OK) {
            struct seg_projection p;
            seg_alloc_fail_at(++nth);
            st = seg_projection_fit(NULL, &t, 10, 1, &p);
            seg_alloc_fail_at(0);
            if (st == SEG_OK)
                seg_projection_release(&p);
            else
                assert_int_equal(st, SEG_ENOMEM);
        }
        assert_true(nth > 8);
        seg_tiles_release(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(projection_equals_numpy),
        cmocka_unit_test(projection_is_principal_for_any_number_of_columns),
        cmocka_unit_test(projection_of_many_columns_finds_the_axes_that_few_columns_have),
        cmocka_unit_test(projection_draws_different_rows_in_order),
        cmocka_unit_test(projection_survives_one_column_one_row_and_no_variance),
        cmocka_unit_test(projection_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(projection_survives_every_failed_allocation),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
