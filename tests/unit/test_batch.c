/* test_batch.c - the gradient of a batch is that of finite differences in float64, whatever the
 * activation, loss, normalization and cut in groups. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "gradient_twin.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradient_of_every_activation_matches_finite_differences),
        cmocka_unit_test(gradient_of_one_layer_matches_finite_differences),
        cmocka_unit_test(gradient_of_a_batch_in_several_groups_is_that_of_all_its_rows),
        cmocka_unit_test(gradient_of_cross_entropy_wants_logits),
        cmocka_unit_test(loss_of_a_hopeless_row_is_finite),
        cmocka_unit_test(gradient_of_smoothed_labels_matches_finite_differences),
        cmocka_unit_test(gradient_through_normalization_matches_finite_differences),
        cmocka_unit_test(gradient_of_normalized_groups_is_that_of_each_group_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
