/* pipeline_classification.c - fitting a classifier, and the figures of anything that gives
 * probabilities (a classifier, or the head of a segmentation). */
#include "model/pipeline_private.h"

#include <string.h>
#include "base/alloc.h"

/* The model knows classes by name from here on. */
static enum seg_status name_classes(struct pipeline *p)
{
    const struct seg_training *t = p->t;
    p->model->class_names = seg_calloc(t->n_classes, sizeof(char *));
    if (p->model->class_names == NULL) return SEG_ENOMEM;
    p->model->n_classes = t->n_classes;
    for (uint32_t i = 0; i < t->n_classes; i++) {
        p->model->class_names[i] = seg_strdup(t->class_names[i]);
        if (p->model->class_names[i] == NULL) return SEG_ENOMEM;
    }
    return SEG_OK;
}

/* A class that training never sees is never predicted, and one that the test part lacks is not
 * measured: both are worth a sentence. */
static enum seg_status warn_of_rare_classes(struct pipeline *p)
{
    enum seg_part part = pipeline_evaluated_part(p);
    uint32_t n = p->t->n_classes;
    struct names unused = { 0 }, untested = { 0 };
    enum seg_status st = SEG_OK;

    size_t *counts = seg_calloc(2 * (size_t)n, sizeof(*counts)); /* (2, n) training, evaluated */
    if (counts == NULL) return SEG_ENOMEM;
    for (size_t i = 0; i < p->report.n_rows[SEG_PART_TRAIN]; i++)
        counts[p->y[SEG_PART_TRAIN][i]]++;
    for (size_t i = 0; i < p->report.n_rows[part]; i++)
        counts[n + p->y[part][i]]++;
    for (uint32_t i = 0; i < n; i++) {
        if (counts[i] == 0)
            names_add(&unused, p->t->class_names[i]);
        else if (counts[n + i] == 0)
            names_add(&untested, p->t->class_names[i]);
    }
    seg_free(counts);
    if (unused.n > 0)
        st = pipeline_warn(p, "%u of %u classes have no user and are never predicted: %s", unused.n,
                           n, unused.text);
    if (st == SEG_OK && untested.n > 0)
        st = pipeline_warn(p, "%u of %u classes have too few users for the test part: %s",
                           untested.n, n, untested.text);
    return st;
}

/* A vector for each column of codes, by the sizes of the spec. Sets train->embeddings to a new
 * array, or to NULL when there is no such column. */
static enum seg_status plan_embeddings(const struct pipeline *p, struct seg_train_params *train,
                                       struct seg_embedding_shape **ret_shapes)
{
    const struct seg_preprocess *pre = p->model->preprocess;
    const uint32_t n_columns = seg_preprocess_n_out(pre);
    struct seg_embedding_shape *shapes = seg_alloc(n_columns, sizeof(*shapes));
    if (shapes == NULL) return SEG_ENOMEM;
    train->n_embeddings = 0;
    for (uint32_t c = 0; c < n_columns; c++) {
        const uint32_t n_codes = seg_preprocess_out_codes(pre, c);
        if (n_codes == 0) continue;
        uint32_t size = p->spec->columns[seg_preprocess_column_feature(pre, c)].embedding_size;
        if (size == 0) size = seg_embedding_size(n_codes);
        shapes[train->n_embeddings++] = (struct seg_embedding_shape){ c, n_codes, size };
    }
    train->embeddings = *ret_shapes = shapes;
    return SEG_OK;
}

/* How the time of training divides, roughly; steps that a spec leaves out count nothing. */
#define WEIGHT_SEARCH 6.0
#define WEIGHT_CV     4.0
#define WEIGHT_FIT    1.0

