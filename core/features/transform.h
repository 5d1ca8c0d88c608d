/* transform.h - the monotone curves of a numeric column and their inverses, in float64.
 * Loops over 64 values that the compiler turns into vector code. log1p is within 1e-15 relative of
 * the truth, Yeo-Johnson within 1e-15 times its exponent. Each value's result depends on that value
 * alone. Private to core/features. */
#ifndef SEG_FEATURES_TRANSFORM_H
#define SEG_FEATURES_TRANSFORM_H

#include "features/plan.h"

/* t = transform of s of x (64), each finite. */
void seg_transform_tile(const struct seg_number *s, const float *x, double *t);
/* Of one value. */
double seg_transform_one(const struct seg_number *s, float x);
/* The value whose transform is t; finite for finite t, within +-SEG_VALUE_MAX. */
double seg_transform_inverse(const struct seg_number *s, double t);

/* In place over n values: sign(x) log(1 + |x|). */
void seg_log1p_odd(double *x, size_t n);

#endif
