/* test_network.c - construction, forward pass and storage of a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "activation_twin.h"
#include "base/alloc.h"
#include "compute/tiles.h"
#include "neural/network.h"

#define ROWS SEG_TILE_ROWS

static struct seg_network network(const uint32_t *sizes, uint32_t n_layers,
                                  enum seg_activation hidden, enum seg_activation output)
{
    struct seg_network net = { 0 };
    struct seg_rng rng = seg_rng_make(5, 5);
    assert_int_equal(seg_network_init(&net, sizes, n_layers, hidden, output, &rng, NULL), SEG_OK);
    for (uint32_t i = 0; i < n_layers; i++)
        for (size_t j = 0; j < net.layers[i].weights.n_rows; j++)
            net.layers[i].bias[j] = (float)seg_rng_normal(&rng);
    return net;
}

/* Lane r of tile x (n_in, 64) through layers first..last-1, in float64. */
static void twin_forward(const struct seg_network *net, uint32_t first, uint32_t last,
                         const float *x, size_t r, double *out)
{
    double from[128], to[128];
    for (size_t c = 0; c < net->layers[first].weights.n_cols; c++)
        from[c] = (double)x[c * ROWS + r];
    for (uint32_t i = first; i < last; i++) {
        const struct seg_layer *layer = &net->layers[i];
        for (size_t j = 0; j < layer->weights.n_rows; j++) {
            double z = (double)layer->bias[j];
            for (size_t c = 0; c < layer->weights.n_cols; c++)
                z += (double)seg_matrix_row(&layer->weights, j)[c] * from[c];
            to[j] = twin_activation(layer->activation, z);
        }
        memcpy(from, to, layer->weights.n_rows * sizeof *to);
    }
    memcpy(out, from, net->layers[last - 1].weights.n_rows * sizeof *out);
}

static void forward_of_any_run_of_layers_matches_its_twin(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 7, 20, 3, 11, 5 };
    for (int a = SEG_RELU; a <= SEG_LINEAR; a++) {
        struct seg_network net = network(sizes, 4, (enum seg_activation)a, SEG_SIGMOID);
        struct seg_rng rng = seg_rng_make(6, 6);
        float *scratch = seg_alloc_aligned(seg_network_scratch(&net), sizeof *scratch);
        float *x = seg_alloc_aligned(20 * ROWS, sizeof *x);
        float *out = seg_alloc_aligned(20 * ROWS, sizeof *out);
        for (size_t i = 0; i < 20 * ROWS; i++)
            x[i] = (float)seg_rng_normal(&rng);
        for (uint32_t first = 0; first < 4; first++)
            for (uint32_t last = first + 1; last <= 4; last++) {
                seg_network_forward(&net, first, last, x, out, scratch);
                for (size_t r = 0; r < ROWS; r++) {
                    double expected[128];
                    twin_forward(&net, first, last, x, r, expected);
                    for (size_t j = 0; j < sizes[last]; j++)
                        assert_true(fabs((double)out[j * ROWS + r] - expected[j]) <
                                    2e-5 * (1.0 + fabs(expected[j])));
                }
            }
        seg_free(scratch);
        seg_free(x);
        seg_free(out);
        seg_network_release(&net);
    }
}

static void a_row_has_the_same_bits_in_any_company(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 5, 33, 4 };
    struct seg_network net = network(sizes, 2, SEG_GELU, SEG_LINEAR);
    struct seg_rng rng = seg_rng_make(7, 7);
    float *scratch = seg_alloc_aligned(seg_network_scratch(&net), sizeof *scratch);
    float *x = seg_alloc_aligned(5 * ROWS, sizeof *x), *out = seg_alloc_aligned(4 * ROWS, 4);
    float row[5], first[4];
    for (size_t c = 0; c < 5; c++)
        row[c] = (float)seg_rng_normal(&rng);
    for (size_t lane = 0; lane < ROWS; lane++) {
        for (size_t i = 0; i < 5 * ROWS; i++)
            x[i] = (float)(100.0 * seg_rng_normal(&rng));
        for (size_t c = 0; c < 5; c++)
            x[c * ROWS + lane] = row[c];
        seg_network_forward(&net, 0, 2, x, out, scratch);
        for (size_t j = 0; j < 4; j++) {
            if (lane == 0) first[j] = out[j * ROWS];
            assert_memory_equal(&out[j * ROWS + lane], &first[j], sizeof(float));
        }
    }
    seg_free(scratch);
    seg_free(x);
    seg_free(out);
    seg_network_release(&net);
}

