/* test_preprocess.c - columns of numbers: what is fitted, what comes out, and that neither depends
 * on anything it should not. Figures of scikit-learn come from tests/reference/preprocess.py. */
#include "features/order.h"
#include "preprocess_fixture.h"
#include "preprocess_reference.h"

static void columns_agree_with_scikit_learn(void **state)
{
    (void)state;
    for (unsigned k = 0; k < sizeof REFERENCE / sizeof REFERENCE[0]; k++) {
        for (unsigned c = 0; c < REFERENCE[k].n_columns; c++) {
            struct seg_table t;
            struct seg_column_spec spec = plain_spec();
            spec.transform = REFERENCE[k].transform;
            spec.scale = REFERENCE[k].scale;
            table_of(&t, REFERENCE_X[c], REFERENCE_ROWS);
            struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
            for (unsigned i = 0; i < REFERENCE_ROWS; i++) {
                const double y = (double)apply_number(p, REFERENCE_X[c][i]);
                if (!near(y, REFERENCE[k].y[c][i], 1e-6, 1e-6))
                    fail_msg("%s, column %u, row %u: %.9g, not %.9g", REFERENCE[k].name, c, i, y,
                             REFERENCE[k].y[c][i]);
            }
            seg_preprocess_free(p);
            seg_table_release(&t);
        }
    }
}

