/* preprocess_load.c - the tensors of preprocess_io.h to a plan, with every figure checked. */
#include "features/preprocess_io.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "features/plan.h"

/* The tensors of a file, and how far they are read. */
struct source {
    const char **names;         /* (n_features), the array is ours */
    const char **derived_names; /* (n_derived), the same */
    const char **strings;       /* (n_strings), the same */
    size_t n_features, n_derived, n_strings;
    const uint32_t *fields, *derived, *knot_counts;
    const double *references, *numbers, *knots, *targets;
    const float *codes;
    size_t n_numbers, n_knots, n_categories, n_codes, n_targets; /* read, or all of them */
};

static bool within(double x, double max)
{
    return fabs(x) <= max; /* false for NaN */
}

/* Fails unless the row of feature i makes sense by itself. */
static enum seg_status check_fields(const struct source *s, size_t i, struct seg_error *err)
{
    const uint32_t *f = s->fields + i * N_FIELDS;
    const bool category = f[FIELD_TYPE] == SEG_CATEGORICAL;
    const uint32_t made_max =
        category || f[FIELD_TYPE] == SEG_VECTOR ? MADE_INDICATOR_TOO : MADE_NONE;
    bool good = f[FIELD_TYPE] <= SEG_VECTOR && f[FIELD_INDICATOR] <= made_max &&
                (f[FIELD_INDICATOR] != MADE_NONE || f[FIELD_TRANSFORM] == 0) &&
                f[FIELD_WIDTH] >= 1 && f[FIELD_WIDTH] <= SEG_VECTOR_WIDTH_MAX &&
                f[FIELD_TRANSFORM] <= SEG_TRANSFORM_BINS && f[FIELD_ENCODE] <= SEG_ENCODE_CODE;
    if (category) {
        const uint32_t n = f[FIELD_CATEGORIES], code = f[FIELD_IMPUTE_CODE];
        good = good && f[FIELD_TRANSFORM] == 0 && n >= 1 && n <= SEG_CATEGORIES_MAX &&
               f[FIELD_VALUES] >= 1 && f[FIELD_VALUES] <= SEG_OUTPUTS_MAX &&
               (code < n || code == SEG_CODE_UNSEEN);
        if (f[FIELD_ENCODE] == SEG_ENCODE_ONE_HOT) good = good && f[FIELD_VALUES] == n;
        if (f[FIELD_ENCODE] == SEG_ENCODE_ORDINAL || f[FIELD_ENCODE] == SEG_ENCODE_CODE)
            good = good && f[FIELD_VALUES] == 1;
    } else {
        good = good && f[FIELD_ENCODE] == 0 && f[FIELD_VALUES] == 0 && f[FIELD_IMPUTE_CODE] == 0 &&
               f[FIELD_CATEGORIES] == 0;
    }
    return good ? SEG_OK
                : seg_fail(err, SEG_EFORMAT, "preprocessing of feature %zu does not make sense", i);
}

/* Adds up what all features together have. */
static enum seg_status measure(struct source *s, struct seg_error *err)
{
    for (size_t i = 0; i < s->n_features; i++) {
        const uint32_t *f = s->fields + i * N_FIELDS;
        enum seg_status st = check_fields(s, i, err);
        if (st != SEG_OK) return st;
        if (f[FIELD_TYPE] != SEG_CATEGORICAL) {
            s->n_numbers += f[FIELD_INDICATOR] != MADE_NONE ? f[FIELD_WIDTH] : 0;
            continue;
        }
        const bool target = f[FIELD_ENCODE] == SEG_ENCODE_TARGET;
        s->n_categories += f[FIELD_CATEGORIES];
        if (target) s->n_targets += f[FIELD_VALUES];
        if (target || f[FIELD_ENCODE] == SEG_ENCODE_ORDINAL)
            s->n_codes += (size_t)f[FIELD_VALUES] * ((size_t)f[FIELD_CATEGORIES] + 1);
    }
    for (size_t i = 0; i < s->n_derived; i++) {
        const uint32_t *f = s->derived + i * N_DERIVED_FIELDS;
        if (f[DERIVED_INDICATOR] > MADE_NONE || f[DERIVED_TRANSFORM] > SEG_TRANSFORM_BINS ||
            (f[DERIVED_INDICATOR] == MADE_NONE && f[DERIVED_TRANSFORM] != 0))
            return seg_fail(err, SEG_EFORMAT, "derived column %zu does not make sense", i);
        s->n_numbers += f[DERIVED_INDICATOR] != MADE_NONE;
    }
    return SEG_OK;
}

