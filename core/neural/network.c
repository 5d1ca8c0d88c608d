/* network.c - construction, forward pass and storage of a dense network.
 * A forward pass walks the layers over one tile of 64 rows, between two halves of the scratch:
 * the activations of a tile stay in the cache whatever the number of rows. */
#include "neural/network.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"
#include "compute/tiles.h"
#include "neural/normalize.h"

#define NAME_BYTES 220 /* a prefix, a layer's number and ".weights" */
/* Beside an activation's number in storage. Not a tensor's presence alone: a reader that does not
 * know it must refuse the model, and it refuses an activation that it does not know. */
#define LAYER_NORMALIZED 16u

static enum seg_status sizes_check(const uint32_t *sizes, uint32_t n_layers, struct seg_error *err)
{
    if (n_layers < 1 || n_layers > SEG_LAYERS_MAX)
        return seg_fail(err, SEG_EINVAL, "%u layers (limit 1 to %u)", n_layers, SEG_LAYERS_MAX);
    for (uint32_t i = 0; i <= n_layers; i++)
        if (sizes[i] < 1 || sizes[i] > SEG_UNITS_MAX)
            return seg_fail(err, SEG_EINVAL, "layer size is %u (limit 1 to %u)", sizes[i],
                            SEG_UNITS_MAX);
    return SEG_OK;
}

/* Zeroed layers of the given sizes, checked before. */
static enum seg_status network_shape(struct seg_network *net, const uint32_t *sizes,
                                     const enum seg_activation *activations, uint32_t n_layers,
                                     struct seg_error *err)
{
    enum seg_status st = SEG_OK;
    struct seg_network made = { .n_in = sizes[0], .n_out = sizes[n_layers], .n_layers = n_layers };
    for (uint32_t i = 0; i <= n_layers; i++)
        if (sizes[i] > made.widest) made.widest = sizes[i];
    for (uint32_t i = 0; i < n_layers; i++) {
        struct seg_layer *layer = &made.layers[i];
        layer->activation = activations[i];
        st = seg_matrix_init(&layer->weights, sizes[i + 1], sizes[i]);
        if (st != SEG_OK) goto out;
        layer->bias = seg_calloc(sizes[i + 1], sizeof *layer->bias);
        if (layer->bias == NULL) {
            st = SEG_ENOMEM;
            goto out;
        }
    }
    *net = made;
    made = (struct seg_network){ 0 };
out:
    seg_network_release(&made);
    if (st == SEG_ENOMEM) return seg_fail(err, st, "out of memory for a network");
    return st;
}

/* Uniform in +-limit: sqrt(6 / fan_in) by He, sqrt(6 / (fan_in + fan_out)) by Glorot. */
static void layer_draw(struct seg_layer *layer, struct seg_rng *rng)
{
    const struct seg_matrix *w = &layer->weights;
    bool he = layer->activation == SEG_RELU || layer->activation == SEG_GELU;
    double fan = he ? (double)w->n_cols : (double)(w->n_cols + w->n_rows);
    double limit = sqrt(6.0 / fan);
    for (size_t i = 0; i < w->n_rows * w->n_cols; i++)
        w->data[i] = (float)((2.0 * seg_rng_double(rng) - 1.0) * limit);
}

enum seg_status seg_network_init_each(struct seg_network *net, const uint32_t *sizes,
                                      const enum seg_activation *activations, uint32_t n_layers,
                                      struct seg_rng *rng, struct seg_error *err)
{
    enum seg_status st = sizes_check(sizes, n_layers, err);
    if (st == SEG_OK) st = network_shape(net, sizes, activations, n_layers, err);
    if (st != SEG_OK) return st;
    for (uint32_t i = 0; i < n_layers; i++)
        layer_draw(&net->layers[i], rng);
    return SEG_OK;
}

enum seg_status seg_network_init(struct seg_network *net, const uint32_t *sizes, uint32_t n_layers,
                                 enum seg_activation hidden, enum seg_activation output,
                                 struct seg_rng *rng, struct seg_error *err)
{
    enum seg_activation activations[SEG_LAYERS_MAX];
    for (uint32_t i = 0; i < SEG_LAYERS_MAX; i++)
        activations[i] = i + 1 == n_layers ? output : hidden;
    return seg_network_init_each(net, sizes, activations, n_layers, rng, err);
}

static void network_sizes(const struct seg_network *net, uint32_t *sizes,
                          enum seg_activation *activations)
{
    sizes[0] = (uint32_t)net->layers[0].weights.n_cols;
    for (uint32_t i = 0; i < net->n_layers; i++) {
        sizes[i + 1] = (uint32_t)net->layers[i].weights.n_rows;
        activations[i] = net->layers[i].activation;
    }
}