static void first_weights_fill_the_range_of_their_scheme(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 50, 40, 10 };
    const double he = sqrt(6.0 / 50.0), glorot_in = sqrt(6.0 / 90.0), glorot_out = sqrt(6.0 / 50.0);
    for (int a = SEG_RELU; a <= SEG_LINEAR; a++) {
        struct seg_network net = { 0 };
        struct seg_rng rng = seg_rng_make(5, 5);
        assert_int_equal(
            seg_network_init(&net, sizes, 2, (enum seg_activation)a, SEG_LINEAR, &rng, NULL),
            SEG_OK);
        for (uint32_t i = 0; i < 2; i++) {
            size_t n = net.layers[i].weights.n_rows * net.layers[i].weights.n_cols;
            double limit = i == 1 ? glorot_out : a == SEG_RELU || a == SEG_GELU ? he : glorot_in;
            double top = 0.0, sum = 0.0;
            for (size_t j = 0; j < n; j++) {
                top = fmax(top, fabs((double)net.layers[i].weights.data[j]));
                sum += (double)net.layers[i].weights.data[j];
            }
            assert_true(top <= limit * (1.0 + 1e-6) && top > 0.95 * limit);
            assert_true(fabs(sum / (double)n) < 0.1 * limit);
            for (size_t j = 0; j < net.layers[i].weights.n_rows; j++)
                assert_true(net.layers[i].bias[j] == 0.0f);
        }
        assert_int_equal(net.widest, 50);
        assert_int_equal(seg_network_n_params(&net), 51 * 40 + 41 * 10);
        seg_network_release(&net);
    }
}

static void sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    uint32_t sizes[SEG_LAYERS_MAX + 2];
    struct seg_network net = { 0 };
    struct seg_rng rng = seg_rng_make(5, 5);
    struct seg_error err = { 0 };
    for (size_t i = 0; i < SEG_LAYERS_MAX + 2; i++)
        sizes[i] = 2;
    assert_int_equal(seg_network_init(&net, sizes, 0, SEG_RELU, SEG_LINEAR, &rng, &err),
                     SEG_EINVAL);
    assert_int_equal(
        seg_network_init(&net, sizes, SEG_LAYERS_MAX + 1, SEG_RELU, SEG_LINEAR, &rng, &err),
        SEG_EINVAL);
    assert_string_equal(err.text, "17 layers (limit 1 to 16)");
    sizes[1] = 0;
    assert_int_equal(seg_network_init(&net, sizes, 2, SEG_RELU, SEG_LINEAR, &rng, &err),
                     SEG_EINVAL);
    sizes[1] = SEG_UNITS_MAX + 1;
    assert_int_equal(seg_network_init(&net, sizes, 2, SEG_RELU, SEG_LINEAR, &rng, &err),
                     SEG_EINVAL);
    assert_string_equal(err.text, "layer size is 4097 (limit 1 to 4096)");
    assert_int_equal(net.n_layers, 0);
}

static void assert_same(const struct seg_network *a, const struct seg_network *b)
{
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->n_in, b->n_in);
    assert_int_equal(a->n_out, b->n_out);
    assert_int_equal(a->widest, b->widest);
    for (uint32_t i = 0; i < a->n_layers; i++) {
        const struct seg_layer *p = &a->layers[i], *q = &b->layers[i];
        assert_int_equal(p->activation, q->activation);
        assert_int_equal(p->weights.n_rows, q->weights.n_rows);
        assert_int_equal(p->weights.n_cols, q->weights.n_cols);
        assert_memory_equal(p->weights.data, q->weights.data,
                            p->weights.n_rows * p->weights.n_cols * sizeof(float));
        assert_memory_equal(p->bias, q->bias, p->weights.n_rows * sizeof(float));
    }
}

static void a_network_that_was_saved_or_copied_comes_back_bit_by_bit(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 6, 9, 4, 2 };
    struct seg_network net = network(sizes, 3, SEG_TANH, SEG_SIGMOID), copy = { 0 }, back = { 0 };
    struct seg_tensors ts, read;
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    assert_int_equal(seg_network_copy(&copy, &net), SEG_OK);
    assert_same(&net, &copy);
    seg_tensors_init(&ts);
    assert_int_equal(seg_network_save(&net, "head", &ts), SEG_OK);
    assert_int_equal(seg_network_save(&copy, "encoder", &ts), SEG_OK); /* prefixes keep apart */
    assert_int_equal(seg_tensors_write(&ts, &bytes, &n_bytes), SEG_OK);
    assert_int_equal(seg_tensors_read(bytes, n_bytes, &read, NULL), SEG_OK);
    assert_int_equal(seg_network_load(&read, "head", &back, NULL), SEG_OK);
    assert_same(&net, &back);
    seg_tensors_release(&ts);
    seg_tensors_release(&read);
    seg_free(bytes);
    seg_network_release(&net);
    seg_network_release(&copy);
    seg_network_release(&back);
}

