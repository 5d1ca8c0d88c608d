/* kmeans.c - k-means from the caller's side: check, run the starts, keep the best, put the clusters
 * in order. The parts are in kmeans_seed*.c, kmeans_lloyd.c, kmeans_assign.c, kmeans_rows.c,
 * kmeans_sums.c and kmeans_share.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "cluster/kmeans_run.h"

const char *seg_kmeans_check(const struct seg_kmeans_params *p, size_t n_rows)
{
    if (p->k < 1 || p->k > SEG_K_MAX) return "k must be from 1 to 1024";
    if (p->k > n_rows) return "k is larger than the number of rows";
    if (n_rows > UINT32_MAX) return "more rows than 4294967295";
    if (p->n_init < 1 || p->n_init > 100) return "n_init must be from 1 to 100";
    if (p->n_iter_max < 1 || p->n_iter_max > 10000) return "n_iter_max must be from 1 to 10000";
    if (!(p->tol >= 0) || isinf(p->tol)) return "tolerance must be a number of at least 0";
    if (!(p->min_share >= 0 && p->min_share * p->k <= 1 + 1e-9))
        return "the smallest share of a cluster must be from 0 to 1/k";
    if (p->init > SEG_INIT_GIVEN) return "unknown kind of start";
    if (p->init == SEG_INIT_GIVEN &&
        (p->start == NULL || p->start->n_rows != p->k || p->start->data == NULL))
        return "the start centroids must be k rows";
    return NULL;
}

struct assignment {
    const struct seg_tiles *x;
    const struct seg_kernels *kernels;
    const struct seg_matrix *c;
    const struct seg_progress *progress;
    uint32_t *label;
    float *dist2;
};

static void assign_chunk(void *ctx, size_t chunk)
{
    const struct assignment *a = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(a->x);
    size_t n_cells = 0;
    if (seg_progress_cancelled(a->progress)) return;
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        uint32_t label[SEG_TILE_ROWS];
        float dist2[SEG_TILE_ROWS];
        const size_t row = t * SEG_TILE_ROWS, n = seg_tiles_rows(a->x, t);
        kmeans_offer(&n_cells, a->c->n_rows * a->c->n_cols);
        a->kernels->nearest(seg_tiles_at(a->x, t), a->x->n_cols, a->c->data, a->c->n_rows, label,
                            dist2, NULL);
        if (a->label != NULL) memcpy(a->label + row, label, n * sizeof *label);
        if (a->dist2 != NULL) memcpy(a->dist2 + row, dist2, n * sizeof *dist2);
    }
}

void kmeans_assign(struct seg_pool *pool, const struct seg_tiles *x, const struct seg_matrix *c,
                   const struct seg_progress *progress, uint32_t *label, float *dist2)
{
    struct assignment a = { x, seg_kernels_get(), c, progress, label, dist2 };
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, x->n_chunks, assign_chunk, &a);
}

void seg_kmeans_assign(struct seg_pool *pool, const struct seg_tiles *x,
                       const struct seg_matrix *centroids, uint32_t *label, float *dist2)
{
    kmeans_assign(pool, x, centroids, NULL, label, dist2);
}

/* A cluster's place in the final order. */
struct place {
    const float *centroid; /* (d) */
    size_t d;
    uint64_t size;
    uint32_t origin;
};

static int place_compare(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    if (p->size != q->size) return p->size > q->size ? -1 : 1;
    for (size_t i = 0; i < p->d; i++)
        if (p->centroid[i] != q->centroid[i]) return p->centroid[i] < q->centroid[i] ? -1 : 1;
    return 0;
}

