/* test_kmeans.c - k-means gives the same bits at any worker count, tells the truth about its
 * clusters and survives data that has none to find. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kmeans_fit.h"
#include "kmeans_twin.h"

static void kmeans_fit_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(30000, 6, 40, 100);
    struct seg_kmeans_params p = params(12);
    p.n_init = 2;
    check_worker_counts(&t, &p);
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
        cmocka_unit_test(kmeans_fit_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(kmeans_sizes_and_inertia_are_those_of_the_nearest_centroids_largest_first),
        cmocka_unit_test(kmeans_fit_survives_fewer_distinct_points_than_clusters),
        cmocka_unit_test(kmeans_fit_survives_one_point_as_many_clusters_as_rows_and_one_cluster),
        cmocka_unit_test(kmeans_more_starts_never_end_higher),
        cmocka_unit_test(kmeans_check_names_each_fault),
        cmocka_unit_test(kmeans_stops_when_cancelled),
        cmocka_unit_test(kmeans_fit_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