enum seg_status seg_network_normalize(struct seg_network *net, uint32_t layer,
                                      enum seg_normalization normalization)
{
    struct seg_layer *l = &net->layers[layer];
    size_t n = l->weights.n_rows;
    bool batch = normalization == SEG_NORMALIZE_BATCH;
    assert(l->normalization == SEG_NORMALIZE_NONE);
    if (normalization == SEG_NORMALIZE_NONE) return SEG_OK;
    float *gain = seg_calloc(n, 2 * sizeof *gain); /* and shift */
    float *running = batch ? seg_calloc(n, 2 * sizeof *running) : NULL;
    if (gain == NULL || (batch && running == NULL)) {
        seg_free(gain);
        seg_free(running);
        return SEG_ENOMEM;
    }
    for (size_t j = 0; j < n; j++)
        gain[j] = 1.0f;
    for (size_t j = n; batch && j < 2 * n; j++)
        running[j] = 1.0f;
    l->gain = gain;
    l->shift = gain + n;
    l->running = running;
    l->normalization = normalization;
    return SEG_OK;
}

void seg_network_fold(struct seg_network *net)
{
    for (uint32_t i = 0; i < net->n_layers; i++) {
        struct seg_layer *l = &net->layers[i];
        size_t m = l->weights.n_rows, d = l->weights.n_cols;
        if (l->normalization != SEG_NORMALIZE_BATCH) continue;
        for (size_t j = 0; j < m; j++) {
            double mean = (double)l->running[j], variance = (double)l->running[m + j];
            double scale = (double)l->gain[j] / sqrt(variance + (double)SEG_NORMALIZE_EPSILON);
            for (size_t c = 0; c < d; c++)
                l->weights.data[j * d + c] = (float)(scale * (double)l->weights.data[j * d + c]);
            l->bias[j] = (float)((double)l->shift[j] + scale * ((double)l->bias[j] - mean));
        }
        seg_free(l->gain);
        seg_free(l->running);
        l->gain = l->shift = l->running = NULL;
        l->normalization = SEG_NORMALIZE_NONE;
    }
}

