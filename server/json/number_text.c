/* number_text.c - the shortest decimal that reads back as the same number. Floats, of which replies
 * are full, by Schubfach (Raffaello Giulietti, The Schubfach way to render doubles, 2020) with one
 * table of 77 powers; doubles, which are rare, by trying printf's precisions. */
#include "json/json_out.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLOAT_DIGITS 9 /* at most, of the shortest text of a float */

/* digits * 10^exponent */
struct decimal {
    uint32_t digits;
    int exponent;
};

/* 10^k as a binary fraction of 64 bits, rounded down, plus 1: g of the paper for 32-bit floats. */
#define POW10_MIN (-31)
static const uint64_t POW10[] = {
    0x81ceb32c4b43fcf5u, 0xa2425ff75e14fc32u, 0xcad2f7f5359a3b3fu, 0xfd87b5f28300ca0eu,
    0x9e74d1b791e07e49u, 0xc612062576589ddbu, 0xf79687aed3eec552u, 0x9abe14cd44753b53u,
    0xc16d9a0095928a28u, 0xf1c90080baf72cb2u, 0x971da05074da7befu, 0xbce5086492111aebu,
    0xec1e4a7db69561a6u, 0x9392ee8e921d5d08u, 0xb877aa3236a4b44au, 0xe69594bec44de15cu,
    0x901d7cf73ab0acdau, 0xb424dc35095cd810u, 0xe12e13424bb40e14u, 0x8cbccc096f5088ccu,
    0xafebff0bcb24aaffu, 0xdbe6fecebdedd5bfu, 0x89705f4136b4a598u, 0xabcc77118461cefdu,
    0xd6bf94d5e57a42bdu, 0x8637bd05af6c69b6u, 0xa7c5ac471b478424u, 0xd1b71758e219652cu,
    0x83126e978d4fdf3cu, 0xa3d70a3d70a3d70bu, 0xcccccccccccccccdu, 0x8000000000000001u,
    0xa000000000000001u, 0xc800000000000001u, 0xfa00000000000001u, 0x9c40000000000001u,
    0xc350000000000001u, 0xf424000000000001u, 0x9896800000000001u, 0xbebc200000000001u,
    0xee6b280000000001u, 0x9502f90000000001u, 0xba43b74000000001u, 0xe8d4a51000000001u,
    0x9184e72a00000001u, 0xb5e620f480000001u, 0xe35fa931a0000001u, 0x8e1bc9bf04000001u,
    0xb1a2bc2ec5000001u, 0xde0b6b3a76400001u, 0x8ac7230489e80001u, 0xad78ebc5ac620001u,
    0xd8d726b7177a8001u, 0x878678326eac9001u, 0xa968163f0a57b401u, 0xd3c21bcecceda101u,
    0x84595161401484a1u, 0xa56fa5b99019a5c9u, 0xcecb8f27f4200f3bu, 0x813f3978f8940985u,
    0xa18f07d736b90be6u, 0xc9f2c9cd04674edfu, 0xfc6f7c4045812297u, 0x9dc5ada82b70b59eu,
    0xc5371912364ce306u, 0xf684df56c3e01bc7u, 0x9a130b963a6c115du, 0xc097ce7bc90715b4u,
    0xf0bdc21abb48db21u, 0x96769950b50d88f5u, 0xbc143fa4e250eb32u, 0xeb194f8e1ae525feu,
    0x92efd1b8d0cf37bfu, 0xb7abc627050305aeu, 0xe596b7b0c643c71au, 0x8f7e32ce7bea5c70u,
    0xb35dbf821ae4f38cu,
};

/* floor(log10(2^q)), or floor(log10(3/4 * 2^q)) at a power of two, whose lower neighbour is nearer.
 */
static int floor_log10_pow2(int q, bool nearer_below)
{
    return (q * 1262611 - (nearer_below ? 524031 : 0)) >> 22;
}

static int floor_log2_pow10(int k)
{
    return (k * 1741647) >> 19;
}

