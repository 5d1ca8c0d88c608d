/* float_key.h - floats as unsigned integers in the same order: radix methods and histograms work on
 * these. The key of a float is its bits, all flipped when it is negative, else with the sign bit
 * set. -0.0 comes before +0.0, infinities are at the ends, and NaN is beyond one of them. */
#ifndef SEG_BASE_FLOAT_KEY_H
#define SEG_BASE_FLOAT_KEY_H

#include <stdint.h>
#include <string.h>

static inline uint32_t seg_float_key(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ ((bits >> 31) != 0 ? UINT32_MAX : UINT32_C(1) << 31);
}

/* The float that has a key. */
static inline float seg_float_of_key(uint32_t key)
{
    const uint32_t bits = key ^ ((key >> 31) != 0 ? UINT32_C(1) << 31 : UINT32_MAX);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif
