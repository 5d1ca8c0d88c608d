/* test_split.c - the parts of a split have the sizes that were asked for, class by class. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "evaluate/split.h"
#include "features/preprocess.h"

#define N 1003

/* Three classes of 600, 400 and 3 rows, mixed. */
static void classes(uint16_t *y)
{
    for (size_t i = 0; i < N; i++)
        y[i] = i % 334 == 0 && i < 1002 ? 2 : (i * 7) % 5 < 3 ? 0 : 1;
}

static void every_class_is_cut_in_the_same_shares(void **state)
{
    (void)state;
    const double shares[][2] = {
        { 0.2, 0.2 }, { 0.0, 0.0 }, { 0.5, 0.3 }, { 0.1, 0.0 }, { 0.0, 0.25 }
    };
    uint16_t y[N];
    uint8_t part[N];
    classes(y);
    for (size_t s = 0; s < sizeof shares / sizeof *shares; s++) {
        double count[4][SEG_PARTS] = { 0 }; /* the last row sums up the classes */
        memset(part, 0xff, sizeof part);
        assert_int_equal(seg_split(N, y, 3, shares[s][0], shares[s][1], 42, part, NULL), SEG_OK);
        for (size_t i = 0; i < N; i++) {
            assert_true(part[i] < SEG_PARTS);
            count[y[i]][part[i]] += 1.0;
            count[3][part[i]] += 1.0;
        }
        for (size_t c = 0; c < 4; c++) {
            double n = count[c][0] + count[c][1] + count[c][2];
            double slack = c == 3 ? 3.0 : 1.0;
            assert_true(fabs(count[c][SEG_PART_TEST] - shares[s][0] * n) <= slack);
            assert_true(fabs(count[c][SEG_PART_VALIDATION] - shares[s][1] * n) <= slack);
            assert_true(count[c][SEG_PART_TRAIN] >= 1.0);
        }
    }
}

static void a_class_of_one_row_goes_to_training(void **state)
{
    (void)state;
    for (size_t n_classes = 1; n_classes <= 64; n_classes++) {
        uint16_t y[64];
        uint8_t part[64];
        for (size_t i = 0; i < n_classes; i++)
            y[i] = (uint16_t)i;
        assert_int_equal(seg_split(n_classes, y, (uint32_t)n_classes, 0.5, 0.4, 1, part, NULL),
                         SEG_OK);
        for (size_t i = 0; i < n_classes; i++)
            assert_int_equal(part[i], SEG_PART_TRAIN);
    }
}

static void without_classes_the_counts_are_exact(void **state)
{
    (void)state;
    uint8_t part[1000];
    size_t count[SEG_PARTS] = { 0 };
    assert_int_equal(seg_split(1000, NULL, 0, 0.2, 0.1, 7, part, NULL), SEG_OK);
    for (size_t i = 0; i < 1000; i++)
        count[part[i]]++;
    assert_int_equal(count[SEG_PART_TEST], 200);
    assert_int_equal(count[SEG_PART_VALIDATION], 100);
    assert_int_equal(seg_split(0, NULL, 0, 0.2, 0.1, 7, part, NULL), SEG_OK);
}

static void a_split_depends_on_its_seed_alone(void **state)
{
    (void)state;
    uint16_t y[N];
    uint8_t a[N], b[N];
    classes(y);
    assert_int_equal(seg_split(N, y, 3, 0.2, 0.2, 42, a, NULL), SEG_OK);
    assert_int_equal(seg_split(N, y, 3, 0.2, 0.2, 42, b, NULL), SEG_OK);
    assert_memory_equal(a, b, N);
    assert_int_equal(seg_split(N, y, 3, 0.2, 0.2, 43, b, NULL), SEG_OK);
    assert_memory_not_equal(a, b, N);
}

static void rows_fall_anywhere_in_the_table(void **state)
{
    (void)state;
    static uint8_t part[10000];
    double sum = 0.0, n = 0.0;
    assert_int_equal(seg_split(10000, NULL, 0, 0.2, 0.0, 3, part, NULL), SEG_OK);
    for (size_t i = 0; i < 10000; i++)
        if (part[i] == SEG_PART_TEST) {
            sum += (double)i;
            n += 1.0;
        }
    /* mean row of 2000 drawn from 10000: standard error 65 without replacement, 5 of them allowed
     */
    assert_true(fabs(sum / n - 4999.5) < 5.0 * 65.0);
}

static void shares_and_classes_out_of_range_are_refused(void **state)
{
    (void)state;
    const uint16_t y[] = { 0, 3 };
    const double shares[][2] = { { -0.1, 0.2 }, { 0.2, -0.1 }, { 0.5, 0.5 },
                                 { 1.0, 0.0 },  { NAN, 0.1 },  { 0.1, NAN } };
    uint8_t part[2] = { 9, 9 };
    struct seg_error err = { 0 };
    for (size_t s = 0; s < sizeof shares / sizeof *shares; s++)
        assert_int_equal(seg_split(2, NULL, 0, shares[s][0], shares[s][1], 1, part, NULL),
                         SEG_EINVAL);
    assert_int_equal(seg_split(2, y, 3, 0.2, 0.2, 1, part, &err), SEG_EINVAL);
    assert_string_equal(err.text, "class is 3 at row 1 (limit 2)");
    assert_int_equal(part[0], 9);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    uint8_t part[10];
    enum seg_status st = SEG_ENOMEM;
    uint64_t n = 0;
    while (st == SEG_ENOMEM) {
        seg_alloc_fail_at(++n);
        st = seg_split(10, NULL, 0, 0.2, 0.2, 1, part, NULL);
    }
    seg_alloc_fail_at(0);
    assert_int_equal(st, SEG_OK);
    assert_int_equal(n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class_is_cut_in_the_same_shares),
        cmocka_unit_test(a_class_of_one_row_goes_to_training),
        cmocka_unit_test(without_classes_the_counts_are_exact),
        cmocka_unit_test(a_split_depends_on_its_seed_alone),
        cmocka_unit_test(rows_fall_anywhere_in_the_table),
        cmocka_unit_test(shares_and_classes_out_of_range_are_refused),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
