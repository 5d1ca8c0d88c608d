/* covariance.c - one pass over differences from a shift, the mean of the first chunk. The shift
 * keeps the digits: its rows are part of the data, so that (mean - shift)^2 is at most n / 4,096
 * times the variance. A group of tiles is copied less the shift, and is one product, long enough
 * that BLAS earns its keep. */
#include "compute/covariance.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/gemm.h"

#define BLOCKS_MAX       16u
#define BLOCKS_BYTES_MAX ((size_t)128 << 20) /* of all blocks' sums */
#define GROUP_TILES      4u
#define GROUP_ROWS       (GROUP_TILES * SEG_TILE_ROWS)
#define SWEEPS_MAX       60u

struct sums {
    const struct seg_tiles *x;
    const struct seg_progress *progress;
    size_t n_tiles_block;
    double *shift; /* (d) */
    double *sum;   /* (n_blocks, d) sum x - shift */
    double *cov;   /* (n_blocks, d, d) sum (x - shift)(x - shift)^T, upper triangle */
    double *off;   /* (n_blocks, d, GROUP_ROWS) rows less the shift, a column after another */
};

/* Tile t less the shift to rows first.. of off, zero past its last row; adds it up to sum (d). */
static void shift_tile(const struct sums *s, size_t t, size_t first, double *restrict off,
                       double *restrict sum)
{
    const float *restrict tile = seg_tiles_at(s->x, t);
    const unsigned n = seg_tiles_rows(s->x, t);
    for (size_t c = 0; c < s->x->n_cols; c++) {
        const double shift = s->shift[c];
        double *restrict to = off + c * GROUP_ROWS + first;
        double part[8] = { 0 };
        for (size_t r = 0; r < SEG_TILE_ROWS; r++)
            to[r] = (double)tile[c * SEG_TILE_ROWS + r] - shift;
        for (size_t r = n; r < SEG_TILE_ROWS; r++)
            to[r] = 0;
        for (size_t r = 0; r < SEG_TILE_ROWS; r += 8)
            for (size_t i = 0; i < 8; i++)
                part[i] += to[r + i];
        for (size_t i = 0; i < 8; i++)
            sum[c] += part[i];
    }
}

static void sum_block(void *ctx, size_t block)
{
    const struct sums *s = ctx;
    const size_t d = s->x->n_cols, n_tiles = seg_tiles_count(s->x);
    const size_t first = block * s->n_tiles_block;
    const size_t end = first + s->n_tiles_block < n_tiles ? first + s->n_tiles_block : n_tiles;
    double *off = s->off + block * d * GROUP_ROWS;
    for (size_t t = first; t < end; t += GROUP_TILES) {
        const size_t n = end - t < GROUP_TILES ? end - t : GROUP_TILES;
        if (seg_progress_cancelled(s->progress)) return;
        seg_pool_give_way();
        for (size_t i = 0; i < n; i++)
            shift_tile(s, t + i, i * SEG_TILE_ROWS, off, s->sum + block * d);
        seg_gram_add(d, n * SEG_TILE_ROWS, off, GROUP_ROWS, s->cov + block * d * d);
    }
}

/* The mean of the first chunk's rows. */
static void take_shift(const struct seg_tiles *x, double *shift)
{
    const size_t n_tiles = seg_tiles_count(x);
    const size_t n = n_tiles < SEG_CHUNK_TILES ? n_tiles : SEG_CHUNK_TILES;
    const size_t n_rows = x->n_rows < SEG_CHUNK_ROWS ? x->n_rows : SEG_CHUNK_ROWS;
    for (uint32_t c = 0; c < x->n_cols; c++) {
        double sum = 0; /* rows past the last are zero */
        for (size_t t = 0; t < n; t++)
            for (size_t r = 0; r < SEG_TILE_ROWS; r++)
                sum += (double)seg_tiles_at(x, t)[(size_t)c * SEG_TILE_ROWS + r];
        shift[c] = sum / (double)n_rows;
    }
}

/* Adds up the blocks, in order, and takes the mean's share out. */
static void finish(const struct sums *s, size_t n_blocks, double *mean, double *cov)
{
    const size_t d = s->x->n_cols;
    const double n = (double)s->x->n_rows;
    for (size_t c = 0; c < d; c++) {
        mean[c] = 0; /* less the shift, at first */
        for (size_t b = 0; b < n_blocks; b++)
            mean[c] += s->sum[b * d + c];
        mean[c] /= n;
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = i; j < d; j++) {
            double sum = 0;
            for (size_t b = 0; b < n_blocks; b++)
                sum += s->cov[(b * d + i) * d + j];
            cov[i * d + j] = cov[j * d + i] = sum / n - mean[i] * mean[j];
        }
    for (size_t c = 0; c < d; c++)
        mean[c] += s->shift[c];
}

