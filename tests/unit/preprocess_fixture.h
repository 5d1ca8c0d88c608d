/* preprocess_fixture.h - tables, specs and naive twins that the tests of preprocessing share. */
#ifndef SEG_TESTS_PREPROCESS_FIXTURE_H
#define SEG_TESTS_PREPROCESS_FIXTURE_H

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
#include "features/preprocess.h"

/* A numeric column as it comes when nothing is asked for. */
static inline struct seg_column_spec plain_spec(void)
{
    return (struct seg_column_spec){ .impute = SEG_IMPUTE_MEDIAN,
                                     .outliers = SEG_OUTLIERS_NONE,
                                     .lower = 0.01,
                                     .upper = 0.99,
                                     .threshold = 1.5,
                                     .transform = SEG_TRANSFORM_NONE,
                                     .scale = SEG_SCALE_NONE,
                                     .encode = SEG_ENCODE_ONE_HOT,
                                     .max_categories = 32,
                                     .hash_buckets = 8 };
}

/* A table of n_features features of these types (vectors are 3 wide) called f0, f1, … with n_rows
 * rows that are missing everywhere. */
static inline void table_make(struct seg_table *t, const enum seg_type *types, uint32_t n_features,
                              size_t n_rows)
{
    struct seg_schema s;
    seg_schema_init(&s);
    for (uint32_t i = 0; i < n_features; i++) {
        char name[8] = { 'f', (char)('0' + i), '\0' };
        assert_int_equal(seg_schema_add(&s, name, types[i], types[i] == SEG_VECTOR ? 3 : 1, NULL),
                         SEG_OK);
    }
    seg_table_init(t, &s);
    for (size_t i = 0; i < n_rows; i++) {
        size_t row;
        assert_int_equal(seg_table_add_row(t, &row), SEG_OK);
    }
}

/* One numeric column of those values. */
static inline void table_of(struct seg_table *t, const float *x, size_t n_rows)
{
    table_make(t, (const enum seg_type[]){ SEG_NUMERIC }, 1, n_rows);
    for (size_t row = 0; row < n_rows; row++)
        seg_table_cell(t, row, 0)->number = x[row];
}

/* One categorical column of one-letter values, a dot for a missing one. */
static inline void table_of_letters(struct seg_table *t, const char *letters)
{
    const size_t n_rows = strlen(letters);
    table_make(t, (const enum seg_type[]){ SEG_CATEGORICAL }, 1, n_rows);
    for (size_t row = 0; row < n_rows; row++)
        if (letters[row] != '.')
            assert_int_equal(seg_dictionary_add(&t->schema.features[0].dictionary, letters + row, 1,
                                                &seg_table_cell(t, row, 0)->code),
                             SEG_OK);
}

static inline struct seg_preprocess *fit_or_fail(const struct seg_table *t,
                                                 const struct seg_column_spec *specs,
                                                 const uint8_t *part)
{
    struct seg_preprocess *p = NULL;
    struct seg_error err = { "" };
    if (seg_preprocess_fit(NULL, t, &(struct seg_preprocess_spec){ .columns = specs }, part, NULL,
                           0, 1, NULL, &p, &err) != SEG_OK)
        fail_msg("%s", err.text);
    return p;
}

/* Output column `column` of one row whose raw cells are `cells` (n_cells), through the tile. */
static inline float apply_cells(const struct seg_preprocess *p, const union seg_cell *cells,
                                uint32_t column)
{
    const uint32_t n_cells = seg_preprocess_inputs(p)->n_cells, n_out = seg_preprocess_n_out(p);
    float *raw = seg_alloc_aligned((size_t)n_cells * SEG_TILE_ROWS, sizeof *raw);
    float *scratch = seg_alloc_aligned(seg_preprocess_scratch(p), sizeof *scratch);
    float *out = seg_alloc_aligned((size_t)n_out * SEG_TILE_ROWS, sizeof *out);
    assert_non_null(raw);
    assert_non_null(scratch);
    assert_non_null(out);
    seg_table_clear_rows(seg_preprocess_inputs(p), raw, 0, SEG_TILE_ROWS);
    for (uint32_t c = 0; c < n_cells; c++)
        ((union seg_cell *)raw)[(size_t)c * SEG_TILE_ROWS + 5] = cells[c];
    seg_preprocess_tile(p, raw, scratch, out);
    const float result = out[(size_t)column * SEG_TILE_ROWS + 5];
    seg_free(raw);
    seg_free(scratch);
    seg_free(out);
    return result;
}

