/* silhouette.c - every row against every other.
 * A tile of 64 rows is measured against a few rows after the other, and the distances are added to
 * the sums of these rows' clusters, once for each partition: the sums of a tile stay near the
 * processor, and there is no matrix of distances. */
#include "cluster/silhouette.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"

#define ROWS_AT_ONCE 12u /* that a tile is measured against in one call of the kernel */
/* Of the partitions that share distances, unless one alone has more: their sums are 256 kB. */
#define CLUSTERS_MAX 512u

struct silhouettes {
    const struct seg_tiles *x;
    const struct seg_kernels *kernels;
    const struct seg_progress *progress;
    const float *rows; /* (n, d) x once more */
    const uint32_t *const *label;
    const uint32_t *k; /* (n_parts) */
    size_t n_parts;
    const size_t *size; /* (sum of k) rows of each cluster, one partition after another */
    double *score;      /* (n_parts, n) */
    atomic_bool no_memory;
};

/* Partitions first..end-1 of one pass; their clusters begin at size[at]. */
struct group {
    size_t first, end, at, n_clusters;
};

/* Sums the distances of a tile's rows to all rows by cluster: sum (n_clusters, 64). */
static void add_distances(const struct silhouettes *s, const struct group *g, const float *tile,
                          double *sum)
{
    const size_t d = s->x->n_cols, n = s->x->n_rows;
    _Alignas(SEG_ALIGN) float dist2[ROWS_AT_ONCE * SEG_TILE_ROWS];
    _Alignas(SEG_ALIGN) double dist[ROWS_AT_ONCE * SEG_TILE_ROWS];
    memset(sum, 0, g->n_clusters * SEG_TILE_ROWS * sizeof *sum);
    for (size_t r = 0; r < n; r += ROWS_AT_ONCE) {
        const size_t n_now = n - r < ROWS_AT_ONCE ? n - r : ROWS_AT_ONCE;
        s->kernels->squares(tile, d, s->rows + r * d, n_now, dist2);
        for (size_t i = 0; i < n_now * SEG_TILE_ROWS; i++)
            dist[i] = (double)sqrtf(dist2[i]);
        double *of_part = sum;
        for (size_t p = g->first; p < g->end; p++) {
            for (size_t i = 0; i < n_now; i++) {
                double *to = of_part + s->label[p][r + i] * SEG_TILE_ROWS;
                for (size_t lane = 0; lane < SEG_TILE_ROWS; lane++)
                    to[lane] += dist[i * SEG_TILE_ROWS + lane];
            }
            of_part += s->k[p] * SEG_TILE_ROWS;
        }
        seg_pool_give_way();
    }
}

/* The scores of n rows in one partition of k clusters: sum (k, 64) of distances. */
static void take_scores(const double *sum, const size_t *size, uint32_t k, const uint32_t *label,
                        unsigned n, double *score)
{
    double own[SEG_TILE_ROWS] = { 0 }, next[SEG_TILE_ROWS];
    for (unsigned i = 0; i < n; i++)
        next[i] = INFINITY;
    for (uint32_t j = 0; j < k; j++, sum += SEG_TILE_ROWS) {
        if (size[j] == 0) continue;
        for (unsigned i = 0; i < n; i++) {
            if (label[i] == j)
                own[i] = size[j] > 1 ? sum[i] / (double)(size[j] - 1) : -1; /* alone */
            else
                next[i] = fmin(next[i], sum[i] / (double)size[j]);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        const double larger = fmax(own[i], next[i]);
        score[i] = own[i] >= 0 && larger > 0 ? (next[i] - own[i]) / larger : 0;
    }
}

static void score_tile(void *ctx, size_t t)
{
    struct silhouettes *s = ctx;
    const size_t row = t * SEG_TILE_ROWS, n = s->x->n_rows;
    struct group g = { 0, 0, 0, 0 };
    double *sum = NULL;
    size_t room = 0;
    for (; g.first < s->n_parts; g.first = g.end, g.at += g.n_clusters) {
        if (seg_progress_cancelled(s->progress)) break;
        g.n_clusters = s->k[g.first];
        for (g.end = g.first + 1; g.end < s->n_parts; g.end++) {
            if (g.n_clusters + s->k[g.end] > CLUSTERS_MAX) break;
            g.n_clusters += s->k[g.end];
        }
        if (g.n_clusters > room) {
            seg_free(sum);
            room = g.n_clusters;
            sum = seg_alloc_aligned(room * SEG_TILE_ROWS, sizeof *sum);
        }
        if (sum == NULL) {
            atomic_store_explicit(&s->no_memory, true, memory_order_relaxed);
            break;
        }
        add_distances(s, &g, seg_tiles_at(s->x, t), sum);
        const double *of_part = sum;
        for (size_t p = g.first, at = g.at; p < g.end; p++) {
            take_scores(of_part, s->size + at, s->k[p], s->label[p] + row, seg_tiles_rows(s->x, t),
                        s->score + p * n + row);
            at += s->k[p];
            of_part += s->k[p] * SEG_TILE_ROWS;
        }
    }
    seg_free(sum);
}

enum seg_status silhouette_scores(struct seg_pool *pool, const struct seg_tiles *x,
                                  const uint32_t *const *label, const uint32_t *k, size_t n_parts,
                                  const struct seg_progress *progress, double *score)
{
    const size_t n = x->n_rows, d = x->n_cols;
    struct silhouettes s = { .x = x,
                             .kernels = seg_kernels_get(),
                             .progress = progress,
                             .label = label,
                             .k = k,
                             .n_parts = n_parts,
                             .score = score };
    size_t n_clusters = 0, at = 0;
    for (size_t p = 0; p < n_parts; p++)
        n_clusters += k[p];
    float *rows = seg_alloc(n * d, sizeof *rows);
    size_t *size = seg_calloc(n_clusters, sizeof *size);
    enum seg_status st = SEG_ENOMEM;
    if (rows == NULL || size == NULL) goto out;
    for (size_t r = 0; r < n; r++)
        seg_tiles_get_row(x, r, rows + r * d);
    for (size_t p = 0; p < n_parts; at += k[p], p++)
        for (size_t r = 0; r < n; r++)
            size[at + label[p][r]]++;
    s.rows = rows;
    s.size = size;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, seg_tiles_count(x), score_tile, &s);
    st = seg_progress_cancelled(progress)                           ? SEG_ECANCELED
         : atomic_load_explicit(&s.no_memory, memory_order_relaxed) ? SEG_ENOMEM
                                                                    : SEG_OK;
out:
    seg_free(rows);
    seg_free(size);
    return st;
}
