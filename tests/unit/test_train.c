/* test_train.c - training against naive float64 twins: loops, gradients, optimizers, early
 * stopping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"
#include "neural/sampler.h"
#include "network_twin.h"

/* ---- gradients ---- */

static void gradient_of_every_activation_matches_finite_differences(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 5, 9, 7, 3 };
    for (int a = SEG_RELU; a <= SEG_LINEAR; a++) {
        struct gradient_case g = { .sizes = sizes,
                                   .n_layers = 3,
                                   .hidden = (enum seg_activation)a,
                                   .output = SEG_LINEAR,
                                   .n = 50 };
        check_gradient(&g);
        g.weighted = true;
        check_gradient(&g);
        g.regress = true;
        check_gradient(&g);
        g.hidden = SEG_TANH;
        g.output = (enum seg_activation)a;
        check_gradient(&g);
    }
}

static void gradient_of_one_layer_matches_finite_differences(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 6, 4 };
    struct gradient_case g = {
        .sizes = sizes, .n_layers = 1, .output = SEG_LINEAR, .n = 64, .weighted = true
    };
    check_gradient(&g);
    g.n = 1;
    g.regress = true;
    check_gradient(&g);
}

static void gradient_of_a_batch_in_several_groups_is_that_of_all_its_rows(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 3, 70, 2 }; /* 70 units: blocks of units with a rest */
    const struct gradient_case g = { .sizes = sizes,
                                     .n_layers = 2,
                                     .hidden = SEG_TANH,
                                     .output = SEG_LINEAR,
                                     .n = (2 * SEG_BATCH_SLOTS + 1) * ROWS + 5,
                                     .weighted = true,
                                     .step = 31 };
    check_gradient(&g);
}

static void gradient_of_cross_entropy_wants_logits(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 2, 2 };
    const float rows[] = { 1.0f, 2.0f };
    const uint16_t y[] = { 1 };
    float grad[6];
    double loss = -1.0;
    struct seg_rng rng = seg_rng_make(1, 1);
    struct seg_network net = { 0 };
    assert_int_equal(seg_network_init(&net, sizes, 1, SEG_RELU, SEG_SIGMOID, &rng, NULL), SEG_OK);
    assert_int_equal(seg_network_gradient(&net, rows, 1, y, NULL, 0.0, NULL, &loss, grad),
                     SEG_EINVAL);
    assert_true(loss == -1.0);
    seg_network_release(&net);
}

static void loss_of_a_hopeless_row_is_finite(void **state)
{
    (void)state;
    const uint32_t sizes[] = { 1, 2 };
    const float rows[] = { 1.0f };
    const uint16_t y[] = { 0 };
    float grad[4];
    double loss = 0.0;
    struct seg_rng rng = seg_rng_make(1, 1);
    struct seg_network net = { 0 };
    assert_int_equal(seg_network_init(&net, sizes, 1, SEG_RELU, SEG_LINEAR, &rng, NULL), SEG_OK);
    net.layers[0].weights.data[0] = 0.0f;
    net.layers[0].weights.data[1] = 1000.0f; /* p(0) = exp(-1000) is 0 in any float */
    assert_int_equal(seg_network_gradient(&net, rows, 1, y, NULL, 0.0, NULL, &loss, grad), SEG_OK);
    assert_true(fabs(loss - 1000.0) < 1e-3);
    seg_network_release(&net);
}

/* ---- the loops of layers.c, every variant ---- */

static void backward_of_any_shape_matches_its_twin(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(3, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t m = 1; m <= 9; m += 4)
            for (size_t d = 1; d <= 14; d++) {
                float *delta = tile(m, &rng), *w = tile(m, &rng), *slope = tile(d, &rng);
                float *out = tile(d, &rng);
                memcpy(out, slope, d * ROWS * sizeof *out);
                (*k)->backward(delta, m, w, d, out);
                for (size_t c = 0; c < d; c++)
                    for (size_t r = 0; r < ROWS; r++) {
                        double sum = 0.0;
                        for (size_t j = 0; j < m; j++)
                            sum += (double)w[j * d + c] * (double)delta[j * ROWS + r];
                        assert_near((double)out[c * ROWS + r], sum * (double)slope[c * ROWS + r],
                                    1e-4);
                    }
                seg_free(delta);
                seg_free(w);
                seg_free(slope);
                seg_free(out);
            }
}

