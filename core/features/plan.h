/* plan.h - what a fitted seg_preprocess holds. Private to core/features: fit_number.c and
 * fit_category.c make it, preprocess_apply.c and preprocess_consume.c read it, preprocess_save.c
 * stores it, preprocess_load.c makes it again. Immutable once fitted or loaded.
 *
 * Every number in it is finite and in the range given, so that no input can make the output NaN or
 * infinite. */
#ifndef SEG_FEATURES_PLAN_H
#define SEG_FEATURES_PLAN_H

#include "compute/scratch.h"
#include "features/number.h"
#include "features/order.h"
#include "features/pca.h"

#define SEG_SMOOTHING   10.0   /* rows that the prior of a target code counts for */
#define SEG_OUTPUTS_MAX 65536u /* columns made of one row */

/* One target column: code of category c = ((sum of y in c + w prior) / (rows of c + w) - center) *
 * inverse with w = SEG_SMOOTHING. */
struct seg_target {
    double prior, center, inverse;
};

/* One feature or derived column. Its columns are first_out .. first_out + n_values - 1, then the
 * indicator's. One that is only read has none. */
struct seg_plan {
    uint32_t first_out;
    uint32_t n_values;
    bool indicator;
    struct seg_number *numbers; /* (width), NULL for a category and for what is only read */
    /* categories, numbered as in inputs.features[i].dictionary, n of them: */
    enum seg_encode encode;
    uint32_t impute_code; /* 0..n-1, or SEG_CODE_UNSEEN */
    float *values;        /* ordinal, target: (n_values, n + 1), the last of a row for unseen */
    uint32_t *buckets;    /* hash: (n) column of each category */
    struct seg_target *targets; /* target: (n_values), value j is class j + 1 */
};

struct seg_preprocess {
    const struct seg_number_kernels *kernels; /* of this machine */
    struct seg_schema inputs;
    struct seg_derived *derived; /* (n_derived), names owned */
    uint32_t n_derived;
    struct seg_plan *plans;   /* (inputs.n_features + n_derived): of features, then of derived */
    uint32_t n_columns;       /* what the plans make */
    char **column_names;      /* (n_columns) */
    uint32_t *column_feature; /* (n_columns) */
    struct seg_pca *pca;      /* what comes after them; NULL: nothing */
    uint64_t seed;            /* of the folds of target codes */
};

static inline uint32_t seg_plan_count(const struct seg_preprocess *p)
{
    return p->inputs.n_features + p->n_derived;
}
/* Of feature or derived column i. */
static inline const char *seg_plan_name(const struct seg_preprocess *p, uint32_t i)
{
    const uint32_t n = p->inputs.n_features;
    return i < n ? p->inputs.features[i].name : p->derived[i - n].name;
}
static inline enum seg_type seg_plan_type(const struct seg_preprocess *p, uint32_t i)
{
    const uint32_t n = p->inputs.n_features;
    return i < n ? p->inputs.features[i].type : seg_derive_type(p->derived[i - n].op);
}
static inline uint32_t seg_plan_width(const struct seg_preprocess *p, uint32_t i)
{
    return i < p->inputs.n_features ? p->inputs.features[i].width : 1;
}

/* Empty, for schema's features without their dictionaries and a copy of derived. SEG_ENOMEM. */
enum seg_status seg_preprocess_new(const struct seg_schema *schema,
                                   const struct seg_derived *derived, uint32_t n_derived,
                                   uint64_t seed, struct seg_preprocess **ret_p);
/* Room for the numbers of plan i, which is of no category. SEG_ENOMEM. */
enum seg_status seg_plan_numbers(struct seg_preprocess *p, uint32_t i);
/* Numbers and names the output columns, once every plan is complete. SEG_ELIMIT above
 * SEG_OUTPUTS_MAX, SEG_ENOMEM. */
enum seg_status seg_preprocess_finish(struct seg_preprocess *p, struct seg_error *err);

/* The columns of a tile: raw (n_cells, 64), scratch (n_derived, 64), out (n_columns, 64). */
void seg_preprocess_columns_tile(const struct seg_preprocess *p, const float *raw, float *scratch,
                                 float *out);

/* Fills plan->buckets for n_values columns. SEG_ENOMEM. */
enum seg_status seg_plan_hash(struct seg_plan *plan, const struct seg_dictionary *d);

/* The fold of a training row, 0..n_folds-1: of seed and row number alone. */
unsigned seg_target_fold(uint64_t seed, size_t row, unsigned n_folds);
/* The code of a category in which `hits` of `rows` rows are of the target's class. */
float seg_target_code(const struct seg_target *t, uint64_t hits, uint64_t rows);

/* From the codes of a table's dictionary to those of a plan. */
struct seg_code_map {
    uint32_t *codes; /* (n) SEG_CODE_UNSEEN for what the plan does not know */
    uint32_t n;
};
static inline uint32_t seg_code_map_at(const struct seg_code_map *map, uint32_t code)
{
    if (code < map->n) return map->codes[code];
    return code == SEG_CODE_MISSING ? SEG_CODE_MISSING : SEG_CODE_UNSEEN;
}
/* codes is new: seg_free it. SEG_ENOMEM. */
enum seg_status seg_code_map_make(const struct seg_dictionary *from,
                                  const struct seg_dictionary *to, struct seg_code_map *ret_map);

/* Rows of each class by category, over the training rows of a table. */
struct seg_target_counts {
    uint32_t *rows; /* (n_folds, n_categories + 1, n_classes), the last category is the unseen */
    unsigned n_folds;
    uint32_t n_categories, n_classes;
};
/* Counts; rows is new: seg_free it. Missing counts as impute_code. SEG_EINVAL: a y that is not
 * below n_classes. SEG_ENOMEM. */
enum seg_status seg_target_count(const struct seg_table *t, uint32_t feature,
                                 const struct seg_code_map *map, uint32_t impute_code,
                                 const uint8_t *part, const uint16_t *y, uint64_t seed,
                                 struct seg_target_counts *counts);
static inline uint32_t *seg_target_counts_at(const struct seg_target_counts *c, unsigned fold,
                                             uint32_t category)
{
    return c->rows + ((size_t)fold * (c->n_categories + 1) + category) * c->n_classes;
}

/* What fitting reads. */
struct seg_fit {
    const struct seg_table *table;
    const struct seg_column_spec *specs; /* (n_features + n_derived) */
    const struct seg_derived *derived;
    const uint8_t *part; /* NULL: every row is a training row */
    const uint16_t *y;
    uint32_t n_classes;
    size_t n_train;              /* >= 1 */
    struct seg_scratch *columns; /* (n_train + 1) floats, in which a column is fitted */
    const struct seg_progress *progress;
};

/* Fits number `dimension` of a feature, or of a derived column (n_features and above), into ret_s,
 * whose knots are then the caller's. SEG_EINVAL with the reason in ret_why (static storage),
 * SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status seg_fit_number(const struct seg_fit *fit, uint32_t feature, uint32_t dimension,
                               struct seg_number *ret_s, const char **ret_why);
/* Fits a categorical feature into plan (zeroed) and d (empty). They keep what they own on failure
 * too. The same statuses. */
enum seg_status seg_fit_category(const struct seg_fit *fit, uint32_t feature, struct seg_plan *plan,
                                 struct seg_dictionary *d, const char **ret_why);
/* Fits center and inverse of s to values (n >= 1), which are clipped already and may be reordered.
 */
void seg_fit_scale(struct seg_number *s, enum seg_scale scale, float *values, size_t n);

#endif
