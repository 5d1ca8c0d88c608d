/* order.h - sorting and order statistics of float columns in linear time.
 * Pure functions over caller memory. Values are finite: neither NaN nor Inf. */
#ifndef SEG_FEATURES_ORDER_H
#define SEG_FEATURES_ORDER_H

#include <stddef.h>
#include <stdint.h>

/* A quantile between two neighbouring order statistics. It is kept in two, because a monotone
 * transformation may then be applied to both before they are mixed. */
struct seg_quantile {
    float below, above;
    double weight; /* of above, 0 <= weight < 1 */
};

static inline double seg_quantile_mix(double below, double above, double weight)
{
    return below + (above - below) * weight;
}
static inline double seg_quantile_value(const struct seg_quantile *q)
{
    return seg_quantile_mix((double)q->below, (double)q->above, q->weight);
}

struct seg_range {
    float least, most;
};
/* Of x (n >= 1). */
struct seg_range seg_order_range(const float *x, size_t n);

/* Ascending, in place: most significant byte first ("American flag sort", McIlroy, Bostic, McIlroy
 * 1993). */
void seg_order_sort(float *x, size_t n);

#define SEG_ORDER_COUNTS ((size_t)2 << 16)

/* The quantiles (type 7) at q (n_q, ascending, each 0..1) of x (1 <= n <= UINT32_MAX), which may be
 * reordered. Two histogram passes, in counts (SEG_ORDER_COUNTS), find all of them: nothing is
 * sorted unless n is small. */
void seg_order_quantiles(float *x, size_t n, const double *q, size_t n_q, uint32_t *counts,
                         struct seg_quantile *ret_quantiles);

#endif
