/* preprocess_io.c - a fitted plan as tensors, and back with every figure checked.
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
#include "features/plan.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"

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

/* How many elements there are of each kind, and the arrays that hold them. */
struct store {
    size_t n_features, n_derived, n_numbers, n_knots, n_categories, n_codes, n_targets;
    uint32_t *fields;      /* (n_features, N_FIELDS) */
    uint32_t *derived;     /* (n_derived, N_DERIVED_FIELDS) */
    double *references;    /* (n_derived) */
    double *numbers;       /* (n_numbers, NUMBER_FIELDS) */
    uint32_t *knot_counts; /* (n_numbers) */
    double *knots;         /* (n_knots) */
    const char **strings;  /* (n_categories), borrowed */
    float *codes;          /* (n_codes) */
    double *targets;       /* (n_targets, TARGET_FIELDS) */
};

static void store_release(struct store *s)
{
    seg_free(s->fields);
    seg_free(s->derived);
    seg_free(s->references);
    seg_free(s->numbers);
    seg_free(s->knot_counts);
    seg_free(s->knots);
    seg_free(s->strings);
    seg_free(s->codes);
    seg_free(s->targets);
}

/* ---- saving ---- */

static size_t codes_of(const struct seg_plan *plan, const struct seg_feature *f)
{
    return plan->values == NULL ? 0 : (size_t)plan->n_values * ((size_t)f->dictionary.n + 1);
}

static enum seg_status store_init(struct store *s, const struct seg_preprocess *p)
{
    s->n_features = p->inputs.n_features;
    s->n_derived = p->n_derived;
    for (uint32_t i = 0; i < seg_plan_count(p); i++) {
        const struct seg_plan *plan = &p->plans[i];
        for (uint32_t c = 0; plan->numbers != NULL && c < plan->n_values; c++)
            s->n_knots += plan->numbers[c].n_knots;
        s->n_numbers += plan->numbers != NULL ? plan->n_values : 0;
        s->n_targets += plan->targets != NULL ? plan->n_values : 0;
        if (i >= p->inputs.n_features) continue;
        s->n_categories += p->inputs.features[i].dictionary.n;
        s->n_codes += codes_of(plan, &p->inputs.features[i]);
    }
    s->fields = seg_calloc(s->n_features * N_FIELDS, sizeof *s->fields);
    s->derived = seg_calloc(s->n_derived * N_DERIVED_FIELDS, sizeof *s->derived);
    s->references = seg_calloc(s->n_derived, sizeof *s->references);
    s->numbers = seg_alloc(s->n_numbers * NUMBER_FIELDS, sizeof *s->numbers);
    s->knot_counts = seg_alloc(s->n_numbers, sizeof *s->knot_counts);
    s->knots = seg_alloc(s->n_knots, sizeof *s->knots);
    s->strings = seg_alloc(s->n_categories, sizeof *s->strings);
    s->codes = seg_alloc(s->n_codes, sizeof *s->codes);
    s->targets = seg_alloc(s->n_targets * TARGET_FIELDS, sizeof *s->targets);
    return s->fields == NULL || s->derived == NULL || s->references == NULL || s->numbers == NULL ||
                   s->knot_counts == NULL || s->knots == NULL || s->strings == NULL ||
                   s->codes == NULL || s->targets == NULL
               ? SEG_ENOMEM
               : SEG_OK;
}

/* at counts what is stored already; its arrays are those that are filled. */
static void store_number(struct store *at, const struct seg_number *n)
{
    const double row[NUMBER_FIELDS] = { (double)n->impute, (double)n->lower, (double)n->upper,
                                        n->lambda,         n->center,        n->inverse };
    memcpy(at->numbers + at->n_numbers * NUMBER_FIELDS, row, sizeof row);
    at->knot_counts[at->n_numbers++] = n->n_knots;
    if (n->n_knots > 0) memcpy(at->knots + at->n_knots, n->knots, n->n_knots * sizeof *n->knots);
    at->n_knots += n->n_knots;
}

static void store_category(struct store *at, const struct seg_plan *plan,
                           const struct seg_feature *f)
{
    for (uint32_t i = 0; i < f->dictionary.n; i++)
        at->strings[at->n_categories++] = f->dictionary.strings[i];
    const size_t n_codes = codes_of(plan, f);
    if (n_codes > 0) memcpy(at->codes + at->n_codes, plan->values, n_codes * sizeof *at->codes);
    at->n_codes += n_codes;
    for (uint32_t j = 0; plan->targets != NULL && j < plan->n_values; j++) {
        const double row[TARGET_FIELDS] = { plan->targets[j].prior, plan->targets[j].center,
                                            plan->targets[j].inverse };
        memcpy(at->targets + at->n_targets++ * TARGET_FIELDS, row, sizeof row);
    }
}

static uint32_t made_by(const struct seg_plan *plan)
{
    if (plan->n_values == 0) return MADE_NONE;
    return plan->indicator ? MADE_INDICATOR_TOO : MADE_VALUES;
}

