/* quantiles.c - a histogram of equal steps says which few bins hold the order statistics that are
 * asked for; only their values are kept, and selected from. Which bin a value is in never falls
 * with the value, rounding included, so the answer is exact whatever the distribution; when most
 * values share a bin, it costs what selecting from all of them does. */
#include "explain/quantiles.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include "compute/worker_pool.h"
#include "features/order.h"

#define BINS     2048u
#define HIST_MIN 8192u /* below it selecting from all values is faster */
#define BLOCK    64u
#define PASS     4096u /* values between two offers of the processor */

/* Bins of equal width from the least value on. */
struct grid {
    float least, scale;
};

static void swap_floats(float *a, float *b)
{
    float t = *a;
    *a = *b;
    *b = t;
}

/* Moves the k-th smallest of v (n) to place k, smaller ones before it (Hoare's quickselect; the
 * median of three as pivot, and of many equal values each side gets half). */
static void select_nth(float *v, size_t n, size_t k)
{
    size_t low = 0, high = n - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v[middle] < v[low]) swap_floats(&v[middle], &v[low]);
        if (v[high] < v[low]) swap_floats(&v[high], &v[low]);
        if (v[high] < v[middle]) swap_floats(&v[high], &v[middle]);
        const float pivot = v[middle];
        size_t i = low, j = high;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (pivot < v[j])
                j--;
            if (i % PASS == 0) seg_pool_give_way();
            if (i >= j) break;
            swap_floats(&v[i++], &v[j--]);
        }
        /* v[low..j] <= pivot <= v[j + 1..high] */
        if (k <= j)
            high = j;
        else
            low = j + 1;
    }
}

/* False when there is nothing to cut: one value, or a range that is too wide or too narrow. */
static bool make_grid(const float *v, size_t n, struct grid *ret_grid)
{
    const struct seg_range range = seg_order_range(v, n);
    const float width = range.most - range.least, scale = (float)(BINS - 1) / width;
    *ret_grid = (struct grid){ range.least, scale };
    return isfinite(width) && isfinite(scale) && scale > 0;
}

/* The bins of n <= BLOCK values, each below BINS: (most - least) * scale is BINS - 1 but for
 * rounding. */
static void find_bins(const struct grid *g, const float *v, size_t n, int32_t *bin)
{
    for (size_t j = 0; j < n; j++)
        bin[j] = (int32_t)((v[j] - g->least) * g->scale);
}

/* first[b]: how many values are in bins before b (BINS + 1). Two counts of each bin, since one that
 * comes twice in a row would wait for itself. */
static void count(const struct grid *g, const float *v, size_t n, size_t *first)
{
    uint32_t counts[2][BINS] = { 0 };
    int32_t bin[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t len = n - i < BLOCK ? n - i : BLOCK;
        if (i % PASS == 0) seg_pool_give_way();
        find_bins(g, v + i, len, bin);
        for (size_t j = 0; j < len; j++)
            counts[j & 1][bin[j]]++;
    }
    first[0] = 0;
    for (uint32_t b = 0; b < BINS; b++)
        first[b + 1] = first[b] + counts[0][b] + counts[1][b];
}

/* The last bin that starts at rank or before: the one that holds it. */
static uint32_t bin_of_rank(const size_t *first, size_t rank)
{
    uint32_t bin = 0;
    for (uint32_t step = BINS / 2; step > 0; step /= 2)
        if (first[bin + step] <= rank) bin += step;
    return bin;
}

/* Keeps the values of marked bins, in front. Returns how many. */
static size_t keep_marked(const struct grid *g, float *v, size_t n, const uint8_t *marked)
{
    int32_t bin[BLOCK];
    size_t n_kept = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t len = n - i < BLOCK ? n - i : BLOCK;
        if (i % PASS == 0) seg_pool_give_way();
        find_bins(g, v + i, len, bin);
        for (size_t j = 0; j < len; j++) { /* stored first, kept if it counts: no branch on data */
            v[n_kept] = v[i + j];
            n_kept += marked[bin[j]];
        }
    }
    return n_kept;
}

/* Reduces v (n) to the bins that hold the ranks at[i] and their successors, and at[i] to their
 * ranks among these. Returns how many are left. */
static size_t reduce(float *v, size_t n, size_t *at, size_t n_at)
{
    struct grid g;
    size_t first[BINS + 1], left_out = 0;
    uint8_t marked[BINS] = { 0 };
    if (n < HIST_MIN || !make_grid(v, n, &g)) return n;
    count(&g, v, n, first);
    for (size_t i = 0; i < n_at; i++) {
        marked[bin_of_rank(first, at[i])] = 1;
        marked[bin_of_rank(first, at[i] + 1 < n ? at[i] + 1 : at[i])] = 1;
    }
    const size_t n_kept = keep_marked(&g, v, n, marked);
    for (uint32_t b = 0, i = 0; b < BINS && i < n_at; b++) {
        for (; i < n_at && at[i] < first[b + 1]; i++)
            at[i] -= left_out;
        if (!marked[b]) left_out += first[b + 1] - first[b];
    }
    return n_kept;
}

void seg_quantiles(float *v, size_t n, const double *q, size_t n_q, double *ret_values)
{
    size_t at[SEG_QUANTILES_MAX], from = 0;
    assert(n > 0 && n_q <= SEG_QUANTILES_MAX);
    for (size_t i = 0; i < n_q; i++)
        at[i] = (size_t)(q[i] * (double)(n - 1));
    const size_t n_left = reduce(v, n, at, n_q);
    for (size_t i = 0; i < n_q; i++) {
        const double rank = q[i] * (double)(n - 1), weight = rank - floor(rank);
        select_nth(v + from, n_left - from, at[i] - from);
        from = at[i];
        ret_values[i] = (double)v[from];
        if (from + 1 == n_left) continue; /* the last of all: weight is 0 */
        float next = v[from + 1];
        for (size_t j = from + 2; j < n_left; j++)
            next = v[j] < next ? v[j] : next;
        ret_values[i] += weight * ((double)next - (double)v[from]);
    }
}
