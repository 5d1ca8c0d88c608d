/* kmeans_seed_parallel.c - start centroids by k-means|| (Bahmani and others 2012).
 *
 * Five passes, instead of one for each centroid, gather candidates: each row becomes one with
 * probability OVERSAMPLING * k * (its squared distance to the nearest candidate) / (the sum of
 * these). A candidate weighs as many rows as it is the nearest of, and weighted greedy k-means++
 * with a few steps of Lloyd makes k centroids of them. A row's draw is number `row` of a stream of
 * its round: no result depends on who looks at which rows. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "cluster/kmeans_run.h"

#define OVERSAMPLING 2u
#define ROUNDS       5u
#define ROUNDS_MAX   40u /* when there are fewer candidates than k: small or lumpy data */
#define ROOM_FACTOR  4u  /* candidates of a round kept, times k: twice as many as are expected */
#define ROOM_MORE    64u
#define STEPS_LLOYD  5u
#define TRIES_MAX    16u /* candidates of a greedy step */

struct gathering {
    const struct seg_tiles *x;
    const struct seg_kernels *kernels;
    const struct seg_progress *progress;
    float *closest;      /* (n) squared distance to the nearest candidate; 0 past the last row */
    uint32_t *owner;     /* (n) that candidate */
    uint64_t *drawn;     /* (n_tiles) bit i: row i of the tile became a candidate */
    double *sum;         /* (n_chunks) of closest */
    struct seg_matrix c; /* (room, d) candidates; n_rows is how many there are */
    size_t room;
    size_t first;         /* the first that is not in closest yet */
    struct seg_rng round; /* at draw 0 */
    double scale;         /* closest times this is the probability of a row */
};

/* Takes in the new candidates. */
static void measure_chunk(void *ctx, size_t chunk)
{
    struct gathering *g = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(g->x);
    const size_t d = g->x->n_cols, n_new = g->c.n_rows - g->first;
    size_t n_cells = 0;
    double sum = 0;
    if (seg_progress_cancelled(g->progress)) return;
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        uint32_t label[SEG_TILE_ROWS];
        float dist2[SEG_TILE_ROWS];
        float *closest = g->closest + t * SEG_TILE_ROWS;
        uint32_t *owner = g->owner + t * SEG_TILE_ROWS;
        kmeans_offer(&n_cells, n_new * d);
        g->kernels->nearest(seg_tiles_at(g->x, t), d, seg_matrix_row(&g->c, g->first), n_new, label,
                            dist2, NULL);
        for (unsigned r = 0; r < seg_tiles_rows(g->x, t); r++) {
            if (dist2[r] < closest[r]) {
                closest[r] = dist2[r];
                owner[r] = (uint32_t)g->first + label[r];
            }
            sum += (double)closest[r];
        }
    }
    g->sum[chunk] = sum;
}

static void draw_chunk(void *ctx, size_t chunk)
{
    struct gathering *g = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(g->x);
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        struct seg_rng rng = g->round;
        uint64_t drawn = 0;
        rng.counter = t * SEG_TILE_ROWS;
        for (unsigned r = 0; r < seg_tiles_rows(g->x, t); r++) {
            const double p = (double)g->closest[t * SEG_TILE_ROWS + r] * g->scale;
            drawn |= (uint64_t)(seg_rng_double(&rng) < p) << r;
        }
        g->drawn[t] = drawn;
        if (t % 8 == 7) seg_pool_give_way();
    }
}

/* The drawn rows become candidates, in row order, as far as there is room for the round. */
static enum seg_status collect(struct gathering *g, size_t room)
{
    const size_t d = g->x->n_cols, n_tiles = seg_tiles_count(g->x);
    if (g->c.n_rows + room > g->room) {
        struct seg_matrix grown;
        const size_t n = g->c.n_rows;
        enum seg_status st = seg_matrix_init(&grown, n + room, d);
        if (st != SEG_OK) return st;
        memcpy(grown.data, g->c.data, n * d * sizeof *grown.data);
        seg_matrix_release(&g->c);
        g->c = grown;
        g->c.n_rows = n;
        g->room = n + room;
    }
    const size_t end = g->c.n_rows + room;
    for (size_t t = 0; t < n_tiles; t++)
        for (uint64_t rest = g->drawn[t]; rest != 0 && g->c.n_rows < end; rest &= rest - 1)
            seg_tiles_get_row(g->x, t * SEG_TILE_ROWS + (size_t)__builtin_ctzll(rest),
                              seg_matrix_row(&g->c, g->c.n_rows++));
    return SEG_OK;
}

/* Gathers at least k candidates, unless there are fewer distinct rows. The draw of the first row
 * and of the rounds are rng's. */
