/* test_table.c - new rows are missing everywhere, and statistics agree with sorting and summing the
 * plain way. Also the order statistics beneath, on sizes of both of their methods. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "features/order.h"
#include "features/table.h"

/* A table of n_rows rows: "x" numeric, "c" categorical with the strings a, b, c, "v" a vector of 2.
 * All missing. */
static void table_make(struct seg_table *t, size_t n_rows)
{
    struct seg_schema s;
    uint32_t code;
    seg_schema_init(&s);
    assert_int_equal(seg_schema_add(&s, "x", SEG_NUMERIC, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(&s, "c", SEG_CATEGORICAL, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(&s, "v", SEG_VECTOR, 2, NULL), SEG_OK);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(seg_dictionary_add(&s.features[1].dictionary, &"abc"[i], 1, &code),
                         SEG_OK);
    seg_table_init(t, &s);
    assert_int_equal(s.n_features, 0); /* taken */
    for (size_t i = 0; i < n_rows; i++) {
        size_t row = SIZE_MAX;
        assert_int_equal(seg_table_add_row(t, &row), SEG_OK);
        assert_int_equal(row, i);
    }
}

static void table_new_rows_are_missing_everywhere(void **state)
{
    (void)state;
    struct seg_table t;
    table_make(&t, 200);
    assert_int_equal(t.cells.n_rows, 200);
    for (size_t row = 0; row < 200; row++) {
        assert_true(isnan(seg_table_cell(&t, row, 0)->number));
        assert_int_equal(seg_table_cell(&t, row, 1)->code, SEG_CODE_MISSING);
        assert_true(isnan(seg_table_cell(&t, row, 3)->number));
    }
    /* the lanes past the last row stay zero bits */
    assert_int_equal(((union seg_cell *)seg_tiles_at(&t.cells, 3))[10].code, 0);
    seg_table_release(&t);
}

static void table_clear_rows_touches_no_other_row(void **state)
{
    (void)state;
    struct seg_table t;
    table_make(&t, 64);
    float *tile = seg_tiles_at(&t.cells, 0);
    memset(tile, 0, (size_t)4 * SEG_TILE_ROWS * sizeof *tile);
    seg_table_clear_rows(&t.schema, tile, 5, 3);
    for (size_t row = 0; row < 64; row++) {
        const bool cleared = row >= 5 && row < 8;
        assert_int_equal(isnan(seg_table_cell(&t, row, 2)->number) != 0, cleared);
        assert_int_equal(seg_table_cell(&t, row, 1)->code == SEG_CODE_MISSING, cleared);
    }
    seg_table_release(&t);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Values that are hard to order: both signs, ties, zeros of both signs, extremes. */
static float awkward(struct seg_rng *rng, unsigned kind)
{
    switch (kind) {
    case 0: return (float)seg_rng_normal(rng);
    case 1: return (float)seg_rng_below(rng, 5);
    case 2: return 1e6f + (float)seg_rng_below(rng, 1000);
    case 3: return seg_rng_below(rng, 2) != 0 ? -0.0f : 0.0f;
    default: return ldexpf(seg_rng_float(rng) - 0.5f, (int)seg_rng_below(rng, 240) - 120);
    }
}

static void order_quantiles_equal_those_of_a_sorted_copy(void **state)
{
    (void)state;
    static const double AT[] = { 0, 0.01, 0.1, 0.25, 0.5, 0.5, 0.75, 0.999, 1 };
    enum { N_AT = sizeof AT / sizeof AT[0] };
    static const size_t SIZES[] = { 1, 2, 3, 49, 1000, 8192, 8193, 100000 };
    struct seg_rng rng = seg_rng_make(1, 0);
    uint32_t *counts = seg_alloc(SEG_ORDER_COUNTS, sizeof *counts);
    assert_non_null(counts);
    for (size_t i = 0; i < sizeof SIZES / sizeof SIZES[0]; i++) {
        for (unsigned kind = 0; kind < 5; kind++) {
            const size_t n = SIZES[i];
            float *x = seg_alloc(n, sizeof *x), *sorted = seg_alloc(n, sizeof *x);
            struct seg_quantile q[N_AT];
            for (size_t j = 0; j < n; j++)
                sorted[j] = x[j] = awkward(&rng, kind);
            qsort(sorted, n, sizeof *sorted, ascending);
            seg_order_quantiles(x, n, AT, N_AT, counts, q);
            for (unsigned j = 0; j < N_AT; j++)
                assert_true(seg_quantile_value(&q[j]) == seg_quantile_sorted(sorted, n, AT[j]));
            seg_order_sort(x, n);
            for (size_t j = 0; j < n; j++)
                assert_true(x[j] == sorted[j]);
            seg_free(x);
            seg_free(sorted);
        }
    }
    seg_free(counts);
}

static void quantile_is_linear_between_order_statistics(void **state)
{
    (void)state;
    /* numpy.quantile([1, 2, 4, 8], q) */
    const float x[] = { 1, 2, 4, 8 };
    assert_true(seg_quantile_sorted(x, 4, 0) == 1);
    assert_true(fabs(seg_quantile_sorted(x, 4, 0.25) - 1.75) < 1e-15);
    assert_true(fabs(seg_quantile_sorted(x, 4, 0.5) - 3) < 1e-15);
    assert_true(fabs(seg_quantile_sorted(x, 4, 0.9) - 6.8) < 1e-14);
    assert_true(seg_quantile_sorted(x, 4, 1) == 8);
    assert_true(seg_quantile_sorted(x, 1, 0.3) == 1);
}

static void table_stats_count_only_the_wanted_part(void **state)
{
    (void)state;
    enum { N = 9001 };
    struct seg_table t;
    struct seg_rng rng = seg_rng_make(2, 0);
    struct seg_column_stats s;
    uint8_t *part = seg_alloc(N, 1);
    float *values = seg_alloc(N, sizeof *values);
    size_t n = 0, n_missing = 0;
    double sum = 0, squares = 0;
    table_make(&t, N);
    for (size_t row = 0; row < N; row++) {
        part[row] = (uint8_t)seg_rng_below(&rng, 3);
        float x = 1e6f + (float)seg_rng_normal(&rng);
        if (row % 7 == 0) x = NAN;
        if (row % 11 == 0) x = INFINITY; /* no value either */
        seg_table_cell(&t, row, 3)->number = x;
        if (part[row] != 1) continue;
        if (isfinite(x)) {
            values[n++] = x;
            sum += (double)x;
        } else {
            n_missing++;
        }
    }
    const double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)values[i] - mean) * ((double)values[i] - mean);
    qsort(values, n, sizeof *values, ascending);
    assert_int_equal(seg_table_stats(&t, 3, part, 1, &s), SEG_OK);
    assert_int_equal(s.n_present, n);
    assert_int_equal(s.n_missing, n_missing);
    assert_true(fabs(s.mean - mean) < 1e-9 * mean);
    assert_true(fabs(s.sd - sqrt(squares / (double)n)) < 1e-9);
    assert_true(s.min == (double)values[0] && s.max == (double)values[n - 1]);
    assert_true(s.p10 == seg_quantile_sorted(values, n, 0.10));
    assert_true(s.p25 == seg_quantile_sorted(values, n, 0.25));
    assert_true(s.median == seg_quantile_sorted(values, n, 0.5));
    assert_true(s.p75 == seg_quantile_sorted(values, n, 0.75));
    assert_true(s.p90 == seg_quantile_sorted(values, n, 0.90));
    seg_free(values);
    seg_free(part);
    seg_table_release(&t);
}

static void table_stats_of_nothing_are_nan(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_stats s;
    table_make(&t, 3);
    assert_int_equal(seg_table_stats(&t, 0, NULL, 0, &s), SEG_OK);
    assert_int_equal(s.n_present, 0);
    assert_int_equal(s.n_missing, 3);
    assert_true(isnan(s.mean) && isnan(s.sd) && isnan(s.min) && isnan(s.median) && isnan(s.max));
    seg_table_release(&t);
}

static void table_category_counts_count_missing_last(void **state)
{
    (void)state;
    struct seg_table t;
    size_t counts[4];
    const uint8_t part[] = { 0, 0, 0, 0, 1, 1 };
    const uint32_t codes[] = { 2, 2, 0, SEG_CODE_MISSING, 2, 1 };
    table_make(&t, 6);
    for (size_t row = 0; row < 6; row++)
        seg_table_cell(&t, row, 1)->code = codes[row];
    seg_table_category_counts(&t, 1, part, 0, counts);
    assert_int_equal(counts[0], 1);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 2);
    assert_int_equal(counts[3], 1);
    seg_table_category_counts(&t, 1, NULL, 0, counts);
    assert_int_equal(counts[2], 3);
    seg_table_release(&t);
}

