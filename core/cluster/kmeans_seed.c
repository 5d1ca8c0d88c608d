/* kmeans_seed.c - start centroids: greedy k-means++ (Arthur and Vassilvitskii 2007) or plain rows.
 *
 * Each step draws 2 + ln k candidates with probability proportional to the squared distance to the
 * nearest centroid so far, and keeps the one that leaves the smallest sum. One pass over the rows
 * takes in the last centroid and measures all candidates. Sums are float64 per chunk, added in
 * chunk order; a draw finds its chunk by these sums and its row inside the chunk. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "cluster/kmeans_run.h"

#define CANDIDATES_MAX 16u

struct seeding {
    const struct seg_tiles *x;
    const struct seg_kernels *kernels;
    const struct seg_progress *progress;
    float *closest; /* (n) squared distance to the nearest centroid but the newest */
    /* (CANDIDATES_MAX + 1, d) candidates, then the centroid that is not yet in closest */
    struct seg_matrix tried;
    size_t n_tried;            /* candidates */
    bool has_newest;           /* and that centroid */
    double at[CANDIDATES_MAX]; /* where the candidates are drawn */
    size_t n_chunks;
    double *left;                 /* (CANDIDATES_MAX, n_chunks) sum if a candidate is chosen */
    const double *left_by_newest; /* (n_chunks) the row of left of the newest centroid */
};

/* dist2 = min(dist2, fresh). */
static void lower(const float *fresh, float *dist2)
{
    for (size_t i = 0; i < SEG_TILE_ROWS; i++)
        dist2[i] = fresh[i] < dist2[i] ? fresh[i] : dist2[i];
}

/* The sum of one tile, in a fixed order. */
static double tile_sum(const float *v)
{
    double part[8] = { 0 };
    for (size_t r = 0; r < SEG_TILE_ROWS; r += 8)
        for (size_t i = 0; i < 8; i++)
            part[i] += (double)v[r + i];
    return ((part[0] + part[4]) + (part[1] + part[5])) +
           ((part[2] + part[6]) + (part[3] + part[7]));
}

static void seed_chunk(void *ctx, size_t chunk)
{
    struct seeding *s = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(s->x);
    const size_t n_sums = s->n_tried > 0 ? s->n_tried : 1;
    double sum[CANDIDATES_MAX] = { 0 };
    size_t n_cells = 0;
    _Alignas(SEG_ALIGN) float fresh[(CANDIDATES_MAX + 1) * SEG_TILE_ROWS];
    if (seg_progress_cancelled(s->progress)) return;
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        const float *tile = seg_tiles_at(s->x, t);
        float *closest = s->closest + t * SEG_TILE_ROWS;
        kmeans_offer(&n_cells, (s->n_tried + s->has_newest) * s->x->n_cols);
        s->kernels->squares(tile, s->x->n_cols, s->tried.data, s->n_tried + s->has_newest, fresh);
        if (s->has_newest) lower(fresh + s->n_tried * SEG_TILE_ROWS, closest);
        for (size_t i = seg_tiles_rows(s->x, t); i < SEG_TILE_ROWS; i++)
            closest[i] = 0; /* lanes that are not rows */
        if (s->n_tried == 0) sum[0] += tile_sum(closest);
        for (size_t j = 0; j < s->n_tried; j++) {
            lower(closest, fresh + j * SEG_TILE_ROWS);
            sum[j] += tile_sum(fresh + j * SEG_TILE_ROWS);
        }
    }
    for (size_t j = 0; j < n_sums; j++)
        s->left[j * s->n_chunks + chunk] = sum[j];
}

double kmeans_total(const double *sums, size_t n_chunks)
{
    double total = 0;
    for (size_t i = 0; i < n_chunks; i++)
        total += sums[i];
    return total;
}

size_t kmeans_draw_chunk(const double *sums, size_t n_chunks, double *at)
{
    size_t chunk = 0;
    for (size_t i = 0; i < n_chunks; i++) {
        if (sums[i] <= 0) continue;
        chunk = i;
        if (*at < sums[i]) break;
        *at -= sums[i];
    }
    return chunk;
}

/* The row at which the running sum of squared distances passes `at`. Rounding may carry past the
 * end: then the last row that has a distance. */
static size_t draw(const struct seeding *s, double at)
{
    const float *newest = seg_matrix_row(&s->tried, s->n_tried);
    const size_t chunk = kmeans_draw_chunk(s->left_by_newest, s->n_chunks, &at);
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(s->x);
    size_t last = 0;
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        _Alignas(SEG_ALIGN) float fresh[SEG_TILE_ROWS];
        float dist2[SEG_TILE_ROWS];
        memcpy(dist2, s->closest + t * SEG_TILE_ROWS, sizeof dist2);
        if (s->has_newest) {
            s->kernels->squares(seg_tiles_at(s->x, t), s->x->n_cols, newest, 1, fresh);
            lower(fresh, dist2);
        }
        seg_pool_give_way();
        for (unsigned i = 0; i < seg_tiles_rows(s->x, t); i++) {
            if (dist2[i] <= 0) continue;
            last = t * SEG_TILE_ROWS + i;
            if (at < (double)dist2[i]) return last;
            at -= (double)dist2[i];
        }
    }
    return last;
}

