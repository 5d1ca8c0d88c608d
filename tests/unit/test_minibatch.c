/* test_minibatch.c - mini-batch k-means is what the batches make of it, ends near k-means, and does
 * not depend on the workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "cluster/minibatch.h"
#include "cluster_data.h"

static struct seg_minibatch_params params(uint32_t k)
{
    return (struct seg_minibatch_params){
        .k = k, .n_init = 3, .batch_size = 256, .n_iter_max = 400, .patience = 10, .seed = 7
    };
}

static struct seg_kmeans fit(struct seg_pool *pool, const struct seg_tiles *x,
                             const struct seg_minibatch_params *p)
{
    struct seg_kmeans km;
    struct seg_error err = { 0 };
    if (seg_minibatch_fit(pool, x, p, NULL, &km, &err) != SEG_OK) fail_msg("%s", err.text);
    return km;
}

static uint32_t nearest(const float *row, const double *c, size_t k, size_t d)
{
    uint32_t label = 0;
    double best = INFINITY;
    for (size_t j = 0; j < k; j++) {
        double sum = 0;
        for (size_t i = 0; i < d; i++)
            sum += ((double)row[i] - c[j * d + i]) * ((double)row[i] - c[j * d + i]);
        if (sum < best) {
            best = sum;
            label = (uint32_t)j;
        }
    }
    return label;
}

/* The twin: Sculley's algorithm row by row, each step of length 1 / (rows the centroid had). */
static void naive_batches(const float *x, size_t n, size_t d, double *c, size_t k,
                          const struct seg_minibatch_params *p)
{
    struct seg_rng rng = seg_rng_make(p->seed, SEG_MINIBATCH_STREAM);
    double count[16] = { 0 };
    uint32_t rows[512], label[512];
    assert_true(k <= 16 && p->batch_size <= 512);
    for (uint32_t t = 0; t < p->n_iter_max; t++) {
        for (size_t i = 0; i < p->batch_size; i++) {
            rows[i] = (uint32_t)seg_rng_below(&rng, n);
            label[i] = nearest(x + rows[i] * d, c, k, d);
        }
        for (size_t i = 0; i < p->batch_size; i++) {
            const double rate = 1 / ++count[label[i]];
            for (size_t col = 0; col < d; col++)
                c[label[i] * d + col] =
                    (1 - rate) * c[label[i] * d + col] + rate * (double)x[rows[i] * d + col];
        }
    }
    for (size_t j = 0; j < k; j++) /* else the fit would have set it anew */
        assert_true(count[j] > 0.02 * (double)(p->batch_size * p->n_iter_max));
}

static void a_fit_is_sculleys_algorithm_on_the_batches_of_the_seed(void **state)
{
    (void)state;
    static const uint32_t BATCHES[] = { 1, 2, 9, 60 };
    const size_t n = 3000, d = 5, k = 8;
    float *x = group_rows(n, (uint32_t)d, 8, 0);
    struct seg_tiles t = tiles_of(x, n, (uint32_t)d);
    struct seg_matrix start;
    assert_int_equal(seg_matrix_init(&start, k, d), SEG_OK);
    for (size_t j = 0; j < k; j++)
        memcpy(seg_matrix_row(&start, j), x + j * d, d * sizeof *x);
    for (size_t i = 0; i < sizeof BATCHES / sizeof *BATCHES; i++) {
        struct seg_minibatch_params p = params((uint32_t)k);
        double twin[8 * 5];
        p.init = SEG_INIT_GIVEN;
        p.start = &start;
        p.batch_size = 300;
        p.n_iter_max = BATCHES[i];
        p.patience = 0;
        for (size_t v = 0; v < k * d; v++)
            twin[v] = (double)start.data[v];
        naive_batches(x, n, d, twin, k, &p);
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_true(km.n_iter == BATCHES[i] && !km.converged);
        for (size_t j = 0; j < k; j++) { /* the fit orders them by size */
            double best = INFINITY;
            for (size_t m = 0; m < k; m++) {
                double off = 0;
                for (size_t col = 0; col < d; col++)
                    off = fmax(off, fabs(twin[j * d + col] -
                                         (double)seg_matrix_row(&km.centroids, m)[col]));
                best = fmin(best, off);
            }
            assert_true(best <= 1e-6);
        }
        seg_kmeans_release(&km);
    }
    seg_matrix_release(&start);
    seg_tiles_release(&t);
    seg_free(x);
}

