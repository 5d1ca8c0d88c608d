/* network_twin.h - training in float64, slowly and plainly: what test_train.c,
 * test_train_options.c and test_embedding.c compare with. Included after cmocka.h. */
#ifndef TESTS_NETWORK_TWIN_H
#define TESTS_NETWORK_TWIN_H

#include <math.h>
#include <string.h>
#include "activation_twin.h"
#include "base/alloc.h"
#include "neural/fit.h"

#define ROWS SEG_TILE_ROWS
/* A test need not use all of this. */
#define UNUSED __attribute__((unused))

static void fill(float *x, size_t n, struct seg_rng *rng)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)seg_rng_normal(rng);
}

UNUSED static float *tile(size_t n, struct seg_rng *rng)
{
    float *x = seg_alloc_aligned(n * ROWS, sizeof *x);
    assert_non_null(x);
    fill(x, n * ROWS, rng);
    return x;
}

/* n rows of d normal features; class = argmax of n_classes random linear scores, some at random. */
static void blobs(size_t n, uint32_t d, uint32_t n_classes, uint64_t seed, struct seg_tiles *ret_x,
                  uint16_t *y)
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

static void assert_near(double got, double wanted, double tolerance)
{
    if (!(fabs(got - wanted) <= tolerance)) fail_msg("%.9g is not %.9g", got, wanted);
}

static void assert_same_network(const struct seg_network *a, const struct seg_network *b)
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

/* z[0], z[step], … (n of them) to mean 0 and variance 1. */
static void twin_standardize(double *z, size_t n, size_t step)
{
    double mean = 0.0, variance = 0.0;
    for (size_t i = 0; i < n; i++)
        mean += z[i * step] / (double)n;
    for (size_t i = 0; i < n; i++)
        variance += (z[i * step] - mean) * (z[i * step] - mean) / (double)n;
    for (size_t i = 0; i < n; i++)
        z[i * step] = (z[i * step] - mean) / sqrt(variance + 1e-5);
}

/* Products z (n, m): by row, or by unit over the rows of a group. */
static void twin_normalize(enum seg_normalization how, double *z, size_t n, size_t m)
{
    const size_t group = SEG_BATCH_SLOTS * ROWS;
    for (size_t i = 0; how == SEG_NORMALIZE_LAYER && i < n; i++)
        twin_standardize(z + i * m, m, 1);
    for (size_t i = 0; how == SEG_NORMALIZE_BATCH && i < n; i += group)
        for (size_t j = 0; j < m; j++)
            twin_standardize(z + i * m + j, n - i < group ? n - i : group, m);
}

/* Rows (n, n_in) as the first layer reads them (n, n_cols), new; tables: the embeddings'. */
static double *twin_input(const struct seg_network *net, const double *tables, const float *rows,
                          size_t n)
{
    const struct seg_embeddings *e = &net->embeddings;
    size_t n_cols = net->layers[0].weights.n_cols;
    double *out = seg_alloc(n * n_cols, sizeof *out), *to = out;
    assert_non_null(out);
    for (size_t i = 0; i < n; i++) {
        const double *table = tables;
        uint32_t next = 0;
        for (uint32_t c = 0; c < net->n_in; c++) {
            float cell = rows[i * net->n_in + c];
            if (next == e->n || e->shapes[next].column != c) {
                *to++ = (double)cell;
                continue;
            }
            size_t size = e->shapes[next].size;
            for (size_t j = 0; j < size; j++)
                *to++ = table[(size_t)cell * size + j];
            table += e->shapes[next++].n_codes * size;
        }
    }
    assert_ptr_equal(to, out + n * n_cols);
    return out;
}

/* All rows (n, n_in) through the layers with parameters flat as in seg_network_gradient; to
 * out (n, n_out), new. */
