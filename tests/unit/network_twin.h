/* network_twin.h - the forward pass of a network, its losses and their slopes in float64, slowly
 * and plainly. Include after cmocka.h. */
#ifndef TESTS_UNIT_NETWORK_TWIN_H
#define TESTS_UNIT_NETWORK_TWIN_H

#include <math.h>
#include "activation_twin.h"
#include "train_data.h"

/* z[0], z[step], … (n of them) to mean 0 and variance 1. */
static inline void twin_standardize(double *z, size_t n, size_t step)
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
static inline void twin_normalize(enum seg_normalization how, double *z, size_t n, size_t m)
{
    const size_t group = SEG_BATCH_SLOTS * ROWS;
    for (size_t i = 0; how == SEG_NORMALIZE_LAYER && i < n; i++)
        twin_standardize(z + i * m, m, 1);
    for (size_t i = 0; how == SEG_NORMALIZE_BATCH && i < n; i += group)
        for (size_t j = 0; j < m; j++)
            twin_standardize(z + i * m + j, n - i < group ? n - i : group, m);
}

/* Rows (n, n_in) as the first layer reads them (n, n_cols), new; tables: the embeddings'. */
static inline double *twin_input(const struct seg_network *net, const double *tables,
                                 const float *rows, size_t n)
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
static inline double *twin_forward(const struct seg_network *net, const double *params,
                                   const float *rows, size_t n)
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
static inline double twin_cross_entropy(const struct twin_task *t, size_t i, const double *out,
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
static inline double twin_loss(const struct seg_network *net, const double *params,
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

static inline double *flat_params(const struct seg_network *net)
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
static inline double twin_slope(const struct seg_network *net, double *params, size_t i,
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

#endif