static void the_inertia_is_within_some_per_cent_of_k_means(void **state)
{
    (void)state;
    static const uint32_t KS[] = { 2, 8, 40 };
    struct seg_tiles t = group_tiles(20000, 6, 40, 10);
    for (size_t i = 0; i < sizeof KS / sizeof *KS; i++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct seg_minibatch_params p = params(KS[i]);
            const struct seg_kmeans_params full = {
                .k = KS[i], .n_init = 3, .n_iter_max = 300, .seed = seed
            };
            struct seg_kmeans km, twin;
            p.seed = seed;
            p.batch_size = 1024;
            km = fit(NULL, &t, &p);
            assert_int_equal(seg_kmeans_fit(NULL, &t, &full, NULL, &twin, NULL), SEG_OK);
            if (km.inertia > 1.06 * twin.inertia)
                fail_msg("k %u: %g against %g", KS[i], km.inertia, twin.inertia);
            seg_kmeans_release(&twin);
            seg_kmeans_release(&km);
        }
    seg_tiles_release(&t);
}

static void sizes_and_inertia_are_of_all_rows(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(5000, 3, 8, 0);
    struct seg_minibatch_params p = params(8);
    struct seg_kmeans km = fit(NULL, &t, &p);
    uint32_t *label = seg_alloc(5000, sizeof *label);
    float *dist2 = seg_alloc(5000, sizeof *dist2);
    uint64_t sizes[8] = { 0 };
    double inertia = 0;
    seg_kmeans_assign(NULL, &t, &km.centroids, label, dist2);
    for (size_t r = 0; r < 5000; r++) {
        sizes[label[r]]++;
        inertia += (double)dist2[r];
    }
    assert_memory_equal(km.sizes, sizes, sizeof sizes);
    assert_true(km.inertia == inertia);
    assert_true(km.converged && km.n_iter < p.n_iter_max);
    seg_free(label);
    seg_free(dist2);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
}

static void the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    static const unsigned WORKERS[] = { 1, 2, 4 };
    struct seg_tiles t = group_tiles(30000, 6, 40, 100);
    struct seg_minibatch_params p = params(12);
    p.tol = 1e-7;
    struct seg_kmeans alone = fit(NULL, &t, &p);
    for (size_t i = 0; i < sizeof WORKERS / sizeof *WORKERS; i++) {
        struct seg_pool *pool;
        assert_int_equal(seg_pool_new(WORKERS[i], 4, &pool, NULL), SEG_OK);
        struct seg_kmeans km = fit(pool, &t, &p);
        assert_memory_equal(km.centroids.data, alone.centroids.data, 12 * 6 * sizeof(float));
        assert_int_equal(km.n_iter, alone.n_iter);
        assert_memory_equal(km.curve, alone.curve, km.n_iter * sizeof *km.curve);
        assert_memory_equal(km.sizes, alone.sizes, 12 * sizeof *km.sizes);
        assert_true(km.inertia == alone.inertia);
        seg_kmeans_release(&km);
        seg_pool_free(pool);
    }
    seg_kmeans_release(&alone);
    seg_tiles_release(&t);
}

