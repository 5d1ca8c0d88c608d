/* test_float_text.c - number_parse gives strtof's float for every number of the JSON grammar, and
 * takes nothing else. Texts stand in heap buffers of exact size, so that a sanitizer sees a read
 * past the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "http/rows.h"

#define PRINTED_CASES 200000   /* by snprintf, which is slow, with every check */
#define MADE_CASES    10000000 /* digit by digit */

static size_t parse_exact(const char *text, size_t len, float *ret)
{
    char *bytes = seg_alloc(len, 1);
    assert_non_null(bytes);
    memcpy(bytes, text, len);
    size_t used = number_parse(bytes, len, ret);
    seg_free(bytes);
    return used;
}

static void check(const char *text)
{
    float x = 0, expected = strtof(text, NULL);
    size_t used = parse_exact(text, strlen(text), &x);
    if (used != strlen(text) || memcmp(&x, &expected, sizeof(x)) != 0)
        fail_msg("%s: %zu bytes, %a, not %a", text, used, (double)x, (double)expected);
    /* followed by what follows a number in a body: more bytes must change nothing */
    char longer[2000];
    snprintf(longer, sizeof(longer), "%.1900s, 12345678901234567", text);
    if (strlen(text) > 1900) return;
    used = parse_exact(longer, strlen(longer), &x);
    if (used != strlen(text) || memcmp(&x, &expected, sizeof(x)) != 0)
        fail_msg("%s: %zu bytes, %a, not %a", longer, used, (double)x, (double)expected);
}

static float random_float(struct seg_rng *rng)
{
    float x;
    do {
        uint32_t bits = (uint32_t)seg_rng_u64(rng);
        memcpy(&x, &bits, sizeof(x));
    } while (!isfinite(x));
    return x;
}

static void number_parse_rounds_random_texts_as_strtof_does(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(20, 0);
    char text[400];
    for (int i = 0; i < PRINTED_CASES; i++) {
        uint64_t a = seg_rng_u64(&rng), b = seg_rng_u64(&rng);
        double x = (double)random_float(&rng);
        switch (i % 8) {
        case 0: snprintf(text, sizeof(text), "%.*g", (int)(a % 20) + 1, x); break;
        case 1: snprintf(text, sizeof(text), "%.*f", (int)(a % 30), (double)(b % 4096) / 7); break;
        case 2: snprintf(text, sizeof(text), "%llu", (unsigned long long)(a >> b % 64)); break;
        case 3:
            snprintf(text, sizeof(text), "-%llu.%llue%d", (unsigned long long)(a >> b % 64),
                     (unsigned long long)b, (int)(a % 140) - 90);
            break;
        case 4: snprintf(text, sizeof(text), "%.17g", (double)a / 18446744073709551616.0); break;
        case 5: snprintf(text, sizeof(text), "%.9e", x); break;
        case 6:
            snprintf(text, sizeof(text), "0.%0*llu", (int)(a % 40), (unsigned long long)b);
            break;
        default:
            snprintf(text, sizeof(text), "%llu%020llu%020llu.%020lluE%+d", (unsigned long long)a,
                     (unsigned long long)b, (unsigned long long)a, (unsigned long long)b,
                     (int)(a % 130) - 100);
        }
        if (text[0] == '.' || strchr(text, 'n') != NULL) continue;
        check(text);
    }
}

static char *put_digits(char *p, uint64_t w)
{
    char digits[20], *at = digits + sizeof(digits);
    do {
        *--at = (char)('0' + w % 10);
        w /= 10;
    } while (w > 0);
    memcpy(p, at, (size_t)(digits + sizeof(digits) - at));
    return p + (digits + sizeof(digits) - at);
}

static char *put_exponent(char *p, int e)
{
    *p++ = 'e';
    if (e < 0) *p++ = '-';
    return put_digits(p, (uint64_t)abs(e));
}

/* The digits at p with a point behind the first `whole` of them, if that is inside. */
static char *put_point(char *p, char *end, size_t whole)
{
    if (whole == 0 || p + whole >= end) return end;
    memmove(p + whole + 1, p + whole, (size_t)(end - p) - whole);
    p[whole] = '.';
    return end + 1;
}

/* The middle between two floats of a random size, or a subnormal one, as 15 to 19 digits times a
 * power of ten; the last digit one off in two of three: no texts of that length are harder. */
