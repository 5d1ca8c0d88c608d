/* Numbers that take more than number.h: exponents, and digits that only strtof can round. */
#include "http/number.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/rows.h"

/* Digits that decide: the middle of two floats has at most 113 significant ones, so that behind
 * them it only counts whether anything is not zero. */
#define DECIDING_DIGITS 120

const double NUMBER_POWERS[POWER_MAX - POWER_MIN + 1] = {
    1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9,
    1e-8,  1e-7,  1e-6,  1e-5,  1e-4,  1e-3,  1e-2,  1e-1,  1e0,   1e1,   1e2,   1e3,   1e4,   1e5,
    1e6,   1e7,   1e8,   1e9,   1e10,  1e11,  1e12,  1e13,  1e14,  1e15,  1e16,  1e17,  1e18
};
const uint32_t NUMBER_TENS[9] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000 };

const float NUMBER_TENS_F[8] = { 1e0F, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F };

const char *number_exponent(const char *p, const char *end, int64_t *ret)
{
    int64_t e = 0;
    bool negative = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    const char *start = p;
    for (; p < end && is_digit(*p); p++)
        if (e < EXPONENT_MAX) e = e * 10 + (*p - '0');
    if (p == start) return NULL;
    *ret = negative ? -e : e;
    return p;
}

/* Leading zeros do not count; of the other digits those that decide are kept, so that time and
 * space are bounded whatever the length. */
float number_decide(const char *s, size_t len)
{
    char text[DECIDING_DIGITS + 32];
    const char *p = s, *end = s + len;
    size_t n = 0;
    int64_t exponent = 0, e = 0;
    uint64_t w = 0;
    bool fraction = false, more = false; /* behind the point; a digit that was cut is not zero */
    for (; p < end && (is_digit(*p) || *p == '.'); p++) {
        fraction = fraction || *p == '.';
        if (*p == '.') continue;
        exponent -= fraction;
        if (n == 0 && *p == '0') continue;
        if (n == DECIDING_DIGITS) {
            more = more || *p != '0';
            exponent++;
            continue;
        }
        text[n++] = *p;
        w = w * 10 + (uint64_t)(*p - '0');
    }
    if (p < end) number_exponent(p + 1, end, &e);
    exponent += e;
    float x;
    if (n == 0) return 0;
    if (n <= NUMBER_DIGITS_MAX && number_round(w, exponent, &x)) return x;
    if (more) {
        text[n++] = '1';
        exponent--;
    }
    int clipped = exponent > 1000 ? 1000 : exponent < -1000 ? -1000 : (int)exponent;
    snprintf(text + n, sizeof(text) - n, "e%d", clipped);
    return strtof(text, NULL);
}

size_t number_parse(const char *s, size_t len, float *ret)
{
    return number_read(s, len, ret);
}
