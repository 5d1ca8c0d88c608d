/* batch_update.c - from the shards' gradients to the next parameters; see batch_private.h.
 * A part is the same run of parameters in every batch, and a team's leader takes parts from the
 * front, its helpers from the back: moments stay with one processor. */
#include "neural/batch_private.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* A part is a quarter of all parameters within these bounds: enough for a few workers, and few
 * claims, which cost a trip between processors each. */
#define PART_MIN  512u
#define PART_MAX  2048u
#define PARTS_FEW 4u

static void add_range(struct seg_batch_update *u, float *params, size_t at, size_t n,
                      bool is_weights)
{
    u->ranges[u->n_ranges++] = (struct seg_batch_range){
        .params = params, .param_at = at, .n = n, .is_weights = is_weights
    };
}

/* Of n parameters: whole cache lines, and no more parts than a team can take. */
static size_t part_size(size_t n)
{
    size_t part = n / PARTS_FEW;
    if (part < PART_MIN) part = PART_MIN;
    if (part > PART_MAX) part = PART_MAX;
    if (part < n / SEG_TEAM_TASKS_MAX + 1) part = n / SEG_TEAM_TASKS_MAX + 1;
    return (part + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
}

enum seg_status batch_update_init(struct seg_batch *b)
{
    struct seg_batch_update *u = &b->update;
    const struct seg_code_loss *loss = b->data->code_loss;
    for (uint32_t i = 0; i < b->net->n_layers; i++) {
        const struct seg_batch_layer *at = &b->layers[i];
        const struct seg_layer *layer = &b->net->layers[i];
        const size_t n_weights = at->n_out * at->n_in;
        add_range(u, layer->weights.data, at->param_at, n_weights, true);
        add_range(u, layer->bias, at->param_at + n_weights, at->n_out, false);
        if (layer->gain != NULL)
            add_range(u, layer->gain, at->param_at + n_weights + at->n_out, 2 * at->n_out, false);
    }
    if (loss != NULL)
        add_range(u, loss->params, b->n_params - loss->n_params, loss->n_params, false);
    assert(u->n_ranges <= SEG_BATCH_RANGES_MAX);
    u->part = part_size(b->n_params);
    u->n_parts = (b->n_params + u->part - 1) / u->part;
    if (b->options.clip_norm <= 0.0) return SEG_OK;
    u->square_sums = seg_calloc(u->n_parts, sizeof *u->square_sums); /* read after a cancel too */
    return u->square_sums == NULL ? SEG_ENOMEM : SEG_OK;
}

void batch_update_release(struct seg_batch *b)
{
    seg_free(b->update.square_sums);
}

/* Parameters of a part. */
static size_t part_params(const struct seg_batch *b, size_t part)
{
    const size_t left = b->n_params - part * b->update.part;
    return left < b->update.part ? left : b->update.part;
}

/* n <= PART_MAX parameters that stand together. What others have read is updated in a copy: to take
 * its lines away from them one after another, as stores would, costs more than the update. */
static void update_range(const struct seg_batch *b, size_t at, size_t n, bool is_weights,
                         const float *grad, float *params)
{
    _Alignas(SEG_ALIGN) float next[PART_MAX];
    if (!b->update.is_shared) {
        seg_optimizer_update(b->optimizer, at, n, is_weights, grad, params);
        return;
    }
    memcpy(next, params, n * sizeof *next);
    seg_optimizer_update(b->optimizer, at, n, is_weights, grad, next);
    b->layer_kernels->publish(next, n, params);
}

/* The n <= PART_MAX parameters from `begin` on, whose gradient is grad (n). */
static void update_run(const struct seg_batch *b, size_t begin, size_t n, const float *grad)
{
    const struct seg_batch_update *u = &b->update;
    for (const struct seg_batch_range *r = u->ranges; r < u->ranges + u->n_ranges; r++) {
        const size_t first = r->param_at > begin ? r->param_at : begin;
        const size_t end = r->param_at + r->n < begin + n ? r->param_at + r->n : begin + n;
        if (first < end)
            update_range(b, first, end - first, r->is_weights, grad + (first - begin),
                         r->params + (first - r->param_at));
    }
}

/* Second phase: a part's gradient over all shards, and its update. */
static void update_part(void *ctx, size_t part)
{
    const struct seg_batch *b = ctx;
    const size_t begin = part * b->update.part, end = begin + part_params(b, part);
    _Alignas(SEG_ALIGN) float sum[PART_MAX];
    if (seg_progress_cancelled(b->progress)) return;
    for (size_t at = begin; at < end; at += PART_MAX) {
        const size_t n = end - at < PART_MAX ? end - at : PART_MAX;
        b->layer_kernels->sum(b->grad + at, b->n_shards_used, b->grad_stride, n, sum);
        update_run(b, at, n, sum);
    }
}

/* Second phase, where the update has to wait: into shard 0. */
static void sum_part(void *ctx, size_t part)
{
    struct seg_batch *b = ctx;
    float *grad = b->grad + part * b->update.part;
    const size_t n = part_params(b, part);
    if (seg_progress_cancelled(b->progress)) return;
    b->layer_kernels->sum(grad, b->n_shards_used, b->grad_stride, n, grad);
    if (b->update.square_sums != NULL)
        b->update.square_sums[part] = b->layer_kernels->square_sum(grad, n);
}

/* Third phase, with clip_norm. */
static void clip_part(void *ctx, size_t part)
{
    const struct seg_batch *b = ctx;
    const size_t begin = part * b->update.part, end = begin + part_params(b, part);
    if (seg_progress_cancelled(b->progress)) return;
    if (b->update.shrink < 1.0f)
        b->layer_kernels->scale(b->grad + begin, end - begin, b->update.shrink);
    for (size_t at = begin; at < end; at += PART_MAX)
        update_run(b, at, end - at < PART_MAX ? end - at : PART_MAX, b->grad + at);
}

/* The same for a table of embeddings, whose sum is there. */
static void update_table(void *ctx, size_t table)
{
    struct seg_batch *b = ctx;
    if (seg_progress_cancelled(b->progress)) return;
    seg_embedding_step_update(&b->embedding, (uint32_t)table, b->update.shrink, b->optimizer);
}

static float clip_factor(struct seg_batch *b)
{
    double sum = 0.0;
    for (size_t i = 0; i < b->update.n_parts; i++)
        sum += b->update.square_sums[i];
    for (uint32_t i = 0; i < b->net->embeddings.n; i++) {
        seg_embedding_step_measure(&b->embedding, i);
        sum += b->embedding.steps[i].square_sum;
    }
    double norm = sqrt(sum);
    return norm > b->options.clip_norm ? (float)(b->options.clip_norm / norm) : 1.0f;
}

void batch_update(struct seg_batch *b, struct seg_team *team)
{
    const bool clips = b->optimizer != NULL && b->update.square_sums != NULL;
    const bool waits = b->optimizer == NULL || clips;
    b->update.is_shared = team->n_members > 1;
    b->update.shrink = 1.0f;
    seg_team_phase(team, b->update.n_parts, waits ? sum_part : update_part, b);
    if (clips) {
        b->update.shrink = clip_factor(b);
        seg_team_phase(team, b->update.n_parts, clip_part, b);
    }
    if (b->optimizer != NULL && b->raw_at != 0)
        seg_team_phase(team, b->net->embeddings.n, update_table, b);
}
