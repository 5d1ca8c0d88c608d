/* test_table.c - new rows are missing everywhere, and categories are counted as they stand there.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
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

static void table_survives_a_failed_allocation(void **state)
{
    (void)state;
    struct seg_table t;
    table_make(&t, SEG_CHUNK_ROWS);
    size_t row = 77;
    seg_alloc_fail_at(1);
    assert_int_equal(seg_table_add_row(&t, &row), SEG_ENOMEM);
    seg_alloc_fail_at(0);
    assert_int_equal(row, 77);
    assert_int_equal(t.cells.n_rows, SEG_CHUNK_ROWS);
    seg_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_new_rows_are_missing_everywhere),
        cmocka_unit_test(table_clear_rows_touches_no_other_row),
        cmocka_unit_test(table_category_counts_count_missing_last),
        cmocka_unit_test(table_survives_a_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
