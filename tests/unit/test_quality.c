/* test_quality.c - the figures are scikit-learn's (tests/reference/kmeans.py) and those of the
 * definitions, written out here in float64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "cluster/quality.h"
#include "cluster/silhouette.h"
#include "mixed_data.h"

static struct seg_cluster_quality measure(struct seg_pool *pool, const struct seg_tiles *x,
                                          const uint32_t *label, uint32_t k)
{
    struct seg_cluster_quality q;
    assert_int_equal(seg_cluster_quality(pool, x, label, k, SEG_SILHOUETTE_EXACT_MAX, 3, NULL, &q),
                     SEG_OK);
    return q;
}

static void assert_near(double a, double b, double near)
{
    if (!(fabs(a - b) <= near)) fail_msg("%.9g is not %.9g", a, b);
}

/* The partition of the reference: every 7th row is in the next group. */
static uint32_t *astray(size_t n)
{
    uint32_t *label = seg_alloc(n, sizeof *label);
    assert_non_null(label);
    for (size_t i = 0; i < n; i++)
        label[i] = (uint32_t)(i % 7 == 0 ? (i % 6 + 1) % 6 : i % 6);
    return label;
}

static void quality_equals_scikit_learn(void **state)
{
    (void)state;
    static const double BY_CLUSTER[] = { 0.246008843, 0.294820219, 0.200075805,
                                         0.344011575, 0.17894958,  0.359153658 };
    struct seg_tiles t = group_tiles(600, 3, 6, 0);
    uint32_t *label = astray(600);
    struct seg_cluster_quality q = measure(NULL, &t, label, 6);
    assert_near(q.silhouette, 0.27042672, 1e-6);
    for (size_t j = 0; j < 6; j++)
        assert_near(q.silhouette_by_cluster[j], BY_CLUSTER[j], 1e-6);
    assert_near(q.davies_bouldin, 1.34096244, 1e-6);
    assert_near(q.calinski_harabasz, 185.274958, 1e-4);
    assert_false(q.silhouette_sampled);
    assert_int_equal(q.silhouette_rows, 600);
    seg_cluster_quality_release(&q);
    seg_free(label);
    seg_tiles_release(&t);
}

static double distance(const float *a, const float *b, size_t d)
{
    double sum = 0;
    for (size_t c = 0; c < d; c++)
        sum += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
    return sqrt(sum);
}

/* Rousseeuw's definition, row by row. */
static double naive_silhouette(const float *x, const uint32_t *label, size_t n, size_t d, size_t k)
{
    double total = 0;
    for (size_t r = 0; r < n; r++) {
        double sum[8] = { 0 }, next = INFINITY;
        size_t size[8] = { 0 };
        assert_true(k <= 8);
        for (size_t i = 0; i < n; i++) {
            sum[label[i]] += distance(x + r * d, x + i * d, d);
            size[label[i]]++;
        }
        for (size_t j = 0; j < k; j++)
            if (j != label[r] && size[j] > 0) next = fmin(next, sum[j] / (double)size[j]);
        if (size[label[r]] == 1) continue;
        double own = sum[label[r]] / (double)(size[label[r]] - 1);
        if (fmax(own, next) > 0) total += (next - own) / fmax(own, next);
    }
    return total / (double)n;
}

static void silhouette_and_inertia_equal_their_definitions_for_any_shape(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint32_t d, k;
        float offset;
    } CASES[] = { { 2, 1, 2, 0 }, { 65, 2, 5, 1000 }, { 300, 33, 8, 0 }, { 700, 7, 3, -100 } };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const size_t n = CASES[i].n, d = CASES[i].d, k = CASES[i].k;
        float *x = group_rows(n, CASES[i].d, 5, CASES[i].offset);
        struct seg_tiles t = tiles_of(x, n, CASES[i].d);
        uint32_t *label = seg_alloc(n, sizeof *label);
        assert_non_null(label);
        for (size_t r = 0; r < n; r++)
            label[r] = (uint32_t)(r % 5 % k);
        if (n > 5) label[3] = (uint32_t)k - 1; /* alone, if no other row has it */
        struct seg_cluster_quality q = measure(NULL, &t, label, CASES[i].k);
        assert_near(q.silhouette, naive_silhouette(x, label, n, d, k), 1e-5);
        double inertia = 0;
        for (size_t j = 0; j < k; j++)
            for (size_t c = 0; c < d; c++) {
                double mean = 0, size = 0;
                for (size_t r = 0; r < n; r++)
                    if (label[r] == j) mean += (double)x[r * d + c], size++;
                for (size_t r = 0; r < n; r++)
                    if (label[r] == j) {
                        double off = (double)x[r * d + c] - mean / size;
                        inertia += off * off;
                    }
            }
        assert_near(q.inertia, inertia, 1e-9 * (inertia + 1));
        seg_cluster_quality_release(&q);
        seg_free(label);
        seg_tiles_release(&t);
        seg_free(x);
    }
}

