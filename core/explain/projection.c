/* projection.c - principal components: the covariance in float64, its eigenvectors by cyclic Jacobi
 * (up to 256 columns) or the first two by power iteration on a sample of rows (above; eight vectors
 * at once with Rayleigh and Ritz's choice in their span: about ten passes instead of hundreds). */
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "compute/covariance.h"
#include "explain/projection.h"

#define JACOBI_COLS_MAX    256u
#define SUBSPACE           8u
#define SUBSPACE_ROWS_MAX  20000u
#define SUBSPACE_STEPS_MAX 50u
#define BLOCKS_MAX         16u

/* ---- up to JACOBI_COLS_MAX columns: the covariance of all rows ---- */

/* Indices of the two largest values on the diagonal of a (d, d), d >= 2. */
static void two_largest(const double *a, size_t d, size_t order[2])
{
    order[0] = a[0] >= a[d + 1] ? 0 : 1;
    order[1] = 1 - order[0];
    for (size_t c = 2; c < d; c++) {
        if (a[c * d + c] > a[order[0] * d + order[0]]) {
            order[1] = order[0];
            order[0] = c;
        } else if (a[c * d + c] > a[order[1] * d + order[1]]) {
            order[1] = c;
        }
    }
}

/* Writes the unit vector v as axis number i, its largest loading positive. */
static void set_axis(struct seg_projection *p, size_t i, const double *v)
{
    float *axis = seg_matrix_row(&p->axes, i);
    const double sign = seg_eigen_sign(v, p->axes.n_cols);
    for (size_t c = 0; c < p->axes.n_cols; c++)
        axis[c] = (float)(sign * v[c]);
}

static enum seg_status fit_jacobi(struct seg_pool *pool, const struct seg_tiles *x,
                                  struct seg_projection *p)
{
    const size_t d = x->n_cols;
    double *mean = seg_alloc(d, sizeof *mean), *cov = seg_alloc(d * d, sizeof *cov),
           *vectors = seg_alloc(d * d, sizeof *vectors), total = 0;
    enum seg_status st = SEG_ENOMEM;
    if (mean == NULL || cov == NULL || vectors == NULL) goto out;
    st = seg_covariance(pool, x, NULL, mean, cov);
    if (st != SEG_OK) goto out;
    for (size_t c = 0; c < d; c++) {
        p->mean[c] = (float)mean[c];
        total += cov[c * d + c];
    }
    st = seg_eigen_symmetric(cov, d, NULL, vectors);
    if (st != SEG_OK) goto out;
    size_t order[2] = { 0, 0 }, n_axes = d < 2 ? 1 : 2;
    if (d >= 2) two_largest(cov, d, order);
    for (size_t a = 0; a < n_axes; a++) {
        set_axis(p, a, vectors + order[a] * d);
        p->explained[a] = total > 0 ? fmax(cov[order[a] * d + order[a]], 0) / total : 0;
    }
out:
    seg_free(mean);
    seg_free(cov);
    seg_free(vectors);
    return st;
}

/* ---- more columns: subspace iteration (power iteration on a few vectors at once) on a sample ----
 */

struct subspace {
    const struct seg_tiles *x;
    const uint32_t *rows; /* (n) */
    size_t n, d, n_rows_block, n_blocks;
    double *mean;     /* (d); zero in the pass that takes it */
    double *basis;    /* (SUBSPACE, d) */
    double *product;  /* (n_blocks, SUBSPACE, d) sums over rows of (x - mean) <x - mean, basis_i> */
    double *square;   /* (n_blocks) sum of |x - mean|^2 */
    double *centered; /* (n_blocks, d) scratch: a row less the mean */
    float *row;       /* (n_blocks, d) scratch */
};

static void subspace_release(struct subspace *s)
{
    seg_free(s->mean);
    seg_free(s->basis);
    seg_free(s->product);
    seg_free(s->square);
    seg_free(s->centered);
    seg_free(s->row);
}

static enum seg_status subspace_init(struct subspace *s)
{
    s->n_rows_block = (s->n + BLOCKS_MAX - 1) / BLOCKS_MAX;
    s->n_blocks = (s->n + s->n_rows_block - 1) / s->n_rows_block;
    s->mean = seg_calloc(s->d, sizeof *s->mean);
    s->basis = seg_alloc(SUBSPACE * s->d, sizeof *s->basis);
    s->product = seg_alloc(s->n_blocks * SUBSPACE * s->d, sizeof *s->product);
    s->square = seg_alloc(s->n_blocks, sizeof *s->square);
    s->centered = seg_alloc(s->n_blocks * s->d, sizeof *s->centered);
    s->row = seg_alloc(s->n_blocks * s->d, sizeof *s->row);
    return s->mean && s->basis && s->product && s->square && s->centered && s->row ? SEG_OK
                                                                                   : SEG_ENOMEM;
}

