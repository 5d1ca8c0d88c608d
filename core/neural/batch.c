/* batch.c - forward, backward and update of a mini-batch in two phases; see the header.
 * While forward makes a layer's outputs it leaves their derivative (times the dropout mask) where
 * the layer's delta will be; the way back then only multiplies the error onto it. */
#include "neural/batch_private.h"

#include <string.h>

#define DROPOUT_STREAM ((uint64_t)3 << 60)
#define EPOCH_SHIFT    44 /* below: 4 bits of layer, 40 bits of batch */
#define LAYER_SHIFT    40
#define TILE_BITS(n)   ((n)*SEG_TILE_ROWS / 4) /* draws for a tile of n units: four in each */

double seg_batch_flops(const struct seg_batch *b)
{
    return 6.0 * (double)b->n_params; /* forward, to the inputs, to the weights */
}

/* Activation in place, and its derivative into slope. */
static void activate(const struct seg_batch *b, enum seg_activation activation, float *act,
                     size_t n, float *slope)
{
    const struct seg_kernels *k = b->kernels;
    const struct seg_layer_kernels *lk = b->layer_kernels;
    switch (activation) {
    case SEG_RELU: k->relu(act, n); break;
    case SEG_SIGMOID: k->sigmoid(act, n); break;
    case SEG_TANH: k->tanh(act, n); break;
    case SEG_GELU:
        lk->gelu_inner(act, n, slope);
        k->tanh(slope, n);
        lk->gelu_outer(act, n, slope);
        return;
    case SEG_LINEAR: break;
    }
    lk->slope(activation, act, n, slope);
}

static void drop_units(const struct seg_batch *b, uint32_t i, size_t slot, float *act, float *slope)
{
    size_t n = b->layers[i].n_out * SEG_TILE_ROWS;
    uint16_t *bits = b->bits + slot * b->net->widest * SEG_TILE_ROWS;
    struct seg_rng rng = seg_rng_make(b->options.seed, DROPOUT_STREAM | b->epoch << EPOCH_SHIFT |
                                                           (uint64_t)i << LAYER_SHIFT | b->number);
    rng.counter = (b->first_tile + slot) * TILE_BITS(b->layers[i].n_out);
    for (size_t at = 0; at < n; at += 4) {
        uint64_t draw = seg_rng_u64(&rng);
        memcpy(bits + at, &draw, sizeof draw);
    }
    double keep = 1.0 - b->options.dropout;
    b->layer_kernels->drop(bits, (uint32_t)(keep * 65536.0), (float)(1.0 / keep), n, act, slope);
}

/* Layer i's product with x (n_in, 64), to where its activation or first its normalization is. */
static void multiply(const struct seg_batch *b, size_t slot, uint32_t i, const float *x)
{
    const struct seg_batch_layer *at = &b->layers[i];
    const struct seg_layer *layer = &b->net->layers[i];
    size_t out_at = layer->normalization == SEG_NORMALIZE_NONE ? at->out_at : at->z_at;
    b->kernels->affine(x, at->n_in, layer->weights.data, layer->bias, at->n_out,
                       slot_floats(b, slot) + out_at);
}

/* From layer i's product to its output. */
static void finish(const struct seg_batch *b, size_t slot, uint32_t i, bool training)
{
    const struct seg_batch_layer *at = &b->layers[i];
    const struct seg_layer *layer = &b->net->layers[i];
    float *floats = slot_floats(b, slot);
    float *act = floats + at->out_at, *slope = floats + at->delta_at;
    if (layer->normalization != SEG_NORMALIZE_NONE) batch_norm_forward(b, slot, i);
    activate(b, layer->activation, act, at->n_out * SEG_TILE_ROWS, slope);
    if (training && at->drops) drop_units(b, i, slot, act, slope);
}

/* Takes a slot, whose layers before `first` are done, through those before `last`. x: its input
 * (n_in, 64). */
static void forward(const struct seg_batch *b, size_t slot, const float *x, uint32_t first,
                    uint32_t last, bool training)
{
    for (uint32_t i = first; i < last; i++) {
        multiply(b, slot, i, i == 0 ? x : slot_floats(b, slot) + b->layers[i].in_at);
        finish(b, slot, i, training);
    }
}

