/* batch.h - the gradient of one mini-batch, and the step it leads to.
 *
 * A batch is cut in shards of one or two tiles of 64 rows. The first of two parallel phases takes
 * each shard through the layers and back and sums its gradient; the second adds the shards'
 * gradients up in order, part of the parameters by part, and updates them at once. So every number
 * is made by one task in one order, whatever the number of workers, and what passes between cores
 * is a gradient a shard instead of every activation. With clip_norm the second phase only adds up,
 * and a third updates once the norm is known: float64 sums of squares by part, added in the order
 * of parts. A layer with batch normalization cuts the first phase in two on the way there and in
 * two on the way back.
 *
 * Batches over SEG_BATCH_SLOTS tiles go in groups, which add to the gradients of the group before.
 * Batch normalization takes its figures of the rows of a group, so that such batches are normalized
 * in parts (ghost batch normalization, Hoffer et al. 2017). Embeddings have no gradient a shard:
 * after a group, one task a table adds up its vectors. Nothing is allocated after seg_batch_init.
 */
#ifndef SEG_NEURAL_BATCH_H
#define SEG_NEURAL_BATCH_H

#include "base/alloc.h"
#include "base/progress.h"
#include "compute/kernels.h"
#include "neural/embedding_step.h"
#include "neural/normalize.h"
#include "neural/optimizer.h"
#include "neural/team.h"

#define SEG_BATCH_SLOTS      16u
#define SEG_BATCH_RANGES_MAX (3 * SEG_LAYERS_MAX + 1)

/* A further loss, on the outputs of a hidden layer that is linear and knows no dropout: of a code,
 * for instance, on where it lies. It may have parameters of its own, which are updated with the
 * network's and without l2. Plays no part in evaluation. */
struct seg_code_loss {
    uint32_t layer; /* whose outputs it reads; not the last */
    float *params;  /* (n_params); their gradient stands after that of the network's parameters */
    size_t n_params;
    size_t n_scratch; /* floats that a call wants */
    /* Takes the outputs z (m, 64) of rows[0..n-1] of data->x: adds scale * the gradient of the
     * summed loss to delta (m, 64) and to grad (n_params). Returns that loss. Called from any
     * thread, several at once. */
    double (*add)(const void *ctx, const uint32_t *rows, unsigned n, const float *z, float scale,
                  float *delta, float *grad, float *scratch);
    const void *ctx;
};

/* What is learned from, or evaluated on. Borrowed. */
struct seg_batch_data {
    const struct seg_tiles *x;             /* (n, n_in); read in evaluation */
    const uint16_t *y;                     /* (n) classes: cross-entropy; NULL: squared error */
    const float *class_weights;            /* (n_out) or NULL for 1 */
    const struct seg_tiles *target;        /* y NULL: (n, n_out); x itself for an autoencoder */
    const struct seg_code_loss *code_loss; /* or NULL */
};

/* Of a training; seg_train_params has their meaning. */
struct seg_batch_options {
    double dropout;
    bool drops[SEG_LAYERS_MAX]; /* layers whose outputs are subject to dropout */
    double label_smoothing;
    double clip_norm;
    uint64_t seed;
};

/* Where one layer stands in a slot and among the parameters. */
struct seg_batch_layer {
    size_t n_in, n_out;
    size_t in_at, out_at, delta_at; /* floats into the slot, of tiles (n, 64) */
    size_t rows_at, row_stride;     /* the input again, row by row: (64, row_stride); that of the
                                       first layer stands with the batch, unless it is
                                       expanded by embeddings */
    size_t param_at; /* weights (n_out, n_in), bias (n_out), with normalization gain and shift */
    bool drops;      /* dropout applies to its outputs */
    /* With normalization: */
    size_t z_at;       /* floats into the slot: product, then normalized (n_out, 64) */
    size_t inverse_at; /* layer: 1 / deviation of each row (64) */
    size_t unit_at;    /* its units among all that are normalized */
};

/* Parameters that stand together in memory: a layer's weights, its bias, its gain and shift. */
struct seg_batch_range {
    float *params;   /* (n) in the network */
    size_t param_at; /* their place among all parameters */
    size_t n;
    bool is_weights;
};

/* The second phase of a batch: parts of all parameters, a task each. */
struct seg_batch_update {
    struct seg_batch_range ranges[SEG_BATCH_RANGES_MAX]; /* in the order of their places */
    size_t n_ranges;
    size_t part, n_parts; /* parameters of a part; the last may have fewer */
    double *square_sums;  /* (n_parts) of gradients; NULL without clip_norm */
    float shrink;         /* what clipping multiplies the batch's gradient by */
    bool is_shared;       /* other processors read the parameters */
};

