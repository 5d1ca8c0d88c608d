/* test_normalize.c - batch and layer normalization: the loops, what training learns through them,
 * and what is left of them in a network that scores. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/rng.h"
#include "neural/normalize.h"
#include "network_twin.h"

static void layer_normalization_of_every_variant_matches_its_twin(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(9, 3);
    for (const struct seg_normalize_kernels *const *k = seg_normalize_kernels_all(); *k != NULL;
         k++)
        for (size_t m = 2; m <= 300; m = m * 3 + 1) {
            float *x = tile(m, &rng), *z = tile(m, &rng), *out = tile(m, &rng);
            float *gain = tile(m, &rng), *bias = tile(m, &rng), inverse[ROWS];
            memcpy(z, x, m * ROWS * sizeof *z);
            (*k)->standardize(z, m, inverse);
            (*k)->stretch(z, m, gain, bias, out);
            for (size_t r = 0; r < ROWS; r++) {
                double twin[1024];
                for (size_t j = 0; j < m; j++)
                    twin[j] = (double)x[j * ROWS + r];
                twin_standardize(twin, m, 1);
                for (size_t j = 0; j < m; j++) {
                    assert_near((double)z[j * ROWS + r], twin[j], 2e-5);
                    assert_near((double)out[j * ROWS + r],
                                (double)gain[j] * twin[j] + (double)bias[j], 1e-4);
                }
            }
            seg_free(x);
            seg_free(z);
            seg_free(out);
            seg_free(gain);
            seg_free(bias);
        }
}

static void moments_of_a_part_of_a_tile_leave_out_the_other_lanes(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(10, 3);
    for (const struct seg_normalize_kernels *const *k = seg_normalize_kernels_all(); *k != NULL;
         k++)
        for (size_t n = 1; n <= ROWS; n += 9) {
            float *x = tile(3, &rng);
            double mean[3], spread[3];
            (*k)->moments(x, 3, n, mean, spread);
            for (size_t j = 0; j < 3; j++) {
                double sum = 0.0, square = 0.0;
                for (size_t r = 0; r < n; r++)
                    sum += (double)x[j * ROWS + r] / (double)n;
                for (size_t r = 0; r < n; r++)
                    square += pow((double)x[j * ROWS + r] - sum, 2.0);
                assert_near(mean[j], sum, 1e-12);
                assert_near(spread[j], square, 1e-11);
            }
            seg_free(x);
        }
}

/* Training rows that are far from standardized: column c has mean 2 c and deviation c + 1. */
static void uneven(size_t n, uint32_t d, struct seg_tiles *ret_x, uint16_t *y)
{
    struct seg_tiles x;
    blobs(n, d, 3, 12, &x, y);
    float *rows = seg_alloc(n * d, sizeof *rows);
    assert_non_null(rows);
    for (size_t i = 0; i < n; i++) {
        seg_tiles_get_row(&x, i, rows + i * d);
        for (uint32_t c = 0; c < d; c++)
            rows[i * d + c] = rows[i * d + c] * (float)(c + 1) + 2.0f * (float)c;
    }
    seg_tiles_release(&x);
    assert_int_equal(seg_tiles_from_rows(ret_x, rows, n, d), SEG_OK);
    seg_free(rows);
}

/* Mean cross-entropy by the forward pass of scoring. */
static double scored_loss(const struct seg_network *net, const struct seg_tiles *x,
                          const uint16_t *y)
{
    float *scratch = seg_alloc_aligned(seg_network_scratch(net), sizeof *scratch);
    float *out = seg_alloc_aligned((size_t)net->n_out * ROWS, sizeof *out);
    double sum = 0.0;
    assert_non_null(scratch);
    assert_non_null(out);
    for (size_t i = 0; i < x->n_rows; i++) {
        if (i % ROWS == 0)
            seg_network_forward(net, 0, net->n_layers, seg_tiles_at(x, i / ROWS), out, scratch);
        double total = 0.0;
        for (size_t j = 0; j < net->n_out; j++)
            total += exp((double)out[j * ROWS + i % ROWS]);
        sum += log(total) - (double)out[y[i] * ROWS + i % ROWS];
    }
    seg_free(scratch);
    seg_free(out);
    return sum / (double)x->n_rows;
}

