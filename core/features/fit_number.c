/* fit_number.c - the parameters of one column of numbers, from its training values.
 * The column is gathered once; every later step works on that copy, as the step before it would
 * have left it. A column belongs to one worker, so its sums have one order. */
#include "features/plan.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/worker_pool.h"
#include "features/moments.h"
#include "features/order.h"

#define BLOCK                 SEG_MOMENTS_BLOCK
#define PREFETCH_TILES        12u
#define LAMBDA_TOLERANCE      1e-9
#define DIGITS_LOST           1e-20 /* variance / mean^2 where values run together */
#define LAMBDA_ITERATIONS_MAX 100

_Static_assert(BLOCK == SEG_TILE_ROWS, "a block of moments is transformed as a tile");

/* One column while it is fitted. */
struct column {
    float *values;        /* (n + 1): the last is scratch */
    size_t n;             /* present, and after imputation all training values */
    bool has_missing_row; /* in any part */
};

static inline float clip(float x, float lower, float upper)
{
    x = x < lower ? lower : x;
    return x > upper ? upper : x;
}

/* Where a column's values come from. */
struct origin {
    const struct seg_fit *fit;
    uint32_t cell;    /* of a feature */
    uint32_t derived; /* else: which derived column, */
    float *cells;     /* (derived + 1, 64) and room to derive it; NULL for a feature */
};

/* The raw values of one tile. */
static inline const float *values_at(const struct origin *o, size_t tile)
{
    const struct seg_table *t = o->fit->table;
    const float *raw = seg_tiles_at(&t->cells, tile);
    if (o->cells != NULL) {
        seg_pool_give_way();
        seg_derive_column(&t->schema, o->fit->derived, o->derived, raw, o->cells);
        return o->cells + (size_t)o->derived * SEG_TILE_ROWS;
    }
    seg_tiles_prefetch_column(&t->cells, tile + PREFETCH_TILES, o->cell);
    return raw + (size_t)o->cell * SEG_TILE_ROWS;
}

/* The finite training values in row order. A value is stored first and kept if it counts: no branch
 * is taken on data. */
static void gather(const struct origin *o, struct column *c)
{
    const struct seg_fit *fit = o->fit;
    const struct seg_tiles *cells = &fit->table->cells;
    const size_t n_tiles = seg_tiles_count(cells);
    float *values = c->values;
    size_t n = 0, n_finite = 0;
    for (size_t i = 0; i < n_tiles; i++) {
        const float *x = values_at(o, i);
        const uint8_t *part = fit->part == NULL ? NULL : fit->part + i * SEG_TILE_ROWS;
        const unsigned rows = seg_tiles_rows(cells, i);
        if (i % SEG_CHUNK_TILES == 0) seg_pool_give_way();
        for (unsigned r = 0; r < rows; r++) {
            const bool finite = fabsf(x[r]) <= FLT_MAX;
            values[n] = clip(x[r], -SEG_VALUE_MAX, SEG_VALUE_MAX);
            n += finite && (part == NULL || part[r] == SEG_PART_TRAIN);
            n_finite += finite;
        }
    }
    c->n = n;
    c->has_missing_row = n_finite < cells->n_rows;
}

/* The most frequent value, the smallest of several. */
static float mode_of(float *values, size_t n)
{
    seg_order_sort(values, n);
    float mode = values[0];
    size_t longest = 0;
    for (size_t i = 0, run = 0; i < n; i++) {
        run = i > 0 && values[i] == values[i - 1] ? run + 1 : 1;
        if (run > longest) {
            longest = run;
            mode = values[i];
        }
    }
    return mode;
}

static void fit_impute(const struct seg_column_spec *spec, struct column *c, size_t n_train,
                       struct seg_number *s)
{
    struct seg_quantile median;
    struct seg_moments m;
    double impute = 0;
    switch (spec->impute) {
    case SEG_IMPUTE_MEAN:
    case SEG_IMPUTE_ERROR: /* nothing is missing here; scoring gets the neutral value */
        m = seg_moments_of(c->values, c->n);
        impute = m.mean;
        break;
    case SEG_IMPUTE_MEDIAN:
        seg_order_quantiles(c->values, c->n, (const double[]){ 0.5 }, 1, &median);
        impute = seg_quantile_value(&median);
        break;
    case SEG_IMPUTE_MODE: impute = (double)mode_of(c->values, c->n); break;
    case SEG_IMPUTE_CONSTANT: impute = spec->constant; break;
    case SEG_IMPUTE_ZERO: break;
    }
    s->impute = clip((float)impute, -SEG_VALUE_MAX, SEG_VALUE_MAX);
    while (c->n < n_train)
        c->values[c->n++] = s->impute;
}

