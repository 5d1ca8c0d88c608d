/* train.c - the classifier, and the gradient of one batch for tests. */
#include "neural/train.h"

#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "neural/fit.h"

static const char *schedule_check(const struct seg_train_params *p)
{
    if (p->schedule > SEG_SCHEDULE_STEP) return "unknown schedule";
    if (p->warmup_epochs > p->epochs) return "warmup_epochs must be at most epochs";
    if (p->schedule == SEG_SCHEDULE_COSINE && !(p->cosine_floor >= 0.0 && p->cosine_floor <= 1.0))
        return "cosine_floor must be 0 to 1";
    if (p->schedule != SEG_SCHEDULE_STEP) return NULL;
    if (p->step_epochs < 1) return "step_epochs must be 1 or more";
    if (!(p->step_factor > 0.0 && p->step_factor <= 1.0))
        return "step_factor must be more than 0 and at most 1";
    return NULL;
}

const char *seg_train_check(const struct seg_train_params *p)
{
    if (p->n_hidden > SEG_LAYERS_MAX - 1) return "too many hidden layers (limit 15)";
    for (uint32_t i = 0; i < p->n_hidden; i++) {
        if (p->hidden[i] < 1 || p->hidden[i] > SEG_UNITS_MAX)
            return "a hidden layer must have 1 to 4096 units";
        if (p->hidden[i] < 2 && p->normalization == SEG_NORMALIZE_LAYER)
            return SEG_LAYER_TOO_NARROW;
    }
    if (p->activation > SEG_LINEAR) return "unknown activation";
    if (p->optimizer > SEG_SGD) return "unknown optimizer";
    if (p->class_weight > SEG_WEIGHT_BALANCED) return "unknown class_weight";
    if (!(p->dropout >= 0.0 && p->dropout <= 0.9)) return "dropout must be 0 to 0.9";
    if (!(p->l2 >= 0.0 && isfinite(p->l2))) return "l2 must be 0 or more";
    if (!(p->learning_rate > 0.0 && isfinite(p->learning_rate)))
        return "learning_rate must be more than 0";
    if (!(p->momentum >= 0.0 && p->momentum <= 1.0)) return "momentum must be 0 to 1";
    if (p->batch_size < 1 || p->batch_size > 65536) return "batch_size must be 1 to 65536";
    if (p->epochs < 1 || p->epochs > 10000) return "epochs must be 1 to 10000";
    if (!(p->clip_norm >= 0.0 && isfinite(p->clip_norm))) return "clip_norm must be 0 or more";
    if (!(p->label_smoothing >= 0.0 && p->label_smoothing < 1.0))
        return "label_smoothing must be 0 to less than 1";
    if (p->normalization > SEG_NORMALIZE_LAYER) return "unknown normalization";
    if (p->normalization == SEG_NORMALIZE_BATCH && p->batch_size < 2)
        return "batch normalization needs a batch_size of at least 2";
    return schedule_check(p);
}

/* Shapes of the embeddings for rows of n_in columns. */
static enum seg_status embeddings_check(const struct seg_train_params *p, uint32_t n_in,
                                        struct seg_error *err)
{
    for (uint32_t i = 0; i < p->n_embeddings; i++) {
        const struct seg_embedding_shape *s = &p->embeddings[i];
        if (s->column >= n_in || (i > 0 && s->column <= s[-1].column))
            return seg_fail(err, SEG_EINVAL, "embedding %u is of column %u of %u", i, s->column,
                            n_in);
        if (s->n_codes < 2 || s->n_codes > SEG_EMBEDDING_CODES_MAX)
            return seg_fail(err, SEG_EINVAL, "embedding of %u codes (limit 2 to %u)", s->n_codes,
                            SEG_EMBEDDING_CODES_MAX);
        if (s->size < 1 || s->size > SEG_EMBEDDING_SIZE_MAX)
            return seg_fail(err, SEG_EINVAL, "embedding of size %u (limit 1 to %u)", s->size,
                            SEG_EMBEDDING_SIZE_MAX);
    }
    return SEG_OK;
}