static enum seg_status gather(struct seg_pool *pool, struct gathering *g, size_t k,
                              struct seg_rng *rng)
{
    const size_t n_chunks = g->x->n_chunks, n_lanes = seg_tiles_count(g->x) * SEG_TILE_ROWS;
    for (size_t i = 0; i < n_lanes; i++) {
        if (i % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        g->closest[i] = i < g->x->n_rows ? FLT_MAX : 0;
        g->owner[i] = 0; /* and stays so where every distance overflows */
    }
    seg_tiles_get_row(g->x, seg_rng_below(rng, g->x->n_rows), g->c.data);
    g->c.n_rows = 1;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        double sum = 0;
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_chunks, measure_chunk, g);
        if (seg_progress_cancelled(g->progress)) return SEG_ECANCELED;
        for (size_t i = 0; i < n_chunks; i++)
            sum += g->sum[i];
        if (!(sum > 0) || (round >= ROUNDS && g->c.n_rows >= k)) break;
        g->first = g->c.n_rows;
        g->round = seg_rng_make(seg_rng_u64(rng), round);
        g->scale = (double)OVERSAMPLING * (double)k / sum;
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_chunks, draw_chunk, g);
        enum seg_status st = collect(g, ROOM_FACTOR * k + ROOM_MORE);
        if (st != SEG_OK) return st;
    }
    return SEG_OK;
}

/* ---- from candidates to centroids ---- */

struct clustering {
    const struct seg_kernels *kernels;
    struct seg_tiles x;  /* (m, d) candidates */
    double *weight;      /* (m) rows */
    float *closest;      /* (m) whole tiles */
    float *fresh;        /* (TRIES_MAX, m) whole tiles: distances to the tries of a step */
    uint32_t *label;     /* (m) whole tiles */
    double *sum, *share; /* (k, d), (k) of a step of Lloyd */
};

static void clustering_release(struct clustering *w)
{
    seg_tiles_release(&w->x);
    seg_free(w->weight);
    seg_free(w->closest);
    seg_free(w->fresh);
    seg_free(w->label);
    seg_free(w->sum);
    seg_free(w->share);
}

static enum seg_status clustering_init(struct clustering *w, const struct gathering *g, size_t k)
{
    const size_t d = g->x->n_cols, m = g->c.n_rows;
    *w = (struct clustering){ .kernels = g->kernels };
    enum seg_status st = seg_tiles_from_rows(&w->x, g->c.data, m, g->x->n_cols);
    if (st != SEG_OK) return st;
    const size_t n_lanes = seg_tiles_count(&w->x) * SEG_TILE_ROWS;
    w->weight = seg_calloc(m, sizeof *w->weight);
    w->closest = seg_alloc(n_lanes, sizeof *w->closest);
    w->fresh = seg_alloc_aligned(TRIES_MAX * n_lanes, sizeof *w->fresh);
    w->label = seg_alloc(n_lanes, sizeof *w->label);
    w->sum = seg_alloc(k * d, sizeof *w->sum);
    w->share = seg_alloc(k, sizeof *w->share);
    if (!w->weight || !w->closest || !w->fresh || !w->label || !w->sum || !w->share)
        return SEG_ENOMEM;
    for (size_t r = 0; r < g->x->n_rows; r++) {
        if (r % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        w->weight[g->owner[r]]++;
    }
    return SEG_OK;
}

/* Squared distances of the candidates to a centroid, to out (m) whole tiles. */
static void measure(const struct clustering *w, const float *centroid, float *out)
{
    size_t n_cells = 0;
    for (size_t t = 0; t < seg_tiles_count(&w->x); t++) {
        kmeans_offer(&n_cells, w->x.n_cols);
        w->kernels->squares(seg_tiles_at(&w->x, t), w->x.n_cols, centroid, 1,
                            out + t * SEG_TILE_ROWS);
    }
}

/* The weighted sum of the smaller of two distances. */
static double sum_of_lesser(const struct clustering *w, const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < w->x.n_rows; i++)
        sum += w->weight[i] * (double)(a[i] < b[i] ? a[i] : b[i]);
    return sum;
}

/* A candidate with probability proportional to weight times closest, whose sum is `sum`. */
static size_t draw(const struct clustering *w, double sum, struct seg_rng *rng)
{
    double at = seg_rng_double(rng) * sum;
    size_t last = 0;
    for (size_t i = 0; i < w->x.n_rows; i++) {
        const double part = w->weight[i] * (double)w->closest[i];
        if (part <= 0) continue;
        last = i;
        if (at < part) break;
        at -= part;
    }
    return last;
}

