/* rng.h - counter-based random numbers: value i of stream s of seed k is a pure function of (k, s,
 * i). So results never depend on which thread drew them. A generator is a plain value owned by its
 * user; two threads use two streams.
 * Mixing function: SplitMix64 finaliser over a keyed counter (Steele, Lea, Flood, OOPSLA 2014). */
#ifndef SEG_BASE_RNG_H
#define SEG_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct seg_rng {
    uint64_t key;     /* derived from seed and stream */
    uint64_t counter; /* next value's index */
};

/* A generator for one purpose: the same (seed, stream) gives the same values for ever. */
struct seg_rng seg_rng_make(uint64_t seed, uint64_t stream);
/* 64 uniform bits. */
uint64_t seg_rng_u64(struct seg_rng *rng);
/* Uniform in [0, 1), 24 bits. */
float seg_rng_float(struct seg_rng *rng);
/* Uniform in [0, 1), 53 bits. */
double seg_rng_double(struct seg_rng *rng);
/* Standard normal (Box-Muller on two draws). */
double seg_rng_normal(struct seg_rng *rng);
/* Uniform in 0..n-1 without bias; n >= 1. */
uint64_t seg_rng_below(struct seg_rng *rng, uint64_t n);
/* Fisher-Yates shuffle of n indices in place. */
void seg_rng_shuffle(struct seg_rng *rng, uint32_t *index, size_t n);
/* The part of it that draws index[n_left..n): followed by one of the first n_left, it is the
 * shuffle of n. 1 <= n_left <= n. */
void seg_rng_shuffle_tail(struct seg_rng *rng, uint32_t *index, size_t n, size_t n_left);
/* n_drawn different numbers of 0..n-1 into drawn (n_drawn), ascending; every set of them is as
 * likely as any other. n_drawn <= n <= 2^32. Selection sampling (Knuth, The Art of Computer
 * Programming 2, 3.4.2, algorithm S): one draw for each number up to the last one taken. */
void seg_rng_sample(struct seg_rng *rng, size_t n, size_t n_drawn, uint32_t *drawn);

#endif
