/* test_processors.c - how the processors of a process are parted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "processors.h"

/* Not those from 0 on: a process may have been given any. */
static cpu_set_t some(unsigned n)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (unsigned i = 0; i < n; i++)
        CPU_SET(3 + 5 * i, &set);
    return set;
}

static void parts_have_none_in_common_and_are_all_together(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 12; n++) {
        for (unsigned n_parts = 1; n_parts <= n; n_parts++) {
            const cpu_set_t all = some(n);
            cpu_set_t seen, part, both;
            CPU_ZERO(&seen);
            for (unsigned i = 0; i < n_parts; i++) {
                processors_part(&all, i, n_parts, &part);
                assert_in_range(CPU_COUNT(&part), n / n_parts, (n + n_parts - 1) / n_parts);
                CPU_AND(&both, &seen, &part);
                assert_int_equal(CPU_COUNT(&both), 0);
                CPU_OR(&seen, &seen, &part);
            }
            assert_true(CPU_EQUAL(&seen, &all));
        }
    }
}

static void more_parts_than_processors_take_one_in_turn(void **state)
{
    (void)state;
    const cpu_set_t all = some(3);
    for (unsigned i = 0; i < 8; i++) {
        cpu_set_t part;
        processors_part(&all, i, 8, &part);
        assert_int_equal(CPU_COUNT(&part), 1);
        assert_true(CPU_ISSET(3 + 5 * (i % 3), &part));
    }
}

static void processors_count_is_at_least_one(void **state)
{
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_int_equal(processors_count(), CPU_COUNT(&set));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_none_in_common_and_are_all_together),
        cmocka_unit_test(more_parts_than_processors_take_one_in_turn),
        cmocka_unit_test(processors_count_is_at_least_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
