/* test_timestamp.c - RFC 3339 and what people write instead; days are counted by hand in the twin.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "timestamp.h"

#define SECOND  INT64_C(1000000)
#define DAY     (86400 * SECOND)
#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

static bool parse(const char *text, size_t len, int64_t *ret)
{
    char *bytes = seg_alloc(len, 1); /* of exact size: a sanitizer sees a read past the end */
    assert_non_null(bytes);
    memcpy(bytes, text, len);
    bool good = timestamp_parse(bytes, len, ret);
    seg_free(bytes);
    return good;
}

static void timestamp_parse_reads_the_forms_it_promises(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t micros;
    } cases[] = { { "2000-01-01", 0 },
                  { "2000-01-02", DAY },
                  { "1999-12-31", -DAY },
                  { "2000-01-01T00:00:00Z", 0 },
                  { "2000-01-01t00:00:00z", 0 },
                  { "2000-01-01 00:00:01", SECOND },
                  { "2000-01-01T00:01", 60 * SECOND },
                  { "2000-01-01T00:01Z", 60 * SECOND },
                  { "2000-01-01T00:00:00.5Z", SECOND / 2 },
                  { "2000-01-01T00:00:00.000001Z", 1 },
                  { "2000-01-01T00:00:00.123456789Z", 123456 },
                  { "2000-01-01T01:00:00+01:00", 0 },
                  { "2000-01-01T00:00:00-05:30", (5 * 3600 + 1800) * SECOND },
                  { "2000-01-01T00:00:00+0100", -3600 * SECOND },
                  { "2000-01-01T00:00:00-00:00", 0 },
                  { "1999-12-31T23:59:59.5Z", -SECOND / 2 },
                  { "2016-12-31T23:59:60Z", 6210 * DAY }, /* a leap second is the next one */
                  { "1970-01-01T00:00:00Z", -946684800 * SECOND },
                  { "2038-01-19T03:14:08Z", (INT64_C(2147483648) - 946684800) * SECOND },
                  { "0001-01-01", -730119 * DAY },
                  { "9999-12-31T23:59:59.999999Z", 2921940 * DAY - 1 } };
    for (size_t i = 0; i < N_OF(cases); i++) {
        int64_t micros = 7;
        if (!parse(cases[i].text, strlen(cases[i].text), &micros) || micros != cases[i].micros)
            fail_msg("%s: %lld, not %lld", cases[i].text, (long long)micros,
                     (long long)cases[i].micros);
    }
}

static void timestamp_parse_refuses_the_rest_and_leaves_the_result(void **state)
{
    (void)state;
    static const char *const texts[] = { "",
                                         "2",
                                         "2000",
                                         "2000-01",
                                         "2000-1-1",
                                         "2000-01-1",
                                         "00-01-01",
                                         "2000-00-01",
                                         "2000-13-01",
                                         "2000-01-00",
                                         "2000-01-32",
                                         "2001-02-29",
                                         "1900-02-29",
                                         "2000-02-30",
                                         "2000-04-31",
                                         "0000-01-01",
                                         "-2000-01-01",
                                         "+2000-01-01",
                                         "2000/01/01",
                                         "20000101",
                                         "01.01.2000",
                                         "2000-01-01T",
                                         "2000-01-01Z",
                                         "2000-01-01T24:00:00Z",
                                         "2000-01-01T00:60:00Z",
                                         "2000-01-01T00:00:61Z",
                                         "2000-01-01T00:00:99Z",
                                         "2000-01-01T00",
                                         "2000-01-01T00:",
                                         "2000-01-01T00:00:",
                                         "2000-01-01T00:00:0",
                                         "2000-01-01T00:00:00.",
                                         "2000-01-01T00:00:00.Z",
                                         "2000-01-01T00:00:00.1234567890Z",
                                         "2000-01-01T00:00.5Z",
                                         "2000-01-01T0:00:00Z",
                                         "2000-01-01T00:00:00+1",
                                         "2000-01-01T00:00:00+01",
                                         "2000-01-01T00:00:00+01:",
                                         "2000-01-01T00:00:00+24:00",
                                         "2000-01-01T00:00:00+01:60",
                                         "2000-01-01T00:00:00ZZ",
                                         "2000-01-01T00:00:00 Z",
                                         " 2000-01-01",
                                         "2000-01-01 ",
                                         "2000-01-01x00:00:00",
                                         "2000-01-01T00:00:00,5Z",
                                         "2000-01-01T00:00:00 +01:00",
                                         "now",
                                         "infinity",
                                         "946684800",
                                         "2000-01-01T\xD9\xA0\xD9\xA0:00" };
    for (size_t i = 0; i < N_OF(texts); i++) {
        int64_t micros = 7;
        if (parse(texts[i], strlen(texts[i]), &micros)) fail_msg("accepted: %s", texts[i]);
        assert_int_equal(micros, 7);
    }
}

static void timestamp_parse_counts_every_day_of_its_years(void **state)
{
    (void)state;
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t day = -730119, micros;
    char text[40];
    for (int year = 1; year <= 9999; year++)
        for (int month = 1; month <= 12; month++) {
            bool leap = year % 400 == 0 || (year % 4 == 0 && year % 100 != 0);
            int length = lengths[month - 1] + (month == 2 && leap);
            for (int d = 1; d <= 31; d++) {
                if (d > 1 && d < 28) {
                    day++;
                    continue;
                }
                snprintf(text, sizeof(text), "%04d-%02d-%02d", year, month, d);
                bool good = timestamp_parse(text, 10, &micros);
                if (good != (d <= length) || (good && micros != day * DAY)) fail_msg("%s", text);
                day += d <= length;
            }
        }
}

static void every_truncation_and_changed_byte_is_safe(void **state)
{
    (void)state;
    static const char text[] = "2026-11-23T10:00:00.123456+01:30";
    char changed[sizeof(text)];
    int64_t micros;
    for (size_t len = 0; len < sizeof(text); len++)
        parse(text, len, &micros);
    memcpy(changed, text, sizeof(text));
    for (size_t i = 0; i + 1 < sizeof(text); i++) {
        for (int byte = 0; byte < 256; byte++) {
            changed[i] = (char)byte;
            if (!parse(changed, sizeof(text) - 1, &micros)) continue;
            assert_true(micros >= -730121 * DAY && micros <= 2921942 * DAY);
        }
        changed[i] = text[i];
    }
}

static void text_of_seconds_reads_back(void **state)
{
    (void)state;
    static const char *const TEXTS[] = { "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z",
                                         "2000-02-29T12:34:56Z", "9999-12-31T23:59:59Z" };
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        char text[TIMESTAMP_TEXT_SIZE];
        int64_t micros;
        assert_true(timestamp_parse(TEXTS[i], strlen(TEXTS[i]), &micros));
        timestamp_text(micros / 1000000, text);
        assert_string_equal(text, TEXTS[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timestamp_parse_reads_the_forms_it_promises),
        cmocka_unit_test(timestamp_parse_refuses_the_rest_and_leaves_the_result),
        cmocka_unit_test(timestamp_parse_counts_every_day_of_its_years),
        cmocka_unit_test(text_of_seconds_reads_back),
        cmocka_unit_test(every_truncation_and_changed_byte_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
