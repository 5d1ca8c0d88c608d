/* autoencoder.c - a network that is trained to return its input through a narrow code. */
#include "neural/train.h"

#include <math.h>
#include "base/alloc.h"
#include "neural/fit.h"

#define CONSTANT_SHARE 1e-6 /* of the largest deviation: a column below it is left as it is */

/* Mean and standard deviation (n_code) of the code over x, in row order. */
static enum seg_status code_moments(const struct seg_network *net, uint32_t n_encoder,
                                    const struct seg_tiles *x, const struct seg_progress *progress,
                                    double *mean, double *sd)
{
    size_t n_code = net->layers[n_encoder - 1].weights.n_rows;
    float *scratch = seg_alloc_aligned(seg_network_scratch(net), sizeof *scratch);
    float *code = seg_alloc_aligned(n_code * SEG_TILE_ROWS, sizeof *code);
    enum seg_status st = scratch == NULL || code == NULL ? SEG_ENOMEM : SEG_OK;
    for (size_t t = 0; t < seg_tiles_count(x) && st == SEG_OK; t++) {
        seg_network_forward(net, 0, n_encoder, seg_tiles_at(x, t), code, scratch);
        for (size_t j = 0; j < n_code; j++)
            for (size_t r = 0; r < seg_tiles_rows(x, t); r++) {
                double value = (double)code[j * SEG_TILE_ROWS + r];
                mean[j] += value;
                sd[j] += value * value;
            }
        if (seg_progress_cancelled(progress)) st = SEG_ECANCELED;
    }
    for (size_t j = 0; j < n_code; j++) {
        mean[j] /= (double)x->n_rows;
        sd[j] = sqrt(fmax(sd[j] / (double)x->n_rows - mean[j] * mean[j], 0.0));
    }
    seg_free(scratch);
    seg_free(code);
    return st;
}

/* Code unit j becomes (code - mean) / sd; the layer after it takes the inverse in. */
static void code_rescale(struct seg_network *net, uint32_t n_encoder, size_t j, double mean,
                         double sd)
{
    struct seg_layer *code = &net->layers[n_encoder - 1], *after = &net->layers[n_encoder];
    float *w = seg_matrix_row(&code->weights, j);
    for (size_t c = 0; c < code->weights.n_cols; c++)
        w[c] = (float)((double)w[c] / sd);
    code->bias[j] = (float)(((double)code->bias[j] - mean) / sd);
    for (size_t i = 0; i < after->weights.n_rows; i++) {
        float *from_code = seg_matrix_row(&after->weights, i) + j;
        after->bias[i] += (float)((double)*from_code * mean);
        *from_code = (float)((double)*from_code * sd);
    }
}

static enum seg_status code_standardise(struct seg_network *net, uint32_t n_encoder,
                                        const struct seg_tiles *x,
                                        const struct seg_progress *progress, struct seg_error *err)
{
    size_t n_code = net->layers[n_encoder - 1].weights.n_rows;
    double *mean = seg_calloc(n_code, sizeof *mean), *sd = seg_calloc(n_code, sizeof *sd);
    enum seg_status st = mean == NULL || sd == NULL ? SEG_ENOMEM : SEG_OK;
    if (st == SEG_OK) st = code_moments(net, n_encoder, x, progress, mean, sd);
    if (st == SEG_ENOMEM) seg_fail(err, st, "out of memory for the moments of the code");
    if (st != SEG_OK) goto out;
    double largest = 0.0;
    for (size_t j = 0; j < n_code; j++)
        largest = fmax(largest, sd[j]);
    for (size_t j = 0; j < n_code; j++)
        if (sd[j] > CONSTANT_SHARE * largest) code_rescale(net, n_encoder, j, mean[j], sd[j]);
out:
    seg_free(mean);
    seg_free(sd);
    return st;
}

enum seg_status seg_autoencoder_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                    const struct seg_tiles *x_val, const uint32_t *encoder,
                                    uint32_t n_encoder, const struct seg_train_params *p,
                                    const struct seg_progress *progress,
                                    struct seg_network *ret_net, struct seg_curve *ret_curve,
                                    struct seg_error *err)
{
    uint32_t sizes[SEG_LAYERS_MAX + 1];
    enum seg_activation activations[SEG_LAYERS_MAX];
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    const char *wrong = seg_train_check(p);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "%s", wrong);
    if (n_encoder < 1 || n_encoder > SEG_LAYERS_MAX / 2)
        return seg_fail(err, SEG_EINVAL, "encoder has %u layers (limit 1 to %u)", n_encoder,
                        SEG_LAYERS_MAX / 2);

    /* x, encoder, encoder mirrored without its code, x */
    uint32_t n_layers = 2 * n_encoder;
    struct seg_fit fit = {
        .train = { .x = x, .target = x },
        .validation = { .x = x_val, .target = x_val },
        .params = p,
    };
    sizes[0] = sizes[n_layers] = x->n_cols;
    for (uint32_t i = 0; i < n_encoder; i++)
        sizes[i + 1] = sizes[n_layers - 1 - i] = encoder[i];
    for (uint32_t i = 0; i < n_layers; i++) {
        bool code_or_output = i + 1 == n_encoder || i + 1 == n_layers;
        activations[i] = code_or_output ? SEG_LINEAR : p->activation;
        fit.drops[i] = !code_or_output;
    }
    struct seg_rng rng = seg_rng_make(p->seed, SEG_STREAM_WEIGHTS);
    enum seg_status st = seg_network_init_each(&net, sizes, activations, n_layers, &rng, err);
    if (st == SEG_OK) st = seg_fit(pool, &fit, progress, &net, &curve, err);
    if (st == SEG_OK) st = code_standardise(&net, n_encoder, x, progress, err);
    if (st != SEG_OK) goto out;
    *ret_net = net;
    *ret_curve = curve;
    net = (struct seg_network){ 0 };
    curve = (struct seg_curve){ 0 };
out:
    seg_network_release(&net);
    seg_curve_release(&curve);
    return st;
}
