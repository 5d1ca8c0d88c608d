/* preprocess.c - fitting: one task a column over the pool, then the columns are numbered. */
#include "features/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"

#define COLUMNS_A_ROUND 64u /* columns fitted between two reports of progress */

/* ---- life ---- */

enum seg_status seg_preprocess_new(const struct seg_schema *schema, uint64_t seed,
                                   struct seg_preprocess **ret_p)
{
    struct seg_preprocess *p = seg_calloc(1, sizeof *p);
    if (p == NULL) return SEG_ENOMEM;
    p->kernels = seg_number_kernels_get();
    p->seed = seed;
    seg_schema_init(&p->inputs);
    enum seg_status st = SEG_OK;
    for (uint32_t i = 0; i < schema->n_features && st == SEG_OK; i++) {
        const struct seg_feature *f = &schema->features[i];
        st = seg_schema_add(&p->inputs, f->name, f->type, f->width, NULL);
    }
    if (st != SEG_OK) goto out;
    st = SEG_ENOMEM;
    p->plans = seg_calloc(schema->n_features, sizeof *p->plans);
    if (p->plans == NULL) goto out;
    for (uint32_t i = 0; i < schema->n_features; i++) {
        const struct seg_feature *f = &schema->features[i];
        if (f->type == SEG_CATEGORICAL) continue;
        p->plans[i].n_values = f->width;
        p->plans[i].numbers = seg_calloc(f->width, sizeof *p->plans[i].numbers);
        if (p->plans[i].numbers == NULL) goto out;
    }
    *ret_p = p;
    p = NULL;
    st = SEG_OK;

out:
    seg_preprocess_free(p);
    return st;
}

void seg_preprocess_free(struct seg_preprocess *p)
{
    if (p == NULL) return;
    for (uint32_t i = 0; p->plans != NULL && i < p->inputs.n_features; i++) {
        struct seg_plan *plan = &p->plans[i];
        for (uint32_t c = 0; plan->numbers != NULL && c < p->inputs.features[i].width; c++)
            seg_number_release(&plan->numbers[c]);
        seg_free(plan->numbers);
        seg_free(plan->values);
        seg_free(plan->buckets);
        seg_free(plan->targets);
    }
    for (uint32_t i = 0; p->out_names != NULL && i < p->n_out; i++)
        seg_free(p->out_names[i]);
    seg_free(p->out_names);
    seg_free(p->out_feature);
    seg_free(p->plans);
    seg_schema_release(&p->inputs);
    seg_free(p);
}

/* ---- names ---- */

/* The name of value column j of a feature. NULL when memory is short. */
static char *value_name(const struct seg_feature *f, const struct seg_plan *plan, uint32_t j)
{
    char number[32] = "";
    const char *detail = number;
    if (f->type == SEG_VECTOR) {
        snprintf(number, sizeof number, "[%u]", j);
    } else if (f->type == SEG_CATEGORICAL) {
        switch (plan->encode) {
        case SEG_ENCODE_ONE_HOT: detail = f->dictionary.strings[j]; break;
        case SEG_ENCODE_HASH: snprintf(number, sizeof number, "#%u", j); break;
        case SEG_ENCODE_TARGET:
            if (plan->n_values > 1) snprintf(number, sizeof number, "@%u", j + 1);
            break;
        case SEG_ENCODE_ORDINAL:
        case SEG_ENCODE_CODE: break;
        }
    }
    const char *between = detail == number ? "" : "=";
    const size_t size = strlen(f->name) + strlen(between) + strlen(detail) + 1;
    char *name = seg_alloc(size, 1);
    if (name != NULL) snprintf(name, size, "%s%s%s", f->name, between, detail);
    return name;
}

static char *indicator_name(const struct seg_feature *f)
{
    static const char SUFFIX[] = " is missing";
    const size_t size = strlen(f->name) + sizeof SUFFIX;
    char *name = seg_alloc(size, 1);
    if (name != NULL) snprintf(name, size, "%s%s", f->name, SUFFIX);
    return name;
}

