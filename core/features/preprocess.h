/* preprocess.h - from raw cells to the numbers a model works on: derive, impute, outliers,
 * transform, scale, encode; then, over all columns together, principal components.
 *
 * Derived columns (features/derive.h) are computed from the raw cells of a row first. From then on
 * each is a numeric column, is_weekend a boolean one. What is asked for and stored are the features
 * alone. Steps of a numeric or timestamp column, each fitted on the output of the one before and on
 * the training part only: impute -> outliers -> transform -> scale. A boolean column leaves out the
 * outliers: a rare yes would be clipped away. A categorical column: impute -> encode (-> scale, for
 * ordinal and target codes). Every dimension of a vector is a numeric column of its own.
 *
 * Rules: a number that is not finite is missing, and one beyond +-1e30 is clipped to it. Nothing
 * divides by zero: a constant column becomes all zero (scale none leaves it). A column that is not
 * constant but has no interquartile range is only centered by robust, as in scikit-learn. Output is
 * finite, within +-1e30, and a row's output depends on that row alone. A category that training did
 * not see, or did not keep, is all zero in one_hot and hash, the mean of the training codes in
 * ordinal, the prior in target, and the number of categories kept in code: a category of its own. A
 * missing category becomes the mode for mean, median and mode, and counts as unseen for zero. Where
 * impute is error, a missing value makes fitting fail; in scoring it becomes the mean, or unseen.
 *
 * Bins hold about equally many training values each: a value becomes the index of its bin over the
 * index of the last, 0..1. A value on an edge belongs to the bin above it; edges that coincide are
 * one, so a column with many ties gets fewer bins, and one bin is all 0. The inverse is the middle
 * of the bin.
 *
 * A fitted seg_preprocess is immutable: any number of threads may apply it. */
#ifndef SEG_FEATURES_PREPROCESS_H
#define SEG_FEATURES_PREPROCESS_H

#include <stdbool.h>
#include "base/safetensors.h"
#include "base/progress.h"
#include "compute/worker_pool.h"
#include "features/derive.h"
#include "features/table.h"

#define SEG_BINS_MAX        256u
#define SEG_BINS_DEFAULT    10u
#define SEG_PCA_COLUMNS_MAX 1024u /* columns that principal components are taken of */

enum seg_impute {
    SEG_IMPUTE_MEAN,
    SEG_IMPUTE_MEDIAN,
    SEG_IMPUTE_MODE,
    SEG_IMPUTE_ZERO,
    SEG_IMPUTE_CONSTANT,
    SEG_IMPUTE_ERROR
};
enum seg_outliers {
    SEG_OUTLIERS_NONE,
    SEG_OUTLIERS_WINSORIZE,
    SEG_OUTLIERS_IQR,
    SEG_OUTLIERS_ZSCORE
};
enum seg_transform {
    SEG_TRANSFORM_NONE,
    SEG_TRANSFORM_LOG1P,
    SEG_TRANSFORM_YEO_JOHNSON,
    SEG_TRANSFORM_QUANTILE,
    SEG_TRANSFORM_BINS
};
enum seg_scale {
    SEG_SCALE_NONE,
    SEG_SCALE_STANDARD,
    SEG_SCALE_MIN_MAX,
    SEG_SCALE_ROBUST,
    SEG_SCALE_MAX_ABS
};
enum seg_encode {
    SEG_ENCODE_ONE_HOT,
    SEG_ENCODE_ORDINAL,
    SEG_ENCODE_HASH,
    SEG_ENCODE_TARGET,
    SEG_ENCODE_CODE, /* the category's number, 0 for the most frequent: a name, not a quantity */
    SEG_ENCODE_EMBEDDING /* the same, for a network that learns a vector for each; a fitted plan and
                            its stored form know it as SEG_ENCODE_CODE */
};

