/* test_fit_category.c - categories: which are kept, what they become, and that a target code
 * tells a training row nothing about its own class. */
#include "preprocess_fixture.h"
#include <stdio.h>

static struct seg_preprocess *fit_letters(const char *letters, struct seg_column_spec spec)
{
    struct seg_table t;
    table_of_letters(&t, letters);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    seg_table_release(&t);
    return p;
}

/* The code of a letter in the plan's own dictionary. */
static uint32_t code_of(const struct seg_preprocess *p, char letter)
{
    return seg_dictionary_find(&seg_preprocess_inputs(p)->features[0].dictionary, &letter, 1);
}

static void one_hot_has_a_column_a_category_by_frequency_then_string(void **state)
{
    (void)state;
    struct seg_preprocess *p = fit_letters("cbbacabd", plain_spec());
    static const char *const NAMES[] = { "f0=b", "f0=a", "f0=c", "f0=d" };
    assert_int_equal(seg_preprocess_n_out(p), 4);
    for (uint32_t j = 0; j < 4; j++) {
        assert_string_equal(seg_preprocess_out_name(p, j), NAMES[j]);
        for (char letter = 'a'; letter <= 'd'; letter++)
            assert_true(apply_code(p, code_of(p, letter), j) == (NAMES[j][3] == letter));
    }
    seg_preprocess_free(p);
}

static void one_hot_of_the_unseen_is_all_zero(void **state)
{
    (void)state;
    struct seg_column_spec spec = plain_spec();
    spec.max_categories = 2;
    struct seg_preprocess *p = fit_letters("aaabbc", spec);
    assert_int_equal(seg_preprocess_n_out(p), 2);
    assert_int_equal(code_of(p, 'c'), SEG_CODE_UNSEEN); /* not kept */
    static const uint32_t CODES[] = { SEG_CODE_UNSEEN, 2, 77 };
    for (unsigned i = 0; i < 3; i++)
        for (uint32_t j = 0; j < 2; j++)
            assert_true(apply_code(p, CODES[i], j) == 0);
    seg_preprocess_free(p);
}

static void missing_category_becomes_what_was_asked_for(void **state)
{
    (void)state;
    struct seg_column_spec spec = plain_spec();
    spec.indicator = true;
    spec.impute = SEG_IMPUTE_MODE;
    struct seg_preprocess *p = fit_letters("bba..", spec);
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == 1); /* b */
    assert_true(apply_code(p, SEG_CODE_MISSING, 2) == 1); /* and said so */
    assert_true(apply_code(p, SEG_CODE_UNSEEN, 2) == 0);  /* unseen is not missing */
    seg_preprocess_free(p);

    spec.impute = SEG_IMPUTE_CONSTANT; /* a category of its own, with a count of its own */
    strcpy(spec.constant_text, "none");
    p = fit_letters("bba...", spec);
    assert_string_equal(seg_preprocess_out_name(p, 0), "f0=none");
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == 1);
    seg_preprocess_free(p);

    strcpy(spec.constant_text, "a"); /* or joins one that is there */
    p = fit_letters("bba..", spec);
    assert_string_equal(seg_preprocess_out_name(p, 0), "f0=a");
    assert_int_equal(seg_preprocess_n_out(p), 3);
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == 1);
    seg_preprocess_free(p);

    spec.impute = SEG_IMPUTE_ZERO;
    p = fit_letters("bba..", spec);
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == 0);
    assert_true(apply_code(p, SEG_CODE_MISSING, 1) == 0);
    seg_preprocess_free(p);
}

