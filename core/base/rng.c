/* rng.c - SplitMix64 as a function of a counter.
 * Value i of a generator is mix(key + (i + 1) * GAMMA), which is the i-th output of SplitMix64
 * seeded with the key. The key is mix(mix(seed + GAMMA) + (stream + 1) * STREAM_GAMMA): seeds and
 * streams that differ in one bit have unrelated keys, and so unrelated counters. */
#include "base/rng.h"

#include <assert.h>
#include <math.h>

#define GAMMA 0x9e3779b97f4a7c15u /* 2^64 / golden ratio, odd */
#define STREAM_GAMMA                                                                               \
    0xd1342543de82ef95u /* an odd multiplier of its own: (seed, stream) is no sum */

/* The finaliser of SplitMix64: a bijection of 64 bits (Stafford's variant 13). */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct seg_rng seg_rng_make(uint64_t seed, uint64_t stream)
{
    return (struct seg_rng){ .key = mix(mix(seed + GAMMA) + (stream + 1) * STREAM_GAMMA) };
}

uint64_t seg_rng_u64(struct seg_rng *rng)
{
    return mix(rng->key + ++rng->counter * GAMMA);
}

float seg_rng_float(struct seg_rng *rng)
{
    return (float)(seg_rng_u64(rng) >> 40) * 0x1p-24f;
}

double seg_rng_double(struct seg_rng *rng)
{
    return (double)(seg_rng_u64(rng) >> 11) * 0x1p-53;
}

double seg_rng_normal(struct seg_rng *rng)
{
    const double two_pi = 6.283185307179586476925;
    double radius = sqrt(-2.0 * log(1.0 - seg_rng_double(rng))); /* 1 - u is never 0 */
    return radius * cos(two_pi * seg_rng_double(rng));
}

/* Lemire, "Fast random integer generation in an interval", 2019: the high word of a product, with
 * the few low words that would favour some results drawn again. */
uint64_t seg_rng_below(struct seg_rng *rng, uint64_t n)
{
    unsigned __int128 product = (unsigned __int128)seg_rng_u64(rng) * n;
    if ((uint64_t)product < n) {
        const uint64_t n_unfair = -n % n; /* 2^64 mod n */
        while ((uint64_t)product < n_unfair)
            product = (unsigned __int128)seg_rng_u64(rng) * n;
    }
    return (uint64_t)(product >> 64);
}

void seg_rng_shuffle(struct seg_rng *rng, uint32_t *index, size_t n)
{
    if (n > 1) seg_rng_shuffle_tail(rng, index, n, 1);
}

void seg_rng_shuffle_tail(struct seg_rng *rng, uint32_t *index, size_t n, size_t n_left)
{
    assert(n_left >= 1 && n_left <= n);
    for (size_t i = n; i > n_left; i--) {
        size_t j = seg_rng_below(rng, i);
        uint32_t swapped = index[i - 1];
        index[i - 1] = index[j];
        index[j] = swapped;
    }
}

void seg_rng_sample(struct seg_rng *rng, size_t n, size_t n_drawn, uint32_t *drawn)
{
    assert(n_drawn <= n && n <= (size_t)UINT32_MAX + 1);
    for (size_t i = 0, taken = 0; taken < n_drawn; i++)
        if (seg_rng_below(rng, n - i) < n_drawn - taken) drawn[taken++] = (uint32_t)i;
}