static void rows_of_a_tile_are_its_transpose(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 4);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t d = 1; d <= 18; d++) {
            size_t stride = SEG_ROW_STRIDE(d);
            float *x = tile(d, &rng), *out = tile(stride, &rng);
            (*k)->to_rows(x, d, stride, out);
            for (size_t c = 0; c < d; c++)
                for (size_t r = 0; r < ROWS; r++)
                    assert_true(out[r * stride + c] == x[c * ROWS + r]);
            seg_free(x);
            seg_free(out);
        }
}

/* n_tiles of (m, 64) deltas and (64, row_stride) rows against sums in float64. */
static void check_layer_gradient(const struct seg_layer_kernels *k, size_t m, size_t d,
                                 size_t n_tiles, bool add, struct seg_rng *rng)
{
    size_t row_stride = SEG_ROW_STRIDE(d), stride = (m + row_stride) * ROWS;
    float *floats = tile(n_tiles * (m + row_stride), rng);
    float *grad = seg_alloc(m * (d + 1), sizeof *grad);
    const struct seg_gradient g = {
        .delta = floats,
        .rows = floats + m * ROWS,
        .row_stride = row_stride,
        .rows_stride = stride,
        .n_tiles = n_tiles,
        .stride = stride,
        .m = m,
        .d = d,
        .add = add,
        .grad_w = grad,
        .grad_b = grad + m * d,
    };
    for (size_t i = 0; i < m * (d + 1); i++)
        grad[i] = 0.5f;
    k->gradient(&g);
    for (size_t j = 0; j < m; j++)
        for (size_t c = 0; c <= d; c++) {
            double sum = add ? 0.5 : 0.0;
            for (size_t t = 0; t < n_tiles; t++)
                for (size_t r = 0; r < ROWS; r++) {
                    const float *at = floats + t * stride;
                    double x = c < d ? (double)at[m * ROWS + r * row_stride + c] : 1.0;
                    sum += x * (double)at[j * ROWS + r];
                }
            assert_near((double)(c < d ? g.grad_w[j * d + c] : g.grad_b[j]), sum, 2e-4);
        }
    seg_free(floats);
    seg_free(grad);
}

static void gradient_of_any_shape_matches_its_twin(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t m = 1; m <= 9; m++)
            for (size_t d = 1; d <= 82; d += 3)
                check_layer_gradient(*k, m, d, 1 + (m + d) % 2, d % 2 == 0, &rng);
}

static void gather_takes_rows_and_clears_the_other_lanes(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(5, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++) {
        const size_t d = 5, n_rows = 37;
        float *x = tile(d, &rng), *out = tile(d, &rng);
        const float *src[ROWS];
        for (size_t r = 0; r < n_rows; r++)
            src[r] = x + (r * 11) % ROWS;
        (*k)->gather(src, n_rows, d, out);
        for (size_t c = 0; c < d; c++)
            for (size_t r = 0; r < ROWS; r++) {
                float wanted = r < n_rows ? x[c * ROWS + (r * 11) % ROWS] : 0.0f;
                assert_true(out[c * ROWS + r] == wanted);
            }
        seg_free(x);
        seg_free(out);
    }
}

static void rows_become_a_tile_and_a_tile_goes_to_its_rows(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(6, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t d = 1; d <= 19; d += 3)
            for (unsigned n = 1; n <= ROWS; n += 7) {
                size_t stride = SEG_ROW_STRIDE(d);
                float *rows = tile(stride, &rng), *x = tile(d, &rng), *back = tile(stride, &rng);
                float *to[ROWS];
                (*k)->from_rows(rows, stride, n, d, x);
                for (size_t r = 0; r < ROWS; r++)
                    to[r] = back + (r * 5 + 3) % ROWS * stride;
                (*k)->scatter(x, d, to);
                for (size_t r = 0; r < ROWS; r++)
                    for (size_t c = 0; c < d; c++) {
                        float wanted = r < n ? rows[r * stride + c] : 0.0f;
                        assert_true(x[c * ROWS + r] == wanted && to[r][c] == wanted);
                    }
                seg_free(rows);
                seg_free(x);
                seg_free(back);
            }
}

