/* fit.h - the loop over epochs that classifier and autoencoder share: shuffled batches, the loss
 * curve, early stopping with the best weights kept, progress and cancellation. */
#ifndef SEG_NEURAL_FIT_H
#define SEG_NEURAL_FIT_H

#include "neural/batch.h"
#include "neural/train.h"

/* Streams of random numbers under params->seed; batch.c has one more for dropout. */
#define SEG_STREAM_WEIGHTS ((uint64_t)1 << 60)
#define SEG_STREAM_SHUFFLE ((uint64_t)2 << 60) /* plus the epoch */
#define SEG_STREAM_TABLES  ((uint64_t)4 << 60) /* of embeddings */

/* One unit, standardized by itself, is always 0. */
#define SEG_LAYER_TOO_NARROW "layer normalization needs hidden layers of at least 2 units"

struct seg_fit {
    struct seg_batch_data train;
    struct seg_batch_data validation; /* x NULL or without rows: none */
    const struct seg_train_params *params;
    bool drops[SEG_LAYERS_MAX]; /* layers whose outputs dropout applies to */
    /* NULL, or called on the caller's thread before the first batch and after every `interval`
     * batches (0: after every epoch), when net holds the weights so far. False ends the training:
     * an epoch that has begun counts with the rows it saw. */
    bool (*between)(void *ctx);
    void *between_ctx;
    uint32_t interval;
};

/* Trains net, whose weights are set, in place; its layers but the last may be normalized. The
 * network that comes back is folded. On SEG_OK fills *ret_curve; else the weights of net mean
 * nothing. Statuses as in train.h. */
enum seg_status seg_fit(struct seg_pool *pool, const struct seg_fit *f,
                        const struct seg_progress *progress, struct seg_network *net,
                        struct seg_curve *ret_curve, struct seg_error *err);

/* The network of an autoencoder before its training (see train.h) and, as fit->drops, the layers
 * that dropout applies to. SEG_EINVAL, SEG_ENOMEM. */
enum seg_status seg_autoencoder_init(struct seg_network *net, struct seg_fit *fit, uint32_t n_in,
                                     const uint32_t *encoder, uint32_t n_encoder,
                                     const struct seg_train_params *p, struct seg_error *err);

#endif
