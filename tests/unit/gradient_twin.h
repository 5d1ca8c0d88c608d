/* gradient_twin.h - gradients of training against finite differences of the twin. Include after
 * cmocka.h. */
#ifndef TESTS_UNIT_GRADIENT_TWIN_H
#define TESTS_UNIT_GRADIENT_TWIN_H

#include "network_twin.h"

struct gradient_case {
    const uint32_t *sizes; /* (n_layers + 1) */
    uint32_t n_layers;
    enum seg_activation hidden, output;
    size_t n;                             /* rows */
    bool regress;                         /* squared error instead of cross-entropy */
    bool weighted;                        /* by class */
    double smoothing;                     /* of labels */
    enum seg_normalization normalization; /* of all layers but the last */
    size_t step;                          /* every so-manieth parameter is looked at; 0: all */
    const struct seg_embedding_shape *embeddings; /* (n_embeddings) whose columns make sizes[0] */
    uint32_t n_embeddings;
};

/* The twin's loss and slopes against those of training. */
static inline void check_gradient(const struct gradient_case *g)
{
    struct seg_rng rng = seg_rng_make(11, g->hidden);
    struct seg_network net = { 0 };
    assert_int_equal(
        seg_network_init(&net, g->sizes, g->n_layers, g->hidden, g->output, &rng, NULL), SEG_OK);
    for (uint32_t i = 0; i < g->n_layers; i++) {
        struct seg_layer *layer = &net.layers[i];
        if (i + 1 < g->n_layers)
            assert_int_equal(seg_network_normalize(&net, i, g->normalization), SEG_OK);
        if (layer->normalization != SEG_NORMALIZE_BATCH)
            fill(layer->bias, layer->weights.n_rows, &rng);
        if (layer->gain != NULL) fill(layer->gain, 2 * layer->weights.n_rows, &rng);
    }
    if (g->n_embeddings > 0) {
        struct seg_embeddings e = { 0 };
        uint32_t n_in = g->sizes[0];
        for (uint32_t i = 0; i < g->n_embeddings; i++)
            n_in -= g->embeddings[i].size - 1;
        assert_int_equal(seg_embeddings_init(&e, g->embeddings, g->n_embeddings, n_in, &rng),
                         SEG_OK);
        fill(e.params, e.n_params, &rng);
        seg_network_embed(&net, &e);
    }
    size_t n_params = seg_network_n_params(&net);
    float *rows = seg_alloc(g->n * net.n_in, sizeof *rows);
    float *target = seg_alloc(g->n * net.n_out, sizeof *target);
    float *grad = seg_alloc(n_params, sizeof *grad);
    uint16_t *y = seg_alloc(g->n, sizeof *y);
    double *params = flat_params(&net);
    float weights[16];
    double loss = 0.0, off = 0.0, size = 0.0;
    fill(rows, g->n * net.n_in, &rng);
    fill(target, g->n * net.n_out, &rng);
    for (size_t i = 0; i < g->n * g->n_embeddings; i++) {
        const struct seg_embedding_shape *s = &g->embeddings[i % g->n_embeddings];
        rows[i / g->n_embeddings * net.n_in + s->column] = (float)seg_rng_below(&rng, s->n_codes);
    }
    for (size_t i = 0; i < g->n; i++)
        y[i] = (uint16_t)seg_rng_below(&rng, net.n_out);
    for (size_t j = 0; j < 16; j++)
        weights[j] = 0.25f + (float)j;

    const struct twin_task t = { .rows = rows,
                                 .n = g->n,
                                 .target = g->regress ? target : NULL,
                                 .y = y,
                                 .class_weights = g->weighted ? weights : NULL,
                                 .smoothing = g->smoothing };
    assert_int_equal(seg_network_gradient(&net, rows, g->n, g->regress ? NULL : y, t.class_weights,
                                          g->smoothing, t.target, &loss, grad),
                     SEG_OK);
    double expected = twin_loss(&net, params, &t);
    assert_true(fabs(loss - expected) <= 2e-6 * (1.0 + fabs(expected)));
    for (size_t i = 0; i<n_params; i += g->step> 0 ? g->step : 1) {
        double slope = twin_slope(&net, params, i, &t);
        off += (slope - (double)grad[i]) * (slope - (double)grad[i]);
        size += slope * slope;
    }
    assert_true(size > 0.0);
    assert_true(sqrt(off) <= 1e-4 * sqrt(size));
    seg_network_release(&net);
    seg_free(rows);
    seg_free(target);
    seg_free(grad);
    seg_free(y);
    seg_free(params);
}

#endif
