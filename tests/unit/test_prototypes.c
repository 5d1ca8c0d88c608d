/* test_prototypes.c - k-prototypes finds what the plain iteration finds, at any worker count, and
 * counts categories as much as it was told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "cluster/prototypes.h"
#include "cluster/quality.h"
#include "mixed_data.h"

static struct seg_prototypes_params params(uint32_t k)
{
    return (struct seg_prototypes_params){ .k = k, .n_init = 1, .n_iter_max = 300, .seed = 7 };
}

static struct seg_kmeans fit(struct seg_pool *pool, const struct seg_tiles *x,
                             const struct seg_mixed *m, const struct seg_prototypes_params *p)
{
    struct seg_kmeans km;
    struct seg_error err = { 0 };
    if (seg_prototypes_fit(pool, x, m, p, NULL, &km, &err) != SEG_OK) fail_msg("%s", err.text);
    return km;
}

/* The twin: nearest prototype of every row in float64, ties to the lower. Returns the cost. */
static double naive_assign(const float *x, size_t n, const struct seg_matrix *c, double weight,
                           uint32_t *label)
{
    double cost = 0;
    for (size_t r = 0; r < n; r++) {
        double best = INFINITY;
        for (size_t j = 0; j < c->n_rows; j++) {
            const double far = mixed_dist2(x + r * MIXED_COLS, seg_matrix_row(c, j), MIXED_CODES,
                                           MIXED_COLS, weight);
            if (far < best) {
                best = far;
                label[r] = (uint32_t)j;
            }
        }
        cost += best;
    }
    return cost;
}

/* The twin: means and modes of the rows by label; a cluster without rows keeps its prototype. */
static void naive_prototypes(const float *x, size_t n, const uint32_t *label, struct seg_matrix *c)
{
    for (size_t j = 0; j < c->n_rows; j++)
        for (size_t col = 0; col < MIXED_COLS; col++) {
            double sum = 0, size = 0;
            size_t count[64] = { 0 }, mode = 0;
            for (size_t r = 0; r < n; r++) {
                if (label[r] != j) continue;
                size++;
                sum += (double)x[r * MIXED_COLS + col];
                if (MIXED_CODES[col] > 0) count[(size_t)x[r * MIXED_COLS + col]]++;
            }
            for (size_t code = 1; code < 64; code++)
                if (count[code] > count[mode]) mode = code;
            if (size > 0)
                seg_matrix_row(c, j)[col] =
                    MIXED_CODES[col] > 0 ? (float)mode : (float)(sum / size);
        }
}

/* Fits end where the plain iteration stands still: each row with its nearest prototype, each
 * prototype the means and modes of its rows. */
static void a_fit_is_a_fixed_point_of_the_plain_iteration(void **state)
{
    (void)state;
    const size_t n = 5000;
    float *x = mixed_rows(n, 6, 5);
    struct seg_tiles t = tiles_of(x, n, MIXED_COLS);
    uint32_t *label = seg_alloc(n, sizeof *label), *ours = seg_alloc(n, sizeof *ours);
    assert_true(label != NULL && ours != NULL);
    static const float WEIGHTS[] = { 0, 0.3f, 2, 50 };
    for (size_t w = 0; w < sizeof WEIGHTS / sizeof *WEIGHTS; w++) {
        struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, WEIGHTS[w]);
        struct seg_prototypes_params p = params(6);
        struct seg_matrix again;
        struct seg_kmeans km = fit(NULL, &t, &m, &p);
        assert_true(km.converged);
        const double cost = naive_assign(x, n, &km.centroids, (double)WEIGHTS[w], label);
        assert_true(fabs(cost - km.inertia) <= 1e-5 * cost);
        assert_true(fabs(cost - km.curve[km.n_iter - 1]) <= 1e-5 * cost);
        assert_int_equal(seg_matrix_copy(&again, &km.centroids), SEG_OK);
        naive_prototypes(x, n, label, &again);
        for (size_t i = 0; i < again.n_rows * MIXED_COLS; i++)
            assert_true(fabsf(again.data[i] - km.centroids.data[i]) <= 1e-5f);
        seg_mixed_assign(NULL, &t, &m, &km.centroids, ours, NULL);
        assert_memory_equal(ours, label, n * sizeof *label);
        for (size_t j = 1; j < 6; j++)
            assert_true(km.sizes[j] <= km.sizes[j - 1]);
        seg_matrix_release(&again);
        seg_kmeans_release(&km);
        seg_mixed_release(&m);
    }
    seg_free(label);
    seg_free(ours);
    seg_tiles_release(&t);
    seg_free(x);
}