/* Loss of the slot and, in the last layer's delta, its gradient. */
static void slot_loss(const struct seg_batch *b, size_t slot, const float *target)
{
    struct seg_batch_slot *s = &b->slots[slot];
    const struct seg_batch_layer *at = &b->layers[b->net->n_layers - 1];
    const float *out = slot_floats(b, slot) + at->out_at;
    float *delta = slot_floats(b, slot) + at->delta_at;
    if (b->data->y == NULL) {
        s->loss =
            b->layer_kernels->squared_error(out, target, at->n_out, s->weight, b->scale, delta);
        return;
    }
    memcpy(delta, out, at->n_out * SEG_TILE_ROWS * sizeof *delta);
    b->kernels->softmax(delta, at->n_out);
    s->loss = b->layer_kernels->cross_entropy(out, at->n_out, s->y, s->weight,
                                              (float)b->options.label_smoothing, b->scale, delta);
}

/* Class and weight of each lane of a slot; lane r holds row rows[r], or first + r. */
static void slot_rows(const struct seg_batch *b, size_t slot, const uint32_t *rows, size_t first,
                      size_t n)
{
    struct seg_batch_slot *s = &b->slots[slot];
    for (size_t r = 0; r < SEG_TILE_ROWS; r++) {
        s->y[r] = 0;
        s->weight[r] = r < n ? 1.0f : 0.0f;
        if (r >= n || b->data->y == NULL) continue;
        s->y[r] = b->data->y[rows != NULL ? rows[r] : first + r];
        if (b->data->class_weights != NULL) s->weight[r] = b->data->class_weights[s->y[r]];
    }
}

static void gather(const struct seg_batch *b, const struct seg_tiles *from, const uint32_t *rows,
                   size_t n, float *out)
{
    const float *src[SEG_TILE_ROWS];
    for (size_t r = 0; r < n; r++)
        src[r] = seg_tiles_cell(from, rows[r], 0);
    b->layer_kernels->gather(src, (unsigned)n, from->n_cols, out);
}

/* Rows of a slot in the group at hand. */
static size_t slot_n_rows(const struct seg_batch *b, size_t slot)
{
    size_t left = b->n_rows - (b->first_tile + slot) * SEG_TILE_ROWS;
    return left < SEG_TILE_ROWS ? left : SEG_TILE_ROWS;
}

/* The code loss of a tile; its delta stands complete where the way back has reached the layer. */
static void add_code_loss(const struct seg_batch *b, size_t slot)
{
    const struct seg_code_loss *loss = b->data->code_loss;
    const struct seg_batch_layer *at = &b->layers[loss->layer];
    const uint32_t *rows = b->rows + (b->first_tile + slot) * SEG_TILE_ROWS;
    float *floats = slot_floats(b, slot);
    float *grad = shard_grad(b, slot / b->shard_tiles) + b->n_params - loss->n_params;
    b->slots[slot].code_loss = loss->add(loss->ctx, rows, (unsigned)slot_n_rows(b, slot),
                                         floats + at->out_at, 1.0f / (float)b->n_rows,
                                         floats + at->delta_at, grad, floats + b->code_scratch_at);
}

/* The rows of a slot in the batch's inputs. */
static const float *slot_staged(const struct seg_batch *b, size_t slot)
{
    return b->staged + (b->first_tile + slot) * SEG_TILE_ROWS * SEG_STAGED_STRIDE(b->net->n_in);
}

/* Input, target, classes and weights of a slot's rows. */
static void load_slot(const struct seg_batch *b, size_t slot)
{
    const uint32_t *rows = b->rows + (b->first_tile + slot) * SEG_TILE_ROWS;
    size_t n = slot_n_rows(b, slot);
    float *floats = slot_floats(b, slot);
    b->layer_kernels->from_rows(slot_staged(b, slot), SEG_STAGED_STRIDE(b->net->n_in), (unsigned)n,
                                b->net->n_in, floats + b->raw_at);
    if (b->raw_at != 0) seg_embeddings_expand(&b->net->embeddings, floats + b->raw_at, floats);
    if (b->target_at != 0) gather(b, b->data->target, rows, n, floats + b->target_at);
    slot_rows(b, slot, rows, 0, n);
}