static void ordinal_counts_by_frequency_and_the_unseen_are_neutral(void **state)
{
    (void)state;
    struct seg_column_spec spec = plain_spec();
    spec.encode = SEG_ENCODE_ORDINAL;
    struct seg_preprocess *p = fit_letters("aaabbbbcc.", spec); /* missing: b, the mode */
    assert_int_equal(seg_preprocess_n_out(p), 1);
    assert_string_equal(seg_preprocess_out_name(p, 0), "f0");
    assert_true(apply_code(p, code_of(p, 'b'), 0) == 0);
    assert_true(apply_code(p, code_of(p, 'a'), 0) == 1);
    assert_true(apply_code(p, code_of(p, 'c'), 0) == 2);
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == 0);
    const double mean = (5 * 0 + 3 * 1 + 2 * 2) / 10.0; /* with the imputed b */
    assert_true(near((double)apply_code(p, SEG_CODE_UNSEEN, 0), mean, 1e-6, 0));
    seg_preprocess_free(p);

    spec.scale = SEG_SCALE_STANDARD;
    p = fit_letters("aaabbbbcc.", spec);
    const double sd = sqrt((3 * 1 + 2 * 4) / 10.0 - mean * mean);
    assert_true(near((double)apply_code(p, code_of(p, 'c'), 0), (2 - mean) / sd, 1e-6, 0));
    assert_true(fabsf(apply_code(p, SEG_CODE_UNSEEN, 0)) < 1e-6f);
    seg_preprocess_free(p);
}

static void code_numbers_by_frequency_and_the_unseen_are_a_category_of_their_own(void **state)
{
    (void)state;
    struct seg_column_spec spec = plain_spec();
    spec.encode = SEG_ENCODE_CODE;
    spec.scale = SEG_SCALE_STANDARD; /* a name is not scaled */
    spec.indicator = true;
    spec.max_categories = 3;
    struct seg_preprocess *p = fit_letters("bbba.accd", spec);
    assert_int_equal(seg_preprocess_n_out(p), 2);
    assert_string_equal(seg_preprocess_out_name(p, 0), "f0");
    assert_int_equal(seg_preprocess_out_codes(p, 0), 4);
    assert_int_equal(seg_preprocess_out_codes(p, 1), 0); /* the indicator is a number */
    assert_true(apply_code(p, code_of(p, 'b'), 0) == 0);
    assert_true(apply_code(p, code_of(p, 'a'), 0) == 1);
    assert_true(apply_code(p, code_of(p, 'c'), 0) == 2);
    assert_int_equal(code_of(p, 'd'), SEG_CODE_UNSEEN); /* not kept */
    assert_true(apply_code(p, SEG_CODE_UNSEEN, 0) == 3);
    assert_true(apply_code(p, 77, 0) == 3);
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == 0); /* median: the mode */
    for (uint32_t code = 0; code < 4; code++) {
        union seg_cell back;
        seg_preprocess_invert(p, (const float[]){ (float)code, 0 }, &back.number);
        assert_int_equal(back.code, code < 3 ? code : SEG_CODE_UNSEEN);
    }
    seg_preprocess_free(p);

    spec.impute = SEG_IMPUTE_ZERO;
    p = fit_letters("bba..", spec);
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == 2); /* as the unseen */
    seg_preprocess_free(p);

    p = fit_letters("bba", plain_spec());
    assert_int_equal(seg_preprocess_out_codes(p, 0), 0);
    seg_preprocess_free(p);
}

static void hash_puts_each_known_string_in_one_column(void **state)
{
    (void)state;
    struct seg_column_spec spec = plain_spec();
    spec.encode = SEG_ENCODE_HASH;
    spec.hash_buckets = 5;
    spec.max_categories = 1; /* means nothing here */
    struct seg_preprocess *p = fit_letters("abcdefghij", spec);
    assert_int_equal(seg_preprocess_n_out(p), 5);
    for (char letter = 'a'; letter <= 'j'; letter++) {
        /* FNV-1a of one byte */
        const uint32_t bucket = (UINT32_C(0x811c9dc5) ^ (uint8_t)letter) * UINT32_C(0x01000193) % 5;
        for (uint32_t j = 0; j < 5; j++)
            assert_true(apply_code(p, code_of(p, letter), j) == (j == bucket));
    }
    for (uint32_t j = 0; j < 5; j++)
        assert_true(apply_code(p, SEG_CODE_UNSEEN, j) == 0);
    seg_preprocess_free(p);
}