/* Upper half of g * c, its last bit set when anything was cut off: enough to compare exactly. */
static uint32_t round_to_odd(uint64_t g, uint32_t c)
{
    __uint128_t p = (__uint128_t)g * c;
    uint32_t high = (uint32_t)(p >> 64);
    uint32_t rest = (uint32_t)((uint64_t)p >> 32);
    return high | (rest > 1);
}

/* significand and exponent are the fields of a positive finite float. */
static struct decimal shortest(uint32_t significand, uint32_t exponent)
{
    uint32_t c = exponent > 0 ? significand | 1u << 23 : significand;
    int q = (int)(exponent > 0 ? exponent : 1) - 150; /* the value is c * 2^q */
    if (exponent > 0 && q <= 0 && q > -24 && (c & ((1u << -q) - 1)) == 0) {
        return (struct decimal){ c >> -q, 0 }; /* an integer below 2^24 */
    }
    bool nearer_below = significand == 0 && exponent > 1;
    uint32_t open = c & 1; /* ties round to even: an odd number does not own its bounds */

    /* Four times the value and the ends of its rounding interval, in units of 10^k. */
    int k = floor_log10_pow2(q, nearer_below);
    int h = q + floor_log2_pow10(-k) + 1;
    uint64_t g = POW10[-k - POW10_MIN];
    uint32_t lower = round_to_odd(g, (4 * c - 2 + nearer_below) << h) + open;
    uint32_t value = round_to_odd(g, (4 * c) << h);
    uint32_t upper = round_to_odd(g, (4 * c + 2) << h) - open;

    /* The next number below and the one above; or with one digit fewer, if just one such is inside.
     * Which it is changes from number to number: chosen without a branch. */
    uint32_t s = value / 4, tens = s / 10, middle = 4 * s + 2;
    bool down_inside = lower <= 4 * s, up_inside = 4 * s + 4 <= upper;
    bool tens_down_inside = lower <= 40 * tens, tens_up_inside = 40 * tens + 40 <= upper;
    bool round_up = (value > middle) | ((value == middle) & (s & 1));
    bool up = down_inside != up_inside ? up_inside : round_up;
    uint32_t fewer = -(uint32_t)((s >= 10) & (tens_down_inside != tens_up_inside));
    uint32_t digits = (fewer & (tens + tens_up_inside)) | (~fewer & (s + up));
    return (struct decimal){ digits, k + (int)(fewer & 1) };
}

/* n digits, or as many as a float can have: a fixed number costs no call. */
static inline void copy(char *out, const char *digits, size_t n, bool is_float)
{
    memcpy(out, digits, is_float ? FLOAT_DIGITS : n);
}

/* Lays n digits (1..17, no zero at the end but a lone 0) with the decimal point after `point` of
 * them (which may be outside) as a JSON number. Returns the length, at most 24 with the sign before
 * it. is_float, a constant: FLOAT_DIGITS bytes may be read from any digit on. */
static inline __attribute__((always_inline)) size_t lay_out(char *out, const char *digits, size_t n,
                                                            int point, const bool is_float)
{
    char *at = out;
    /* Small floats are probabilities, and lie to both sides of 1e-4 from one to the next: a layout
     * for all of them is faster. Doubles keep theirs, since imports store them as categories. */
    if (point >= (is_float ? -5 : -3) && point <= 0) { /* 0.00000ddd */
        memcpy(at, "0.000000", 8);
        at += 2 - point;
        copy(at, digits, n, is_float);
        return (size_t)(at - out) + n;
    }
    if (point > 0 && point <= 16) { /* ddd, ddd000 or dd.ddd */
        size_t whole = (size_t)point;
        if (n <= whole) {
            copy(at, digits, n, is_float);
            memset(at + n, '0', whole - n);
            return whole;
        }
        copy(at, digits, whole, is_float);
        at[whole] = '.';
        copy(at + whole + 1, digits + whole, n - whole, is_float);
        return n + 1;
    }
    *at++ = digits[0];
    if (n > 1) {
        *at++ = '.';
        copy(at, digits + 1, n - 1, is_float);
        at += n - 1;
    }
    *at++ = 'e';
    unsigned e = (unsigned)(point > 0 ? point - 1 : 1 - point);
    if (point <= 0) *at++ = '-';
    if (e >= 100) *at++ = (char)('0' + e / 100);
    if (e >= 10) *at++ = (char)('0' + e / 10 % 10);
    *at++ = (char)('0' + e % 10);
    return (size_t)(at - out);
}

