/* Decimal text to the nearest float32.
 * Up to 19 digits are a 64-bit integer w. (double)w and one multiplication or division by a power
 * of ten that is exact in a double (up to 10^22, Clinger 1990) are each off by half a unit of the
 * double at most, together by less than ROUNDING_UNITS. A float is 29 bits shorter: rounding the
 * double once more is right unless the double lies that close to the middle of two floats. Those
 * few, subnormals, and longer numbers go to strtof. */
#include <endian.h>
#include <float.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/rows.h"

#define DIGITS_MAX     19 /* that 64 bits always hold */
#define EXACT_POWER    22
#define ROUNDING_UNITS 3
#define SHORTER_BITS   29 /* of a double's mantissa against a float's */
/* Digits that decide: the middle of two floats has at most 113 significant ones, so that behind
 * them it only counts whether anything is not zero. */
#define DECIDING_DIGITS 120
#define EXPONENT_MAX    ((int64_t)1 << 40) /* more than any body can balance by its digits */

static const double POWERS[EXACT_POWER + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
static const uint64_t TENS[9] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000 };

/* A number's text, taken apart. */
struct decimal {
    const char *digits, *end; /* of the digits, with the point among them */
    uint64_t w;               /* the digits as an integer, modulo 2^64 */
    size_t n_digits;
    int64_t exponent; /* the number is w * 10^exponent */
    bool minus;
};

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* Appends the digits at p to *w and returns their end. Eight bytes at a time: the digits that lead
 * them are moved to the high end, where zeros go before them, and added up pairwise. */
static inline const char *read_digits(const char *p, const char *end, uint64_t *w)
{
    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, sizeof(v));
        v = le64toh(v) ^ 0x3030303030303030; /* a digit is now its value */
        uint64_t others = (v | (v + 0x7676767676767676)) & 0x8080808080808080;
        unsigned n = others == 0 ? 8 : (unsigned)__builtin_ctzll(others) / 8;
        if (n == 0) return p;
        v <<= 64 - 8 * n;
        v = (v * 10 + (v >> 8)) & 0x00FF00FF00FF00FF;
        v = (v * 100 + (v >> 16)) & 0x0000FFFF0000FFFF;
        v = (v * 10000 + (v >> 32)) & 0x00000000FFFFFFFF;
        *w = *w * TENS[n] + v;
        p += n;
        if (n < 8) return p;
    }
    for (; p < end && is_digit(*p); p++)
        *w = *w * 10 + (uint64_t)(*p - '0');
    return p;
}

/* The digits that decide, for strtof: bounded in time and space, whatever the length. */
static float decide(const struct decimal *d)
{
    char text[DECIDING_DIGITS + 32];
    size_t n = 0, n_zeros = 0;
    bool more = false; /* something behind them is not zero */
    for (const char *p = d->digits; p < d->end && !more; p++) {
        if (*p == '.') continue;
        if (n == 0 && *p == '0')
            n_zeros++;
        else if (n < DECIDING_DIGITS)
            text[n++] = *p;
        else
            more = *p != '0';
    }
    if (n == 0) return 0;
    int64_t exponent = d->exponent + (int64_t)(d->n_digits - n_zeros - n);
    if (more) {
        text[n++] = '1';
        exponent--;
    }
    int clipped = exponent > 1000 ? 1000 : exponent < -1000 ? -1000 : (int)exponent;
    snprintf(text + n, sizeof(text) - n, "e%d", clipped);
    return strtof(text, NULL);
}

/* The usual numbers. False: decide must. */
static inline bool round_directly(const struct decimal *d, float *ret)
{
    if (d->exponent < -EXACT_POWER || d->exponent > EXACT_POWER) return false;
    double x = (double)d->w;
    x = d->exponent < 0 ? x / POWERS[-d->exponent] : x * POWERS[d->exponent];
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    uint64_t rest = bits & ((UINT64_C(1) << SHORTER_BITS) - 1);
    uint64_t middle = UINT64_C(1) << (SHORTER_BITS - 1);
    if (rest - (middle - ROUNDING_UNITS) <= 2 * ROUNDING_UNITS) return false;
    if (x > (double)FLT_MAX || (x < 2 * (double)FLT_MIN && d->w != 0)) return false;
    *ret = (float)x;
    return true;
}

/* Up to DIGITS_MAX without the zeros that lead. */
static bool fits(const struct decimal *d)
{
    size_t n = d->n_digits;
    for (const char *p = d->digits; n > DIGITS_MAX && p < d->end && (*p == '0' || *p == '.'); p++)
        n -= *p == '0';
    return n <= DIGITS_MAX;
}

size_t number_parse(const char *s, size_t len, float *ret)
{
    struct decimal d = { 0 };
    const char *p = s, *end = s + len;
    d.minus = p < end && *p == '-';
    d.digits = p += d.minus;
    p = read_digits(p, end, &d.w);
    d.n_digits = (size_t)(p - d.digits);
    if (d.n_digits == 0 || (d.n_digits > 1 && *d.digits == '0')) return 0;
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = read_digits(p, end, &d.w);
        if (p == fraction) return 0;
        d.exponent = fraction - p;
        d.n_digits += (size_t)(p - fraction);
    }
    d.end = p;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int64_t e = 0;
        p++;
        bool negative = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        const char *start = p;
        for (; p < end && is_digit(*p); p++)
            if (e < EXPONENT_MAX) e = e * 10 + (*p - '0');
        if (p == start) return 0;
        d.exponent += negative ? -e : e;
    }
    float x;
    if ((d.n_digits > DIGITS_MAX && !fits(&d)) || !round_directly(&d, &x)) x = decide(&d);
    *ret = d.minus ? -x : x;
    return (size_t)(p - s);
}
