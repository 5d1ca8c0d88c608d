/* test_optimizer.c - each optimizer follows the formulas of its paper in float64, at every schedule
 * and clipped or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "network_twin.h"

/* The learning rate of epoch t (from 0) of a training whose epochs are one step each. */
static double twin_rate(const struct seg_train_params *p, uint32_t t)
{
    double rate = p->learning_rate;
    if (t < p->warmup_epochs) return rate * (t + 1) / p->warmup_epochs;
    double after = t - p->warmup_epochs, all = p->epochs - p->warmup_epochs;
    if (p->schedule == SEG_SCHEDULE_COSINE)
        return rate * (p->cosine_floor +
                       (1.0 - p->cosine_floor) * pow(cos(M_PI * after / all / 2.0), 2.0));
    if (p->schedule == SEG_SCHEDULE_STEP)
        for (uint32_t i = p->step_epochs; i <= after; i += p->step_epochs)
            rate *= p->step_factor;
    return rate;
}

/* Full-batch steps of one layer with the formulas of the papers, on the twin's slopes. */
static void twin_train(const struct seg_network *net, double *w, const struct twin_task *task,
                       const struct seg_train_params *p)
{
    size_t n_params = seg_network_n_params(net), n_weights = (size_t)net->n_in * net->n_out;
    double *m = seg_calloc(n_params, sizeof *m), *v = seg_calloc(n_params, sizeof *v);
    double *g = seg_calloc(n_params, sizeof *g);
    for (uint32_t t = 1; t <= p->epochs; t++) {
        double rate = twin_rate(p, t - 1), norm = 0.0;
        for (size_t i = 0; i < n_params; i++) {
            g[i] = twin_slope(net, w, i, task);
            norm += g[i] * g[i];
        }
        norm = sqrt(norm);
        for (size_t i = 0; i < n_params; i++) {
            double l2 = i < n_weights ? p->l2 : 0.0;
            if (p->clip_norm > 0.0 && norm > p->clip_norm) g[i] *= p->clip_norm / norm;
            if (p->optimizer != SEG_ADAMW) g[i] += l2 * w[i];
            if (p->optimizer == SEG_ADAMW) w[i] -= rate * l2 * w[i];
            if (p->optimizer == SEG_SGD) {
                v[i] = p->momentum * v[i] + g[i];
                w[i] -= rate * v[i];
                continue;
            }
            m[i] = 0.9 * m[i] + 0.1 * g[i];
            v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
            double m_hat = m[i] / (1.0 - pow(0.9, t)), v_hat = v[i] / (1.0 - pow(0.999, t));
            w[i] -= rate * m_hat / (sqrt(v_hat) + 1e-8);
        }
    }
    seg_free(m);
    seg_free(v);
    seg_free(g);
}

/* Trains one layer by full batches with p, and compares its parameters with the twin's. */
static void check_steps(const struct seg_train_params *p)
{
    enum { D = 4, CLASSES = 3, N = 90 };
    const uint32_t sizes[] = { D, CLASSES };
    uint16_t y[N];
    float rows[N * D];
    struct seg_tiles x;
    struct seg_network start = { 0 }, net = { 0 };
    struct seg_curve curve = { 0 };
    struct seg_rng rng = seg_rng_make(p->seed, SEG_STREAM_WEIGHTS);
    blobs(N, D, CLASSES, 1, &x, y);
    for (size_t i = 0; i < N; i++)
        seg_tiles_get_row(&x, i, rows + i * D);
    assert_int_equal(seg_network_init(&start, sizes, 1, SEG_RELU, SEG_LINEAR, &rng, NULL), SEG_OK);
    assert_int_equal(
        seg_classifier_fit(NULL, &x, y, NULL, NULL, CLASSES, p, NULL, &net, &curve, NULL), SEG_OK);
    double *expected = flat_params(&start), *got = flat_params(&net);
    const struct twin_task task = { .rows = rows, .n = N, .y = y, .smoothing = p->label_smoothing };
    twin_train(&start, expected, &task, p);
    for (size_t i = 0; i < seg_network_n_params(&net); i++)
        assert_near(got[i], expected[i], 1e-4);
    seg_free(expected);
    seg_free(got);
    seg_network_release(&start);
    seg_network_release(&net);
    seg_curve_release(&curve);
    seg_tiles_release(&x);
}

/* Parameters of a training that check_steps can follow. */
static struct seg_train_params steps_params(enum seg_optimizer optimizer)
{
    struct seg_train_params p = SMALL;
    p.n_hidden = 0;
    p.optimizer = optimizer;
    p.learning_rate = 0.05;
    p.momentum = 0.8;
    p.l2 = 0.1;
    p.epochs = 6;
    return p;
}

static void optimizers_follow_their_formulas(void **state)
{
    (void)state;
    for (int kind = SEG_ADAM; kind <= SEG_SGD; kind++) {
        const struct seg_train_params p = steps_params((enum seg_optimizer)kind);
        check_steps(&p);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(optimizers_follow_their_formulas),
        cmocka_unit_test(every_optimizer_follows_every_schedule),
        cmocka_unit_test(optimizers_take_gradients_clipped_to_the_norm),
        cmocka_unit_test(a_clipped_step_of_plain_descent_is_as_long_as_the_norm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