static double *twin_forward(const struct seg_network *net, const double *params, const float *rows,
                            size_t n)
{
    const double *tables = params + seg_network_n_params(net) - net->embeddings.n_params;
    double *from = twin_input(net, tables, rows, n);
    for (uint32_t l = 0; l < net->n_layers; l++) {
        const struct seg_layer *layer = &net->layers[l];
        size_t m = layer->weights.n_rows, d = layer->weights.n_cols;
        const double *bias = params + m * d;
        double *to = seg_alloc(n * m, sizeof *to);
        assert_non_null(to);
        bool normalizes = layer->normalization != SEG_NORMALIZE_NONE;
        const double *gain = bias + m, *shift = gain + m;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < m; j++) {
                to[i * m + j] = layer->normalization != SEG_NORMALIZE_BATCH ? bias[j] : 0.0;
                for (size_t c = 0; c < d; c++)
                    to[i * m + j] += params[j * d + c] * from[i * d + c];
            }
        twin_normalize(layer->normalization, to, n, m);
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < m; j++) {
                double z = to[i * m + j];
                if (normalizes) z = gain[j] * z + shift[j];
                to[i * m + j] = twin_activation(layer->activation, z);
            }
        seg_free(from);
        from = to;
        params += m * (d + 1 + 2 * normalizes);
    }
    return from;
}

/* What is learned: rows (n, n_in), and target (n, n_out), or NULL: weighted cross-entropy of y. */
struct twin_task {
    const float *rows;
    size_t n;
    const float *target;
    const uint16_t *y;
    const float *class_weights; /* or NULL */
    double smoothing;
};

/* Of one row. */
static double twin_cross_entropy(const struct twin_task *t, size_t i, const double *out,
                                 size_t n_out)
{
    double top = out[0], total = 0.0, mean_log_p = 0.0;
    for (size_t j = 1; j < n_out; j++)
        top = fmax(top, out[j]);
    for (size_t j = 0; j < n_out; j++)
        total += exp(out[j] - top);
    for (size_t j = 0; j < n_out; j++)
        mean_log_p += (out[j] - top - log(total)) / (double)n_out;
    double log_p = out[t->y[i]] - top - log(total);
    double weight = t->class_weights != NULL ? (double)t->class_weights[t->y[i]] : 1.0;
    return -weight * ((1.0 - t->smoothing) * log_p + t->smoothing * mean_log_p);
}

/* Mean loss. */
static double twin_loss(const struct seg_network *net, const double *params,
                        const struct twin_task *t)
{
    double *out = twin_forward(net, params, t->rows, t->n), sum = 0.0;
    size_t m = net->n_out;
    for (size_t i = 0; i < t->n; i++) {
        if (t->target == NULL) {
            sum += twin_cross_entropy(t, i, out + i * m, m);
            continue;
        }
        for (size_t j = 0; j < m; j++)
            sum += pow(out[i * m + j] - (double)t->target[i * m + j], 2.0) / (double)m;
    }
    seg_free(out);
    return sum / (double)t->n;
}

static double *flat_params(const struct seg_network *net)
{
    double *flat = seg_alloc(seg_network_n_params(net), sizeof *flat), *at = flat;
    assert_non_null(flat);
    for (uint32_t i = 0; i < net->n_layers; i++) {
        const struct seg_matrix *w = &net->layers[i].weights;
        for (size_t j = 0; j < w->n_rows * w->n_cols; j++)
            *at++ = (double)w->data[j];
        for (size_t j = 0; j < w->n_rows; j++)
            *at++ = (double)net->layers[i].bias[j];
        for (size_t j = 0; net->layers[i].gain != NULL && j < 2 * w->n_rows; j++)
            *at++ = (double)net->layers[i].gain[j]; /* and shift */
    }
    for (size_t j = 0; j < net->embeddings.n_params; j++)
        *at++ = (double)net->embeddings.params[j];
    return flat;
}

/* Central difference of the twin's loss by parameter i. */
static double twin_slope(const struct seg_network *net, double *params, size_t i,
                         const struct twin_task *t)
{
    const double h = 1e-5, at = params[i];
    params[i] = at + h;
    double above = twin_loss(net, params, t);
    params[i] = at - h;
    double below = twin_loss(net, params, t);
    params[i] = at;
    return (above - below) / (2.0 * h);
}

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
static void check_gradient(const struct gradient_case *g)
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

