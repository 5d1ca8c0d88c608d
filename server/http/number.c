/* Decimal text to the nearest float32.
 * With at most 19 digits, a mantissa up to 2^53 and a power of ten up to 10^22, one double
 * operation is correctly rounded (Clinger 1990). Rounding that double once more gives the nearest
 * float unless the double lies exactly half-way between two floats, since rounding is monotonic and
 * every half-way point is a double: those cases, subnormals and longer numbers go to strtof. */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "http/rows.h"

#define EXACT_POWER 22
static const double POWERS[EXACT_POWER + 1] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

#define STACK_TEXT 512

/* strtof wants a NUL. Out of memory counts as not a number. */
static size_t slow(const char *s, size_t len, float *ret)
{
    char stack[STACK_TEXT], *text = stack;
    if (len >= sizeof(stack) && (text = seg_alloc(len + 1, 1)) == NULL) return 0;
    memcpy(text, s, len);
    text[len] = '\0';
    *ret = strtof(text, NULL);
    if (text != stack) seg_free(text);
    return len;
}

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

size_t number_parse(const char *s, size_t len, float *ret)
{
    const char *p = s, *end = s + len;
    uint64_t mantissa = 0;
    int64_t exponent = 0;
    bool minus = p < end && *p == '-';
    p += minus;
    const char *digits = p;
    while (p < end && is_digit(*p))
        mantissa = mantissa * 10 + (uint64_t)(*p++ - '0');
    size_t n_digits = (size_t)(p - digits);
    if (n_digits == 0 || (n_digits > 1 && *digits == '0')) return 0;
    if (p < end && *p == '.') {
        const char *fraction = ++p;
        while (p < end && is_digit(*p))
            mantissa = mantissa * 10 + (uint64_t)(*p++ - '0');
        if (p == fraction) return 0;
        exponent = fraction - p;
        n_digits += (size_t)(p - fraction);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        int64_t e = 0;
        p++;
        bool negative = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        const char *start = p;
        for (; p < end && is_digit(*p); p++)
            if (e < 100000) e = e * 10 + (*p - '0');
        if (p == start) return 0;
        exponent += negative ? -e : e;
    }
    size_t used = (size_t)(p - s);
    if (n_digits > 19 || mantissa > (UINT64_C(1) << 53) || exponent < -EXACT_POWER ||
        exponent > EXACT_POWER)
        return slow(s, used, ret);
    double d = (double)mantissa;
    d = exponent < 0 ? d / POWERS[-exponent] : d * POWERS[exponent];
    uint64_t bits;
    memcpy(&bits, &d, sizeof(bits));
    bool halfway = (bits & 0x1FFFFFFF) == 0x10000000;
    if (halfway || (d < (double)FLT_MIN && d > 0)) return slow(s, used, ret);
    *ret = (float)(minus ? -d : d);
    return used;
}