static void the_first_iterations_are_those_of_the_plain_iteration(void **state)
{
    (void)state;
    const size_t n = 4500;
    const float weight = 1.5f;
    float *x = mixed_rows(n, 5, 6);
    struct seg_tiles t = tiles_of(x, n, MIXED_COLS);
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, weight);
    uint32_t *label = seg_alloc(n, sizeof *label);
    struct seg_prototypes_params p = params(7);
    struct seg_kmeans whole = fit(NULL, &t, &m, &p), one;
    assert_non_null(label);
    assert_true(whole.n_iter > 3);
    p.n_iter_max = 1;
    one = fit(NULL, &t, &m, &p); /* where the start led to after one iteration */
    assert_true(one.n_iter == 1 && !one.converged);
    for (uint32_t i = 1; i < whole.n_iter; i++) {
        const double cost = naive_assign(x, n, &one.centroids, (double)weight, label);
        assert_true(fabs(cost - whole.curve[i]) <= 1e-5 * cost);
        naive_prototypes(x, n, label, &one.centroids);
    }
    seg_kmeans_release(&one);
    seg_kmeans_release(&whole);
    seg_free(label);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    seg_free(x);
}

static void the_cost_never_rises(void **state)
{
    (void)state;
    float *x = mixed_rows(6000, 9, 7);
    struct seg_tiles t = tiles_of(x, 6000, MIXED_COLS);
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, (float)seed / 3);
        struct seg_prototypes_params p = params(10);
        p.seed = seed;
        p.init = seed % 2 == 0 ? SEG_INIT_KMEANS_PP : SEG_INIT_RANDOM;
        struct seg_kmeans km = fit(NULL, &t, &m, &p);
        for (uint32_t i = 1; i < km.n_iter; i++)
            assert_true(km.curve[i] <= km.curve[i - 1]);
        assert_true(km.inertia <= km.curve[km.n_iter - 1] * (1 + 1e-6));
        seg_kmeans_release(&km);
        seg_mixed_release(&m);
    }
    seg_tiles_release(&t);
    seg_free(x);
}

static void the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    static const unsigned WORKERS[] = { 1, 2, 4 };
    float *x = mixed_rows(30000, 8, 8);
    struct seg_tiles t = tiles_of(x, 30000, MIXED_COLS);
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, 2);
    struct seg_prototypes_params p = params(9);
    p.n_init = 2;
    struct seg_kmeans alone = fit(NULL, &t, &m, &p);
    for (size_t i = 0; i < sizeof WORKERS / sizeof *WORKERS; i++) {
        struct seg_pool *pool;
        assert_int_equal(seg_pool_new(WORKERS[i], 4, &pool, NULL), SEG_OK);
        struct seg_kmeans km = fit(pool, &t, &m, &p);
        assert_memory_equal(km.centroids.data, alone.centroids.data,
                            (size_t)9 * MIXED_COLS * sizeof(float));
        assert_int_equal(km.n_iter, alone.n_iter);
        assert_memory_equal(km.curve, alone.curve, km.n_iter * sizeof *km.curve);
        assert_memory_equal(km.sizes, alone.sizes, 9 * sizeof *km.sizes);
        assert_true(km.inertia == alone.inertia);
        seg_kmeans_release(&km);
        seg_pool_free(pool);
    }
    seg_kmeans_release(&alone);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    seg_free(x);
}