/* The two small tensors of a network as given, and the weights of 2-3-1. */
static void hostile(struct seg_tensors *ts, const uint32_t *sizes, size_t n_sizes,
                    const uint8_t *activations, size_t n_activations, float bias)
{
    const float weights[6] = { 1.0f };
    const float biases[3] = { bias };
    const size_t first[2] = { 3, 2 }, second[2] = { 1, 3 };
    seg_tensors_init(ts);
    assert_int_equal(seg_tensors_add_vector(ts, "n.sizes", SEG_U32, n_sizes, sizes), SEG_OK);
    assert_int_equal(
        seg_tensors_add_vector(ts, "n.activations", SEG_U8, n_activations, activations), SEG_OK);
    assert_int_equal(seg_tensors_add(ts, "n.0.weights", SEG_F32, 2, first, weights), SEG_OK);
    assert_int_equal(seg_tensors_add_vector(ts, "n.0.bias", SEG_F32, 3, biases), SEG_OK);
    assert_int_equal(seg_tensors_add(ts, "n.1.weights", SEG_F32, 2, second, weights), SEG_OK);
    assert_int_equal(seg_tensors_add_vector(ts, "n.1.bias", SEG_F32, 1, biases), SEG_OK);
}

static void loading_trusts_no_tensor(void **state)
{
    (void)state;
    const struct {
        uint32_t sizes[18];
        size_t n_sizes;
        uint8_t activations[17];
        size_t n_activations;
        float bias;
        enum seg_status expected;
    } cases[] = {
        { { 2, 3, 1 }, 3, { 0, 4 }, 2, 0.0f, SEG_OK },
        { { 2, 3, 1 }, 3, { 0, 5 }, 2, 0.0f, SEG_EFORMAT },       /* no such activation */
        { { 2, 3, 1 }, 3, { 0 }, 1, 0.0f, SEG_EFORMAT },          /* one too few */
        { { 2 }, 1, { 0 }, 1, 0.0f, SEG_EFORMAT },                /* no layer */
        { { 2, 3, 1 }, 18, { 0, 4 }, 17, 0.0f, SEG_EFORMAT },     /* too many */
        { { 2, 0, 1 }, 3, { 0, 4 }, 2, 0.0f, SEG_EFORMAT },       /* no unit */
        { { 2, 4, 1 }, 3, { 0, 4 }, 2, 0.0f, SEG_EFORMAT },       /* weights of another size */
        { { 2, 3, 1, 1 }, 4, { 0, 4, 4 }, 3, 0.0f, SEG_EFORMAT }, /* a layer without weights */
        { { 4096, 4096, 4096 }, 3, { 0, 4 }, 2, 0.0f, SEG_EFORMAT },
        { { 2, 3, 1 }, 3, { 0, 4 }, 2, NAN, SEG_EFORMAT },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seg_tensors ts;
        struct seg_network net = { 0 };
        struct seg_error err = { 0 };
        hostile(&ts, cases[i].sizes, cases[i].n_sizes, cases[i].activations, cases[i].n_activations,
                cases[i].bias);
        assert_int_equal(seg_network_load(&ts, "n", &net, &err), cases[i].expected);
        assert_int_equal(net.n_layers, cases[i].expected == SEG_OK ? 2 : 0);
        assert_true((err.text[0] != '\0') == (cases[i].expected != SEG_OK));
        assert_int_equal(seg_network_load(&ts, "absent", &net, &err), SEG_EFORMAT);
        seg_network_release(&net);
        seg_tensors_release(&ts);
    }
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 2, 3, 1 };
    enum seg_status st = SEG_ENOMEM;
    uint64_t n = 0;
    while (st == SEG_ENOMEM) {
        struct seg_network net = { 0 }, copy = { 0 }, back = { 0 };
        struct seg_rng rng = seg_rng_make(5, 5);
        struct seg_tensors ts;
        seg_tensors_init(&ts);
        seg_alloc_fail_at(++n);
        st = seg_network_init(&net, sizes, 2, SEG_RELU, SEG_LINEAR, &rng, NULL);
        if (st == SEG_OK) st = seg_network_copy(&copy, &net);
        if (st == SEG_OK) st = seg_network_save(&copy, "n", &ts);
        if (st == SEG_OK) st = seg_network_load(&ts, "n", &back, NULL);
        seg_alloc_fail_at(0);
        if (st == SEG_OK) assert_same(&net, &back);
        seg_network_release(&net);
        seg_network_release(&copy);
        seg_network_release(&back);
        seg_tensors_release(&ts);
    }
    assert_int_equal(st, SEG_OK);
    assert_true(n > 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_of_any_run_of_layers_matches_its_twin),
        cmocka_unit_test(a_row_has_the_same_bits_in_any_company),
        cmocka_unit_test(first_weights_fill_the_range_of_their_scheme),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(a_network_that_was_saved_or_copied_comes_back_bit_by_bit),
        cmocka_unit_test(loading_trusts_no_tensor),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
