/* k_search_draw.c - what k-means does to rows drawn again, and to rows without clusters.
 * Each call draws its rows from its own stream, so that tasks share nothing but the sample and
 * memory is that of the tasks at work. */
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "cluster/k_search_run.h"
#include "cluster/quality.h"

/* Mean over the clusters of base that have rows of the best Jaccard index with one of other. */
static enum seg_status mean_jaccard(const uint32_t *base, const uint32_t *other, size_t n,
                                    uint32_t k, double *ret_jaccard)
{
    enum seg_status st = SEG_ENOMEM;
    uint32_t *both =
        seg_calloc((size_t)k * k, sizeof *both); /* (k, k) rows of i in base, j in other */
    uint32_t *n_base = seg_calloc(k, sizeof *n_base), *n_other = seg_calloc(k, sizeof *n_other);
    if (both == NULL || n_base == NULL || n_other == NULL) goto out;
    for (size_t r = 0; r < n; r++) {
        both[(size_t)base[r] * k + other[r]]++;
        n_base[base[r]]++;
        n_other[other[r]]++;
    }
    double sum = 0;
    uint32_t n_used = 0;
    for (size_t i = 0; i < k; i++) {
        double best = 0;
        if (n_base[i] == 0) continue;
        for (size_t j = 0; j < k; j++) {
            double in_both = both[i * k + j];
            best = fmax(best, in_both / ((double)n_base[i] + (double)n_other[j] - in_both));
        }
        sum += best;
        n_used++;
    }
    *ret_jaccard = sum / n_used;
    st = SEG_OK;
out:
    seg_free(both);
    seg_free(n_base);
    seg_free(n_other);
    return st;
}

/* Takes what is wanted of a fit. */
typedef enum seg_status (*found_fn)(void *ctx, const struct seg_kmeans *km);

/* Fits p to x, and every smaller k down to k_min from the clusters of the one before. */
static enum seg_status descend(const struct seg_tiles *x, const struct seg_kmeans_params *p,
                               uint32_t k_min, const struct seg_progress *progress, found_fn found,
                               void *ctx)
{
    struct seg_kmeans_params fit = *p;
    struct seg_kmeans km = { 0 };
    struct seg_matrix start = { 0 }; /* (fit.k, d) */
    enum seg_status st = seg_kmeans_fit(NULL, x, &fit, progress, &km, NULL);
    if (st == SEG_OK) st = found(ctx, &km);
    while (st == SEG_OK && fit.k > k_min) {
        st = k_search_merge(&km, &start);
        if (st != SEG_OK) break;
        seg_kmeans_release(&km);
        fit.k--;
        fit.init = SEG_INIT_GIVEN;
        fit.start = &start;
        st = seg_kmeans_fit(NULL, x, &fit, progress, &km, NULL);
        seg_matrix_release(&start);
        if (st == SEG_OK) st = found(ctx, &km);
    }
    seg_kmeans_release(&km);
    return st;
}

/* The partitions of the few rows by one resample, against the search's own. */
struct comparison {
    const struct seg_tiles *few;
    const uint32_t *const *base;
    uint32_t k_min;
    uint32_t *label; /* (n_few) scratch */
    struct k_agreement *agreement;
};

static enum seg_status compare(void *ctx, const struct seg_kmeans *km)
{
    const struct comparison *c = ctx;
    const uint32_t k = (uint32_t)km->centroids.n_rows, *base = c->base[k - c->k_min];
    struct k_agreement *a = &c->agreement[k - c->k_min];
    seg_kmeans_assign(NULL, c->few, &km->centroids, c->label, NULL);
    a->ari = seg_adjusted_rand(base, k, c->label, k, c->few->n_rows);
    if (isnan(a->ari)) return SEG_ENOMEM;
    return mean_jaccard(base, c->label, c->few->n_rows, k, &a->jaccard);
}

enum seg_status k_search_resample(const struct seg_tiles *x, const struct seg_tiles *few,
                                  const uint32_t *const *base, size_t n_draw,
                                  const struct seg_kmeans_params *p, uint32_t k_min,
                                  uint64_t number, const struct seg_progress *progress,
                                  struct k_agreement *ret_a)
{
    enum seg_status st = SEG_ENOMEM;
    struct seg_rng rng = seg_rng_make(p->seed, K_STREAM_RESAMPLE | number);
    struct seg_tiles t = { 0 };
    struct seg_kmeans_params fit = *p;
    struct comparison c = { few, base, k_min, NULL, ret_a };
    uint32_t *rows = seg_alloc(n_draw, sizeof *rows);
    c.label = seg_alloc(few->n_rows, sizeof *c.label);
    if (rows == NULL || c.label == NULL) goto out;
    for (size_t i = 0; i < n_draw; i++)
        rows[i] = (uint32_t)seg_rng_below(&rng, x->n_rows);
    fit.seed = seg_rng_u64(&rng);
    st = seg_tiles_gather(x, rows, n_draw, &t);
    if (st == SEG_OK) st = descend(&t, &fit, k_min, progress, compare, &c);
out:
    seg_free(rows);
    seg_free(c.label);
    seg_tiles_release(&t);
    return st;
}

