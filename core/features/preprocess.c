/* preprocess.c - fitting: one task a column over the pool, then the columns are numbered. */
#include "features/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "features/calendar.h"

#define COLUMNS_A_ROUND 64u /* columns fitted between two reports of progress */

/* ---- life ---- */

static enum seg_status copy_derived(struct seg_preprocess *p, const struct seg_derived *derived,
                                    uint32_t n)
{
    p->derived = seg_calloc(n, sizeof *p->derived);
    if (p->derived == NULL) return SEG_ENOMEM;
    for (; p->n_derived < n; p->n_derived++) {
        struct seg_derived *d = &p->derived[p->n_derived];
        *d = derived[p->n_derived];
        d->name = seg_strdup(derived[p->n_derived].name);
        if (d->name == NULL) return SEG_ENOMEM;
    }
    return SEG_OK;
}

enum seg_status seg_preprocess_new(const struct seg_schema *schema,
                                   const struct seg_derived *derived, uint32_t n_derived,
                                   uint64_t seed, struct seg_preprocess **ret_p)
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
    if (st == SEG_OK) st = copy_derived(p, derived, n_derived);
    if (st != SEG_OK) goto out;
    p->plans = seg_calloc(seg_plan_count(p), sizeof *p->plans);
    if (p->plans == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    *ret_p = p;
    p = NULL;

out:
    seg_preprocess_free(p);
    return st;
}

enum seg_status seg_plan_numbers(struct seg_preprocess *p, uint32_t i)
{
    struct seg_plan *plan = &p->plans[i];
    plan->n_values = seg_plan_width(p, i);
    plan->numbers = seg_calloc(plan->n_values, sizeof *plan->numbers);
    return plan->numbers == NULL ? SEG_ENOMEM : SEG_OK;
}

void seg_preprocess_free(struct seg_preprocess *p)
{
    if (p == NULL) return;
    for (uint32_t i = 0; p->plans != NULL && i < seg_plan_count(p); i++) {
        struct seg_plan *plan = &p->plans[i];
        for (uint32_t c = 0; plan->numbers != NULL && c < plan->n_values; c++)
            seg_number_release(&plan->numbers[c]);
        seg_free(plan->numbers);
        seg_free(plan->values);
        seg_free(plan->buckets);
        seg_free(plan->targets);
    }
    for (uint32_t i = 0; p->column_names != NULL && i < p->n_columns; i++)
        seg_free(p->column_names[i]);
    seg_free(p->column_names);
    seg_free(p->column_feature);
    seg_free(p->plans);
    seg_pca_free(p->pca);
    for (uint32_t i = 0; i < p->n_derived; i++)
        seg_free(p->derived[i].name);
    seg_free(p->derived);
    seg_schema_release(&p->inputs);
    seg_free(p);
}

/* ---- names ---- */

/* The name of value column j of plan i. NULL when memory is short. */
static char *value_name(const struct seg_preprocess *p, uint32_t i, uint32_t j)
{
    const struct seg_plan *plan = &p->plans[i];
    const enum seg_type type = seg_plan_type(p, i);
    const char *own = seg_plan_name(p, i);
    char number[32] = "";
    const char *detail = number;
    if (type == SEG_VECTOR) {
        snprintf(number, sizeof number, "[%u]", j);
    } else if (type == SEG_CATEGORICAL) {
        switch (plan->encode) {
        case SEG_ENCODE_ONE_HOT: detail = p->inputs.features[i].dictionary.strings[j]; break;
        case SEG_ENCODE_HASH: snprintf(number, sizeof number, "#%u", j); break;
        case SEG_ENCODE_TARGET:
            if (plan->n_values > 1) snprintf(number, sizeof number, "@%u", j + 1);
            break;
        case SEG_ENCODE_ORDINAL:
        case SEG_ENCODE_CODE:
        case SEG_ENCODE_EMBEDDING: break;
        }
    }
    const char *between = detail == number ? "" : "=";
    const size_t size = strlen(own) + strlen(between) + strlen(detail) + 1;
    char *name = seg_alloc(size, 1);
    if (name != NULL) snprintf(name, size, "%s%s%s", own, between, detail);
    return name;
}