enum seg_status seg_preprocess_finish(struct seg_preprocess *p, struct seg_error *err)
{
    uint64_t n_out = 0;
    for (uint32_t i = 0; i < p->inputs.n_features; i++) {
        p->plans[i].first_out = (uint32_t)n_out;
        n_out += (uint64_t)p->plans[i].n_values + p->plans[i].indicator;
        if (n_out > SEG_OUTPUTS_MAX)
            return seg_fail(err, SEG_ELIMIT, "too many columns after encoding %s (limit %u)",
                            p->inputs.features[i].name, SEG_OUTPUTS_MAX);
    }
    p->n_out = (uint32_t)n_out;
    p->out_names = seg_calloc(n_out, sizeof *p->out_names);
    p->out_feature = seg_calloc(n_out, sizeof *p->out_feature);
    if (p->out_names == NULL || p->out_feature == NULL)
        return seg_fail(err, SEG_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < p->inputs.n_features; i++) {
        const struct seg_feature *f = &p->inputs.features[i];
        const struct seg_plan *plan = &p->plans[i];
        for (uint32_t j = 0; j < plan->n_values + plan->indicator; j++) {
            char *name = j < plan->n_values ? value_name(f, plan, j) : indicator_name(f);
            if (name == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
            p->out_names[plan->first_out + j] = name;
            p->out_feature[plan->first_out + j] = i;
        }
    }
    return SEG_OK;
}

const struct seg_schema *seg_preprocess_inputs(const struct seg_preprocess *p)
{
    return &p->inputs;
}

uint32_t seg_preprocess_n_out(const struct seg_preprocess *p)
{
    return p->n_out;
}

const char *seg_preprocess_out_name(const struct seg_preprocess *p, uint32_t i)
{
    return p->out_names[i];
}

uint32_t seg_preprocess_out_feature(const struct seg_preprocess *p, uint32_t i)
{
    return p->out_feature[i];
}

uint32_t seg_preprocess_out_codes(const struct seg_preprocess *p, uint32_t i)
{
    const struct seg_feature *f = &p->inputs.features[p->out_feature[i]];
    const struct seg_plan *plan = &p->plans[p->out_feature[i]];
    const bool is_code = f->type == SEG_CATEGORICAL && plan->encode == SEG_ENCODE_CODE &&
                         i == plan->first_out; /* and not the indicator */
    return is_code ? f->dictionary.n + 1 : 0;
}

/* ---- fitting ---- */

static const char *check_category_spec(const struct seg_column_spec *s)
{
    if ((unsigned)s->encode > SEG_ENCODE_CODE) return "encode is none of the known ones";
    if (s->impute == SEG_IMPUTE_CONSTANT &&
        memchr(s->constant_text, '\0', sizeof s->constant_text) == NULL)
        return "the constant is too long";
    if (s->encode == SEG_ENCODE_HASH && (s->hash_buckets == 0 || s->hash_buckets > SEG_OUTPUTS_MAX))
        return "hash_buckets is not within 1 to 65536";
    if (s->encode != SEG_ENCODE_HASH && s->max_categories == 0) return "max_categories is 0";
    return NULL;
}

static const char *check_number_spec(const struct seg_column_spec *s)
{
    if ((unsigned)s->outliers > SEG_OUTLIERS_ZSCORE) return "outliers is none of the known ones";
    if ((unsigned)s->transform > SEG_TRANSFORM_BINS) return "transform is none of the known ones";
    if (s->transform == SEG_TRANSFORM_BINS && (s->n_bins == 1 || s->n_bins > SEG_BINS_MAX))
        return "n_bins is not within 2 to 256";
    if (s->impute == SEG_IMPUTE_CONSTANT && !(fabs(s->constant) <= (double)SEG_VALUE_MAX))
        return "the constant is not within -1e30 to 1e30";
    if (s->outliers == SEG_OUTLIERS_WINSORIZE &&
        !(s->lower >= 0 && s->lower < s->upper && s->upper <= 1))
        return "winsorize needs 0 <= lower < upper <= 1";
    if ((s->outliers == SEG_OUTLIERS_IQR || s->outliers == SEG_OUTLIERS_ZSCORE) &&
        !(s->threshold > 0 && isfinite(s->threshold)))
        return "the threshold of outliers is not above 0";
    return NULL;
}

/* NULL if the spec suits a feature of that type, else the reason why not. */
static const char *check_spec(const struct seg_column_spec *s, enum seg_type type)
{
    if ((unsigned)s->impute > SEG_IMPUTE_ERROR) return "impute is none of the known ones";
    if ((unsigned)s->scale > SEG_SCALE_MAX_ABS) return "scale is none of the known ones";
    return type == SEG_CATEGORICAL ? check_category_spec(s) : check_number_spec(s);
}

/* The columns of a table, as tasks. */
struct fit_tasks {
    struct seg_fit fit;
    struct seg_preprocess *p;
    size_t first;            /* cell of chunk 0 of this round */
    uint32_t *feature_of;    /* (n_cells) */
    enum seg_status *status; /* (n_cells) */
    const char **why;        /* (n_cells) */
};

static void fit_cell(void *ctx, size_t index)
{
    struct fit_tasks *tasks = ctx;
    const uint32_t cell = (uint32_t)(tasks->first + index);
    const uint32_t i = tasks->feature_of[cell];
    struct seg_feature *f = &tasks->p->inputs.features[i];
    struct seg_plan *plan = &tasks->p->plans[i];
    if (seg_progress_cancelled(tasks->fit.progress)) {
        tasks->status[cell] = SEG_ECANCELED;
    } else if (f->type == SEG_CATEGORICAL) {
        tasks->status[cell] =
            seg_fit_category(&tasks->fit, i, plan, &f->dictionary, &tasks->why[cell]);
    } else {
        tasks->status[cell] =
            seg_fit_number(&tasks->fit, i, cell, &plan->numbers[cell - f->cell], &tasks->why[cell]);
    }
}

static enum seg_status fit_cells(struct seg_pool *pool, struct fit_tasks *tasks,
                                 struct seg_error *err)
{
    const struct seg_schema *schema = &tasks->p->inputs;
    for (tasks->first = 0; tasks->first < schema->n_cells; tasks->first += COLUMNS_A_ROUND) {
        const size_t left = schema->n_cells - tasks->first;
        const size_t n = left < COLUMNS_A_ROUND ? left : COLUMNS_A_ROUND;
        seg_progress_report(tasks->fit.progress, (double)tasks->first / schema->n_cells,
                            "fitting the preprocessing");
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, n, fit_cell, tasks);
        for (size_t cell = tasks->first; cell < tasks->first + n; cell++) {
            const enum seg_status st = tasks->status[cell];
            const char *name = schema->features[tasks->feature_of[cell]].name;
            switch (st) {
            case SEG_OK: break;
            case SEG_EINVAL: return seg_fail(err, st, "feature %s: %s", name, tasks->why[cell]);
            case SEG_ELIMIT: return seg_fail(err, st, "feature %s: too many categories", name);
            case SEG_ECANCELED: return seg_fail(err, st, "canceled");
            default: return seg_fail(err, st, "out of memory");
            }
        }
    }
    return SEG_OK;
}

