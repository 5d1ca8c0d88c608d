/* test_fit.c - the loop over epochs: which weights it keeps, what it reports, when it ends, and
 * that it allocates nothing on its way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "network_twin.h"

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
    seg_alloc_fail_at(UINT64_MAX);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(early_stopping_returns_the_weights_of_the_best_epoch),
        cmocka_unit_test(fit_reports_every_epoch_and_stops_when_cancelled),
        cmocka_unit_test(fit_says_at_which_epoch_it_diverged),
        cmocka_unit_test(an_epoch_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