/* A tensor of exactly n elements; none at all when n is 0. */
static enum seg_status expect(const struct seg_tensors *ts, const char *name, enum seg_dtype dtype,
                              size_t n, const void **ret_data, struct seg_error *err)
{
    if (n > 0) return seg_tensors_expect(ts, name, dtype, n, ret_data, err);
    *ret_data = NULL;
    if (seg_tensors_find(ts, name) == NULL) return SEG_OK;
    return seg_fail(err, SEG_EFORMAT, "tensor %s has no use", name);
}

static enum seg_status open_derived(struct source *s, const struct seg_tensors *ts,
                                    struct seg_error *err)
{
    const void *data = NULL;
    enum seg_status st = SEG_OK;
    if (seg_tensors_find(ts, "preprocess.derived.names") != NULL)
        st = seg_tensors_strings(ts, "preprocess.derived.names", &s->derived_names, &s->n_derived,
                                 err);
    if (st == SEG_OK && s->n_derived > SEG_DERIVED_MAX)
        st = seg_fail(err, SEG_EFORMAT, "%zu derived columns (limit %u)", s->n_derived,
                      SEG_DERIVED_MAX);
    if (st == SEG_OK)
        st = expect(ts, "preprocess.derived.columns", SEG_U32, s->n_derived * N_DERIVED_FIELDS,
                    &data, err);
    s->derived = data;
    if (st == SEG_OK)
        st = expect(ts, "preprocess.derived.references", SEG_F64, s->n_derived, &data, err);
    s->references = data;
    return st;
}

static enum seg_status source_open(struct source *s, const struct seg_tensors *ts,
                                   struct seg_error *err)
{
    const void *data;
    enum seg_status st =
        seg_tensors_strings(ts, "preprocess.names", &s->names, &s->n_features, err);
    if (st != SEG_OK) return st;
    if (s->n_features == 0 || s->n_features > SEG_FEATURES_MAX)
        return seg_fail(err, SEG_EFORMAT, "%zu features (limit %u)", s->n_features,
                        SEG_FEATURES_MAX);
    st = expect(ts, "preprocess.features", SEG_U32, s->n_features * N_FIELDS, &data, err);
    if (st != SEG_OK) return st;
    s->fields = data;
    st = open_derived(s, ts, err);
    if (st == SEG_OK) st = measure(s, err);
    if (st != SEG_OK) return st;

    st = expect(ts, "preprocess.numbers", SEG_F64, s->n_numbers * NUMBER_FIELDS, &data, err);
    if (st != SEG_OK) return st;
    s->numbers = data;
    st = expect(ts, "preprocess.knot_counts", SEG_U32, s->n_numbers, &data, err);
    if (st != SEG_OK) return st;
    s->knot_counts = data;
    for (size_t i = 0; i < s->n_numbers; i++)
        s->n_knots += s->knot_counts[i];
    st = expect(ts, "preprocess.knots", SEG_F64, s->n_knots, &data, err);
    if (st != SEG_OK) return st;
    s->knots = data;
    st = expect(ts, "preprocess.codes", SEG_F32, s->n_codes, &data, err);
    if (st != SEG_OK) return st;
    s->codes = data;
    st = expect(ts, "preprocess.targets", SEG_F64, s->n_targets * TARGET_FIELDS, &data, err);
    if (st != SEG_OK) return st;
    s->targets = data;
    if (s->n_categories > 0)
        st = seg_tensors_strings(ts, "preprocess.categories", &s->strings, &s->n_strings, err);
    if (st == SEG_OK && s->n_strings != s->n_categories)
        st = seg_fail(err, SEG_EFORMAT, "%zu categories where %zu are announced", s->n_strings,
                      s->n_categories);
    s->n_numbers = s->n_knots = s->n_categories = s->n_codes = s->n_targets = 0;
    return st;
}