/* What to do with one feature or derived column. */
struct seg_column_spec {
    bool left_out; /* is read for what is derived from it, and makes no column of its own;
                      not for categories and vectors */
    enum seg_impute impute;
    double constant;        /* SEG_IMPUTE_CONSTANT of numbers */
    char constant_text[64]; /* SEG_IMPUTE_CONSTANT of categories */
    bool indicator;         /* adds a column: 1 where the value was missing */
    enum seg_outliers outliers;
    double lower, upper; /* winsorize: quantiles to clip at, 0 <= lower < upper <= 1 */
    double threshold; /* iqr: fences at threshold * IQR beyond the quartiles (1.5); zscore: mean +-
                         threshold * sd (3) */
    enum seg_transform
        transform;        /* log1p of x < 0 is -log1p(-x): odd, monotone, defined everywhere */
    uint32_t n_bins;      /* bins: 2..SEG_BINS_MAX, 0 means SEG_BINS_DEFAULT */
    enum seg_scale scale; /* standard: (x - mean) / sd (n); min_max: to 0..1; robust: (x - median) /
                             IQR; max_abs */
    enum seg_encode encode;  /* categorical only */
    uint32_t max_categories; /* all but hash: the most frequent ones (ties: by string); others are
                                unseen */
    uint32_t hash_buckets;   /* hash: columns */
    uint32_t embedding_size; /* embedding: numbers in a vector; 0: by the number of categories. For
                                who trains the network, not used here */
};

enum seg_part { SEG_PART_TRAIN = 0, SEG_PART_VALIDATION = 1, SEG_PART_TEST = 2, SEG_PARTS = 3 };

/* What to do with a table. */
struct seg_preprocess_spec {
    const struct seg_column_spec *columns; /* (n_features + n_derived): of each feature, then of
                                              each derived column */
    const struct seg_derived *derived;     /* (n_derived) */
    uint32_t n_derived;                    /* at most SEG_DERIVED_MAX */
};

/* Principal components as the last step. */
struct seg_pca_spec {
    bool wanted;           /* false: the columns stay as they are */
    uint32_t n_components; /* 0: by variance */
    double variance; /* the fewest components that have this share of it, 0 < variance <= 1; 1: all
                        that have any */
    bool whiten;     /* divide each component by its standard deviation (n - 1) */
};

struct seg_preprocess;

/* Fits on the rows with part[row] == SEG_PART_TRAIN (part NULL: every row). y (n_rows, class
 * 0..n_classes-1) is needed for target encoding only, else NULL; with more than two classes each
 * class but the first gets a column. Target codes are smoothed towards the prior with weight 10
 * (Micci-Barreca 2001). SEG_EINVAL names the feature: a missing value where impute is error, a
 * column with no value at all, target encoding without y, a derived column that makes no sense or
 * whose name is taken. SEG_ELIMIT: over 65,536 columns come out. SEG_ENOMEM, SEG_ECANCELED.
 * Deterministic at any worker count. */
enum seg_status seg_preprocess_fit(struct seg_pool *pool, const struct seg_table *t,
                                   const struct seg_preprocess_spec *spec, const uint8_t *part,
                                   const uint16_t *y, uint32_t n_classes, uint64_t seed,
                                   const struct seg_progress *progress,
                                   struct seg_preprocess **ret_p, struct seg_error *err);
/* Fits the principal components to x (n >= 1, n_columns), the training part as
 * seg_preprocess_consume gave it, and makes them the output of p, which nobody else has yet. Each
 * axis has its largest loading positive; a direction with less than 1e-12 of the variance of the
 * first is left out, the first is always there. *ret_n_wanted: components that were asked for,
 * more than there are where fewer have variance. SEG_EINVAL: over SEG_PCA_COLUMNS_MAX columns, or
 * codes among them, which are names and not quantities. SEG_ENOMEM, SEG_ECANCELED. Deterministic at
 * any worker count. */
enum seg_status seg_preprocess_fit_pca(struct seg_pool *pool, struct seg_preprocess *p,
                                       const struct seg_pca_spec *spec, const struct seg_tiles *x,
                                       const struct seg_progress *progress, uint32_t *ret_n_wanted,
                                       struct seg_error *err);
/* NULL is fine. */
void seg_preprocess_free(struct seg_preprocess *p);

