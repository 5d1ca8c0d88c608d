/* preprocess_save.c - a fitted plan to the tensors of preprocess_io.h. */
#include "features/preprocess_io.h"

#include <string.h>
#include "base/alloc.h"
#include "features/plan.h"

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