enum seg_status seg_covariance(struct seg_pool *pool, const struct seg_tiles *x,
                               const struct seg_progress *progress, double *ret_mean,
                               double *ret_cov)
{
    const size_t d = x->n_cols, n_tiles = seg_tiles_count(x);
    size_t n_blocks = BLOCKS_BYTES_MAX / (d * d * sizeof(double));
    n_blocks = n_blocks < 1 ? 1 : n_blocks > BLOCKS_MAX ? BLOCKS_MAX : n_blocks;
    const size_t n_tiles_block = (n_tiles + n_blocks - 1) / n_blocks;
    n_blocks = (n_tiles + n_tiles_block - 1) / n_tiles_block;
    struct sums s = { .x = x, .progress = progress, .n_tiles_block = n_tiles_block };
    enum seg_status st = SEG_ENOMEM;
    s.shift = seg_alloc(d, sizeof *s.shift);
    s.sum = seg_calloc(n_blocks * d, sizeof *s.sum);
    s.cov = seg_calloc(n_blocks * d * d, sizeof *s.cov);
    s.off = seg_alloc(n_blocks * d * GROUP_ROWS, sizeof *s.off);
    if (s.shift == NULL || s.sum == NULL || s.cov == NULL || s.off == NULL) goto out;
    take_shift(x, s.shift);
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_blocks, sum_block, &s);
    st = seg_progress_cancelled(progress) ? SEG_ECANCELED : SEG_OK;
    if (st == SEG_OK) finish(&s, n_blocks, ret_mean, ret_cov);
out:
    seg_free(s.shift);
    seg_free(s.sum);
    seg_free(s.cov);
    seg_free(s.off);
    return st;
}

/* One Jacobi rotation of the symmetric a (d, d) that makes a[p][q] zero; v (d, d) has the
 * eigenvectors as rows. Only rows are turned: what stands in the columns follows by symmetry. */
static void rotate(double *restrict a, double *restrict v, size_t d, size_t p, size_t q)
{
    const double app = a[p * d + p], aqq = a[q * d + q], apq = a[p * d + q];
    const double theta = (aqq - app) / (2 * apq);
    const double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    double *restrict ap = a + p * d, *restrict aq = a + q * d;
    for (size_t i = 0; i < d; i++) {
        const double pi = ap[i], qi = aq[i];
        ap[i] = c * pi - s * qi;
        aq[i] = s * pi + c * qi;
    }
    ap[p] = app - t * apq;
    aq[q] = aqq + t * apq;
    ap[q] = aq[p] = 0;
    for (size_t i = 0; i < d; i++) {
        a[i * d + p] = ap[i];
        a[i * d + q] = aq[i];
    }
    double *restrict vp = v + p * d, *restrict vq = v + q * d;
    for (size_t i = 0; i < d; i++) {
        const double pi = vp[i], qi = vq[i];
        vp[i] = c * pi - s * qi;
        vq[i] = s * pi + c * qi;
    }
}

enum seg_status seg_eigen_symmetric(double *a, size_t d, const struct seg_progress *progress,
                                    double *ret_v)
{
    double norm = 0;
    memset(ret_v, 0, d * d * sizeof *ret_v);
    for (size_t i = 0; i < d; i++)
        ret_v[i * d + i] = 1;
    for (size_t i = 0; i < d * d; i++)
        norm += a[i] * a[i];
    /* What all elements below it add up to is what the last sweep may leave. */
    const double negligible = sqrt(norm) * DBL_EPSILON / (double)d;
    for (unsigned sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        bool turned = false;
        for (size_t p = 0; p < d; p++) {
            if (seg_progress_cancelled(progress)) return SEG_ECANCELED;
            for (size_t q = p + 1; q < d; q++) {
                if (q % 16 == 0) seg_pool_give_way();
                if (!(fabs(a[p * d + q]) > fmax(negligible, DBL_MIN))) continue;
                rotate(a, ret_v, d, p, q);
                turned = true;
            }
        }
        if (!turned) break;
    }
    return SEG_OK;
}

double seg_eigen_sign(const double *v, size_t d)
{
    size_t largest = 0;
    for (size_t c = 1; c < d; c++)
        if (fabs(v[c]) > fabs(v[largest]) * (1 + 1e-9)) largest = c;
    return v[largest] < 0 ? -1 : 1;
}