enum seg_status kmeans_put_in_order(const struct seg_matrix *c, const uint32_t *label,
                                    const float *dist2, size_t n, struct seg_kmeans *km)
{
    const size_t k = c->n_rows, d = c->n_cols;
    enum seg_status st = SEG_ENOMEM;
    struct place *places = seg_alloc(k, sizeof *places);
    km->sizes = seg_calloc(k, sizeof *km->sizes);
    km->origins = seg_calloc(k, sizeof *km->origins);
    if (places == NULL || km->sizes == NULL || km->origins == NULL) goto out;
    st = seg_matrix_init(&km->centroids, k, d);
    if (st != SEG_OK) goto out;

    for (size_t j = 0; j < k; j++)
        places[j] = (struct place){ seg_matrix_row(c, j), d, 0, (uint32_t)j };
    for (size_t r = 0; r < n; r++) {
        if (r % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        places[label[r]].size++;
        km->inertia += (double)dist2[r];
    }
    qsort(places, k, sizeof *places, place_compare);
    for (size_t j = 0; j < k; j++) {
        const struct place *from = &places[j];
        if (j >= km->n_distinct) from = &places[km->n_distinct - 1];
        memcpy(seg_matrix_row(&km->centroids, j), from->centroid, d * sizeof *from->centroid);
        km->sizes[j] = places[j].size;
        km->origins[j] = places[j].origin;
    }
out:
    seg_free(places);
    return st;
}

/* Runs all starts; the best one's centroids and assignment end in run, its history in km. */
static enum seg_status run_starts(struct kmeans_run *run, const struct seg_kmeans_params *p,
                                  struct seg_kmeans *km)
{
    const struct seg_tiles *x = run->data->x;
    const uint32_t n_starts = p->init == SEG_INIT_GIVEN ? 1 : p->n_init;
    double best = INFINITY;
    bool is_last = false;             /* the best is the last so far */
    struct seg_matrix best_c = { 0 }; /* (k, d) */
    enum seg_status st = seg_matrix_init(&best_c, run->c.n_rows, run->c.n_cols);
    for (uint32_t start = 0; start < n_starts && st == SEG_OK; start++) {
        struct seg_rng rng = seg_rng_make(p->seed, start);
        if (p->init == SEG_INIT_GIVEN)
            memcpy(run->c.data, p->start->data, p->k * (size_t)x->n_cols * sizeof *run->c.data);
        else
            st = kmeans_seed(run->pool, x, p->init, &rng, run->slack, run->progress, &run->c);
        if (st == SEG_OK) st = kmeans_run_iterate(run, p, start, n_starts);
        if (st != SEG_OK) break;
        is_last = start == 0 || run->inertia < best;
        if (!is_last) continue;
        best = run->inertia;
        memcpy(best_c.data, run->c.data, p->k * (size_t)x->n_cols * sizeof *best_c.data);
        memcpy(km->curve, run->curve, run->n_iter * sizeof *km->curve);
        km->n_iter = run->n_iter;
        km->converged = run->converged;
        km->n_distinct = p->k;
        for (size_t j = 0; j < p->k; j++)
            km->n_distinct -= run->sums.count[j] == 0;
    }
    if (st == SEG_OK) {
        memcpy(run->c.data, best_c.data, p->k * (size_t)x->n_cols * sizeof *best_c.data);
        kmeans_run_label(run, is_last);
    }
    seg_matrix_release(&best_c);
    return st;
}

enum seg_status kmeans_check_start(const struct seg_tiles *x, const struct seg_matrix *start,
                                   struct seg_error *err)
{
    if (start->n_cols != x->n_cols)
        return seg_fail(err, SEG_EINVAL, "start centroids have %zu columns, the rows %u",
                        start->n_cols, x->n_cols);
    for (size_t i = 0; i < start->n_rows * start->n_cols; i++)
        if (!isfinite(start->data[i]))
            return seg_fail(err, SEG_EINVAL, "start centroid %zu is not finite", i / start->n_cols);
    return SEG_OK;
}

static enum seg_status check(const struct seg_tiles *x, const struct seg_kmeans_params *p,
                             struct seg_error *err)
{
    const char *fault = seg_kmeans_check(p, x->n_rows);
    if (fault != NULL) return seg_fail(err, SEG_EINVAL, "%s", fault);
    return p->init == SEG_INIT_GIVEN ? kmeans_check_start(x, p->start, err) : SEG_OK;
}

/* own: x if it may be reordered meanwhile, else NULL. */
static enum seg_status fit(struct seg_pool *pool, const struct seg_tiles *x, struct seg_tiles *own,
                           const struct seg_kmeans_params *p, const struct seg_progress *progress,
                           struct seg_kmeans *ret_km, struct seg_error *err)
{
    struct seg_kmeans km = { 0 };
    struct kmeans_data data = { 0 };
    struct kmeans_run run = { 0 };
    enum seg_status st = check(x, p, err);
    if (st != SEG_OK) return st;

    st = kmeans_data_init(&data, pool, x);
    if (st == SEG_OK) st = kmeans_run_init(&run, pool, &data, own, p, progress);
    if (st != SEG_OK) goto out;
    km.curve = seg_alloc(p->n_iter_max, sizeof *km.curve);
    if (km.curve == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    st = run_starts(&run, p, &km);
    if (st != SEG_OK) goto out;
    if (seg_progress_cancelled(progress)) {
        st = SEG_ECANCELED;
        goto out;
    }
    size_t n_min = (size_t)ceil(p->min_share * (double)x->n_rows);
    if (n_min > x->n_rows / p->k) n_min = x->n_rows / p->k;
    if (n_min > 0 && km.n_distinct == p->k) st = kmeans_run_fill(&run, n_min);
    if (st == SEG_OK) st = kmeans_put_in_order(&run.c, run.label, run.slack, x->n_rows, &km);
    if (st != SEG_OK) goto out;
    *ret_km = km;
    km = (struct seg_kmeans){ 0 };
out:
    seg_kmeans_release(&km);
    kmeans_run_release(&run);
    kmeans_data_release(&data);
    if (st == SEG_ENOMEM) seg_fail(err, st, "not enough memory for k-means on %zu rows", x->n_rows);
    return st;
}

enum seg_status seg_kmeans_fit(struct seg_pool *pool, const struct seg_tiles *x,
                               const struct seg_kmeans_params *p,
                               const struct seg_progress *progress, struct seg_kmeans *ret_km,
                               struct seg_error *err)
{
    return fit(pool, x, NULL, p, progress, ret_km, err);
}

enum seg_status seg_kmeans_fit_own(struct seg_pool *pool, struct seg_tiles *x,
                                   const struct seg_kmeans_params *p,
                                   const struct seg_progress *progress, struct seg_kmeans *ret_km,
                                   struct seg_error *err)
{
    return fit(pool, x, x, p, progress, ret_km, err);
}

void seg_kmeans_release(struct seg_kmeans *km)
{
    seg_matrix_release(&km->centroids);
    seg_free(km->curve);
    seg_free(km->sizes);
    seg_free(km->origins);
    *km = (struct seg_kmeans){ 0 };
}
