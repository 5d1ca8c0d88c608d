/* test_train_options.c - what a training can be told beside its sizes: schedules of the learning
 * rate, clipping, smoothed labels, normalization. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "neural/normalize.h"
#include "neural/schedule.h"
#include "network_twin.h"

/* ---- schedules ---- */

static void a_constant_rate_is_the_one_given(void **state)
{
    (void)state;
    for (uint64_t t = 0; t < 300; t += 7)
        assert_true(seg_schedule_rate(&SMALL, t, 100) == 0.01);
}

static void a_warmup_rises_by_equal_steps_to_the_rate(void **state)
{
    (void)state;
    struct seg_train_params p = SMALL;
    p.warmup_epochs = 2;
    for (int schedule = SEG_SCHEDULE_CONSTANT; schedule <= SEG_SCHEDULE_COSINE; schedule++) {
        p.schedule = (enum seg_schedule)schedule;
        for (uint64_t t = 0; t < 20; t++)
            assert_near(seg_schedule_rate(&p, t, 10), 0.01 * (double)(t + 1) / 20.0, 1e-17);
        assert_near(seg_schedule_rate(&p, 20, 10), 0.01, 1e-17);
    }
}

static void a_cosine_falls_from_the_rate_to_its_floor_and_is_half_way_in_the_middle(void **state)
{
    (void)state;
    struct seg_train_params p = SMALL;
    p.schedule = SEG_SCHEDULE_COSINE;
    p.epochs = 11;
    p.warmup_epochs = 1;
    p.cosine_floor = 0.1;
    assert_near(seg_schedule_rate(&p, 100, 100), 0.01, 1e-17);
    assert_near(seg_schedule_rate(&p, 600, 100), 0.0055, 1e-15);
    assert_near(seg_schedule_rate(&p, 1099, 100), 0.001, 1e-6);
    for (uint64_t t = 101; t < 1100; t++)
        assert_true(seg_schedule_rate(&p, t, 100) < seg_schedule_rate(&p, t - 1, 100));
}

static void steps_multiply_the_rate_after_their_epochs(void **state)
{
    (void)state;
    struct seg_train_params p = SMALL;
    p.schedule = SEG_SCHEDULE_STEP;
    p.epochs = 10;
    p.warmup_epochs = 1;
    p.step_epochs = 3;
    p.step_factor = 0.5;
    const double expected[] = { 0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.0025, 0.0025, 0.0025 };
    for (uint64_t epoch = 1; epoch < 10; epoch++)
        for (uint64_t t = epoch * 50; t < (epoch + 1) * 50; t++)
            assert_near(seg_schedule_rate(&p, t, 50), expected[epoch - 1], 1e-17);
}

static void every_optimizer_follows_every_schedule(void **state)
{
    (void)state;
    for (int kind = SEG_ADAM; kind <= SEG_SGD; kind++)
        for (int schedule = SEG_SCHEDULE_CONSTANT; schedule <= SEG_SCHEDULE_STEP; schedule++) {
            struct seg_train_params p = steps_params((enum seg_optimizer)kind);
            p.schedule = (enum seg_schedule)schedule;
            p.warmup_epochs = 2;
            p.cosine_floor = 0.2;
            p.step_epochs = 2;
            p.step_factor = 0.3;
            check_steps(&p);
        }
}

/* ---- clipping ---- */

static void optimizers_take_gradients_clipped_to_the_norm(void **state)
{
    (void)state;
    for (int kind = SEG_ADAM; kind <= SEG_SGD; kind++)
        for (double norm = 0.01; norm < 100.0; norm *= 10.0) { /* the last ones never bite */
            struct seg_train_params p = steps_params((enum seg_optimizer)kind);
            p.clip_norm = norm;
            check_steps(&p);
        }
}

static void a_clipped_step_of_plain_descent_is_as_long_as_the_norm(void **state)
{
    (void)state;
    enum { N = 700 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net[2] = { 0 };
    double *params[2], sum = 0.0;
    p.optimizer = SEG_SGD;
    p.learning_rate = 1.0;
    p.clip_norm = 1e-3;
    p.batch_size = N;
    p.hidden[0] = 90; /* 20 x 90 weights and 90 x 40: blocks of parameters with a rest */
    p.hidden[1] = 40;
    blobs(N, 20, 3, 4, &x, y);
    for (int i = 0; i < 2; i++) {
        struct seg_curve curve = { 0 };
        p.epochs = i + 1;
        assert_int_equal(
            seg_classifier_fit(NULL, &x, y, NULL, NULL, 3, &p, NULL, &net[i], &curve, NULL),
            SEG_OK);
        params[i] = flat_params(&net[i]);
        seg_curve_release(&curve);
    }
    for (size_t i = 0; i < seg_network_n_params(&net[0]); i++)
        sum += pow(params[1][i] - params[0][i], 2.0);
    assert_near(sqrt(sum), p.clip_norm, 1e-5 * p.clip_norm);
    for (int i = 0; i < 2; i++) {
        seg_free(params[i]);
        seg_network_release(&net[i]);
    }
    seg_tiles_release(&x);
}

static void sums_of_squares_match_their_twin(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(8, 3);
    static float x[200], kept[200];
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t n = 0; n < 200; n += 11) {
            double sum = 0.0;
            fill(x, n, &rng);
            memcpy(kept, x, sizeof x);
            for (size_t i = 0; i < n; i++)
                sum += (double)x[i] * (double)x[i];
            assert_near((*k)->square_sum(x, n), sum, 1e-12);
            (*k)->scale(x, n, 0.25f);
            for (size_t i = 0; i < n; i++)
                assert_true(x[i] == 0.25f * kept[i]);
        }
}

