/* kmeans_sums.c - what k-means knows of its data as a whole, and exact sums over clusters.
 * See kmeans_run.h for why the sums are integers. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "cluster/kmeans_run.h"

#define SUM_BITS 61

/* Count, mean and centred squares of a chunk, merged in chunk order (Chan, Golub and LeVeque). */
struct survey {
    const struct seg_tiles *x;
    double *mean;    /* (n_chunks, d) */
    double *scatter; /* (n_chunks, d) sum of (x - chunk mean)^2 */
    float *largest;  /* (n_chunks, d) largest |x| */
};

static void survey_column(const float *first, size_t stride, size_t n, double *ret_mean,
                          double *ret_scatter, float *ret_largest)
{
    /* Eight sums side by side, so that additions need not wait for each other. Lanes past the last
     * row are zero. */
    double sum[8] = { 0 }, square[8] = { 0 };
    float top[8] = { 0 };
    size_t n_tiles = (n + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
    for (size_t t = 0; t < n_tiles; t++) {
        const float *v = first + t * stride;
        for (size_t r = 0; r < SEG_TILE_ROWS; r += 8)
            for (size_t i = 0; i < 8; i++) {
                float size = fabsf(v[r + i]);
                sum[i] += (double)v[r + i];
                top[i] = size > top[i] ? size : top[i];
            }
    }
    double mean = 0;
    float largest = 0;
    for (size_t i = 0; i < 8; i++) {
        mean += sum[i] / (double)n;
        largest = fmaxf(largest, top[i]);
    }
    for (size_t t = 0; t < n_tiles; t++) {
        const float *v = first + t * stride;
        for (size_t r = 0; r < SEG_TILE_ROWS; r += 8)
            for (size_t i = 0; i < 8; i++) {
                double off = (double)v[r + i] - mean;
                square[i] += off * off;
            }
    }
    double scatter = 0;
    for (size_t i = 0; i < 8; i++)
        scatter += square[i];
    scatter -= (double)(n_tiles * SEG_TILE_ROWS - n) * mean * mean; /* the zero lanes */
    *ret_mean = mean;
    *ret_scatter = scatter > 0 ? scatter : 0;
    *ret_largest = largest;
}

static void survey_chunk(void *ctx, size_t chunk)
{
    struct survey *s = ctx;
    size_t d = s->x->n_cols;
    size_t left = s->x->n_rows - chunk * SEG_CHUNK_ROWS;
    size_t n = left < SEG_CHUNK_ROWS ? left : SEG_CHUNK_ROWS;
    for (size_t c = 0; c < d; c++)
        survey_column(s->x->chunks[chunk] + c * SEG_TILE_ROWS, d * SEG_TILE_ROWS, n,
                      &s->mean[chunk * d + c], &s->scatter[chunk * d + c],
                      &s->largest[chunk * d + c]);
}

/* The largest power of two that keeps n_rows * largest * scale under 2^SUM_BITS. */
static float column_scale(float largest, size_t n_rows)
{
    int rows_exp, value_exp;
    frexp((double)n_rows, &rows_exp);
    frexpf(largest, &value_exp);
    int e = SUM_BITS - rows_exp - value_exp;
    return ldexpf(1.0f, e < FLT_MIN_EXP ? FLT_MIN_EXP : e > FLT_MAX_EXP - 1 ? FLT_MAX_EXP - 1 : e);
}

enum seg_status kmeans_data_init(struct kmeans_data *data, struct seg_pool *pool,
                                 const struct seg_tiles *x)
{
    size_t d = x->n_cols;
    size_t n_chunks = (x->n_rows + SEG_CHUNK_ROWS - 1) / SEG_CHUNK_ROWS;
    struct survey s = { .x = x };
    enum seg_status st = SEG_ENOMEM;
    *data = (struct kmeans_data){ .x = x };
    s.mean = seg_alloc(n_chunks * d, sizeof *s.mean);
    s.scatter = seg_alloc(n_chunks * d, sizeof *s.scatter);
    s.largest = seg_alloc(n_chunks * d, sizeof *s.largest);
    data->scale = seg_alloc(d, sizeof *data->scale);
    data->mean = seg_alloc(d, sizeof *data->mean);
    if (!s.mean || !s.scatter || !s.largest || !data->scale || !data->mean) goto out;

    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_chunks, survey_chunk, &s);
    for (size_t c = 0; c < d; c++) {
        double n = 0, mean = 0, scatter = 0;
        float largest = 0;
        for (size_t i = 0; i < n_chunks; i++) {
            size_t left = x->n_rows - i * SEG_CHUNK_ROWS;
            double n_chunk = (double)(left < SEG_CHUNK_ROWS ? left : SEG_CHUNK_ROWS);
            double off = s.mean[i * d + c] - mean;
            scatter += s.scatter[i * d + c] + off * off * n * n_chunk / (n + n_chunk);
            n += n_chunk;
            mean += off * n_chunk / n;
            largest = fmaxf(largest, s.largest[i * d + c]);
        }
        data->mean[c] = mean;
        data->scale[c] = column_scale(largest, x->n_rows);
        data->scatter += scatter;
    }
    data->variance_mean = data->scatter / (double)x->n_rows / (double)d;
    st = SEG_OK;
out:
    seg_free(s.mean);
    seg_free(s.scatter);
    seg_free(s.largest);
    if (st != SEG_OK) kmeans_data_release(data);
    return st;
}