/* The eight digits of x < 10^8, zeros included, as values of bytes, the first in the low byte: four
 * and four, then twice two and two, then one and one in one multiplication each. */
static inline uint64_t split_digits(uint32_t x)
{
    uint64_t fours = x / 10000 | (uint64_t)(x % 10000) << 32;
    uint64_t hundreds = (fours * 5243 >> 19) & 0x0000007F0000007F; /* x / 100 for x < 10^4 */
    uint64_t twos = hundreds | (fours - 100 * hundreds) << 16;
    uint64_t tens = (twos * 103 >> 10) & 0x000F000F000F000F; /* x / 10 for x < 100 */
    return tens | (twos - 10 * tens) << 8;
}

static inline void store_digits(char out[static 8], uint64_t digits)
{
    digits = htole64(digits | 0x3030303030303030);
    memcpy(out, &digits, sizeof(digits));
}

size_t float_text(float x, char *out)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t exponent = bits >> 23 & 0xff, significand = bits & 0x7fffff;
    size_t sign = bits >> 31;
    if (exponent == 0xff) return 0;
    out[0] = '-';
    if (exponent == 0 && significand == 0) {
        out[sign] = '0';
        return sign + 1;
    }
    struct decimal d = shortest(significand, exponent);
    uint32_t first = d.digits / 100000000; /* of nine digits, zeros before and behind included */
    uint64_t rest = split_digits(d.digits % 100000000);
    char digits[2 * FLOAT_DIGITS] = { 0 };
    digits[0] = (char)('0' + first);
    store_digits(digits + 1, rest);
    size_t start = first != 0 ? 0 : 1 + (size_t)__builtin_ctzll(rest) / 8;
    size_t end = rest != 0 ? FLOAT_DIGITS - (size_t)__builtin_clzll(rest) / 8 : 1;
    int point = d.exponent + FLOAT_DIGITS - (int)start;
    return sign + lay_out(out + sign, digits + start, end - start, point, true);
}

/* A power of two's interval is half as wide below: the nearest decimal of 16 digits may lie outside
 * it there while the next one above lies inside. Adds one to the last digit of d.ddde±x. */
static void next_above(char *text)
{
    char *at = strchr(text, 'e') - 1;
    while (*at == '9') {
        *at-- = '0';
        if (*at == '.') at--;
    }
    (*at)++;
}

/* x > 0 as d.ddde±x with the fewest digits, room for 40 bytes. */
static void shortest_double(double x, char *text)
{
    int exponent;
    bool power_of_two = frexp(x, &exponent) == 0.5;
    /* 15 digits are always told apart, so fewer come out as zeros at the end; not so when subnormal
     */
    for (int n = isnormal(x) ? 15 : 1; n < 17; n++) {
        snprintf(text, 40, "%.*e", n - 1, x);
        if (strtod(text, NULL) == x) return;
        if (power_of_two && n == 16) {
            next_above(text);
            if (strtod(text, NULL) == x) return;
        }
    }
    snprintf(text, 40, "%.16e", x);
}

size_t double_text(double x, char *out)
{
    if (!isfinite(x)) return 0;
    size_t sign = signbit(x) ? 1 : 0;
    out[0] = '-';
    if (x == 0) {
        out[sign] = '0';
        return sign + 1;
    }
    char text[40], digits[17];
    shortest_double(fabs(x), text);
    size_t n = 0;
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at != '.') digits[n++] = *at;
    }
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return sign + lay_out(out + sign, digits, n, atoi(at + 1) + 1, false);
}
