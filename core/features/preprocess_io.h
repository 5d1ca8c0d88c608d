/* preprocess_io.h - the tensors of a fitted plan; private to core/features. preprocess_save.c
 * writes them, preprocess_load.c reads them with every figure checked.
 *
 *   preprocess.names               strings     features, in order
 *   preprocess.features            u32 (n, 8)  one row a feature, see enum field
 *   preprocess.derived.names       strings     derived columns, in order
 *   preprocess.derived.columns     u32 (q, 5)  one row each, see enum derived_field
 *   preprocess.derived.references  f64 (q)     of days_since, else 0
 *   preprocess.seed                u32 (2)     low and high half
 *   preprocess.numbers             f64 (m, 6)  one row a number, those of derived columns last: see
 *                                              store_number
 *   preprocess.knot_counts         u32 (m)     knots of each
 *   preprocess.knots               f64         of all numbers, one after another
 *   preprocess.categories          strings     of every categorical feature, one after another
 *   preprocess.codes               f32         ordinal and target codes, (n_values, n_categories +
 *                                              1) each
 *   preprocess.targets             f64 (k, 3)  prior, center, inverse of each target column
 *
 * and preprocess.pca.…: mean f64 (n_columns), axes f32 (n_out, n_columns), explained f64 (n_out),
 * whiten u32 (1).
 *
 * What has no element is left out. Everything else in a plan follows from these. */
#ifndef SEG_FEATURES_PREPROCESS_IO_H
#define SEG_FEATURES_PREPROCESS_IO_H

/* Of a row of preprocess.features. */
enum field {
    FIELD_TYPE,
    FIELD_WIDTH,
    FIELD_INDICATOR, /* enum made */
    FIELD_TRANSFORM, /* of numbers, else 0 */
    FIELD_ENCODE,    /* of categories, as all that follow, else 0 */
    FIELD_VALUES,
    FIELD_IMPUTE_CODE,
    FIELD_CATEGORIES,
    N_FIELDS
};
/* Of a row of preprocess.derived.columns. */
enum derived_field {
    DERIVED_OP,
    DERIVED_OF_FIRST,
    DERIVED_OF_SECOND,
    DERIVED_INDICATOR, /* enum made */
    DERIVED_TRANSFORM,
    N_DERIVED_FIELDS
};
/* Which columns are made of a feature. */
enum made { MADE_VALUES, MADE_INDICATOR_TOO, MADE_NONE };
#define NUMBER_FIELDS 6u
#define TARGET_FIELDS 3u

#endif