/* What the inertia rises by when clusters i and j become one. */
static double merge_cost(const struct seg_kmeans *km, size_t i, size_t j)
{
    const float *a = seg_matrix_row(&km->centroids, i), *b = seg_matrix_row(&km->centroids, j);
    const double n_i = (double)km->sizes[i], n_j = (double)km->sizes[j];
    double dist2 = 0;
    if (n_i + n_j == 0) return 0;
    for (size_t c = 0; c < km->centroids.n_cols; c++)
        dist2 += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
    return n_i * n_j / (n_i + n_j) * dist2;
}

enum seg_status k_search_merge(const struct seg_kmeans *km, struct seg_matrix *ret_c)
{
    const size_t k = km->centroids.n_rows, d = km->centroids.n_cols;
    size_t one = 0, other = 1, to = 0;
    double least = INFINITY;
    for (size_t i = 0; i < k; i++)
        for (size_t j = i + 1; j < k; j++) {
            double cost = merge_cost(km, i, j);
            if (cost >= least) continue;
            least = cost;
            one = i;
            other = j;
        }
    enum seg_status st = seg_matrix_init(ret_c, k - 1, d);
    if (st != SEG_OK) return st;
    const double n_one = (double)km->sizes[one], n_other = (double)km->sizes[other];
    for (size_t i = 0; i < k; i++) {
        if (i == other) continue;
        float *row = seg_matrix_row(ret_c, to++);
        memcpy(row, seg_matrix_row(&km->centroids, i), d * sizeof *row);
        const float *b = seg_matrix_row(&km->centroids, other);
        for (size_t c = 0; c < d && i == one && n_one + n_other > 0; c++)
            row[c] = (float)((n_one * (double)row[c] + n_other * (double)b[c]) / (n_one + n_other));
    }
    return SEG_OK;
}

enum seg_status k_search_box_init(struct k_box *box, const struct seg_tiles *x)
{
    const size_t d = x->n_cols;
    box->low = seg_alloc(d, sizeof *box->low);
    box->high = seg_alloc(d, sizeof *box->high);
    if (box->low == NULL || box->high == NULL) return SEG_ENOMEM;
    for (uint32_t c = 0; c < d; c++) {
        float low = INFINITY, high = -INFINITY;
        for (size_t t = 0; t < seg_tiles_count(x); t++) {
            if (t % SEG_CHUNK_TILES == 0) seg_pool_give_way();
            const float *cells = seg_tiles_at(x, t) + (size_t)c * SEG_TILE_ROWS;
            for (unsigned r = 0; r < seg_tiles_rows(x, t); r++) {
                low = fminf(low, cells[r]);
                high = fmaxf(high, cells[r]);
            }
        }
        box->low[c] = low;
        box->high[c] = high;
    }
    return SEG_OK;
}

void k_search_box_release(struct k_box *box)
{
    seg_free(box->low);
    seg_free(box->high);
    *box = (struct k_box){ 0 };
}

/* What uniform rows leave within k clusters. */
struct reference {
    uint32_t k_min;
    size_t n;    /* rows */
    double *log; /* of k = 1, then from k_min on */
};

static enum seg_status take_log(void *ctx, const struct seg_kmeans *km)
{
    const struct reference *r = ctx;
    const uint32_t k = (uint32_t)km->centroids.n_rows;
    r->log[k == 1 ? 0 : 1 + k - r->k_min] = log(km->inertia / (double)r->n);
    return SEG_OK;
}

enum seg_status k_search_reference(const struct k_box *box, uint32_t d, size_t n_draw,
                                   const struct seg_kmeans_params *p, uint32_t k_min,
                                   uint64_t number, const struct seg_progress *progress,
                                   double *ret_log)
{
    struct seg_rng rng = seg_rng_make(p->seed, K_STREAM_REFERENCE | number);
    struct seg_tiles t;
    struct seg_kmeans_params fit = *p;
    struct reference r = { k_min, n_draw, ret_log };
    enum seg_status st = seg_tiles_zeros(&t, n_draw, d);
    if (st != SEG_OK) return st;
    for (size_t i = 0; i < n_draw; i++) {
        seg_pool_give_way();
        for (uint32_t c = 0; c < d; c++) {
            double span = (double)box->high[c] - (double)box->low[c];
            *seg_tiles_cell(&t, i, c) = (float)((double)box->low[c] + span * seg_rng_double(&rng));
        }
    }
    fit.seed = seg_rng_u64(&rng);
    st = descend(&t, &fit, k_min, progress, take_log, &r);
    fit.k = 1;
    if (st == SEG_OK) st = descend(&t, &fit, 1, progress, take_log, &r);
    seg_tiles_release(&t);
    return st;
}
