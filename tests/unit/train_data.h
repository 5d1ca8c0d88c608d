/* train_data.h - rows, classes and parameters that a network is trained with in tests. Include
 * after cmocka.h. */
#ifndef TESTS_UNIT_TRAIN_DATA_H
#define TESTS_UNIT_TRAIN_DATA_H

#include <math.h>
#include "base/alloc.h"
#include "neural/fit.h"

#define ROWS SEG_TILE_ROWS

static inline void fill(float *x, size_t n, struct seg_rng *rng)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)seg_rng_normal(rng);
}

static inline float *tile(size_t n, struct seg_rng *rng)
{
    float *x = seg_alloc_aligned(n * ROWS, sizeof *x);
    assert_non_null(x);
    fill(x, n * ROWS, rng);
    return x;
}

/* n rows of d normal features; class = argmax of n_classes random linear scores, some at random. */
static inline void blobs(size_t n, uint32_t d, uint32_t n_classes, uint64_t seed,
                         struct seg_tiles *ret_x, uint16_t *y)
{
    struct seg_rng rng = seg_rng_make(seed, 7);
    float *rows = seg_alloc(n * d, sizeof *rows);
    float *w = seg_alloc((size_t)d * n_classes, sizeof *w);
    assert_non_null(rows);
    assert_non_null(w);
    fill(w, (size_t)d * n_classes, &rng);
    fill(rows, n * d, &rng);
    for (size_t i = 0; i < n; i++) {
        double top = -INFINITY;
        for (uint32_t k = 0; k < n_classes; k++) {
            double score = seg_rng_normal(&rng);
            for (uint32_t c = 0; c < d; c++)
                score += (double)(rows[i * d + c] * w[k * d + c]);
            if (score > top) {
                top = score;
                y[i] = (uint16_t)k;
            }
        }
    }
    assert_int_equal(seg_tiles_from_rows(ret_x, rows, n, d), SEG_OK);
    seg_free(rows);
    seg_free(w);
}

static const struct seg_train_params SMALL = {
    .hidden = { 12, 7 },
    .n_hidden = 2,
    .activation = SEG_RELU,
    .optimizer = SEG_ADAM,
    .learning_rate = 0.01,
    .batch_size = 100,
    .epochs = 3,
    .seed = 42,
};

static inline void assert_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance)) fail_msg("%.9g is not %.9g", got, wanted);
}

static inline void assert_same_network(const struct seg_network *a, const struct seg_network *b)
{
    assert_int_equal(a->n_layers, b->n_layers);
    for (uint32_t i = 0; i < a->n_layers; i++) {
        size_t n = a->layers[i].weights.n_rows * a->layers[i].weights.n_cols;
        assert_memory_equal(a->layers[i].weights.data, b->layers[i].weights.data,
                            n * sizeof(float));
        assert_memory_equal(a->layers[i].bias, b->layers[i].bias,
                            a->layers[i].weights.n_rows * sizeof(float));
    }
    assert_true(seg_embeddings_alike(&a->embeddings, &b->embeddings));
    if (a->embeddings.n > 0)
        assert_memory_equal(a->embeddings.params, b->embeddings.params,
                            a->embeddings.n_params * sizeof(float));
}

#endif