static void fit_outliers(const struct seg_column_spec *spec, struct column *c, struct seg_number *s)
{
    struct seg_quantile q[2];
    double lower = -(double)SEG_VALUE_MAX, upper = (double)SEG_VALUE_MAX;
    switch (spec->outliers) {
    case SEG_OUTLIERS_NONE: break;
    case SEG_OUTLIERS_WINSORIZE:
    case SEG_OUTLIERS_IQR: {
        const bool iqr = spec->outliers == SEG_OUTLIERS_IQR;
        const double at[2] = { iqr ? 0.25 : spec->lower, iqr ? 0.75 : spec->upper };
        seg_order_quantiles(c->values, c->n, at, 2, q);
        lower = seg_quantile_value(&q[0]);
        upper = seg_quantile_value(&q[1]);
        const double beyond = iqr ? spec->threshold * (upper - lower) : 0;
        lower -= beyond;
        upper += beyond;
        break;
    }
    case SEG_OUTLIERS_ZSCORE: {
        const struct seg_moments m = seg_moments_of(c->values, c->n);
        lower = m.mean - spec->threshold * seg_moments_sd(&m);
        upper = m.mean + spec->threshold * seg_moments_sd(&m);
        break;
    }
    }
    const float low = (float)fmax(lower, -(double)SEG_VALUE_MAX);
    const float high = (float)fmin(upper, (double)SEG_VALUE_MAX);
    for (size_t i = 0; i < c->n; i++)
        c->values[i] = clip(c->values[i], low, high);
    s->lower = low;
    s->upper = high;
}

/* Moments of the transformed values. */
static struct seg_moments transformed_moments(const struct seg_number *s, const float *values,
                                              size_t n)
{
    const struct seg_number_kernels *kernels = seg_number_kernels_get();
    struct seg_moments m = { 0 };
    float rest[BLOCK] = { 0 }; /* the last block, filled up */
    double t[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        const size_t len = n - i < BLOCK ? n - i : BLOCK;
        if (i % (16 * BLOCK) == 0) seg_pool_give_way();
        if (len < BLOCK) memcpy(rest, values + i, len * sizeof *rest);
        kernels->transform(s, len < BLOCK ? rest : values + i, t);
        seg_moments_add(&m, t, len);
    }
    return m;
}

/* The negative log-likelihood of lambda, for values that are normal after Yeo-Johnson. */
struct likelihood {
    const struct column *column;
    double sum_log; /* of sign(x) log(1 + |x|) */
};

static double negative_log_likelihood(const struct likelihood *l, double lambda)
{
    const struct seg_number s = { .transform = SEG_TRANSFORM_YEO_JOHNSON, .lambda = lambda };
    const struct seg_moments m = transformed_moments(&s, l->column->values, l->column->n);
    const double variance = seg_moments_variance(&m);
    const double least = fmax(DBL_MIN, DIGITS_LOST * m.mean * m.mean);
    if (!(variance >= least && variance <= DBL_MAX)) return DBL_MAX;
    return (double)l->column->n / 2 * log(variance) - (lambda - 1) * l->sum_log;
}

/* The lambda within +-SEG_LAMBDA_MAX that is most likely, by Brent's method (1973, localmin): a
 * parabola through the three best points, or the golden section where that does not help. */
