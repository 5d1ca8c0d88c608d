/* number_kernels.c - the loops of number.h over 64 values, compiled once for each instruction set
 * (SEG_ISA). No branch is taken on a value, and nothing is contracted or reordered: every set gives
 * the same bits. log and exp are written out because libm's take one value at a time. Constants:
 * fdlibm's reductions, with plain series that are long enough for float64. */
#include "features/number.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include "compute/tiles.h"

#define N          SEG_TILE_ROWS
#define LAMBDA_MIN 1e-200 /* stands for 0, by which nothing is divided: e^a - 1 is a there */
#define EXP_MAX    690.0  /* e^690 is finite */

static inline uint64_t bits_of(double x)
{
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static inline double from_bits(uint64_t b)
{
    double x;
    memcpy(&x, &b, sizeof x);
    return x;
}

/* log(1 + a), a >= 0: 1 + a = 2^k m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m-1)/(m+1)).
 * What the sum 1 + a rounded away comes back as the last term. */
static inline double log1p_positive(double a)
{
    const uint64_t sqrt_half = UINT64_C(0x3fe6a09e667f3bcd);
    const double u = 1 + a;
    const double lost = a > 1 ? 1 - (u - a) : a - (u - 1);
    const uint64_t k = (bits_of(u) - sqrt_half) >> 52;
    const double m = from_bits(bits_of(u) - (k << 52));
    const double k_double = from_bits(k | UINT64_C(0x4330000000000000)) - 0x1p52;
    const double s = (m - 1) / (m + 1), z = s * s; /* z <= 0.0295 */
    double p = 1.0 / 21;
    p = p * z + 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    return k_double * M_LN2 + (2 * s + 2 * s * z * p) + lost / u;
}

/* e^a - 1: a = k ln 2 + r, |r| <= ln(2) / 2, then 2^k (e^r - 1) + (2^k - 1). */
static inline double expm1_bounded(double a)
{
    const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
    const double to_integer = 0x1.8p52; /* leaves k in the low bits */
    a = a < -EXP_MAX ? -EXP_MAX : a;
    a = a > EXP_MAX ? EXP_MAX : a;
    const double shifted = a * M_LOG2E + to_integer;
    const double k = shifted - to_integer;
    const double scale = from_bits((bits_of(shifted) + 1023) << 52);
    const double r = (a - k * ln2_high) - k * ln2_low;
    double p = 1.0 / 6227020800; /* 1 / 13! and so on to 1 / 2! */
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 1.0 / 2;
    return scale * (r + r * r * p) + (scale - 1);
}

static void log1p_odd(double *restrict t)
{
    for (unsigned r = 0; r < N; r++)
        t[r] = copysign(log1p_positive(fabs(t[r])), t[r]);
}

static double away_from_zero(double a)
{
    return fabs(a) < LAMBDA_MIN ? LAMBDA_MIN : a;
}

/* sign(x) ((1 + |x|)^a - 1) / a, where a is lambda for x >= 0 and 2 - lambda below (Yeo and Johnson
 * 2000). */
static void yeo_johnson(double lambda, double *restrict t)
{
    const double a_up = away_from_zero(lambda), a_down = away_from_zero(2 - lambda);
    const double inverse_up = 1 / a_up, inverse_down = 1 / a_down;
    for (unsigned r = 0; r < N; r++) {
        const double x = t[r];
        const double a = x >= 0 ? a_up : a_down;
        const double inverse = x >= 0 ? inverse_up : inverse_down;
        t[r] = copysign(expm1_bounded(a * log1p_positive(fabs(x))) * inverse, x);
    }
}

/* As QuantileTransformer does: linear between knots; where several knots are equal, the middle of
 * their ranks; 0 at the smallest and 1 at the largest, even where those are tied. */
static void rank(const struct seg_number *s, double *restrict t)
{
    const double *restrict knots = s->knots, *restrict middles = s->middles;
    const uint32_t last = s->n_knots - 1;
    uint32_t first[N] = { 0 }; /* knots below t, found for all rows at once: loads overlap */
    for (uint32_t n = s->n_knots; n > 1; n -= n / 2) {
        const uint32_t half = n / 2;
        for (unsigned r = 0; r < N; r++)
            first[r] += half * (uint32_t)(knots[first[r] + half - 1] < t[r]);
    }
    const double least = knots[0], most = knots[last];
    for (unsigned r = 0; r < N; r++) {
        const double x = t[r];
        uint32_t at = first[r] + (uint32_t)(knots[first[r]] < x);
        at = at < 1 ? 1 : at;
        at = at > last ? last : at;
        const double here = knots[at], before = knots[at - 1], middle = middles[at];
        const double between = (double)(at - 1) + (x - before) / (here - before);
        double place = here == x ? middle : between;
        place = x >= most ? (double)last : place;
        place = x <= least ? 0 : place;
        t[r] = place / (double)last;
    }
}

/* As KBinsDiscretizer does: the inner edges that are not above the value, counted. */
static void bin(const struct seg_number *s, double *restrict t)
{
    const uint32_t last = s->n_knots - 2; /* the last bin; edges 1..last are inner ones */
    const double whole = last > 0 ? (double)last : 1;
    double index[N] = { 0 };
    for (uint32_t i = 1; i <= last; i++) {
        const double edge = s->knots[i];
        for (unsigned r = 0; r < N; r++)
            index[r] += edge <= t[r] ? 1.0 : 0.0;
    }
    for (unsigned r = 0; r < N; r++)
        t[r] = index[r] / whole;
}

static void transform(const struct seg_number *s, const float *x, double *t)
{
    for (unsigned r = 0; r < N; r++)
        t[r] = (double)x[r];
    switch (s->transform) {
    case SEG_TRANSFORM_NONE: break;
    case SEG_TRANSFORM_LOG1P: log1p_odd(t); break;
    case SEG_TRANSFORM_YEO_JOHNSON: yeo_johnson(s->lambda, t); break;
    case SEG_TRANSFORM_QUANTILE: rank(s, t); break;
    case SEG_TRANSFORM_BINS: bin(s, t); break;
    }
}

/* x as training would have had it after impute and outliers. */
static inline float clean(const struct seg_number *s, float x)
{
    float v = fabsf(x) <= FLT_MAX ? x : s->impute;
    v = v < s->lower ? s->lower : v;
    return v > s->upper ? s->upper : v;
}

/* The common case in one pass of floats. The center is taken off in two steps, the first of which
 * is exact for values near it; x * a + b would cancel. */
static void affine(const struct seg_number *s, const float *restrict x, float *restrict out)
{
    const struct seg_number n = *s; /* which out cannot alias */
    for (unsigned r = 0; r < N; r++) {
        float v = ((clean(&n, x[r]) - n.center_high) - n.center_low) * n.inverse_float;
        v = v < -SEG_VALUE_MAX ? -SEG_VALUE_MAX : v;
        out[r] = v > SEG_VALUE_MAX ? SEG_VALUE_MAX : v;
    }
}

static void apply(const struct seg_number *s, const float *x, float *out)
{
    if (s->transform == SEG_TRANSFORM_NONE) {
        affine(s, x, out);
        return;
    }
    const double max = (double)SEG_VALUE_MAX, center = s->center, inverse = s->inverse;
    float v[N];
    double t[N];
    for (unsigned r = 0; r < N; r++)
        v[r] = clean(s, x[r]);
    transform(s, v, t);
    for (unsigned r = 0; r < N; r++) {
        double a = (t[r] - center) * inverse;
        a = a < -max ? -max : a;
        out[r] = (float)(a > max ? max : a);
    }
}

#define TABLE_OF(isa) seg_number_kernels_##isa
#define TABLE(isa)    TABLE_OF(isa)
extern const struct seg_number_kernels TABLE(SEG_ISA);
const struct seg_number_kernels TABLE(SEG_ISA) = { .apply = apply, .transform = transform };
