/* transform.c - log1p, Yeo-Johnson (2000) and the empirical distribution function.
 * log and exp are written out: libm's take one value at a time, and 64 at once is what the scoring
 * path has. Constants: fdlibm's reductions, with plain series that are long enough for float64. */
#include "features/transform.h"

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

void seg_log1p_odd(double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = copysign(log1p_positive(fabs(x[i])), x[i]);
}

static inline double away_from_zero(double a)
{
    return fabs(a) < LAMBDA_MIN ? LAMBDA_MIN : a;
}

/* sign(x) ((1 + |x|)^a - 1) / a, where a is lambda for x >= 0 and 2 - lambda below. */
static void yeo_johnson(double lambda, double *t)
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

/* How many of knots are below x (ascending), without a branch that depends on x. */
static inline uint32_t count_below(const double *knots, uint32_t n, double x)
{
    uint32_t first = 0;
    while (n > 1) {
        const uint32_t half = n / 2;
        first += knots[first + half - 1] < x ? half : 0;
        n -= half;
    }
    return first + (knots[first] < x);
}

/* As QuantileTransformer does: linear between knots; where several knots are equal, the middle of
 * their ranks; 0 at the smallest and 1 at the largest, even where those are tied. */
static double rank_of(const struct seg_number *s, double x)
{
    const uint32_t last = s->n_knots - 1;
    if (x <= s->knots[0]) return 0;
    if (x >= s->knots[last]) return 1;
    const uint32_t at = count_below(s->knots, s->n_knots, x); /* 1..last */
    const double here = s->knots[at], before = s->knots[at - 1];
    double rank;
    if (here == x) {
        uint32_t end = at;
        while (s->knots[end + 1] == x)
            end++;
        rank = 0.5 * ((double)at + (double)end);
    } else {
        rank = (double)(at - 1) + (x - before) / (here - before);
    }
    return rank / (double)last;
}

void seg_transform_tile(const struct seg_number *s, const float *x, double *t)
{
    for (unsigned r = 0; r < N; r++)
        t[r] = (double)x[r];
    switch (s->transform) {
    case SEG_TRANSFORM_NONE: break;
    case SEG_TRANSFORM_LOG1P: seg_log1p_odd(t, N); break;
    case SEG_TRANSFORM_YEO_JOHNSON: yeo_johnson(s->lambda, t); break;
    case SEG_TRANSFORM_QUANTILE:
        for (unsigned r = 0; r < N; r++)
            t[r] = rank_of(s, t[r]);
        break;
    }
}

double seg_transform_one(const struct seg_number *s, float x)
{
    float tile[N] = { x };
    double t[N];
    seg_transform_tile(s, tile, t);
    return t[0];
}

static double yeo_johnson_inverse(double lambda, double t)
{
    const double a = away_from_zero(t >= 0 ? lambda : 2 - lambda);
    const double base = a * fabs(t); /* (1 + |x|)^a - 1 */
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

double seg_transform_inverse(const struct seg_number *s, double t)
{
    double x = t;
    switch (s->transform) {
    case SEG_TRANSFORM_NONE: break;
    case SEG_TRANSFORM_LOG1P: x = copysign(expm1(fabs(t)), t); break;
    case SEG_TRANSFORM_YEO_JOHNSON: x = yeo_johnson_inverse(s->lambda, t); break;
    case SEG_TRANSFORM_QUANTILE: x = value_at_rank(s, t); break;
    }
    return fmin(fmax(x, -(double)SEG_VALUE_MAX), (double)SEG_VALUE_MAX);
}