static enum seg_status classes_check(const uint16_t *y, size_t n, uint32_t n_classes,
                                     struct seg_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (y[i] >= n_classes)
            return seg_fail(err, SEG_EINVAL, "class is %u at row %zu (limit %u)", y[i], i,
                            n_classes - 1);
    return SEG_OK;
}

/* n / (n_classes * n_c); a class without rows has no loss, and weight 0. */
static enum seg_status balance(const uint16_t *y, size_t n, uint32_t n_classes, float **ret_weights,
                               struct seg_error *err)
{
    enum seg_status st = SEG_OK;
    float *weights = seg_calloc(n_classes, sizeof *weights);
    uint64_t *counts = seg_calloc(n_classes, sizeof *counts);
    if (weights == NULL || counts == NULL) {
        st = seg_fail(err, SEG_ENOMEM, "out of memory for class weights");
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        counts[y[i]]++;
    for (uint32_t c = 0; c < n_classes; c++)
        if (counts[c] > 0)
            weights[c] = (float)((double)n / ((double)n_classes * (double)counts[c]));
    *ret_weights = weights;
    weights = NULL;
out:
    seg_free(weights);
    seg_free(counts);
    return st;
}

/* Of hidden layer i. A network that began with an encoder has in those layers what that one had. */
static enum seg_normalization normalization_of(const struct seg_train_params *p, uint32_t i)
{
    const struct seg_network *start = p->start;
    if (start == NULL || i >= start->n_layers) return p->normalization;
    if (start->layers[i].normalization == SEG_NORMALIZE_LAYER) return SEG_NORMALIZE_LAYER;
    return p->normalization == SEG_NORMALIZE_LAYER ? SEG_NORMALIZE_NONE : p->normalization;
}

static enum seg_status classifier_init(struct seg_network *net, uint32_t n_in, uint32_t n_classes,
                                       const struct seg_train_params *p, struct seg_error *err)
{
    uint32_t sizes[SEG_LAYERS_MAX + 1];
    enum seg_activation activations[SEG_LAYERS_MAX];
    struct seg_rng rng = seg_rng_make(p->seed, SEG_STREAM_WEIGHTS);
    struct seg_rng tables = seg_rng_make(p->seed, SEG_STREAM_TABLES);
    struct seg_embeddings e = { 0 };
    if (seg_embeddings_init(&e, p->embeddings, p->n_embeddings, n_in, &tables) != SEG_OK)
        return seg_fail(err, SEG_ENOMEM, "out of memory for embeddings");
    sizes[0] = e.n_out;
    memcpy(sizes + 1, p->hidden, p->n_hidden * sizeof *sizes);
    sizes[p->n_hidden + 1] = n_classes;
    for (uint32_t i = 0; i < p->n_hidden; i++) /* a network that began with an encoder has its */
        activations[i] = p->start != NULL && i < p->start->n_layers ? p->start->layers[i].activation
                                                                    : p->activation;
    activations[p->n_hidden] = SEG_LINEAR;
    enum seg_status st = seg_network_init_each(net, sizes, activations, p->n_hidden + 1, &rng, err);
    if (st == SEG_OK) seg_network_embed(net, &e);
    seg_embeddings_release(&e);
    for (uint32_t i = 0; i < p->n_hidden && st == SEG_OK; i++)
        st = seg_network_normalize(net, i, normalization_of(p, i));
    if (st == SEG_OK && p->start != NULL) st = seg_network_resume(net, p->start, err);
    if (st == SEG_OK && p->encoder != NULL)
        st = seg_network_begin(net, p->encoder, p->n_encoder, err);
    return st;
}

enum seg_status seg_classifier_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                   const uint16_t *y, const struct seg_tiles *x_val,
                                   const uint16_t *y_val, uint32_t n_classes,
                                   const struct seg_train_params *p,
                                   const struct seg_progress *progress, struct seg_network *ret_net,
                                   struct seg_curve *ret_curve, struct seg_error *err)
{
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    float *weights = NULL; /* (n_classes) */
    enum seg_status st = SEG_OK;
    const char *wrong = seg_train_check(p);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "%s", wrong);
    st = embeddings_check(p, x->n_cols, err);
    if (st == SEG_OK) st = classifier_init(&net, x->n_cols, n_classes, p, err);
    if (st == SEG_OK) st = classes_check(y, x->n_rows, n_classes, err);
    if (st == SEG_OK && x_val != NULL) st = classes_check(y_val, x_val->n_rows, n_classes, err);
    if (st == SEG_OK && p->class_weight == SEG_WEIGHT_BALANCED)
        st = balance(y, x->n_rows, n_classes, &weights, err);
    if (st != SEG_OK) goto out;
    struct seg_fit fit = {
        .train = { .x = x, .y = y, .class_weights = weights },
        .validation = { .x = x_val, .y = y_val, .class_weights = weights },
        .params = p,
    };
    for (uint32_t i = 0; i < p->n_hidden; i++)
        fit.drops[i] = true;
    st = seg_fit(pool, &fit, progress, &net, &curve, err);
    if (st == SEG_OK && seg_embeddings_settle(&net.embeddings, x) != SEG_OK)
        st = seg_fail(err, SEG_ENOMEM, "out of memory for embeddings");
    if (st != SEG_OK) goto out;
    *ret_net = net;
    *ret_curve = curve;
    net = (struct seg_network){ 0 };
    curve = (struct seg_curve){ 0 };
