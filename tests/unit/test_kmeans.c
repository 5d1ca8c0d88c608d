/* test_kmeans.c - k-means finds what plain Lloyd finds, at any worker count, and survives data that
 * has no clusters to find. Figures of scikit-learn: tests/reference/kmeans.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include "cluster/kmeans.h"
#include "cluster/kmeans_run.h"
#include "kmeans_fit.h"

static struct seg_kmeans_params params(uint32_t k)
{
    return (struct seg_kmeans_params){ .k = k, .n_init = 1, .n_iter_max = 300, .seed = 7 };
}

static struct seg_pool *pool_new(unsigned n_workers)
{
    struct seg_pool *pool;
    assert_int_equal(seg_pool_new(n_workers, 4, &pool, NULL), SEG_OK);
    return pool;
}

/* Start centroids: the first k rows. */
static struct seg_matrix first_rows(const struct seg_tiles *x, uint32_t k)
{
    struct seg_matrix start;
    assert_int_equal(seg_matrix_init(&start, k, x->n_cols), SEG_OK);
    for (uint32_t j = 0; j < k; j++)
        seg_tiles_get_row(x, j, seg_matrix_row(&start, j));
    return start;
}

static double dist2(const float *a, const float *b, size_t d)
{
    double sum = 0;
    for (size_t c = 0; c < d; c++)
        sum += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
    return sum;
}

/* The twin: nearest centroid of every row in float64, ties to the lower index. Returns the inertia.
 */
static double naive_assign(const float *x, size_t n, size_t d, const struct seg_matrix *c,
                           uint32_t *label)
{
    double inertia = 0;
    for (size_t r = 0; r < n; r++) {
        double best = INFINITY;
        for (size_t j = 0; j < c->n_rows; j++) {
            double far = dist2(x + r * d, seg_matrix_row(c, j), d);
            if (far < best) {
                best = far;
                label[r] = (uint32_t)j;
            }
        }
        inertia += best;
    }
    return inertia;
}

/* The twin: the means of the rows by label, no cluster may be empty. */
static void naive_means(const float *x, size_t n, const uint32_t *label, struct seg_matrix *c)
{
    const size_t k = c->n_rows, d = c->n_cols;
    double *sum = seg_calloc(k * d, sizeof *sum);
    size_t *size = seg_calloc(k, sizeof *size);
    assert_true(sum != NULL && size != NULL);
    for (size_t r = 0; r < n; r++) {
        size[label[r]]++;
        for (size_t col = 0; col < d; col++)
            sum[label[r] * d + col] += (double)x[r * d + col];
    }
    for (size_t j = 0; j < k; j++) {
        assert_true(size[j] > 0);
        for (size_t col = 0; col < d; col++)
            c->data[j * d + col] = (float)(sum[j * d + col] / (double)size[j]);
    }
    seg_free(sum);
    seg_free(size);
}

/* The twin: Lloyd's iteration as in the textbook. Returns the inertia. */
static double naive_lloyd(const float *x, size_t n, size_t d, struct seg_matrix *c, unsigned n_iter)
{
    uint32_t *label = seg_alloc(n, sizeof *label);
    assert_non_null(label);
    for (unsigned i = 0; i < n_iter; i++) {
        naive_assign(x, n, d, c, label);
        naive_means(x, n, label, c);
    }
    double inertia = naive_assign(x, n, d, c, label);
    seg_free(label);
    return inertia;
}

/* Every centroid of a stands within `near` of one of b. */
static void assert_same_centroids(const struct seg_matrix *a, const struct seg_matrix *b,
                                  double near)
{
    for (size_t i = 0; i < a->n_rows; i++) {
        double best = INFINITY;
        for (size_t j = 0; j < b->n_rows; j++)
            best = fmin(best, dist2(seg_matrix_row(a, i), seg_matrix_row(b, j), a->n_cols));
        assert_true(sqrt(best) <= near);
    }
}