/* The numbers of a plan, if it has some; returns the transform that they share. */
static uint32_t store_numbers(struct store *at, const struct seg_plan *plan)
{
    for (uint32_t c = 0; plan->numbers != NULL && c < plan->n_values; c++)
        store_number(at, &plan->numbers[c]);
    return plan->numbers != NULL ? plan->numbers[0].transform : SEG_TRANSFORM_NONE;
}

static void store_fill(const struct store *s, const struct seg_preprocess *p)
{
    struct store at = *s;
    at.n_features = at.n_numbers = at.n_knots = at.n_categories = at.n_codes = at.n_targets = 0;
    for (uint32_t i = 0; i < p->inputs.n_features; i++) {
        const struct seg_feature *f = &p->inputs.features[i];
        const struct seg_plan *plan = &p->plans[i];
        uint32_t *field = s->fields + (size_t)i * N_FIELDS;
        field[FIELD_TYPE] = f->type;
        field[FIELD_WIDTH] = f->width;
        field[FIELD_INDICATOR] = made_by(plan);
        if (f->type == SEG_CATEGORICAL) {
            field[FIELD_ENCODE] = plan->encode;
            field[FIELD_VALUES] = plan->n_values;
            field[FIELD_IMPUTE_CODE] = plan->impute_code;
            field[FIELD_CATEGORIES] = f->dictionary.n;
            store_category(&at, plan, f);
        } else {
            field[FIELD_TRANSFORM] = store_numbers(&at, plan);
        }
    }
    for (uint32_t i = 0; i < p->n_derived; i++) {
        const struct seg_derived *d = &p->derived[i];
        const struct seg_plan *plan = &p->plans[p->inputs.n_features + i];
        uint32_t *field = s->derived + (size_t)i * N_DERIVED_FIELDS;
        field[DERIVED_OP] = d->op;
        field[DERIVED_OF_FIRST] = d->of[0];
        field[DERIVED_OF_SECOND] = d->of[1];
        field[DERIVED_INDICATOR] = made_by(plan);
        field[DERIVED_TRANSFORM] = store_numbers(&at, plan);
        s->references[i] = d->reference;
    }
}

/* Adds (n, width) elements unless there are none. */
static enum seg_status add(struct seg_tensors *ts, const char *name, enum seg_dtype dtype, size_t n,
                           size_t width, const void *data)
{
    const size_t shape[2] = { n, width };
    return n == 0 ? SEG_OK : seg_tensors_add(ts, name, dtype, width == 1 ? 1 : 2, shape, data);
}

bool seg_preprocess_needs_format_2(const struct seg_preprocess *p)
{
    bool needs = p->n_derived > 0 || p->pca != NULL;
    for (uint32_t i = 0; i < p->inputs.n_features; i++)
        needs = needs || p->plans[i].n_values == 0;
    return needs;
}

enum seg_status seg_preprocess_save(const struct seg_preprocess *p, struct seg_tensors *ts)
{
    const uint32_t seed[2] = { (uint32_t)p->seed, (uint32_t)(p->seed >> 32) };
    struct store s = { 0 };
    const char **names = seg_alloc(seg_plan_count(p), sizeof *names);
    enum seg_status st = names == NULL ? SEG_ENOMEM : store_init(&s, p);
    if (st != SEG_OK) goto out;
    store_fill(&s, p);
    for (uint32_t i = 0; i < seg_plan_count(p); i++)
        names[i] = seg_plan_name(p, i);

    st = seg_tensors_add_strings(ts, "preprocess.names", names, s.n_features);
    if (st == SEG_OK && s.n_derived > 0)
        st = seg_tensors_add_strings(ts, "preprocess.derived.names", names + s.n_features,
                                     s.n_derived);
    if (st == SEG_OK)
        st = add(ts, "preprocess.derived.columns", SEG_U32, s.n_derived, N_DERIVED_FIELDS,
                 s.derived);
    if (st == SEG_OK)
        st = add(ts, "preprocess.derived.references", SEG_F64, s.n_derived, 1, s.references);
    if (st == SEG_OK)
        st = add(ts, "preprocess.features", SEG_U32, s.n_features, N_FIELDS, s.fields);
    if (st == SEG_OK) st = add(ts, "preprocess.seed", SEG_U32, 2, 1, seed);
    if (st == SEG_OK)
        st = add(ts, "preprocess.numbers", SEG_F64, s.n_numbers, NUMBER_FIELDS, s.numbers);
    if (st == SEG_OK)
        st = add(ts, "preprocess.knot_counts", SEG_U32, s.n_numbers, 1, s.knot_counts);
    if (st == SEG_OK) st = add(ts, "preprocess.knots", SEG_F64, s.n_knots, 1, s.knots);
    if (st == SEG_OK && s.n_categories > 0)
        st = seg_tensors_add_strings(ts, "preprocess.categories", s.strings, s.n_categories);
    if (st == SEG_OK) st = add(ts, "preprocess.codes", SEG_F32, s.n_codes, 1, s.codes);
    if (st == SEG_OK)
        st = add(ts, "preprocess.targets", SEG_F64, s.n_targets, TARGET_FIELDS, s.targets);
    if (st == SEG_OK && p->pca != NULL) st = seg_pca_save(p->pca, ts);

out:
    store_release(&s);
    seg_free(names);
    return st;
}

/* ---- loading ---- */

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
