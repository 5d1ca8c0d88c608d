/* test_kmeans_seed_parallel.c - k-means|| starts as well as k-means++ does, at any worker count,
 * and survives data that has fewer rows worth choosing than clusters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "cluster/kmeans.h"
#include "cluster/minibatch.h"
#include "kmeans_fit.h"

static struct seg_kmeans_params parallel_params(uint32_t k)
{
    struct seg_kmeans_params p = params(k);
    p.init = SEG_INIT_PARALLEL;
    return p;
}

static void the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(30000, 6, 40, 100);
    const struct seg_kmeans_params p = parallel_params(50);
    check_worker_counts(&t, &p);
    seg_tiles_release(&t);
}

/* 100 round clusters on a grid, of 40 rows each: many local optima. */
static struct seg_tiles grid_tiles(void)
{
    enum { N = 4000 };
    struct seg_rng rng = seg_rng_make(4, 0);
    float *x = seg_alloc(N * 2, sizeof *x);
    assert_non_null(x);
    for (size_t r = 0; r < N; r++) {
        x[r * 2] = (float)((double)(r % 10) + 0.12 * seg_rng_normal(&rng));
        x[r * 2 + 1] = (float)((double)(r / 10 % 10) + 0.12 * seg_rng_normal(&rng));
    }
    struct seg_tiles t = tiles_of(x, N, 2);
    seg_free(x);
    return t;
}

static void it_ends_as_low_as_greedy_k_means_plus_plus(void **state)
{
    (void)state;
    struct seg_tiles t = grid_tiles();
    double plus_plus = 0, parallel = 0, first_plus_plus = 0, first_parallel = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct seg_kmeans_params p = parallel_params(100);
        p.seed = seed;
        struct seg_kmeans km = fit(NULL, &t, &p);
        parallel += km.inertia;
        first_parallel += km.curve[0];
        seg_kmeans_release(&km);
        p.init = SEG_INIT_KMEANS_PP;
        km = fit(NULL, &t, &p);
        plus_plus += km.inertia;
        first_plus_plus += km.curve[0];
        seg_kmeans_release(&km);
    }
    assert_true(parallel <= 1.03 * plus_plus);
    assert_true(first_parallel < first_plus_plus); /* the steps of Lloyd are cheap on candidates */
    seg_tiles_release(&t);
}

static void it_finds_clusters_that_random_rows_miss(void **state)
{
    (void)state;
    check_start_finds_hermits(parallel_params(10));
}

static void it_survives_fewer_distinct_points_one_cluster_and_as_many_as_rows(void **state)
{
    (void)state;
    struct seg_tiles t = five_point_tiles();
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct seg_kmeans_params p = parallel_params(10);
        p.seed = seed;
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_int_equal(km.n_distinct, 5);
        assert_true(km.inertia == 0);
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
    t = group_tiles(40, 2, 4, 0);
    struct seg_kmeans_params p = parallel_params(40);
    struct seg_kmeans km = fit(NULL, &t, &p);
    assert_int_equal(km.n_distinct, 40);
    assert_true(km.inertia == 0);
    seg_kmeans_release(&km);
    p = parallel_params(1);
    km = fit(NULL, &t, &p);
    assert_int_equal(km.sizes[0], 40);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
}

static void mini_batches_can_start_from_it(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(9000, 3, 8, 0);
    const struct seg_minibatch_params p = { .k = 8,
                                            .init = SEG_INIT_PARALLEL,
                                            .n_init = 3,
                                            .batch_size = 256,
                                            .n_iter_max = 300,
                                            .patience = 10 };
    struct seg_kmeans km;
    assert_int_equal(seg_minibatch_fit(NULL, &t, &p, NULL, &km, NULL), SEG_OK);
    for (size_t j = 0; j < 8; j++)
        assert_int_equal(km.sizes[j], 1125);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
}

static void a_set_flag_cancels_and_every_failed_allocation_is_survived(void **state)
{
    (void)state;
    const atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    struct seg_tiles t = group_tiles(600, 2, 4, 0);
    struct seg_kmeans_params p = parallel_params(12);
    struct seg_kmeans km;
    assert_int_equal(seg_kmeans_fit(NULL, &t, &p, &progress, &km, NULL), SEG_ECANCELED);
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 1;
    for (; st == SEG_ENOMEM; nth++) {
        seg_alloc_fail_at(nth);
        st = seg_kmeans_fit(NULL, &t, &p, NULL, &km, NULL);
        seg_alloc_fail_at(0);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
        if (st == SEG_OK) seg_kmeans_release(&km);
    }
    assert_true(nth > 30);
    seg_tiles_release(&t);
}

/* Squares of these differences are beyond a float: no row is near a candidate. */
static void rows_too_far_apart_to_measure_get_a_start(void **state)
{
    (void)state;
    enum { N = 20000, K = 100 };
    float *rows = seg_alloc(2 * N, sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < 2 * N; i++)
        rows[i] = (float)(i / 2) * 1e25f;
    struct seg_tiles x = tiles_of(rows, N, 2);
    struct seg_kmeans km;
    const struct seg_kmeans_params p = {
        .k = K, .init = SEG_INIT_PARALLEL, .n_init = 1, .n_iter_max = 2
    };
    assert_int_equal(seg_kmeans_fit(NULL, &x, &p, NULL, &km, NULL), SEG_OK);
    assert_int_equal(km.centroids.n_rows, K);
    seg_kmeans_release(&km);
    seg_tiles_release(&x);
    seg_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bits_at_any_worker_count),
        cmocka_unit_test(it_ends_as_low_as_greedy_k_means_plus_plus),
        cmocka_unit_test(it_finds_clusters_that_random_rows_miss),
        cmocka_unit_test(it_survives_fewer_distinct_points_one_cluster_and_as_many_as_rows),
        cmocka_unit_test(mini_batches_can_start_from_it),
        cmocka_unit_test(a_set_flag_cancels_and_every_failed_allocation_is_survived),
        cmocka_unit_test(rows_too_far_apart_to_measure_get_a_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