static enum seg_status most_likely_lambda(const struct seg_progress *progress,
                                          const struct likelihood *l, double *ret_lambda)
{
    const double golden = 0.3819660112501051;
    double a = -SEG_LAMBDA_MAX, b = SEG_LAMBDA_MAX;
    double x = a + golden * (b - a), w = x, v = x; /* best, second, the second before */
    double fx = negative_log_likelihood(l, x), fw = fx, fv = fx;
    double step = 0, before = 0;
    for (int i = 0; i < LAMBDA_ITERATIONS_MAX; i++) {
        const double middle = 0.5 * (a + b), tol = LAMBDA_TOLERANCE * (fabs(x) + 1);
        if (fabs(x - middle) <= 2 * tol - 0.5 * (b - a)) break;
        if (seg_progress_cancelled(progress)) return SEG_ECANCELED;
        const double r = (x - w) * (fx - fv), q0 = (x - v) * (fx - fw);
        const double sign = q0 > r ? -1 : 1;
        const double p = sign * ((x - v) * q0 - (x - w) * r), q = 2 * fabs(q0 - r);
        if (fabs(before) > tol && fabs(p) < fabs(0.5 * q * before) && p > q * (a - x) &&
            p < q * (b - x)) {
            before = step;
            step = p / q;
            if (x + step - a < 2 * tol || b - x - step < 2 * tol) step = copysign(tol, middle - x);
        } else {
            before = x < middle ? b - x : a - x;
            step = golden * before;
        }
        const double u = x + (fabs(step) >= tol ? step : copysign(tol, step));
        const double fu = negative_log_likelihood(l, u);
        if (fu <= fx) {
            *(u < x ? &b : &a) = x;
            v = w, fv = fw, w = x, fw = fx, x = u, fx = fu;
        } else {
            *(u < x ? &a : &b) = u;
            if (fu <= fw || w == x) {
                v = w, fv = fw, w = u, fw = fu;
            } else if (fu <= fv || v == x || v == w) {
                v = u, fv = fu;
            }
        }
    }
    *ret_lambda = x;
    return SEG_OK;
}

static enum seg_status fit_lambda(const struct seg_progress *progress, const struct column *c,
                                  struct seg_number *s)
{
    const struct seg_range range = seg_order_range(c->values, c->n);
    s->lambda = 1; /* the identity, for a constant */
    if (range.least == range.most) return SEG_OK;
    const struct seg_number log1p_odd = { .transform = SEG_TRANSFORM_LOG1P };
    const struct seg_moments m = transformed_moments(&log1p_odd, c->values, c->n);
    const struct likelihood l = { .column = c, .sum_log = m.mean * m.n };
    return most_likely_lambda(progress, &l, &s->lambda);
}

static enum seg_status fit_knots(struct column *c, struct seg_number *s)
{
    double knots[SEG_KNOTS_MAX] = { 0 };
    size_t n = c->n < SEG_KNOTS_MAX ? c->n : SEG_KNOTS_MAX;
    if (n < 2) n = 2;
    seg_order_sort(c->values, c->n);
    for (size_t i = 0; i < n; i++) {
        const double knot = seg_quantile_sorted(c->values, c->n, (double)i / (double)(n - 1));
        knots[i] = i > 0 ? fmax(knot, knots[i - 1]) : knot; /* rounding may not reorder */
    }
    return seg_number_set_knots(s, knots, n);
}

/* The quantiles at equal steps; of those that coincide one is kept. */
static enum seg_status fit_edges(uint32_t n_bins, struct column *c, struct seg_number *s)
{
    double edges[SEG_BINS_MAX + 1] = { 0 };
    size_t n = 0;
    seg_order_sort(c->values, c->n);
    for (uint32_t i = 0; i <= n_bins; i++) {
        const double edge = seg_quantile_sorted(c->values, c->n, (double)i / (double)n_bins);
        if (n == 0 || edge > edges[n - 1]) edges[n++] = edge;
    }
    if (n == 1) edges[n++] = edges[0]; /* a constant: one bin without width */
    return seg_number_set_knots(s, edges, n);
}

static enum seg_status fit_transform(const struct seg_fit *fit, const struct seg_column_spec *spec,
                                     struct column *c, struct seg_number *s)
{
    const enum seg_transform transform = spec->transform;
    s->transform = transform;
    if (transform == SEG_TRANSFORM_BINS)
        return fit_edges(spec->n_bins == 0 ? SEG_BINS_DEFAULT : spec->n_bins, c, s);
    if (transform == SEG_TRANSFORM_YEO_JOHNSON) return fit_lambda(fit->progress, c, s);
    if (transform == SEG_TRANSFORM_QUANTILE) return fit_knots(c, s);
    return SEG_OK;
}

