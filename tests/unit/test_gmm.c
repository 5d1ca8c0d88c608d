/* test_gmm.c - the mixture finds what scikit-learn finds, at any worker count, never gets less
 * likely and survives data that has no components. Figures: tests/reference/gmm.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "gmm_fit.h"

static size_t n_factors(const struct seg_gmm *g)
{
    return g->factors.n_rows * g->factors.n_cols;
}

static void gmm_finds_the_mixture_of_scikit_learn(void **state)
{
    (void)state;
    static const struct {
        enum seg_covariance covariance;
        double log_likelihood, bic, means[12], weights[4], factors[36];
    } EXPECTED[] = {
        { SEG_COVARIANCE_DIAGONAL,
          -3.97103052,
          8128.57044,
          { -0.04446342, -0.02822591, 0.02840701, 0.06939459, 3.046557, 0.03541574, 2.971248,
            -0.0619851, -0.09117981, 2.994469, 2.945796, 0.06722898 },
          { 0.2498178, 0.2499844, 0.2502255, 0.2499722 },
          { 1.739272, 1.693016, 1.849969, 1.800089, 1.70836, 1.768649, 1.658877, 1.699808, 1.67378,
            1.783702, 1.772047, 1.756834 } },
        { SEG_COVARIANCE_FULL,
          -3.96030396,
          8190.01037,
          { -0.04458815, -0.0284274, 0.02793702, 0.06951148, 3.04671, 0.03568493, 2.971287,
            -0.06205388, -0.09123403, 2.994407, 2.945381, 0.06745419 },
          { 0.2498197, 0.2499803, 0.2501793, 0.2500207 },
          { 1.739583, 0.0, 0.0, 0.140946,    1.698519, 0.0, 0.3093979,   0.01947105,  1.87884,
            1.799818, 0.0, 0.0, -0.03947156, 1.709199, 0.0, -0.1069087,  0.1169714,   1.775876,
            1.658764, 0.0, 0.0, 0.0322006,   1.701152, 0.0, -0.02229997, 0.3400647,   1.707075,
            1.783746, 0.0, 0.0, -0.05521475, 1.771401, 0.0, -0.01059378, 0.004493685, 1.756869 } },
    };
    struct seg_tiles t = group_tiles(1000, 3, 4, 0);
    struct seg_matrix start;
    assert_int_equal(seg_matrix_init(&start, 4, 3), SEG_OK);
    for (size_t j = 0; j < 4; j++)
        seg_tiles_get_row(&t, j, seg_matrix_row(&start, j));
    for (size_t i = 0; i < N_KINDS; i++) {
        struct seg_gmm_params p = params(4, EXPECTED[i].covariance);
        p.start = &start;
        p.tol = 0;
        p.n_iter_max = 20;
        struct seg_gmm g = fit(NULL, &t, &p);
        assert_true(fabs(g.log_likelihood - EXPECTED[i].log_likelihood) < 1e-5);
        assert_true(fabs(g.bic - EXPECTED[i].bic) < 0.02);
        for (size_t m = 0; m < 12; m++)
            assert_true(fabs((double)g.means.data[m] - EXPECTED[i].means[m]) < 1e-4);
        for (size_t j = 0; j < 4; j++)
            assert_true(fabs(g.weights[j] - EXPECTED[i].weights[j]) < 1e-4);
        for (size_t m = 0; m < n_factors(&g); m++)
            assert_true(fabs((double)g.factors.data[m] - EXPECTED[i].factors[m]) < 1e-4);
        seg_gmm_release(&g);
    }
    seg_matrix_release(&start);
    seg_tiles_release(&t);
}

static void gmm_log_likelihood_never_falls(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(3000, 4, 9, 1000);
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct seg_gmm_params p = params(5, KINDS[seed % N_KINDS]);
        p.seed = seed;
        p.tol = 0;
        p.n_iter_max = 60;
        struct seg_gmm g = fit(NULL, &t, &p);
        assert_true(g.n_iter > 1 && g.curve[g.n_iter - 1] > g.curve[0]);
        for (uint32_t i = 1; i < g.n_iter; i++)
            assert_true(g.curve[i] >= g.curve[i - 1] - 2e-6);
        assert_true(g.log_likelihood >= g.curve[g.n_iter - 1] - 2e-6);
        seg_gmm_release(&g);
    }
    seg_tiles_release(&t);
}

static void gmm_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    static const unsigned WORKERS[] = { 1, 2, 4 };
    struct seg_tiles t = group_tiles(40000, 4, 6, 10); /* more chunks than slots */
    for (size_t i = 0; i < N_KINDS; i++) {
        struct seg_gmm_params p = params(6, KINDS[i]);
        p.n_iter_max = 5;
        struct seg_gmm alone = fit(NULL, &t, &p);
        for (size_t w = 0; w < sizeof WORKERS / sizeof *WORKERS; w++) {
            struct seg_pool *pool;
            assert_int_equal(seg_pool_new(WORKERS[w], 4, &pool, NULL), SEG_OK);
            struct seg_gmm g = fit(pool, &t, &p);
            assert_int_equal(g.n_iter, alone.n_iter);
            assert_memory_equal(g.means.data, alone.means.data, 24 * sizeof(float));
            assert_memory_equal(g.factors.data, alone.factors.data, n_factors(&g) * sizeof(float));
            assert_memory_equal(g.weights, alone.weights, 6 * sizeof *g.weights);
            assert_memory_equal(g.curve, alone.curve, g.n_iter * sizeof *g.curve);
            assert_memory_equal(g.sizes, alone.sizes, 6 * sizeof *g.sizes);
            assert_true(g.log_likelihood == alone.log_likelihood);
            seg_gmm_release(&g);
            seg_pool_free(pool);
        }
        seg_gmm_release(&alone);
    }
    seg_tiles_release(&t);
}