static enum seg_status load_number(struct source *s, enum seg_transform transform,
                                   struct seg_number *n, struct seg_error *err)
{
    const double max = (double)SEG_VALUE_MAX, *row = s->numbers + s->n_numbers * NUMBER_FIELDS;
    const uint32_t n_knots = s->knot_counts[s->n_numbers++];
    const bool bins = transform == SEG_TRANSFORM_BINS;
    const bool knotted = bins || transform == SEG_TRANSFORM_QUANTILE;
    const uint32_t n_knots_max = bins ? SEG_BINS_MAX + 1 : SEG_KNOTS_MAX;
    const double *knots = s->knots + s->n_knots;
    bool good = within(row[0], max) && within(row[1], max) && within(row[2], max) &&
                row[1] <= row[2] && within(row[3], SEG_LAMBDA_MAX) &&
                within(row[4], (double)FLT_MAX) && within(row[5], (double)FLT_MAX) &&
                (knotted ? n_knots >= 2 && n_knots <= n_knots_max : n_knots == 0);
    for (uint32_t i = 0; i < n_knots && good; i++)
        good = within(knots[i], max) && (i == 0 || knots[i - 1] <= knots[i]);
    if (!good)
        return seg_fail(err, SEG_EFORMAT, "preprocessing of number %zu does not make sense",
                        s->n_numbers - 1);
    n->impute = (float)row[0];
    n->lower = (float)row[1];
    n->upper = (float)row[2];
    n->lambda = row[3];
    seg_number_set_scale(n, row[4], row[5]);
    n->transform = transform;
    if (!knotted) return SEG_OK;
    if (seg_number_set_knots(n, knots, n_knots) != SEG_OK)
        return seg_fail(err, SEG_ENOMEM, "out of memory");
    s->n_knots += n_knots;
    return SEG_OK;
}

static enum seg_status load_dictionary(struct source *s, uint32_t n, struct seg_dictionary *d,
                                       struct seg_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *string = s->strings[s->n_categories++];
        uint32_t code;
        enum seg_status st = seg_dictionary_add(d, string, strlen(string), &code);
        if (st == SEG_ENOMEM) return seg_fail(err, st, "out of memory");
        if (st != SEG_OK || code != i)
            return seg_fail(err, SEG_EFORMAT, "category %s is listed twice", string);
    }
    return SEG_OK;
}

