/* soft_clusters.c - degrees and their loss. Degrees are ratios to the nearest centre's, so that
 * codes far from all of them cannot make 0 / 0. */
#include "neural/soft_clusters.h"

#include <math.h>
#include <string.h>

#define TASK_TILES 8u /* of seg_soft_sharpen's second step */

void seg_soft_assign(const struct seg_kernels *kernels, const float *z,
                     const struct seg_matrix *centres, float *q, uint32_t *label, float *dist2)
{
    size_t k = centres->n_rows;
    float sum[SEG_TILE_ROWS] = { 0 };
    kernels->squares(z, centres->n_cols, centres->data, k, q);
    memcpy(dist2, q, SEG_TILE_ROWS * sizeof(*dist2));
    memset(label, 0, SEG_TILE_ROWS * sizeof(*label));
    for (size_t j = 1; j < k; j++)
        for (size_t r = 0; r < SEG_TILE_ROWS; r++) {
            bool nearer = q[j * SEG_TILE_ROWS + r] < dist2[r];
            dist2[r] = nearer ? q[j * SEG_TILE_ROWS + r] : dist2[r];
            label[r] = nearer ? (uint32_t)j : label[r];
        }
    for (size_t j = 0; j < k; j++)
        for (size_t r = 0; r < SEG_TILE_ROWS; r++) {
            float *at = &q[j * SEG_TILE_ROWS + r];
            *at = (1.0f + dist2[r]) / (1.0f + *at);
            sum[r] += *at;
        }
    for (size_t j = 0; j < k; j++)
        for (size_t r = 0; r < SEG_TILE_ROWS; r++)
            q[j * SEG_TILE_ROWS + r] /= sum[r];
}

struct sharpening {
    struct seg_tiles *q;
    double *share; /* (k) sum of a cluster's degrees */
};

static void sum_cluster(void *ctx, size_t j)
{
    const struct sharpening *s = ctx;
    double sum = 0.0;
    for (size_t t = 0; t < seg_tiles_count(s->q); t++) {
        const float *q = seg_tiles_at(s->q, t) + j * SEG_TILE_ROWS;
        if (t % SEG_CHUNK_TILES == 0) seg_pool_give_way();
        for (unsigned r = 0; r < seg_tiles_rows(s->q, t); r++)
            sum += (double)q[r];
    }
    s->share[j] = sum;
}

static void sharpen_tile(float *q, size_t k, const double *share, unsigned n_rows)
{
    double sum[SEG_TILE_ROWS] = { 0 };
    for (size_t j = 0; j < k; j++)
        for (unsigned r = 0; r < n_rows; r++) {
            float *at = &q[j * SEG_TILE_ROWS + r];
            *at = share[j] > 0.0 ? (float)((double)*at * (double)*at / share[j]) : 0.0f;
            sum[r] += (double)*at;
        }
    for (size_t j = 0; j < k; j++)
        for (unsigned r = 0; r < n_rows; r++)
            q[j * SEG_TILE_ROWS + r] = (float)((double)q[j * SEG_TILE_ROWS + r] / sum[r]);
}

static void sharpen_task(void *ctx, size_t task)
{
    const struct sharpening *s = ctx;
    size_t n_tiles = seg_tiles_count(s->q), last = (task + 1) * TASK_TILES;
    for (size_t t = task * TASK_TILES; t < n_tiles && t < last; t++) {
        sharpen_tile(seg_tiles_at(s->q, t), s->q->n_cols, s->share, seg_tiles_rows(s->q, t));
        seg_pool_give_way();
    }
}

void seg_soft_sharpen(struct seg_pool *pool, struct seg_tiles *q, double *share)
{
    struct sharpening s = { q, share };
    size_t n_tasks = (seg_tiles_count(q) + TASK_TILES - 1) / TASK_TILES;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, q->n_cols, sum_cluster, &s);
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_tasks, sharpen_task, &s);
}

/* pull (k, 64): (p - q) / (1 + dist2), of which every gradient is made; 0 in lanes without a row.
 * Returns the sum of p log (p / q). */
static double pull_of(const struct seg_soft_loss *s, const uint32_t *rows, unsigned n,
                      const float *z, float *pull)
{
    size_t k = s->centres->n_rows;
    double loss = 0.0, sum[SEG_TILE_ROWS] = { 0 };
    s->kernels->squares(z, s->centres->n_cols, s->centres->data, k, pull);
    for (size_t j = 0; j < k; j++)
        for (unsigned r = 0; r < n; r++)
            sum[r] += 1.0 / (1.0 + (double)pull[j * SEG_TILE_ROWS + r]);
    for (size_t j = 0; j < k; j++) {
        for (unsigned r = 0; r < n; r++) {
            double near = 1.0 / (1.0 + (double)pull[j * SEG_TILE_ROWS + r]), q = near / sum[r];
            double p = (double)*seg_tiles_cell(s->targets, rows[r], (uint32_t)j);
            if (p > 0.0) loss += p * log(p / q);
            pull[j * SEG_TILE_ROWS + r] = (float)(near * (p - q));
        }
        for (unsigned r = n; r < SEG_TILE_ROWS; r++)
            pull[j * SEG_TILE_ROWS + r] = 0.0f;
    }
    return loss;
}

/* d KL / d z = 2 sum_j pull_j (z - m_j), and d KL / d m_j = -2 sum over the rows of the same. */
static double soft_add(const void *ctx, const uint32_t *rows, unsigned n, const float *z,
                       float scale, float *delta, float *grad, float *scratch)
{
    const struct seg_soft_loss *s = ctx;
    size_t k = s->centres->n_rows, m = s->centres->n_cols;
    float factor = 2.0f * (float)s->gamma * scale;
    double loss = pull_of(s, rows, n, z, scratch);
    for (size_t j = 0; j < k; j++) {
        const float *centre = seg_matrix_row(s->centres, j), *pull = scratch + j * SEG_TILE_ROWS;
        for (size_t c = 0; c < m; c++) {
            double sum = 0.0;
            for (size_t r = 0; r < SEG_TILE_ROWS; r++) {
                float part = factor * pull[r] * (z[c * SEG_TILE_ROWS + r] - centre[c]);
                delta[c * SEG_TILE_ROWS + r] += part;
                sum += (double)part;
            }
            grad[j * m + c] -= (float)sum;
        }
    }
    return loss;
}

struct seg_code_loss seg_soft_code_loss(const struct seg_soft_loss *s, uint32_t layer)
{
    size_t k = s->centres->n_rows;
    return (struct seg_code_loss){ .layer = layer,
                                   .params = s->centres->data,
                                   .n_params = k * s->centres->n_cols,
                                   .n_scratch = k * SEG_TILE_ROWS,
                                   .add = soft_add,
                                   .ctx = s };
}
