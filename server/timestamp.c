/* Days from civil: Howard Hinnant's algorithm, proleptic Gregorian. */
#include "timestamp.h"

#include <stdio.h>

#include "features/calendar.h"

static bool digits(const char **s, const char *end, unsigned n, int *ret)
{
    int v = 0;
    if ((size_t)(end - *s) < n) return false;
    for (unsigned i = 0; i < n; i++) {
        char c = (*s)[i];
        if (c < '0' || c > '9') return false;
        v = v * 10 + (c - '0');
    }
    *s += n;
    *ret = v;
    return true;
}

static bool one(const char **s, const char *end, char c)
{
    if (*s == end || **s != c) return false;
    ++*s;
    return true;
}

static int64_t days_from_civil(int y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 730425; /* days from 0000-03-01 to 2000-01-01 */
}

static bool read_time(const char **s, const char *end, int64_t *ret_micros)
{
    int hour, minute, second = 0, fraction = 0, scale = 100000, digit;
    if (!digits(s, end, 2, &hour) || !one(s, end, ':') || !digits(s, end, 2, &minute)) return false;
    bool has_second = one(s, end, ':');
    if (has_second && !digits(s, end, 2, &second)) return false;
    bool leap_second = second == 60 && minute == 59; /* counts as the next one */
    if (hour > 23 || minute > 59 || (second > 59 && !leap_second)) return false;
    if (has_second && one(s, end, '.')) {
        if (!digits(s, end, 1, &digit)) return false;
        fraction = digit * scale;
        for (int i = 1; i < 9 && digits(s, end, 1, &digit); i++)
            fraction += digit * (scale /= 10);
    }
    *ret_micros = ((hour * 60LL + minute) * 60 + second) * 1000000 + fraction;
    return true;
}

static bool read_offset(const char **s, const char *end, int64_t *ret_micros)
{
    int hour, minute;
    *ret_micros = 0;
    if (*s == end || one(s, end, 'Z') || one(s, end, 'z')) return true;
    bool minus = one(s, end, '-');
    if (!minus && !one(s, end, '+')) return false;
    if (!digits(s, end, 2, &hour) || (one(s, end, ':') && *s == end) || !digits(s, end, 2, &minute))
        return false;
    if (hour > 23 || minute > 59) return false;
    *ret_micros = (hour * 60LL + minute) * 60000000 * (minus ? -1 : 1);
    return true;
}

bool timestamp_parse(const char *s, size_t len, int64_t *ret_micros)
{
    static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    const char *end = s + len;
    int year, month, day;
    int64_t time = 0, offset = 0;
    if (!digits(&s, end, 4, &year) || !one(&s, end, '-') || !digits(&s, end, 2, &month) ||
        !one(&s, end, '-') || !digits(&s, end, 2, &day))
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1 || month < 1 || month > 12 || day < 1 ||
        day > month_days[month - 1] + (leap && month == 2))
        return false;
    if (s != end) {
        if (!one(&s, end, 'T') && !one(&s, end, 't') && !one(&s, end, ' ')) return false;
        if (!read_time(&s, end, &time) || !read_offset(&s, end, &offset) || s != end) return false;
    }
    *ret_micros = days_from_civil(year, month, day) * SEG_DAY_MICROS + time - offset;
    return true;
}

void timestamp_text(int64_t seconds, char ret_text[TIMESTAMP_TEXT_SIZE])
{
    const int64_t second = ((seconds % SEG_DAY_SECONDS) + SEG_DAY_SECONDS) % SEG_DAY_SECONDS;
    const struct seg_date d = seg_date_of_day((seconds - second) / SEG_DAY_SECONDS);
    snprintf(ret_text, TIMESTAMP_TEXT_SIZE, "%04d-%02u-%02uT%02d:%02d:%02dZ", (int)d.year, d.month,
             d.day, (int)(second / 3600), (int)(second / 60 % 60), (int)(second % 60));
}
