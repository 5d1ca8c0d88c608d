/* test_schedule.c - the learning rate of each step, by every schedule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "neural/schedule.h"
#include "train_data.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_constant_rate_is_the_one_given),
        cmocka_unit_test(a_warmup_rises_by_equal_steps_to_the_rate),
        cmocka_unit_test(a_cosine_falls_from_the_rate_to_its_floor_and_is_half_way_in_the_middle),
        cmocka_unit_test(steps_multiply_the_rate_after_their_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
