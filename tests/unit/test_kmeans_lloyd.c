/* test_kmeans_lloyd.c - from given centroids k-means goes the way of plain Lloyd and of
 * scikit-learn (tests/reference/kmeans.py), and takes in clusters that are empty. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kmeans_fit.h"
#include "kmeans_twin.h"

/* Start centroids: the first k rows. */
static struct seg_matrix first_rows(const struct seg_tiles *x, uint32_t k)
{
    struct seg_matrix start;
    assert_int_equal(seg_matrix_init(&start, k, x->n_cols), SEG_OK);
    for (uint32_t j = 0; j < k; j++)
        seg_tiles_get_row(x, j, seg_matrix_row(&start, j));
    return start;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kmeans_fit_equals_lloyd_after_any_number_of_iterations),
        cmocka_unit_test(kmeans_fit_equals_lloyd_when_rows_remember_what_is_near),
        cmocka_unit_test(kmeans_fit_finds_the_inertia_of_scikit_learn),
        cmocka_unit_test(kmeans_curve_never_rises_and_ends_at_the_inertia),
        cmocka_unit_test(kmeans_empty_clusters_take_the_farthest_rows),
        cmocka_unit_test(kmeans_loses_no_digit_far_from_the_origin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