out:
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_free(weights);
    return st;
}

struct gradient {
    struct seg_batch *batch;
    const struct seg_batch_data *data;
    const uint32_t *rows;
    const float *staged;
    size_t n;
    double loss;
};

static void lead_gradient(struct seg_team *team, void *ctx)
{
    struct gradient *g = ctx;
    g->loss = seg_batch_train(g->batch, team, g->data, g->rows, g->staged, g->n, NULL);
}

enum seg_status seg_network_gradient(const struct seg_network *net, const float *rows, size_t n,
                                     const uint16_t *y, const float *class_weights,
                                     double label_smoothing, const float *target, double *ret_loss,
                                     float *grad)
{
    struct seg_network copy = { 0 };
    struct seg_tiles wanted = { 0 };
    struct seg_batch batch = { 0 };
    const struct seg_batch_options options = { .label_smoothing = label_smoothing };
    const size_t stride = SEG_STAGED_STRIDE((size_t)net->n_in);
    const size_t n_staged = (n + SEG_TILE_ROWS - 1) * stride + SEG_STAGED_SLACK;
    float *staged = NULL; /* (n_staged) */
    uint32_t *order = NULL;
    bool linear = net->layers[net->n_layers - 1].activation == SEG_LINEAR;
    enum seg_status st = SEG_EINVAL;
    if (n == 0 || (y != NULL && !linear)) goto out; /* cross-entropy is of logits */
    st = seg_network_copy(&copy, net);
    if (st == SEG_OK && y == NULL) st = seg_tiles_from_rows(&wanted, target, n, net->n_out);
    if (st != SEG_OK) goto out;

    struct seg_batch_data data = { .y = y,
                                   .class_weights = class_weights,
                                   .target = y == NULL ? &wanted : NULL };
    st = seg_batch_init(&batch, &copy, &data, (n + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS, &options,
                        NULL);
    if (st != SEG_OK) goto out;
    order = seg_alloc(n, sizeof *order);
    staged = seg_alloc_aligned(n_staged, sizeof *staged);
    if (order == NULL || staged == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    memset(staged, 0, n_staged * sizeof *staged);
    for (size_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
        memcpy(staged + i * stride, rows + i * net->n_in, net->n_in * sizeof *staged);
    }
    struct gradient g = { .batch = &batch, .data = &data, .rows = order, .staged = staged, .n = n };
    seg_team_run(NULL, 1, lead_gradient, &g);
    *ret_loss = g.loss / ((double)n * (y != NULL ? 1.0 : (double)net->n_out));
    const size_t n_dense = seg_network_n_params(net) - net->embeddings.n_params;
    memcpy(grad, batch.grad, n_dense * sizeof *grad);
    if (net->embeddings.n > 0) seg_embedding_steps_gradient(&batch.embedding, grad + n_dense);
out:
    seg_network_release(&copy);
    seg_tiles_release(&wanted);
    seg_batch_release(&batch);
    seg_free(staged);
    seg_free(order);
    return st;
}
