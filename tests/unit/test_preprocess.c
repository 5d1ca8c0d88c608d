/* test_preprocess.c - a plan is fitted to the training part alone, with the same bits at any pool
 * size, or refused with a sentence. */
#include "preprocess_fixture.h"

/* Every cell of a row becomes one that would be noticed. */
static void overwrite(struct seg_table *t, size_t row)
{
    for (uint32_t i = 0; i < t->schema.n_features; i++) {
        const struct seg_feature *f = &t->schema.features[i];
        for (uint32_t c = 0; c < seg_feature_cells(f->type, f->width); c++)
            if (f->type == SEG_CATEGORICAL)
                seg_table_cell(t, row, f->cell)->code = 0;
            else
                seg_table_cell(t, row, f->cell + c)->number = 1e9f;
    }
}

static void fit_reads_the_training_part_alone(void **state)
{
    (void)state;
    enum { N = 3000 };
    struct seg_table t;
    struct seg_column_spec specs[6];
    struct seg_rng rng = seg_rng_make(6, 0);
    uint8_t part[N], *before, *after;
    size_t n_before, n_after;
    mixed_table(&t, N, 6);
    mixed_specs(specs, SEG_ENCODE_ORDINAL);
    for (size_t row = 0; row < N; row++)
        part[row] = (uint8_t)seg_rng_below(&rng, SEG_PARTS);
    for (unsigned change = 0; change < 2; change++) {
        struct seg_preprocess *p = fit_or_fail(&t, specs, part);
        struct seg_tensors ts;
        seg_tensors_init(&ts);
        assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
        assert_int_equal(seg_tensors_write(&ts, change == 0 ? &before : &after,
                                           change == 0 ? &n_before : &n_after),
                         SEG_OK);
        seg_tensors_release(&ts);
        seg_preprocess_free(p);
        for (size_t row = 0; row < N; row++)
            if (part[row] != SEG_PART_TRAIN) overwrite(&t, row);
    }
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before);
    seg_free(before);
    seg_free(after);
    seg_table_release(&t);
}

static void expect_refusal(const struct seg_table *t, const struct seg_column_spec *spec,
                           const uint8_t *part, const char *word)
{
    struct seg_preprocess *p = NULL;
    struct seg_error err = { "" };
    assert_int_equal(seg_preprocess_fit(NULL, t, &(struct seg_preprocess_spec){ .columns = spec },
                                        part, NULL, 0, 1, NULL, &p, &err),
                     SEG_EINVAL);
    assert_null(p);
    if (strstr(err.text, word) == NULL) fail_msg("\"%s\" does not say %s", err.text, word);
}

static void fit_refuses_what_cannot_be_fitted(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec good = plain_spec(), spec = good;
    const uint8_t test_only[] = { SEG_PART_TEST, SEG_PART_TEST, SEG_PART_TEST };
    const uint8_t missing_only[] = { SEG_PART_TEST, SEG_PART_TRAIN, SEG_PART_TEST };
    table_of(&t, (const float[]){ 1, NAN, 2 }, 3);
    expect_refusal(&t, &good, test_only, "no training rows");
    expect_refusal(&t, &good, missing_only, "f0: there is no value");
    spec.impute = SEG_IMPUTE_ERROR;
    expect_refusal(&t, &spec, NULL, "f0: a value is missing");
    spec = good, spec.impute = (enum seg_impute)6;
    expect_refusal(&t, &spec, NULL, "impute");
    spec = good, spec.impute = SEG_IMPUTE_CONSTANT, spec.constant = NAN;
    expect_refusal(&t, &spec, NULL, "constant");
    spec = good, spec.outliers = SEG_OUTLIERS_WINSORIZE, spec.lower = spec.upper;
    expect_refusal(&t, &spec, NULL, "winsorize");
    spec = good, spec.outliers = SEG_OUTLIERS_WINSORIZE, spec.lower = NAN;
    expect_refusal(&t, &spec, NULL, "winsorize");
    spec = good, spec.outliers = SEG_OUTLIERS_IQR, spec.threshold = 0;
    expect_refusal(&t, &spec, NULL, "threshold");
    spec = good, spec.scale = (enum seg_scale)9;
    expect_refusal(&t, &spec, NULL, "scale");
    seg_table_release(&t);

    table_of(&t, (const float[]){ 1, 2, 3 }, 3); /* the value is there: error asks for no more */
    spec = good, spec.impute = SEG_IMPUTE_ERROR;
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    assert_true(apply_number(p, NAN) == 2); /* scoring cannot fail: the mean */
    seg_preprocess_free(p);
    seg_table_release(&t);
}

