/* quantiles.h - exact quantiles of many values that are not sorted, in linear time.
 * A pure function over caller memory. Private to core/explain. */
#ifndef SEG_EXPLAIN_QUANTILES_H
#define SEG_EXPLAIN_QUANTILES_H

#include <stddef.h>

#define SEG_QUANTILES_MAX 8u

/* The quantiles q (n_q <= SEG_QUANTILES_MAX, ascending, within 0 and 1) of v (n >= 1), linear
 * between order statistics (type 7 of Hyndman and Fan 1996), to ret_values. Values are finite;
 * what stands in v afterwards is of no use. */
void seg_quantiles(float *v, size_t n, const double *q, size_t n_q, double *ret_values);

#endif