static void kmeans_fit_equals_lloyd_after_any_number_of_iterations(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint32_t d, n_groups, k;
        float offset;
    } CASES[] = {
        { 5000, 3, 3, 7, 0 },      { 9001, 20, 50, 8, 0 },  { 4500, 2, 4, 40, 1000 },
        { 2000, 70, 64, 33, -5 },  { 777, 130, 90, 65, 0 }, { 300, 1, 2, 3, 1e6f },
        { 2000, 65, 1, 50, 1e3f },
    };
    static const unsigned N_ITERS[] = { 1, 2, 3, 7, 20, 60 };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const size_t n = CASES[i].n, d = CASES[i].d;
        float *x = group_rows(n, CASES[i].d, CASES[i].n_groups, CASES[i].offset);
        struct seg_tiles t = tiles_of(x, n, CASES[i].d);
        struct seg_matrix start = first_rows(&t, CASES[i].k);
        for (size_t m = 0; m < sizeof N_ITERS / sizeof *N_ITERS; m++) {
            struct seg_kmeans_params p = params(CASES[i].k);
            struct seg_matrix c;
            assert_int_equal(seg_matrix_copy(&c, &start), SEG_OK);
            p.init = SEG_INIT_GIVEN;
            p.start = &start;
            p.n_iter_max = N_ITERS[m];
            double inertia = naive_lloyd(x, n, d, &c, N_ITERS[m]);
            struct seg_kmeans km = fit(NULL, &t, &p);
            assert_same_centroids(&c, &km.centroids, 1e-6 * (1 + fabs(CASES[i].offset)));
            assert_true(fabs(km.inertia - inertia) <= 1e-5 * inertia);
            seg_kmeans_release(&km);
            seg_matrix_release(&c);
        }
        seg_matrix_release(&start);
        seg_tiles_release(&t);
        seg_free(x);
    }
}

/* Late enough for rows to be looked for among the centroids they remember, and for others to come
 * near meanwhile. Labels of the twin are those of the kernel: on noise, a row that float64 puts on
 * the other side of a border soon makes other clusters. */
static void kmeans_fit_equals_lloyd_when_rows_remember_what_is_near(void **state)
{
    (void)state;
    const size_t n = 20000, d = 64;
    const uint32_t k = 64;
    float *x = group_rows(n, (uint32_t)d, 1, 100);
    uint32_t *label = seg_alloc(n, sizeof *label);
    struct seg_tiles t = tiles_of(x, n, (uint32_t)d);
    struct seg_matrix c = first_rows(&t, k), start = first_rows(&t, k);
    struct seg_kmeans_params p = params(k);
    p.init = SEG_INIT_GIVEN;
    p.start = &start;
    p.n_iter_max = 100;
    assert_non_null(label);
    for (unsigned i = 0; i < p.n_iter_max; i++) {
        seg_kmeans_assign(NULL, &t, &c, label, NULL);
        naive_means(x, n, label, &c);
    }
    struct seg_kmeans km = fit(NULL, &t, &p);
    assert_int_equal(km.n_iter, p.n_iter_max);
    assert_same_centroids(&c, &km.centroids, 1e-4);
    seg_kmeans_release(&km);
    seg_matrix_release(&c);
    seg_matrix_release(&start);
    seg_tiles_release(&t);
    seg_free(label);
    seg_free(x);
}

static void kmeans_fit_finds_the_inertia_of_scikit_learn(void **state)
{
    (void)state;
    static const uint64_t SIZES[] = { 246, 243, 226, 149, 136 };
    struct seg_tiles t = group_tiles(1000, 4, 16, 0);
    struct seg_kmeans_params p = params(16);
    struct seg_matrix start = first_rows(&t, 16);
    p.init = SEG_INIT_GIVEN;
    p.start = &start;
    struct seg_kmeans km = fit(NULL, &t, &p);
    assert_true(fabs(km.inertia - 1303.89195) < 1e-3);
    assert_int_equal(km.n_iter, 4);
    assert_true(km.converged);
    seg_kmeans_release(&km);
    start.n_rows = p.k = 5;
    km = fit(NULL, &t, &p);
    assert_true(fabs(km.inertia - 5172.8868) < 1e-3);
    assert_int_equal(km.n_iter, 11);
    assert_memory_equal(km.sizes, SIZES, sizeof SIZES);
    seg_kmeans_release(&km);
    seg_matrix_release(&start);
    seg_tiles_release(&t);
}

static void assert_same_fit(const struct seg_kmeans *a, const struct seg_kmeans *b)
{
    const size_t k = a->centroids.n_rows, d = a->centroids.n_cols;
    assert_memory_equal(a->centroids.data, b->centroids.data, k * d * sizeof(float));
    assert_int_equal(a->n_iter, b->n_iter);
    assert_memory_equal(a->curve, b->curve, a->n_iter * sizeof *a->curve);
    assert_memory_equal(a->sizes, b->sizes, k * sizeof *a->sizes);
    assert_true(a->inertia == b->inertia);
}