static enum seg_status load_codes(struct source *s, struct seg_plan *plan, uint32_t n_categories,
                                  struct seg_error *err)
{
    const size_t n = (size_t)plan->n_values * ((size_t)n_categories + 1);
    const float *codes = s->codes + s->n_codes;
    for (size_t i = 0; i < n; i++)
        if (!within((double)codes[i], (double)SEG_VALUE_MAX))
            return seg_fail(err, SEG_EFORMAT, "a code of a category is not finite");
    plan->values = seg_alloc(n, sizeof *plan->values);
    if (plan->values == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    memcpy(plan->values, codes, n * sizeof *codes);
    s->n_codes += n;
    return SEG_OK;
}

static enum seg_status load_targets(struct source *s, struct seg_plan *plan, struct seg_error *err)
{
    plan->targets = seg_alloc(plan->n_values, sizeof *plan->targets);
    if (plan->targets == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    for (uint32_t j = 0; j < plan->n_values; j++) {
        const double *row = s->targets + s->n_targets++ * TARGET_FIELDS;
        if (!(row[0] >= 0 && row[0] <= 1) || !within(row[1], (double)FLT_MAX) ||
            !within(row[2], (double)FLT_MAX))
            return seg_fail(err, SEG_EFORMAT, "a target code does not make sense");
        plan->targets[j] = (struct seg_target){ row[0], row[1], row[2] };
    }
    return SEG_OK;
}

/* A plan that is of no category. */
static enum seg_status load_numbers(struct source *s, struct seg_preprocess *p, uint32_t i,
                                    enum made made, enum seg_transform transform,
                                    struct seg_error *err)
{
    struct seg_plan *plan = &p->plans[i];
    enum seg_status st = SEG_OK;
    if (made == MADE_NONE) return SEG_OK;
    plan->indicator = made == MADE_INDICATOR_TOO;
    if (seg_plan_numbers(p, i) != SEG_OK) return seg_fail(err, SEG_ENOMEM, "out of memory");
    for (uint32_t c = 0; c < plan->n_values && st == SEG_OK; c++)
        st = load_number(s, transform, &plan->numbers[c], err);
    return st;
}

static enum seg_status load_derived(struct source *s, struct seg_preprocess *p, uint32_t i,
                                    struct seg_error *err)
{
    const uint32_t *field = s->derived + (size_t)i * N_DERIVED_FIELDS;
    const char *why = seg_derive_check(&p->inputs, p->derived, i);
    if (why == NULL && isnan(p->derived[i].reference)) why = "it has no reference";
    if (why != NULL)
        return seg_fail(err, SEG_EFORMAT, "derived column %s: %s", p->derived[i].name, why);
    return load_numbers(s, p, p->inputs.n_features + i, (enum made)field[DERIVED_INDICATOR],
                        (enum seg_transform)field[DERIVED_TRANSFORM], err);
}

static enum seg_status load_plan(struct source *s, struct seg_preprocess *p, uint32_t i,
                                 struct seg_error *err)
{
    const uint32_t *field = s->fields + (size_t)i * N_FIELDS;
    struct seg_feature *f = &p->inputs.features[i];
    struct seg_plan *plan = &p->plans[i];
    enum seg_status st = SEG_OK;
    if (f->type != SEG_CATEGORICAL)
        return load_numbers(s, p, i, (enum made)field[FIELD_INDICATOR],
                            (enum seg_transform)field[FIELD_TRANSFORM], err);
    plan->indicator = field[FIELD_INDICATOR] == MADE_INDICATOR_TOO;
    plan->encode = (enum seg_encode)field[FIELD_ENCODE];
    plan->n_values = field[FIELD_VALUES];
    plan->impute_code = field[FIELD_IMPUTE_CODE];
    st = load_dictionary(s, field[FIELD_CATEGORIES], &f->dictionary, err);
    if (st != SEG_OK) return st;
    switch (plan->encode) {
    case SEG_ENCODE_ONE_HOT:
    case SEG_ENCODE_CODE:
    case SEG_ENCODE_EMBEDDING: return SEG_OK;
    case SEG_ENCODE_ORDINAL: return load_codes(s, plan, f->dictionary.n, err);
    case SEG_ENCODE_HASH:
        st = seg_plan_hash(plan, &f->dictionary);
        return st == SEG_OK ? SEG_OK : seg_fail(err, st, "out of memory");
    case SEG_ENCODE_TARGET:
        st = load_codes(s, plan, f->dictionary.n, err);
        return st == SEG_OK ? load_targets(s, plan, err) : st;
    }
    return SEG_OK;
}

static enum seg_status load_schema(const struct source *s, struct seg_schema *schema,
                                   struct seg_error *err)
{
    for (size_t i = 0; i < s->n_features; i++) {
        const uint32_t *field = s->fields + i * N_FIELDS;
        enum seg_status st = seg_schema_add(schema, s->names[i], (enum seg_type)field[FIELD_TYPE],
                                            field[FIELD_WIDTH], err);
        if (st == SEG_ENOMEM) return st;
        if (st != SEG_OK) return SEG_EFORMAT; /* err tells why */
    }
    return SEG_OK;
}

/* What is derived, its names borrowed: a new array. */
static struct seg_derived *derived_of(const struct source *s)
{
    struct seg_derived *derived = seg_calloc(s->n_derived, sizeof *derived);
    for (size_t i = 0; derived != NULL && i < s->n_derived; i++) {
        const uint32_t *field = s->derived + i * N_DERIVED_FIELDS;
        derived[i] =
            (struct seg_derived){ .op = (enum seg_derive_op)field[DERIVED_OP],
                                  .of = { field[DERIVED_OF_FIRST], field[DERIVED_OF_SECOND] },
                                  .reference = s->references[i] };
        memcpy(&derived[i].name, &s->derived_names[i], sizeof derived[i].name);
    }
    return derived;
}

enum seg_status seg_preprocess_load(const struct seg_tensors *ts, struct seg_preprocess **ret_p,
                                    struct seg_error *err)
{
    struct seg_preprocess *p = NULL;
    struct source s = { 0 };
    struct seg_derived *derived = NULL;
    struct seg_schema schema;
    const void *seed;
    seg_schema_init(&schema);
    enum seg_status st = seg_tensors_expect(ts, "preprocess.seed", SEG_U32, 2, &seed, err);
    if (st == SEG_OK) st = source_open(&s, ts, err);
    if (st == SEG_OK) st = load_schema(&s, &schema, err);
    if (st != SEG_OK) goto out;
    const uint32_t *half = seed;
    derived = derived_of(&s);
    st = derived == NULL ? SEG_ENOMEM
                         : seg_preprocess_new(&schema, derived, (uint32_t)s.n_derived,
                                              (uint64_t)half[1] << 32 | half[0], &p);
    if (st != SEG_OK) {
        seg_fail(err, st, "out of memory");
        goto out;
    }
    for (uint32_t i = 0; i < p->inputs.n_features && st == SEG_OK; i++)
        st = load_plan(&s, p, i, err);
    for (uint32_t i = 0; i < p->n_derived && st == SEG_OK; i++)
        st = load_derived(&s, p, i, err);
    if (st == SEG_OK) st = seg_preprocess_finish(p, err);
    if (st == SEG_OK) st = seg_pca_load(ts, p->n_columns, &p->pca, err);
    if (st == SEG_ELIMIT) st = SEG_EFORMAT;
    if (st != SEG_OK) goto out;
    *ret_p = p;
    p = NULL;

out:
    seg_preprocess_free(p);
    seg_schema_release(&schema);
    seg_free(derived);
    seg_free(s.names);
    seg_free(s.derived_names);
    seg_free(s.strings);
    return st;
}