static void dropout_keeps_the_wanted_share_and_scales_it(void **state)
{
    (void)state;
    static uint16_t bits[65536];
    static float act[65536], slope[65536];
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++) {
        size_t n_kept = 0;
        for (size_t i = 0; i < 65536; i++) {
            bits[i] = (uint16_t)i;
            act[i] = 3.0f;
            slope[i] = 1.0f;
        }
        (*k)->drop(bits, 49152, 4.0f / 3.0f, 65536, act, slope);
        for (size_t i = 0; i < 65536; i++) {
            n_kept += act[i] != 0.0f;
            assert_true(act[i] == 3.0f * slope[i]);
            assert_true(act[i] == 0.0f || act[i] == 4.0f);
        }
        assert_int_equal(n_kept, 49152);
    }
}

/* ---- optimizers ---- */

static void optimizers_follow_their_formulas(void **state)
{
    (void)state;
    for (int kind = SEG_ADAM; kind <= SEG_SGD; kind++) {
        const struct seg_train_params p = steps_params((enum seg_optimizer)kind);
        check_steps(&p);
    }
}

/* ---- whole fits ---- */

static void fit_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    enum { N = 3000, N_VAL = 700 };
    static uint16_t y[N], y_val[N_VAL];
    struct seg_tiles x, x_val;
    struct seg_train_params p = SMALL;
    struct seg_network first = { 0 };
    struct seg_curve first_curve = { 0 };
    p.batch_size = 300; /* five tiles, the last of 44 rows */
    p.hidden[0] = 64;
    p.dropout = 0.2;
    p.class_weight = SEG_WEIGHT_BALANCED;
    p.patience = 5;
    blobs(N, 20, 4, 1, &x, y);
    blobs(N_VAL, 20, 4, 2, &x_val, y_val);
    for (unsigned n_workers = 0; n_workers <= 4; n_workers++) {
        struct seg_pool *pool = NULL;
        struct seg_network net = { 0 };
        struct seg_curve curve = { 0 };
        if (n_workers > 0) assert_int_equal(seg_pool_new(n_workers, 1, &pool, NULL), SEG_OK);
        assert_int_equal(
            seg_classifier_fit(pool, &x, y, &x_val, y_val, 4, &p, NULL, &net, &curve, NULL),
            SEG_OK);
        seg_pool_free(pool);
        if (n_workers == 0) {
            first = net;
            first_curve = curve;
            continue;
        }
        assert_same_network(&first, &net);
        assert_memory_equal(first_curve.train_loss, curve.train_loss, p.epochs * sizeof(double));
        assert_memory_equal(first_curve.validation_loss, curve.validation_loss,
                            p.epochs * sizeof(double));
        seg_network_release(&net);
        seg_curve_release(&curve);
    }
    seg_network_release(&first);
    seg_curve_release(&first_curve);
    seg_tiles_release(&x);
    seg_tiles_release(&x_val);
}

