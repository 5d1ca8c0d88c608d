/* layers.h - the loops of training that inference does not need: gradients, losses, updates.
 * layers.c is compiled once for each instruction set, as compute/kernels.c is, and the variant that
 * goes with seg_kernels_get is chosen. Tiles hold 64 rows, feature-major and aligned to 64 bytes:
 * x (d, 64), delta (m, 64), w (m, d) row-major. Sums over rows run in an order fixed by the shapes.
 * Pure functions over caller memory. */
#ifndef SEG_NEURAL_LAYERS_H
#define SEG_NEURAL_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "neural/network.h"

/* One update of one range of parameters, all pointers to its first. */
struct seg_update {
    float *w;          /* (n) parameters */
    const float *grad; /* (n) */
    float *first;      /* (n) Adam: mean of gradients; SGD: velocity */
    float *second;     /* (n) Adam: mean of squared gradients; SGD: unused */
    size_t n;
    float rate;     /* learning rate; Adam: divided by the first moment's bias correction */
    float l2;       /* added to the gradient as l2 * w */
    float decay;    /* AdamW: learning rate * l2, taken off the weight; else 0 */
    float momentum; /* SGD */
    float unbias;   /* Adam: 1 / sqrt(second moment's bias correction) */
};

/* The gradient of one layer over n_tiles tiles, whose deltas stand `stride` floats apart:
 * grad_w (m, d) = sum over rows of delta x^T and grad_b (m) = that of delta, on top of what stands
 * there if add. Tile after tile, row after row. */
struct seg_gradient {
    const float *delta; /* (m, 64) of the first tile */
    const float *rows;  /* (64, row_stride) of the first tile: the layer's input, row by row; finite
                           where delta is 0, too */
    size_t row_stride;  /* >= d; what is read between rows is finite and has no effect */
    size_t rows_stride; /* from a tile's rows to the next tile's */
    size_t n_tiles, stride, m, d;
    bool add;
    float *grad_w, *grad_b;
};
/* An odd number of cache lines, so that rows do not compete for the same sets of the cache. */
#define SEG_ROW_STRIDE(d) ((((d) + 15) / 16 | 1) * 16)
/* Rows of a whole batch stand closer: a table of few columns must not grow. What is read behind the
 * last row may go SEG_STAGED_SLACK floats beyond it. */
#define SEG_STAGED_STRIDE(d) (((d) + 3) / 4 * 4)
#define SEG_STAGED_SLACK     64u

struct seg_layer_kernels {
    const char *isa;

    /* Rows src (64, n_rows of them real) of a columnar tile each, to out (d, 64); other lanes 0. */
    void (*gather)(const float *const *src, unsigned n_rows, size_t d, float *out);
    /* Row r of a tile x (d, 64) to to[r] (d), for all 64; and n_rows rows (n_rows, stride) to a
     * tile out (d, 64), whose other lanes become 0. */
    void (*scatter)(const float *x, size_t d, float *const *to);
    void (*from_rows)(const float *rows, size_t stride, unsigned n_rows, size_t d, float *out);
    /* A tile x (d, 64) to rows out (64, stride), stride a multiple of 4; the padding is left. */
    void (*to_rows)(const float *x, size_t d, size_t stride, float *out);
    /* act (n) is what the activation made; slope (n) receives its derivative there. relu, sigmoid,
     * tanh, linear. */
    void (*slope)(enum seg_activation activation, const float *act, size_t n, float *slope);
    /* gelu wants its argument: z (n) in act. First inner (n) = sqrt(2/pi) (z + 0.044715 z^3), then,
     * given its tanh, activation and derivative in place. */
    void (*gelu_inner)(const float *z, size_t n, float *inner);
    void (*gelu_outer)(float *act, size_t n, float *slope);
    /* act *= keep, slope *= keep, where keep is scale for the units that stay: unit i stays when
     * the 16 bits at bits[i] are below `below`. */
    void (*drop)(const uint16_t *bits, uint32_t below, float scale, size_t n, float *act,
                 float *slope);
    /* slope (d, 64) *= w^T delta: the error carried from a layer's outputs to its inputs. */
    void (*backward)(const float *delta, size_t m, const float *w, size_t d, float *slope);
    void (*gradient)(const struct seg_gradient *g);
    /* to (n) = the sum of n_parts >= 1 parts (n) of a gradient, `stride` floats apart, in order. to
     * may be the first of them. */
    void (*sum)(const float *parts, size_t n_parts, size_t stride, size_t n, float *to);
    /* x (n) *= factor. */
    void (*scale)(float *x, size_t n, float factor);
    /* Sum of x (n) squared, in float64. */
    double (*square_sum)(const float *x, size_t n);
    /* Softmax cross-entropy. logits (m, 64) and their softmax p in delta (m, 64); class y (64) with
     * weight (64), 0 for a lane without a row. The target q is (1 - smoothing) onehot(y) +
     * smoothing / m. delta becomes weight * (p - q) * scale. Returns the sum of weight * -q log p.
     */
    double (*cross_entropy)(const float *logits, size_t m, const uint16_t *y, const float *weight,
                            float smoothing, float scale, float *delta);
    /* Squared error: delta (m, 64), the slope of the output's activation, is multiplied by
     * 2 * scale * weight * (out - target). Returns the sum over rows and columns of
     * weight * (out - target)^2. */
    double (*squared_error)(const float *out, const float *target, size_t m, const float *weight,
                            float scale, float *delta);
    void (*adam)(const struct seg_update *u);
    void (*sgd)(const struct seg_update *u);
    /* to (n) = from (n), for other processors to read: done when it returns. */
    void (*publish)(const float *from, size_t n, float *to);
};

/* The variant for the instruction set that seg_kernels_get chose. Static storage. */
const struct seg_layer_kernels *seg_layer_kernels_get(void);
/* All that this build has and this machine runs, best first; NULL-terminated. For tests. */
const struct seg_layer_kernels *const *seg_layer_kernels_all(void);

#endif
