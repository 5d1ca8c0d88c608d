/* test_batch_update.c - no parameter is left out or updated twice, however they are cut in parts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "network_twin.h"
#include "neural/train.h"
#include "train_data.h"

/* One step of plain descent, of a network with several parts whose borders are no layer's. */
static void every_parameter_steps_once_by_its_gradient(void **state)
{
    enum { ROWS_HERE = 300, D = 31, CLASSES = 3, N_PARAMS = 32 * 77 + 78 * 33 + 34 * CLASSES };
    static float rows[ROWS_HERE * D], grad[N_PARAMS];
    static uint16_t y[ROWS_HERE];
    const uint32_t sizes[] = { D, 77, 33, CLASSES };
    struct seg_rng rng = seg_rng_make(3, 3);
    struct seg_network start, end;
    struct seg_train_params p = { .hidden = { 77, 33 },
                                  .n_hidden = 2,
                                  .activation = SEG_TANH,
                                  .optimizer = SEG_SGD,
                                  .learning_rate = 0.5,
                                  .batch_size = ROWS_HERE,
                                  .epochs = 1,
                                  .start = &start };
    struct seg_tiles x;
    struct seg_pool *pool;
    (void)state;
    assert_int_equal(seg_network_init(&start, sizes, 3, SEG_TANH, SEG_LINEAR, &rng, NULL), SEG_OK);
    fill(rows, ROWS_HERE * D, &rng);
    for (size_t i = 0; i < ROWS_HERE; i++)
        y[i] = (uint16_t)(i % CLASSES);
    assert_int_equal(seg_tiles_from_rows(&x, rows, ROWS_HERE, D), SEG_OK);
    assert_int_equal(seg_pool_new(2, 1, &pool, NULL), SEG_OK);
    double loss;
    assert_int_equal(seg_network_gradient(&start, rows, ROWS_HERE, y, NULL, 0.0, NULL, &loss, grad),
                     SEG_OK);
    for (unsigned n_workers = 1; n_workers <= 2; n_workers++) {
        struct seg_curve curve;
        assert_int_equal(seg_classifier_fit(n_workers > 1 ? pool : NULL, &x, y, NULL, NULL, CLASSES,
                                            &p, NULL, &end, &curve, NULL),
                         SEG_OK);
        double *from = flat_params(&start), *to = flat_params(&end);
        for (size_t i = 0; i < N_PARAMS; i++)
            assert_near(to[i], from[i] - p.learning_rate * (double)grad[i], 1e-5);
        seg_free(from);
        seg_free(to);
        seg_curve_release(&curve);
        seg_network_release(&end);
    }
    seg_network_release(&start);
    seg_tiles_release(&x);
    seg_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_parameter_steps_once_by_its_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
