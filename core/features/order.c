/* order.c - radix methods on the keys of floats. */
#include "features/order.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include "base/float_key.h"
#include "compute/worker_pool.h"

#define INSERTION_MAX 48u   /* below it insertion sort beats counting buckets or bins */
#define BINS_MAX      2048u /* of a cut: two counts of each stay in the first cache */
#define BLOCK         64u
#define RANKS_MAX     (2 * SEG_ORDER_QUANTILES_MAX)
#define PASS          ((size_t)1 << 14) /* values between two offers of the processor */

/* Keys, because the compiler makes vectors of an integer's minimum and not of a float's. */
struct seg_range seg_order_range(const float *x, size_t n)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (size_t i = 0; i < n; i += PASS) {
        const size_t end = n - i < PASS ? n : i + PASS;
        for (size_t j = i; j < end; j++) {
            const uint32_t key = seg_float_key(x[j]);
            least = key < least ? key : least;
            most = key > most ? key : most;
        }
        seg_pool_give_way();
    }
    return (struct seg_range){ seg_float_of_key(least), seg_float_of_key(most) };
}

static void insertion_sort(float *x, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const float v = x[i];
        size_t j = i;
        for (; j > 0 && seg_float_key(v) < seg_float_key(x[j - 1]); j--)
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
        next[seg_float_key(x[i]) >> shift & 255]++;
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
            unsigned home = seg_float_key(v) >> shift & 255;
            while (home != b) {
                const float other = x[next[home]];
                x[next[home]++] = v;
                v = other;
                home = seg_float_key(v) >> shift & 255;
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

/* The quantile at q of n values, as the ranks of its neighbours. */
struct place {
    size_t below, above;
    double weight; /* of above */
};

static struct place place_of(size_t n, double q)
{
    const double h = (double)(n - 1) * q;
    const size_t below = (size_t)h;
    return (struct place){ below, below + 1 < n ? below + 1 : n - 1, h - (double)below };
}

double seg_quantile_sorted(const float *sorted, size_t n, double q)
{
    const struct place p = place_of(n, q);
    return seg_quantile_mix((double)sorted[p.below], (double)sorted[p.above], p.weight);
}

/* A search for order statistics. The keys are cut into bins of equal steps, and each bin that holds
 * a wanted rank is searched in the same way, until it has few values or one that repeats. In keys a
 * step is one of proportion: long tails and far outliers do not crowd the rest into one bin, and
 * whatever the distribution, a cut divides the range of keys by the number of bins, so that three
 * of 2,048 come to single keys. */
struct selection {
    unsigned n_ranks;
    size_t rank[RANKS_MAX]; /* ascending, none twice; within the bin that is searched */
    float value[RANKS_MAX]; /* found */
    /* The last cut; nothing of it is used any more when its bins are searched. */
    uint32_t least; /* key with which bin 0 begins */
    unsigned shift; /* a bin has 1 << shift keys */
    uint32_t n_bins;
    uint32_t first[BINS_MAX]; /* values in the bins before */
    uint32_t count[BINS_MAX];
    uint8_t wanted[BINS_MAX]; /* 1: to the front */
};

/* The place of a rank in the list, at whose end it is put if it is not there. */
static unsigned add_rank(struct selection *s, size_t rank)
{
    unsigned i = 0;
    while (i < s->n_ranks && s->rank[i] != rank)
        i++;
    if (i == s->n_ranks) s->rank[s->n_ranks++] = rank;
    return i;
}

/* The bins of x (n <= BLOCK). */
static inline void find_bins(const struct selection *s, const float *x, size_t n, uint32_t *bin)
{
    for (size_t j = 0; j < n; j++)
        bin[j] = (seg_float_key(x[j]) - s->least) >> s->shift;
}

/* Two counts of each bin, since one that comes twice in a row would wait for itself. */
static void count_bins(struct selection *s, const float *x, size_t n)
{
    uint32_t *const lanes[2] = { s->first, s->count };
    uint32_t bin[BLOCK], at = 0;
    for (unsigned k = 0; k < 2; k++)
        memset(lanes[k], 0, s->n_bins * sizeof *lanes[k]);
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t len = n - i < BLOCK ? n - i : BLOCK;
        if (i % PASS == 0) seg_pool_give_way();
        find_bins(s, x + i, len, bin);
        for (size_t j = 0; j < len; j++)
            lanes[j & 1][bin[j]]++;
    }
    for (uint32_t b = 0; b < s->n_bins; b++) {
        s->count[b] += s->first[b];
        s->first[b] = at;
        at += s->count[b];
    }
}

/* Cuts the keys of x (n) between least and most. */
static void cut(struct selection *s, const float *x, size_t n, uint32_t least, uint32_t most)
{
    s->least = least;
    s->n_bins = BINS_MAX;
    while (s->n_bins > n / 2)
        s->n_bins /= 2;
    s->shift = 0;
    while ((most - least) >> s->shift >= s->n_bins)
        s->shift++;
    count_bins(s, x, n);
}

/* The last bin that begins at rank or before: the one that holds it. */
static uint32_t bin_of_rank(const struct selection *s, size_t rank)
{
    uint32_t bin = 0;
    for (uint32_t step = s->n_bins / 2; step > 0; step /= 2)
        if (s->first[bin + step] <= rank) bin += step;
    return bin;
}

/* Values of wanted bins change places with others in front of them: none is lost, and no branch is
 * taken on data. Returns how many there are. */
static size_t wanted_to_front(const struct selection *s, float *x, size_t n)
{
    uint32_t bin[BLOCK];
    size_t n_wanted = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t len = n - i < BLOCK ? n - i : BLOCK;
        if (i % PASS == 0) seg_pool_give_way();
        find_bins(s, x + i, len, bin);
        for (size_t j = 0; j < len; j++) {
            const float v = x[i + j];
            x[i + j] = x[n_wanted];
            x[n_wanted] = v;
            n_wanted += s->wanted[bin[j]];
        }
    }
    return n_wanted;
}