static void table_survives_every_failed_allocation(void **state)
{
    (void)state;
    enum { N = 9000 }; /* enough for the histograms */
    struct seg_table t;
    table_make(&t, N);
    for (size_t row = 0; row < N; row++)
        seg_table_cell(&t, row, 0)->number = (float)row;
    uint64_t nth = 1;
    for (enum seg_status st = SEG_ENOMEM; st != SEG_OK; nth++) {
        struct seg_column_stats s = { .n_present = 77 };
        seg_alloc_fail_at(nth);
        st = seg_table_stats(&t, 0, NULL, 0, &s);
        seg_alloc_fail_at(0);
        assert_int_equal(s.n_present, st == SEG_OK ? N : 77);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
    }
    assert_true(nth > 3); /* some did fail */
    while (t.cells.n_rows % SEG_CHUNK_ROWS != 0) {
        size_t row;
        assert_int_equal(seg_table_add_row(&t, &row), SEG_OK);
    }
    const size_t n_rows = t.cells.n_rows;
    size_t row = 77;
    seg_alloc_fail_at(1);
    assert_int_equal(seg_table_add_row(&t, &row), SEG_ENOMEM);
    seg_alloc_fail_at(0);
    assert_int_equal(row, 77);
    assert_int_equal(t.cells.n_rows, n_rows);
    seg_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_new_rows_are_missing_everywhere),
        cmocka_unit_test(table_clear_rows_touches_no_other_row),
        cmocka_unit_test(order_quantiles_equal_those_of_a_sorted_copy),
        cmocka_unit_test(quantile_is_linear_between_order_statistics),
        cmocka_unit_test(table_stats_count_only_the_wanted_part),
        cmocka_unit_test(table_stats_of_nothing_are_nan),
        cmocka_unit_test(table_category_counts_count_missing_last),
        cmocka_unit_test(table_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