static void target_codes_are_means_smoothed_towards_the_prior(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    struct seg_preprocess *p = NULL;
    static const uint16_t Y[] = { 1, 1, 0, 0, 1, 2 };
    spec.encode = SEG_ENCODE_TARGET;
    table_of_letters(&t, "aaabb.");
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        NULL, Y, 3, 1, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_n_out(p), 2); /* three classes: all but the first */
    assert_string_equal(seg_preprocess_out_name(p, 1), "f0@2");
    const uint32_t a = code_of(p, 'a'), b = code_of(p, 'b');
    /* the missing row counts as a: 4 rows, of which 2 are of class 1 and 1 of class 2 */
    assert_true(near((double)apply_code(p, a, 0), (2 + 10 * 3 / 6.0) / (4 + 10), 1e-6, 0));
    assert_true(near((double)apply_code(p, a, 1), (1 + 10 * 1 / 6.0) / (4 + 10), 1e-6, 0));
    assert_true(near((double)apply_code(p, b, 0), (1 + 10 * 3 / 6.0) / (2 + 10), 1e-6, 0));
    assert_true(apply_code(p, SEG_CODE_MISSING, 0) == apply_code(p, a, 0));
    assert_true(near((double)apply_code(p, SEG_CODE_UNSEEN, 0), 3 / 6.0, 1e-6, 0));
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void target_needs_a_target(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    struct seg_preprocess *p = NULL;
    struct seg_error err = { "" };
    static const uint16_t Y[] = { 0, 1, 2 };
    spec.encode = SEG_ENCODE_TARGET;
    table_of_letters(&t, "abc");
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        NULL, NULL, 0, 1, NULL, &p, &err),
                     SEG_EINVAL);
    assert_non_null(strstr(err.text, "f0"));
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        NULL, Y, 1, 1, NULL, &p, &err),
                     SEG_EINVAL);
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        NULL, Y, 2, 1, NULL, &p, &err),
                     SEG_EINVAL);
    assert_null(p);
    seg_table_release(&t);
}

/* Correlation of the target code with the class over training rows, after consuming. */
static double leak(const char *(*name)(size_t row, char *buffer), const uint8_t *part,
                   const uint16_t *y, size_t n_rows, struct seg_tiles x[SEG_PARTS])
{
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    struct seg_preprocess *p = NULL;
    char buffer[32];
    spec.encode = SEG_ENCODE_TARGET;
    spec.scale = SEG_SCALE_STANDARD;
    spec.max_categories = 100000;
    table_make(&t, (const enum seg_type[]){ SEG_CATEGORICAL }, 1, n_rows);
    for (size_t row = 0; row < n_rows; row++) {
        const char *s = name(row, buffer);
        assert_int_equal(seg_dictionary_add(&t.schema.features[0].dictionary, s, strlen(s),
                                            &seg_table_cell(&t, row, 0)->code),
                         SEG_OK);
    }
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        part, y, 2, 3, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, part, y, NULL, x, NULL), SEG_OK);
    double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0, n = 0;
    for (size_t row = 0, at = 0; row < n_rows; row++) {
        if (part != NULL && part[row] != SEG_PART_TRAIN) continue;
        const double a = (double)*seg_tiles_cell(&x[SEG_PART_TRAIN], at++, 0), b = y[row];
        sx += a, sy += b, sxx += a * a, syy += b * b, sxy += a * b, n++;
    }
    seg_preprocess_free(p);
    seg_table_release(&t);
    const double vx = sxx / n - sx / n * (sx / n), vy = syy / n - sy / n * (sy / n);
    return vx < 1e-12 ? 0 : (sxy / n - sx / n * (sy / n)) / sqrt(vx * vy);
}

static const char *unique_name(size_t row, char *buffer)
{
    sprintf(buffer, "user %zu", row);
    return buffer;
}

static const char *telling_name(size_t row, char *buffer)
{
    sprintf(buffer, "group %zu", row % 10);
    return buffer;
}

static void target_codes_of_training_rows_are_out_of_fold(void **state)
{
    (void)state;
    enum { N = 5000 };
    static uint8_t part[N];
    static uint16_t noise[N], told[N];
    struct seg_rng rng = seg_rng_make(12, 0);
    struct seg_tiles x[SEG_PARTS];
    for (size_t row = 0; row < N; row++) {
        part[row] = row % 5 == 4 ? SEG_PART_TEST : SEG_PART_TRAIN;
        noise[row] = (uint16_t)seg_rng_below(&rng, 2);
        told[row] = row % 10 < 5;
    }
    /* a name of one's own says nothing: in-sample codes would follow y all the way */
    assert_true(fabs(leak(unique_name, part, noise, N, x)) < 0.02);
    for (unsigned k = 0; k < SEG_PARTS; k++)
        seg_tiles_release(&x[k]);
    /* and a name that does say something still says it */
    assert_true(leak(telling_name, part, told, N, x) > 0.99);
    for (unsigned k = 0; k < SEG_PARTS; k++)
        seg_tiles_release(&x[k]);
}