/* The raw schema it reads, with dictionaries holding the categories of training. Borrowed. */
const struct seg_schema *seg_preprocess_inputs(const struct seg_preprocess *p);
/* Columns that it derives. */
uint32_t seg_preprocess_n_derived(const struct seg_preprocess *p);
/* The i-th of them. Borrowed. */
const struct seg_derived *seg_preprocess_derived(const struct seg_preprocess *p, uint32_t i);
/* Columns that it makes of features and derived columns. */
uint32_t seg_preprocess_n_columns(const struct seg_preprocess *p);
/* Columns that go out: the same, or the principal components of them. */
uint32_t seg_preprocess_n_out(const struct seg_preprocess *p);
/* Name of output column i, e.g. "age", "channel=app", "age is missing", "pca_1". Borrowed. */
const char *seg_preprocess_out_name(const struct seg_preprocess *p, uint32_t i);
/* Shares of the variance of the components, (n_out), descending; NULL without pca. Borrowed. */
const double *seg_preprocess_explained(const struct seg_preprocess *p);
/* Index of the input feature that column i comes from; from n_features on, a derived one. */
uint32_t seg_preprocess_column_feature(const struct seg_preprocess *p, uint32_t i);
/* Codes that output column i can hold, 0 to one less than this, the last for unseen; 0: the column
 * is a number. The others are the input's dictionary. */
uint32_t seg_preprocess_out_codes(const struct seg_preprocess *p, uint32_t i);

/* Derived columns of one tile: raw cells (n_cells, 64) to cells (n_derived, 64); NaN is missing. */
void seg_preprocess_derive(const struct seg_preprocess *p, const float *raw, float *cells);
/* Floats of scratch that seg_preprocess_tile wants, aligned as its tiles; may be 0. */
size_t seg_preprocess_scratch(const struct seg_preprocess *p);
/* One tile: raw cells (n_cells, 64) to out (n_out, 64). No allocation. Lanes past the last row are
 * computed as if missing and mean nothing. Missing and unseen are handled as fitted. */
void seg_preprocess_tile(const struct seg_preprocess *p, const float *raw, float *scratch,
                         float *out);

/* The whole table, consumed, as columns, before any pca: its chunks are freed as they are used, so
 * that features are in memory once. Row order is kept inside each part: ret_x[part] holds the rows
 * with that part. Rows of the training part get out-of-fold target codes (5 folds by seed) if y is
 * given; with y NULL, and in the other parts, codes are those of scoring. part NULL: every row is a
 * training row. Categories are matched by string, so the table's own dictionaries will do.
 * SEG_EINVAL: another schema than the fitted one, a part or class out of range. SEG_ENOMEM,
 * SEG_ECANCELED. On failure the table may be partly consumed; release it. */
enum seg_status seg_preprocess_consume(struct seg_pool *pool, const struct seg_preprocess *p,
                                       struct seg_table *t, const uint8_t *part, const uint16_t *y,
                                       const struct seg_progress *progress,
                                       struct seg_tiles ret_x[SEG_PARTS], struct seg_error *err);
/* Turns columns x (n, n_columns) into output (n, n_out), consumed in the same way; without pca
 * nothing is to be done. SEG_ENOMEM, SEG_ECANCELED: x is partly consumed. */
enum seg_status seg_preprocess_consume_columns(struct seg_pool *pool,
                                               const struct seg_preprocess *p,
                                               const struct seg_progress *progress,
                                               struct seg_tiles *x);

/* The value in original units that maps to out, for showing centroids: per input cell the inverse
 * of scale and transform for numbers (clipping and imputation have no inverse and are left out),
 * then the same for each derived column. A categorical cell is the code where the encoding is code,
 * SEG_CODE_UNSEEN for the category of the unseen; the other encodings have no inverse:
 * SEG_CODE_MISSING. Both are NaN as numbers. NaN for a clock, and for what makes no column. Of
 * components: of the nearest columns in their span. out (n_out) -> raw (n_cells + n_derived). */
void seg_preprocess_invert(const struct seg_preprocess *p, const float *out, float *raw);

/* Whether there is something in it that readers before format 2 (docs/MODEL_FORMAT.md) would
 * misread: derived columns, features that make none, or pca. */
bool seg_preprocess_needs_format_2(const struct seg_preprocess *p);
/* Adds all of it to ts, under names that start with "preprocess.". SEG_ENOMEM, SEG_ELIMIT. */
enum seg_status seg_preprocess_save(const struct seg_preprocess *p, struct seg_tensors *ts);
/* A new one from the tensors of such names, every figure of which is checked. SEG_EFORMAT,
 * SEG_ENOMEM. */
enum seg_status seg_preprocess_load(const struct seg_tensors *ts, struct seg_preprocess **ret_p,
                                    struct seg_error *err);

#endif
