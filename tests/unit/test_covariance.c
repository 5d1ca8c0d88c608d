/* test_covariance.c - covariances agree with a naive twin whatever the shift costs, axes are
 * eigenvectors, and the bits do not depend on the workers. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "compute/covariance.h"
#include "compute/gemm.h"

enum { D_MAX = 40 };

/* Rows of d columns that depend on each other, around `center`; the first `n_far` around 0. */
static void make(struct seg_tiles *x, size_t n, uint32_t d, double center, size_t n_far)
{
    struct seg_rng rng = seg_rng_make(2, 0);
    seg_tiles_init(x, d);
    assert_int_equal(seg_tiles_grow(x, n), SEG_OK);
    for (size_t row = 0; row < n; row++) {
        double before = 0;
        for (uint32_t c = 0; c < d; c++) {
            before = 0.7 * before + seg_rng_normal(&rng) * (1 + c % 3);
            *seg_tiles_cell(x, row, c) = (float)(before + (row < n_far ? 0 : center));
        }
    }
}

static void twin(const struct seg_tiles *x, double *mean, double *cov)
{
    const size_t d = x->n_cols, n = x->n_rows;
    for (uint32_t c = 0; c < d; c++) {
        mean[c] = 0;
        for (size_t row = 0; row < n; row++)
            mean[c] += (double)*seg_tiles_cell(x, row, c) / (double)n;
    }
    for (uint32_t i = 0; i < d; i++)
        for (uint32_t j = 0; j < d; j++) {
            double sum = 0;
            for (size_t row = 0; row < n; row++)
                sum += ((double)*seg_tiles_cell(x, row, i) - mean[i]) *
                       ((double)*seg_tiles_cell(x, row, j) - mean[j]);
            cov[i * d + j] = sum / (double)n;
        }
}

static void covariances_agree_with_a_twin(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint32_t d;
        double center;
        size_t n_far;
    } CASES[] = { { 1, 3, 5, 0 },        { 2, 1, 0, 0 },      { 64, 4, 0, 0 },
                  { 1000, D_MAX, 0, 0 }, { 4097, 7, 1e5, 0 }, { 30000, 5, 1e5, 4096 } };
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        struct seg_tiles x;
        double mean[D_MAX], cov[D_MAX * D_MAX], want_mean[D_MAX], want[D_MAX * D_MAX];
        const uint32_t d = CASES[k].d;
        make(&x, CASES[k].n, d, CASES[k].center, CASES[k].n_far);
        assert_int_equal(seg_covariance(NULL, &x, NULL, mean, cov), SEG_OK);
        twin(&x, want_mean, want);
        for (uint32_t i = 0; i < d; i++) {
            assert_true(fabs(mean[i] - want_mean[i]) <= 1e-9 * (1 + fabs(want_mean[i])));
            for (uint32_t j = 0; j < d; j++) {
                const double scale = sqrt(want[i * d + i] * want[j * d + j]);
                assert_true(fabs(cov[i * d + j] - want[i * d + j]) <= 1e-9 * scale + 1e-15);
                assert_true(cov[i * d + j] == cov[j * d + i]);
            }
        }
        seg_tiles_release(&x);
    }
}

static void bits_do_not_depend_on_the_number_of_workers(void **state)
{
    (void)state;
    struct seg_tiles x;
    double mean[2][D_MAX], cov[2][D_MAX * D_MAX];
    make(&x, 20000, 20, 3, 0);
    assert_int_equal(seg_covariance(NULL, &x, NULL, mean[0], cov[0]), SEG_OK);
    for (unsigned n_workers = 1; n_workers <= 4; n_workers *= 2) {
        struct seg_pool *pool;
        assert_int_equal(seg_pool_new(n_workers, 4, &pool, NULL), SEG_OK);
        assert_int_equal(seg_covariance(pool, &x, NULL, mean[1], cov[1]), SEG_OK);
        seg_pool_free(pool);
        assert_memory_equal(mean[0], mean[1], 20 * sizeof(double));
        assert_memory_equal(cov[0], cov[1], 20 * 20 * sizeof(double));
    }
    seg_tiles_release(&x);
}