static void centroids_that_nobody_is_near_are_set_anew(void **state)
{
    (void)state;
    float *x = group_rows(4000, 2, 4, 0);
    struct seg_tiles t = tiles_of(x, 4000, 2);
    float far[] = { 0, 0, 3, 0, 1e4f, 1e4f, -1e4f, 1e4f }; /* two of them hopeless */
    struct seg_matrix start = { 4, 2, far };
    struct seg_minibatch_params p = params(4);
    p.init = SEG_INIT_GIVEN;
    p.start = &start;
    struct seg_kmeans km = fit(NULL, &t, &p);
    assert_int_equal(km.n_distinct, 4);
    for (size_t j = 0; j < 4; j++) /* rows of batches: perhaps two of one group */
        assert_true(km.sizes[j] >= 200);
    seg_kmeans_release(&km);
    p.n_iter_max = 1; /* too short for a batch to do it */
    km = fit(NULL, &t, &p);
    assert_int_equal(km.n_distinct, 4);
    assert_true(km.sizes[3] > 0);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
    seg_free(x);
}

static void it_survives_fewer_distinct_points_and_as_many_clusters_as_rows(void **state)
{
    (void)state;
    struct seg_tiles t = five_point_tiles();
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct seg_minibatch_params p = params(10);
        p.seed = seed;
        p.init = seed % 2 == 0 ? SEG_INIT_KMEANS_PP : SEG_INIT_RANDOM;
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_int_equal(km.n_distinct, 5);
        for (size_t j = 0; j < 10; j++)
            assert_int_equal(km.sizes[j], j < 5 ? 20 : 0);
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
    t = group_tiles(30, 2, 4, 0);
    struct seg_minibatch_params p = params(30);
    struct seg_kmeans km = fit(NULL, &t, &p);
    assert_true(km.n_distinct > 25);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
}

static void bad_params_are_refused_and_a_set_flag_cancels(void **state)
{
    (void)state;
    struct seg_minibatch_params good = params(3), p;
    assert_null(seg_minibatch_check(&good, 3));
    assert_non_null(seg_minibatch_check(&good, 2));
    p = good, p.batch_size = 0, assert_non_null(seg_minibatch_check(&p, 9));
    p = good, p.batch_size = 65537, assert_non_null(seg_minibatch_check(&p, 9));
    p = good, p.n_iter_max = 0, assert_non_null(seg_minibatch_check(&p, 9));
    p = good, p.tol = -1, assert_non_null(seg_minibatch_check(&p, 9));
    p = good, p.init = SEG_INIT_GIVEN, assert_non_null(seg_minibatch_check(&p, 9));

    const atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    struct seg_tiles t = group_tiles(500, 2, 4, 0);
    struct seg_kmeans km;
    assert_int_equal(seg_minibatch_fit(NULL, &t, &good, &progress, &km, NULL), SEG_ECANCELED);
    float wide[] = { 0, 0, 0, 1, 1, 1, 2, 2, 2 };
    struct seg_matrix start = { 3, 3, wide };
    p.start = &start;
    assert_int_equal(seg_minibatch_fit(NULL, &t, &p, NULL, &km, NULL), SEG_EINVAL);
    seg_tiles_release(&t);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(3000, 2, 4, 0);
    struct seg_minibatch_params p = params(4);
    p.tol = 1e-9;
    p.n_iter_max = 20;
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 1;
    for (; st == SEG_ENOMEM; nth++) {
        struct seg_kmeans km;
        seg_alloc_fail_at(nth);
        st = seg_minibatch_fit(NULL, &t, &p, NULL, &km, NULL);
        seg_alloc_fail_at(0);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
        if (st == SEG_OK) seg_kmeans_release(&km);
    }
    assert_true(nth > 30);
    seg_tiles_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fit_is_sculleys_algorithm_on_the_batches_of_the_seed),
        cmocka_unit_test(the_inertia_is_within_some_per_cent_of_k_means),
        cmocka_unit_test(sizes_and_inertia_are_of_all_rows),
        cmocka_unit_test(the_same_bits_at_any_worker_count),
        cmocka_unit_test(centroids_that_nobody_is_near_are_set_anew),
        cmocka_unit_test(it_survives_fewer_distinct_points_and_as_many_clusters_as_rows),
        cmocka_unit_test(bad_params_are_refused_and_a_set_flag_cancels),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
