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
    const struct seg_kernels *kernels;
    double *mean;    /* (n_chunks, d) */
    double *scatter; /* (n_chunks, d) sum of (x - chunk mean)^2 */
    float *largest;  /* (n_chunks, d) largest |x| */
    float *shift; /* (n_chunks, d) the chunk's first row: near enough to the mean that the sums of
                     squares around it do not cancel */
};

/* The rows of the last tile one by one: its other lanes are no rows. */
static void survey_rows(const float *x, size_t d, unsigned n, const float *shift, double *sum,
                        double *square, float *largest)
{
    for (size_t c = 0; c < d; c++)
        for (unsigned r = 0; r < n; r++) {
            const float value = x[c * SEG_TILE_ROWS + r];
            const double off = (double)value - (double)shift[c];
            sum[c] += off;
            square[c] += off * off;
            largest[c] = fmaxf(largest[c], fabsf(value));
        }
}

static void survey_chunk(void *ctx, size_t chunk)
{
    struct survey *s = ctx;
    const size_t d = s->x->n_cols, first = chunk * SEG_CHUNK_TILES;
    const size_t n_tiles = seg_tiles_count(s->x);
    const double n = (double)seg_tiles_chunk_rows(s->x, chunk);
    double *sum = s->mean + chunk * d, *square = s->scatter + chunk * d;
    float *largest = s->largest + chunk * d, *shift = s->shift + chunk * d;
    seg_tiles_get_row(s->x, chunk * SEG_CHUNK_ROWS, shift);
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        const unsigned n_rows = seg_tiles_rows(s->x, t);
        if (t % 16 == 15) seg_pool_give_way();
        if (n_rows == SEG_TILE_ROWS)
            s->kernels->survey(seg_tiles_at(s->x, t), d, shift, sum, square, largest);
        else
            survey_rows(seg_tiles_at(s->x, t), d, n_rows, shift, sum, square, largest);
    }
    for (size_t c = 0; c < d; c++) {
        const double off = sum[c] / n, scatter = square[c] - sum[c] * off;
        square[c] = scatter > 0 ? scatter : 0;
        sum[c] = (double)shift[c] + off;
    }
}

float kmeans_sum_scale(float largest, size_t n_rows)
{
    int rows_exp, value_exp;
    frexp((double)n_rows, &rows_exp);
    frexpf(largest, &value_exp);
    const int e = SUM_BITS - rows_exp - value_exp;
    return ldexpf(1.0f, e < FLT_MIN_EXP ? FLT_MIN_EXP : e > FLT_MAX_EXP - 1 ? FLT_MAX_EXP - 1 : e);
}

enum seg_status kmeans_data_init(struct kmeans_data *data, struct seg_pool *pool,
                                 const struct seg_tiles *x)
{
    size_t d = x->n_cols;
    const size_t n_chunks = x->n_chunks;
    struct survey s = { .x = x, .kernels = seg_kernels_get() };
    enum seg_status st = SEG_ENOMEM;
    *data = (struct kmeans_data){ .x = x };
    s.mean = seg_calloc(n_chunks * d, sizeof *s.mean);
    s.scatter = seg_calloc(n_chunks * d, sizeof *s.scatter);
    s.largest = seg_calloc(n_chunks * d, sizeof *s.largest);
    s.shift = seg_alloc(n_chunks * d, sizeof *s.shift);
    data->scale = seg_alloc(d, sizeof *data->scale);
    data->mean = seg_alloc(d, sizeof *data->mean);
    if (!s.mean || !s.scatter || !s.largest || !s.shift || !data->scale || !data->mean) goto out;

    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_chunks, survey_chunk, &s);
    for (size_t c = 0; c < d; c++) {
        double n = 0, mean = 0, scatter = 0;
        float largest = 0;
        for (size_t i = 0; i < n_chunks; i++) {
            double n_chunk = (double)seg_tiles_chunk_rows(x, i);
            double off = s.mean[i * d + c] - mean;
            scatter += s.scatter[i * d + c] + off * off * n * n_chunk / (n + n_chunk);
            n += n_chunk;
            mean += off * n_chunk / n;
            largest = fmaxf(largest, s.largest[i * d + c]);
        }
        data->mean[c] = mean;
        data->scale[c] = kmeans_sum_scale(largest, x->n_rows);
        data->scatter += scatter;
    }
    data->variance_mean = data->scatter / (double)x->n_rows / (double)d;
    st = SEG_OK;
out:
    seg_free(s.mean);
    seg_free(s.scatter);
    seg_free(s.largest);
    seg_free(s.shift);
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

void kmeans_sums_move(struct kmeans_sums *s, const float *scale, const float *cell, size_t step,
                      uint32_t from, uint32_t to)
{
    const size_t d = s->d;
    int64_t *add = s->sum + to * d, *take = s->sum + from * d;
    s->count[to]++;
    if (from == s->k) {
        for (size_t c = 0; c < d; c++)
            add[c] += (int64_t)(cell[c * step] * scale[c]);
        return;
    }
    s->count[from]--;
    for (size_t c = 0; c < d; c++) {
        int64_t value = (int64_t)(cell[c * step] * scale[c]);
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
        seg_pool_give_way();
        /* A power of two: the product is exact. */
        for (size_t i = 0; i < s->d; i++)
            row[i] = (float)((double)s->sum[j * s->d + i] /
                             ((double)s->count[j] * (double)data->scale[i]));
    }
}

double kmeans_sums_inertia(const struct kmeans_sums *s, const struct kmeans_data *data)
{
    /* In long double: near convergence one row more or less changes it by 1e-16 of itself. */
    long double between = 0;
    for (size_t j = 0; j < s->k; j++) {
        if (s->count[j] == 0) continue;
        const long double n = (long double)s->count[j];
        long double square = 0;
        seg_pool_give_way();
        for (size_t i = 0; i < s->d; i++) {
            /* n times how far the mean is off; the scale is a power of two. */
            const long double off =
                (long double)s->sum[j * s->d + i] * (long double)(1 / (double)data->scale[i]) -
                n * (long double)data->mean[i];
            square += off * off;
        }
        between += square / n;
    }
    long double within = (long double)data->scatter - between;
    return within > 0 ? (double)within : 0;
}