static char *indicator_name(const struct seg_preprocess *p, uint32_t i)
{
    static const char SUFFIX[] = " is missing";
    const char *own = seg_plan_name(p, i);
    const size_t size = strlen(own) + sizeof SUFFIX;
    char *name = seg_alloc(size, 1);
    if (name != NULL) snprintf(name, size, "%s%s", own, SUFFIX);
    return name;
}

enum seg_status seg_preprocess_finish(struct seg_preprocess *p, struct seg_error *err)
{
    uint64_t n_out = 0;
    for (uint32_t i = 0; i < seg_plan_count(p); i++) {
        p->plans[i].first_out = (uint32_t)n_out;
        n_out += (uint64_t)p->plans[i].n_values + p->plans[i].indicator;
        if (n_out > SEG_OUTPUTS_MAX)
            return seg_fail(err, SEG_ELIMIT, "too many columns after encoding %s (limit %u)",
                            seg_plan_name(p, i), SEG_OUTPUTS_MAX);
    }
    p->n_columns = (uint32_t)n_out;
    p->column_names = seg_calloc(n_out, sizeof *p->column_names);
    p->column_feature = seg_calloc(n_out, sizeof *p->column_feature);
    if (p->column_names == NULL || p->column_feature == NULL)
        return seg_fail(err, SEG_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < seg_plan_count(p); i++) {
        const struct seg_plan *plan = &p->plans[i];
        for (uint32_t j = 0; j < plan->n_values + plan->indicator; j++) {
            char *name = j < plan->n_values ? value_name(p, i, j) : indicator_name(p, i);
            if (name == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
            p->column_names[plan->first_out + j] = name;
            p->column_feature[plan->first_out + j] = i;
        }
    }
    return SEG_OK;
}

const struct seg_schema *seg_preprocess_inputs(const struct seg_preprocess *p)
{
    return &p->inputs;
}

uint32_t seg_preprocess_n_derived(const struct seg_preprocess *p)
{
    return p->n_derived;
}

const struct seg_derived *seg_preprocess_derived(const struct seg_preprocess *p, uint32_t i)
{
    return &p->derived[i];
}

uint32_t seg_preprocess_n_columns(const struct seg_preprocess *p)
{
    return p->n_columns;
}

uint32_t seg_preprocess_n_out(const struct seg_preprocess *p)
{
    return p->pca != NULL ? p->pca->n_out : p->n_columns;
}

const char *seg_preprocess_out_name(const struct seg_preprocess *p, uint32_t i)
{
    return p->pca != NULL ? p->pca->names[i] : p->column_names[i];
}

const double *seg_preprocess_explained(const struct seg_preprocess *p)
{
    return p->pca != NULL ? p->pca->explained : NULL;
}

uint32_t seg_preprocess_column_feature(const struct seg_preprocess *p, uint32_t i)
{
    return p->column_feature[i];
}

uint32_t seg_preprocess_out_codes(const struct seg_preprocess *p, uint32_t i)
{
    if (p->pca != NULL) return 0;
    const uint32_t feature = p->column_feature[i];
    const struct seg_plan *plan = &p->plans[feature];
    const bool is_code = seg_plan_type(p, feature) == SEG_CATEGORICAL &&
                         plan->encode == SEG_ENCODE_CODE &&
                         i == plan->first_out; /* and not the indicator */
    return is_code ? p->inputs.features[feature].dictionary.n + 1 : 0;
}

/* ---- fitting ---- */

static const char *check_category_spec(const struct seg_column_spec *s)
{
    if ((unsigned)s->encode > SEG_ENCODE_EMBEDDING) return "encode is none of the known ones";
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
    if (s->left_out && (type == SEG_CATEGORICAL || type == SEG_VECTOR))
        return "nothing is derived from it, it cannot be left out";
    return type == SEG_CATEGORICAL ? check_category_spec(s) : check_number_spec(s);
}

/* One column to fit: a category, or one number of a feature or of what is derived. */
struct fit_task {
    uint32_t feature, dimension;
    enum seg_status status;
    const char *why;
};

/* The columns of a table, as tasks. */
struct fit_tasks {
    struct seg_fit fit;
    struct seg_preprocess *p;
    size_t first; /* task of chunk 0 of this round */
    struct fit_task *tasks;
    size_t n;
};

static void fit_column(void *ctx, size_t index)
{
    struct fit_tasks *tasks = ctx;
    struct fit_task *task = &tasks->tasks[tasks->first + index];
    const uint32_t i = task->feature;
    struct seg_plan *plan = &tasks->p->plans[i];
    if (seg_progress_cancelled(tasks->fit.progress))
        task->status = SEG_ECANCELED;
    else if (plan->numbers == NULL)
        task->status = seg_fit_category(&tasks->fit, i, plan,
                                        &tasks->p->inputs.features[i].dictionary, &task->why);
    else
        task->status = seg_fit_number(&tasks->fit, i, task->dimension,
                                      &plan->numbers[task->dimension], &task->why);
}

static enum seg_status fit_columns(struct seg_pool *pool, struct fit_tasks *tasks,
                                   struct seg_error *err)
{
    for (tasks->first = 0; tasks->first < tasks->n; tasks->first += COLUMNS_A_ROUND) {
        const size_t left = tasks->n - tasks->first;
        const size_t n = left < COLUMNS_A_ROUND ? left : COLUMNS_A_ROUND;
        seg_progress_report(tasks->fit.progress, (double)tasks->first / (double)tasks->n,
                            "fitting the preprocessing");
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, n, fit_column, tasks);
        for (size_t i = tasks->first; i < tasks->first + n; i++) {
            const struct fit_task *task = &tasks->tasks[i];
            const char *name = seg_plan_name(tasks->p, task->feature);
            switch (task->status) {
            case SEG_OK: break;
            case SEG_EINVAL: return seg_fail(err, task->status, "feature %s: %s", name, task->why);
            case SEG_ELIMIT:
                return seg_fail(err, task->status, "feature %s: too many categories", name);
            case SEG_ECANCELED: return seg_fail(err, task->status, "canceled");
            default: return seg_fail(err, task->status, "out of memory");
            }
        }
    }
    return SEG_OK;
}