static void rows_outside_training_get_the_codes_that_scoring_gives(void **state)
{
    (void)state;
    enum { N = 300 };
    struct seg_table t;
    struct seg_tiles x[SEG_PARTS];
    struct seg_column_spec spec = plain_spec();
    struct seg_preprocess *p = NULL;
    uint8_t part[N];
    uint16_t y[N];
    char letters[N + 1] = "";
    struct seg_rng rng = seg_rng_make(13, 0);
    for (size_t row = 0; row < N; row++) {
        part[row] = row % 3 == 0 ? SEG_PART_VALIDATION : SEG_PART_TRAIN;
        y[row] = (uint16_t)seg_rng_below(&rng, 2);
        letters[row] = (char)('a' + seg_rng_below(&rng, 4));
    }
    spec.encode = SEG_ENCODE_TARGET;
    table_of_letters(&t, letters);
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        part, y, 2, 3, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, part, y, NULL, x, NULL), SEG_OK);
    size_t at = 0, n_differ = 0;
    for (size_t row = 0; row < N; row += 3)
        assert_true(*seg_tiles_cell(&x[SEG_PART_VALIDATION], at++, 0) ==
                    apply_code(p, code_of(p, letters[row]), 0));
    at = 0;
    for (size_t row = 0; row < N; row++)
        if (part[row] == SEG_PART_TRAIN)
            n_differ += *seg_tiles_cell(&x[SEG_PART_TRAIN], at++, 0) !=
                        apply_code(p, code_of(p, letters[row]), 0);
    assert_true(n_differ > 100);
    for (unsigned k = 0; k < SEG_PARTS; k++)
        seg_tiles_release(&x[k]);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void category_specs_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_preprocess *p = NULL;
    const struct seg_column_spec good = plain_spec();
    struct seg_column_spec bad[5] = { good, good, good, good, good };
    bad[0].encode = (enum seg_encode)(SEG_ENCODE_EMBEDDING + 1);
    bad[1].max_categories = 0;
    bad[2].encode = SEG_ENCODE_HASH, bad[2].hash_buckets = 0;
    bad[3].encode = SEG_ENCODE_HASH, bad[3].hash_buckets = UINT32_MAX;
    bad[4].impute = SEG_IMPUTE_CONSTANT;
    memset(bad[4].constant_text, 'x', sizeof bad[4].constant_text);
    table_of_letters(&t, "abc");
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(seg_preprocess_fit(NULL, &t,
                                            &(struct seg_preprocess_spec){ .columns = &bad[i] },
                                            NULL, NULL, 0, 1, NULL, &p, NULL),
                         SEG_EINVAL);
    seg_table_release(&t);

    struct seg_column_spec spec = good;
    table_of_letters(&t, "ab.");
    spec.impute = SEG_IMPUTE_ERROR;
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        NULL, NULL, 0, 1, NULL, &p, NULL),
                     SEG_EINVAL);
    seg_table_release(&t);
    table_of_letters(&t, "...");
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &good },
                                        NULL, NULL, 0, 1, NULL, &p, NULL),
                     SEG_EINVAL);
    assert_null(p);
    seg_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_hot_has_a_column_a_category_by_frequency_then_string),
        cmocka_unit_test(one_hot_of_the_unseen_is_all_zero),
        cmocka_unit_test(missing_category_becomes_what_was_asked_for),
        cmocka_unit_test(ordinal_counts_by_frequency_and_the_unseen_are_neutral),
        cmocka_unit_test(code_numbers_by_frequency_and_the_unseen_are_a_category_of_their_own),
        cmocka_unit_test(hash_puts_each_known_string_in_one_column),
        cmocka_unit_test(target_codes_are_means_smoothed_towards_the_prior),
        cmocka_unit_test(target_needs_a_target),
        cmocka_unit_test(target_codes_of_training_rows_are_out_of_fold),
        cmocka_unit_test(rows_outside_training_get_the_codes_that_scoring_gives),
        cmocka_unit_test(category_specs_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
