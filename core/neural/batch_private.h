/* batch_private.h - the parts of a batch, for batch*.c alone: batch_layout.c says where everything
 * stands, batch.c goes there and back, batch_normalize.c normalizes, batch_update.c updates. */
#ifndef SEG_NEURAL_BATCH_PRIVATE_H
#define SEG_NEURAL_BATCH_PRIVATE_H

#include "neural/batch.h"

#define LINE_FLOATS (SEG_ALIGN / sizeof(float)) /* of a cache line */

static inline float *slot_floats(const struct seg_batch *b, size_t slot)
{
    return b->floats + slot * b->stride;
}

/* The gradient of a shard (n_params). */
static inline float *shard_grad(const struct seg_batch *b, size_t shard)
{
    return b->grad + shard * b->grad_stride;
}

/* ---- normalization ----
 * Layer normalization is by row: a slot does it for itself. Batch normalization needs figures of
 * all rows of a group before any row goes on, and again on the way back: each slot leaves its own
 * in b->norm.sums, the leader puts them together in the order of the slots between two phases, and
 * b->norm has what every slot then uses. */

/* Memory of what the layers, placed before, normalize; n_units 0: nothing. SEG_ENOMEM. */
enum seg_status batch_norm_init(struct seg_batch *b);
/* Frees that memory. */
void batch_norm_release(struct seg_batch *b);

/* A slot's product of layer i, which normalizes, to the argument of its activation. */
void batch_norm_forward(const struct seg_batch *b, size_t slot, uint32_t i);
/* A slot's sums of the product of layer i, which normalizes by batch, over the n_rows rows of its
 * tile: on the way there. */
void batch_norm_moments(const struct seg_batch *b, size_t slot, uint32_t i, size_t n_rows);
/* A slot's sums of delta of layer i, on the way back: the gradients of shift and gain as well. */
void batch_norm_sums(const struct seg_batch *b, size_t slot, uint32_t i);
/* The slot's delta of layer i from the derivative by the activation's argument to that by the
 * product. */
void batch_norm_backward(const struct seg_batch *b, size_t slot, uint32_t i, size_t n_rows);
/* The gradients of gain and shift (2, n_out) of layer i over n slots from `first` on; on top of
 * what is there if b->add. */
void batch_norm_gradient(const struct seg_batch *b, size_t first, size_t n, uint32_t i,
                         float *grad);

/* By the leader: figures of a batch-normalized layer over a group of n slots with n_rows rows. The
 * running ones follow when the weights are being trained. A single row has no variance: it is
 * normalized by the running ones, as in scoring. */
void batch_norm_join_moments(struct seg_batch *b, uint32_t i, size_t n, size_t n_rows);
/* By the leader: the means over the same rows that batch_norm_backward takes away, of delta and of
 * delta times the normalized product. */
void batch_norm_join_sums(struct seg_batch *b, uint32_t i, size_t n, size_t n_rows);
/* By the leader: the running figures of all layers, for evaluation. */
void batch_norm_recall(struct seg_batch *b);

/* ---- update ---- */

/* What is updated, of layers that are placed. SEG_ENOMEM. */
enum seg_status batch_update_init(struct seg_batch *b);
/* Frees what init took. */
void batch_update_release(struct seg_batch *b);
/* The sum of the shards' gradients and what follows from it: without an optimizer it stays in
 * shard 0, with one the parameters are updated, and the shards' gradients are used up. */
void batch_update(struct seg_batch *b, struct seg_team *team);

#endif
