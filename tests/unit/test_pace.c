/* test_pace.c - rounds go the faster way, whichever it is, and change with the machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "neural/pace.h"

/* n rounds on a machine where a unit of work costs so much each way. Returns how many of them had
 * helpers. */
static unsigned run(struct seg_pace *p, unsigned n, double alone, double with_helpers)
{
    unsigned n_together = 0;
    for (unsigned i = 0; i < n; i++) {
        bool together = seg_pace_next(p);
        double work = 1000.0 + i % 3;
        seg_pace_learn(p, together, work * (together ? with_helpers : alone), work);
        n_together += together;
    }
    return n_together;
}

static void rounds_have_helpers_where_that_is_faster(void **state)
{
    (void)state;
    struct seg_pace p;
    seg_pace_init(&p);
    assert_int_equal(run(&p, SEG_PACE_FIRST, 2.0, 1.0), SEG_PACE_FIRST);
    /* one trial in each SEG_PACE_ROUNDS */
    assert_int_equal(run(&p, 10 * SEG_PACE_ROUNDS, 2.0, 1.0), 10 * (SEG_PACE_ROUNDS - 1));
}

static void rounds_go_alone_where_helpers_cost_more_than_they_bring(void **state)
{
    (void)state;
    struct seg_pace p;
    seg_pace_init(&p);
    run(&p, SEG_PACE_FIRST + 1, 1.0, 1.3);
    assert_int_equal(run(&p, 10 * SEG_PACE_ROUNDS, 1.0, 1.3), 10);
}

static void a_machine_that_changes_is_noticed_within_two_trials(void **state)
{
    (void)state;
    struct seg_pace p;
    seg_pace_init(&p);
    run(&p, 5 * SEG_PACE_ROUNDS, 1.0, 1.3);
    run(&p, 2 * SEG_PACE_ROUNDS, 1.0, 0.6);
    assert_true(run(&p, SEG_PACE_ROUNDS, 1.0, 0.6) >= SEG_PACE_ROUNDS - 1);
    run(&p, 2 * SEG_PACE_ROUNDS, 1.0, 1.3);
    assert_true(run(&p, SEG_PACE_ROUNDS, 1.0, 1.3) <= 1);
}

static void one_slow_round_changes_nothing_for_long(void **state)
{
    (void)state;
    struct seg_pace p;
    seg_pace_init(&p);
    run(&p, 2 * SEG_PACE_ROUNDS, 2.0, 1.0);
    seg_pace_learn(&p, true, 50.0, 1.0); /* somebody else had the processor */
    run(&p, SEG_PACE_ROUNDS, 2.0, 1.0);
    assert_true(run(&p, SEG_PACE_ROUNDS, 2.0, 1.0) >= SEG_PACE_ROUNDS - 1);
}

static void equal_ways_do_not_alternate(void **state)
{
    (void)state;
    struct seg_pace p;
    seg_pace_init(&p);
    for (unsigned i = 0; i < 1000; i++) {
        bool together = seg_pace_next(&p);
        seg_pace_learn(&p, together, i % 2 == 0 ? 1.0 : 1.03, 1.0);
        assert_true(p.together);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_have_helpers_where_that_is_faster),
        cmocka_unit_test(rounds_go_alone_where_helpers_cost_more_than_they_bring),
        cmocka_unit_test(a_machine_that_changes_is_noticed_within_two_trials),
        cmocka_unit_test(one_slow_round_changes_nothing_for_long),
        cmocka_unit_test(equal_ways_do_not_alternate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