static size_t count_training_rows(const struct seg_table *t, const uint8_t *part)
{
    if (part == NULL) return t->cells.n_rows;
    size_t n = 0;
    for (size_t row = 0; row < t->cells.n_rows; row++)
        n += part[row] == SEG_PART_TRAIN;
    return n;
}

enum seg_status seg_preprocess_fit(struct seg_pool *pool, const struct seg_table *t,
                                   const struct seg_column_spec *specs, const uint8_t *part,
                                   const uint16_t *y, uint32_t n_classes, uint64_t seed,
                                   const struct seg_progress *progress,
                                   struct seg_preprocess **ret_p, struct seg_error *err)
{
    const struct seg_schema *schema = &t->schema;
    if (schema->n_features == 0) return seg_fail(err, SEG_EINVAL, "there are no features");
    for (uint32_t i = 0; i < schema->n_features; i++) {
        const char *why = check_spec(&specs[i], schema->features[i].type);
        if (why != NULL)
            return seg_fail(err, SEG_EINVAL, "feature %s: %s", schema->features[i].name, why);
    }
    struct fit_tasks tasks = { .fit = { .table = t,
                                        .specs = specs,
                                        .part = part,
                                        .y = y,
                                        .n_classes = n_classes,
                                        .n_train = count_training_rows(t, part),
                                        .progress = progress } };
    if (tasks.fit.n_train == 0) return seg_fail(err, SEG_EINVAL, "there are no training rows");

    tasks.feature_of = seg_calloc(schema->n_cells, sizeof *tasks.feature_of);
    tasks.status = seg_calloc(schema->n_cells, sizeof *tasks.status);
    tasks.why = seg_calloc(schema->n_cells, sizeof *tasks.why);
    enum seg_status st = seg_preprocess_new(schema, seed, &tasks.p);
    if (tasks.feature_of == NULL || tasks.status == NULL || tasks.why == NULL) st = SEG_ENOMEM;
    if (st != SEG_OK) {
        seg_fail(err, st, "out of memory");
        goto out;
    }
    for (uint32_t i = 0; i < schema->n_features; i++) {
        tasks.p->plans[i].indicator = specs[i].indicator;
        for (uint32_t c = 0; c < schema->features[i].width; c++)
            tasks.feature_of[schema->features[i].cell + c] = i;
    }
    st = fit_cells(pool, &tasks, err);
    if (st == SEG_OK) st = seg_preprocess_finish(tasks.p, err);
    if (st != SEG_OK) goto out;
    seg_progress_report(progress, 1, "fitting the preprocessing");
    *ret_p = tasks.p;
    tasks.p = NULL;

out:
    seg_preprocess_free(tasks.p);
    seg_free(tasks.feature_of);
    seg_free(tasks.status);
    seg_free(tasks.why);
    return st;
}