static void gmm_finds_separated_blobs_far_from_the_origin(void **state)
{
    (void)state;
    static const size_t N = 3000;
    float *x = seg_alloc(N * 2, sizeof *x);
    assert_non_null(x);
    struct seg_rng rng = seg_rng_make(3, 1);
    for (size_t r = 0; r < N; r++) /* 1,500, 1,000 and 500 rows, correlated */
        for (size_t c = 0; c < 2; c++) {
            const size_t group = r % 6 < 3 ? 0 : r % 6 < 5 ? 1 : 2;
            const double z = seg_rng_normal(&rng) * 3;
            x[r * 2 + c] = (float)(1e6 + 100.0 * (double)group + z);
            if (c == 1) x[r * 2 + 1] += x[r * 2] - (float)(1e6 + 100.0 * (double)group);
        }
    struct seg_tiles t = tiles_of(x, N, 2);
    struct seg_gmm_params p = params(3, SEG_COVARIANCE_FULL);
    p.n_init = 3;
    struct seg_gmm g = fit(NULL, &t, &p);
    static const uint64_t SIZES[] = { 1500, 1000, 500 };
    assert_memory_equal(g.sizes, SIZES, sizeof SIZES);
    for (size_t j = 0; j < 3; j++) {
        const double mean = 1e6 + 100.0 * (double)j;
        const float *w = g.factors.data + j * 4;
        for (size_t c = 0; c < 2; c++)
            assert_true(fabs((double)g.means.data[j * 2 + c] - mean) < 0.8);
        assert_true(fabsf(w[0] * 3 - 1) < 0.1f && w[1] == 0);
        assert_true(fabsf(w[2] * 3 + 1) < 0.1f && fabsf(w[3] * 3 - 1) < 0.1f);
    }
    seg_gmm_release(&g);
    seg_tiles_release(&t);
    seg_free(x);
}

