/* autoencoder.c - a network that is trained to return its input through a narrow code. */
#include "neural/train.h"

#include "neural/fit.h"

enum seg_status seg_autoencoder_init(struct seg_network *net, struct seg_fit *fit, uint32_t n_in,
                                     const uint32_t *encoder, uint32_t n_encoder,
                                     const struct seg_train_params *p, struct seg_error *err)
{
    uint32_t sizes[SEG_LAYERS_MAX + 1];
    enum seg_activation activations[SEG_LAYERS_MAX];
    const char *wrong = seg_train_check(p);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "%s", wrong);
    if (n_encoder < 1 || n_encoder > SEG_LAYERS_MAX / 2)
        return seg_fail(err, SEG_EINVAL, "encoder has %u layers (limit 1 to %u)", n_encoder,
                        SEG_LAYERS_MAX / 2);

    /* x, encoder, encoder mirrored without its code, x */
    uint32_t n_layers = 2 * n_encoder;
    sizes[0] = sizes[n_layers] = n_in;
    for (uint32_t i = 0; i < n_encoder; i++)
        sizes[i + 1] = sizes[n_layers - 1 - i] = encoder[i];
    for (uint32_t i = 0; i < n_layers; i++) {
        bool code_or_output = i + 1 == n_encoder || i + 1 == n_layers;
        activations[i] = code_or_output ? SEG_LINEAR : p->activation;
        fit->drops[i] = !code_or_output;
        if (fit->drops[i] && sizes[i + 1] < 2 && p->normalization == SEG_NORMALIZE_LAYER)
            return seg_fail(err, SEG_EINVAL, "%s", SEG_LAYER_TOO_NARROW);
    }
    struct seg_rng rng = seg_rng_make(p->seed, SEG_STREAM_WEIGHTS);
    enum seg_status st = seg_network_init_each(net, sizes, activations, n_layers, &rng, err);
    for (uint32_t i = 0; i < n_layers && st == SEG_OK; i++)
        if (fit->drops[i]) st = seg_network_normalize(net, i, p->normalization);
    if (st == SEG_OK && p->start != NULL) st = seg_network_resume(net, p->start, err);
    if (st != SEG_OK) seg_network_release(net);
    return st;
}

enum seg_status seg_autoencoder_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                    const struct seg_tiles *x_val, const uint32_t *encoder,
                                    uint32_t n_encoder, const struct seg_train_params *p,
                                    const struct seg_progress *progress,
                                    struct seg_network *ret_net, struct seg_curve *ret_curve,
                                    struct seg_error *err)
{
    struct seg_network net = { 0 };
    struct seg_fit fit = {
        .train = { .x = x, .target = x },
        .validation = { .x = x_val, .target = x_val },
        .params = p,
    };
    enum seg_status st = seg_autoencoder_init(&net, &fit, x->n_cols, encoder, n_encoder, p, err);
    if (st == SEG_OK) st = seg_fit(pool, &fit, progress, &net, ret_curve, err);
    if (st == SEG_OK) {
        *ret_net = net;
        net = (struct seg_network){ 0 };
    }
    seg_network_release(&net);
    return st;
}