/* Of layers that normalize. */
struct seg_batch_norm {
    const struct seg_normalize_kernels *kernels;
    size_t n_units; /* of all layers that normalize */
    double *sums;   /* (n_slots, 2, n_units) */
    float *figures; /* (4, n_units): of the group at hand, batch normalization only: */
    float *mean, *inverse, *delta, *delta_z;
    uint32_t stops[SEG_LAYERS_MAX]; /* layers that normalize by batch, ascending */
    uint32_t n_stops, stop;         /* stop: the one being worked towards */
    size_t n_groups, n_rows_most;   /* groups that the running figures have seen; rows of the
                                       largest */
};

/* Beside a slot's floats. */
struct seg_batch_slot {
    _Alignas(SEG_ALIGN) uint16_t y[SEG_TILE_ROWS];
    float weight[SEG_TILE_ROWS]; /* 0 where there is no row */
    double loss, code_loss;      /* sums over its rows */
    size_t n_right;              /* rows whose class is the most likely one; evaluation only */
};

struct seg_batch {
    struct seg_network *net;           /* borrowed; updated in place */
    const struct seg_batch_data *data; /* of the work at hand; borrowed */
    struct seg_batch_layer layers[SEG_LAYERS_MAX];
    const struct seg_kernels *kernels;
    const struct seg_layer_kernels *layer_kernels;
    const struct seg_progress *progress; /* its cancel flag makes tasks return at once; or NULL */
    size_t n_slots, stride, target_at;   /* stride: floats of a slot */
    size_t raw_at, raw_delta_at;  /* with embeddings: a slot's input before them, and its delta by
                                     the columns after them, which stand at 0 */
    size_t code_scratch_at;       /* in a slot; of the code loss */
    float *floats;                /* (n_slots, stride) */
    struct seg_batch_slot *slots; /* (n_slots) */
    size_t shard_tiles, n_shards;
    size_t n_params;    /* of the layers and the code loss */
    size_t grad_stride; /* n_params and what completes a cache line: shards share none */
    float *grad;        /* (n_shards, grad_stride) layer by layer, weights then bias, and last the
                           code loss's */
    struct seg_batch_options options;
    uint16_t *bits;         /* (n_slots, widest * 64) random; NULL without dropout */
    uint64_t epoch, number; /* of this batch in its epoch: choose the dropout's random numbers */
    /* The group being worked on. */
    const uint32_t *rows;
    const float *staged;
    size_t n_rows, first_tile; /* first_tile: of the group, in the batch or the evaluated tiles */
    float scale;               /* 1 / (rows of the batch, times columns for squared error) */
    bool add;                  /* gradients go on top of those of the groups before */
    size_t n_shards_used;      /* by the first group, which has the most */
    double code_loss;          /* of the last batch, summed over its rows */
    struct seg_batch_norm norm;
    struct seg_batch_update update;
    struct seg_embedding_steps embedding;
    const struct seg_optimizer_state *optimizer; /* NULL: only the gradient is wanted */
};

/* data: what will be trained on. n_tiles: those of a full batch. SEG_ENOMEM. */
enum seg_status seg_batch_init(struct seg_batch *b, struct seg_network *net,
                               const struct seg_batch_data *data, size_t n_tiles,
                               const struct seg_batch_options *options,
                               const struct seg_progress *progress);
void seg_batch_release(struct seg_batch *b);

/* Floating-point operations of training on one row. */
double seg_batch_flops(const struct seg_batch *b);

/* rows (n_rows) of data; staged (n_rows, SEG_STAGED_STRIDE(n_in)) their inputs, row by row,
 * followed by up to 63 finite rows that complete a tile. Without an optimizer the gradient of the
 * mean loss of the rows, code loss included, begins b->grad (n_params); with one it leads to an
 * update, and what b->grad holds then is of no use. Returns the summed loss without the code loss:
 * of rows, times columns for squared error. */
double seg_batch_train(struct seg_batch *b, struct seg_team *team,
                       const struct seg_batch_data *data, const uint32_t *rows, const float *staged,
                       size_t n_rows, const struct seg_optimizer_state *optimizer);

/* Summed loss of tiles first..first+n-1 of data->x, n <= b->n_slots, without dropout or gradient;
 * the target, if any, is x itself. Adds to *n_right the rows classified rightly. */
double seg_batch_evaluate(struct seg_batch *b, struct seg_team *team,
                          const struct seg_batch_data *data, size_t first, size_t n,
                          size_t *n_right);

#endif
