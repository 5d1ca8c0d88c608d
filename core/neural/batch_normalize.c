/* batch_normalize.c - normalization inside a batch; see batch_private.h. */
#include "neural/batch_private.h"

#include <math.h>

#define MOMENTUM 0.1 /* of the running figures */

enum seg_status batch_norm_init(struct seg_batch *b)
{
    struct seg_batch_norm *norm = &b->norm;
    if (norm->n_units == 0) return SEG_OK;
    norm->kernels = seg_normalize_kernels_get();
    norm->sums = seg_calloc(b->n_slots * 2 * norm->n_units, sizeof *norm->sums);
    norm->figures = seg_calloc(4 * norm->n_units, sizeof *norm->figures);
    if (norm->sums == NULL || norm->figures == NULL) return SEG_ENOMEM;
    norm->mean = norm->figures;
    norm->inverse = norm->mean + norm->n_units;
    norm->delta = norm->inverse + norm->n_units;
    norm->delta_z = norm->delta + norm->n_units;
    return SEG_OK;
}

void batch_norm_release(struct seg_batch *b)
{
    seg_free(b->norm.sums);
    seg_free(b->norm.figures);
}

/* First or second sum of each unit of a layer in a slot. */
static double *slot_sums(const struct seg_batch *b, size_t slot, uint32_t i, size_t which)
{
    return b->norm.sums + (slot * 2 + which) * b->norm.n_units + b->layers[i].unit_at;
}

void batch_norm_forward(const struct seg_batch *b, size_t slot, uint32_t i)
{
    const struct seg_batch_norm *norm = &b->norm;
    const struct seg_batch_layer *at = &b->layers[i];
    const struct seg_layer *layer = &b->net->layers[i];
    float *floats = slot_floats(b, slot), *z = floats + at->z_at;
    if (layer->normalization == SEG_NORMALIZE_BATCH)
        norm->kernels->center(z, at->n_out, norm->mean + at->unit_at, norm->inverse + at->unit_at);
    else
        norm->kernels->standardize(z, at->n_out, floats + at->inverse_at);
    norm->kernels->stretch(z, at->n_out, layer->gain, layer->shift, floats + at->out_at);
}

void batch_norm_moments(const struct seg_batch *b, size_t slot, uint32_t i, size_t n_rows)
{
    const struct seg_batch_layer *at = &b->layers[i];
    b->norm.kernels->moments(slot_floats(b, slot) + at->z_at, at->n_out, n_rows,
                             slot_sums(b, slot, i, 0), slot_sums(b, slot, i, 1));
}

void batch_norm_sums(const struct seg_batch *b, size_t slot, uint32_t i)
{
    const struct seg_batch_layer *at = &b->layers[i];
    const float *floats = slot_floats(b, slot);
    b->norm.kernels->sums(floats + at->delta_at, floats + at->z_at, at->n_out,
                          slot_sums(b, slot, i, 0), slot_sums(b, slot, i, 1));
}

void batch_norm_backward(const struct seg_batch *b, size_t slot, uint32_t i, size_t n_rows)
{
    const struct seg_batch_norm *norm = &b->norm;
    const struct seg_batch_layer *at = &b->layers[i];
    const struct seg_layer *layer = &b->net->layers[i];
    float *floats = slot_floats(b, slot), *delta = floats + at->delta_at, *z = floats + at->z_at;
    if (layer->normalization == SEG_NORMALIZE_BATCH)
        norm->kernels->center_back(delta, z, at->n_out, n_rows, layer->gain,
                                   norm->inverse + at->unit_at, norm->delta + at->unit_at,
                                   norm->delta_z + at->unit_at);
    else
        norm->kernels->standardize_back(delta, z, at->n_out, layer->gain, floats + at->inverse_at);
}

/* One kind of sum over n slots, slot after slot. */
static double add_slots(const struct seg_batch *b, size_t first, size_t n, uint32_t i, size_t which,
                        size_t j)
{
    double sum = 0.0;
    for (size_t slot = first; slot < first + n; slot++)
        sum += slot_sums(b, slot, i, which)[j];
    return sum;
}