/* Median and interquartile range. All transforms are monotone: quantiles of the transformed values
 * are mixtures of transformed order statistics. */
static void fit_robust(struct seg_number *s, float *values, size_t n)
{
    struct seg_quantile q[3];
    double t[3];
    seg_order_quantiles(values, n, (const double[]){ 0.25, 0.5, 0.75 }, 3, q);
    for (unsigned i = 0; i < 3; i++)
        t[i] = seg_quantile_mix(seg_number_transform(s, q[i].below),
                                seg_number_transform(s, q[i].above), q[i].weight);
    const double range = t[2] - t[0];
    seg_number_set_scale(s, t[1], range > 0 ? 1 / range : 1);
}

void seg_fit_scale(struct seg_number *s, enum seg_scale scale, float *values, size_t n)
{
    const struct seg_range range = seg_order_range(values, n);
    const double low = seg_number_transform(s, range.least);
    const double high = seg_number_transform(s, range.most);
    if (!(low < high) && scale != SEG_SCALE_NONE) {
        seg_number_set_scale(s, low, 0);
        return;
    }
    switch (scale) {
    case SEG_SCALE_NONE: seg_number_set_scale(s, 0, 1); break;
    case SEG_SCALE_STANDARD: {
        const struct seg_moments m = transformed_moments(s, values, n);
        seg_number_set_scale(s, m.mean, 1 / seg_moments_sd(&m));
        break;
    }
    case SEG_SCALE_MIN_MAX: seg_number_set_scale(s, low, 1 / (high - low)); break;
    case SEG_SCALE_ROBUST: fit_robust(s, values, n); break;
    case SEG_SCALE_MAX_ABS: seg_number_set_scale(s, 0, 1 / fmax(fabs(low), fabs(high))); break;
    }
}

enum seg_status seg_fit_number(const struct seg_fit *fit, uint32_t feature, uint32_t dimension,
                               struct seg_number *ret_s, const char **ret_why)
{
    const struct seg_schema *schema = &fit->table->schema;
    struct seg_column_spec spec = fit->specs[feature];
    struct seg_number s = { 0 };
    struct origin o = { .fit = fit };
    enum seg_type type;
    enum seg_status st = SEG_ENOMEM;
    struct column c = { .values = seg_scratch_take(fit->columns) };
    if (c.values == NULL) goto out;
    if (feature < schema->n_features) {
        type = schema->features[feature].type;
        o.cell = schema->features[feature].cell + dimension;
    } else {
        o.derived = feature - schema->n_features;
        type = seg_derive_type(fit->derived[o.derived].op);
        o.cells = seg_alloc_aligned(((size_t)o.derived + 1) * SEG_TILE_ROWS, sizeof *o.cells);
        if (o.cells == NULL) goto out;
    }
    gather(&o, &c);
    if (c.n == 0) {
        *ret_why = "there is no value in the training rows";
        st = SEG_EINVAL;
        goto out;
    }
    if (spec.impute == SEG_IMPUTE_ERROR && c.has_missing_row) {
        *ret_why = "a value is missing, and impute is error";
        st = SEG_EINVAL;
        goto out;
    }
    /* A rare yes is not an outlier: any fence would turn the column into a constant. */
    if (type == SEG_BOOLEAN) spec.outliers = SEG_OUTLIERS_NONE;

    fit_impute(&spec, &c, fit->n_train, &s);
    fit_outliers(&spec, &c, &s);
    st = seg_progress_cancelled(fit->progress) ? SEG_ECANCELED : SEG_OK;
    if (st == SEG_OK) st = fit_transform(fit, &spec, &c, &s);
    if (st == SEG_OK && seg_progress_cancelled(fit->progress)) st = SEG_ECANCELED;
    if (st != SEG_OK) goto out;
    seg_fit_scale(&s, spec.scale, c.values, c.n);
    *ret_s = s;
    s = (struct seg_number){ 0 }; /* the knots went with it */

out:
    seg_number_release(&s);
    seg_free(o.cells);
    if (c.values != NULL) seg_scratch_give(fit->columns, c.values);
    return st;
}
