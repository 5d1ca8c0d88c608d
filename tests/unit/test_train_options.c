/* test_train_options.c - what a training can be told beside its sizes: schedules of the learning
 * rate, clipping, smoothed labels. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
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
    check_worker_counts(&p);
}

static void check_refuses_every_option_out_of_range(void **state)
{
    (void)state;
    struct seg_train_params p[10];
    for (size_t i = 0; i < 10; i++) {
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
    for (size_t i = 0; i < 10; i++)
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
        cmocka_unit_test(options_give_the_same_bits_at_any_worker_count),
        cmocka_unit_test(check_refuses_every_option_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