/* a v = lambda v for every axis, and v v^T = 1. */
static void check_axes(const double *a, const double *values, const double *v, size_t d)
{
    double norm = 0;
    for (size_t i = 0; i < d * d; i++)
        norm += a[i] * a[i];
    norm = sqrt(norm);
    for (size_t k = 0; k < d; k++)
        for (size_t i = 0; i < d; i++) {
            double product = 0, dot = 0;
            for (size_t j = 0; j < d; j++) {
                product += a[i * d + j] * v[k * d + j];
                dot += v[k * d + j] * v[i * d + j];
            }
            assert_true(fabs(product - values[k * d + k] * v[k * d + i]) <= 1e-13 * norm);
            assert_true(fabs(dot - (i == k)) <= 1e-13);
        }
}

static void axes_are_eigenvectors(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 0);
    for (unsigned kind = 0; kind < 4; kind++)
        for (size_t d = 1; d <= D_MAX; d += 13) {
            double a[D_MAX * D_MAX], values[D_MAX * D_MAX], v[D_MAX * D_MAX];
            for (size_t i = 0; i < d; i++)
                for (size_t j = i; j < d; j++) {
                    double x = seg_rng_normal(&rng);
                    if (kind == 1) x = 0;              /* nothing varies */
                    if (kind == 2) x = i == j ? 2 : 1; /* all eigenvalues but one are equal */
                    if (kind == 3) x *= 1e150;
                    a[i * d + j] = a[j * d + i] = x;
                }
            memcpy(values, a, sizeof a);
            assert_int_equal(seg_eigen_symmetric(values, d, NULL, v), SEG_OK);
            check_axes(a, values, v, d);
        }
}

static void the_sign_makes_the_largest_component_positive(void **state)
{
    (void)state;
    assert_true(seg_eigen_sign((const double[]){ 0.6, -0.8 }, 2) == -1);
    assert_true(seg_eigen_sign((const double[]){ -0.6, 0.8 }, 2) == 1);
    assert_true(seg_eigen_sign((const double[]){ -0.5, 0.5 }, 2) == -1); /* the first of a tie */
    assert_true(seg_eigen_sign((const double[]){ -0.5, 0.5 * (1 + 1e-12) }, 2) == -1);
    assert_true(seg_eigen_sign((const double[]){ 0 }, 1) == 1);
}

static void a_cancelled_run_stops(void **state)
{
    (void)state;
    const atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    struct seg_tiles x;
    double mean[4], cov[16], v[16];
    make(&x, 500, 4, 0, 0);
    assert_int_equal(seg_covariance(NULL, &x, &progress, mean, cov), SEG_ECANCELED);
    assert_int_equal(seg_covariance(NULL, &x, NULL, mean, cov), SEG_OK);
    assert_int_equal(seg_eigen_symmetric(cov, 4, &progress, v), SEG_ECANCELED);
    seg_tiles_release(&x);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct seg_tiles x;
    double mean[4], cov[16];
    uint64_t nth = 1;
    make(&x, 500, 4, 0, 0);
    for (enum seg_status st = SEG_ENOMEM; st != SEG_OK; nth++) {
        seg_alloc_fail_at(nth);
        st = seg_covariance(NULL, &x, NULL, mean, cov);
        seg_alloc_fail_at(0);
        if (st != SEG_OK) assert_int_equal(st, SEG_ENOMEM);
    }
    assert_int_equal(nth, 6); /* four pieces, and the run that had them all */
    seg_tiles_release(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(covariances_agree_with_a_twin),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_workers),
        cmocka_unit_test(axes_are_eigenvectors),
        cmocka_unit_test(the_sign_makes_the_largest_component_positive),
        cmocka_unit_test(a_cancelled_run_stops),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