/* Takes a slot from the stop before to the product of layer norm.stops[stop], which waits for the
 * other slots, or to the last layer's output. */
static void go_there(const struct seg_batch *b, size_t slot, uint32_t stop)
{
    const struct seg_batch_norm *norm = &b->norm;
    const float *floats = slot_floats(b, slot);
    uint32_t first = 0, last = stop < norm->n_stops ? norm->stops[stop] : b->net->n_layers;
    if (stop == 0) {
        load_slot(b, slot);
    } else {
        first = norm->stops[stop - 1];
        finish(b, slot, first++, true);
    }
    forward(b, slot, floats, first, last, true);
    if (stop == norm->n_stops) return;
    multiply(b, slot, last, floats + b->layers[last].in_at);
    batch_norm_moments(b, slot, last, slot_n_rows(b, slot));
}

/* From the first layer's delta to that by the columns it reads. */
static void delta_of_input(const struct seg_batch *b, size_t slot)
{
    const struct seg_batch_layer *first = &b->layers[0];
    float *floats = slot_floats(b, slot), *delta = floats + b->raw_delta_at;
    for (size_t i = 0; i < first->n_in * SEG_TILE_ROWS; i++)
        delta[i] = 1.0f; /* what backward multiplies */
    b->layer_kernels->backward(floats + first->delta_at, first->n_out,
                               b->net->layers[0].weights.data, first->n_in, delta);
}

/* And back, from the delta of the last layer or of norm.stops[stop] to that of the stop before, or
 * of the first layer. */
static void go_back(const struct seg_batch *b, size_t slot, uint32_t stop)
{
    const struct seg_code_loss *code_loss = b->data->code_loss;
    float *floats = slot_floats(b, slot);
    uint32_t i = b->net->n_layers - 1;
    if (stop < b->norm.n_stops) {
        i = b->norm.stops[stop];
        batch_norm_backward(b, slot, i, slot_n_rows(b, slot));
    }
    for (; i > 0; i--) {
        const struct seg_batch_layer *layer = &b->layers[i];
        enum seg_normalization before = b->net->layers[i - 1].normalization;
        b->layer_kernels->backward(floats + layer->delta_at, layer->n_out,
                                   b->net->layers[i].weights.data, layer->n_in,
                                   floats + b->layers[i - 1].delta_at);
        if (code_loss != NULL && code_loss->layer == i - 1) add_code_loss(b, slot);
        if (before == SEG_NORMALIZE_NONE) continue;
        batch_norm_sums(b, slot, i - 1);
        if (before == SEG_NORMALIZE_BATCH) return;
        batch_norm_backward(b, slot, i - 1, slot_n_rows(b, slot));
    }
    if (b->raw_at != 0) delta_of_input(b, slot);
}

