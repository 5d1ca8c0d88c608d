/* kmeans_fit.h - k-means that must succeed, and what its tests ask of it. Include after cmocka.h.
 */
#ifndef TESTS_UNIT_KMEANS_FIT_H
#define TESTS_UNIT_KMEANS_FIT_H

#include "cluster/kmeans.h"
#include "cluster_data.h"

#define OWN_ROWS 70001u /* enough for seg_kmeans_fit_own to turn tiles to rows */

static inline struct seg_kmeans_params params(uint32_t k)
{
    return (struct seg_kmeans_params){ .k = k, .n_init = 1, .n_iter_max = 300, .seed = 7 };
}

static inline struct seg_kmeans fit(struct seg_pool *pool, const struct seg_tiles *x,
                                    const struct seg_kmeans_params *p)
{
    struct seg_kmeans km;
    struct seg_error err = { 0 };
    if (seg_kmeans_fit(pool, x, p, NULL, &km, &err) != SEG_OK) fail_msg("%s", err.text);
    return km;
}

static inline struct seg_pool *pool_new(unsigned n_workers)
{
    struct seg_pool *pool;
    assert_int_equal(seg_pool_new(n_workers, 4, &pool, NULL), SEG_OK);
    return pool;
}

static inline void assert_same_fit(const struct seg_kmeans *a, const struct seg_kmeans *b)
{
    const size_t k = a->centroids.n_rows, d = a->centroids.n_cols;
    assert_memory_equal(a->centroids.data, b->centroids.data, k * d * sizeof(float));
    assert_int_equal(a->n_iter, b->n_iter);
    assert_memory_equal(a->curve, b->curve, a->n_iter * sizeof *a->curve);
    assert_memory_equal(a->sizes, b->sizes, k * sizeof *a->sizes);
    assert_true(a->inertia == b->inertia);
}

/* What is fitted to t with p has the bits of a fit on the caller's thread alone. */
static inline void check_worker_counts(const struct seg_tiles *t, const struct seg_kmeans_params *p)
{
    static const unsigned WORKERS[] = { 1, 2, 3, 8 };
    struct seg_kmeans alone = fit(NULL, t, p);
    for (size_t i = 0; i < sizeof WORKERS / sizeof *WORKERS; i++) {
        struct seg_pool *pool = pool_new(WORKERS[i]);
        struct seg_kmeans km = fit(pool, t, p);
        assert_same_fit(&km, &alone);
        seg_kmeans_release(&km);
        seg_pool_free(pool);
    }
    seg_kmeans_release(&alone);
}

/* Start centroids by p.init, before they could move, are one for each cluster of hermit_tiles. */
static inline void check_start_finds_hermits(struct seg_kmeans_params p)
{
    struct seg_tiles t = hermit_tiles();
    p.n_iter_max = 1;
    for (p.seed = 0; p.seed < 10; p.seed++) {
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_int_equal(km.sizes[0], 1991);
        assert_int_equal(km.sizes[9], 1);
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
}

#endif