static void early_stopping_returns_the_weights_of_the_best_epoch(void **state)
{
    (void)state;
    enum { N = 150, N_VAL = 400 };
    static uint16_t y[N], y_val[N_VAL];
    static float rows[N_VAL * 6];
    struct seg_tiles x, x_val;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    p.epochs = 500;
    p.patience = 7;
    p.batch_size = 20;
    blobs(N, 6, 3, 3, &x, y);
    blobs(N_VAL, 6, 3, 3, &x_val, y_val);
    for (size_t i = 0; i < N_VAL; i++) {
        seg_tiles_get_row(&x_val, i, rows + i * 6);
        if (i % 4 == 0) y_val[i] = (uint16_t)(i / 4 % 3); /* noise: certainty gets punished */
    }
    assert_int_equal(
        seg_classifier_fit(NULL, &x, y, &x_val, y_val, 3, &p, NULL, &net, &curve, NULL), SEG_OK);
    assert_int_equal(curve.n_epochs, curve.best_epoch + 1 + p.patience);
    for (uint32_t e = 0; e < curve.n_epochs; e++)
        assert_true(curve.validation_loss[e] >= curve.validation_loss[curve.best_epoch]);
    double *params = flat_params(&net);
    const struct twin_task task = { .rows = rows, .n = N_VAL, .y = y_val };
    assert_near(twin_loss(&net, params, &task), curve.validation_loss[curve.best_epoch], 1e-5);
    double *out = twin_forward(&net, params, rows, N_VAL);
    size_t n_right = 0;
    for (size_t i = 0; i < N_VAL; i++) {
        const double *of = out + i * 3;
        int top = of[1] > of[0] ? 1 : 0;
        if (of[2] > of[top]) top = 2;
        n_right += top == y_val[i];
    }
    seg_free(out);
    assert_near(curve.validation_accuracy[curve.best_epoch], (double)n_right / N_VAL, 1e-12);
    seg_free(params);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
    seg_tiles_release(&x_val);
}

static void balanced_weights_give_rare_and_common_classes_the_same_say(void **state)
{
    (void)state;
    enum { N = 1000 };
    static uint16_t y[N];
    static float rows[N]; /* no information: only the biases matter */
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    p.n_hidden = 0;
    p.epochs = 400;
    p.batch_size = N;
    p.learning_rate = 0.05;
    for (size_t i = 0; i < N; i++)
        y[i] = i % 10 == 0;
    assert_int_equal(seg_tiles_from_rows(&x, rows, N, 1), SEG_OK);
    for (int balanced = 0; balanced <= 1; balanced++) {
        struct seg_network net = { 0 };
        struct seg_curve curve = { 0 };
        p.class_weight = balanced ? SEG_WEIGHT_BALANCED : SEG_WEIGHT_NONE;
        assert_int_equal(
            seg_classifier_fit(NULL, &x, y, NULL, NULL, 2, &p, NULL, &net, &curve, NULL), SEG_OK);
        const float *bias = net.layers[0].bias;
        double p1 = 1.0 / (1.0 + exp((double)(bias[0] - bias[1])));
        assert_near(p1, balanced ? 0.5 : 0.1, 1e-3);
        seg_network_release(&net);
        seg_curve_release(&curve);
    }
    seg_tiles_release(&x);
}