static void draw_candidate(void *ctx, size_t i)
{
    struct seeding *s = ctx;
    seg_tiles_get_row(s->x, draw(s, s->at[i]), seg_matrix_row(&s->tried, i));
}

static enum seg_status seed_greedy(struct seg_pool *pool, struct seeding *s, struct seg_rng *rng,
                                   struct seg_matrix *c)
{
    const size_t k = c->n_rows, d = c->n_cols;
    const size_t n_candidates = 2 + (size_t)log((double)k);
    const size_t n_lanes = seg_tiles_count(s->x) * SEG_TILE_ROWS;
    for (size_t i = 0; i < n_lanes; i++) {
        if (i % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        s->closest[i] = FLT_MAX;
    }
    seg_tiles_get_row(s->x, seg_rng_below(rng, s->x->n_rows), c->data);
    memcpy(s->tried.data, c->data, d * sizeof *c->data);
    s->n_tried = 0;
    s->has_newest = true;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, s->n_chunks, seed_chunk, s);
    if (seg_progress_cancelled(s->progress)) return SEG_ECANCELED;
    s->has_newest = false;
    s->n_tried = n_candidates;
    s->left_by_newest = s->left;
    for (size_t j = 1; j < k; j++) {
        double sum = kmeans_total(s->left_by_newest, s->n_chunks);
        if (!(sum > 0)) { /* every row stands on a centroid */
            for (size_t i = j; i < k; i++)
                memcpy(seg_matrix_row(c, i), seg_matrix_row(c, j - 1), d * sizeof *c->data);
            return SEG_OK;
        }
        for (size_t i = 0; i < n_candidates; i++)
            s->at[i] = seg_rng_double(rng) * sum;
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_candidates, draw_candidate, s);
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, s->n_chunks, seed_chunk, s);
        if (seg_progress_cancelled(s->progress)) return SEG_ECANCELED;
        size_t best = 0;
        for (size_t i = 1; i < n_candidates; i++)
            if (kmeans_total(s->left + i * s->n_chunks, s->n_chunks) <
                kmeans_total(s->left + best * s->n_chunks, s->n_chunks))
                best = i;
        memcpy(seg_matrix_row(c, j), seg_matrix_row(&s->tried, best), d * sizeof *c->data);
        memcpy(seg_matrix_row(&s->tried, n_candidates), seg_matrix_row(c, j), d * sizeof *c->data);
        s->has_newest = true;
        s->left_by_newest = s->left + best * s->n_chunks;
    }
    return SEG_OK;
}

/* k different row numbers. */
static void seed_random(const struct seg_tiles *x, struct seg_rng *rng, struct seg_matrix *c)
{
    size_t drawn[SEG_K_MAX];
    for (size_t j = 0; j < c->n_rows;) {
        size_t i = 0;
        drawn[j] = seg_rng_below(rng, x->n_rows);
        while (drawn[i] != drawn[j])
            i++;
        if (i < j) continue; /* had it */
        seg_tiles_get_row(x, drawn[j], seg_matrix_row(c, j));
        j++;
    }
}

static enum seg_status seed(struct seg_pool *pool, const struct seg_tiles *x,
                            enum seg_kmeans_init init, struct seg_rng *rng, float *closest,
                            const struct seg_progress *progress, struct seg_matrix *c)
{
    if (init == SEG_INIT_RANDOM) {
        seed_random(x, rng, c);
        return SEG_OK;
    }
    if (init == SEG_INIT_PARALLEL) return kmeans_seed_parallel(pool, x, rng, closest, progress, c);
    struct seeding s = { .x = x, .closest = closest, .progress = progress };
    s.kernels = seg_kernels_get();
    s.n_chunks = x->n_chunks;
    s.left = seg_alloc(CANDIDATES_MAX * s.n_chunks, sizeof *s.left);
    enum seg_status st = s.left == NULL ? SEG_ENOMEM : SEG_OK;
    if (st == SEG_OK) st = seg_matrix_init(&s.tried, CANDIDATES_MAX + 1, x->n_cols);
    if (st == SEG_OK) st = seed_greedy(pool, &s, rng, c);
    seg_free(s.left);
    seg_matrix_release(&s.tried);
    return st;
}

/* The arguments of seed, whose passes follow each other faster on a thread that works for them. */
struct seed_call {
    struct seg_pool *pool;
    const struct seg_tiles *x;
    enum seg_kmeans_init init;
    struct seg_rng *rng;
    float *closest;
    const struct seg_progress *progress;
    struct seg_matrix *c;
    enum seg_status st;
};

static void seed_on_worker(void *ctx, size_t index)
{
    struct seed_call *s = ctx;
    (void)index;
    s->st = seed(s->pool, s->x, s->init, s->rng, s->closest, s->progress, s->c);
}

enum seg_status kmeans_seed(struct seg_pool *pool, const struct seg_tiles *x,
                            enum seg_kmeans_init init, struct seg_rng *rng, float *closest,
                            const struct seg_progress *progress, struct seg_matrix *c)
{
    struct seed_call call = { pool, x, init, rng, closest, progress, c, SEG_OK };
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, 1, seed_on_worker, &call);
    return call.st;
}
