/* calendar.h - moments as cells of a table, and as dates: UTC, proleptic Gregorian calendar, no
 * leap seconds.
 *
 * A timestamp has two cells. The first is the number that statistics, scaling and models see: days
 * since 2000-01-01 00:00 as a float32, whose steps in 2026 are 84 seconds, too coarse to tell the
 * hour. The second, the clock, is the second of the day, cut down to 1/128 s: with it the moment is
 * known again, exact to 1/128 s from year 1 to 9999. Pure functions. */
#ifndef SEG_FEATURES_CALENDAR_H
#define SEG_FEATURES_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>

#define SEG_DAY_SECONDS 86400
#define SEG_DAY_MICROS  INT64_C(86400000000)

struct seg_moment {
    int64_t day;   /* since 2000-01-01 */
    double second; /* of that day, 0 <= second < 86400 */
};

/* The cells of a moment in microseconds since 2000-01-01 00:00. */
void seg_moment_cells(int64_t micros, float *ret_days, float *ret_clock);
/* The moment of two cells. Without a clock (NaN, or none of a day) the days alone have to do. False
 * when there is no moment: days are not finite. Days are clipped to +-1e9. */
bool seg_moment_of_cells(float days, float clock, struct seg_moment *ret);
/* a - b in days. */
double seg_moment_difference(const struct seg_moment *a, const struct seg_moment *b);

struct seg_date {
    int64_t year;         /* astronomical: 0 is the year before 1 */
    unsigned month;       /* 1..12 */
    unsigned day;         /* of the month, 1.. */
    unsigned month_days;  /* 28..31 */
    unsigned day_of_year; /* 1.. */
    unsigned year_days;   /* 365 or 366 */
    unsigned weekday;     /* 0 Monday .. 6 Sunday */
};
/* The date of a day since 2000-01-01. */
struct seg_date seg_date_of_day(int64_t day);

/* Sine of a share of a turn, 0 <= turn < 1, within 1e-15; the same bits on every machine. The
 * cosine is the sine a quarter turn later. */
double seg_sine_of_turn(double turn);

#endif