/* Replaces the parameters to train with by the best that a search finds from them. */
static enum seg_status search(struct pipeline *p, const struct seg_progress *progress,
                              struct seg_train_params *train, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    const struct seg_mlp_search_params params = { .trials = spec->search_trials,
                                                  .seconds_max = spec->search_seconds,
                                                  .space = spec->search_space,
                                                  .base = *train,
                                                  .seed = spec->seed };
    if (p->report.n_rows[SEG_PART_VALIDATION] == 0)
        return seg_fail(err, SEG_EINVAL,
                        "a search needs a validation part: there are too few users");
    enum seg_status st = seg_mlp_search(
        p->pool, &p->x[SEG_PART_TRAIN], p->y[SEG_PART_TRAIN], &p->x[SEG_PART_VALIDATION],
        p->y[SEG_PART_VALIDATION], p->t->n_classes, &params, progress, &p->report.mlp_search, err);
    if (st != SEG_OK) return st;
    *train = p->report.mlp_search.best;
    p->report.mlp_search.best.embeddings = NULL; /* the report outlives them */
    for (size_t i = 0; i < p->report.mlp_search.n_trials; i++)
        p->report.mlp_search.trials[i].params.embeddings = NULL;
    return SEG_OK;
}

/* Of the training part, so that the test part stays unseen. */
static enum seg_status cross_validate(struct pipeline *p, const struct seg_train_params *train,
                                      const struct seg_progress *progress, struct seg_error *err)
{
    const struct seg_mlp_cv_params params = { .folds = p->spec->cv_folds,
                                              .validation = p->spec->validation,
                                              .train = *train };
    enum seg_status st = seg_mlp_cv(p->pool, &p->x[SEG_PART_TRAIN], p->y[SEG_PART_TRAIN],
                                    p->t->n_classes, &params, progress, &p->report.cv, err);
    p->report.has_cv = st == SEG_OK;
    return st;
}

enum seg_status pipeline_fit_classifier(struct pipeline *p, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    struct seg_train_params train = spec->mlp;
    if (pipeline_resumed(p) != NULL) {
        train.start = &p->t->from->network;
    } else if (p->t->from != NULL) {
        train.encoder = &p->t->from->autoencoder;
        train.n_encoder = p->t->from->n_encoder;
    }
    struct steps steps = { .sum = WEIGHT_FIT };
    struct stage stage;

    steps.sum += spec->search_trials > 0 ? WEIGHT_SEARCH : 0.0;
    steps.sum += spec->cv_folds > 0 ? WEIGHT_CV : 0.0;
    struct seg_embedding_shape *shapes = NULL;
    enum seg_status st = name_classes(p);
    if (st == SEG_OK) st = plan_embeddings(p, &train, &shapes);
    if (st == SEG_OK) st = warn_of_rare_classes(p);
    if (st == SEG_OK && spec->search_trials > 0) {
        step_begin(&stage, p, &steps, WEIGHT_SEARCH);
        st = search(p, &stage.as, &train, err);
    }
    if (st == SEG_OK && spec->cv_folds > 0) {
        step_begin(&stage, p, &steps, WEIGHT_CV);
        st = cross_validate(p, &train, &stage.as, err);
    }
    if (st != SEG_OK) goto out;
    step_begin(&stage, p, &steps, WEIGHT_FIT);
    st = seg_classifier_fit(p->pool, &p->x[SEG_PART_TRAIN], p->y[SEG_PART_TRAIN],
                            &p->x[SEG_PART_VALIDATION], p->y[SEG_PART_VALIDATION], p->t->n_classes,
                            &train, &stage.as, &p->model->network, &p->report.network_curve, err);
out:
    seg_free(shapes);
    return st;
}

/* One pass of the model over preprocessed rows, chunk by chunk; each chunk is freed when done. */
struct scoring {
    const struct pipeline *p;
    struct seg_tiles *x;
    size_t n_taken;        /* tiles that are scored, evenly spaced over all */
    float *probabilities;  /* (n_taken * 64 at most, n_results), rows of taken tiles in order */
    atomic_bool no_memory; /* a worker found none */
};

/* The i-th taken tile of n_tiles. */
static size_t taken_tile(const struct scoring *s, size_t i)
{
    size_t n_tiles = seg_tiles_count(s->x);
    return s->n_taken == n_tiles ? i : (size_t)((unsigned __int128)i * n_tiles / s->n_taken);
}

/* First taken index whose tile is not before `tile`: the inverse of taken_tile. */
static size_t taken_from(const struct scoring *s, size_t tile)
{
    size_t n_tiles = seg_tiles_count(s->x);
    return (size_t)(((unsigned __int128)tile * s->n_taken + n_tiles - 1) / n_tiles);
}

