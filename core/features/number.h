/* number.h - one column of numbers: impute, clip, a monotone curve, scale; and the way back.
 * number_kernels.c is compiled once for each instruction set, number_select.c picks the one that
 * this machine runs best: all of them give the same bits. log1p is within 1e-15 relative of the
 * truth, Yeo-Johnson within 1e-15 times its exponent. A value's result depends on that value alone.
 * Private to core/features. */
#ifndef SEG_FEATURES_NUMBER_H
#define SEG_FEATURES_NUMBER_H

#include "features/preprocess.h"

#define SEG_VALUE_MAX  1e30f /* raw values and results are clipped to it */
#define SEG_LAMBDA_MAX 5.0   /* of Yeo-Johnson, either sign */
#define SEG_KNOTS_MAX  1000u /* quantiles that describe a column, as in scikit-learn */

/* v = missing ? impute : clip(x, lower, upper); out = (transform(v) - center) * inverse. */
struct seg_number {
    float impute, lower, upper; /* within +-SEG_VALUE_MAX, lower <= upper */
    enum seg_transform transform;
    double lambda;          /* yeo_johnson: within +-SEG_LAMBDA_MAX; else 0 */
    double *knots;          /* quantile: (n_knots) ascending; the i-th maps to i / (n_knots - 1).
                               bins: (n_knots) edges, the outer ones included */
    double *middles;        /* quantile: (n_knots) mean index of the knots equal to the i-th */
    uint32_t n_knots;       /* quantile: 2..SEG_KNOTS_MAX; bins: 2..SEG_BINS_MAX + 1; else 0 */
    double center, inverse; /* within what float holds; inverse 0: a constant column */
    float center_high, center_low; /* center as a sum: x - center_high is exact near it, so that */
    float inverse_float;           /* columns at 1e6 keep every digit */
};

/* Sets center and inverse in all forms; an inverse that float cannot hold counts as a constant's.
 */
void seg_number_set_scale(struct seg_number *s, double center, double inverse);
/* Copies knots (n), ascending. SEG_ENOMEM. */
enum seg_status seg_number_set_knots(struct seg_number *s, const double *knots, size_t n);
/* Frees the knots. */
void seg_number_release(struct seg_number *s);

/* The transform of one finite value, and the value whose transform is t: finite for finite t,
 * within +-SEG_VALUE_MAX. */
double seg_number_transform(const struct seg_number *s, float x);
double seg_number_inverse(const struct seg_number *s, double t);

struct seg_number_kernels {
    /* out (64) of raw x (64), the whole way. */
    void (*apply)(const struct seg_number *s, const float *x, float *out);
    /* t (64), the transform alone, of x (64), each finite. */
    void (*transform)(const struct seg_number *s, const float *x, double *t);
};
/* The best that this machine runs. */
const struct seg_number_kernels *seg_number_kernels_get(void);
/* All that this machine can run, best first; NULL-terminated. For tests. */
const struct seg_number_kernels *const *seg_number_kernels_all(void);

#endif