/* More clusters together than distances are shared for, and one partition with more by itself. */
static void silhouettes_of_many_partitions_are_those_of_each_alone(void **state)
{
    (void)state;
    enum { N = 700, N_PARTS = 5 };
    static const uint32_t K[N_PARTS] = { 2, 300, 6, 600, 3 };
    struct seg_tiles t = group_tiles(N, 3, 6, 0);
    struct seg_rng rng = seg_rng_make(6, 0);
    static uint32_t labels[N_PARTS][N];
    static double together[N_PARTS * N], alone[N];
    const uint32_t *label[N_PARTS];
    for (size_t p = 0; p < N_PARTS; p++) {
        label[p] = labels[p];
        for (size_t r = 0; r < N; r++)
            labels[p][r] = (uint32_t)seg_rng_below(&rng, K[p]);
    }
    assert_int_equal(silhouette_scores(NULL, &t, label, K, N_PARTS, NULL, together), SEG_OK);
    for (size_t p = 0; p < N_PARTS; p++) {
        struct seg_cluster_quality q = measure(NULL, &t, label[p], K[p]);
        double mean = 0;
        assert_int_equal(silhouette_scores(NULL, &t, &label[p], &K[p], 1, NULL, alone), SEG_OK);
        assert_memory_equal(alone, together + p * N, sizeof alone);
        for (size_t r = 0; r < N; r++)
            mean += alone[r] / N;
        assert_near(mean, q.silhouette, 1e-12);
        seg_cluster_quality_release(&q);
    }
    seg_tiles_release(&t);
}

static void silhouettes_of_one_cluster_are_not_defined(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(70, 2, 2, 0);
    uint32_t label[70] = { 0 };
    const uint32_t *labels = label, k = 2;
    double score[70];
    assert_int_equal(silhouette_scores(NULL, &t, &labels, &k, 1, NULL, score), SEG_OK);
    for (size_t r = 0; r < 70; r++)
        assert_true(isnan(score[r]));
    seg_tiles_release(&t);
}

static void quality_of_rows_with_categories_is_that_of_the_embedding(void **state)
{
    (void)state;
    const size_t n = 5000;
    float *x = mixed_rows(n, 4, 1);
    struct seg_tiles t = tiles_of(x, n, MIXED_COLS), e;
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, 1.3f);
    uint32_t *label = seg_alloc(n, sizeof *label);
    struct seg_cluster_quality q, twin;
    assert_non_null(label);
    for (size_t r = 0; r < n; r++)
        label[r] = (uint32_t)(x[r * MIXED_COLS + 3] > 1) + (x[r * MIXED_COLS] > 0 ? 0 : 2);
    assert_int_equal(
        seg_cluster_quality_mixed(NULL, &t, &m, label, 4, SEG_SILHOUETTE_EXACT_MAX, 3, NULL, &q),
        SEG_OK);
    assert_int_equal(seg_mixed_embed_rows(NULL, &t, &m, sqrtf(1.3f / 2), &e), SEG_OK);
    twin = measure(NULL, &e, label, 4);
    assert_true(q.silhouette == twin.silhouette && q.inertia == twin.inertia);
    assert_true(q.davies_bouldin == twin.davies_bouldin);
    assert_true(q.calinski_harabasz == twin.calinski_harabasz);
    seg_cluster_quality_release(&q);
    seg_cluster_quality_release(&twin);
    seg_free(label);
    seg_tiles_release(&e);
    seg_tiles_release(&t);
    seg_mixed_release(&m);
    seg_free(x);
}

static void quality_is_nan_with_one_cluster_and_leaves_empty_ones_out(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(600, 3, 6, 0);
    uint32_t *label = astray(600), one[600] = { 0 };
    struct seg_cluster_quality q = measure(NULL, &t, one, 4);
    assert_true(isnan(q.silhouette) && isnan(q.davies_bouldin) && isnan(q.calinski_harabasz));
    assert_true(isnan(q.silhouette_by_cluster[3]));
    assert_true(q.inertia > 0);
    seg_cluster_quality_release(&q);

    struct seg_cluster_quality tight = measure(NULL, &t, label, 6);
    for (size_t i = 0; i < 600; i++)
        label[i] += label[i] > 2 ? 2 : 1; /* leaves 0 and 4 without rows */
    q = measure(NULL, &t, label, 9);
    assert_true(q.silhouette == tight.silhouette);
    assert_true(q.davies_bouldin == tight.davies_bouldin);
    assert_near(q.calinski_harabasz, tight.calinski_harabasz, 1e-9);
    assert_true(isnan(q.silhouette_by_cluster[0]) && isnan(q.silhouette_by_cluster[8]));
    seg_cluster_quality_release(&q);
    seg_cluster_quality_release(&tight);
    seg_free(label);
    seg_tiles_release(&t);
}