static char *put_middle(char *p, struct seg_rng *rng)
{
    uint64_t a = seg_rng_u64(rng);
    int exponent = a >> 60 == 0 ? -149 : (int)(a % 90) - 60; /* of the low float's last bit */
    long double middle = ldexpl((long double)(2 * (a >> 8 & 0xffffff) + 1), exponent - 1);
    int scale = (int)(15 + (a >> 32) % 5) - (int)ceill(log10l(middle));
    uint64_t w = (uint64_t)(middle * powl(10, scale)) + (a >> 40) % 3 - 1;
    char *end = put_digits(p, w);
    if (-scale >= 0 || (a >> 44) % 2 == 0) return put_exponent(end, -scale);
    size_t n = (size_t)(end - p);
    return n > (size_t)scale ? put_point(p, end, n - (size_t)scale) : put_exponent(end, -scale);
}

static char *put_random(char *p, struct seg_rng *rng)
{
    uint64_t a = seg_rng_u64(rng), w = seg_rng_u64(rng) >> a % 64 | 1;
    char *end = put_digits(p, w);
    switch (a >> 8 & 3) {
    case 0: end = put_digits(p, w % 1000000); break; /* what clients send */
    case 1: break;
    case 2: end = put_digits(end, seg_rng_u64(rng)); break; /* more than 19 digits */
    default: return put_exponent(put_point(p, end, (a >> 16) % 20), (int)(a >> 24 & 127) - 75);
    }
    return put_point(p, end, (a >> 16) % 20);
}

static void number_parse_rounds_ten_million_texts_as_strtof_does(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(22, 0);
    char text[96];
    for (int i = 0; i < MADE_CASES; i++) {
        char *p = text;
        if (i % 4 == 0) *p++ = '-';
        p = i % 2 == 0 ? put_middle(p, &rng) : put_random(p, &rng);
        *p = '\0';
        float x = 0, expected = strtof(text, NULL);
        memcpy(p, ",123456789012345", 17); /* what follows a number in a body */
        size_t used = number_parse(text, (size_t)(p - text) + 16, &x);
        if (used != (size_t)(p - text) || memcmp(&x, &expected, sizeof(x)) != 0)
            fail_msg("%s: %zu bytes, %a, not %a", text, used, (double)x, (double)expected);
    }
}

/* The exact middle of two floats, and its nearest decimal neighbours: what one digit too few, or a
 * double rounding, gets wrong. */
static void number_parse_rounds_halfway_points_to_even(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(21, 0);
    char text[400];
    for (int i = 0; i < 50000; i++) {
        float low = fabsf(random_float(&rng)), high = nextafterf(low, INFINITY);
        if (i % 2 == 0) low = ldexpf(low, -(ilogbf(low) - (int)(seg_rng_u64(&rng) % 40)));
        high = nextafterf(low, INFINITY);
        if (!isfinite(high)) continue;
        double middle = ((double)low + (double)high) / 2;
        for (int k = 0; k < 3; k++) {
            double x = k == 0 ? middle : nextafter(middle, k == 1 ? 0 : INFINITY);
            snprintf(text, sizeof(text), "%.17g", x);
            check(text);
            snprintf(text, sizeof(text), "%.19g", x);
            check(text);
            snprintf(text, sizeof(text), "%.200f", x);
            check(text);
            strcat(text, "1");
            check(text);
        }
    }
}

static void number_parse_knows_the_edges_of_float(void **state)
{
    (void)state;
    static const char *const texts[] = { "0",
                                         "-0",
                                         "0.0",
                                         "-0.0e5",
                                         "0e999",
                                         "0e-99999999999999999999",
                                         "1e999",
                                         "-1e999",
                                         "1e99999999999999999999",
                                         "1e-400",
                                         "-1e-400",
                                         "1e-99999999999999999999",
                                         "3.4028234663852886e38",
                                         "3.4028235e38",
                                         "3.40282356e38",
                                         "3.4028235677973366e38",
                                         "3.4028235677973367e38",
                                         "340282346638528859811704183484516925440",
                                         "340282356779733661637539395458142568447",
                                         "340282356779733661637539395458142568448",
                                         "1.1754943508222875e-38",
                                         "1.17549435e-38",
                                         "1.17549429e-38",
                                         "1.1754942e-38",
                                         "1.401298464324817e-45",
                                         "7.006492321624085e-46",
                                         "7.006492321624086e-46",
                                         "7.0064923216240853546186479164495807e-46",
                                         "9007199254740992",
                                         "9007199254740993",
                                         "18446744073709551615",
                                         "18446744073709551616",
                                         "99999999999999999999",
                                         "16777216",
                                         "16777217",
                                         "16777218",
                                         "16777219",
                                         "1e22",
                                         "1e23",
                                         "1e-22",
                                         "1e-23",
                                         "123456789012345678e22",
                                         "1E5",
                                         "1e+5",
                                         "1E-05",
                                         "1e00000000000000000001",
                                         "12345678",
                                         "123456789",
                                         "1234567.8",
                                         "0.00000000000000000000000000000000000001",
                                         "0.000012345678901234567" };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        check(texts[i]);
}

