/* test_fit_number.c - what is fitted to a column of numbers: the figures of scikit-learn
 * (tests/reference/preprocess.py), what stands for a missing value, where outliers are cut.
 */
#include "preprocess_fixture.h"
#include "preprocess_reference.h"
#include "features/order.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