/* Makes x (n) begin with the values of bin[i] (n_ranks, ascending), bin after bin: all of them are
 * first taken from the rest. */
static void part_bins(struct selection *s, float *x, size_t n, const uint32_t *bin,
                      unsigned n_ranks)
{
    memset(s->wanted, 0, s->n_bins);
    for (unsigned i = 0; i < n_ranks; i++)
        s->wanted[bin[i]] = 1;
    size_t left = wanted_to_front(s, x, n);
    for (unsigned i = 0; i < n_ranks; i++)
        s->wanted[bin[i]] = 0;
    for (unsigned i = 0; i < n_ranks; i++) {
        if (i > 0 && bin[i] == bin[i - 1]) continue;
        const size_t size = s->count[bin[i]];
        s->wanted[bin[i]] = 1;
        if (size < left) wanted_to_front(s, x, left);
        s->wanted[bin[i]] = 0;
        x += size;
        left -= size;
    }
}

/* Finds ranks from .. end - 1 of x (n), which keeps its values in another order. */
static void find_ranks(struct selection *s, float *x, size_t n, unsigned from, unsigned end)
{
    const struct seg_range range = seg_order_range(x, n);
    const uint32_t least = seg_float_key(range.least), most = seg_float_key(range.most);
    if (n <= INSERTION_MAX) insertion_sort(x, n);
    if (n <= INSERTION_MAX || least == most) {
        for (unsigned i = from; i < end; i++)
            s->value[i] = x[s->rank[i]];
        return;
    }
    cut(s, x, n, least, most);
    uint32_t bin[RANKS_MAX];
    size_t size[RANKS_MAX];
    for (unsigned i = from; i < end; i++) {
        bin[i] = bin_of_rank(s, s->rank[i]);
        size[i] = s->count[bin[i]];
        s->rank[i] -= s->first[bin[i]];
        s->value[i] = seg_float_of_key(least + (bin[i] << s->shift)); /* the bin's first key */
    }
    if (s->shift == 0) return; /* which is its only one */
    part_bins(s, x, n, bin + from, end - from);
    for (unsigned i = from, next; i < end; i = next) {
        for (next = i + 1; next < end && bin[next] == bin[i];)
            next++;
        find_ranks(s, x, size[i], i, next);
        x += size[i];
    }
}

void seg_order_quantiles(float *x, size_t n, const double *q, size_t n_q,
                         struct seg_quantile *ret_quantiles)
{
    struct selection s;
    unsigned below[SEG_ORDER_QUANTILES_MAX], above[SEG_ORDER_QUANTILES_MAX];
    assert(n > 0 && n <= UINT32_MAX && n_q <= SEG_ORDER_QUANTILES_MAX);
    s.n_ranks = 0;
    for (size_t i = 0; i < n_q; i++) {
        const struct place p = place_of(n, q[i]);
        below[i] = add_rank(&s, p.below);
        above[i] = add_rank(&s, p.above);
        ret_quantiles[i].weight = p.weight;
    }
    find_ranks(&s, x, n, 0, s.n_ranks);
    for (size_t i = 0; i < n_q; i++) {
        ret_quantiles[i].below = s.value[below[i]];
        ret_quantiles[i].above = s.value[above[i]];
    }
}
