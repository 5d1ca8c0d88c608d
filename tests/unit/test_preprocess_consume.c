/* test_preprocess_consume.c - a table that is eaten becomes the rows that its tiles would give, in
 * order inside each part. */
#include "preprocess_fixture.h"

/* Consumes a mixed table by part and compares each row with what the tile gives. */
static void check_consumed(size_t n_rows, const uint8_t *part)
{
    struct seg_table t, same;
    struct seg_column_spec specs[6];
    struct seg_tiles x[SEG_PARTS];
    size_t next[SEG_PARTS] = { 0 };
    mixed_table(&t, n_rows, 10);
    mixed_table(&same, n_rows, 10);
    mixed_specs(specs, SEG_ENCODE_ORDINAL);
    struct seg_preprocess *p = fit_or_fail(&t, specs, NULL);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, part, NULL, NULL, x, NULL), SEG_OK);
    for (size_t i = 0; i < t.cells.n_chunks; i++)
        assert_null(t.cells.chunks[i]);
    const struct seg_schema *ours = seg_preprocess_inputs(p);
    for (size_t row = 0; row < n_rows; row++) {
        union seg_cell cells[9];
        float got[64];
        for (uint32_t c = 0; c < 9; c++)
            cells[c] = *seg_table_cell(&same, row, c);
        for (uint32_t i = 3; i <= 5; i += 2) { /* codes of the table to those of the plan */
            const uint32_t c = ours->features[i].cell, code = cells[c].code;
            const struct seg_dictionary *d = &same.schema.features[i].dictionary;
            if (code != SEG_CODE_MISSING)
                cells[c].code = seg_dictionary_find(&ours->features[i].dictionary, d->strings[code],
                                                    d->lengths[code]);
        }
        const unsigned k = part == NULL ? 0 : part[row];
        seg_tiles_get_row(&x[k], next[k]++, got);
        for (uint32_t j = 0; j < seg_preprocess_n_out(p); j++)
            assert_true(got[j] == apply_cells(p, cells, j));
    }
    for (unsigned k = 0; k < SEG_PARTS; k++) {
        assert_int_equal(x[k].n_rows, next[k]);
        const size_t tile = seg_tiles_count(&x[k]) - 1;
        for (unsigned r = 0; next[k] > 0 && r < SEG_TILE_ROWS; r++) /* zero past the last row */
            if (r >= seg_tiles_rows(&x[k], tile))
                assert_true(seg_tiles_at(&x[k], tile)[SEG_TILE_ROWS + r] == 0);
        seg_tiles_release(&x[k]);
    }
    seg_preprocess_free(p);
    seg_table_release(&t);
    seg_table_release(&same);
}

static void consume_keeps_the_order_of_rows_inside_each_part(void **state)
{
    (void)state;
    enum { N = SEG_CHUNK_ROWS + 200 };
    static uint8_t part[N];
    struct seg_rng rng = seg_rng_make(11, 0);
    for (size_t row = 0; row < N; row++)
        part[row] = (uint8_t)(seg_rng_below(&rng, 10) % 4 % SEG_PARTS);
    check_consumed(N, part);
    check_consumed(N, NULL);
    check_consumed(1, part);
    memset(part, SEG_PART_TEST, sizeof part);
    check_consumed(70, part);
}

static void consume_refuses_a_table_it_was_not_fitted_for(void **state)
{
    (void)state;
    struct seg_table t, other;
    struct seg_tiles x[SEG_PARTS];
    struct seg_column_spec spec = plain_spec();
    const uint8_t part[] = { 0, 3, 1 };
    table_of(&t, (const float[]){ 1, 2, 3 }, 3);
    table_make(&other, (const enum seg_type[]){ SEG_BOOLEAN }, 1, 3);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    assert_int_equal(seg_preprocess_consume(NULL, p, &other, NULL, NULL, NULL, x, NULL),
                     SEG_EINVAL);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, part, NULL, NULL, x, NULL), SEG_EINVAL);
    seg_preprocess_free(p);
    seg_table_release(&t);
    seg_table_release(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(consume_keeps_the_order_of_rows_inside_each_part),
        cmocka_unit_test(consume_refuses_a_table_it_was_not_fitted_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