static void kmeans_fit_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    static const unsigned WORKERS[] = { 1, 2, 3, 8 };
    struct seg_tiles t = group_tiles(30000, 6, 40, 100);
    struct seg_kmeans_params p = params(12);
    p.n_init = 2;
    struct seg_kmeans alone = fit(NULL, &t, &p);
    for (size_t i = 0; i < sizeof WORKERS / sizeof *WORKERS; i++) {
        struct seg_pool *pool = pool_new(WORKERS[i]);
        struct seg_kmeans km = fit(pool, &t, &p);
        assert_same_fit(&km, &alone);
        seg_kmeans_release(&km);
        seg_pool_free(pool);
    }
    seg_kmeans_release(&alone);
    seg_tiles_release(&t);
}

/* Rows without clusters: Lloyd takes its time, and rows near borders wake all the while. */
static struct seg_tiles noise_tiles(size_t n_rows, uint32_t n_cols)
{
    return group_tiles(n_rows, n_cols, 1, 0);
}

#define OWN_ROWS 70001u

static void kmeans_fit_own_gives_the_bits_of_fit_and_the_rows_back(void **state)
{
    (void)state;
    static const uint32_t SHAPES[][2] = { { 3, 7 }, { 1, 4 }, { 4, 40 } };
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        const uint32_t d = SHAPES[i][0];
        struct seg_tiles t = noise_tiles(OWN_ROWS, d), before = noise_tiles(OWN_ROWS, d);
        struct seg_kmeans_params p = params(SHAPES[i][1]);
        p.n_init = 2;
        p.n_iter_max = 60;
        struct seg_kmeans shared = fit(NULL, &t, &p);
        for (unsigned n_workers = 0; n_workers < 3; n_workers++) {
            struct seg_pool *pool = n_workers > 0 ? pool_new(n_workers) : NULL;
            struct seg_kmeans own;
            assert_int_equal(seg_kmeans_fit_own(pool, &t, &p, NULL, &own, NULL), SEG_OK);
            assert_same_fit(&shared, &own);
            for (size_t chunk = 0; chunk < t.n_chunks; chunk++)
                assert_memory_equal(t.chunks[chunk], before.chunks[chunk],
                                    (size_t)SEG_CHUNK_ROWS * d * sizeof(float));
            seg_kmeans_release(&own);
            seg_pool_free(pool);
        }
        seg_kmeans_release(&shared);
        seg_tiles_release(&t);
        seg_tiles_release(&before);
    }
}

struct stopping {
    atomic_bool cancel;
    unsigned n_reports, at;
};

static void stop_late(void *ctx, double fraction, const char *message)
{
    struct stopping *s = ctx;
    (void)fraction;
    (void)message;
    if (++s->n_reports == s->at) atomic_store(&s->cancel, true);
}

static void kmeans_fit_own_gives_the_rows_back_when_cancelled(void **state)
{
    (void)state;
    struct seg_tiles t = noise_tiles(OWN_ROWS, 3), before = noise_tiles(OWN_ROWS, 3);
    struct seg_kmeans_params p = params(7);
    for (unsigned at = 1; at < 12; at++) {
        struct stopping s = { .at = at };
        struct seg_progress progress = { .cancel = &s.cancel, .report = stop_late, .ctx = &s };
        struct seg_kmeans km;
        assert_int_equal(seg_kmeans_fit_own(NULL, &t, &p, &progress, &km, NULL), SEG_ECANCELED);
        for (size_t chunk = 0; chunk < t.n_chunks; chunk++)
            assert_memory_equal(t.chunks[chunk], before.chunks[chunk],
                                (size_t)SEG_CHUNK_ROWS * 3 * sizeof(float));
    }
    seg_tiles_release(&t);
    seg_tiles_release(&before);
}

/* Two clusters begin empty, and a third of the rows are equally far: the first must be taken. */
static void kmeans_fit_own_reseeds_the_same_rows_as_fit(void **state)
{
    (void)state;
    float *x = group_rows(OWN_ROWS, 2, 1, 0);
    for (size_t r = 0; r < OWN_ROWS; r += 3)
        x[2 * r] = x[2 * r + 1] = 80;
    struct seg_tiles t = tiles_of(x, OWN_ROWS, 2);
    float start[] = { 0, 0, 50, 50, 50, 50, 50, 50, 0.5f, 0.5f };
    struct seg_matrix m = { 5, 2, start };
    struct seg_kmeans_params p = params(5);
    p.init = SEG_INIT_GIVEN;
    p.start = &m;
    struct seg_kmeans shared = fit(NULL, &t, &p), own;
    assert_int_equal(seg_kmeans_fit_own(NULL, &t, &p, NULL, &own, NULL), SEG_OK);
    assert_same_fit(&shared, &own);
    seg_kmeans_release(&shared);
    seg_kmeans_release(&own);
    seg_tiles_release(&t);
    seg_free(x);
}

