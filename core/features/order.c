/* order.c - radix methods on the bits of floats.
 * A float's bits, with the sign bit flipped for positive and all bits flipped for negative numbers,
 * order like the float itself as an unsigned integer. */
#include "features/order.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "compute/worker_pool.h"
#include "features/table.h"

#define INSERTION_MAX 48u   /* below it insertion sort beats counting 256 buckets */
#define SORT_MAX      8192u /* below it sorting beats two histograms of 65,536 */
#define BUCKETS       (SEG_ORDER_COUNTS / 2)
#define PASS          ((size_t)1 << 14) /* values between two offers of the processor */
#define NO_BUCKET     UINT32_MAX

static inline uint32_t key_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits ^ ((bits >> 31) != 0 ? UINT32_MAX : UINT32_C(1) << 31);
}

static inline float value_of(uint32_t key)
{
    const uint32_t bits = key ^ ((key >> 31) != 0 ? UINT32_C(1) << 31 : UINT32_MAX);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Sixteen of each side by side, because a single one would wait for itself. */
struct seg_range seg_order_range(const float *x, size_t n)
{
    enum { LANES = 16 };
    float least[LANES], most[LANES];
    size_t i = 0;
    for (size_t j = 0; j < LANES; j++)
        least[j] = most[j] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            const float v = x[i + j];
            least[j] = v < least[j] ? v : least[j];
            most[j] = v > most[j] ? v : most[j];
        }
    for (; i < n; i++) {
        least[0] = x[i] < least[0] ? x[i] : least[0];
        most[0] = x[i] > most[0] ? x[i] : most[0];
    }
    for (size_t j = 1; j < LANES; j++) {
        least[0] = least[j] < least[0] ? least[j] : least[0];
        most[0] = most[j] > most[0] ? most[j] : most[0];
    }
    return (struct seg_range){ least[0], most[0] };
}

static void insertion_sort(float *x, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const float v = x[i];
        size_t j = i;
        for (; j > 0 && v < x[j - 1]; j--)
            x[j] = x[j - 1];
        x[j] = v;
    }
}

/* Sorts x (n), whose keys agree above bit `shift` + 8. At most four levels deep. */
static void radix_sort(float *x, size_t n, unsigned shift)
{
    if (n <= INSERTION_MAX) {
        insertion_sort(x, n);
        return;
    }
    size_t next[256] = { 0 }, end[256];
    for (size_t i = 0; i < n; i++) {
        if (i % PASS == PASS - 1) seg_pool_give_way();
        next[key_of(x[i]) >> shift & 255]++;
    }
    size_t at = 0;
    for (unsigned b = 0; b < 256; b++) {
        const size_t count = next[b];
        next[b] = at;
        at += count;
        end[b] = at;
    }
    for (unsigned b = 0; b < 256; b++) {
        while (next[b] < end[b]) { /* carry v from bucket to bucket until one belongs here */
            float v = x[next[b]];
            unsigned home = key_of(v) >> shift & 255;
            while (home != b) {
                const float other = x[next[home]];
                x[next[home]++] = v;
                v = other;
                home = key_of(v) >> shift & 255;
            }
            x[next[b]++] = v;
        }
        if (n > PASS) seg_pool_give_way();
    }
    if (shift == 0) return;
    for (unsigned b = 0; b < 256; b++) {
        const size_t begin = b == 0 ? 0 : end[b - 1];
        if (end[b] - begin > 1) radix_sort(x + begin, end[b] - begin, shift - 8);
    }
}

void seg_order_sort(float *x, size_t n)
{
    radix_sort(x, n, 24);
}

double seg_quantile_sorted(const float *sorted, size_t n, double q)
{
    const double h = (double)(n - 1) * q;
    const size_t below = (size_t)h;
    const size_t above = below + 1 < n ? below + 1 : n - 1;
    return seg_quantile_mix((double)sorted[below], (double)sorted[above], h - (double)below);
}

/* Two histograms: of the upper half of all keys, summed up to ranks, and of the lower half of the
 * keys in one bucket of the first. */
struct selector {
    const float *x;
    size_t n;
    uint32_t *first; /* (BUCKETS): rank of the first value of each bucket */
    uint32_t *lower; /* (BUCKETS): counts inside `bucket` */
    uint32_t bucket; /* whose values `lower` counts, or NO_BUCKET */
};

static void count_upper(struct selector *s)
{
    memset(s->first, 0, BUCKETS * sizeof *s->first);
    for (size_t i = 0; i < s->n; i++) {
        if (i % PASS == PASS - 1) seg_pool_give_way();
        s->first[key_of(s->x[i]) >> 16]++;
    }
    uint32_t at = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        const uint32_t count = s->first[b];
        s->first[b] = at;
        at += count;
    }
}

static void count_lower(struct selector *s, uint32_t bucket)
{
    memset(s->lower, 0, BUCKETS * sizeof *s->lower);
    for (size_t i = 0; i < s->n; i++) {
        if (i % PASS == PASS - 1) seg_pool_give_way();
        const uint32_t key = key_of(s->x[i]);
        if (key >> 16 == bucket) s->lower[key & 0xffff]++;
    }
    s->bucket = bucket;
}

/* The value with that rank, 0..n-1. */
static float select_rank(struct selector *s, size_t rank)
{
    uint32_t bucket = 0; /* the last one whose first rank is not past ours */
    for (uint32_t step = BUCKETS / 2; step > 0; step /= 2)
        if (s->first[bucket + step] <= rank) bucket += step;
    if (bucket != s->bucket) count_lower(s, bucket);
    size_t left = rank - s->first[bucket];
    uint32_t low = 0;
    while (left >= s->lower[low])
        left -= s->lower[low++];
    return value_of(bucket << 16 | low);
}

void seg_order_quantiles(float *x, size_t n, const double *q, size_t n_q, uint32_t *counts,
                         struct seg_quantile *ret_quantiles)
{
    assert(n > 0 && n <= UINT32_MAX);
    struct selector s = {
        .x = x, .n = n, .first = counts, .lower = counts + BUCKETS, .bucket = NO_BUCKET
    };
    const bool sorted = n <= SORT_MAX;
    if (sorted)
        seg_order_sort(x, n);
    else
        count_upper(&s);
    for (size_t i = 0; i < n_q; i++) {
        const double h = (double)(n - 1) * q[i];
        const size_t below = (size_t)h;
        const size_t above = below + 1 < n ? below + 1 : n - 1;
        ret_quantiles[i].weight = h - (double)below;
        ret_quantiles[i].below = sorted ? x[below] : select_rank(&s, below);
        ret_quantiles[i].above = sorted ? x[above] : select_rank(&s, above);
    }
}