/* Four groups, cut in two by the number and in two by the category. */
static double agreement(const float *x, size_t n, float weight, const uint32_t *truth)
{
    static const uint32_t CODES[] = { 0, 3 };
    struct seg_tiles t = tiles_of(x, n, 2);
    struct seg_mixed m = mixed_space(CODES, 2, weight);
    struct seg_prototypes_params p = params(4);
    p.n_init = 5;
    struct seg_kmeans km = fit(NULL, &t, &m, &p);
    uint32_t *label = seg_alloc(n, sizeof *label);
    assert_non_null(label);
    seg_mixed_assign(NULL, &t, &m, &km.centroids, label, NULL);
    const double ari = seg_adjusted_rand(label, 4, truth, 4, n);
    seg_free(label);
    seg_kmeans_release(&km);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    return ari;
}

static void numbers_and_categories_together_find_what_neither_finds_alone(void **state)
{
    (void)state;
    enum { N = 2000 };
    struct seg_rng rng = seg_rng_make(9, 0);
    float x[N * 2], weight;
    uint32_t truth[N];
    for (size_t r = 0; r < N; r++) {
        truth[r] = (uint32_t)(r % 4);
        x[r * 2] = (float)((truth[r] & 1 ? 4.0 : -4.0) + seg_rng_normal(&rng));
        x[r * 2 + 1] = (float)(truth[r] >> 1);
    }
    struct seg_tiles t = tiles_of(x, N, 2);
    struct seg_mixed m = mixed_space((const uint32_t[]){ 0, 3 }, 2, 0);
    assert_int_equal(seg_mixed_weight(NULL, &t, &m, &weight), SEG_OK);
    assert_true(agreement(x, N, weight, truth) > 0.99);
    assert_true(agreement(x, N, 0, truth) < 0.6); /* the number alone */
    for (size_t r = 0; r < N; r++)
        x[r * 2] = 0;
    assert_true(agreement(x, N, weight, truth) < 0.6); /* the category alone */
    seg_mixed_release(&m);
    seg_tiles_release(&t);
}

static void a_weight_of_zero_is_k_means_on_the_numbers(void **state)
{
    (void)state;
    const size_t n = 4000;
    float *x = mixed_rows(n, 5, 10), *numbers = seg_alloc(n * 3, sizeof *numbers);
    assert_non_null(numbers);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < 3; i++)
            numbers[r * 3 + i] = x[r * MIXED_COLS + (const size_t[]){ 0, 2, 5 }[i]];
    struct seg_tiles t = tiles_of(x, n, MIXED_COLS), plain = tiles_of(numbers, n, 3);
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, 0);
    struct seg_prototypes_params p = params(5);
    struct seg_kmeans_params q = { .k = 5, .n_init = 1, .n_iter_max = 300, .seed = 7 };
    p.init = q.init = SEG_INIT_RANDOM; /* the same rows for both */
    struct seg_kmeans km = fit(NULL, &t, &m, &p), other;
    assert_int_equal(seg_kmeans_fit(NULL, &plain, &q, NULL, &other, NULL), SEG_OK);
    assert_memory_equal(km.sizes, other.sizes, 5 * sizeof *km.sizes);
    assert_true(fabs(km.inertia - other.inertia) <= 1e-5 * other.inertia);
    for (size_t j = 0; j < 5; j++)
        for (size_t i = 0; i < 3; i++)
            assert_true(fabsf(seg_matrix_row(&other.centroids, j)[i] -
                              seg_matrix_row(&km.centroids, j)[(const size_t[]){ 0, 2, 5 }[i]]) <=
                        1e-5f);
    seg_kmeans_release(&km);
    seg_kmeans_release(&other);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    seg_tiles_release(&plain);
    seg_free(x);
    seg_free(numbers);
}

static void a_huge_weight_groups_by_category(void **state)
{
    (void)state;
    enum { N = 900 };
    struct seg_rng rng = seg_rng_make(11, 0);
    float x[N * 2];
    uint32_t truth[N];
    for (size_t r = 0; r < N; r++) {
        truth[r] = (uint32_t)(r % 3);
        x[r * 2] = (float)seg_rng_normal(&rng);
        x[r * 2 + 1] = (float)truth[r];
    }
    struct seg_tiles t = tiles_of(x, N, 2);
    struct seg_mixed m = mixed_space((const uint32_t[]){ 0, 4 }, 2, 1e9f);
    struct seg_prototypes_params p = params(3);
    struct seg_kmeans km = fit(NULL, &t, &m, &p);
    uint32_t label[N];
    seg_mixed_assign(NULL, &t, &m, &km.centroids, label, NULL);
    assert_true(seg_adjusted_rand(label, 3, truth, 3, N) == 1);
    seg_kmeans_release(&km);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
}

