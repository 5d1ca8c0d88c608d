/* test_autoencoder.c - an autoencoder finds the dimensions that data really has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "neural/train.h"

#define N      1500
#define D      8
#define HIDDEN 2

static const struct seg_train_params PARAMS = {
    .activation = SEG_TANH,
    .optimizer = SEG_ADAM,
    .learning_rate = 0.01,
    .batch_size = 64,
    .epochs = 60,
    .seed = 42,
};

/* D columns that are linear in HIDDEN normal numbers, variances about 1. */
static void plane(size_t n, struct seg_tiles *ret_x)
{
    struct seg_rng rng = seg_rng_make(1, 1);
    float *rows = seg_alloc(n * D, sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < n; i++) {
        double a = seg_rng_normal(&rng), b = seg_rng_normal(&rng);
        for (size_t c = 0; c < D; c++)
            rows[i * D + c] = (float)(a * cos((double)c) + b * sin((double)c) + 3.0);
    }
    assert_int_equal(seg_tiles_from_rows(ret_x, rows, n, D), SEG_OK);
    seg_free(rows);
}

/* Mean squared error of what comes back, by the forward pass of inference. */
static double reconstruction_error(const struct seg_network *net, const struct seg_tiles *x)
{
    float *scratch = seg_alloc_aligned(seg_network_scratch(net), sizeof *scratch);
    float *out = seg_alloc_aligned((size_t)net->n_out * SEG_TILE_ROWS, sizeof *out);
    double sum = 0.0;
    assert_non_null(scratch);
    assert_non_null(out);
    for (size_t t = 0; t < seg_tiles_count(x); t++) {
        const float *in = seg_tiles_at(x, t);
        seg_network_forward(net, 0, net->n_layers, in, out, scratch);
        for (size_t c = 0; c < net->n_out; c++)
            for (size_t r = 0; r < seg_tiles_rows(x, t); r++)
                sum += pow((double)(out[c * SEG_TILE_ROWS + r] - in[c * SEG_TILE_ROWS + r]), 2.0);
    }
    seg_free(scratch);
    seg_free(out);
    return sum / (double)(x->n_rows * net->n_out);
}