static const double *centered_row(const struct subspace *s, size_t block, size_t r)
{
    float *row = s->row + block * s->d;
    double *centered = s->centered + block * s->d;
    seg_pool_give_way();
    seg_tiles_get_row(s->x, s->rows[r], row);
    for (size_t c = 0; c < s->d; c++)
        centered[c] = (double)row[c] - s->mean[c];
    return centered;
}

static double dot(const double *a, const double *b, size_t d)
{
    double sum = 0;
    for (size_t c = 0; c < d; c++)
        sum += a[c] * b[c];
    return sum;
}

/* Column sums of a block into the first row of its product. */
static void subspace_sum_block(void *ctx, size_t block)
{
    const struct subspace *s = ctx;
    double *sum = s->product + block * SUBSPACE * s->d;
    memset(sum, 0, s->d * sizeof *sum);
    for (size_t r = block * s->n_rows_block; r < (block + 1) * s->n_rows_block && r < s->n; r++) {
        const double *v = centered_row(s, block, r);
        for (size_t c = 0; c < s->d; c++)
            sum[c] += v[c];
    }
}

static void subspace_block(void *ctx, size_t block)
{
    const struct subspace *s = ctx;
    double *product = s->product + block * SUBSPACE * s->d;
    memset(product, 0, SUBSPACE * s->d * sizeof *product);
    s->square[block] = 0;
    for (size_t r = block * s->n_rows_block; r < (block + 1) * s->n_rows_block && r < s->n; r++) {
        const double *v = centered_row(s, block, r);
        s->square[block] += dot(v, v, s->d);
        for (size_t i = 0; i < SUBSPACE; i++) {
            double along = dot(v, s->basis + i * s->d, s->d);
            for (size_t c = 0; c < s->d; c++)
                product[i * s->d + c] += v[c] * along;
        }
    }
}

/* Makes the rows of v (SUBSPACE, d) orthonormal; a row that depends on those before becomes zero.
 * Twice, because once loses digits (Giraud, Langou and Rozloznik 2005). */
static void orthonormalize(double *v, size_t d)
{
    for (size_t i = 0; i < SUBSPACE; i++) {
        double *vi = v + i * d, before = dot(vi, vi, d);
        for (int pass = 0; pass < 2; pass++)
            for (size_t j = 0; j < i; j++) {
                double along = dot(vi, v + j * d, d);
                for (size_t c = 0; c < d; c++)
                    vi[c] -= along * v[j * d + c];
            }
        double after = dot(vi, vi, d);
        double scale = after > before * 1e-24 && after > 0 ? 1 / sqrt(after) : 0;
        for (size_t c = 0; c < d; c++)
            vi[c] *= scale;
    }
}

/* The two best axes in the span of the basis, from the basis and its product with the covariance.
 * Writes them and their eigenvalues. */
static void ritz(const struct subspace *s, const double *product, double axes[], double values[2])
{
    double small[SUBSPACE * SUBSPACE], vectors[SUBSPACE * SUBSPACE];
    for (size_t i = 0; i < SUBSPACE; i++)
        for (size_t j = 0; j < SUBSPACE; j++)
            small[i * SUBSPACE + j] = (dot(s->basis + i * s->d, product + j * s->d, s->d) +
                                       dot(s->basis + j * s->d, product + i * s->d, s->d)) /
                                      2;
    seg_eigen_symmetric(small, SUBSPACE, NULL, vectors); /* cannot be cancelled, so is SEG_OK */
    size_t order[2];
    two_largest(small, SUBSPACE, order);
    memset(axes, 0, 2 * s->d * sizeof *axes);
    for (size_t a = 0; a < 2; a++) {
        values[a] = fmax(small[order[a] * SUBSPACE + order[a]], 0);
        for (size_t i = 0; i < SUBSPACE; i++)
            for (size_t c = 0; c < s->d; c++)
                axes[a * s->d + c] += vectors[order[a] * SUBSPACE + i] * s->basis[i * s->d + c];
    }
}