void batch_norm_gradient(const struct seg_batch *b, size_t first, size_t n, uint32_t i, float *grad)
{
    size_t m = b->layers[i].n_out;
    for (size_t j = 0; j < m; j++) {
        float gain = (float)add_slots(b, first, n, i, 1, j);
        float shift = (float)add_slots(b, first, n, i, 0, j);
        grad[j] = b->add ? grad[j] + gain : gain;
        grad[m + j] = b->add ? grad[m + j] + shift : shift;
    }
}

/* Rows of a slot's tile when n_rows fill the slots from the first on. */
static double group_rows(size_t slot, size_t n_rows)
{
    size_t left = n_rows - slot * SEG_TILE_ROWS;
    return (double)(left < SEG_TILE_ROWS ? left : SEG_TILE_ROWS);
}

/* The first groups count in full, so that nothing is left of what the figures began at. Weighted by
 * rows: the last batch of an epoch may be of a few. */
static double running_share(struct seg_batch *b, size_t n_rows)
{
    struct seg_batch_norm *norm = &b->norm;
    if (n_rows > norm->n_rows_most) norm->n_rows_most = n_rows;
    double share = 1.0 / (double)(norm->n_groups + 1);
    return (share > MOMENTUM ? share : MOMENTUM) * (double)n_rows / (double)norm->n_rows_most;
}

/* A layer's running figures, for a group that has none of its own. */
static void recall(struct seg_batch *b, uint32_t i)
{
    const struct seg_batch_layer *at = &b->layers[i];
    const float *running = b->net->layers[i].running;
    for (size_t j = 0; j < at->n_out; j++) {
        b->norm.mean[at->unit_at + j] = running[j];
        b->norm.inverse[at->unit_at + j] =
            1.0f / sqrtf(running[at->n_out + j] + SEG_NORMALIZE_EPSILON);
    }
}

void batch_norm_join_moments(struct seg_batch *b, uint32_t i, size_t n, size_t n_rows)
{
    struct seg_batch_norm *norm = &b->norm;
    const struct seg_batch_layer *at = &b->layers[i];
    float *running = b->net->layers[i].running;
    double share = running_share(b, n_rows);
    if (n_rows < 2) {
        recall(b, i);
        return;
    }
    for (size_t j = 0; j < at->n_out; j++) {
        double mean = 0.0, spread = add_slots(b, 0, n, i, 1, j);
        for (size_t slot = 0; slot < n; slot++)
            mean += group_rows(slot, n_rows) * slot_sums(b, slot, i, 0)[j];
        mean /= (double)n_rows;
        for (size_t slot = 0; slot < n; slot++) {
            double off = slot_sums(b, slot, i, 0)[j] - mean;
            spread += group_rows(slot, n_rows) * off * off;
        }
        norm->mean[at->unit_at + j] = (float)mean;
        norm->inverse[at->unit_at + j] =
            (float)(1.0 / sqrt(spread / (double)n_rows + (double)SEG_NORMALIZE_EPSILON));
        if (b->optimizer == NULL) continue;
        double variance = spread / (double)(n_rows - 1);
        running[j] += (float)(share * (mean - (double)running[j]));
        running[at->n_out + j] += (float)(share * (variance - (double)running[at->n_out + j]));
    }
}

void batch_norm_join_sums(struct seg_batch *b, uint32_t i, size_t n, size_t n_rows)
{
    const struct seg_batch_layer *at = &b->layers[i];
    /* running figures do not move with the row */
    double share = n_rows < 2 ? 0.0 : 1.0 / (double)n_rows;
    for (size_t j = 0; j < at->n_out; j++) {
        b->norm.delta[at->unit_at + j] = (float)(add_slots(b, 0, n, i, 0, j) * share);
        b->norm.delta_z[at->unit_at + j] = (float)(add_slots(b, 0, n, i, 1, j) * share);
    }
}

void batch_norm_recall(struct seg_batch *b)
{
    for (uint32_t stop = 0; stop < b->norm.n_stops; stop++)
        recall(b, b->norm.stops[stop]);
}