static void quantiles_of_more_rows_than_knots_agree_with_scikit_learn(void **state)
{
    (void)state;
    enum { N = 1500 };
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    float x[N];
    for (unsigned i = 0; i < N; i++) {
        const float base = (float)(i * 7919 % N);
        x[i] = base * base / 128;
    }
    spec.transform = SEG_TRANSFORM_QUANTILE;
    table_of(&t, x, N);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    for (unsigned i = 0; i < N / 100; i++)
        assert_true(
            near((double)apply_number(p, x[i * 100]), REFERENCE_LARGE_QUANTILE[i], 0, 1e-6));
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void imputed_and_winsorized_column_agrees_with_scikit_learn(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    float x[REFERENCE_ROWS];
    for (unsigned i = 0; i < REFERENCE_ROWS; i++)
        x[i] = i % 4 == 0 ? NAN : REFERENCE_X[0][i];
    spec.outliers = SEG_OUTLIERS_WINSORIZE;
    spec.lower = 0.05;
    spec.upper = 0.95;
    spec.scale = SEG_SCALE_STANDARD;
    table_of(&t, x, REFERENCE_ROWS);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    for (unsigned i = 0; i < REFERENCE_ROWS; i++)
        assert_true(near((double)apply_number(p, x[i]), REFERENCE_IMPUTED[i], 1e-6, 1e-6));
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void constant_columns_become_zero(void **state)
{
    (void)state;
    static const float CONSTANTS[] = { 0, 7, -1e6f, 1e30f, 1e-30f };
    for (unsigned k = 0; k < sizeof CONSTANTS / sizeof CONSTANTS[0]; k++) {
        for (int transform = SEG_TRANSFORM_NONE; transform <= SEG_TRANSFORM_BINS; transform++) {
            for (int scale = SEG_SCALE_STANDARD; scale <= SEG_SCALE_MAX_ABS; scale++) {
                const float c = CONSTANTS[k];
                struct seg_table t;
                struct seg_column_spec spec = plain_spec();
                spec.transform = (enum seg_transform)transform;
                spec.scale = (enum seg_scale)scale;
                table_of(&t, (const float[]){ c, NAN, c, c }, 4);
                struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
                assert_true(apply_number(p, c) == 0);
                assert_true(apply_number(p, NAN) == 0);
                assert_true(apply_number(p, 12345) == 0); /* and nothing else can be told from it */
                seg_preprocess_free(p);
                seg_table_release(&t);
            }
        }
    }
}

static void robust_only_centers_where_the_middle_half_is_one_value(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    spec.scale = SEG_SCALE_ROBUST;
    table_of(&t, (const float[]){ 3, 3, 3, 3, 3, 3, 3, 9 }, 8);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    assert_true(apply_number(p, 9) == 6);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void missing_values_become_what_was_asked_for(void **state)
{
    (void)state;
    static const float X[] = { 1, 2, 2, 5, NAN, 10 };
    static const struct {
        enum seg_impute impute;
        float want;
    } CASES[] = { { SEG_IMPUTE_MEAN, 4 },
                  { SEG_IMPUTE_MEDIAN, 2 },
                  { SEG_IMPUTE_MODE, 2 },
                  { SEG_IMPUTE_ZERO, 0 },
                  { SEG_IMPUTE_CONSTANT, -8.5f } };
    for (unsigned k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        struct seg_table t;
        struct seg_column_spec spec = plain_spec();
        spec.impute = CASES[k].impute;
        spec.constant = -8.5;
        spec.indicator = true;
        table_of(&t, X, 6);
        struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
        assert_true(apply_number(p, NAN) == CASES[k].want);
        assert_true(apply_number(p, INFINITY) == CASES[k].want);
        assert_true(apply_number(p, 77) == 77);
        assert_int_equal(seg_preprocess_n_out(p), 2);
        assert_string_equal(seg_preprocess_out_name(p, 0), "f0");
        assert_string_equal(seg_preprocess_out_name(p, 1), "f0 is missing");
        assert_true(apply_cells(p, &(union seg_cell){ .number = NAN }, 1) == 1);
        assert_true(apply_cells(p, &(union seg_cell){ .number = 3 }, 1) == 0);
        seg_preprocess_free(p);
        seg_table_release(&t);
    }
}

static void mode_of_several_is_the_smallest(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    spec.impute = SEG_IMPUTE_MODE;
    table_of(&t, (const float[]){ 9, 4, 4, -1, 9, 6 }, 6);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    assert_true(apply_number(p, NAN) == 4);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void vector_is_missing_when_all_of_it_is(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    spec.indicator = true;
    table_make(&t, (const enum seg_type[]){ SEG_VECTOR }, 1, 3);
    for (size_t row = 0; row < 2; row++)
        for (uint32_t cell = 0; cell < 3; cell++)
            seg_table_cell(&t, row, cell)->number = (float)(10 * row + cell);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    const union seg_cell missing[3] = { { NAN }, { NAN }, { NAN } },
                         part[3] = { { NAN }, { 4 }, { 5 } };
    assert_int_equal(seg_preprocess_n_out(p), 4);
    assert_string_equal(seg_preprocess_out_name(p, 2), "f0[2]");
    assert_int_equal(seg_preprocess_column_feature(p, 3), 0);
    assert_true(apply_cells(p, missing, 3) == 1);
    assert_true(apply_cells(p, missing, 1) == 6); /* the median of 1 and 11 */
    assert_true(apply_cells(p, part, 3) == 0);
    assert_true(apply_cells(p, part, 0) == 5);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

/* 101 values 0, 1 … 100 in an odd order. */
static struct seg_preprocess *fit_outliers(enum seg_outliers outliers, double threshold)
{
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    float x[101];
    for (unsigned i = 0; i < 101; i++)
        x[i] = (float)(i * 37 % 101);
    spec.outliers = outliers;
    spec.threshold = threshold;
    spec.lower = 0.1;
    spec.upper = 0.955;
    table_of(&t, x, 101);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    seg_table_release(&t);
    return p;
}

static void outliers_are_clipped_at_their_fences(void **state)
{
    (void)state;
    struct seg_preprocess *p = fit_outliers(SEG_OUTLIERS_WINSORIZE, 0);
    assert_true(near((double)apply_number(p, -1000), 10, 1e-6, 0));
    assert_true(near((double)apply_number(p, 1000), 95.5, 1e-6, 0));
    assert_true(apply_number(p, 50.5f) == 50.5f);
    seg_preprocess_free(p);

    p = fit_outliers(SEG_OUTLIERS_IQR, 1.5); /* quartiles 25 and 75 */
    assert_true(apply_number(p, -1000) == -50);
    assert_true(apply_number(p, 1000) == 150);
    assert_true(apply_number(p, 149) == 149);
    seg_preprocess_free(p);

    p = fit_outliers(SEG_OUTLIERS_ZSCORE, 2); /* mean 50, variance (101^2 - 1) / 12 */
    assert_true(near((double)apply_number(p, -1000), 50 - 2 * sqrt(850), 1e-6, 0));
    assert_true(near((double)apply_number(p, 1000), 50 + 2 * sqrt(850), 1e-6, 0));
    seg_preprocess_free(p);
}

static void outliers_leave_a_rare_yes_alone(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    spec.outliers = SEG_OUTLIERS_WINSORIZE;
    table_make(&t, (const enum seg_type[]){ SEG_BOOLEAN }, 1, 1000);
    for (size_t row = 0; row < 1000; row++)
        seg_table_cell(&t, row, 0)->number = row == 500;
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    assert_true(apply_number(p, 1) == 1);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void columns_at_a_million_keep_their_digits(void **state)
{
    (void)state;
    enum { N = 5000 };
    for (int scale = SEG_SCALE_STANDARD; scale <= SEG_SCALE_MAX_ABS; scale++) {
        struct seg_table t;
        struct seg_column_spec spec = plain_spec();
        struct seg_rng rng = seg_rng_make(4, (uint64_t)scale);
        static float x[N], sorted[N];
        double sum = 0, squares = 0, least = INFINITY, most = 0;
        for (unsigned i = 0; i < N; i++) {
            x[i] = 1e6f + (float)seg_rng_below(&rng, 9);
            sum += (double)x[i];
            least = fmin(least, (double)x[i]);
            most = fmax(most, (double)x[i]);
        }
        for (unsigned i = 0; i < N; i++)
            squares += ((double)x[i] - sum / N) * ((double)x[i] - sum / N);
        spec.scale = (enum seg_scale)scale;
        table_of(&t, x, N);
        memcpy(sorted, x, sizeof sorted);
        seg_order_sort(sorted, N);
        const double median = seg_quantile_sorted(sorted, N, 0.5);
        const double iqr =
            seg_quantile_sorted(sorted, N, 0.75) - seg_quantile_sorted(sorted, N, 0.25);
        struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
        for (double v = 999990; v <= 1000020; v++) {
            double want = 0; /* in float64 throughout */
            switch (scale) {
            case SEG_SCALE_STANDARD: want = (v - sum / N) / sqrt(squares / N); break;
            case SEG_SCALE_MIN_MAX: want = (v - least) / (most - least); break;
            case SEG_SCALE_ROBUST: want = (v - median) / iqr; break;
            case SEG_SCALE_MAX_ABS: want = v / most; break;
            }
            assert_true(near((double)apply_number(p, (float)v), want, 1e-6, 1e-12));
        }
        seg_preprocess_free(p);
        seg_table_release(&t);
    }
}

/* A tile in which every cell of every lane is drawn anew. */
static void scramble(const struct seg_schema *s, struct seg_rng *rng, float *raw)
{
    seg_table_clear_rows(s, raw, 0, SEG_TILE_ROWS);
    for (uint32_t i = 0; i < s->n_features; i++)
        for (uint32_t c = s->features[i].cell; c < s->features[i].cell + s->features[i].width; c++)
            for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
                union seg_cell *cell = (union seg_cell *)raw + (size_t)c * SEG_TILE_ROWS + r;
                if (seg_rng_below(rng, 8) == 0) continue;
                if (s->features[i].type == SEG_CATEGORICAL)
                    cell->code = (uint32_t)seg_rng_below(rng, 30);
                else
                    cell->number = ldexpf(seg_rng_float(rng) - 0.5f, (int)seg_rng_below(rng, 60));
            }
}

static void row_bits_do_not_depend_on_neighbours_or_place(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec specs[6];
    struct seg_rng rng = seg_rng_make(5, 0);
    mixed_table(&t, 3000, 5);
    mixed_specs(specs, SEG_ENCODE_ORDINAL);
    specs[0].transform = SEG_TRANSFORM_LOG1P;
    struct seg_preprocess *p = fit_or_fail(&t, specs, NULL);
    const uint32_t n_cells = t.schema.n_cells, n_out = seg_preprocess_n_out(p);
    float raw[16 * SEG_TILE_ROWS], out[64 * SEG_TILE_ROWS], cells[16], first[64] = { 0 };
    assert_true(n_cells <= 16 && n_out <= 64);
    for (unsigned trial = 0; trial < 20; trial++) {
        scramble(&t.schema, &rng, raw);
        for (uint32_t c = 0; c < n_cells; c++)
            memcpy(&cells[c], raw + (size_t)c * SEG_TILE_ROWS + 17, sizeof *cells);
        for (unsigned lane = 0; lane < SEG_TILE_ROWS; lane++) {
            scramble(&t.schema, &rng, raw);
            for (uint32_t c = 0; c < n_cells; c++)
                memcpy(raw + (size_t)c * SEG_TILE_ROWS + lane, &cells[c], sizeof *cells);
            seg_preprocess_tile(p, raw, NULL, out);
            for (uint32_t j = 0; j < n_out; j++) {
                const float *value = out + (size_t)j * SEG_TILE_ROWS + lane;
                if (lane == 0) memcpy(&first[j], value, sizeof *value);
                assert_memory_equal(&first[j], value, sizeof *value);
            }
        }
    }
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void output_is_finite_whatever_comes_in(void **state)
{
    (void)state;
    static const float HOSTILE[] = { NAN,     INFINITY, -INFINITY, 0.0f,   -0.0f,  1e-45f, -1e-45f,
                                     3.4e38f, -3.4e38f, 1e30f,     -1e30f, 1e-30f, 1,      -1 };
    enum { N = sizeof HOSTILE / sizeof HOSTILE[0] };
    float tame[N], tiny[N]; /* narrow columns make the largest factors */
    for (unsigned i = 0; i < N; i++) {
        tame[i] = (float)i;
        tiny[i] = (float)(i % 3) * 1e-40f;
    }
    const float *const columns[] = { HOSTILE, tame, tiny };
    for (unsigned k = 0; k < 3; k++)
        for (int outliers = SEG_OUTLIERS_NONE; outliers <= SEG_OUTLIERS_ZSCORE; outliers++)
            for (int transform = SEG_TRANSFORM_NONE; transform <= SEG_TRANSFORM_BINS; transform++)
                for (int scale = SEG_SCALE_NONE; scale <= SEG_SCALE_MAX_ABS; scale++) {
                    struct seg_table t;
                    struct seg_column_spec spec = plain_spec();
                    spec.impute = SEG_IMPUTE_MEAN;
                    spec.outliers = (enum seg_outliers)outliers;
                    spec.transform = (enum seg_transform)transform;
                    spec.scale = (enum seg_scale)scale;
                    table_of(&t, columns[k], N);
                    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
                    for (unsigned i = 0; i < N; i++)
                        assert_true(fabsf(apply_number(p, HOSTILE[i])) <= 1e30f);
                    seg_preprocess_free(p);
                    seg_table_release(&t);
                }
}

static void invert_gives_back_what_was_applied(void **state)
{
    (void)state;
    for (int transform = SEG_TRANSFORM_NONE; transform <= SEG_TRANSFORM_QUANTILE; transform++)
        for (int scale = SEG_SCALE_NONE; scale <= SEG_SCALE_MAX_ABS; scale++)
            for (unsigned c = 0; c < REFERENCE_COLUMNS; c++) {
                /* at 1e6 Yeo-Johnson leaves too few digits to float output */
                if (transform == SEG_TRANSFORM_YEO_JOHNSON && c == 3) continue;
                struct seg_table t;
                struct seg_column_spec spec = plain_spec();
                spec.transform = (enum seg_transform)transform;
                spec.scale = (enum seg_scale)scale;
                table_of(&t, REFERENCE_X[c], REFERENCE_ROWS);
                struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
                for (unsigned i = 0; i < REFERENCE_ROWS; i++) {
                    const float x = REFERENCE_X[c][i], out = apply_number(p, x);
                    float raw = NAN;
                    seg_preprocess_invert(p, &out, &raw);
                    /* within float rounding of the scaled value, which log1p and ranks stretch */
                    if (!near((double)raw, (double)x, 2e-5, 2e-5))
                        fail_msg("transform %d, scale %d, column %u: %.9g, not %.9g", transform,
                                 scale, c, (double)raw, (double)x);
                }
                seg_preprocess_free(p);
                seg_table_release(&t);
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
            for (uint32_t cell = 0; part[row] != SEG_PART_TRAIN && cell < 8; cell++)
                if (cell == 3 || cell == 7)
                    seg_table_cell(&t, row, cell)->code = 0;
                else
                    seg_table_cell(&t, row, cell)->number = 1e9f;
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
        cmocka_unit_test(columns_agree_with_scikit_learn),
        cmocka_unit_test(quantiles_of_more_rows_than_knots_agree_with_scikit_learn),
        cmocka_unit_test(imputed_and_winsorized_column_agrees_with_scikit_learn),
        cmocka_unit_test(constant_columns_become_zero),
        cmocka_unit_test(robust_only_centers_where_the_middle_half_is_one_value),
        cmocka_unit_test(missing_values_become_what_was_asked_for),
        cmocka_unit_test(mode_of_several_is_the_smallest),
        cmocka_unit_test(vector_is_missing_when_all_of_it_is),
        cmocka_unit_test(outliers_are_clipped_at_their_fences),
        cmocka_unit_test(outliers_leave_a_rare_yes_alone),
        cmocka_unit_test(columns_at_a_million_keep_their_digits),
        cmocka_unit_test(row_bits_do_not_depend_on_neighbours_or_place),
        cmocka_unit_test(output_is_finite_whatever_comes_in),
        cmocka_unit_test(invert_gives_back_what_was_applied),
        cmocka_unit_test(fit_reads_the_training_part_alone),
        cmocka_unit_test(fit_refuses_what_cannot_be_fitted),
        cmocka_unit_test(bits_are_the_same_at_any_pool_size),
        cmocka_unit_test(consume_keeps_the_order_of_rows_inside_each_part),
        cmocka_unit_test(consume_refuses_a_table_it_was_not_fitted_for),
        cmocka_unit_test(a_set_cancel_flag_stops_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