static void kmeans_curve_never_rises_and_ends_at_the_inertia(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(5000, 5, 30, 1e4f);
    for (uint64_t seed = 0; seed < 10; seed++) {
        struct seg_kmeans_params p = params(9);
        p.seed = seed;
        p.init = seed % 2 == 0 ? SEG_INIT_KMEANS_PP : SEG_INIT_RANDOM;
        struct seg_kmeans km = fit(NULL, &t, &p);
        for (uint32_t i = 1; i < km.n_iter; i++)
            assert_true(km.curve[i] <= km.curve[i - 1]);
        assert_true(km.converged);
        assert_true(fabs(km.inertia - km.curve[km.n_iter - 1]) <= 1e-4 * km.inertia);
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
}

static void kmeans_sizes_and_inertia_are_those_of_the_nearest_centroids_largest_first(void **state)
{
    (void)state;
    const size_t n = 3000;
    float *x = group_rows(n, 4, 11, 0);
    struct seg_tiles t = tiles_of(x, n, 4);
    struct seg_kmeans_params p = params(7);
    p.tol = 1e-3;
    struct seg_kmeans km = fit(NULL, &t, &p);
    uint32_t *label = seg_alloc(n, sizeof *label), *twin = seg_alloc(n, sizeof *twin);
    float *far = seg_alloc(n, sizeof *far);
    uint64_t sizes[7] = { 0 };
    double inertia = naive_assign(x, n, 4, &km.centroids, twin);
    seg_kmeans_assign(NULL, &t, &km.centroids, label, far);
    for (size_t r = 0; r < n; r++) {
        assert_int_equal(label[r], twin[r]);
        double exact = dist2(x + r * 4, seg_matrix_row(&km.centroids, label[r]), 4);
        assert_true(fabs((double)far[r] - exact) <= 1e-6 * exact);
        sizes[label[r]]++;
    }
    assert_memory_equal(km.sizes, sizes, sizeof sizes);
    assert_true(fabs(km.inertia - inertia) <= 1e-6 * inertia);
    for (size_t j = 1; j < 7; j++)
        assert_true(sizes[j] <= sizes[j - 1]);
    seg_free(label);
    seg_free(twin);
    seg_free(far);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
    seg_free(x);
}

static void kmeans_fit_survives_fewer_distinct_points_than_clusters(void **state)
{
    (void)state;
    struct seg_tiles t = five_point_tiles();
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct seg_kmeans_params p = params(10);
        p.seed = seed;
        p.init = seed % 2 == 0 ? SEG_INIT_KMEANS_PP : SEG_INIT_RANDOM;
        p.min_share = 0.1;
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_int_equal(km.n_distinct, 5);
        assert_true(km.inertia == 0);
        for (size_t j = 0; j < 10; j++) {
            assert_int_equal(km.sizes[j], j < 5 ? 20 : 0);
            size_t like = j < 5 ? j : 4;
            assert_memory_equal(seg_matrix_row(&km.centroids, j),
                                seg_matrix_row(&km.centroids, like), 3 * sizeof(float));
        }
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
}

static void kmeans_fit_survives_one_point_as_many_clusters_as_rows_and_one_cluster(void **state)
{
    (void)state;
    float same[70] = { 0 };
    struct seg_tiles t = tiles_of(same, 70, 1);
    struct seg_kmeans_params p = params(3);
    struct seg_kmeans km = fit(NULL, &t, &p);
    assert_int_equal(km.n_distinct, 1);
    assert_int_equal(km.sizes[0], 70);
    assert_true(km.inertia == 0 && km.centroids.data[2] == 0);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);

    t = group_tiles(40, 2, 4, 0);
    p = params(40);
    km = fit(NULL, &t, &p);
    assert_int_equal(km.n_distinct, 40);
    assert_true(km.inertia == 0 && km.sizes[39] == 1);
    seg_kmeans_release(&km);
    p = params(1);
    km = fit(NULL, &t, &p);
    assert_int_equal(km.sizes[0], 40);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
}

