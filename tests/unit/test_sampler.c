/* test_sampler.c - an epoch visits every row once, in an order of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/rng.h"
#include "neural/sampler.h"
#include "train_data.h"

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
        cmocka_unit_test(an_epoch_visits_every_row_once_in_an_order_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
