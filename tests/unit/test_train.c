/* test_train.c - a classifier is what its options ask for, with the same bits at any worker count,
 * and options that make no sense are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "network_twin.h"

/* A fit of p to n rows on 0 to 4 workers. */
static void check_worker_counts(const struct seg_train_params *p, size_t n)
{
    enum { N_MAX = 3000, N_VAL = 700 };
    static uint16_t y[N_MAX], y_val[N_VAL];
    struct seg_tiles x, x_val;
    struct seg_network first = { 0 };
    struct seg_curve first_curve = { 0 };
    assert_true(n <= N_MAX);
    blobs(n, 20, 4, 1, &x, y);
    blobs(N_VAL, 20, 4, 2, &x_val, y_val);
    for (unsigned n_workers = 0; n_workers <= 4; n_workers++) {
        struct seg_pool *pool = NULL;
        struct seg_network net = { 0 };
        struct seg_curve curve = { 0 };
        if (n_workers > 0) assert_int_equal(seg_pool_new(n_workers, 1, &pool, NULL), SEG_OK);
        assert_int_equal(
            seg_classifier_fit(pool, &x, y, &x_val, y_val, 4, p, NULL, &net, &curve, NULL), SEG_OK);
        seg_pool_free(pool);
        if (n_workers == 0) {
            first = net;
            first_curve = curve;
            continue;
        }
        assert_same_network(&first, &net);
        assert_int_equal(first_curve.n_epochs, curve.n_epochs);
        assert_memory_equal(first_curve.train_loss, curve.train_loss,
                            curve.n_epochs * sizeof(double));
        assert_memory_equal(first_curve.validation_loss, curve.validation_loss,
                            curve.n_epochs * sizeof(double));
        seg_network_release(&net);
        seg_curve_release(&curve);
    }
    seg_network_release(&first);
    seg_curve_release(&first_curve);
    seg_tiles_release(&x);
    seg_tiles_release(&x_val);
}

static void fit_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct seg_train_params p = SMALL;
    p.batch_size = 300; /* five tiles, the last of 44 rows */
    p.hidden[0] = 64;
    p.dropout = 0.2;
    p.class_weight = SEG_WEIGHT_BALANCED;
    p.patience = 5;
    check_worker_counts(&p, 3000);
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
        check_worker_counts(&p, 2000);
    }
    p.normalization = SEG_NORMALIZE_BATCH;
    p.batch_size = 1900; /* two groups, then a batch of 100 rows */
    check_worker_counts(&p, 2000);
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
        cmocka_unit_test(fit_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(balanced_weights_give_rare_and_common_classes_the_same_say),
        cmocka_unit_test(dropout_regularises_but_does_not_touch_evaluation),
        cmocka_unit_test(fit_refuses_classes_out_of_range_and_no_rows),
        cmocka_unit_test(check_refuses_every_parameter_out_of_range),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(smoothed_labels_are_what_probabilities_end_at),
        cmocka_unit_test(options_give_the_same_bits_at_any_worker_count),
        cmocka_unit_test(check_refuses_every_option_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
