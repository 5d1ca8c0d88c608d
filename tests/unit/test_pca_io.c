/* test_pca_io.c - stored components give the bits of those that were fitted, damaged ones are
 * refused or harmless. */
#include "pca_fixture.h"
#include "tensors_damage.h"
#include "compute/gemm.h"

static void a_row_alone_has_the_bits_of_the_batch_and_of_what_is_stored(void **state)
{
    (void)state;
    struct seg_table t, same;
    struct seg_tiles z;
    struct seg_tensors ts;
    struct seg_preprocess *again = NULL;
    uint32_t n_wanted;
    const struct seg_pca_spec spec = { .wanted = true, .n_components = 4, .whiten = true };
    dependent_table(&t, N_ROWS);
    dependent_table(&same, N_ROWS);
    struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_ROBUST, &spec, &z, &n_wanted);
    seg_tensors_init(&ts);
    assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
    assert_true(seg_preprocess_needs_format_2(p));
    assert_int_equal(seg_preprocess_load(&ts, &again, NULL), SEG_OK);
    assert_int_equal(seg_preprocess_n_out(again), 4);
    assert_string_equal(seg_preprocess_out_name(again, 3), "pca_4");
    assert_memory_equal(seg_preprocess_explained(p), seg_preprocess_explained(again),
                        4 * sizeof(double));
    for (size_t row = 0; row < N_ROWS; row += 7) {
        union seg_cell cells[N_COLUMNS];
        float a[N_COLUMNS], b[N_COLUMNS], out[4];
        for (uint32_t c = 0; c < N_COLUMNS; c++)
            cells[c] = *seg_table_cell(&same, row, c);
        seg_tiles_get_row(&z, row, out);
        for (uint32_t i = 0; i < 4; i++) {
            assert_true(apply_cells(p, cells, i) == out[i]);
            assert_true(apply_cells(again, cells, i) == out[i]);
        }
        seg_preprocess_invert(p, out, a);
        seg_preprocess_invert(again, out, b);
        assert_memory_equal(a, b, sizeof a);
    }
    const float *last = seg_tiles_at(&z, seg_tiles_count(&z) - 1); /* zero past the last row */
    for (unsigned r = N_ROWS % SEG_TILE_ROWS; r < SEG_TILE_ROWS; r++)
        assert_true(last[r] == 0 && last[3 * SEG_TILE_ROWS + r] == 0);
    seg_tiles_release(&z);
    seg_tensors_release(&ts);
    seg_preprocess_free(p);
    seg_preprocess_free(again);
    seg_table_release(&t);
    seg_table_release(&same);
}

/* Tensors of a small plan with components. */
static void small_tensors(struct seg_tensors *ts)
{
    struct seg_table t;
    struct seg_tiles z;
    uint32_t n_wanted;
    const struct seg_pca_spec spec = { .wanted = true, .n_components = 3 };
    dependent_table(&t, 100);
    struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_STANDARD, &spec, &z, &n_wanted);
    seg_tensors_init(ts);
    assert_int_equal(seg_preprocess_save(p, ts), SEG_OK);
    seg_tiles_release(&z);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

/* Whether it is refused; else it is as harmless as any plan. */
static bool refused(const struct seg_tensors *ts)
{
    struct seg_preprocess *p = NULL;
    struct seg_error err = { "" };
    const enum seg_status st = seg_preprocess_load(ts, &p, &err);
    if (st != SEG_OK) {
        assert_int_equal(st, SEG_EFORMAT);
        assert_true(p == NULL && err.text[0] != '\0');
        return true;
    }
    const union seg_cell cells[N_COLUMNS] = { { .number = 1 }, { .number = 2 }, { .number = NAN } };
    float out[N_COLUMNS] = { 0 }, raw[N_COLUMNS];
    for (uint32_t i = 0; i < seg_preprocess_n_out(p); i++) {
        out[i] = apply_cells(p, cells, i);
        assert_true(fabsf(out[i]) <= 1e30f);
    }
    seg_preprocess_invert(p, out, raw);
    for (uint32_t c = 0; c < N_COLUMNS; c++)
        assert_true(fabsf(raw[c]) <= 1e30f);
    seg_preprocess_free(p);
    return false;
}

static void damaged_components_are_refused_or_harmless(void **state)
{
    (void)state;
    struct seg_tensors ts;
    size_t n_refused = 0, n_parts = 0;
    small_tensors(&ts);
    assert_false(refused(&ts));
    for (size_t i = 0; i < ts.n_items; i++) {
        if (strncmp(ts.items[i].name, "preprocess.pca.", 15) != 0) continue;
        n_parts++;
        n_refused += tensors_flip_bits(&ts, i, 1, refused);
        tensors_must_be_whole(&ts, i, refused);
    }
    assert_true(n_parts == 4 && n_refused > 30);
    seg_tensors_release(&ts);
}

/* Fits, turns, saves and loads with the nth allocation failing. */
static enum seg_status whole_way(uint64_t nth)
{
    struct seg_table t;
    struct seg_column_spec specs[N_COLUMNS];
    struct seg_preprocess *p = NULL, *again = NULL;
    struct seg_tiles x[SEG_PARTS];
    struct seg_tensors ts;
    uint32_t n_wanted;
    const struct seg_pca_spec spec = { .wanted = true, .variance = 0.9 };
    for (unsigned i = 0; i < N_COLUMNS; i++)
        specs[i] = plain_spec();
    dependent_table(&t, 200);
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = specs },
                                        NULL, NULL, 0, 1, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, NULL, NULL, NULL, x, NULL), SEG_OK);
    seg_tensors_init(&ts);
    seg_alloc_fail_at(nth);
    enum seg_status st = seg_preprocess_fit_pca(NULL, p, &spec, &x[0], NULL, &n_wanted, NULL);
    if (st == SEG_OK) st = seg_preprocess_consume_columns(NULL, p, NULL, &x[0]);
    if (st == SEG_OK) st = seg_preprocess_save(p, &ts);
    if (st == SEG_OK) st = seg_preprocess_load(&ts, &again, NULL);
    seg_alloc_fail_at(0);
    for (unsigned i = 0; i < SEG_PARTS; i++)
        seg_tiles_release(&x[i]);
    seg_tensors_release(&ts);
    seg_preprocess_free(p);
    seg_preprocess_free(again);
    seg_table_release(&t);
    return st;
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (enum seg_status st; (st = whole_way(nth)) != SEG_OK; nth++)
        assert_int_equal(st, SEG_ENOMEM);
    assert_true(nth > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_alone_has_the_bits_of_the_batch_and_of_what_is_stored),
        cmocka_unit_test(damaged_components_are_refused_or_harmless),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
