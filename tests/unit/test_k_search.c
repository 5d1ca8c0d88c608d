/* test_k_search.c - the choice of k on rows whose groups are known, and its figures against their
 * definitions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "cluster/k_search.h"
#include "cluster/quality.h"
#include "cluster_data.h"

static struct seg_k_search_params params(uint32_t k_min, uint32_t k_max)
{
    return (struct seg_k_search_params){ .k_min = k_min,
                                         .k_max = k_max,
                                         .kmeans = { .n_init = 3, .n_iter_max = 100, .tol = 1e-4 },
                                         .seed = 9 };
}

static struct seg_k_search search(struct seg_pool *pool, const struct seg_tiles *x, uint32_t k_min,
                                  uint32_t k_max)
{
    struct seg_k_search s;
    struct seg_error err = { "" };
    const struct seg_k_search_params p = params(k_min, k_max);
    if (seg_k_search(pool, x, &p, NULL, &s, &err) != SEG_OK) fail_msg("%s", err.text);
    return s;
}

static void search_finds_the_groups_that_there_are(void **state)
{
    (void)state;
    for (uint32_t groups = 2; groups <= 8; groups *= 2) {
        struct seg_tiles t = group_tiles(400, 3, groups, 0);
        struct seg_k_search s = search(NULL, &t, 2, 10);
        assert_int_equal(s.k, groups);
        assert_non_null(strstr(s.reason, "stable"));
        assert_int_equal(s.n_candidates, 9);
        assert_int_equal(s.n_rows_used, 400);
        assert_false(s.sampled);
        const struct seg_k_candidate *c = &s.candidates[groups - 2];
        assert_int_equal(c->k, groups);
        assert_true(c->stability_ari > 0.9 && c->stability_jaccard > 0.9);
        seg_k_search_release(&s);
        seg_tiles_release(&t);
    }
}

/* Two far apart groups of two: the silhouette of 2 is better than that of 4, the gap is not. */
static void search_finds_the_groups_inside_far_groups(void **state)
{
    (void)state;
    static const float CENTERS[] = { 0, 0, 0, 30, 150, 0, 150, 30 };
    struct seg_tiles t = normal_tiles(400, 2, CENTERS, 4);
    struct seg_k_search s = search(NULL, &t, 2, 6);
    assert_int_equal(s.k, 4);
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void a_column_of_two_values_counts_only_when_it_is_looked_at(void **state)
{
    (void)state;
    float x[600 * 3];
    const bool columns[3] = { true, true, false };
    struct seg_rng rng = seg_rng_make(5, 0);
    for (size_t i = 0; i < 600; i++) {
        x[3 * i] = (float)(i % 3) * 10 + seg_rng_float(&rng);
        x[3 * i + 1] = seg_rng_float(&rng);
        x[3 * i + 2] = (float)(i % 2) * 4;
    }
    struct seg_tiles t = tiles_of(x, 600, 3);
    struct seg_k_search all = search(NULL, &t, 2, 8), some;
    struct seg_k_search_params p = params(2, 8);
    p.columns = columns;
    assert_int_equal(seg_k_search(NULL, &t, &p, NULL, &some, NULL), SEG_OK);
    assert_int_equal(all.k, 6);
    assert_int_equal(some.k, 3);
    seg_k_search_release(&all);
    seg_k_search_release(&some);
    seg_tiles_release(&t);
}

static void a_handful_of_outliers_is_no_cluster(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(1000, 2, 3, 0);
    for (size_t i = 0; i < 4; i++)
        *seg_tiles_cell(&t, i, 0) = 14;
    struct seg_k_search s = search(NULL, &t, 2, 8);
    assert_int_equal(s.k, 3);
    assert_true(s.candidates[2].share_min == 0.004);
    for (size_t i = 4; i < 10; i++) /* ten are a cluster, a small one */
        *seg_tiles_cell(&t, i, 0) = 14;
    seg_k_search_release(&s);
    s = search(NULL, &t, 2, 8);
    assert_int_equal(s.k, 4);
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

/* Two of three groups differ by as much, all rows together, as four far rows do from the groups:
 * which of them share a cluster at k = 3 is another matter in each resample. */
static void outliers_as_heavy_as_a_group_do_not_hide_it(void **state)
{
    (void)state;
    static const float CENTERS[] = { 0, 0, 10, 0, 5, -10 };
    struct seg_tiles t = normal_tiles(1000, 2, CENTERS, 3);
    for (size_t i = 0; i < 4; i++) {
        *seg_tiles_cell(&t, i * 250, 0) = 5;
        *seg_tiles_cell(&t, i * 250, 1) = 64.5f;
    }
    struct seg_k_search s;
    struct seg_k_search_params p = params(2, 8);
    p.seed = 11;
    assert_int_equal(seg_k_search(NULL, &t, &p, NULL, &s, NULL), SEG_OK);
    assert_true(s.candidates[1].stability_ari < SEG_K_SEARCH_STABLE_ARI);
    assert_int_equal(s.candidates[1].stable_beside, 4);
    assert_int_equal(s.candidates[2].n_tiny, 1);
    if (s.k != 3) fail_msg("%s", s.reason);
    assert_non_null(strstr(s.reason, "into 4 is stable"));
    assert_non_null(strstr(s.reason, "1 tiny"));
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void search_takes_the_smallest_k_where_there_is_one_group(void **state)
{
    (void)state;
    struct seg_tiles t = normal_tiles(600, 3, NULL, 0);
    struct seg_k_search s = search(NULL, &t, 3, 8);
    assert_int_equal(s.k, 3);
    assert_non_null(strstr(s.reason, "smallest"));
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void search_says_no_gap_where_there_is_none(void **state)
{
    (void)state;
    float x[60];
    for (size_t i = 0; i < 60; i++)
        x[i] = (float)(i % 2);
    struct seg_tiles t = tiles_of(x, 60, 1);
    struct seg_k_search s = search(NULL, &t, 2, 8);
    assert_int_equal(s.k, 2);
    assert_non_null(strstr(s.reason, "stable"));
    assert_null(strstr(s.reason, "nan"));
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void search_reaches_every_k_of_a_few_rows(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(24, 2, 3, 0);
    struct seg_k_search s = search(NULL, &t, 2, 24);
    assert_int_equal(s.k, 3);
    assert_int_equal(s.n_candidates, 23);
    assert_true(s.candidates[22].inertia == 0);
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void search_survives_fewer_distinct_rows_than_k(void **state)
{
    (void)state;
    float x[100 * 2];
    for (size_t i = 0; i < 100; i++) {
        x[2 * i] = (float)(i % 5);
        x[2 * i + 1] = (float)(i % 5 * (i % 5));
    }
    struct seg_tiles t = tiles_of(x, 100, 2);
    struct seg_k_search s = search(NULL, &t, 2, 9);
    assert_int_equal(s.k, 5);
    assert_true(isnan(s.candidates[3].gap));
    for (size_t i = 3; i < s.n_candidates; i++)
        assert_true(s.candidates[i].inertia == 0);
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void search_of_equal_rows_takes_the_smallest_k(void **state)
{
    (void)state;
    float x[40] = { 0 };
    struct seg_tiles t = tiles_of(x, 40, 1);
    struct seg_k_search s = search(NULL, &t, 2, 4);
    assert_int_equal(s.k, 2);
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void gap_of_uniform_rows_is_within_its_error_of_zero(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 0);
    float x[2000 * 2];
    for (size_t i = 0; i < 4000; i++)
        x[i] = seg_rng_float(&rng);
    struct seg_tiles t = tiles_of(x, 2000, 2);
    struct seg_k_search s = search(NULL, &t, 2, 6);
    for (size_t i = 0; i < s.n_candidates; i++)
        assert_true(fabs(s.candidates[i].gap) < 0.05 && s.candidates[i].gap_error < 0.05);
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void figures_are_those_of_a_fit_and_inertia_falls_with_k(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(300, 3, 6, 0);
    struct seg_k_search s = search(NULL, &t, 2, 8);
    for (size_t i = 0; i < s.n_candidates; i++) {
        const struct seg_k_candidate *c = &s.candidates[i];
        /* between clusters over within clusters, from Calinski-Harabasz and the scatter */
        double scatter = c->inertia * (1 + c->calinski_harabasz * (c->k - 1) / (300.0 - c->k));
        double first = s.candidates[0].inertia *
                       (1 + s.candidates[0].calinski_harabasz / (300.0 - s.candidates[0].k));
        assert_true(fabs(scatter - first) < 1e-4 * first);
        assert_true(i == 0 || c->inertia < c[-1].inertia);
        assert_true(c->silhouette > 0 && c->silhouette < 1);
        assert_true(c->stability_jaccard > 0 && c->stability_jaccard <= 1);
    }
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void many_rows_are_sampled(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(SEG_K_SEARCH_ROWS + 500, 2, 4, 0);
    struct seg_k_search s = search(NULL, &t, 3, 5);
    assert_int_equal(s.k, 4);
    assert_int_equal(s.n_rows_used, SEG_K_SEARCH_ROWS);
    assert_true(s.sampled);
    seg_k_search_release(&s);
    seg_tiles_release(&t);
}

static void parts_are_sampled_by_clusters_and_columns_and_say_so(void **state)
{
    (void)state;
    static const struct {
        size_t n_rows;
        uint32_t d, k_max;
        size_t n_few, n_drawn;
    } CASES[] = {
        { 150, 2, 8, 150, 150 },     /* 25 rows a cluster are more than there are */
        { 300, 2, 8, 200, 200 },     /* 25 a cluster */
        { 1000, 2, 8, 500, 500 },    /* half */
        { 6000, 2, 8, 1000, 1000 },  /* the most of few columns */
        { 6000, 20, 8, 1000, 1600 }, /* 10 a coordinate */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct seg_tiles t = group_tiles(CASES[i].n_rows, CASES[i].d, 3, 0);
        struct seg_k_search s = search(NULL, &t, 2, CASES[i].k_max);
        assert_int_equal(s.k, 3);
        assert_int_equal(s.n_rows_used, CASES[i].n_rows);
        assert_int_equal(s.n_rows_few, CASES[i].n_few);
        assert_int_equal(s.n_rows_drawn, CASES[i].n_drawn);
        assert_false(s.sampled);
        seg_k_search_release(&s);
        seg_tiles_release(&t);
    }
}

static void search_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(5000, 3, 6, 0);
    struct seg_k_search alone = search(NULL, &t, 2, 8);
    for (unsigned n_workers = 1; n_workers <= 4; n_workers += 3) {
        struct seg_pool *pool;
        assert_int_equal(seg_pool_new(n_workers, 4, &pool, NULL), SEG_OK);
        struct seg_k_search s = search(pool, &t, 2, 8);
        assert_string_equal(s.reason, alone.reason);
        assert_memory_equal(s.candidates, alone.candidates, s.n_candidates * sizeof *s.candidates);
        seg_k_search_release(&s);
        seg_pool_free(pool);
    }
    seg_k_search_release(&alone);
    seg_tiles_release(&t);
}

static void bad_params_are_refused_with_a_sentence(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(20, 2, 2, 0);
    struct seg_k_search s = { .k = 77 };
    static const struct {
        uint32_t k_min, k_max;
        const char *word;
    } CASES[] = { { 1, 4, "at least 2" },
                  { 5, 4, "less than the smallest" },
                  { 2, 21, "number of rows" },
                  { 2, 102, "more than 100" },
                  { 1000, 1025, "1024" } };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct seg_error err = { "" };
        const struct seg_k_search_params p = params(CASES[i].k_min, CASES[i].k_max);
        assert_int_equal(seg_k_search(NULL, &t, &p, NULL, &s, &err), SEG_EINVAL);
        if (strstr(err.text, CASES[i].word) == NULL) fail_msg("%s", err.text);
    }
    struct seg_k_search_params given = params(2, 4);
    given.kmeans.init = SEG_INIT_GIVEN;
    assert_non_null(seg_k_search_check(&given, 20));
    assert_int_equal(s.k, 77);
    seg_tiles_release(&t);
}

struct stop {
    atomic_bool cancel;
    size_t n_reports;
    double last;
};

static void stop_at_second(void *ctx, double fraction, const char *message)
{
    struct stop *stop = ctx;
    assert_true(fraction >= stop->last && fraction <= 1);
    assert_non_null(message);
    stop->last = fraction;
    if (++stop->n_reports == 2) atomic_store(&stop->cancel, true);
}

static void search_reports_and_stops_when_cancelled(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(200, 2, 4, 0);
    struct stop stop = { false, 0, 0 };
    struct seg_progress progress = { &stop.cancel, stop_at_second, &stop };
    const struct seg_k_search_params p = params(2, 20);
    struct seg_k_search s = { .k = 77 };
    assert_int_equal(seg_k_search(NULL, &t, &p, &progress, &s, NULL), SEG_ECANCELED);
    assert_int_equal(stop.n_reports, 2);
    assert_int_equal(s.k, 77);
    seg_tiles_release(&t);
}

static void search_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(30, 2, 2, 0);
    struct seg_k_search_params p = params(2, 3);
    p.kmeans.n_init = 1;
    enum seg_status st = SEG_ENOMEM;
    uint64_t n = 0;
    while (st == SEG_ENOMEM) {
        struct seg_k_search s = { .k = 77 };
        seg_alloc_fail_at(++n);
        st = seg_k_search(NULL, &t, &p, NULL, &s, NULL);
        seg_alloc_fail_at(0);
        if (st == SEG_OK) seg_k_search_release(&s);
    }
    assert_int_equal(st, SEG_OK);
    assert_true(n > 100);
    seg_tiles_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(search_finds_the_groups_that_there_are),
        cmocka_unit_test(search_finds_the_groups_inside_far_groups),
        cmocka_unit_test(a_column_of_two_values_counts_only_when_it_is_looked_at),
        cmocka_unit_test(a_handful_of_outliers_is_no_cluster),
        cmocka_unit_test(outliers_as_heavy_as_a_group_do_not_hide_it),
        cmocka_unit_test(search_takes_the_smallest_k_where_there_is_one_group),
        cmocka_unit_test(search_says_no_gap_where_there_is_none),
        cmocka_unit_test(search_reaches_every_k_of_a_few_rows),
        cmocka_unit_test(search_survives_fewer_distinct_rows_than_k),
        cmocka_unit_test(search_of_equal_rows_takes_the_smallest_k),
        cmocka_unit_test(gap_of_uniform_rows_is_within_its_error_of_zero),
        cmocka_unit_test(figures_are_those_of_a_fit_and_inertia_falls_with_k),
        cmocka_unit_test(many_rows_are_sampled),
        cmocka_unit_test(parts_are_sampled_by_clusters_and_columns_and_say_so),
        cmocka_unit_test(search_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(bad_params_are_refused_with_a_sentence),
        cmocka_unit_test(search_reports_and_stops_when_cancelled),
        cmocka_unit_test(search_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
