/* number.h - number_parse (http/rows.h) for inlining where numbers are most of the work.
 * Up to 19 digits are a 64-bit integer w. (double)w, the double of a power of ten and their product
 * are each off by a factor of 1 + 2^-53 at most, together by less than ROUNDING_UNITS of the
 * double's last place. A float is 29 bits shorter: rounding the double once more is right unless it
 * lies that close to the middle of two floats. Those few, extreme powers and longer numbers go to
 * number_decide. Compare Clinger 1990. */
#ifndef SERVER_HTTP_NUMBER_H
#define SERVER_HTTP_NUMBER_H

#include <endian.h>
#include <float.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NUMBER_DIGITS_MAX 19 /* that 64 bits always hold */
#define POWER_MIN         (-22)
#define POWER_MAX         18 /* with 64 bits of digits no overflow, and no subnormal */
#define ROUNDING_UNITS    4
#define SHORTER_BITS      29                 /* of a double's mantissa against a float's */
#define EXPONENT_MAX      ((int64_t)1 << 40) /* more than any body can balance by its digits */

extern const double NUMBER_POWERS[POWER_MAX - POWER_MIN + 1]; /* of ten, from POWER_MIN */
extern const uint32_t NUMBER_TENS[9];
extern const float NUMBER_TENS_F[8];

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* Eight bytes at p as values of digits; the first in the low byte. */
static inline uint64_t load_digits(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v) ^ 0x3030303030303030;
}

/* The number that eight digits are, added up pairwise. */
static inline uint64_t join_digits(uint64_t v)
{
    v = (v * 10 + (v >> 8)) & 0x00FF00FF00FF00FF;
    v = (v * 100 + (v >> 16)) & 0x0000FFFF0000FFFF;
    return (v * 10000 + (v >> 32)) & 0x00000000FFFFFFFF;
}

/* Appends the digits at p to *w and returns their end. Eight bytes at a time: the digits that lead
 * them are moved to the high end, where zeros go before them. */
static inline const char *read_digits(const char *p, const char *end, uint64_t *w)
{
    while (end - p >= 8) {
        uint64_t v = load_digits(p);
        /* bit 7 of what is no digit; a carry spoils only bytes behind the first */
        uint64_t others = (v | (v + 0x7676767676767676)) & 0x8080808080808080;
        unsigned n = others == 0 ? 8 : (unsigned)__builtin_ctzll(others) / 8;
        if (n == 0) return p;
        *w = *w * NUMBER_TENS[n] + join_digits(v << (64 - 8 * n));
        p += n;
        if (n < 8) return p;
    }
    for (; p < end && is_digit(*p); p++)
        *w = *w * 10 + (uint64_t)(*p - '0');
    return p;
}

/* x or -x, without a branch that half of the numbers would mispredict. */
static inline float with_sign(float x, bool minus)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    bits ^= (uint32_t)minus << 31;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* Byte `bits` / 8 of what load_digits loaded is c. */
static inline bool loaded_is(uint64_t v, unsigned bits, char c)
{
    return (v >> bits & 0xFF) == (unsigned char)(c ^ 0x30);
}

/* A number that ends, but for its minus with the byte behind it, in eight bytes: what is loaded at
 * once tells the point and the end, so that the next number need not wait for more than one load.
 * Its digits, at most seven, and the power of ten are exact in a float: one division rounds
 * correctly. Bytes used; 0: not so short, or not a number. */
static inline size_t read_short(const char *p, const char *end, float *ret)
{
    if (end - p < 9) return 0;
    uint64_t v = load_digits(p), behind = load_digits(p + 1);
    const bool minus = loaded_is(v, 0, '-');
    v ^= (v ^ behind) & -(uint64_t)minus;
    uint64_t others = (v | ((v & 0x7F7F7F7F7F7F7F7F) + 0x7676767676767676)) & 0x8080808080808080;
    if (others == 0) return 0;
    unsigned whole_bits = (unsigned)__builtin_ctzll(others) - 7, used_bits = whole_bits;
    if (whole_bits == 0 || (whole_bits > 8 && loaded_is(v, 0, '0'))) return 0;
    unsigned n_fraction = 0;
    if (loaded_is(v, whole_bits, '.')) {
        others &= others - 1;
        if (others == 0) return 0;
        used_bits = (unsigned)__builtin_ctzll(others) - 7;
        n_fraction = (used_bits - whole_bits) / 8 - 1;
        if (n_fraction == 0) return 0;
    }
    if (loaded_is(v, used_bits, 'e') || loaded_is(v, used_bits, 'E')) return 0;
    if (n_fraction > 0) {
        uint64_t whole = (UINT64_C(1) << whole_bits) - 1;
        v = ((v & whole) | (v >> 8 & ~whole)) << 8; /* without the point */
    }
    float x = (float)(int32_t)join_digits(v << (64 - used_bits)) / NUMBER_TENS_F[n_fraction];
    *ret = with_sign(x, minus);
    return used_bits / 8 + minus;
}

/* The exponent after an e, at p; its end, or NULL when it has no digits. */
const char *number_exponent(const char *p, const char *end, int64_t *ret);
/* The float of a number without its minus, which has too many digits or lies too close to a middle
 * to be rounded directly. */
__attribute__((cold)) float number_decide(const char *s, size_t len);

/* w * 10^exponent, mostly. False: number_decide must. */
static inline bool number_round(uint64_t w, int64_t exponent, float *ret)
{
    if (exponent < POWER_MIN || exponent > POWER_MAX) return false;
    double x = (double)w * NUMBER_POWERS[exponent - POWER_MIN];
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    uint64_t rest = bits & ((UINT64_C(1) << SHORTER_BITS) - 1);
    uint64_t middle = UINT64_C(1) << (SHORTER_BITS - 1);
    if (rest - (middle - ROUNDING_UNITS) <= 2 * ROUNDING_UNITS) return false;
    *ret = (float)x;
    return true;
}

/* As number_parse. */
static inline size_t number_read(const char *s, size_t len, float *ret)
{
    const char *p = s, *end = s + len;
    uint64_t w = 0;
    int64_t exponent = 0;
    float x;
    size_t used = read_short(p, end, ret);
    if (used > 0) return used;
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
        p = number_exponent(p + 1, end, &e);
        if (p == NULL) return 0;
        exponent += e;
    }
    if (n_digits > NUMBER_DIGITS_MAX || !number_round(w, exponent, &x))
        x = number_decide(digits, (size_t)(p - digits));
    *ret = with_sign(x, minus);
    return (size_t)(p - s);
}

#endif
