/* test_code_loss.c - a second loss in the middle of a network, and what stands between batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "neural/fit.h"

#define N     150 /* three tiles, the last in part */
#define D     5
#define CODE  3
#define SHARE 0.7f

/* SHARE times the squared distance of a code to one point, the parameter. */
static double distance_add(const void *ctx, const uint32_t *rows, unsigned n, const float *z,
                           float scale, float *delta, float *grad, float *scratch)
{
    const float *point = ctx;
    double loss = 0.0;
    (void)rows;
    for (size_t c = 0; c < CODE; c++)
        for (unsigned r = 0; r < n; r++) {
            float off = z[c * SEG_TILE_ROWS + r] - point[c];
            scratch[r] = SHARE * off * off;
            delta[c * SEG_TILE_ROWS + r] += 2.0f * SHARE * scale * off;
            grad[c] -= 2.0f * SHARE * scale * off;
            loss += (double)scratch[r];
        }
    return loss;
}

struct fixture {
    struct seg_tiles x;
    struct seg_network net;
    float point[CODE];
    struct seg_code_loss loss;
    uint32_t rows[N];
};

static void fixture_init(struct fixture *f)
{
    const uint32_t sizes[] = { D, 6, CODE, 6, D };
    const enum seg_activation activations[] = { SEG_TANH, SEG_LINEAR, SEG_TANH, SEG_LINEAR };
    struct seg_rng rng = seg_rng_make(1, 1);
    float x[N * D];
    for (size_t i = 0; i < N * D; i++)
        x[i] = (float)seg_rng_normal(&rng);
    for (size_t c = 0; c < CODE; c++)
        f->point[c] = (float)seg_rng_normal(&rng);
    for (uint32_t i = 0; i < N; i++)
        f->rows[i] = (i * 7) % N;
    assert_int_equal(seg_tiles_from_rows(&f->x, x, N, D), SEG_OK);
    assert_int_equal(seg_network_init_each(&f->net, sizes, activations, 4, &rng, NULL), SEG_OK);
    f->loss = (struct seg_code_loss){ .layer = 1,
                                      .params = f->point,
                                      .n_params = CODE,
                                      .n_scratch = SEG_TILE_ROWS,
                                      .add = distance_add,
                                      .ctx = f->point };
}

static void fixture_release(struct fixture *f)
{
    seg_tiles_release(&f->x);
    seg_network_release(&f->net);
}

/* Mean loss, both parts, of all rows at the weights as they are: float64, by the definition. */
static double mean_loss(const struct fixture *f)
{
    double sum = 0.0, code_sum = 0.0;
    for (size_t row = 0; row < N; row++) {
        double from[8], to[8];
        float x[D];
        seg_tiles_get_row(&f->x, row, x);
        for (size_t c = 0; c < D; c++)
            from[c] = (double)x[c];
        for (uint32_t l = 0; l < f->net.n_layers; l++) {
            const struct seg_layer *layer = &f->net.layers[l];
            for (size_t j = 0; j < layer->weights.n_rows; j++) {
                to[j] = (double)layer->bias[j];
                for (size_t c = 0; c < layer->weights.n_cols; c++)
                    to[j] += (double)seg_matrix_row(&layer->weights, j)[c] * from[c];
                if (layer->activation == SEG_TANH) to[j] = tanh(to[j]);
            }
            memcpy(from, to, sizeof(from));
            for (size_t c = 0; l == 1 && c < CODE; c++)
                code_sum += pow(to[c] - (double)f->point[c], 2.0);
        }
        for (size_t c = 0; c < D; c++)
            sum += pow(to[c] - (double)x[c], 2.0);
    }
    return sum / (N * D) + (double)SHARE * code_sum / N;
}

struct step {
    struct seg_batch batch;
    struct seg_batch_data data;
    const struct fixture *f;
    const float *staged; /* (N, stride) and what is read behind it */
    double loss;
};

/* The rows as a batch wants them. */
static float *staged_rows(const struct fixture *f)
{
    const size_t stride = SEG_STAGED_STRIDE((size_t)D);
    float *staged = seg_calloc((N + SEG_TILE_ROWS) * stride + SEG_STAGED_SLACK, sizeof *staged);
    assert_non_null(staged);
    for (size_t i = 0; i < N; i++)
        seg_tiles_get_row(&f->x, f->rows[i], staged + i * stride);
    return staged;
}

static void lead_step(struct seg_team *team, void *ctx)
{
    struct step *s = ctx;
    s->loss = seg_batch_train(&s->batch, team, &s->data, s->f->rows, s->staged, N, NULL);
}

static void check_derivative(const struct fixture *f, float *parameter, float found)
{
    float was = *parameter, step = 1e-2f;
    *parameter = was + step;
    double high = mean_loss(f), width = (double)*parameter;
    *parameter = was - step;
    double low = mean_loss(f);
    width -= (double)*parameter;
    *parameter = was;
    double expected = (high - low) / width;
    if (fabs((double)found - expected) > 1e-3 * (1.0 + fabs(expected)))
        fail_msg("gradient is %g, by differences %g", (double)found, expected);
}

