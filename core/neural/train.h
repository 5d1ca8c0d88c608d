/* train.h - fitting a dense network by mini-batches: classification (softmax cross-entropy) and
 * reconstruction (mean squared error). Same data, params and seed give the same bits at any worker
 * count. Sources: Adam, Kingma and Ba 2015; AdamW, Loshchilov and Hutter 2019; dropout (inverted),
 * Srivastava 2014. */
#ifndef SEG_NEURAL_TRAIN_H
#define SEG_NEURAL_TRAIN_H

#include "base/progress.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"
#include "neural/network.h"

enum seg_optimizer { SEG_ADAM, SEG_ADAMW, SEG_SGD };
enum seg_schedule { SEG_SCHEDULE_CONSTANT, SEG_SCHEDULE_COSINE, SEG_SCHEDULE_STEP };
enum seg_class_weight {
    SEG_WEIGHT_NONE,
    SEG_WEIGHT_BALANCED
}; /* balanced: n / (n_classes * n_c) */

struct seg_train_params {
    uint32_t hidden[SEG_LAYERS_MAX - 1]; /* classification: hidden layers' sizes */
    uint32_t n_hidden;                   /* 0 = logistic regression */
    enum seg_activation activation;      /* of hidden layers */
    double dropout;                      /* share of hidden units dropped in training, 0..0.9 */
    double l2; /* Adam, SGD: added to the gradient of the mean loss as l2 * w, once a batch; AdamW:
                  decoupled, w -= learning_rate * l2 * w. Not on biases, not in the reported loss.
                  scikit-learn's alpha is divided by the rows of the batch: l2 = alpha / batch_size.
                  torch.optim's weight_decay is the same number (but falls on biases too). >= 0 */
    enum seg_optimizer optimizer;
    double learning_rate;       /* > 0 */
    double momentum;            /* SGD, 0..1 */
    enum seg_schedule schedule; /* of the learning rate, by batch; formulas in neural/schedule.h */
    uint32_t warmup_epochs;     /* the rate rises linearly over so many, 0..epochs */
    double cosine_floor;        /* cosine: where the rate ends, as a share of it, 0..1 */
    uint32_t step_epochs;       /* step: after each so many, >= 1, the rate is multiplied by */
    double step_factor;         /* this, above 0 to 1 */
    double clip_norm; /* a batch's gradient of a larger Euclidean norm, over all parameters and
                         without l2, is scaled down to it (Pascanu et al. 2013). 0: never */
    double label_smoothing; /* e: classification aims at (1 - e) onehot(y) + e / n_classes (Szegedy
                               et al. 2016), in both curves. 0..1, below 1 */
    uint32_t batch_size;    /* 1..65536; clipped to the rows */
    uint32_t epochs;        /* 1..10000 */
    uint32_t patience; /* stop after this many epochs without a better validation loss; the best
                          epoch's weights are kept. 0 = no early stopping: the last epoch's are */
    enum seg_class_weight class_weight;
    enum seg_normalization normalization; /* of hidden layers, before the activation. batch: by the
                             mean and variance of a batch, of at most 1,024 rows at a time; scoring
                             by running ones (momentum 0.1), which end up in weights and biases */
    const struct seg_embedding_shape *embeddings; /* (n_embeddings) classification: columns of codes
                             that become learned vectors, ascending by column. Borrowed. l2 does not
                             apply to vectors, and a batch moves those alone whose code it has */
    uint32_t n_embeddings;
    uint64_t seed;
    const struct seg_network *start;   /* weights to go on from, see seg_network_resume; borrowed.
                                          NULL: drawn. A classifier has its activations and
                                          layer normalization then, whatever else is said */
    const struct seg_network *encoder; /* classification: its first n_encoder layers are what the
                                          first hidden ones begin as, see seg_network_begin;
                                          borrowed. NULL: drawn */
    uint32_t n_encoder;
};

struct seg_curve {
    uint32_t n_epochs;           /* run */
    uint32_t best_epoch;         /* 0-based epoch whose weights were kept */
    double *train_loss;          /* (n_epochs) mean over the epoch's rows, during training: dropout
                                    is at work, and the weights still move */
    double *validation_loss;     /* (n_epochs), NULL without a validation part */
    double *validation_accuracy; /* (n_epochs), classification with a validation part; else NULL */
    double *code_loss; /* (n_epochs) mean of a code loss over the epoch's rows; else NULL */
};
void seg_curve_release(struct seg_curve *c);

/* NULL if the params are in range, else a sentence (static storage). */
const char *seg_train_check(const struct seg_train_params *p);

/* A classifier with outputs 0..n_classes-1 (logits; the caller applies softmax). x (n, d), y (n).
 * Loss: the sum of weight(y) * -log p(y) over the rows, divided by the rows; with label_smoothing,
 * of weight(y) times the cross-entropy to the smoothed target. x_val with 0 rows, or
 * NULL: no validation, and patience then counts on the training loss. SEG_EINVAL: no rows, bad
 * params, y out of range; "training diverged: loss is not finite at epoch 3". SEG_ENOMEM,
 * SEG_ECANCELED. */
enum seg_status seg_classifier_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                   const uint16_t *y, const struct seg_tiles *x_val,
                                   const uint16_t *y_val, uint32_t n_classes,
                                   const struct seg_train_params *p,
                                   const struct seg_progress *progress, struct seg_network *ret_net,
                                   struct seg_curve *ret_curve, struct seg_error *err);

/* An autoencoder whose encoder has the layer sizes encoder[0..n_encoder-1] (the last is the code)
 * and whose decoder mirrors them. Hidden layers have p->activation, code and output are linear.
 * p->hidden and class_weight are not used. ret_net has 2 * n_encoder layers: the code is the output
 * of layers 0..n_encoder-1. The loss is the mean over rows and columns. Statuses as above. */
enum seg_status seg_autoencoder_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                    const struct seg_tiles *x_val, const uint32_t *encoder,
                                    uint32_t n_encoder, const struct seg_train_params *p,
                                    const struct seg_progress *progress,
                                    struct seg_network *ret_net, struct seg_curve *ret_curve,
                                    struct seg_error *err);

/* Loss and gradient of one batch at the given weights, for tests against finite differences: rows
 * (n, n_in) row-major; y (n) with weights by class class_weights (n_out) or NULL, or y NULL for
 * mean squared error against target (n, n_out). grad receives, layer by layer, weights then bias.
 */
enum seg_status seg_network_gradient(const struct seg_network *net, const float *rows, size_t n,
                                     const uint16_t *y, const float *class_weights,
                                     double label_smoothing, const float *target, double *ret_loss,
                                     float *grad);

#endif