void kmeans_data_release(struct kmeans_data *data)
{
    seg_free(data->scale);
    seg_free(data->mean);
    *data = (struct kmeans_data){ 0 };
}

enum seg_status kmeans_sums_init(struct kmeans_sums *s, size_t k, size_t d)
{
    *s = (struct kmeans_sums){ .k = k, .d = d };
    s->sum = seg_calloc(k * d, sizeof *s->sum);
    s->count = seg_calloc(k, sizeof *s->count);
    if (s->sum != NULL && s->count != NULL) return SEG_OK;
    kmeans_sums_release(s);
    return SEG_ENOMEM;
}

void kmeans_sums_release(struct kmeans_sums *s)
{
    seg_free(s->sum);
    seg_free(s->count);
    *s = (struct kmeans_sums){ 0 };
}

void kmeans_sums_clear(struct kmeans_sums *s)
{
    memset(s->sum, 0, s->k * s->d * sizeof *s->sum);
    memset(s->count, 0, s->k * sizeof *s->count);
}

void kmeans_sums_move(struct kmeans_sums *s, const float *scale, const float *cell, uint32_t from,
                      uint32_t to)
{
    const size_t d = s->d;
    int64_t *add = s->sum + to * d, *take = s->sum + from * d;
    s->count[to]++;
    if (from == s->k) {
        for (size_t c = 0; c < d; c++)
            add[c] += (int64_t)(cell[c * SEG_TILE_ROWS] * scale[c]);
        return;
    }
    s->count[from]--;
    for (size_t c = 0; c < d; c++) {
        int64_t value = (int64_t)(cell[c * SEG_TILE_ROWS] * scale[c]);
        add[c] += value;
        take[c] -= value;
    }
}

void kmeans_sums_drain(struct kmeans_sums *s, struct kmeans_sums *other)
{
    for (size_t i = 0; i < s->k * s->d; i++)
        s->sum[i] += other->sum[i];
    for (size_t j = 0; j < s->k; j++)
        s->count[j] += other->count[j];
    kmeans_sums_clear(other);
}

void kmeans_sums_means(const struct kmeans_sums *s, const struct kmeans_data *data,
                       struct seg_matrix *c)
{
    for (size_t j = 0; j < s->k; j++) {
        if (s->count[j] == 0) continue;
        float *row = seg_matrix_row(c, j);
        for (size_t i = 0; i < s->d; i++)
            row[i] = (float)((double)s->sum[j * s->d + i] / (double)s->count[j] /
                             (double)data->scale[i]);
    }
}

double kmeans_sums_inertia(const struct kmeans_sums *s, const struct kmeans_data *data)
{
    /* In long double: near convergence one row more or less changes it by 1e-16 of itself. */
    long double between = 0;
    for (size_t j = 0; j < s->k; j++) {
        if (s->count[j] == 0) continue;
        long double square = 0;
        for (size_t i = 0; i < s->d; i++) {
            long double off = (long double)s->sum[j * s->d + i] / (long double)s->count[j] /
                                  (long double)data->scale[i] -
                              (long double)data->mean[i];
            square += off * off;
        }
        between += square * (long double)s->count[j];
    }
    long double within = (long double)data->scatter - between;
    return within > 0 ? (double)within : 0;
}