/* ---- smoothed labels ---- */

static void gradient_of_smoothed_labels_matches_finite_differences(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 5, 9, 4 };
    struct gradient_case g = { .sizes = sizes,
                               .n_layers = 2,
                               .hidden = SEG_TANH,
                               .output = SEG_LINEAR,
                               .n = 150,
                               .weighted = true };
    for (g.smoothing = 0.1; g.smoothing < 1.0; g.smoothing += 0.4)
        check_gradient(&g);
}

static void smoothed_labels_are_what_probabilities_end_at(void **state)
{
    (void)state;
    enum { N = 300 };
    static uint16_t y[N];
    static float rows[N * 3]; /* one column a class: everything can be known */
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    p.n_hidden = 0;
    p.epochs = 600;
    p.batch_size = N;
    p.learning_rate = 0.05;
    p.label_smoothing = 0.3;
    for (size_t i = 0; i < N; i++) {
        y[i] = (uint16_t)(i % 3);
        rows[i * 3 + y[i]] = 1.0f;
    }
    assert_int_equal(seg_tiles_from_rows(&x, rows, N, 3), SEG_OK);
    assert_int_equal(seg_classifier_fit(NULL, &x, y, &x, y, 3, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    double *params = flat_params(&net), *out = twin_forward(&net, params, rows, N);
    for (size_t i = 0; i < N; i++) {
        double total = 0.0;
        for (size_t j = 0; j < 3; j++)
            total += exp(out[i * 3 + j]);
        for (size_t j = 0; j < 3; j++)
            assert_near(exp(out[i * 3 + j]) / total, j == y[i] ? 0.8 : 0.1, 1e-3);
    }
    /* the loss that is left is the entropy of the target, in both curves */
    double entropy = -0.8 * log(0.8) - 2 * 0.1 * log(0.1);
    assert_near(curve.train_loss[599], entropy, 1e-5);
    assert_near(curve.validation_loss[599], entropy, 1e-5);
    seg_free(params);
    seg_free(out);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

/* ---- normalization ---- */

static void gradient_through_normalization_matches_finite_differences(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 5, 9, 7, 3 };
    for (int how = SEG_NORMALIZE_BATCH; how <= SEG_NORMALIZE_LAYER; how++)
        for (int a = SEG_RELU; a <= SEG_LINEAR; a++)
            for (size_t n = 50; n <= 200; n += 75) { /* one tile or several, the last with a rest */
                struct gradient_case g = { .sizes = sizes,
                                           .n_layers = 3,
                                           .hidden = (enum seg_activation)a,
                                           .output = SEG_LINEAR,
                                           .n = n,
                                           .weighted = true,
                                           .normalization = (enum seg_normalization)how };
                check_gradient(&g);
                g.regress = true;
                check_gradient(&g);
            }
}

static void gradient_of_normalized_groups_is_that_of_each_group_by_itself(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 3, 8, 2 };
    struct gradient_case g = { .sizes = sizes,
                               .n_layers = 2,
                               .hidden = SEG_TANH,
                               .output = SEG_LINEAR,
                               .n = (SEG_BATCH_SLOTS + 2) * ROWS + 5,
                               .normalization = SEG_NORMALIZE_BATCH };
    check_gradient(&g);
    g.normalization = SEG_NORMALIZE_LAYER;
    check_gradient(&g);
}

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

/* ---- all together ---- */

/* p on 0 to 4 workers. */
static void check_worker_counts(const struct seg_train_params *p)
{
    enum { N = 2000 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_network first = { 0 };
    blobs(N, 20, 4, 1, &x, y);
    for (unsigned n_workers = 0; n_workers <= 4; n_workers++) {
        struct seg_pool *pool = NULL;
        struct seg_network net = { 0 };
        struct seg_curve curve = { 0 };
        if (n_workers > 0) assert_int_equal(seg_pool_new(n_workers, 1, &pool, NULL), SEG_OK);
        assert_int_equal(seg_classifier_fit(pool, &x, y, &x, y, 4, p, NULL, &net, &curve, NULL),
                         SEG_OK);
        seg_pool_free(pool);
        seg_curve_release(&curve);
        if (n_workers == 0) {
            first = net;
            continue;
        }
        assert_same_network(&first, &net);
        seg_network_release(&net);
    }
    seg_network_release(&first);
    seg_tiles_release(&x);
}

/* Allocations of a fit of p with so many epochs. */
static uint64_t count_allocations(struct seg_train_params p, uint32_t epochs)
{
    enum { N = 700 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    blobs(N, 20, 4, 1, &x, y);
    p.epochs = epochs;
    seg_alloc_fail_at(0);
    assert_int_equal(seg_classifier_fit(NULL, &x, y, &x, y, 4, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    uint64_t n = seg_alloc_count();
    assert_int_equal(curve.n_epochs, epochs);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
    return n;
}

static void an_epoch_allocates_nothing(void **state)
{
    (void)state;
    for (int how = SEG_NORMALIZE_NONE; how <= SEG_NORMALIZE_LAYER; how++) {
        struct seg_train_params p = SMALL;
        p.normalization = (enum seg_normalization)how;
        p.dropout = 0.1;
        p.label_smoothing = 0.1;
        p.clip_norm = 1.0;
        p.patience = 20;
        p.class_weight = SEG_WEIGHT_BALANCED;
        uint64_t n = count_allocations(p, 1);
        assert_true(n > 10);
        assert_int_equal(count_allocations(p, 12), n);
    }
}

static void options_give_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct seg_train_params p = SMALL;
    p.batch_size = 300;
    p.hidden[0] = 90;
    p.dropout = 0.2;
    p.patience = 2;
    p.label_smoothing = 0.1;
    p.clip_norm = 0.1;
    p.schedule = SEG_SCHEDULE_COSINE;
    p.warmup_epochs = 1;
    for (int how = SEG_NORMALIZE_NONE; how <= SEG_NORMALIZE_LAYER; how++) {
        p.normalization = (enum seg_normalization)how;
        check_worker_counts(&p);
    }
    p.normalization = SEG_NORMALIZE_BATCH;
    p.batch_size = 1900; /* two groups, then a batch of 100 rows */
    check_worker_counts(&p);
}

static void check_refuses_every_option_out_of_range(void **state)
{
    (void)state;
    struct seg_train_params p[13];
    for (size_t i = 0; i < 13; i++) {
        p[i] = SMALL;
        p[i].schedule = i < 5 ? SEG_SCHEDULE_STEP : SEG_SCHEDULE_COSINE;
        p[i].step_epochs = 1;
        p[i].step_factor = 0.5;
        assert_null(seg_train_check(&p[i]));
    }
    p[0].step_epochs = 0;
    p[1].step_factor = 0.0;
    p[2].step_factor = 1.5;
    p[3].warmup_epochs = p[3].epochs + 1;
    p[4].schedule = (enum seg_schedule)3;
    p[5].cosine_floor = -0.1;
    p[6].cosine_floor = NAN;
    p[7].clip_norm = -1.0;
    p[8].label_smoothing = 1.0;
    p[9].label_smoothing = -0.1;
    p[10].normalization = (enum seg_normalization)3;
    p[11].normalization = SEG_NORMALIZE_BATCH;
    p[11].batch_size = 1;
    p[12].normalization = SEG_NORMALIZE_LAYER;
    p[12].hidden[1] = 1;
    for (size_t i = 0; i < 13; i++)
        assert_non_null(seg_train_check(&p[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_constant_rate_is_the_one_given),
        cmocka_unit_test(a_warmup_rises_by_equal_steps_to_the_rate),
        cmocka_unit_test(a_cosine_falls_from_the_rate_to_its_floor_and_is_half_way_in_the_middle),
        cmocka_unit_test(steps_multiply_the_rate_after_their_epochs),
        cmocka_unit_test(every_optimizer_follows_every_schedule),
        cmocka_unit_test(optimizers_take_gradients_clipped_to_the_norm),
        cmocka_unit_test(a_clipped_step_of_plain_descent_is_as_long_as_the_norm),
        cmocka_unit_test(sums_of_squares_match_their_twin),
        cmocka_unit_test(gradient_of_smoothed_labels_matches_finite_differences),
        cmocka_unit_test(smoothed_labels_are_what_probabilities_end_at),
        cmocka_unit_test(gradient_through_normalization_matches_finite_differences),
        cmocka_unit_test(gradient_of_normalized_groups_is_that_of_each_group_by_itself),
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
        cmocka_unit_test(an_epoch_allocates_nothing),
        cmocka_unit_test(options_give_the_same_bits_at_any_worker_count),
        cmocka_unit_test(check_refuses_every_option_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