static void dropout_regularises_but_does_not_touch_evaluation(void **state)
{
    (void)state;
    enum { N = 600 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    p.dropout = 0.5;
    p.hidden[0] = 32;
    p.n_hidden = 1;
    p.epochs = 30;
    blobs(N, 6, 2, 5, &x, y);
    assert_int_equal(seg_classifier_fit(NULL, &x, y, &x, y, 2, &p, NULL, &net, &curve, NULL),
                     SEG_OK);
    /* same rows: only the dropped units make the training loss the larger one */
    assert_true(curve.train_loss[29] > 1.02 * curve.validation_loss[29]);
    assert_true(curve.validation_accuracy[29] > 0.8);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

struct listener {
    atomic_bool cancel;
    unsigned n_reports;
    unsigned cancel_after; /* reports; 0 = never */
    char last[128];
    double fraction;
};

static void listen(void *ctx, double fraction, const char *message)
{
    struct listener *l = ctx;
    assert_true(fraction > l->fraction && fraction <= 1.0);
    l->fraction = fraction;
    snprintf(l->last, sizeof l->last, "%s", message);
    if (++l->n_reports == l->cancel_after) atomic_store(&l->cancel, true);
}

static void fit_reports_every_epoch_and_stops_when_cancelled(void **state)
{
    (void)state;
    enum { N = 200 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct listener l = { 0 };
    const struct seg_progress progress = { .cancel = &l.cancel, .report = listen, .ctx = &l };
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    char expected[128];
    blobs(N, 4, 2, 6, &x, y);
    assert_int_equal(
        seg_classifier_fit(NULL, &x, y, &x, y, 2, &SMALL, &progress, &net, &curve, NULL), SEG_OK);
    assert_int_equal(l.n_reports, 3);
    assert_true(l.fraction == 1.0);
    snprintf(expected, sizeof expected, "epoch 3 of 3, validation loss %.4f",
             curve.validation_loss[2]);
    assert_string_equal(l.last, expected);
    seg_network_release(&net);
    seg_curve_release(&curve);

    struct listener stop = { .cancel_after = 2 };
    const struct seg_progress stopping = { .cancel = &stop.cancel, .report = listen, .ctx = &stop };
    assert_int_equal(
        seg_classifier_fit(NULL, &x, y, NULL, NULL, 2, &SMALL, &stopping, &net, &curve, NULL),
        SEG_ECANCELED);
    assert_int_equal(stop.n_reports, 2);
    assert_null(curve.train_loss);
    assert_int_equal(net.n_layers, 0);
    seg_tiles_release(&x);
}

static void fit_says_at_which_epoch_it_diverged(void **state)
{
    (void)state;
    enum { N = 200 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    struct seg_error err = { 0 };
    p.optimizer = SEG_SGD;
    p.learning_rate = 1e30;
    blobs(N, 4, 2, 6, &x, y);
    assert_int_equal(seg_classifier_fit(NULL, &x, y, NULL, NULL, 2, &p, NULL, &net, &curve, &err),
                     SEG_EINVAL);
    assert_string_equal(err.text, "training diverged: loss is not finite at epoch 1");
    seg_tiles_release(&x);
}

static void fit_refuses_classes_out_of_range_and_no_rows(void **state)
{
    (void)state;
    uint16_t y[] = { 0, 1, 2 };
    const float rows[] = { 1.0f, 2.0f, 3.0f };
    struct seg_tiles x, empty;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    struct seg_error err = { 0 };
    assert_int_equal(seg_tiles_from_rows(&x, rows, 3, 1), SEG_OK);
    seg_tiles_init(&empty, 1);
    assert_int_equal(
        seg_classifier_fit(NULL, &x, y, NULL, NULL, 2, &SMALL, NULL, &net, &curve, &err),
        SEG_EINVAL);
    assert_string_equal(err.text, "class is 2 at row 2 (limit 1)");
    assert_int_equal(
        seg_classifier_fit(NULL, &empty, y, NULL, NULL, 3, &SMALL, NULL, &net, &curve, &err),
        SEG_EINVAL);
    assert_string_equal(err.text, "no rows to train on");
    seg_tiles_release(&x);
    seg_tiles_release(&empty);
}

static void check_refuses_every_parameter_out_of_range(void **state)
{
    (void)state;
    struct seg_train_params p[12];
    assert_null(seg_train_check(&SMALL));
    for (size_t i = 0; i < 12; i++)
        p[i] = SMALL;
    p[0].n_hidden = SEG_LAYERS_MAX;
    p[1].hidden[1] = 0;
    p[2].hidden[0] = SEG_UNITS_MAX + 1;
    p[3].dropout = 0.95;
    p[4].l2 = -1.0;
    p[5].l2 = NAN;
    p[6].learning_rate = 0.0;
    p[7].momentum = 1.5;
    p[8].batch_size = 0;
    p[9].batch_size = 65537;
    p[10].epochs = 0;
    p[11].epochs = 10001;
    for (size_t i = 0; i < 12; i++)
        assert_non_null(seg_train_check(&p[i]));
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    enum { N = 100 };
    static uint16_t y[N];
    struct seg_tiles x;
    struct seg_train_params p = SMALL;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    enum seg_status st = SEG_ENOMEM;
    p.dropout = 0.1;
    p.patience = 2;
    p.class_weight = SEG_WEIGHT_BALANCED;
    blobs(N, 4, 2, 6, &x, y);
    uint64_t n = 0;
    while (st == SEG_ENOMEM) {
        seg_alloc_fail_at(++n);
        st = seg_classifier_fit(NULL, &x, y, &x, y, 2, &p, NULL, &net, &curve, NULL);
    }
    seg_alloc_fail_at(0);
    assert_int_equal(st, SEG_OK);
    assert_true(n > 15);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

/* ---- sampler ---- */

static void an_epoch_visits_every_row_once_in_an_order_of_its_own(void **state)
{
    (void)state;
    enum { ROWS_ALL = 9003, D = 61 }; /* two windows of 70 tiles, the last tile with 43 rows */
    static uint8_t seen[ROWS_ALL];
    static uint32_t order[2][ROWS_ALL];
    struct seg_tiles x;
    struct seg_sampler s;
    struct seg_rng rng = seg_rng_make(1, 1);
    struct seg_team alone = { 0 };
    float *rows = seg_alloc((size_t)ROWS_ALL * D, sizeof *rows);
    assert_non_null(rows);
    fill(rows, (size_t)ROWS_ALL * D, &rng);
    assert_int_equal(seg_tiles_from_rows(&x, rows, ROWS_ALL, D), SEG_OK);
    for (size_t n_max = 100; n_max <= 6000; n_max *= 60) { /* less and more than a window */
        assert_int_equal(seg_sampler_init(&s, &x, n_max), SEG_OK);
        assert_int_equal(s.n_windows, 2);
        for (uint32_t epoch = 0; epoch < 2; epoch++) {
            const uint32_t *drawn;
            const float *staged;
            size_t n = 0, got;
            memset(seen, 0, sizeof seen);
            seg_sampler_start(&s, seg_rng_make(1, epoch));
            while ((got = seg_sampler_next(&s, &alone, &drawn, &staged)) > 0) {
                assert_true(got == n_max || n + got == ROWS_ALL);
                for (size_t i = 0; i < got; i++) {
                    assert_memory_equal(staged + i * s.stride, rows + (size_t)drawn[i] * D,
                                        D * sizeof *rows);
                    for (size_t c = D; c < s.stride; c++)
                        assert_true(staged[i * s.stride + c] == 0.0f);
                }
                memcpy(order[epoch] + n, drawn, got * sizeof *drawn);
                n += got;
            }
            assert_int_equal(n, ROWS_ALL);
            for (size_t i = 0; i < ROWS_ALL; i++)
                assert_int_equal(seen[order[epoch][i]]++, 0);
        }
        assert_memory_not_equal(order[0], order[1], sizeof order[0]);
        seg_sampler_release(&s);
    }
    seg_tiles_release(&x);
    seg_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_every_activation_matches_finite_differences),
        cmocka_unit_test(gradient_of_one_layer_matches_finite_differences),
        cmocka_unit_test(gradient_of_a_batch_in_several_groups_is_that_of_all_its_rows),
        cmocka_unit_test(gradient_of_cross_entropy_wants_logits),
        cmocka_unit_test(loss_of_a_hopeless_row_is_finite),
        cmocka_unit_test(backward_of_any_shape_matches_its_twin),
        cmocka_unit_test(rows_of_a_tile_are_its_transpose),
        cmocka_unit_test(gradient_of_any_shape_matches_its_twin),
        cmocka_unit_test(gather_takes_rows_and_clears_the_other_lanes),
        cmocka_unit_test(rows_become_a_tile_and_a_tile_goes_to_its_rows),
        cmocka_unit_test(dropout_keeps_the_wanted_share_and_scales_it),
        cmocka_unit_test(optimizers_follow_their_formulas),
        cmocka_unit_test(fit_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(early_stopping_returns_the_weights_of_the_best_epoch),
        cmocka_unit_test(balanced_weights_give_rare_and_common_classes_the_same_say),
        cmocka_unit_test(dropout_regularises_but_does_not_touch_evaluation),
        cmocka_unit_test(fit_reports_every_epoch_and_stops_when_cancelled),
        cmocka_unit_test(fit_says_at_which_epoch_it_diverged),
        cmocka_unit_test(fit_refuses_classes_out_of_range_and_no_rows),
        cmocka_unit_test(check_refuses_every_parameter_out_of_range),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(an_epoch_visits_every_row_once_in_an_order_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