/* first '0' or more, then the digit, then zeros … */
static char *long_text(const char *head, char fill, size_t n, const char *tail)
{
    char *text = seg_alloc(strlen(head) + n + strlen(tail) + 1, 1);
    assert_non_null(text);
    strcpy(text, head);
    memset(text + strlen(head), fill, n);
    strcpy(text + strlen(head) + n, tail);
    return text;
}

static void number_parse_reads_numbers_of_any_length(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        char fill;
        const char *tail;
    } cases[] = { { "", '9', "" },          { "0.", '3', "" },         { "0.", '0', "1e400" },
                  { "1", '0', "e-400" },    { "1", '0', "e-399" },     { "16777217.", '0', "1" },
                  { "16777217.", '0', "" }, { "16777219.", '0', "0" }, { "-1.", '6', "e-30" },
                  { "1e", '0', "5" },       { "1e-", '0', "5" } };
    static const size_t sizes[] = { 10, 19, 20, 100, 399, 400, 511, 512, 2000, 100000 };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            char *text = long_text(cases[i].head, cases[i].fill, sizes[k], cases[i].tail);
            check(text);
            seg_free(text);
        }
    char *text = long_text("0.", '0', 2000000, "1e2000001"); /* = 1 */
    check(text);
    seg_free(text);
}

static void number_parse_needs_no_memory(void **state)
{
    (void)state;
    char *text = long_text("3.", '3', 100000, "e7");
    float x = 0;
    seg_alloc_fail_at(1);
    size_t used = number_parse(text, strlen(text), &x);
    seg_alloc_fail_at(0);
    assert_int_equal(used, strlen(text));
    assert_true(x == strtof("33333333.3333333333", NULL));
    seg_free(text);
}

static void number_parse_takes_the_json_grammar_alone(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t used;
    } cases[] = { { "", 0 },
                  { "-", 0 },
                  { "+1", 0 },
                  { ".5", 0 },
                  { "1.", 0 },
                  { "1.e5", 0 },
                  { "01", 0 },
                  { "-01", 0 },
                  { "00", 0 },
                  { "1e", 0 },
                  { "1e+", 0 },
                  { "1e-", 0 },
                  { "1ee5", 0 },
                  { "--1", 0 },
                  { "nan", 0 },
                  { "NaN", 0 },
                  { "inf", 0 },
                  { "-inf", 0 },
                  { "Infinity", 0 },
                  { "\xD9\xA1", 0 },
                  { " 1", 0 },
                  { "e5", 0 },
                  { "-.5", 0 },
                  { "- 1", 0 },
                  { "0x10", 1 },
                  { "1.5.5", 3 },
                  { "1-1", 1 },
                  { "1e5e5", 3 },
                  { "12a", 2 },
                  { "1,5", 1 },
                  { "1 ", 1 },
                  { "1f", 1 },
                  { "0.5d", 3 },
                  { "1/", 1 },
                  { "1:", 1 },
                  { "1234567:", 7 },
                  { "0.1234567/", 9 },
                  { "012345678", 0 },
                  { "00000000", 0 },
                  { "1.\xFF", 0 },
                  { "1\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 1 } };
    /* alone, and before as much as lets short numbers take their short way */
    for (size_t n_behind = 0; n_behind <= 20; n_behind++)
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            char text[64];
            float x = 77;
            int len = snprintf(text, sizeof(text), "%s%.*s", cases[i].text, (int)n_behind,
                               ",,,,,,,,,,,,,,,,,,,,");
            size_t used = parse_exact(text, (size_t)len, &x);
            if (used != cases[i].used) fail_msg("%s: %zu bytes", text, used);
            if (used == 0) assert_true(x == 77); /* untouched */
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(number_parse_rounds_random_texts_as_strtof_does),
        cmocka_unit_test(number_parse_rounds_ten_million_texts_as_strtof_does),
        cmocka_unit_test(number_parse_rounds_halfway_points_to_even),
        cmocka_unit_test(number_parse_knows_the_edges_of_float),
        cmocka_unit_test(number_parse_reads_numbers_of_any_length),
        cmocka_unit_test(number_parse_needs_no_memory),
        cmocka_unit_test(number_parse_takes_the_json_grammar_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