/* The learning rate of epoch t (from 0) of a training whose epochs are one step each. */
static double twin_rate(const struct seg_train_params *p, uint32_t t)
{
    double rate = p->learning_rate;
    if (t < p->warmup_epochs) return rate * (t + 1) / p->warmup_epochs;
    double after = t - p->warmup_epochs, all = p->epochs - p->warmup_epochs;
    if (p->schedule == SEG_SCHEDULE_COSINE)
        return rate * (p->cosine_floor +
                       (1.0 - p->cosine_floor) * pow(cos(M_PI * after / all / 2.0), 2.0));
    if (p->schedule == SEG_SCHEDULE_STEP)
        for (uint32_t i = p->step_epochs; i <= after; i += p->step_epochs)
            rate *= p->step_factor;
    return rate;
}

/* Full-batch steps of one layer with the formulas of the papers, on the twin's slopes. */
static void twin_train(const struct seg_network *net, double *w, const struct twin_task *task,
                       const struct seg_train_params *p)
{
    size_t n_params = seg_network_n_params(net), n_weights = (size_t)net->n_in * net->n_out;
    double *m = seg_calloc(n_params, sizeof *m), *v = seg_calloc(n_params, sizeof *v);
    double *g = seg_calloc(n_params, sizeof *g);
    for (uint32_t t = 1; t <= p->epochs; t++) {
        double rate = twin_rate(p, t - 1), norm = 0.0;
        for (size_t i = 0; i < n_params; i++) {
            g[i] = twin_slope(net, w, i, task);
            norm += g[i] * g[i];
        }
        norm = sqrt(norm);
        for (size_t i = 0; i < n_params; i++) {
            double l2 = i < n_weights ? p->l2 : 0.0;
            if (p->clip_norm > 0.0 && norm > p->clip_norm) g[i] *= p->clip_norm / norm;
            if (p->optimizer != SEG_ADAMW) g[i] += l2 * w[i];
            if (p->optimizer == SEG_ADAMW) w[i] -= rate * l2 * w[i];
            if (p->optimizer == SEG_SGD) {
                v[i] = p->momentum * v[i] + g[i];
                w[i] -= rate * v[i];
                continue;
            }
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
            double m_hat = m[i] / (1.0 - pow(0.9, t)), v_hat = v[i] / (1.0 - pow(0.999, t));
            w[i] -= rate * m_hat / (sqrt(v_hat) + 1e-8);
        }
    }
    seg_free(m);
    seg_free(v);
    seg_free(g);
}

/* Trains one layer by full batches with p, and compares its parameters with the twin's. */
UNUSED static void check_steps(const struct seg_train_params *p)
{
    enum { D = 4, CLASSES = 3, N = 90 };
    const uint32_t sizes[] = { D, CLASSES };
    uint16_t y[N];
    float rows[N * D];
    struct seg_tiles x;
    struct seg_network start = { 0 }, net = { 0 };
    struct seg_curve curve = { 0 };
    struct seg_rng rng = seg_rng_make(p->seed, SEG_STREAM_WEIGHTS);
    blobs(N, D, CLASSES, 1, &x, y);
    for (size_t i = 0; i < N; i++)
        seg_tiles_get_row(&x, i, rows + i * D);
    assert_int_equal(seg_network_init(&start, sizes, 1, SEG_RELU, SEG_LINEAR, &rng, NULL), SEG_OK);
    assert_int_equal(
        seg_classifier_fit(NULL, &x, y, NULL, NULL, CLASSES, p, NULL, &net, &curve, NULL), SEG_OK);
    double *expected = flat_params(&start), *got = flat_params(&net);
    const struct twin_task task = { .rows = rows, .n = N, .y = y, .smoothing = p->label_smoothing };
    twin_train(&start, expected, &task, p);
    for (size_t i = 0; i < seg_network_n_params(&net); i++)
        assert_near(got[i], expected[i], 1e-4);
    seg_free(expected);
    seg_free(got);
    seg_network_release(&start);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

/* Parameters of a training that check_steps can follow. */
UNUSED static struct seg_train_params steps_params(enum seg_optimizer optimizer)
{
    struct seg_train_params p = SMALL;
    p.n_hidden = 0;
    p.optimizer = optimizer;
    p.learning_rate = 0.05;
    p.momentum = 0.8;
    p.l2 = 0.1;
    p.epochs = 6;
    return p;
}

#endif