static inline float apply_number(const struct seg_preprocess *p, float x)
{
    return apply_cells(p, &(union seg_cell){ .number = x }, 0);
}

static inline float apply_code(const struct seg_preprocess *p, uint32_t code, uint32_t column)
{
    return apply_cells(p, &(union seg_cell){ .code = code }, column);
}

static inline bool near(double a, double b, double relative, double absolute)
{
    return fabs(a - b) <= relative * fabs(b) + absolute;
}

/* Six features of every type and encoding, n_rows rows, some missing, some extreme. Columns: normal
 * numbers near 1e6, a boolean, log-normal days, letters, a vector of 3, more letters. */
static inline void mixed_table(struct seg_table *t, size_t n_rows, uint64_t seed)
{
    static const enum seg_type TYPES[] = { SEG_NUMERIC,     SEG_BOOLEAN, SEG_TIMESTAMP,
                                           SEG_CATEGORICAL, SEG_VECTOR,  SEG_CATEGORICAL };
    struct seg_rng rng = seg_rng_make(seed, 0);
    table_make(t, TYPES, 6, n_rows);
    for (size_t row = 0; row < n_rows; row++) {
        const uint64_t dice = seg_rng_below(&rng, 20);
        seg_table_cell(t, row, 0)->number =
            dice == 0 ? NAN : 1e6f + (float)seg_rng_below(&rng, 1000);
        if (dice != 1) seg_table_cell(t, row, 1)->number = (float)seg_rng_below(&rng, 2);
        if (dice != 2) seg_table_cell(t, row, 2)->number = (float)exp(seg_rng_normal(&rng));
        for (uint32_t feature = 3; feature <= 5; feature += 2) {
            const char letter = (char)('a' + seg_rng_below(&rng, feature == 3 ? 5 : 26));
            struct seg_feature *f = &t->schema.features[feature];
            if (dice == 3) continue;
            assert_int_equal(seg_dictionary_add(&f->dictionary, &letter, 1,
                                                &seg_table_cell(t, row, f->cell)->code),
                             SEG_OK);
        }
        if (dice == 4) continue;
        for (uint32_t i = 0; i < 3; i++)
            seg_table_cell(t, row, t->schema.features[4].cell + i)->number =
                (float)(seg_rng_normal(&rng) * (double)(i + 4));
    }
}

/* Specs that between them use every step; the sixth is encoded as asked. */
static inline void mixed_specs(struct seg_column_spec specs[6], enum seg_encode encode)
{
    for (unsigned i = 0; i < 6; i++)
        specs[i] = plain_spec();
    specs[0].outliers = SEG_OUTLIERS_WINSORIZE;
    specs[0].scale = SEG_SCALE_STANDARD;
    specs[1].impute = SEG_IMPUTE_MODE;
    specs[1].indicator = true;
    specs[1].scale = SEG_SCALE_MAX_ABS;
    specs[2].impute = SEG_IMPUTE_MEAN;
    specs[2].outliers = SEG_OUTLIERS_ZSCORE;
    specs[2].threshold = 3;
    specs[2].transform = SEG_TRANSFORM_YEO_JOHNSON;
    specs[2].scale = SEG_SCALE_ROBUST;
    specs[3].impute = SEG_IMPUTE_CONSTANT;
    strcpy(specs[3].constant_text, "none");
    specs[4].transform = SEG_TRANSFORM_QUANTILE;
    specs[4].scale = SEG_SCALE_MIN_MAX;
    specs[4].indicator = true;
    specs[5].impute = SEG_IMPUTE_MODE;
    specs[5].encode = encode;
    specs[5].scale = SEG_SCALE_STANDARD;
    specs[5].max_categories = 20;
}

#endif