/* Everything a run gives: the stored plan and all parts, in new bytes. */
static void run_on(struct seg_pool *pool, size_t n_rows, const uint8_t *part, const uint16_t *y,
                   uint8_t **ret_bytes, size_t *ret_len)
{
    struct seg_table t;
    struct seg_column_spec specs[6];
    struct seg_preprocess *p = NULL;
    struct seg_tensors ts;
    struct seg_tiles x[SEG_PARTS];
    mixed_table(&t, n_rows, 7);
    mixed_specs(specs, SEG_ENCODE_TARGET);
    assert_int_equal(seg_preprocess_fit(pool, &t, &(struct seg_preprocess_spec){ .columns = specs },
                                        part, y, 3, 9, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_consume(pool, p, &t, part, y, NULL, x, NULL), SEG_OK);
    seg_tensors_init(&ts);
    assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
    for (unsigned k = 0; k < SEG_PARTS; k++) {
        const char name[2] = { (char)('0' + k), '\0' };
        const size_t n_out = x[k].n_cols;
        float *rows = seg_alloc(x[k].n_rows * n_out, sizeof *rows);
        for (size_t row = 0; row < x[k].n_rows; row++)
            seg_tiles_get_row(&x[k], row, rows + row * n_out);
        assert_int_equal(seg_tensors_add_vector(&ts, name, SEG_F32, x[k].n_rows * n_out, rows),
                         SEG_OK);
        seg_free(rows);
        seg_tiles_release(&x[k]);
    }
    assert_int_equal(seg_tensors_write(&ts, ret_bytes, ret_len), SEG_OK);
    seg_tensors_release(&ts);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void bits_are_the_same_at_any_pool_size(void **state)
{
    (void)state;
    enum { N = 3 * SEG_CHUNK_ROWS + 100 };
    static uint8_t part[N];
    static uint16_t y[N];
    struct seg_rng rng = seg_rng_make(8, 0);
    uint8_t *want, *bytes;
    size_t n_want, n_bytes;
    for (size_t row = 0; row < N; row++) {
        part[row] = (uint8_t)seg_rng_below(&rng, SEG_PARTS);
        y[row] = (uint16_t)seg_rng_below(&rng, 3);
    }
    for (unsigned with_parts = 0; with_parts < 2; with_parts++) {
        const uint8_t *parts = with_parts != 0 ? part : NULL;
        run_on(NULL, N, parts, y, &want, &n_want);
        for (unsigned n_workers = 1; n_workers <= 4; n_workers *= 2) {
            struct seg_pool *pool;
            assert_int_equal(seg_pool_new(n_workers, 4, &pool, NULL), SEG_OK);
            run_on(pool, N, parts, y, &bytes, &n_bytes);
            seg_pool_free(pool);
            assert_int_equal(n_bytes, n_want);
            assert_memory_equal(bytes, want, n_want);
            seg_free(bytes);
        }
        seg_free(want);
    }
}

static void a_set_cancel_flag_stops_both(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_tiles x[SEG_PARTS];
    struct seg_column_spec spec = plain_spec();
    struct seg_preprocess *p = NULL;
    atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    table_of(&t, (const float[]){ 1, 2, 3 }, 3);
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        NULL, NULL, 0, 1, &progress, &p, NULL),
                     SEG_ECANCELED);
    assert_null(p);
    p = fit_or_fail(&t, &spec, NULL);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, NULL, NULL, &progress, x, NULL),
                     SEG_ECANCELED);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fit_reads_the_training_part_alone),
        cmocka_unit_test(fit_refuses_what_cannot_be_fitted),
        cmocka_unit_test(bits_are_the_same_at_any_pool_size),
        cmocka_unit_test(a_set_cancel_flag_stops_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