static void scoring_repeats_the_validation_loss_of_the_epoch_that_was_kept(void **state)
{
    (void)state;
    enum { N = 1000 };
    static uint16_t y[N];
    struct seg_tiles x;
    uneven(N, 5, &x, y);
    for (int how = SEG_NORMALIZE_BATCH; how <= SEG_NORMALIZE_LAYER; how++)
        for (uint32_t patience = 0; patience <= 3; patience += 3) {
            struct seg_train_params p = SMALL;
            struct seg_network net = { 0 };
            struct seg_curve curve = { 0 };
            p.normalization = (enum seg_normalization)how;
            p.patience = patience;
            p.epochs = 12;
            p.learning_rate = 0.05; /* restless: the best epoch is not the last */
            assert_int_equal(
                seg_classifier_fit(NULL, &x, y, &x, y, 3, &p, NULL, &net, &curve, NULL), SEG_OK);
            double kept = curve.validation_loss[curve.best_epoch];
            assert_near(scored_loss(&net, &x, y), kept, 1e-4 * (1.0 + kept));
            for (uint32_t i = 0; i < net.n_layers; i++) {
                bool layer = how == SEG_NORMALIZE_LAYER && i + 1 < net.n_layers;
                assert_int_equal(net.layers[i].normalization,
                                 layer ? SEG_NORMALIZE_LAYER : SEG_NORMALIZE_NONE);
                assert_int_equal(net.layers[i].gain != NULL, layer);
            }
            seg_network_release(&net);
            seg_curve_release(&curve);
        }
    seg_tiles_release(&x);
}

/* Ioffe and Szegedy's own case: saturating units, layer upon layer. */
static void a_deep_sigmoid_network_learns_only_when_normalized(void **state)
{
    (void)state;
    enum { N = 1000 };
    static uint16_t y[N];
    struct seg_tiles x;
    double accuracy[3];
    blobs(N, 5, 3, 12, &x, y);
    for (int how = SEG_NORMALIZE_NONE; how <= SEG_NORMALIZE_LAYER; how++) {
        struct seg_train_params p = SMALL;
        struct seg_network net = { 0 };
        struct seg_curve curve = { 0 };
        p.normalization = (enum seg_normalization)how;
        p.activation = SEG_SIGMOID;
        p.n_hidden = 8;
        for (uint32_t i = 0; i < p.n_hidden; i++)
            p.hidden[i] = 16;
        p.epochs = 40;
        assert_int_equal(seg_classifier_fit(NULL, &x, y, &x, y, 3, &p, NULL, &net, &curve, NULL),
                         SEG_OK);
        accuracy[how] = curve.validation_accuracy[39];
        seg_network_release(&net);
        seg_curve_release(&curve);
    }
    seg_tiles_release(&x);
    for (int how = SEG_NORMALIZE_BATCH; how <= SEG_NORMALIZE_LAYER; how++)
        if (!(accuracy[how] > accuracy[SEG_NORMALIZE_NONE] + 0.05))
            fail_msg("%g without, %g with %d", accuracy[0], accuracy[how], how);
}