/* Weighted greedy k-means++: c (k, d). */
static void seed_weighted(struct clustering *w, struct seg_rng *rng,
                          const struct seg_progress *progress, struct seg_matrix *c)
{
    const size_t n_lanes = seg_tiles_count(&w->x) * SEG_TILE_ROWS;
    const size_t n_tries = 2 + (size_t)log((double)c->n_rows);
    for (size_t i = 0; i < n_lanes; i++)
        w->closest[i] = 1; /* the first is drawn by weight alone */
    for (size_t j = 0; j < c->n_rows && !seg_progress_cancelled(progress); j++) {
        const double sum = sum_of_lesser(w, w->closest, w->closest);
        size_t best = 0, best_row = 0;
        double least = INFINITY;
        if (!(sum > 0)) { /* every candidate stands on a centroid */
            memcpy(seg_matrix_row(c, j), seg_matrix_row(c, j - 1), c->n_cols * sizeof *c->data);
            continue;
        }
        for (size_t i = 0; i < (j == 0 ? 1 : n_tries); i++) {
            const size_t row = draw(w, sum, rng);
            float *fresh = w->fresh + i * n_lanes;
            seg_tiles_get_row(&w->x, row, seg_matrix_row(c, j));
            measure(w, seg_matrix_row(c, j), fresh);
            seg_pool_give_way();
            const double left = sum_of_lesser(w, w->closest, fresh);
            if (left >= least) continue;
            least = left;
            best = i;
            best_row = row;
        }
        seg_tiles_get_row(&w->x, best_row, seg_matrix_row(c, j));
        const float *fresh = w->fresh + best * n_lanes;
        for (size_t i = 0; i < n_lanes; i++)
            w->closest[i] = j == 0 || fresh[i] < w->closest[i] ? fresh[i] : w->closest[i];
    }
}

/* One weighted step of Lloyd; a centroid without candidates stays. */
static void step_lloyd(struct clustering *w, struct seg_matrix *c)
{
    const size_t k = c->n_rows, d = c->n_cols;
    size_t n_cells = 0;
    memset(w->sum, 0, k * d * sizeof *w->sum);
    memset(w->share, 0, k * sizeof *w->share);
    for (size_t t = 0; t < seg_tiles_count(&w->x); t++) {
        uint32_t *label = w->label + t * SEG_TILE_ROWS;
        float *no_dist2 = w->closest + t * SEG_TILE_ROWS;
        kmeans_offer(&n_cells, k * d);
        w->kernels->nearest(seg_tiles_at(&w->x, t), d, c->data, k, label, no_dist2, NULL);
    }
    for (size_t i = 0; i < w->x.n_rows; i++) {
        const float *cell = seg_tiles_cell(&w->x, i, 0);
        double *sum = w->sum + w->label[i] * d;
        kmeans_offer(&n_cells, d);
        w->share[w->label[i]] += w->weight[i];
        for (size_t col = 0; col < d; col++)
            sum[col] += w->weight[i] * (double)cell[col * SEG_TILE_ROWS];
    }
    for (size_t j = 0; j < k; j++)
        for (size_t col = 0; col < d && w->share[j] > 0; col++)
            seg_matrix_row(c, j)[col] = (float)(w->sum[j * d + col] / w->share[j]);
}

enum seg_status kmeans_seed_parallel(struct seg_pool *pool, const struct seg_tiles *x,
                                     struct seg_rng *rng, float *closest,
                                     const struct seg_progress *progress, struct seg_matrix *c)
{
    const size_t k = c->n_rows, n_tiles = seg_tiles_count(x);
    struct clustering w = { 0 };
    struct gathering g = {
        .x = x, .kernels = seg_kernels_get(), .progress = progress, .closest = closest
    };
    enum seg_status st = SEG_ENOMEM;
    g.owner = seg_alloc(n_tiles * SEG_TILE_ROWS, sizeof *g.owner);
    g.drawn = seg_alloc(n_tiles, sizeof *g.drawn);
    g.sum = seg_alloc(x->n_chunks, sizeof *g.sum);
    if (g.owner == NULL || g.drawn == NULL || g.sum == NULL) goto out;
    g.room = 1;
    st = seg_matrix_init(&g.c, g.room, x->n_cols);
    if (st == SEG_OK) st = gather(pool, &g, k, rng);
    if (st == SEG_OK) st = clustering_init(&w, &g, k);
    if (st != SEG_OK) goto out;
    seed_weighted(&w, rng, progress, c);
    for (unsigned i = 0; i < STEPS_LLOYD && !seg_progress_cancelled(progress); i++)
        step_lloyd(&w, c);
    if (seg_progress_cancelled(progress)) st = SEG_ECANCELED;
out:
    clustering_release(&w);
    seg_matrix_release(&g.c);
    seg_free(g.owner);
    seg_free(g.drawn);
    seg_free(g.sum);
    return st;
}
