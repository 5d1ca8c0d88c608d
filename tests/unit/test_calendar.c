/* test_calendar.c - dates agree with the C library's over all years of four digits, and the cells
 * of a timestamp keep the moment that its float alone loses. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>
#include "base/rng.h"
#include "features/calendar.h"

#define FIRST_DAY (-730119) /* 0001-01-01 */
#define LAST_DAY  2921939   /* 9999-12-31 */
#define EPOCH_DAY 10957     /* days from 1970-01-01 to 2000-01-01 */

static void dates_agree_with_gmtime(void **state)
{
    (void)state;
    for (int64_t day = FIRST_DAY - 800000; day <= LAST_DAY; day++) {
        const time_t seconds = (time_t)((day + EPOCH_DAY) * SEG_DAY_SECONDS);
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        const struct seg_date d = seg_date_of_day(day);
        const bool leap = (d.year % 4 == 0 && d.year % 100 != 0) || d.year % 400 == 0;
        static const unsigned DAYS[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
        if (d.year != tm.tm_year + 1900 || d.month != (unsigned)tm.tm_mon + 1 ||
            d.day != (unsigned)tm.tm_mday || d.day_of_year != (unsigned)tm.tm_yday + 1 ||
            d.weekday != (unsigned)(tm.tm_wday + 6) % 7 || d.year_days != (leap ? 366u : 365u) ||
            d.month_days != DAYS[d.month - 1] + (leap && d.month == 2))
            fail_msg("day %lld", (long long)day);
    }
}

static void days_are_whole_at_midnight(void **state)
{
    (void)state;
    static const struct {
        int64_t micros;
        float days, clock;
    } CASES[] = {
        { 0, 0, 0 },
        { SEG_DAY_MICROS / 2, 0.5f, 43200 },
        { -9000 * SEG_DAY_MICROS, -9000, 0 },
        { -1, 0, 86399.9921875f }, /* the float is rounded up, the clock is cut down */
        { SEG_DAY_MICROS - 1, 1, 86399.9921875f },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        float days, clock;
        seg_moment_cells(CASES[i].micros, &days, &clock);
        assert_true(fabsf(days - CASES[i].days) <= 1e-6f && clock == CASES[i].clock);
    }
}

/* What the cells of a moment say, against the moment. */
static void check_moment(int64_t micros)
{
    float days, clock;
    struct seg_moment m;
    seg_moment_cells(micros, &days, &clock);
    assert_true(seg_moment_of_cells(days, clock, &m));
    int64_t day = micros / SEG_DAY_MICROS - (micros % SEG_DAY_MICROS < 0);
    const double second = (double)(micros - day * SEG_DAY_MICROS) / 1e6;
    assert_int_equal(m.day, day);
    assert_true(m.second <= second && second - m.second < 1.0 / 128 && m.second < SEG_DAY_SECONDS);
}

static void the_cells_keep_the_moment(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(1, 0);
    for (int64_t day = FIRST_DAY; day <= LAST_DAY; day += 997) {
        static const int64_t AT[] = {
            0, 1, 999999, 3600000000 - 1, 3600000000, 43200000000, SEG_DAY_MICROS - 1
        };
        for (size_t i = 0; i < sizeof AT / sizeof AT[0]; i++)
            check_moment(day * SEG_DAY_MICROS + AT[i]);
        check_moment(day * SEG_DAY_MICROS + (int64_t)seg_rng_below(&rng, SEG_DAY_MICROS));
    }
    check_moment(LAST_DAY * SEG_DAY_MICROS + SEG_DAY_MICROS - 1);
}

static void the_days_alone_lose_the_hour(void **state)
{
    (void)state;
    const int64_t eleven = 9497 * SEG_DAY_MICROS + 11 * INT64_C(3600000000); /* 2026-01-01T11:00 */
    float days, clock;
    struct seg_moment m;
    seg_moment_cells(eleven, &days, &clock);
    assert_true(seg_moment_of_cells(days, NAN, &m));
    assert_true(m.day == 9497 && floor(m.second / 3600) == 10); /* why there is a clock */
    assert_true(seg_moment_of_cells(days, clock, &m));
    assert_true(m.day == 9497 && m.second == 39600);
}

static void hostile_cells_give_a_moment_or_none(void **state)
{
    (void)state;
    static const float CELLS[] = { NAN,      INFINITY, -INFINITY, 0,         -0.0f, 1e-45f, 3.4e38f,
                                   -3.4e38f, 0.5f,     -0.5f,     86399.99f, 86400, 1e9f,   -1e9f };
    enum { N = sizeof CELLS / sizeof CELLS[0] };
    for (unsigned i = 0; i < N; i++)
        for (unsigned k = 0; k < N; k++) {
            struct seg_moment m;
            const bool known = seg_moment_of_cells(CELLS[i], CELLS[k], &m);
            assert_int_equal(known, isfinite(CELLS[i]));
            if (!known) continue;
            assert_true(m.second >= 0 && m.second < SEG_DAY_SECONDS);
            const struct seg_date d = seg_date_of_day(m.day);
            assert_true(d.month >= 1 && d.month <= 12 && d.day >= 1 && d.day <= d.month_days);
        }
}

static void differences_are_in_days(void **state)
{
    (void)state;
    const struct seg_moment a = { 10, 43200 }, b = { -3, 64800 };
    assert_true(seg_moment_difference(&a, &b) == 12.75);
    assert_true(seg_moment_difference(&b, &a) == -12.75);
}

static void sines_agree_with_the_library(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100000; i++) {
        const double turn = i / 100000.0;
        assert_true(fabs(seg_sine_of_turn(turn) - sin(2 * M_PI * turn)) <= 1e-15);
    }
    assert_true(seg_sine_of_turn(0) == 0 && seg_sine_of_turn(0.25) == 1);
    assert_true(seg_sine_of_turn(0.5) == 0 && seg_sine_of_turn(0.75) == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_agree_with_gmtime),
        cmocka_unit_test(days_are_whole_at_midnight),
        cmocka_unit_test(the_cells_keep_the_moment),
        cmocka_unit_test(the_days_alone_lose_the_hour),
        cmocka_unit_test(hostile_cells_give_a_moment_or_none),
        cmocka_unit_test(differences_are_in_days),
        cmocka_unit_test(sines_agree_with_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