static void score_chunk(void *ctx, size_t chunk)
{
    struct scoring *s = ctx;
    const struct seg_model *m = s->p->model;
    struct seg_scores scores;
    size_t k = m->n_results, n_tiles = seg_tiles_count(s->x);
    size_t first = chunk * SEG_CHUNK_TILES, last = first + SEG_CHUNK_TILES;
    float *scratch = NULL;

    if (last > n_tiles) last = n_tiles;
    if (pipeline_cancelled(s->p)) return;
    scratch = seg_alloc_aligned(model_prepared_scratch(m) + k * SEG_TILE_ROWS, sizeof(float));
    if (scratch == NULL) {
        atomic_store(&s->no_memory, true);
        return;
    }
    scores.probabilities = scratch + model_prepared_scratch(m);
    for (size_t i = taken_from(s, first); i < taken_from(s, last); i++) {
        size_t tile = taken_tile(s, i);
        unsigned n_rows = seg_tiles_rows(s->x, tile);
        float *out = s->probabilities + i * SEG_TILE_ROWS * k; /* (n_rows, k) */
        seg_pool_give_way();
        model_score_prepared(m, seg_tiles_at(s->x, tile), n_rows, scratch, &scores);
        for (unsigned r = 0; r < n_rows; r++)
            for (size_t j = 0; j < k; j++)
                out[r * k + j] = scores.probabilities[j * SEG_TILE_ROWS + r];
    }
    seg_free(scratch);
    seg_tiles_drop_chunk(s->x, chunk);
}

/* Truth of the rows of the taken tiles, in order. Returns how many rows they are. */
static size_t take_truth(const struct scoring *s, const uint16_t *truth, uint16_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_taken; i++) {
        size_t tile = taken_tile(s, i);
        unsigned n_rows = seg_tiles_rows(s->x, tile);
        memcpy(out + n, truth + tile * SEG_TILE_ROWS, n_rows * sizeof(*out));
        n += n_rows;
    }
    return n;
}

enum seg_status pipeline_evaluate_probabilities(struct pipeline *p, enum seg_part part,
                                                const uint16_t *truth, struct seg_error *err)
{
    struct scoring s = { .p = p, .x = &p->x[part] };
    size_t k = p->model->n_results, n_tiles = seg_tiles_count(s.x);
    size_t n_tiles_max = PIPELINE_PROBABILITIES_MAX / (SEG_TILE_ROWS * k);
    enum seg_status st = SEG_OK;

    s.n_taken = n_tiles < n_tiles_max ? n_tiles : n_tiles_max;
    s.probabilities = seg_alloc_aligned(s.n_taken * SEG_TILE_ROWS, k * sizeof(float));
    uint16_t *y = seg_alloc(s.n_taken * SEG_TILE_ROWS, sizeof(*y));
    if (s.probabilities == NULL || y == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    size_t n = take_truth(&s, truth, y);
    if (n < s.x->n_rows) {
        st = pipeline_warn(p, "classification figures are of %zu of %zu users, evenly spaced", n,
                           s.x->n_rows);
        if (st != SEG_OK) goto out;
    }
    seg_pool_for(p->pool, SEG_PRIORITY_TRAINING, s.x->n_chunks, score_chunk, &s);
    if (pipeline_cancelled(p)) {
        st = SEG_ECANCELED;
        goto out;
    }
    if (atomic_load(&s.no_memory)) {
        st = SEG_ENOMEM;
        goto out;
    }
    st = seg_classification_evaluate(s.probabilities, y, n, (uint32_t)k, &p->report.classification,
                                     err);
    p->report.has_classification = st == SEG_OK;
out:
    seg_free(y);
    seg_free(s.probabilities);
    return st;
}

enum seg_status pipeline_evaluate_classifier(struct pipeline *p, struct seg_error *err)
{
    enum seg_part part = pipeline_evaluated_part(p);
    struct stage stage;

    stage_begin(&stage, p, FRACTION_FITTED, 1.0 - FRACTION_FITTED, "evaluating");
    seg_progress_report(&stage.as, 0.0, "classification");
    return pipeline_evaluate_probabilities(p, part, p->y[part], err);
}