static void kmeans_empty_clusters_take_the_farthest_rows(void **state)
{
    (void)state;
    const float x[] = { 0, 1, 2, 3, 50, 100 };
    struct seg_tiles t = tiles_of(x, 6, 1);
    float start[] = { 1, 1, 1 };
    struct seg_matrix m = { 3, 1, start };
    struct seg_kmeans_params p = params(3);
    p.init = SEG_INIT_GIVEN;
    p.start = &m;
    struct seg_kmeans km = fit(NULL, &t, &p);
    assert_true(km.centroids.data[0] == 1.5f);
    assert_true(km.centroids.data[1] == 50 && km.centroids.data[2] == 100);
    assert_int_equal(km.sizes[0], 4);
    seg_kmeans_release(&km);
    seg_tiles_release(&t);
}

static void kmeans_loses_no_digit_far_from_the_origin(void **state)
{
    (void)state;
    /* Steps of 0.0625 are exact in a float at 1e6. */
    float near[400], far[400];
    for (size_t i = 0; i < 400; i++) {
        near[i] = (float)(i % 7) * 0.0625f + (i % 4 == 0 ? 3 : 0);
        far[i] = near[i] + 1e6f;
    }
    struct seg_tiles a = tiles_of(near, 200, 2), b = tiles_of(far, 200, 2);
    struct seg_kmeans_params p = params(4);
    struct seg_kmeans at_0 = fit(NULL, &a, &p), at_1e6 = fit(NULL, &b, &p);
    assert_memory_equal(at_0.sizes, at_1e6.sizes, 4 * sizeof *at_0.sizes);
    for (size_t i = 0; i < 8; i++)
        assert_true(fabsf(at_1e6.centroids.data[i] - 1e6f - at_0.centroids.data[i]) <= 0.0625f);
    seg_kmeans_release(&at_0);
    seg_kmeans_release(&at_1e6);
    seg_tiles_release(&a);
    seg_tiles_release(&b);
}

