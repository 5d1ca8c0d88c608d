/* test_neighbours.c - nearest rows against a search in float64, and what repeated means do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "cluster/neighbours.h"

#define N 1100 /* three tasks, a tile in part */
#define D 7

/* Whole numbers: distances are exact, and ties are many. */
static void lattice(float *x, size_t n)
{
    struct seg_rng rng = seg_rng_make(5, 1);
    for (size_t i = 0; i < n * D; i++)
        x[i] = (float)seg_rng_below(&rng, 3);
}

static double distance2(const float *x, size_t a, size_t b)
{
    double sum = 0.0;
    for (size_t c = 0; c < D; c++)
        sum += pow((double)x[a * D + c] - (double)x[b * D + c], 2.0);
    return sum;
}

/* The next neighbour of row after (last, its distance) in the order of distance, then row. */
static size_t next_nearest(const float *x, size_t n, size_t row, double last_d, size_t last)
{
    size_t best = n;
    double best_d = INFINITY;
    for (size_t other = 0; other < n; other++) {
        double d = distance2(x, row, other);
        bool past = d > last_d || (d == last_d && other > last);
        if (other == row || !past || d >= best_d) continue;
        best = other;
        best_d = d;
    }
    return best;
}

static void neighbours_are_the_nearest_rows_ties_to_the_lower(void **state)
{
    (void)state;
    static float x[N * D];
    struct seg_tiles t;
    struct seg_neighbours nb = { 0 };
    lattice(x, N);
    assert_int_equal(seg_tiles_from_rows(&t, x, N, D), SEG_OK);
    assert_int_equal(seg_neighbours_find(NULL, &t, 6, NULL, &nb), SEG_OK);
    assert_int_equal(nb.n_rows, N);
    assert_int_equal(nb.n, 6);
    for (size_t row = 0; row < N; row += 13) {
        double last_d = -1.0;
        size_t last = 0;
        for (uint32_t i = 0; i < nb.n; i++) {
            size_t expected = next_nearest(x, N, row, last_d, last);
            assert_int_equal(nb.rows[row * nb.n + i], expected);
            last = expected;
            last_d = distance2(x, row, expected);
        }
    }
    seg_neighbours_release(&nb);
    seg_tiles_release(&t);
}

static void few_rows_have_fewer_neighbours(void **state)
{
    (void)state;
    static const float x[3 * D] = { 0, 0, 0, 0, 0, 0, 0, 9 };
    for (size_t n = 1; n <= 3; n++) {
        struct seg_tiles t, mean;
        struct seg_neighbours nb = { 0 };
        assert_int_equal(seg_tiles_from_rows(&t, x, n, D), SEG_OK);
        assert_int_equal(seg_neighbours_find(NULL, &t, 5, NULL, &nb), SEG_OK);
        assert_int_equal(nb.n, n - 1);
        seg_tiles_init(&mean, D);
        assert_int_equal(seg_tiles_grow(&mean, n), SEG_OK);
        seg_neighbours_mean(NULL, &nb, &t, &mean);
        for (size_t row = 0; row < n; row++)
            assert_true(*seg_tiles_cell(&mean, row, 0) == (n == 1 ? 0.0f : 9.0f / (float)n));
        seg_neighbours_release(&nb);
        seg_tiles_release(&t);
        seg_tiles_release(&mean);
    }
}

static void mean_is_that_of_the_row_and_its_neighbours(void **state)
{
    (void)state;
    static float x[N * D];
    struct seg_tiles t, mean;
    struct seg_neighbours nb = { 0 };
    lattice(x, N);
    assert_int_equal(seg_tiles_from_rows(&t, x, N, D), SEG_OK);
    assert_int_equal(seg_neighbours_find(NULL, &t, 4, NULL, &nb), SEG_OK);
    seg_tiles_init(&mean, D);
    assert_int_equal(seg_tiles_grow(&mean, N), SEG_OK);
    seg_neighbours_mean(NULL, &nb, &t, &mean);
    for (size_t row = 0; row < N; row++)
        for (uint32_t c = 0; c < D; c++) {
            double sum = (double)x[row * D + c];
            for (uint32_t i = 0; i < 4; i++)
                sum += (double)x[nb.rows[row * 4 + i] * D + c];
            assert_true(*seg_tiles_cell(&mean, row, c) == (float)(sum / 5.0));
        }
    seg_neighbours_release(&nb);
    seg_tiles_release(&t);
    seg_tiles_release(&mean);
}

static void neighbours_are_the_same_at_any_worker_count(void **state)
{
    (void)state;
    static float x[N * D];
    struct seg_tiles t;
    struct seg_neighbours first = { 0 };
    lattice(x, N);
    assert_int_equal(seg_tiles_from_rows(&t, x, N, D), SEG_OK);
    assert_int_equal(seg_neighbours_find(NULL, &t, 5, NULL, &first), SEG_OK);
    for (unsigned n_workers = 1; n_workers <= 4; n_workers += n_workers) {
        struct seg_pool *pool = NULL;
        struct seg_neighbours nb = { 0 };
        assert_int_equal(seg_pool_new(n_workers, 1, &pool, NULL), SEG_OK);
        assert_int_equal(seg_neighbours_find(pool, &t, 5, NULL, &nb), SEG_OK);
        assert_memory_equal(nb.rows, first.rows, (size_t)N * 5 * sizeof(uint32_t));
        seg_neighbours_release(&nb);
        seg_pool_free(pool);
    }
    seg_neighbours_release(&first);
    seg_tiles_release(&t);
}

static void search_stops_when_cancelled(void **state)
{
    (void)state;
    static float x[N * D];
    struct seg_tiles t;
    struct seg_neighbours nb = { 0 };
    atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    lattice(x, N);
    assert_int_equal(seg_tiles_from_rows(&t, x, N, D), SEG_OK);
    assert_int_equal(seg_neighbours_find(NULL, &t, 5, &progress, &nb), SEG_ECANCELED);
    assert_null(nb.rows);
    seg_tiles_release(&t);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    static float x[N * D];
    struct seg_tiles t;
    struct seg_neighbours nb = { 0 };
    enum seg_status st = SEG_ENOMEM;
    uint64_t n = 0;
    lattice(x, N);
    assert_int_equal(seg_tiles_from_rows(&t, x, N, D), SEG_OK);
    while (st == SEG_ENOMEM) {
        seg_alloc_fail_at(++n);
        st = seg_neighbours_find(NULL, &t, 5, NULL, &nb);
    }
    seg_alloc_fail_at(0);
    assert_int_equal(st, SEG_OK);
    assert_int_equal(n, 1 + 3 * 4 + 1);
    seg_neighbours_release(&nb);
    seg_tiles_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_are_the_nearest_rows_ties_to_the_lower),
        cmocka_unit_test(few_rows_have_fewer_neighbours),
        cmocka_unit_test(mean_is_that_of_the_row_and_its_neighbours),
        cmocka_unit_test(neighbours_are_the_same_at_any_worker_count),
        cmocka_unit_test(search_stops_when_cancelled),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