static enum seg_status fit_subspace(struct seg_pool *pool, const struct seg_tiles *x,
                                    struct seg_rng *rng, struct seg_projection *p)
{
    const size_t d = x->n_cols;
    struct subspace s = { .x = x, .d = d };
    double *axes = seg_alloc(2 * d, sizeof *axes), values[2] = { 0 }, total = 0;
    s.n = x->n_rows < SUBSPACE_ROWS_MAX ? x->n_rows : SUBSPACE_ROWS_MAX;
    uint32_t *rows = seg_alloc(s.n, sizeof *rows);
    enum seg_status st = SEG_ENOMEM;
    if (rows == NULL || axes == NULL) goto out;
    seg_rng_sample(rng, x->n_rows, s.n, rows);
    s.rows = rows;
    st = subspace_init(&s);
    if (st != SEG_OK) goto out;

    seg_pool_for(pool, SEG_PRIORITY_TRAINING, s.n_blocks, subspace_sum_block, &s);
    for (size_t b = 0; b < s.n_blocks; b++)
        for (size_t c = 0; c < d; c++)
            s.mean[c] += s.product[b * SUBSPACE * d + c] / (double)s.n;
    for (size_t i = 0; i < SUBSPACE * d; i++)
        s.basis[i] = seg_rng_normal(rng);
    orthonormalize(s.basis, d);
    for (unsigned step = 0; step < SUBSPACE_STEPS_MAX; step++) {
        const double before[2] = { values[0], values[1] };
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, s.n_blocks, subspace_block, &s);
        total = s.square[0];
        for (size_t b = 1; b < s.n_blocks; b++) {
            total += s.square[b];
            for (size_t i = 0; i < SUBSPACE * d; i++)
                s.product[i] += s.product[b * SUBSPACE * d + i];
        }
        ritz(&s, s.product, axes, values);
        if (fabs(values[0] - before[0]) + fabs(values[1] - before[1]) <= 1e-9 * values[0]) break;
        memcpy(s.basis, s.product, SUBSPACE * d * sizeof *s.basis);
        orthonormalize(s.basis, d);
    }
    for (size_t c = 0; c < d; c++)
        p->mean[c] = (float)s.mean[c];
    for (size_t a = 0; a < 2; a++) {
        set_axis(p, a, axes + a * d);
        p->explained[a] = total > 0 ? values[a] / total : 0;
    }
out:
    subspace_release(&s);
    seg_free(axes);
    seg_free(rows);
    return st;
}

/* ---- the points ---- */

static void project(const struct seg_tiles *x, struct seg_projection *p, float *row)
{
    for (size_t i = 0; i < p->n_points; i++) {
        seg_tiles_get_row(x, p->rows[i], row);
        for (size_t a = 0; a < 2; a++) {
            const float *axis = seg_matrix_row(&p->axes, a);
            double sum = 0;
            for (size_t c = 0; c < x->n_cols; c++)
                sum += ((double)row[c] - (double)p->mean[c]) * (double)axis[c];
            p->points[2 * i + a] = (float)sum;
        }
    }
}

enum seg_status seg_projection_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                   size_t n_points_max, uint64_t seed, struct seg_projection *ret_p)
{
    struct seg_projection p = { .n_points = x->n_rows < n_points_max ? x->n_rows : n_points_max };
    struct seg_rng rng = seg_rng_make(seed, 0), rng_fit = seg_rng_make(seed, 1);
    float *row = seg_alloc(x->n_cols, sizeof *row);
    enum seg_status st = seg_matrix_init(&p.axes, 2, x->n_cols);
    if (st != SEG_OK) goto out;
    st = SEG_ENOMEM;
    p.mean = seg_calloc(x->n_cols, sizeof *p.mean);
    p.rows = seg_alloc(p.n_points, sizeof *p.rows);
    p.points = seg_alloc(2 * p.n_points, sizeof *p.points);
    if (row == NULL || p.mean == NULL || p.rows == NULL || p.points == NULL) goto out;

    st = SEG_OK;
    if (x->n_rows > 0)
        st = x->n_cols <= JACOBI_COLS_MAX ? fit_jacobi(pool, x, &p)
                                          : fit_subspace(pool, x, &rng_fit, &p);
    if (st != SEG_OK) goto out;
    seg_rng_sample(&rng, x->n_rows, p.n_points, p.rows);
    project(x, &p, row);
    *ret_p = p;
    p = (struct seg_projection){ 0 };
out:
    seg_free(row);
    seg_projection_release(&p);
    return st;
}

void seg_projection_release(struct seg_projection *p)
{
    seg_matrix_release(&p->axes);
    seg_free(p->mean);
    seg_free(p->rows);
    seg_free(p->points);
    *p = (struct seg_projection){ 0 };
}