static void two_linear_units_carry_data_of_two_dimensions(void **state)
{
    (void)state;
    const uint32_t encoder[] = { HIDDEN };
    struct seg_tiles x;
    struct seg_train_params p = PARAMS;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    p.epochs = 200;
    plane(N, &x);
    assert_int_equal(seg_autoencoder_fit(NULL, &x, NULL, encoder, 1, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    assert_int_equal(net.n_layers, 2);
    assert_int_equal(net.n_in, D);
    assert_int_equal(net.n_out, D);
    assert_true(reconstruction_error(&net, &x) < 1e-6);
    assert_null(curve.validation_loss);
    assert_null(curve.validation_accuracy);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

static void the_decoder_mirrors_the_encoder(void **state)
{
    (void)state;
    const uint32_t encoder[] = { 12, 5, 3 };
    const uint32_t sizes[] = { D, 12, 5, 3, 5, 12, D };
    struct seg_tiles x;
    struct seg_train_params p = PARAMS;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    p.epochs = 1;
    plane(100, &x);
    assert_int_equal(seg_autoencoder_fit(NULL, &x, NULL, encoder, 3, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    assert_int_equal(net.n_layers, 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(net.layers[i].weights.n_cols, sizes[i]);
        assert_int_equal(net.layers[i].weights.n_rows, sizes[i + 1]);
        bool linear = i == 2 || i == 5;
        assert_int_equal(net.layers[i].activation, linear ? SEG_LINEAR : SEG_TANH);
    }
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

static void the_best_epoch_is_what_inference_reproduces(void **state)
{
    (void)state;
    const uint32_t encoder[] = { 10, 4 };
    struct seg_tiles x;
    struct seg_train_params p = PARAMS;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    p.patience = 100;
    plane(N, &x);
    assert_int_equal(seg_autoencoder_fit(NULL, &x, &x, encoder, 2, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    double expected = curve.validation_loss[curve.best_epoch];
    assert_true(fabs(reconstruction_error(&net, &x) - expected) < 1e-4 * expected);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

static void constant_columns_give_finite_codes(void **state)
{
    (void)state;
    static const float zeros[200 * D];
    const uint32_t encoder[] = { 4, 2 };
    struct seg_tiles x;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    assert_int_equal(seg_tiles_from_rows(&x, zeros, 200, D), SEG_OK);
    assert_int_equal(
        seg_autoencoder_fit(NULL, &x, NULL, encoder, 2, &PARAMS, NULL, &net, &curve, NULL), SEG_OK);
    assert_true(isfinite(reconstruction_error(&net, &x)));
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

static void fit_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    const uint32_t encoder[] = { 64, 8 };
    struct seg_tiles x;
    struct seg_train_params p = PARAMS;
    struct seg_network first = { 0 };
    struct seg_curve first_curve = { 0 };
    p.epochs = 3;
    p.batch_size = 250;
    plane(N, &x);
    for (unsigned n_workers = 0; n_workers <= 3; n_workers++) {
        struct seg_pool *pool = NULL;
        struct seg_network net = { 0 };
        struct seg_curve curve = { 0 };
        if (n_workers > 0) assert_int_equal(seg_pool_new(n_workers, 1, &pool, NULL), SEG_OK);
        assert_int_equal(
            seg_autoencoder_fit(pool, &x, &x, encoder, 2, &p, NULL, &net, &curve, NULL), SEG_OK);
        seg_pool_free(pool);
        if (n_workers == 0) {
            first = net;
            first_curve = curve;
            continue;
        }
        for (uint32_t i = 0; i < net.n_layers; i++) {
            const struct seg_matrix *w = &net.layers[i].weights;
            assert_memory_equal(w->data, first.layers[i].weights.data,
                                w->n_rows * w->n_cols * sizeof(float));
            assert_memory_equal(net.layers[i].bias, first.layers[i].bias,
                                w->n_rows * sizeof(float));
        }
        assert_memory_equal(curve.validation_loss, first_curve.validation_loss, 3 * sizeof(double));
        seg_network_release(&net);
        seg_curve_release(&curve);
    }
    seg_network_release(&first);
    seg_curve_release(&first_curve);
    seg_tiles_release(&x);
}

static void encoders_of_no_or_too_many_layers_are_refused(void **state)
{
    (void)state;
    const uint32_t encoder[SEG_LAYERS_MAX] = { 4 };
    struct seg_tiles x;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    struct seg_error err = { 0 };
    plane(10, &x);
    assert_int_equal(
        seg_autoencoder_fit(NULL, &x, NULL, encoder, 0, &PARAMS, NULL, &net, &curve, &err),
        SEG_EINVAL);
    assert_string_equal(err.text, "encoder has 0 layers (limit 1 to 8)");
    assert_int_equal(
        seg_autoencoder_fit(NULL, &x, NULL, encoder, 9, &PARAMS, NULL, &net, &curve, &err),
        SEG_EINVAL);
    assert_int_equal(
        seg_autoencoder_fit(NULL, &x, NULL, encoder, 2, &PARAMS, NULL, &net, &curve, &err),
        SEG_EINVAL); /* its second layer has 0 units */
    seg_tiles_release(&x);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    const uint32_t encoder[] = { 4, 2 };
    struct seg_tiles x;
    struct seg_train_params p = PARAMS;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    enum seg_status st = SEG_ENOMEM;
    uint64_t n = 0;
    p.epochs = 1;
    p.dropout = 0.1;
    p.patience = 1;
    plane(70, &x);
    while (st == SEG_ENOMEM) {
        seg_alloc_fail_at(++n);
        st = seg_autoencoder_fit(NULL, &x, &x, encoder, 2, &p, NULL, &net, &curve, NULL);
    }
    seg_alloc_fail_at(0);
    assert_int_equal(st, SEG_OK);
    assert_true(n > 15);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_linear_units_carry_data_of_two_dimensions),
        cmocka_unit_test(the_decoder_mirrors_the_encoder),
        cmocka_unit_test(the_best_epoch_is_what_inference_reproduces),
        cmocka_unit_test(constant_columns_give_finite_codes),
        cmocka_unit_test(fit_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(encoders_of_no_or_too_many_layers_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
