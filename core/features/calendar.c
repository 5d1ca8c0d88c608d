/* calendar.c - days to dates by Howard Hinnant's algorithm: years begin in March, so that the day
 * that comes and goes is the last one. */
#include "features/calendar.h"

#include <math.h>

#define DAYS_MAX      1e9
#define CLOCK_STEPS   128    /* a second: 86,400 of them times 128 are below 2^24 */
#define CENTURIES_4   146097 /* days in 400 years */
#define MARCH_TO_2000 730425 /* days from 0000-03-01 to 2000-01-01 */
#define DAY_2000      5      /* 2000-01-01 was a Saturday */
#define TWO_PI        0x1.921fb54442d18p+2

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

void seg_moment_cells(int64_t micros, float *ret_days, float *ret_clock)
{
    const int64_t rest = micros - floor_div(micros, SEG_DAY_MICROS) * SEG_DAY_MICROS;
    *ret_days = (float)((double)micros / (double)SEG_DAY_MICROS);
    *ret_clock = (float)(rest * CLOCK_STEPS / 1000000) / CLOCK_STEPS;
}

bool seg_moment_of_cells(float days, float clock, struct seg_moment *ret)
{
    double d = (double)days;
    if (!isfinite(d)) return false;
    d = fmin(fmax(d, -DAYS_MAX), DAYS_MAX);
    if (clock >= 0 && clock < SEG_DAY_SECONDS) {
        const double second = (double)clock;
        /* The float was rounded by at most 1/8 day up to year 9999: the midnight is certain. */
        *ret = (struct seg_moment){ (int64_t)floor(d - second / SEG_DAY_SECONDS + 0.5), second };
    } else {
        const double midnight = floor(d);
        *ret = (struct seg_moment){ (int64_t)midnight, (d - midnight) * SEG_DAY_SECONDS };
    }
    return true;
}

double seg_moment_difference(const struct seg_moment *a, const struct seg_moment *b)
{
    return (double)(a->day - b->day) + (a->second - b->second) / SEG_DAY_SECONDS;
}

struct seg_date seg_date_of_day(int64_t day)
{
    static const unsigned MONTH_DAYS[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    static const unsigned DAYS_BEFORE[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    const int64_t since_march = day + MARCH_TO_2000;
    const int64_t era = floor_div(since_march, CENTURIES_4);
    const int64_t of_era = since_march - era * CENTURIES_4; /* 0..146096 */
    const int64_t year_of_era =
        (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365; /* 0..399 */
    const int64_t of_year =
        of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100); /* from 1 March */
    const int64_t month_index = (5 * of_year + 2) / 153;                    /* 0 is March */

    struct seg_date date = { .month =
                                 (unsigned)(month_index < 10 ? month_index + 3 : month_index - 9) };
    date.year = year_of_era + era * 400 + (date.month <= 2);
    date.day = (unsigned)(of_year - (153 * month_index + 2) / 5 + 1);
    const bool leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;
    date.month_days = MONTH_DAYS[date.month - 1] + (leap && date.month == 2);
    date.day_of_year = DAYS_BEFORE[date.month - 1] + (leap && date.month > 2) + date.day;
    date.year_days = leap ? 366 : 365;
    date.weekday = (unsigned)(day + DAY_2000 - floor_div(day + DAY_2000, 7) * 7);
    return date;
}

double seg_sine_of_turn(double turn)
{
    const int quarter = (int)(turn * 4 + 0.5);                   /* the nearest one */
    const double r = (turn - quarter / 4.0) * TWO_PI, z = r * r; /* |r| <= pi / 4 */
    double sine = -1.0 / 1307674368000;                          /* 1 / 15! and so on */
    sine = sine * z + 1.0 / 6227020800;
    sine = sine * z - 1.0 / 39916800;
    sine = sine * z + 1.0 / 362880;
    sine = sine * z - 1.0 / 5040;
    sine = sine * z + 1.0 / 120;
    sine = sine * z - 1.0 / 6;
    sine = r + r * z * sine;
    double cosine = 1.0 / 20922789888000; /* 1 / 16! and so on */
    cosine = cosine * z - 1.0 / 87178291200;
    cosine = cosine * z + 1.0 / 479001600;
    cosine = cosine * z - 1.0 / 3628800;
    cosine = cosine * z + 1.0 / 40320;
    cosine = cosine * z - 1.0 / 720;
    cosine = cosine * z + 1.0 / 24;
    cosine = cosine * z - 1.0 / 2;
    cosine = 1 + z * cosine;
    const double value = quarter % 2 == 0 ? sine : cosine;
    return quarter % 4 < 2 ? value : 0 - value;
}
