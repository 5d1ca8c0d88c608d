/* number.c - the scale and the knots of a column, and its inverse. */
#include "features/number.h"

#include <float.h>
#include <math.h>
#include "base/alloc.h"
#include "compute/tiles.h"

#define LAMBDA_MIN 1e-200 /* nearer to 0 Yeo-Johnson is the logarithm */

void seg_number_set_scale(struct seg_number *s, double center, double inverse)
{
    if (!(fabs(center) <= (double)FLT_MAX)) center = inverse = 0;
    if (!(fabs(inverse) <= (double)FLT_MAX)) inverse = 0;
    s->center = center;
    s->inverse = inverse;
    s->center_high = (float)center;
    s->center_low = (float)(center - (double)s->center_high);
    s->inverse_float = (float)inverse;
}

enum seg_status seg_number_set_knots(struct seg_number *s, const double *knots, size_t n)
{
    double *both = seg_alloc(2 * n, sizeof *both);
    if (both == NULL) return SEG_ENOMEM;
    double *middles = both + n;
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && knots[end] == knots[i];)
            end++;
        for (size_t j = i; j < end; j++) {
            both[j] = knots[j];
            middles[j] = (double)(i + end - 1) / 2;
        }
    }
    s->knots = both;
    s->middles = middles;
    s->n_knots = (uint32_t)n;
    return SEG_OK;
}

void seg_number_release(struct seg_number *s)
{
    seg_free(s->knots); /* the middles are in the same piece */
    s->knots = s->middles = NULL;
    s->n_knots = 0;
}

double seg_number_transform(const struct seg_number *s, float x)
{
    float tile[SEG_TILE_ROWS] = { x };
    double t[SEG_TILE_ROWS];
    seg_number_kernels_get()->transform(s, tile, t);
    return t[0];
}

static double yeo_johnson_inverse(double lambda, double t)
{
    const double a = t >= 0 ? lambda : 2 - lambda;
    const double base = a * fabs(t); /* (1 + |x|)^a - 1 */
    if (fabs(a) < LAMBDA_MIN) return copysign(expm1(fabs(t)), t);
    if (base <= -1) return copysign(HUGE_VAL, t);
    return copysign(expm1(log1p(base) / a), t);
}

static double value_at_rank(const struct seg_number *s, double t)
{
    const uint32_t last = s->n_knots - 1;
    if (t <= 0) return s->knots[0];
    if (t >= 1) return s->knots[last];
    uint32_t at = (uint32_t)(t * (double)last);
    if (at == last) at--;
    return s->knots[at] + (s->knots[at + 1] - s->knots[at]) * (t * (double)last - (double)at);
}

/* The middle of the bin that t is nearest to. */
static double middle_of_bin(const struct seg_number *s, double t)
{
    const uint32_t last = s->n_knots - 2; /* the last bin */
    const uint32_t at = (uint32_t)(fmin(fmax(t, 0), 1) * (double)last + 0.5);
    return s->knots[at] / 2 + s->knots[at + 1] / 2;
}

double seg_number_inverse(const struct seg_number *s, double t)
{
    double x = t;
    switch (s->transform) {
    case SEG_TRANSFORM_NONE: break;
    case SEG_TRANSFORM_LOG1P: x = copysign(expm1(fabs(t)), t); break;
    case SEG_TRANSFORM_YEO_JOHNSON: x = yeo_johnson_inverse(s->lambda, t); break;
    case SEG_TRANSFORM_QUANTILE: x = value_at_rank(s, t); break;
    case SEG_TRANSFORM_BINS: x = middle_of_bin(s, t); break;
    }
    return fmin(fmax(x, -(double)SEG_VALUE_MAX), (double)SEG_VALUE_MAX);
}
