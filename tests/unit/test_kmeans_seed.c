/* test_kmeans_seed.c - greedy k-means++ draws what the plain method draws, and finds what plain
 * rows miss. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/rng.h"
#include "cluster/kmeans_run.h"
#include "kmeans_fit.h"
#include "kmeans_twin.h"

static void kmeans_plus_plus_finds_clusters_that_random_rows_miss(void **state)
{
    (void)state;
    check_start_finds_hermits(params(10));
}

/* The twin: of each step's candidates the one that leaves the smallest sum, by the same draws. */
static void naive_plus_plus(const float *x, size_t n, size_t d, size_t k, struct seg_rng *rng,
                            float *c)
{
    const size_t n_candidates = 2 + (size_t)log((double)k);
    double *closest = seg_alloc(n, sizeof *closest);
    assert_non_null(closest);
    memcpy(c, x + seg_rng_below(rng, n) * d, d * sizeof *c);
    for (size_t r = 0; r < n; r++)
        closest[r] = dist2(x + r * d, c, d);
    for (size_t j = 1; j < k; j++) {
        double sum = 0, least = INFINITY;
        size_t best = 0;
        for (size_t r = 0; r < n; r++)
            sum += closest[r];
        for (size_t i = 0; i < n_candidates; i++) {
            double at = seg_rng_double(rng) * sum, left = 0;
            size_t row = 0;
            while (row + 1 < n && at >= closest[row])
                at -= closest[row++];
            for (size_t r = 0; r < n; r++)
                left += fmin(closest[r], dist2(x + r * d, x + row * d, d));
            if (left < least) {
                least = left;
                best = row;
            }
        }
        memcpy(c + j * d, x + best * d, d * sizeof *c);
        for (size_t r = 0; r < n; r++)
            closest[r] = fmin(closest[r], dist2(x + r * d, c + j * d, d));
    }
    seg_free(closest);
}

static void kmeans_plus_plus_chooses_what_the_plain_method_chooses(void **state)
{
    (void)state;
    static const size_t SHAPES[][3] = { { 9000, 5, 30 }, { 4500, 33, 8 }, { 700, 2, 60 } };
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        const size_t n = SHAPES[i][0], d = SHAPES[i][1], k = SHAPES[i][2];
        float *x = group_rows(n, (uint32_t)d, 12, 0), *twin = seg_alloc(k * d, sizeof *twin);
        struct seg_tiles t = tiles_of(x, n, (uint32_t)d);
        float *closest = seg_alloc(seg_tiles_count(&t) * SEG_TILE_ROWS, sizeof *closest);
        struct seg_matrix c;
        assert_int_equal(seg_matrix_init(&c, k, d), SEG_OK);
        assert_true(twin != NULL && closest != NULL);
        for (unsigned n_workers = 0; n_workers < 3; n_workers += 2) {
            struct seg_pool *pool = n_workers > 0 ? pool_new(n_workers) : NULL;
            struct seg_rng rng = seg_rng_make(11, 0), same = rng;
            naive_plus_plus(x, n, d, k, &rng, twin);
            assert_int_equal(kmeans_seed(pool, &t, SEG_INIT_KMEANS_PP, &same, closest, NULL, &c),
                             SEG_OK);
            assert_memory_equal(c.data, twin, k * d * sizeof *twin);
            seg_pool_free(pool);
        }
        seg_matrix_release(&c);
        seg_tiles_release(&t);
        seg_free(closest);
        seg_free(twin);
        seg_free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kmeans_plus_plus_finds_clusters_that_random_rows_miss),
        cmocka_unit_test(kmeans_plus_plus_chooses_what_the_plain_method_chooses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