static void kmeans_more_starts_never_end_higher(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(1500, 3, 8, 0);
    double last = INFINITY;
    for (uint32_t n_init = 1; n_init <= 8; n_init++) {
        struct seg_kmeans_params p = params(8);
        p.init = SEG_INIT_RANDOM;
        p.n_init = n_init;
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_true(km.inertia <= last * (1 + 1e-6));
        last = km.inertia;
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
}

static void kmeans_plus_plus_finds_clusters_that_random_rows_miss(void **state)
{
    (void)state;
    struct seg_tiles t = hermit_tiles();
    struct seg_kmeans_params p = params(10);
    p.n_iter_max = 1;
    for (p.seed = 0; p.seed < 10; p.seed++) {
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_int_equal(km.sizes[0], 1991);
        assert_int_equal(km.sizes[9], 1);
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
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

static void kmeans_min_share_is_kept(void **state)
{
    (void)state;
    static const double SHARES[] = { 0.02, 0.1, 0.2 };
    float *x = group_rows(1000, 2, 1, 0);
    x[0] = 40; /* a cluster of one row */
    struct seg_tiles t = tiles_of(x, 1000, 2);
    for (size_t i = 0; i < sizeof SHARES / sizeof *SHARES; i++) {
        struct seg_kmeans_params p = params(4);
        p.min_share = SHARES[i];
        struct seg_kmeans km = fit(NULL, &t, &p);
        assert_true((double)km.sizes[3] >= SHARES[i] * 1000);
        seg_kmeans_release(&km);
    }
    seg_tiles_release(&t);
    seg_free(x);
}

static void kmeans_check_names_each_fault(void **state)
{
    (void)state;
    struct seg_kmeans_params good = params(3), p;
    assert_null(seg_kmeans_check(&good, 3));
    assert_non_null(seg_kmeans_check(&good, 2));
    p = good, p.k = 0, assert_non_null(seg_kmeans_check(&p, 9999));
    p = good, p.k = SEG_K_MAX + 1, assert_non_null(seg_kmeans_check(&p, 9999));
    p = good, p.n_init = 0, assert_non_null(seg_kmeans_check(&p, 9));
    p = good, p.n_init = 101, assert_non_null(seg_kmeans_check(&p, 9));
    p = good, p.n_iter_max = 0, assert_non_null(seg_kmeans_check(&p, 9));
    p = good, p.n_iter_max = 10001, assert_non_null(seg_kmeans_check(&p, 9));
    p = good, p.tol = -1, assert_non_null(seg_kmeans_check(&p, 9));
    p = good, p.tol = NAN, assert_non_null(seg_kmeans_check(&p, 9));
    p = good, p.min_share = 0.34, assert_non_null(seg_kmeans_check(&p, 9));
    p = good, p.init = SEG_INIT_GIVEN, assert_non_null(seg_kmeans_check(&p, 9));

    float start[] = { 1, 2, NAN };
    struct seg_matrix m = { 3, 1, start };
    float rows[] = { 1, 2, 3, 4 };
    struct seg_tiles t = tiles_of(rows, 4, 1);
    struct seg_kmeans km;
    struct seg_error err = { 0 };
    p.start = &m;
    assert_int_equal(seg_kmeans_fit(NULL, &t, &p, NULL, &km, &err), SEG_EINVAL);
    assert_string_equal(err.text, "start centroid 2 is not finite");
    seg_tiles_release(&t);
}

static void kmeans_stops_when_cancelled(void **state)
{
    (void)state;
    atomic_bool cancel = true;
    struct seg_progress progress = { .cancel = &cancel };
    struct seg_tiles t = group_tiles(500, 2, 4, 0);
    struct seg_kmeans_params p = params(4);
    struct seg_kmeans km;
    assert_int_equal(seg_kmeans_fit(NULL, &t, &p, &progress, &km, NULL), SEG_ECANCELED);
    p.init = SEG_INIT_RANDOM;
    assert_int_equal(seg_kmeans_fit(NULL, &t, &p, &progress, &km, NULL), SEG_ECANCELED);
    seg_tiles_release(&t);
}

static void survive_every_failed_allocation(size_t n_rows)
{
    float *x = group_rows(n_rows, 2, 1, 0);
    x[0] = 40;
    struct seg_tiles t = tiles_of(x, n_rows, 2);
    struct seg_kmeans_params p = params(4);
    p.min_share = 0.1;
    p.n_init = 2;
    p.n_iter_max = 20;
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 0;
    while (st != SEG_OK) {
        struct seg_kmeans km;
        seg_alloc_fail_at(++nth);
        st = seg_kmeans_fit_own(NULL, &t, &p, NULL, &km, NULL);
        seg_alloc_fail_at(0);
        if (st == SEG_OK)
            seg_kmeans_release(&km);
        else
            assert_int_equal(st, SEG_ENOMEM);
    }
    assert_true(nth > 15);
    seg_tiles_release(&t);
    seg_free(x);
}

static void kmeans_fit_survives_every_failed_allocation(void **state)
{
    (void)state;
    survive_every_failed_allocation(300);
    survive_every_failed_allocation(OWN_ROWS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kmeans_fit_equals_lloyd_after_any_number_of_iterations),
        cmocka_unit_test(kmeans_fit_equals_lloyd_when_rows_remember_what_is_near),
        cmocka_unit_test(kmeans_fit_finds_the_inertia_of_scikit_learn),
        cmocka_unit_test(kmeans_fit_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(kmeans_fit_own_gives_the_bits_of_fit_and_the_rows_back),
        cmocka_unit_test(kmeans_fit_own_gives_the_rows_back_when_cancelled),
        cmocka_unit_test(kmeans_fit_own_reseeds_the_same_rows_as_fit),
        cmocka_unit_test(kmeans_curve_never_rises_and_ends_at_the_inertia),
        cmocka_unit_test(kmeans_sizes_and_inertia_are_those_of_the_nearest_centroids_largest_first),
        cmocka_unit_test(kmeans_fit_survives_fewer_distinct_points_than_clusters),
        cmocka_unit_test(kmeans_fit_survives_one_point_as_many_clusters_as_rows_and_one_cluster),
        cmocka_unit_test(kmeans_empty_clusters_take_the_farthest_rows),
        cmocka_unit_test(kmeans_loses_no_digit_far_from_the_origin),
        cmocka_unit_test(kmeans_more_starts_never_end_higher),
        cmocka_unit_test(kmeans_plus_plus_finds_clusters_that_random_rows_miss),
        cmocka_unit_test(kmeans_plus_plus_chooses_what_the_plain_method_chooses),
        cmocka_unit_test(kmeans_min_share_is_kept),
        cmocka_unit_test(kmeans_check_names_each_fault),
        cmocka_unit_test(kmeans_stops_when_cancelled),
        cmocka_unit_test(kmeans_fit_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
