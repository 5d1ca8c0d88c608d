/* batch_layout.c - what stands where in the memory of a batch; see batch.h. */
#include "neural/batch_private.h"

#include <assert.h>
#include <string.h>
#include "base/alloc.h"

#define SLOTS_MIN 4u /* an evaluation is shared out even where batches are small */

static void place_layers(struct seg_batch *b)
{
    const struct seg_embeddings *e = &b->net->embeddings;
    size_t at = (size_t)b->net->layers[0].weights.n_cols * SEG_TILE_ROWS, in_at = 0;
    if (e->n > 0) {
        b->raw_at = at;
        b->raw_delta_at = at + (size_t)e->n_in * SEG_TILE_ROWS;
        at = b->raw_delta_at + (size_t)e->n_out * SEG_TILE_ROWS;
    }
    if (b->data->target != NULL && b->data->target != b->data->x) {
        b->target_at = at;
        at += (size_t)b->net->n_out * SEG_TILE_ROWS;
    }
    for (uint32_t i = 0; i < b->net->n_layers; i++) {
        struct seg_batch_layer *layer = &b->layers[i];
        layer->n_in = b->net->layers[i].weights.n_cols;
        layer->n_out = b->net->layers[i].weights.n_rows;
        layer->in_at = in_at;
        bool is_staged = i == 0 && e->n == 0; /* its input is there row by row */
        layer->row_stride =
            is_staged ? SEG_STAGED_STRIDE(layer->n_in) : SEG_ROW_STRIDE(layer->n_in);
        layer->rows_at = at;
        layer->out_at = is_staged ? at : at + layer->row_stride * SEG_TILE_ROWS;
        layer->delta_at = layer->out_at + layer->n_out * SEG_TILE_ROWS;
        layer->param_at = b->n_params;
        layer->drops = b->options.dropout > 0.0 && b->options.drops[i];
        in_at = layer->out_at;
        at = layer->delta_at + layer->n_out * SEG_TILE_ROWS;
        b->n_params += layer->n_out * (layer->n_in + 1);
        if (b->net->layers[i].normalization == SEG_NORMALIZE_NONE) continue;
        layer->z_at = at;
        layer->inverse_at = at + layer->n_out * SEG_TILE_ROWS;
        layer->unit_at = b->norm.n_units;
        at = layer->inverse_at + SEG_TILE_ROWS;
        b->n_params += 2 * layer->n_out;
        b->norm.n_units += layer->n_out;
        if (b->net->layers[i].normalization == SEG_NORMALIZE_BATCH)
            b->norm.stops[b->norm.n_stops++] = i;
    }
    assert(b->net->layers[b->net->n_layers - 1].normalization == SEG_NORMALIZE_NONE);
    const struct seg_code_loss *loss = b->data->code_loss;
    b->code_scratch_at = at;
    if (loss != NULL) {
        assert(loss->layer + 1 < b->net->n_layers && !b->layers[loss->layer].drops);
        assert(b->net->layers[loss->layer].activation == SEG_LINEAR);
        assert(b->net->layers[loss->layer].normalization == SEG_NORMALIZE_NONE);
        at += (loss->n_scratch + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS * SEG_TILE_ROWS;
        b->n_params += loss->n_params;
    }
    b->stride = at;
    b->grad_stride = (b->n_params + LINE_FLOATS - 1) / LINE_FLOATS * LINE_FLOATS;
}

static enum seg_status embedding_init(struct seg_batch *b, size_t n_rows)
{
    if (b->raw_at == 0) return SEG_OK;
    return seg_embedding_steps_init(&b->embedding, &b->net->embeddings, n_rows, b->n_params);
}

enum seg_status seg_batch_init(struct seg_batch *b, struct seg_network *net,
                               const struct seg_batch_data *data, size_t n_tiles,
                               const struct seg_batch_options *options,
                               const struct seg_progress *progress)
{
    const size_t n_rows = n_tiles * SEG_TILE_ROWS;
    if (n_tiles > SEG_BATCH_SLOTS) n_tiles = SEG_BATCH_SLOTS;
    struct seg_batch made = {
        .net = net,
        .data = data,
        .kernels = seg_kernels_get(),
        .layer_kernels = seg_layer_kernels_get(),
        .progress = progress,
        .n_slots = n_tiles > SLOTS_MIN ? n_tiles : SLOTS_MIN,
        .shard_tiles = n_tiles < 4 ? 1 : 2,
        .options = *options,
    };
    made.n_shards = (n_tiles + made.shard_tiles - 1) / made.shard_tiles;
    place_layers(&made);
    size_t n_bits = (size_t)net->widest * SEG_TILE_ROWS, n_floats = made.n_slots * made.stride;
    made.floats = seg_alloc_aligned(n_floats, sizeof *made.floats);
    made.slots = seg_alloc_aligned(made.n_slots, sizeof *made.slots);
    made.grad = seg_alloc_aligned(made.n_shards, made.grad_stride * sizeof *made.grad);
    if (options->dropout > 0.0)
        made.bits = seg_alloc_aligned(made.n_slots, n_bits * sizeof(uint16_t));
    if (made.floats == NULL || made.slots == NULL || made.grad == NULL ||
        (options->dropout > 0.0 && made.bits == NULL) || batch_update_init(&made) != SEG_OK ||
        batch_norm_init(&made) != SEG_OK || embedding_init(&made, n_rows) != SEG_OK) {
        seg_batch_release(&made);
        return SEG_ENOMEM;
    }
    memset(made.floats, 0, n_floats * sizeof *made.floats); /* the padding of rows stays zero */
    *b = made;
    return SEG_OK;
}

void seg_batch_release(struct seg_batch *b)
{
    seg_free(b->floats);
    seg_free(b->slots);
    seg_free(b->grad);
    seg_free(b->bits);
    batch_norm_release(b);
    batch_update_release(b);
    seg_embedding_steps_release(&b->embedding);
    *b = (struct seg_batch){ 0 };
}
