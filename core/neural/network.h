/* network.h - a dense feed-forward network: weights, and the forward pass over a tile.
 * Immutable once trained; any number of threads may run it. */
#ifndef SEG_NEURAL_NETWORK_H
#define SEG_NEURAL_NETWORK_H

#include <stdbool.h>
#include "base/rng.h"
#include "base/safetensors.h"
#include "base/status.h"
#include "compute/matrix.h"
#include "neural/embedding.h"

#define SEG_LAYERS_MAX 16u
#define SEG_UNITS_MAX  4096u

enum seg_activation { SEG_RELU, SEG_SIGMOID, SEG_TANH, SEG_GELU, SEG_LINEAR };

/* Of a layer's products, before its activation; see neural/normalize.h. */
enum seg_normalization { SEG_NORMALIZE_NONE, SEG_NORMALIZE_BATCH, SEG_NORMALIZE_LAYER };

struct seg_layer {
    struct seg_matrix weights; /* (n_out, n_in) */
    float *bias;               /* (n_out) */
    enum seg_activation activation;
    enum seg_normalization normalization; /* batch: in training alone, see seg_network_fold */
    /* With normalization: activation(gain * normalized(w x + bias) + shift). Batch normalization
     * takes a bias away again: it stays 0 there. */
    float *gain, *shift; /* (n_out) each, one allocation */
    float *running;      /* (2, n_out) batch: mean and variance of w x in scoring */
};

struct seg_network {
    uint32_t n_in, n_out;             /* n_in: columns before the embeddings */
    struct seg_embeddings embeddings; /* in front of the first layer; n 0: none */
    uint32_t n_layers;
    struct seg_layer layers[SEG_LAYERS_MAX];
    uint32_t widest; /* the largest n_in or n_out of any layer */
};

/* sizes (n_layers + 1): inputs, hidden…, outputs. Hidden layers get `hidden`, the last `output`.
 * Weights: He et al. 2015 uniform for relu and gelu, Glorot and Bengio 2010 uniform otherwise;
 * biases zero. SEG_EINVAL: 0 or too many layers or units. SEG_ENOMEM. */
enum seg_status seg_network_init(struct seg_network *net, const uint32_t *sizes, uint32_t n_layers,
                                 enum seg_activation hidden, enum seg_activation output,
                                 struct seg_rng *rng, struct seg_error *err);
/* The same with one activation a layer: activations (n_layers). */
enum seg_status seg_network_init_each(struct seg_network *net, const uint32_t *sizes,
                                      const enum seg_activation *activations, uint32_t n_layers,
                                      struct seg_rng *rng, struct seg_error *err);
/* A new network, weight for weight. SEG_ENOMEM. */
enum seg_status seg_network_copy(struct seg_network *ret_net, const struct seg_network *from);
/* Copies everything but the shape, which is the same. */
void seg_network_assign(struct seg_network *net, const struct seg_network *from);
/* Replaces net, as made for a training, by a copy of `from`, which an earlier one has made. Batch
 * normalization was folded into its weights then, and net goes on without. SEG_EINVAL, with net as
 * it was: other layers, activations, layer normalization or embeddings. SEG_ENOMEM. */
enum seg_status seg_network_resume(struct seg_network *net, const struct seg_network *from,
                                   struct seg_error *err);
/* Replaces the first n layers of net, as made for a training, by copies of those of `from`, which
 * is folded, with their activations and layer normalization. SEG_EINVAL, with net as it was: n is
 * not below the layers of net or is above those of `from`, or layers have other sizes. SEG_ENOMEM.
 */
enum seg_status seg_network_begin(struct seg_network *net, const struct seg_network *from,
                                  uint32_t n, struct seg_error *err);
void seg_network_release(struct seg_network *net);
/* Normalizes the products of a layer that is not yet: gain 1, shift 0, running mean 0 and variance
 * 1. SEG_ENOMEM. */
enum seg_status seg_network_normalize(struct seg_network *net, uint32_t layer,
                                      enum seg_normalization normalization);
/* Puts batch normalization by the running figures into weights and biases: the same function, at
 * the cost of a plain layer. What scores and is stored is folded. */
void seg_network_fold(struct seg_network *net);
/* Puts embeddings in front of a network that has none and whose first layer reads the columns after
 * them. Takes e. */
void seg_network_embed(struct seg_network *net, struct seg_embeddings *e);
/* Whether every parameter is a finite number. */
bool seg_network_is_finite(const struct seg_network *net);
/* Weights, biases, gains and shifts of all layers, and tables of embeddings. */
size_t seg_network_n_params(const struct seg_network *net);

/* Floats of scratch that a forward pass wants. */
size_t seg_network_scratch(const struct seg_network *net);
/* x (n_in, 64) -> out (n_out, 64) through layers first..last-1. The last layer's activation is
 * applied, softmax is the caller's. The network is folded. scratch: seg_network_scratch floats,
 * aligned to 64 bytes. A row's bits do not depend on its neighbours. */
void seg_network_forward(const struct seg_network *net, uint32_t first, uint32_t last,
                         const float *x, float *out, float *scratch);
/* The same bits for the first n_rows (1..64) rows, by the kernels for brief work (kernels.h): for
 * scoring. out has anything in the lanes of the others. */
void seg_network_forward_few(const struct seg_network *net, uint32_t first, uint32_t last,
                             unsigned n_rows, const float *x, float *out, float *scratch);

/* Storage of a folded network as <prefix>.sizes, <prefix>.activations, <prefix>.0.weights,
 * <prefix>.0.bias, with layer normalization <prefix>.0.gain and .shift …; embeddings as embedding.h
 * says. */
enum seg_status seg_network_save(const struct seg_network *net, const char *prefix,
                                 struct seg_tensors *ts);
enum seg_status seg_network_load(const struct seg_tensors *ts, const char *prefix,
                                 struct seg_network *ret_net, struct seg_error *err);

#endif
