/* Numbers that take more than number.h, long ones first of all.
 * Up to 19 digits are a 64-bit integer w. (double)w, the double of a power of ten and their product
 * are each off by a factor of 1 + 2^-53 at most, together by less than ROUNDING_UNITS of the
 * double's last place. A float is 29 bits shorter: rounding the double once more is right unless it
 * lies that close to the middle of two floats. Those few, extreme powers and longer numbers go to
 * decide. Compare Clinger 1990. */
#include "http/number.h"

#include <stdio.h>
#include <stdlib.h>

#include "http/rows.h"

#define DIGITS_MAX     19 /* that 64 bits always hold */
#define POWER_MIN      (-22)
#define POWER_MAX      18 /* with 64 bits of digits no overflow, and no subnormal */
#define ROUNDING_UNITS 4
#define SHORTER_BITS   29                 /* of a double's mantissa against a float's */
#define EXPONENT_MAX   ((int64_t)1 << 40) /* more than any body can balance by its digits */
/* Digits that decide: the middle of two floats has at most 113 significant ones, so that behind
 * them it only counts whether anything is not zero. */
#define DECIDING_DIGITS 120

static const double POWERS[POWER_MAX - POWER_MIN + 1] = {
    1e-22, 1e-21, 1e-20, 1e-19, 1e-18, 1e-17, 1e-16, 1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9,
    1e-8,  1e-7,  1e-6,  1e-5,  1e-4,  1e-3,  1e-2,  1e-1,  1e0,   1e1,   1e2,   1e3,   1e4,   1e5,
    1e6,   1e7,   1e8,   1e9,   1e10,  1e11,  1e12,  1e13,  1e14,  1e15,  1e16,  1e17,  1e18
};
static const uint32_t TENS[9] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000 };

const float NUMBER_TENS_F[8] = { 1e0F, 1e1F, 1e2F, 1e3F, 1e4F, 1e5F, 1e6F, 1e7F };

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* Appends the digits at p to *w and returns their end. Eight bytes at a time: the digits that lead
 * them are moved to the high end, where zeros go before them. */
static inline __attribute__((always_inline)) const char *read_digits(const char *p, const char *end,
                                                                     uint64_t *w)
{
    while (end - p >= 8) {
        uint64_t v = load_digits(p);
        /* bit 7 of what is no digit; a carry spoils only bytes behind the first */
        uint64_t others = (v | (v + 0x7676767676767676)) & 0x8080808080808080;
        unsigned n = others == 0 ? 8 : (unsigned)__builtin_ctzll(others) / 8;
        if (n == 0) return p;
        *w = *w * TENS[n] + join_digits(v << (64 - 8 * n));
        p += n;
        if (n < 8) return p;
    }
    for (; p < end && is_digit(*p); p++)
        *w = *w * 10 + (uint64_t)(*p - '0');
    return p;
}

/* The exponent after an e, at p; its end, or NULL when it has no digits. */
static const char *read_exponent(const char *p, const char *end, int64_t *ret)
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

/* w * 10^exponent, mostly. False: decide must. */
static bool round_directly(uint64_t w, int64_t exponent, float *ret)
{
    if (exponent < POWER_MIN || exponent > POWER_MAX) return false;
    double x = (double)w * POWERS[exponent - POWER_MIN];
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    uint64_t rest = bits & ((UINT64_C(1) << SHORTER_BITS) - 1);
    uint64_t middle = UINT64_C(1) << (SHORTER_BITS - 1);
    if (rest - (middle - ROUNDING_UNITS) <= 2 * ROUNDING_UNITS) return false;
    *ret = (float)x;
    return true;
}

/* The float of a number without its minus, which has too many digits or lies too close to a middle
 * to be rounded directly. Leading zeros do not count; of the other digits those that decide are
 * kept, so that time and space are bounded whatever the length. */
__attribute__((cold)) static float decide(const char *s, size_t len)
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
    if (p < end) read_exponent(p + 1, end, &e);
    exponent += e;
    float x;
    if (n == 0) return 0;
    if (n <= DIGITS_MAX && round_directly(w, exponent, &x)) return x;
    if (more) {
        text[n++] = '1';
        exponent--;
    }
    int clipped = exponent > 1000 ? 1000 : exponent < -1000 ? -1000 : (int)exponent;
    snprintf(text + n, sizeof(text) - n, "e%d", clipped);
    return strtof(text, NULL);
}

size_t number_read_any(const char *s, size_t len, float *ret)
{
    const char *p = s, *end = s + len;
    uint64_t w = 0;
    int64_t exponent = 0;
    float x;
    bool minus = p < end && *p == '-';
    p += minus;
    const char *digits = p;
    p = read_digits(p, end, &w);
    size_t n_digits = (size_t)(p - digits);
    if (n_digits == 0 || (n_digits > 1 && *digits == '0')) return 0;
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        p = read_digits(p, end, &w);
        if (p == fraction) return 0;
        exponent = fraction - p;
        n_digits += (size_t)(p - fraction);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        int64_t e;
        p = read_exponent(p + 1, end, &e);
        if (p == NULL) return 0;
        exponent += e;
    }
    if (n_digits > DIGITS_MAX || !round_directly(w, exponent, &x))
        x = decide(digits, (size_t)(p - digits));
    *ret = with_sign(x, minus);
    return (size_t)(p - s);
}

size_t number_parse(const char *s, size_t len, float *ret)
{
    return number_read(s, len, ret);
}