static void quality_gives_the_same_bits_at_any_worker_count_and_samples_large_data(void **state)
{
    (void)state;
    const size_t n = 30000;
    struct seg_tiles t = group_tiles(n, 2, 4, 0);
    uint32_t *label = seg_alloc(n, sizeof *label);
    struct seg_pool *pool;
    assert_non_null(label);
    for (size_t r = 0; r < n; r++)
        label[r] = (uint32_t)(r % 4);
    struct seg_cluster_quality alone = measure(NULL, &t, label, 4);
    assert_true(alone.silhouette_sampled);
    assert_int_equal(alone.silhouette_rows, SEG_SILHOUETTE_EXACT_MAX);
    assert_int_equal(seg_pool_new(3, 4, &pool, NULL), SEG_OK);
    struct seg_cluster_quality q = measure(pool, &t, label, 4);
    assert_true(q.inertia == alone.inertia && q.silhouette == alone.silhouette);
    assert_true(q.davies_bouldin == alone.davies_bouldin);
    assert_true(q.calinski_harabasz == alone.calinski_harabasz);
    assert_memory_equal(q.silhouette_by_cluster, alone.silhouette_by_cluster, 4 * sizeof(double));
    seg_cluster_quality_release(&q);

    atomic_bool cancel = true;
    struct seg_progress progress = { .cancel = &cancel };
    assert_int_equal(
        seg_cluster_quality(pool, &t, label, 4, SEG_SILHOUETTE_EXACT_MAX, 3, &progress, &q),
        SEG_ECANCELED);
    seg_pool_free(pool);
    seg_cluster_quality_release(&alone);
    seg_free(label);
    seg_tiles_release(&t);
}

static void adjusted_rand_equals_scikit_learn(void **state)
{
    (void)state;
    uint32_t *label = astray(600), group[600], other[600], renamed[600], same[600] = { 0 };
    for (uint32_t i = 0; i < 600; i++) {
        group[i] = i % 6;
        other[i] = i % 4;
        renamed[i] = 10 - 2 * (i % 6);
    }
    assert_near(seg_adjusted_rand(group, 6, label, 6, 600), 0.702863709, 1e-8);
    assert_near(seg_adjusted_rand(other, 4, label, 6, 600), 0.121759187, 1e-8);
    assert_near(seg_adjusted_rand(group, 6, renamed, 11, 600), 1, 0);
    assert_near(seg_adjusted_rand(same, 1, same, 1, 600), 1, 0);
    assert_near(seg_adjusted_rand(same, 1, group, 6, 600), 0, 0);
    seg_free(label);
}

static void quality_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(600, 3, 6, 0);
    uint32_t *label = astray(600);
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 0;
    while (st != SEG_OK) {
        struct seg_cluster_quality q;
        seg_alloc_fail_at(++nth);
        st = seg_cluster_quality(NULL, &t, label, 6, SEG_SILHOUETTE_EXACT_MAX, 3, NULL, &q);
        seg_alloc_fail_at(0);
        if (st == SEG_OK)
            seg_cluster_quality_release(&q);
        else
            assert_int_equal(st, SEG_ENOMEM);
    }
    assert_true(nth > 10);
    for (nth = 1; nth <= 2; nth++) {
        seg_alloc_fail_at(nth);
        assert_true(isnan(seg_adjusted_rand(label, 6, label, 6, 600)));
        seg_alloc_fail_at(0);
    }
    seg_free(label);
    seg_tiles_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quality_equals_scikit_learn),
        cmocka_unit_test(silhouette_and_inertia_equal_their_definitions_for_any_shape),
        cmocka_unit_test(silhouettes_of_many_partitions_are_those_of_each_alone),
        cmocka_unit_test(silhouettes_of_one_cluster_are_not_defined),
        cmocka_unit_test(quality_of_rows_with_categories_is_that_of_the_embedding),
        cmocka_unit_test(quality_is_nan_with_one_cluster_and_leaves_empty_ones_out),
        cmocka_unit_test(quality_gives_the_same_bits_at_any_worker_count_and_samples_large_data),
        cmocka_unit_test(adjusted_rand_equals_scikit_learn),
        cmocka_unit_test(quality_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