static void fewer_distinct_rows_than_clusters_leave_clusters_empty(void **state)
{
    (void)state;
    static const uint32_t CODES[] = { 3 }; /* no number at all */
    float x[90];
    for (size_t r = 0; r < 90; r++)
        x[r] = (float)(r % 3);
    struct seg_tiles t = tiles_of(x, 90, 1);
    struct seg_mixed m = mixed_space(CODES, 1, 1);
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct seg_prototypes_params p = params(5);
        p.seed = seed;
        p.init = seed % 2 == 0 ? SEG_INIT_KMEANS_PP : SEG_INIT_RANDOM;
        struct seg_kmeans km = fit(NULL, &t, &m, &p);
        assert_int_equal(km.n_distinct, 3);
        assert_true(km.inertia == 0);
        for (size_t j = 0; j < 5; j++)
            assert_int_equal(km.sizes[j], j < 3 ? 30 : 0);
        seg_kmeans_release(&km);
    }
    seg_mixed_release(&m);
    seg_tiles_release(&t);
}

static void k_may_equal_the_number_of_rows(void **state)
{
    (void)state;
    float *x = mixed_rows(40, 4, 12);
    struct seg_tiles t = tiles_of(x, 40, MIXED_COLS);
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, 2);
    struct seg_prototypes_params p = params(40);
    struct seg_kmeans km = fit(NULL, &t, &m, &p);
    assert_int_equal(km.n_distinct, 40);
    assert_true(km.inertia == 0);
    seg_kmeans_release(&km);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    seg_free(x);
}

static void bad_params_are_refused_and_a_set_flag_cancels(void **state)
{
    (void)state;
    struct seg_prototypes_params p = params(3);
    assert_null(seg_prototypes_check(&p, 3));
    assert_non_null(seg_prototypes_check(&p, 2));
    p.weight = -1, assert_non_null(seg_prototypes_check(&p, 9));
    p.weight = NAN, assert_non_null(seg_prototypes_check(&p, 9));
    p.weight_auto = true, assert_null(seg_prototypes_check(&p, 9));
    p.init = SEG_INIT_GIVEN, assert_non_null(seg_prototypes_check(&p, 9));

    const atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    float *x = mixed_rows(100, 4, 12);
    struct seg_tiles t = tiles_of(x, 100, MIXED_COLS);
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, 2);
    struct seg_kmeans km;
    p = params(3);
    assert_int_equal(seg_prototypes_fit(NULL, &t, &m, &p, &progress, &km, NULL), SEG_ECANCELED);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    seg_free(x);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    float *x = mixed_rows(300, 4, 13);
    struct seg_tiles t = tiles_of(x, 300, MIXED_COLS);
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, 2);
    const struct seg_prototypes_params p = params(4);
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 1;
    for (; st == SEG_ENOMEM; nth++) {
        struct seg_kmeans km;
        seg_alloc_fail_at(nth);
        st = seg_prototypes_fit(NULL, &t, &m, &p, NULL, &km, NULL);
        seg_alloc_fail_at(0);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
        if (st == SEG_OK) seg_kmeans_release(&km);
    }
    assert_true(nth > 15);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    seg_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fit_is_a_fixed_point_of_the_plain_iteration),
        cmocka_unit_test(the_first_iterations_are_those_of_the_plain_iteration),
        cmocka_unit_test(the_cost_never_rises),
        cmocka_unit_test(the_same_bits_at_any_worker_count),
        cmocka_unit_test(numbers_and_categories_together_find_what_neither_finds_alone),
        cmocka_unit_test(a_weight_of_zero_is_k_means_on_the_numbers),
        cmocka_unit_test(a_huge_weight_groups_by_category),
        cmocka_unit_test(fewer_distinct_rows_than_clusters_leave_clusters_empty),
        cmocka_unit_test(k_may_equal_the_number_of_rows),
        cmocka_unit_test(bad_params_are_refused_and_a_set_flag_cancels),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