/* One task for each column that is not left out. */
static enum seg_status make_tasks(struct fit_tasks *tasks)
{
    struct seg_preprocess *p = tasks->p;
    size_t n_max = 0;
    for (uint32_t i = 0; i < seg_plan_count(p); i++)
        n_max += seg_plan_width(p, i);
    tasks->tasks = seg_calloc(n_max, sizeof *tasks->tasks);
    if (tasks->tasks == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < seg_plan_count(p); i++) {
        const bool category = seg_plan_type(p, i) == SEG_CATEGORICAL;
        if (tasks->fit.specs[i].left_out) continue;
        p->plans[i].indicator = tasks->fit.specs[i].indicator;
        if (!category && seg_plan_numbers(p, i) != SEG_OK) return SEG_ENOMEM;
        for (uint32_t c = 0; c < seg_plan_width(p, i); c++)
            tasks->tasks[tasks->n++] = (struct fit_task){ .feature = i, .dimension = c };
    }
    return SEG_OK;
}

/* The latest moment of the training part, for days_since without a reference; a column without any
 * value will be refused, whatever it gets. */
static void fit_references(const struct seg_table *t, const uint8_t *part, struct seg_preprocess *p)
{
    for (uint32_t i = 0; i < p->n_derived; i++) {
        struct seg_derived *d = &p->derived[i];
        if (!isnan(d->reference)) continue;
        const uint32_t cell = t->schema.features[d->of[0]].cell;
        double latest = -HUGE_VAL;
        for (size_t row = 0; row < t->cells.n_rows; row++) {
            struct seg_moment m;
            if (row % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
            const float *cells = &seg_table_cell(t, row, cell)->number;
            if ((part != NULL && part[row] != SEG_PART_TRAIN) ||
                !seg_moment_of_cells(cells[0], cells[SEG_TILE_ROWS], &m))
                continue;
            latest = fmax(latest, (double)m.day + m.second / SEG_DAY_SECONDS);
        }
        d->reference = isfinite(latest) ? latest : 0;
    }
}

static size_t count_training_rows(const struct seg_table *t, const uint8_t *part)
{
    if (part == NULL) return t->cells.n_rows;
    size_t n = 0;
    for (size_t row = 0; row < t->cells.n_rows; row++)
        n += part[row] == SEG_PART_TRAIN;
    return n;
}

static enum seg_status check_specs(const struct seg_schema *schema,
                                   const struct seg_preprocess_spec *spec, struct seg_error *err)
{
    if (schema->n_features == 0) return seg_fail(err, SEG_EINVAL, "there are no features");
    if (spec->n_derived > SEG_DERIVED_MAX)
        return seg_fail(err, SEG_ELIMIT, "too many derived columns: %u (limit %u)", spec->n_derived,
                        SEG_DERIVED_MAX);
    if (schema->n_features + spec->n_derived > SEG_FEATURES_MAX ||
        schema->n_cells + spec->n_derived > SEG_CELLS_MAX)
        return seg_fail(err, SEG_ELIMIT, "too many features with %u derived ones (limit %u)",
                        spec->n_derived, SEG_FEATURES_MAX);
    for (uint32_t i = 0; i < schema->n_features + spec->n_derived; i++) {
        const struct seg_derived *d =
            i < schema->n_features ? NULL : &spec->derived[i - schema->n_features];
        const char *why =
            d == NULL ? NULL : seg_derive_check(schema, spec->derived, i - schema->n_features);
        const enum seg_type type = d == NULL ? schema->features[i].type : seg_derive_type(d->op);
        if (why == NULL) why = check_spec(&spec->columns[i], type);
        if (why != NULL)
            return seg_fail(err, SEG_EINVAL, "feature %s: %s",
                            d == NULL ? schema->features[i].name : d->name, why);
    }
    return SEG_OK;
}

enum seg_status seg_preprocess_fit(struct seg_pool *pool, const struct seg_table *t,
                                   const struct seg_preprocess_spec *spec, const uint8_t *part,
                                   const uint16_t *y, uint32_t n_classes, uint64_t seed,
                                   const struct seg_progress *progress,
                                   struct seg_preprocess **ret_p, struct seg_error *err)
{
    enum seg_status st = check_specs(&t->schema, spec, err);
    if (st != SEG_OK) return st;
    struct fit_tasks tasks = { .fit = { .table = t,
                                        .specs = spec->columns,
                                        .part = part,
                                        .y = y,
                                        .n_classes = n_classes,
                                        .n_train = count_training_rows(t, part),
                                        .progress = progress } };
    struct seg_scratch columns;
    if (tasks.fit.n_train == 0) return seg_fail(err, SEG_EINVAL, "there are no training rows");

    tasks.fit.columns = &columns;
    st = seg_scratch_init(&columns, pool, (tasks.fit.n_train + 1) * sizeof(float));
    if (st == SEG_OK)
        st = seg_preprocess_new(&t->schema, spec->derived, spec->n_derived, seed, &tasks.p);
    if (st == SEG_OK) st = make_tasks(&tasks);
    if (st != SEG_OK) {
        seg_fail(err, st, "out of memory");
        goto out;
    }
    fit_references(t, part, tasks.p);
    tasks.fit.derived = tasks.p->derived;
    st = fit_columns(pool, &tasks, err);
    if (st == SEG_OK) st = seg_preprocess_finish(tasks.p, err);
    if (st != SEG_OK) goto out;
    seg_progress_report(progress, 1, "fitting the preprocessing");
    *ret_p = tasks.p;
    tasks.p = NULL;

out:
    seg_scratch_release(&columns);
    seg_preprocess_free(tasks.p);
    seg_free(tasks.tasks);
    return st;
}

enum seg_status seg_preprocess_fit_pca(struct seg_pool *pool, struct seg_preprocess *p,
                                       const struct seg_pca_spec *spec, const struct seg_tiles *x,
                                       const struct seg_progress *progress, uint32_t *ret_n_wanted,
                                       struct seg_error *err)
{
    for (uint32_t i = 0; i < p->n_columns; i++)
        if (seg_preprocess_out_codes(p, i) > 0)
            return seg_fail(err, SEG_EINVAL, "pca of feature %s: codes are names, not quantities",
                            seg_plan_name(p, p->column_feature[i]));
    return seg_pca_fit(pool, x, spec, progress, &p->pca, ret_n_wanted, err);
}