static bool all_finite(const float *x, size_t n)
{
    for (size_t i = 0; x != NULL && i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

void seg_network_embed(struct seg_network *net, struct seg_embeddings *e)
{
    assert(net->embeddings.n == 0 && e->n_out == net->n_in);
    net->embeddings = *e;
    net->n_in = e->n_in;
    *e = (struct seg_embeddings){ 0 };
}

bool seg_network_is_finite(const struct seg_network *net)
{
    if (!all_finite(net->embeddings.params, net->embeddings.n_params)) return false;
    for (uint32_t i = 0; i < net->n_layers; i++) {
        const struct seg_layer *l = &net->layers[i];
        size_t n = l->weights.n_rows;
        if (!all_finite(l->weights.data, n * l->weights.n_cols) || !all_finite(l->bias, n) ||
            !all_finite(l->gain, n) || !all_finite(l->shift, n) || !all_finite(l->running, 2 * n))
            return false;
    }
    return true;
}

void seg_network_assign(struct seg_network *net, const struct seg_network *from)
{
    const struct seg_embeddings *e = &from->embeddings;
    assert(seg_embeddings_alike(&net->embeddings, e));
    if (e->n > 0) memcpy(net->embeddings.params, e->params, e->n_params * sizeof(float));
    for (uint32_t i = 0; i < from->n_layers; i++) {
        const struct seg_layer *a = &from->layers[i];
        struct seg_layer *b = &net->layers[i];
        size_t n = a->weights.n_rows;
        assert(b->normalization == a->normalization && b->weights.n_cols == a->weights.n_cols);
        memcpy(b->weights.data, a->weights.data, n * a->weights.n_cols * sizeof(float));
        memcpy(b->bias, a->bias, n * sizeof(float));
        if (a->gain != NULL) memcpy(b->gain, a->gain, 2 * n * sizeof(float)); /* and shift */
        if (a->running != NULL) memcpy(b->running, a->running, 2 * n * sizeof(float));
    }
}

enum seg_status seg_network_copy(struct seg_network *ret_net, const struct seg_network *from)
{
    uint32_t sizes[SEG_LAYERS_MAX + 1];
    enum seg_activation activations[SEG_LAYERS_MAX];
    network_sizes(from, sizes, activations);
    struct seg_network made = { 0 };
    enum seg_status st = network_shape(&made, sizes, activations, from->n_layers, NULL);
    for (uint32_t i = 0; i < from->n_layers && st == SEG_OK; i++)
        st = seg_network_normalize(&made, i, from->layers[i].normalization);
    if (st == SEG_OK && from->embeddings.n > 0) {
        struct seg_embeddings e = { 0 };
        st = seg_embeddings_copy(&e, &from->embeddings);
        if (st == SEG_OK) seg_network_embed(&made, &e);
    }
    if (st != SEG_OK) {
        seg_network_release(&made);
        return st;
    }
    seg_network_assign(&made, from);
    *ret_net = made;
    return SEG_OK;
}

static bool same_size(const struct seg_layer *a, const struct seg_layer *b)
{
    return a->weights.n_rows == b->weights.n_rows && a->weights.n_cols == b->weights.n_cols;
}

static bool same_layer(const struct seg_layer *a, const struct seg_layer *b)
{
    return same_size(a, b) && a->activation == b->activation &&
           (a->normalization == SEG_NORMALIZE_LAYER) == (b->normalization == SEG_NORMALIZE_LAYER);
}

enum seg_status seg_network_resume(struct seg_network *net, const struct seg_network *from,
                                   struct seg_error *err)
{
    struct seg_network copy;
    if (net->n_layers != from->n_layers)
        return seg_fail(err, SEG_EINVAL, "the network to go on from has %u layers instead of %u",
                        from->n_layers, net->n_layers);
    for (uint32_t i = 0; i < net->n_layers; i++)
        if (!same_layer(&net->layers[i], &from->layers[i]))
            return seg_fail(err, SEG_EINVAL,
                            "layer %u of the network to go on from differs in its size, "
                            "activation or normalization",
                            i + 1);
    if (!seg_embeddings_alike(&net->embeddings, &from->embeddings))
        return seg_fail(err, SEG_EINVAL,
                        "the embeddings of the network to go on from have other sizes");
    enum seg_status st = seg_network_copy(&copy, from);
    if (st != SEG_OK) return st;
    seg_network_release(net);
    *net = copy;
    return SEG_OK;
}

enum seg_status seg_network_begin(struct seg_network *net, const struct seg_network *from,
                                  uint32_t n, struct seg_error *err)
{
    struct seg_network copy;
    if (n > from->n_layers)
        return seg_fail(err, SEG_EINVAL, "%u layers to begin with of a network of %u", n,
                        from->n_layers);
    if (n >= net->n_layers)
        return seg_fail(err, SEG_EINVAL, "%u layers to begin with leave none to learn", n);
    for (uint32_t i = 0; i < n; i++)
        if (!same_size(&net->layers[i], &from->layers[i]))
            return seg_fail(err, SEG_EINVAL, "layer %u to begin with has another size", i + 1);
    enum seg_status st = seg_network_copy(&copy, from);
    if (st != SEG_OK) return st;
    for (uint32_t i = 0; i < n; i++) {
        struct seg_layer replaced = net->layers[i];
        net->layers[i] = copy.layers[i];
        copy.layers[i] = replaced;
    }
    seg_network_release(&copy);
    return SEG_OK;
}

void seg_network_release(struct seg_network *net)
{
    for (uint32_t i = 0; i < net->n_layers; i++) {
        seg_matrix_release(&net->layers[i].weights);
        seg_free(net->layers[i].bias);
        seg_free(net->layers[i].gain);
        seg_free(net->layers[i].running);
    }
    seg_embeddings_release(&net->embeddings);
    *net = (struct seg_network){ 0 };
}

size_t seg_network_n_params(const struct seg_network *net)
{
    size_t n = net->embeddings.n_params;
    for (uint32_t i = 0; i < net->n_layers; i++) {
        const struct seg_layer *l = &net->layers[i];
        n += l->weights.n_rows * (l->weights.n_cols + 1 + 2 * (l->gain != NULL));
    }
    return n;
}

size_t seg_network_scratch(const struct seg_network *net)
{
    return 2 * (size_t)net->widest * SEG_TILE_ROWS;
}

/* x (n_cols, 64) in place, the first n_rows rows at least. A column at a time pays where a value
 * costs more than a call. */
static void activate(const struct seg_kernels *k, enum seg_activation activation, float *x,
                     size_t n_cols, unsigned n_rows)
{
    void (*f)(float *x, size_t n) = k->relu;
    switch (activation) {
    case SEG_RELU: break;
    case SEG_SIGMOID: f = k->sigmoid; break;
    case SEG_TANH: f = k->tanh; break;
    case SEG_GELU: f = k->gelu; break;
    case SEG_LINEAR: return;
    }
    const size_t n = seg_tile_lanes(n_rows);
    if (activation == SEG_RELU || n == SEG_TILE_ROWS) {
        f(x, n_cols * SEG_TILE_ROWS);
        return;
    }
    for (size_t c = 0; c < n_cols; c++)
        f(x + c * SEG_TILE_ROWS, n);
}

static void forward(const struct seg_kernels *k, const struct seg_network *net, uint32_t first,
                    uint32_t last, unsigned n_rows, const float *x, float *out, float *scratch)
{
    assert(first < last && last <= net->n_layers);
    const struct seg_normalize_kernels *n = seg_normalize_kernels_get();
    const float *from = x;
    if (first == 0 && net->embeddings.n > 0) { /* the half that layer 0 does not write */
        float *columns = scratch + (size_t)net->widest * SEG_TILE_ROWS;
        seg_embeddings_expand(&net->embeddings, x, columns);
        from = columns;
    }
    for (uint32_t i = first; i < last; i++) {
        const struct seg_layer *layer = &net->layers[i];
        size_t n_out = layer->weights.n_rows;
        size_t half = i % 2 == 0 ? 0 : (size_t)net->widest * SEG_TILE_ROWS;
        float *to = i + 1 == last ? out : scratch + half;
        assert(layer->normalization != SEG_NORMALIZE_BATCH);
        k->affine_few(from, layer->weights.n_cols, layer->weights.data, layer->bias, n_out, n_rows,
                      to);
        if (layer->normalization == SEG_NORMALIZE_LAYER) {
            n->standardize(to, n_out, NULL);
            n->stretch(to, n_out, layer->gain, layer->shift, to);
        }
        activate(k, layer->activation, to, n_out, n_rows);
        from = to;
    }
}

void seg_network_forward(const struct seg_network *net, uint32_t first, uint32_t last,
                         const float *x, float *out, float *scratch)
{
    forward(seg_kernels_get(), net, first, last, SEG_TILE_ROWS, x, out, scratch);
}

void seg_network_forward_few(const struct seg_network *net, uint32_t first, uint32_t last,
                             unsigned n_rows, const float *x, float *out, float *scratch)
{
    forward(seg_kernels_brief(), net, first, last, n_rows, x, out, scratch);
}

static void tensor_name(char name[NAME_BYTES], const char *prefix, const char *part)
{
    snprintf(name, NAME_BYTES, "%s.%s", prefix, part);
}

static void layer_name(char name[NAME_BYTES], const char *prefix, uint32_t layer, const char *part)
{
    snprintf(name, NAME_BYTES, "%s.%u.%s", prefix, layer, part);
}

enum seg_status seg_network_save(const struct seg_network *net, const char *prefix,
                                 struct seg_tensors *ts)
{
    uint32_t sizes[SEG_LAYERS_MAX + 1];
    enum seg_activation activations[SEG_LAYERS_MAX];
    uint8_t codes[SEG_LAYERS_MAX];
    char name[NAME_BYTES];
    network_sizes(net, sizes, activations);
    for (uint32_t i = 0; i < net->n_layers; i++) {
        bool normalized = net->layers[i].normalization == SEG_NORMALIZE_LAYER;
        assert(net->layers[i].normalization != SEG_NORMALIZE_BATCH);
        codes[i] = (uint8_t)(activations[i] | (normalized ? LAYER_NORMALIZED : 0));
    }

    tensor_name(name, prefix, "sizes");
    enum seg_status st = seg_tensors_add_vector(ts, name, SEG_U32, net->n_layers + 1, sizes);
    if (st != SEG_OK) return st;
    tensor_name(name, prefix, "activations");
    st = seg_tensors_add_vector(ts, name, SEG_U8, net->n_layers, codes);
    for (uint32_t i = 0; i < net->n_layers && st == SEG_OK; i++) {
        const struct seg_layer *layer = &net->layers[i];
        size_t shape[2] = { layer->weights.n_rows, layer->weights.n_cols };
        layer_name(name, prefix, i, "weights");
        st = seg_tensors_add(ts, name, SEG_F32, 2, shape, layer->weights.data);
        if (st != SEG_OK) break;
        layer_name(name, prefix, i, "bias");
        st = seg_tensors_add_vector(ts, name, SEG_F32, shape[0], layer->bias);
        if (layer->gain == NULL || st != SEG_OK) continue;
        layer_name(name, prefix, i, "gain");
        st = seg_tensors_add_vector(ts, name, SEG_F32, shape[0], layer->gain);
        if (st != SEG_OK) break;
        layer_name(name, prefix, i, "shift");
        st = seg_tensors_add_vector(ts, name, SEG_F32, shape[0], layer->shift);
    }
    return st == SEG_OK ? seg_embeddings_save(&net->embeddings, prefix, ts) : st;
}

/* Reads and checks what gives the shape. */
static enum seg_status load_shape(const struct seg_tensors *ts, const char *prefix,
                                  uint32_t *ret_n_layers, uint32_t *sizes,
                                  enum seg_activation *activations, bool *normalized,
                                  struct seg_error *err)
{
    char name[NAME_BYTES];
    const void *data;
    tensor_name(name, prefix, "sizes");
    const struct seg_tensor *t = seg_tensors_find(ts, name);
    size_t n = t != NULL ? t->n_bytes / sizeof *sizes : 0;
    if (n < 2 || n > SEG_LAYERS_MAX + 1)
        return seg_fail(err, SEG_EFORMAT, "%s has %zu layer sizes (limit 2 to %u)", name, n,
                        SEG_LAYERS_MAX + 1);
    enum seg_status st = seg_tensors_expect(ts, name, SEG_U32, n, &data, err);
    if (st != SEG_OK) return st;
    memcpy(sizes, data, n * sizeof *sizes);
    uint32_t n_layers = (uint32_t)n - 1;
    if (sizes_check(sizes, n_layers, err) != SEG_OK) return SEG_EFORMAT;

    tensor_name(name, prefix, "activations");
    st = seg_tensors_expect(ts, name, SEG_U8, n_layers, &data, err);
    if (st != SEG_OK) return st;
    const uint8_t *codes = data;
    for (uint32_t i = 0; i < n_layers; i++) {
        uint8_t code = codes[i];
        normalized[i] = code & LAYER_NORMALIZED;
        code &= (uint8_t)~LAYER_NORMALIZED;
        if (code > SEG_LINEAR)
            return seg_fail(err, SEG_EFORMAT, "%s: unknown activation %u", name, codes[i]);
        activations[i] = (enum seg_activation)code;
        /* Before memory is taken on the word of a file: the weights have to be there. */
        layer_name(name, prefix, i, "weights");
        st = seg_tensors_expect(ts, name, SEG_F32, (size_t)sizes[i] * sizes[i + 1], &data, err);
        if (st != SEG_OK) return st;
    }
    *ret_n_layers = n_layers;
    return SEG_OK;
}

static enum seg_status load_floats(const struct seg_tensors *ts, const char *name, size_t n,
                                   float *out, struct seg_error *err)
{
    const void *data;
    enum seg_status st = seg_tensors_expect(ts, name, SEG_F32, n, &data, err);
    if (st != SEG_OK) return st;
    memcpy(out, data, n * sizeof *out);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(out[i]))
            return seg_fail(err, SEG_EFORMAT, "%s holds a value that is not finite", name);
    return SEG_OK;
}

enum seg_status seg_network_load(const struct seg_tensors *ts, const char *prefix,
                                 struct seg_network *ret_net, struct seg_error *err)
{
    uint32_t n_layers = 0;
    uint32_t sizes[SEG_LAYERS_MAX + 1];
    enum seg_activation activations[SEG_LAYERS_MAX];
    bool normalized[SEG_LAYERS_MAX];
    struct seg_network net = { 0 };
    struct seg_embeddings e = { 0 };
    char name[NAME_BYTES];
    enum seg_status st = load_shape(ts, prefix, &n_layers, sizes, activations, normalized, err);
    if (st != SEG_OK) goto out;
    st = network_shape(&net, sizes, activations, n_layers, err);
    for (uint32_t i = 0; i < n_layers && st == SEG_OK; i++) {
        struct seg_layer *layer = &net.layers[i];
        size_t n_out = layer->weights.n_rows;
        layer_name(name, prefix, i, "weights");
        st = load_floats(ts, name, n_out * layer->weights.n_cols, layer->weights.data, err);
        if (st != SEG_OK) break;
        layer_name(name, prefix, i, "bias");
        st = load_floats(ts, name, n_out, layer->bias, err);
        if (!normalized[i] || st != SEG_OK) continue;
        st = seg_network_normalize(&net, i, SEG_NORMALIZE_LAYER);
        layer_name(name, prefix, i, "gain");
        if (st == SEG_OK) st = load_floats(ts, name, n_out, layer->gain, err);
        layer_name(name, prefix, i, "shift");
        if (st == SEG_OK) st = load_floats(ts, name, n_out, layer->shift, err);
    }
    if (st == SEG_OK) st = seg_embeddings_load(ts, prefix, net.n_in, &e, err);
    if (st != SEG_OK) goto out;
    seg_network_embed(&net, &e);
    *ret_net = net;
    net = (struct seg_network){ 0 };
out:
    seg_network_release(&net);
    return st;
}
