/* test_algorithms.c - the table of algorithms knows its names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "model/spec.h"

static void the_table_of_algorithms_knows_its_names(void **state)
{
    (void)state;
    for (int i = 0; i < SEG_N_ALGORITHMS; i++) {
        const struct seg_algorithm_info *info = seg_algorithm_info((enum seg_algorithm)i);
        assert_int_equal(seg_algorithm_from_name(info->name), i);
        assert_true(info->clusters == (info->task == SEG_SEGMENTATION));
    }
    assert_int_equal(seg_algorithm_from_name("k-means"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_algorithms_knows_its_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