static void gradient_of_both_losses_matches_finite_differences(void **state)
{
    (void)state;
    const struct seg_batch_options options = { 0 };
    struct fixture f;
    fixture_init(&f);
    float *staged = staged_rows(&f);
    struct step s = { .data = { .x = &f.x, .target = &f.x, .code_loss = &f.loss },
                      .f = &f,
                      .staged = staged };
    assert_int_equal(seg_batch_init(&s.batch, &f.net, &s.data, 3, &options, NULL), SEG_OK);
    seg_team_run(NULL, 1, lead_step, &s);
    double mean = s.loss / (N * D) + s.batch.code_loss / N;
    assert_true(fabs(mean - mean_loss(&f)) < 1e-5 * mean);

    const float *grad = s.batch.grad;
    for (uint32_t l = 0; l < f.net.n_layers; l++) {
        struct seg_matrix *w = &f.net.layers[l].weights;
        for (size_t i = 0; i < w->n_rows * w->n_cols; i++)
            check_derivative(&f, &w->data[i], *grad++);
        for (size_t i = 0; i < w->n_rows; i++)
            check_derivative(&f, &f.net.layers[l].bias[i], *grad++);
    }
    for (size_t c = 0; c < CODE; c++)
        check_derivative(&f, &f.point[c], *grad++);
    assert_ptr_equal(grad, s.batch.grad + s.batch.n_params);
    seg_batch_release(&s.batch);
    seg_free(staged);
    fixture_release(&f);
}

static void batches_in_several_groups_have_the_code_loss_of_all_their_rows(void **state)
{
    (void)state;
    const struct seg_batch_options options = { 0 };
    struct fixture f;
    fixture_init(&f);
    float *staged = staged_rows(&f);
    struct step whole = { .data = { .x = &f.x, .target = &f.x, .code_loss = &f.loss },
                          .f = &f,
                          .staged = staged };
    struct step parts = whole;
    assert_int_equal(seg_batch_init(&whole.batch, &f.net, &whole.data, 3, &options, NULL), SEG_OK);
    assert_int_equal(seg_batch_init(&parts.batch, &f.net, &parts.data, 1, &options, NULL), SEG_OK);
    parts.batch.n_slots = 1;
    seg_team_run(NULL, 1, lead_step, &whole);
    seg_team_run(NULL, 1, lead_step, &parts);
    assert_true(fabs(whole.batch.code_loss - parts.batch.code_loss) < 1e-9 * whole.batch.code_loss);
    for (size_t i = 0; i < whole.batch.n_params; i++)
        assert_true(fabsf(whole.batch.grad[i] - parts.batch.grad[i]) < 1e-5f);
    seg_batch_release(&whole.batch);
    seg_batch_release(&parts.batch);
    seg_free(staged);
    fixture_release(&f);
}

static const struct seg_train_params PARAMS = {
    .optimizer = SEG_ADAM, .learning_rate = 0.01, .batch_size = 64, .epochs = 40, .seed = 3
};

static void fit_lowers_both_losses_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct seg_curve c = { 0 };
    fixture_init(&f);
    struct seg_fit fit = { .train = { .x = &f.x, .target = &f.x, .code_loss = &f.loss },
                           .params = &PARAMS };
    assert_int_equal(seg_fit(NULL, &fit, NULL, &f.net, &c, NULL), SEG_OK);
    assert_int_equal(c.n_epochs, 40);
    assert_true(c.train_loss[39] < 0.9 * c.train_loss[0]);
    assert_true(c.code_loss[39] < 0.5 * c.code_loss[0]);
    seg_curve_release(&c);
    fixture_release(&f);
}

struct calls {
    unsigned n, n_max;
};

static bool count_call(void *ctx)
{
    struct calls *calls = ctx;
    return ++calls->n < calls->n_max;
}

/* An epoch has 3 batches. */
static void fit_asks_between_batches_whether_to_go_on(void **state)
{
    (void)state;
    static const struct {
        uint32_t interval;
        unsigned n_max, n_calls;
        uint32_t n_epochs;
    } cases[] = {
        { 0, 1000, 41, 40 }, /* before the first and after each epoch */
        { 0, 1, 1, 0 },      /* never begun */
        { 0, 6, 6, 5 },      { 2, 1000, 61, 40 },
        { 2, 4, 4, 2 }, /* at batch 6, with the end of an epoch */
        { 2, 3, 3, 2 }, /* at batch 4, within one */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f;
        struct seg_curve c = { 0 };
        struct calls calls = { .n_max = cases[i].n_max };
        fixture_init(&f);
        struct seg_fit fit = { .train = { .x = &f.x, .target = &f.x },
                               .params = &PARAMS,
                               .between = count_call,
                               .between_ctx = &calls,
                               .interval = cases[i].interval };
        assert_int_equal(seg_fit(NULL, &fit, NULL, &f.net, &c, NULL), SEG_OK);
        assert_int_equal(calls.n, cases[i].n_calls);
        assert_int_equal(c.n_epochs, cases[i].n_epochs);
        assert_null(c.code_loss);
        for (uint32_t e = 0; e < c.n_epochs; e++)
            assert_true(c.train_loss[e] > 0.0 && c.train_loss[e] < 10.0);
        seg_curve_release(&c);
        fixture_release(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_both_losses_matches_finite_differences),
        cmocka_unit_test(batches_in_several_groups_have_the_code_loss_of_all_their_rows),
        cmocka_unit_test(fit_lowers_both_losses_at_once),
        cmocka_unit_test(fit_asks_between_batches_whether_to_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
