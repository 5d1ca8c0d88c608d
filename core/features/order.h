/* order.h - sorting and order statistics of float columns in linear time.
 * Pure functions over caller memory, whose results do not depend on the order in which the values
 * stand. No value is NaN; -0.0 comes before +0.0.
 *
 * A quantile is everywhere the linear one between order statistics, type 7 of Hyndman and Fan 1996,
 * which numpy.quantile and the database's percentile_cont compute too: of x(0) <= ... <= x(n - 1)
 * the one at q is x(i) + (h - i) (x(i + 1) - x(i)), where h = (n - 1) q and i is its whole part. It
 * is taken in float64 from finite values: a number that is not finite is missing
 * (features/table.h). It is never -0.0. */
#ifndef SEG_FEATURES_ORDER_H
#define SEG_FEATURES_ORDER_H

#include <stddef.h>

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
/* The quantile at q of n >= 1 values, sorted ascending. */
double seg_quantile_sorted(const float *sorted, size_t n, double q);

struct seg_range {
    float least, most;
};
/* Of x (n >= 1). */
struct seg_range seg_order_range(const float *x, size_t n);

/* Ascending, in place: most significant byte first ("American flag sort", McIlroy, Bostic, McIlroy
 * 1993). */
void seg_order_sort(float *x, size_t n);

#define SEG_ORDER_QUANTILES_MAX 8u

/* The quantiles at q (n_q <= SEG_ORDER_QUANTILES_MAX, ascending, each 0..1) of x (1 <= n <=
 * UINT32_MAX), which has the same values afterwards, in another order. Exact whatever the
 * distribution; what it needs beside x is 20 KB of stack. */
void seg_order_quantiles(float *x, size_t n, const double *q, size_t n_q,
                         struct seg_quantile *ret_quantiles);

#endif