static void gmm_survives_fewer_distinct_rows_than_components(void **state)
{
    (void)state;
    float x[100][3];
    float *five = group_rows(5, 3, 5, 1e6f);
    for (size_t r = 0; r < 100; r++)
        memcpy(x[r], five + (r % 5) * 3, sizeof x[r]);
    for (size_t i = 0; i < 2 * N_KINDS; i++) {
        if (i >= N_KINDS) memset(x, 0, sizeof x); /* one point */
        struct seg_tiles t = tiles_of(x[0], 100, 3);
        struct seg_gmm_params p = params(10, KINDS[i % N_KINDS]);
        struct seg_gmm g = fit(NULL, &t, &p);
        double weights = 0;
        uint64_t rows = 0;
        for (size_t j = 0; j < 10; j++) {
            weights += g.weights[j];
            rows += g.sizes[j];
            assert_true(g.weights[j] > 0 && isfinite(g.log_norm[j]));
        }
        assert_true(fabs(weights - 1) < 1e-12 && isfinite(g.log_likelihood));
        assert_int_equal(rows, 100);
        for (size_t m = 0; m < n_factors(&g); m++)
            assert_true(isfinite(g.factors.data[m]));
        seg_gmm_release(&g);
        seg_tiles_release(&t);
    }
    seg_free(five);
}

static void gmm_check_names_each_fault(void **state)
{
    (void)state;
    struct seg_gmm_params good = params(3, SEG_COVARIANCE_FULL), p;
    assert_null(seg_gmm_check(&good, 3));
    assert_non_null(seg_gmm_check(&good, 2));
    p = good, p.k = 0, assert_non_null(seg_gmm_check(&p, 9999));
    p = good, p.k = SEG_GMM_K_MAX + 1, assert_non_null(seg_gmm_check(&p, 9999));
    p = good, p.n_init = 0, assert_non_null(seg_gmm_check(&p, 9));
    p = good, p.n_iter_max = 0, assert_non_null(seg_gmm_check(&p, 9));
    p = good, p.tol = NAN, assert_non_null(seg_gmm_check(&p, 9));
    p = good, p.regularisation = 0, assert_non_null(seg_gmm_check(&p, 9));
    p = good, p.regularisation = NAN, assert_non_null(seg_gmm_check(&p, 9));
}

static void gmm_stops_when_cancelled(void **state)
{
    (void)state;
    atomic_bool cancel = true;
    struct seg_progress progress = { .cancel = &cancel };
    struct seg_tiles t = group_tiles(500, 2, 4, 0);
    struct seg_gmm_params p = params(4, SEG_COVARIANCE_FULL);
    struct seg_gmm g;
    assert_int_equal(seg_gmm_fit(NULL, &t, &p, &progress, &g, NULL), SEG_ECANCELED);
    seg_tiles_release(&t);
}

static void gmm_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(300, 2, 4, 0);
    struct seg_gmm_params p = params(3, SEG_COVARIANCE_FULL);
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 0;
    while (st != SEG_OK) {
        struct seg_gmm g = { 0 }, back = { 0 };
        struct seg_tensors ts;
        seg_tensors_init(&ts);
        seg_alloc_fail_at(++nth);
        st = seg_gmm_fit(NULL, &t, &p, NULL, &g, NULL);
        if (st == SEG_OK) st = seg_gmm_save(&g, "m", &ts);
        if (st == SEG_OK) st = seg_gmm_load(&ts, "m", &back, NULL);
        seg_alloc_fail_at(0);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
        seg_gmm_release(&g);
        seg_gmm_release(&back);
        seg_tensors_release(&ts);
    }
    assert_true(nth > 40);
    seg_tiles_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gmm_finds_the_mixture_of_scikit_learn),
        cmocka_unit_test(gmm_log_likelihood_never_falls),
        cmocka_unit_test(gmm_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(gmm_finds_separated_blobs_far_from_the_origin),
        cmocka_unit_test(gmm_survives_fewer_distinct_rows_than_components),
        cmocka_unit_test(gmm_check_names_each_fault),
        cmocka_unit_test(gmm_stops_when_cancelled),
        cmocka_unit_test(gmm_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