/* Tiles of the group at hand. */
static size_t group_tiles(const struct seg_batch *b)
{
    size_t n = (b->n_rows + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS - b->first_tile;
    return n < b->n_slots ? n : b->n_slots;
}

/* The gradient of the slots first..first+n-1, whose deltas are all there, which are shard's. */
static void shard_gradient(const struct seg_batch *b, size_t shard, size_t first, size_t n)
{
    float *floats = slot_floats(b, first);
    float *grad = shard_grad(b, shard);
    for (uint32_t i = 0; i < b->net->n_layers; i++) {
        const struct seg_batch_layer *at = &b->layers[i];
        float *grad_bias = grad + at->param_at + at->n_out * at->n_in;
        enum seg_normalization normalization = b->net->layers[i].normalization;
        bool is_staged = i == 0 && b->raw_at == 0;
        for (size_t slot = 0; !is_staged && slot < n; slot++)
            b->layer_kernels->to_rows(floats + slot * b->stride + at->in_at, at->n_in,
                                      at->row_stride, floats + slot * b->stride + at->rows_at);
        const struct seg_gradient g = {
            .delta = floats + at->delta_at,
            .rows = is_staged ? slot_staged(b, first) : floats + at->rows_at,
            .row_stride = at->row_stride,
            .rows_stride = is_staged ? at->row_stride * SEG_TILE_ROWS : b->stride,
            .n_tiles = n,
            .stride = b->stride,
            .m = at->n_out,
            .d = at->n_in,
            .add = b->add,
            .grad_w = grad + at->param_at,
            .grad_b = grad_bias,
        };
        b->layer_kernels->gradient(&g);
        seg_pool_give_way();
        if (normalization != SEG_NORMALIZE_NONE)
            batch_norm_gradient(b, first, n, i, grad_bias + at->n_out);
        if (normalization == SEG_NORMALIZE_BATCH) /* what is left of 0 is rounding */
            memset(grad_bias, 0, at->n_out * sizeof *grad_bias);
    }
}

static size_t shard_slots(const struct seg_batch *b, size_t shard)
{
    size_t n = group_tiles(b) - shard * b->shard_tiles;
    return n < b->shard_tiles ? n : b->shard_tiles;
}

/* A part of the first phase that ends before a layer with batch normalization. */
static void shard_there(void *ctx, size_t shard)
{
    struct seg_batch *b = ctx;
    size_t first = shard * b->shard_tiles, n = shard_slots(b, shard);
    if (seg_progress_cancelled(b->progress)) return;
    for (size_t slot = first; slot < first + n; slot++) {
        go_there(b, slot, b->norm.stop);
        seg_pool_give_way();
    }
}

/* First phase: the tiles of one shard, there and back, and their gradient. */
static void shard_turn(void *ctx, size_t shard)
{
    struct seg_batch *b = ctx;
    const struct seg_code_loss *loss = b->data->code_loss;
    size_t first = shard * b->shard_tiles, n = shard_slots(b, shard);
    if (seg_progress_cancelled(b->progress)) return;
    if (loss != NULL && !b->add)
        memset(shard_grad(b, shard) + b->n_params - loss->n_params, 0,
               loss->n_params * sizeof *b->grad);
    for (size_t slot = first; slot < first + n; slot++) {
        go_there(b, slot, b->norm.n_stops);
        slot_loss(b, slot, slot_floats(b, slot) + b->target_at);
        go_back(b, slot, b->norm.n_stops);
        seg_pool_give_way();
    }
    if (b->norm.n_stops == 0) shard_gradient(b, shard, first, n);
}

/* A part of the first phase that begins at a layer with batch normalization on the way back. */
static void shard_back(void *ctx, size_t shard)
{
    struct seg_batch *b = ctx;
    size_t first = shard * b->shard_tiles, n = shard_slots(b, shard);
    if (seg_progress_cancelled(b->progress)) return;
    for (size_t slot = first; slot < first + n; slot++) {
        go_back(b, slot, b->norm.stop);
        seg_pool_give_way();
    }
    if (b->norm.stop == 0) shard_gradient(b, shard, first, n);
}

/* A table's share of the group: its slots in order. */
static void sum_table(void *ctx, size_t table)
{
    struct seg_batch *b = ctx;
    if (seg_progress_cancelled(b->progress)) return;
    for (size_t slot = 0; slot < group_tiles(b); slot++) {
        const float *floats = slot_floats(b, slot);
        seg_embedding_step_add(&b->embedding, (uint32_t)table, floats + b->raw_at,
                               floats + b->raw_delta_at, (unsigned)slot_n_rows(b, slot));
    }
}

static void train_group(struct seg_batch *b, struct seg_team *team)
{
    struct seg_batch_norm *norm = &b->norm;
    size_t n = group_tiles(b), n_shards = (n + b->shard_tiles - 1) / b->shard_tiles;
    size_t n_rows = b->n_rows - b->first_tile * SEG_TILE_ROWS;
    if (n_rows > n * SEG_TILE_ROWS) n_rows = n * SEG_TILE_ROWS;
    b->add = b->first_tile > 0;
    if (!b->add) b->n_shards_used = n_shards;
    for (norm->stop = 0; norm->stop < norm->n_stops; norm->stop++) {
        seg_team_phase(team, n_shards, shard_there, b);
        batch_norm_join_moments(b, norm->stops[norm->stop], n, n_rows);
    }
    if (b->optimizer != NULL && n_rows > 1) norm->n_groups++;
    seg_team_phase(team, n_shards, shard_turn, b);
    while (norm->stop-- > 0) {
        batch_norm_join_sums(b, norm->stops[norm->stop], n, n_rows);
        seg_team_phase(team, n_shards, shard_back, b);
    }
    if (b->raw_at == 0) return;
    if (!b->add) seg_embedding_steps_clear(&b->embedding);
    seg_team_phase(team, b->net->embeddings.n, sum_table, b);
}

double seg_batch_train(struct seg_batch *b, struct seg_team *team,
                       const struct seg_batch_data *data, const uint32_t *rows, const float *staged,
                       size_t n_rows, const struct seg_optimizer_state *optimizer)
{
    double loss = 0.0;
    double n_terms = data->y != NULL ? (double)n_rows : (double)n_rows * b->net->n_out;
    size_t n_tiles = (n_rows + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
    b->data = data;
    b->rows = rows;
    b->staged = staged;
    b->n_rows = n_rows;
    b->scale = (float)(1.0 / n_terms);
    b->optimizer = optimizer;
    b->code_loss = 0.0;
    for (b->first_tile = 0; b->first_tile < n_tiles; b->first_tile += b->n_slots) {
        train_group(b, team);
        for (size_t i = 0; i < group_tiles(b); i++) {
            loss += b->slots[i].loss;
            b->code_loss += data->code_loss != NULL ? b->slots[i].code_loss : 0.0;
        }
    }
    batch_update(b, team);
    return loss;
}

/* Rows of the slot whose largest output, ties to the lower, is their class. */
static size_t count_right(const float *out, size_t n_out, const uint16_t *y, size_t n)
{
    float top[SEG_TILE_ROWS];
    uint16_t top_class[SEG_TILE_ROWS] = { 0 };
    size_t n_right = 0;
    memcpy(top, out, sizeof top);
    for (size_t j = 1; j < n_out; j++)
        for (size_t r = 0; r < SEG_TILE_ROWS; r++) {
            bool higher = out[j * SEG_TILE_ROWS + r] > top[r];
            top[r] = higher ? out[j * SEG_TILE_ROWS + r] : top[r];
            top_class[r] = higher ? (uint16_t)j : top_class[r];
        }
    for (size_t r = 0; r < n; r++)
        n_right += top_class[r] == y[r];
    return n_right;
}

static void evaluate_slot(void *ctx, size_t slot)
{
    struct seg_batch *b = ctx;
    if (seg_progress_cancelled(b->progress)) return;
    size_t tile = b->first_tile + slot;
    const float *x = seg_tiles_at(b->data->x, tile);
    size_t n = seg_tiles_rows(b->data->x, tile);
    slot_rows(b, slot, NULL, tile * SEG_TILE_ROWS, n);
    if (b->raw_at != 0) {
        seg_embeddings_expand(&b->net->embeddings, x, slot_floats(b, slot));
        x = slot_floats(b, slot);
    }
    forward(b, slot, x, 0, b->net->n_layers, false);
    slot_loss(b, slot, x);
    if (b->data->y == NULL) return;
    const struct seg_batch_layer *last = &b->layers[b->net->n_layers - 1];
    b->slots[slot].n_right =
        count_right(slot_floats(b, slot) + last->out_at, last->n_out, b->slots[slot].y, n);
}

double seg_batch_evaluate(struct seg_batch *b, struct seg_team *team,
                          const struct seg_batch_data *data, size_t first, size_t n,
                          size_t *n_right)
{
    double loss = 0.0;
    b->data = data;
    b->first_tile = first;
    if (b->norm.n_stops > 0) batch_norm_recall(b);
    seg_team_phase(team, n, evaluate_slot, b);
    for (size_t i = 0; i < n; i++) {
        loss += b->slots[i].loss;
        if (b->data->y != NULL) *n_right += b->slots[i].n_right;
    }
    return loss;
}
