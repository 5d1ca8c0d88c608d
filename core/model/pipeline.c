/* pipeline.c - seg_train: the phases of a run in order, and what both tasks share.
 * Rows exist in one form at a time: raw cells are freed chunk by chunk as preprocessing makes its
 * columns, and a part is freed as soon as nothing will read it again. */
#include "model/pipeline_private.h"

#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "evaluate/split.h"

enum seg_part pipeline_evaluated_part(const struct pipeline *p)
{
    return p->report.n_rows[SEG_PART_TEST] > 0 ? SEG_PART_TEST : SEG_PART_TRAIN;
}

void pipeline_drop_part(struct pipeline *p, enum seg_part part)
{
    seg_tiles_release(&p->x[part]);
    seg_tiles_release(&p->codes[part]);
    seg_free(p->y[part]);
    p->y[part] = NULL;
}

static void pipeline_release(struct pipeline *p)
{
    for (int part = 0; part < SEG_PARTS; part++)
        pipeline_drop_part(p, (enum seg_part)part);
    seg_tiles_release(&p->points);
    seg_model_unref(p->model);
    seg_report_release(&p->report);
}

/* Cuts the rows: counts them by part, and *ret_part is a new array (n_rows), or NULL when all rows
 * train. */
static enum seg_status split(struct pipeline *p, uint8_t **ret_part, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    size_t n = p->t->table->cells.n_rows;
    bool stratify = spec->task == SEG_CLASSIFICATION;

    if (spec->test == 0 && spec->validation == 0) {
        p->report.n_rows[SEG_PART_TRAIN] = n;
        return pipeline_check_parts(p, err);
    }
    uint8_t *part = seg_alloc(n, sizeof(*part));
    if (part == NULL) return SEG_ENOMEM;
    enum seg_status st = seg_split(n, stratify ? p->t->y : NULL, stratify ? p->t->n_classes : 0,
                                   spec->test, spec->validation, spec->seed, part, err);
    if (st != SEG_OK) goto out;
    for (size_t row = 0; row < n; row++) {
        if (row % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        p->report.n_rows[part[row]]++;
    }
    st = pipeline_check_parts(p, err);
    if (st != SEG_OK) goto out;
    if (spec->test > 0 && p->report.n_rows[SEG_PART_TEST] == 0)
        st = pipeline_warn(p, "too few users for a test part: figures are of the training part");
    if (st == SEG_OK && spec->validation > 0 && p->report.n_rows[SEG_PART_VALIDATION] == 0)
        st = pipeline_warn(p, "too few users for a validation part: there is none");
    if (st != SEG_OK) goto out;
    *ret_part = part;
    part = NULL;
out:
    seg_free(part);
    return st;
}

/* Sorts the classes of the rows into the parts' own arrays. */
static enum seg_status divide_classes(struct pipeline *p, const uint8_t *part)
{
    size_t filled[SEG_PARTS] = { 0 };
    for (int i = 0; i < SEG_PARTS; i++) {
        p->y[i] = seg_alloc(p->report.n_rows[i], sizeof(*p->y[i]));
        if (p->y[i] == NULL) return SEG_ENOMEM;
    }
    for (size_t row = 0; row < p->t->table->cells.n_rows; row++) {
        if (row % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        uint8_t to = part != NULL ? part[row] : SEG_PART_TRAIN;
        p->y[to][filled[to]++] = p->t->y[row];
    }
    return SEG_OK;
}

/* The earlier model's preprocessing, by way of its stored form. */
static enum seg_status copy_preprocess(struct pipeline *p, struct seg_error *err)
{
    struct seg_tensors stored;
    seg_tensors_init(&stored);
    enum seg_status st = seg_preprocess_save(p->t->from->preprocess, &stored);
    if (st == SEG_OK) st = seg_preprocess_load(&stored, &p->model->preprocess, err);
    seg_tensors_release(&stored);
    return st;
}

static enum seg_status preprocess(struct pipeline *p, const uint8_t *part, struct seg_error *err)
{
    const struct seg_training *t = p->t;
    const uint16_t *y = p->spec->task == SEG_CLASSIFICATION ? t->y : NULL;
    const struct seg_preprocess_spec spec = { .columns = p->spec->columns,
                                              .derived = p->spec->derived,
                                              .n_derived = p->spec->n_derived };
    struct stage stage;

    stage_begin(&stage, p, 0.0, 0.5 * FRACTION_PREPROCESSED, "preprocessing");
    enum seg_status st =
        t->from != NULL
            ? copy_preprocess(p, err)
            : seg_preprocess_fit(p->pool, t->table, &spec, part, y, y != NULL ? t->n_classes : 0,
                                 p->spec->seed, &stage.as, &p->model->preprocess, err);
    if (st != SEG_OK) return st;
    stage_begin(&stage, p, 0.5 * FRACTION_PREPROCESSED, 0.3 * FRACTION_PREPROCESSED,
                "preprocessing");
    return seg_preprocess_consume(p->pool, p->model->preprocess, t->table, part, y, &stage.as, p->x,
                                  err);
}

/* Whether output column c has the same value in every row of x. */
static bool is_constant(const struct seg_tiles *x, uint32_t c)
{
    float first = *seg_tiles_cell(x, 0, c);
    for (size_t i = 0; i < seg_tiles_count(x); i++) {
        const float *column = seg_tiles_at(x, i) + (size_t)c * SEG_TILE_ROWS;
        unsigned n = seg_tiles_rows(x, i);
        if (i % SEG_CHUNK_TILES == 0) seg_pool_give_way();
        for (unsigned r = 0; r < n; r++)
            if (column[r] != first) return false;
    }
    return true;
}

/* A feature whose columns never vary decides nothing: people should know, but it is no fault. */
static enum seg_status warn_of_constants(struct pipeline *p)
{
    const struct seg_preprocess *pre = p->model->preprocess;
    const struct seg_schema *schema = seg_preprocess_inputs(pre);
    uint32_t n_features = schema->n_features + seg_preprocess_n_derived(pre);
    uint32_t n_columns = seg_preprocess_n_columns(pre);
    struct names constants = { 0 };

    for (uint32_t c = 0; c < n_columns;) {
        uint32_t feature = seg_preprocess_column_feature(pre, c);
        bool constant = true;
        for (; c < n_columns && seg_preprocess_column_feature(pre, c) == feature; c++)
            constant = constant && is_constant(&p->x[SEG_PART_TRAIN], c);
        if (constant)
            names_add(&constants,
                      feature < schema->n_features
                          ? schema->features[feature].name
                          : seg_preprocess_derived(pre, feature - schema->n_features)->name);
    }
    if (constants.n == 0) return SEG_OK;
    return pipeline_warn(p, "%u of %u features are the same for all users and have no effect: %s",
                         constants.n, n_features, constants.text);
}

/* The space of numbers and categories, whose weight may follow from the training part. */
static enum seg_status prepare_categories(struct pipeline *p)
{
    enum seg_status st = model_mixed_init(p->model, p->spec->prototypes.weight);
    if (st != SEG_OK || !p->spec->prototypes.weight_auto) return st;
    return seg_mixed_weight(p->pool, &p->x[SEG_PART_TRAIN], &p->model->mixed,
                            &p->model->mixed.weight);
}

/* Principal components of the training part's columns, and all parts turned into them. */
static enum seg_status rotate(struct pipeline *p, struct seg_error *err)
{
    struct seg_preprocess *pre = p->model->preprocess;
    struct stage stage;
    uint32_t n_wanted = 0;

    if (!p->spec->pca.wanted) return SEG_OK;
    stage_begin(&stage, p, 0.8 * FRACTION_PREPROCESSED, 0.1 * FRACTION_PREPROCESSED,
                "preprocessing");
    enum seg_status st = seg_preprocess_fit_pca(p->pool, pre, &p->spec->pca, &p->x[SEG_PART_TRAIN],
                                                &stage.as, &n_wanted, err);
    for (int part = 0; part < SEG_PARTS && st == SEG_OK; part++)
        st = seg_preprocess_consume_columns(p->pool, pre, &stage.as, &p->x[part]);
    if (st == SEG_OK && n_wanted > seg_preprocess_n_out(pre))
        st = pipeline_warn(p, "pca gives %u components instead of %u: no more directions vary",
                           seg_preprocess_n_out(pre), n_wanted);
    return st;
}

static enum seg_status run_preprocess(struct pipeline *p, struct seg_error *err)
{
    uint8_t *part = NULL; /* (n_rows) enum seg_part; NULL: all rows train */
    struct stage stage;

    enum seg_status st = split(p, &part, err);
    if (st == SEG_OK && p->spec->task == SEG_CLASSIFICATION) st = divide_classes(p, part);
    if (st == SEG_OK) st = preprocess(p, part, err);
    seg_free(part);
    if (st == SEG_OK) st = warn_of_constants(p);
    if (st == SEG_OK) st = rotate(p, err);
    if (st == SEG_OK && seg_algorithm_info(p->spec->algorithm)->categories)
        st = prepare_categories(p);
    if (st == SEG_OK && pipeline_cancelled(p)) st = SEG_ECANCELED;
    if (st != SEG_OK) return st;
    stage_begin(&stage, p, 0.9 * FRACTION_PREPROCESSED, 0.1 * FRACTION_PREPROCESSED,
                "preprocessing");
    seg_progress_report(&stage.as, 1.0, "done");
    return SEG_OK;
}

static enum seg_status run_fit(struct pipeline *p, struct seg_error *err)
{
    enum seg_status st = p->spec->task == SEG_CLASSIFICATION ? pipeline_fit_classifier(p, err)
                                                             : pipeline_fit_segments(p, err);
    return st == SEG_OK ? model_seal(p->model, SEG_EINVAL, err) : st;
}

static enum seg_status run_evaluate(struct pipeline *p, struct seg_error *err)
{
    enum seg_part part = pipeline_evaluated_part(p);
    struct stage stage;

    stage_begin(&stage, p, FRACTION_FITTED, 1.0 - FRACTION_FITTED, "evaluating");
    seg_progress_report(&stage.as, 0.0, "projection");
    enum seg_status st = pipeline_project(p);
    if (st != SEG_OK) return st;
    p->report.evaluated_on_test = part == SEG_PART_TEST;
    for (int i = 0; i < SEG_PARTS; i++)
        if ((enum seg_part)i != part) pipeline_drop_part(p, (enum seg_part)i);
    st = pipeline_score_points(p);
    if (st == SEG_OK)
        st = p->spec->task == SEG_CLASSIFICATION ? pipeline_evaluate_classifier(p, err)
                                                 : pipeline_evaluate_segments(p, err);
    if (st == SEG_OK && pipeline_cancelled(p)) st = SEG_ECANCELED;
    if (st != SEG_OK) return st;
    stage_begin(&stage, p, FRACTION_FITTED, 1.0 - FRACTION_FITTED, "evaluating");
    seg_progress_report(&stage.as, 1.0, "done");
    return SEG_OK;
}

enum seg_status seg_train(struct seg_pool *pool, const struct seg_training *t,
                          struct seg_model **ret_model, struct seg_report *ret_report,
                          struct seg_error *err)
{
    static enum seg_status (*const PHASES[SEG_N_PHASES])(struct pipeline *, struct seg_error *) = {
        [SEG_PHASE_PREPROCESS] = run_preprocess,
        [SEG_PHASE_FIT] = run_fit,
        [SEG_PHASE_EVALUATE] = run_evaluate,
    };
    struct pipeline p = { .pool = pool, .t = t, .spec = t->spec };

    enum seg_status st = pipeline_check(&p, err);
    if (st != SEG_OK) goto out;
    p.model = model_new();
    if (p.model == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    p.model->algorithm = t->spec->algorithm;
    p.model->min_features_share = t->spec->min_features_share;
    for (int phase = 0; phase < SEG_N_PHASES; phase++) {
        const double start = seg_clock_s();
        st = pipeline_cancelled(&p) ? SEG_ECANCELED : PHASES[phase](&p, err);
        if (st != SEG_OK) goto out;
        p.report.duration_ms[phase] = 1e3 * (seg_clock_s() - start);
        if (phase == SEG_PHASE_FIT && t->fitted != NULL) t->fitted(t->progress.ctx, p.model);
    }
    seg_tiles_release(&t->table->cells);
    seg_tiles_recycle(&p.x[SEG_PART_TRAIN], &t->table->cells);
    *ret_model = p.model;
    p.model = NULL;
    *ret_report = p.report;
    p.report = (struct seg_report){ 0 };
out:
    pipeline_release(&p);
    return st;
}