/* One batch an epoch, so that the figures of the first batch are all that scoring has. */
static void running_figures_begin_at_those_of_the_first_batch(void **state)
{
    (void)state;
    enum { N = 400 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    uneven(N, 5, &x, y);
    p.normalization = SEG_NORMALIZE_BATCH;
    p.batch_size = N;
    p.epochs = 1;
    p.learning_rate = 1e-9; /* the loss after the step is the loss before it */
    assert_int_equal(seg_classifier_fit(NULL, &x, y, &x, y, 3, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    /* apart from the variance's n / (n - 1) */
    assert_near(curve.validation_loss[0], curve.train_loss[0], 2e-3);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

static void folding_leaves_the_function_as_it_was(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 2, 1 };
    struct seg_rng rng = seg_rng_make(1, 1);
    struct seg_network net = { 0 };
    assert_int_equal(seg_network_init(&net, sizes, 1, SEG_RELU, SEG_LINEAR, &rng, NULL), SEG_OK);
    assert_int_equal(seg_network_normalize(&net, 0, SEG_NORMALIZE_BATCH), SEG_OK);
    struct seg_layer *layer = &net.layers[0];
    layer->weights.data[0] = 3.0f;
    layer->weights.data[1] = -1.0f;
    layer->shift[0] = 0.5f;
    layer->gain[0] = 2.0f;
    layer->running[0] = 10.0f;
    layer->running[1] = 4.0f - SEG_NORMALIZE_EPSILON;
    assert_int_equal(seg_network_n_params(&net), 5);
    seg_network_fold(&net);
    /* 2 (3 a - b - 10) / 2 + 0.5 */
    assert_near((double)layer->weights.data[0], 3.0, 1e-6);
    assert_near((double)layer->weights.data[1], -1.0, 1e-6);
    assert_near((double)layer->bias[0], -9.5, 1e-5);
    assert_int_equal(layer->normalization, SEG_NORMALIZE_NONE);
    assert_int_equal(seg_network_n_params(&net), 3);
    seg_network_release(&net);
}

static void a_last_batch_of_one_row_does_no_harm(void **state)
{
    (void)state;
    enum { N = 101 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    uneven(N, 5, &x, y);
    p.normalization = SEG_NORMALIZE_BATCH;
    p.batch_size = 100;
    p.epochs = 60;
    assert_int_equal(seg_classifier_fit(NULL, &x, y, &x, y, 3, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    assert_true(curve.validation_accuracy[59] > 0.6);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

static void an_autoencoder_normalizes_its_hidden_layers_but_not_its_code(void **state)
{
    (void)state;
    enum { N = 600 };
    static uint16_t y[N];
    const uint32_t encoder[] = { 12, 1 };
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    blobs(N, 6, 3, 4, &x, y);
    p.normalization = SEG_NORMALIZE_LAYER;
    assert_int_equal(seg_autoencoder_fit(NULL, &x, &x, encoder, 2, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(net.layers[i].normalization,
                         i % 2 == 0 ? SEG_NORMALIZE_LAYER : SEG_NORMALIZE_NONE);
    seg_network_release(&net);
    seg_curve_release(&curve);
    p.normalization = SEG_NORMALIZE_BATCH;
    assert_int_equal(seg_autoencoder_fit(NULL, &x, &x, encoder, 2, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    assert_true(curve.validation_loss[2] < curve.train_loss[0]);
    seg_network_release(&net);
    seg_curve_release(&curve);
    const uint32_t narrow[] = { 1, 2 };
    struct seg_error err = { 0 };
    p.normalization = SEG_NORMALIZE_LAYER;
    assert_int_equal(seg_autoencoder_fit(NULL, &x, NULL, narrow, 2, &p, NULL, &net, &curve, &err),
                     SEG_EINVAL);
    assert_string_equal(err.text, "layer normalization needs hidden layers of at least 2 units");
    seg_tiles_release(&x);
}

static void a_layer_normalized_network_is_stored_and_read_back(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 4, 6, 3 };
    struct seg_rng rng = seg_rng_make(1, 1);
    struct seg_network net = { 0 }, back = { 0 };
    struct seg_tensors ts, read;
    struct seg_error err = { 0 };
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    assert_int_equal(seg_network_init(&net, sizes, 2, SEG_RELU, SEG_LINEAR, &rng, NULL), SEG_OK);
    assert_int_equal(seg_network_normalize(&net, 0, SEG_NORMALIZE_LAYER), SEG_OK);
    fill(net.layers[0].gain, 12, &rng);
    for (int round = 0; round < 2; round++) {
        seg_tensors_init(&ts);
        seg_tensors_init(&read);
        assert_int_equal(seg_network_save(&net, "net", &ts), SEG_OK);
        assert_int_equal(seg_tensors_write(&ts, &bytes, &n_bytes), SEG_OK);
        assert_int_equal(seg_tensors_read(bytes, n_bytes, &read, &err), SEG_OK);
        enum seg_status st = seg_network_load(&read, "net", &back, &err);
        if (round == 0) {
            assert_int_equal(st, SEG_OK);
            assert_same_network(&net, &back);
            assert_memory_equal(net.layers[0].gain, back.layers[0].gain, 12 * sizeof(float));
            assert_int_equal(back.layers[0].normalization, SEG_NORMALIZE_LAYER);
            assert_int_equal(back.layers[1].normalization, SEG_NORMALIZE_NONE);
            seg_network_release(&back);
            net.layers[0].gain[3] = INFINITY;
        } else {
            assert_int_equal(st, SEG_EFORMAT);
            assert_string_equal(err.text, "net.0.gain holds a value that is not finite");
        }
        seg_tensors_release(&ts);
        seg_tensors_release(&read);
        seg_free(bytes);
    }
    seg_network_release(&net);
}

static void every_failed_allocation_with_normalization_is_reported(void **state)
{
    (void)state;
    enum { N = 100 };
    static uint16_t y[N];
    struct seg_tiles x;
    blobs(N, 4, 2, 6, &x, y);
    for (int how = SEG_NORMALIZE_BATCH; how <= SEG_NORMALIZE_LAYER; how++) {
        struct seg_train_params p = SMALL;
        struct seg_network net = { 0 };
        struct seg_curve curve = { 0 };
        enum seg_status st = SEG_ENOMEM;
        p.patience = 2;
        p.normalization = (enum seg_normalization)how;
        uint64_t n = 0;
        while (st == SEG_ENOMEM) {
            seg_alloc_fail_at(++n);
            st = seg_classifier_fit(NULL, &x, y, &x, y, 2, &p, NULL, &net, &curve, NULL);
        }
        seg_alloc_fail_at(0);
        assert_int_equal(st, SEG_OK);
        assert_true(n > 20);
        seg_network_release(&net);
        seg_curve_release(&curve);
    }
    seg_tiles_release(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_normalization_of_every_variant_matches_its_twin),
        cmocka_unit_test(moments_of_a_part_of_a_tile_leave_out_the_other_lanes),
        cmocka_unit_test(scoring_repeats_the_validation_loss_of_the_epoch_that_was_kept),
        cmocka_unit_test(a_deep_sigmoid_network_learns_only_when_normalized),
        cmocka_unit_test(running_figures_begin_at_those_of_the_first_batch),
        cmocka_unit_test(folding_leaves_the_function_as_it_was),
        cmocka_unit_test(a_last_batch_of_one_row_does_no_harm),
        cmocka_unit_test(an_autoencoder_normalizes_its_hidden_layers_but_not_its_code),
        cmocka_unit_test(a_layer_normalized_network_is_stored_and_read_back),
        cmocka_unit_test(every_failed_allocation_with_normalization_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
