/* number.h - number_parse (http/rows.h) for inlining where numbers are most of the work: the short
 * ones, which most are, in a few dozen instructions, the others by a call. */
#ifndef SERVER_HTTP_NUMBER_H
#define SERVER_HTTP_NUMBER_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

extern const float NUMBER_TENS_F[8];

/* Eight bytes at p as values of digits; the first in the low byte. */
static inline uint64_t load_digits(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v) ^ 0x3030303030303030;
}

/* The number that eight digits are: joined to pairs, then all pairs by two multiplications, whose
 * sums meet in the upper half. */
static inline uint32_t join_digits(uint64_t v)
{
    const uint64_t pairs = (v * 10 + (v >> 8)) & 0x00FF00FF00FF00FF;
    const uint64_t odd = pairs & 0x000000FF000000FF, even = pairs >> 16 & 0x000000FF000000FF;
    const uint64_t odd_worth = 100 + (UINT64_C(1000000) << 32);
    const uint64_t even_worth = 1 + (UINT64_C(10000) << 32);
    return (uint32_t)((odd * odd_worth + even * even_worth) >> 32);
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

/* Bytes from p on that may be a number's, 1..16 of the 16 that are read: digits and points, and the
 * first, whatever it is. What is found so tells where the next number begins without waiting for
 * the worth of this one. */
static inline unsigned number_span(const char *p)
{
#if defined(__SSE2__)
    const __m128i most = _mm_set1_epi8('9' - '.'); /* a slash is between, but no digit: see below */
    const __m128i v = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)p), _mm_set1_epi8('.'));
    unsigned inside = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(v, most), v));
    return (unsigned)__builtin_ctz(~(inside | 1));
#else
    unsigned n = 1;
    while (n < 16 && (unsigned char)(p[n] - '.') <= '9' - '.')
        n++;
    return n;
#endif
}

/* A number of eight bytes at most beside its minus. Seven digits, beside a point, and the power of
 * ten are exact in a float, so that one division rounds correctly; eight without one are rounded by
 * the conversion. Bytes used; 0: not so short, or not a number. */
static inline size_t number_read_short(const char *p, const char *end, float *ret)
{
    if (end - p < 17) return 0;
    const unsigned span = number_span(p);
    const bool minus = *p == '-';
    const unsigned len = span - minus;
    if (len - 1 >= 8 || (p[span] | 0x20) == 'e') return 0;
    uint64_t v = load_digits(p + minus) << (64 - 8 * len); /* the bytes before it are zeros */
    /* bit 7 of what is no digit */
    const uint64_t others =
        (v | ((v & 0x7F7F7F7F7F7F7F7F) + 0x7676767676767676)) & 0x8080808080808080;
    unsigned n_fraction = 0, n_whole = len;
    if (others != 0) { /* a point, which goes: what stands before it moves up */
        const uint64_t point = others >> 7, low = v & (point - 1);
        n_fraction = (unsigned)__builtin_clzll(others) / 8;
        n_whole = len - n_fraction - 1;
        v ^= point * ('.' ^ '0');
        const bool is_point = ((v & point * 0xFF) | (others & (others - 1))) == 0;
        if (!is_point || n_fraction - 1 >= len - 2) return 0;
        v = (v ^ low) | low << 8;
    }
    if ((p[minus] == '0') & (n_whole > 1)) return 0;
    const float x = (float)(int32_t)join_digits(v) / NUMBER_TENS_F[n_fraction];
    *ret = with_sign(x, minus);
    return span;
}

/* As number_parse, of any number. */
size_t number_read_any(const char *s, size_t len, float *ret);

/* As number_parse. */
static inline size_t number_read(const char *s, size_t len, float *ret)
{
    size_t used = number_read_short(s, s + len, ret);
    return used > 0 ? used : number_read_any(s, len, ret);
}

#endif
