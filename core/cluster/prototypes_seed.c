/* prototypes_seed.c - start prototypes: greedy k-means++ (Arthur and Vassilvitskii 2007) by the
 * distance of mixed.h, or plain rows.
 *
 * Each step draws 2 + ln k rows with probability proportional to the squared distance to the
 * nearest prototype so far and keeps the one that leaves the smallest sum. One pass over the rows
 * takes in the last prototype and measures all candidates: the newest stands before them in
 * `tried`. Sums are float64 per chunk, added in chunk order. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "cluster/kmeans_run.h"
#include "cluster/prototypes_run.h"

#define TRIED_MAX 16u

struct seeding {
    const struct seg_tiles *x;
    const struct seg_mixed *m;
    const struct seg_progress *progress;
    float *closest;          /* (n) squared distance to the nearest prototype */
    struct seg_matrix tried; /* (TRIED_MAX, n_cols): the newest prototype, then candidates */
    size_t n_tried;
    size_t n_chunks;
    double *left; /* (TRIED_MAX, n_chunks) sum of closest, then if candidate i became a prototype */
};

static void seed_chunk(void *ctx, size_t chunk)
{
    struct seeding *s = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(s->x);
    double sum[TRIED_MAX] = { 0 };
    _Alignas(SEG_ALIGN) float fresh[TRIED_MAX * SEG_TILE_ROWS];
    if (seg_progress_cancelled(s->progress)) return;
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        float *closest = s->closest + t * SEG_TILE_ROWS;
        const unsigned n = seg_tiles_rows(s->x, t);
        if (t % 8 == 7) seg_pool_give_way();
        seg_mixed_squares(s->m, seg_tiles_at(s->x, t), s->tried.data, s->n_tried, fresh);
        for (unsigned r = 0; r < n; r++) {
            closest[r] = fresh[r] < closest[r] ? fresh[r] : closest[r];
            sum[0] += (double)closest[r];
        }
        for (size_t j = 1; j < s->n_tried; j++)
            for (unsigned r = 0; r < n; r++) {
                const float now = fresh[j * SEG_TILE_ROWS + r];
                sum[j] += (double)(now < closest[r] ? now : closest[r]);
            }
    }
    for (size_t j = 0; j < s->n_tried; j++)
        s->left[j * s->n_chunks + chunk] = sum[j];
}

static double total(const struct seeding *s, size_t tried)
{
    return kmeans_total(s->left + tried * s->n_chunks, s->n_chunks);
}

/* Takes the newest prototype, tried[0], into the `closest` of one chunk: the pass over all does it
 * again, to the same bits. */
static void take_newest(const struct seeding *s, size_t chunk)
{
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(s->x);
    _Alignas(SEG_ALIGN) float fresh[SEG_TILE_ROWS];
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        float *closest = s->closest + t * SEG_TILE_ROWS;
        seg_mixed_squares(s->m, seg_tiles_at(s->x, t), s->tried.data, 1, fresh);
        for (unsigned r = 0; r < seg_tiles_rows(s->x, t); r++)
            closest[r] = fresh[r] < closest[r] ? fresh[r] : closest[r];
    }
}

/* The row at which the running sum of `closest` with the newest passes `at`; left (n_chunks) are
 * its sums. Rounding may carry past the end: then the last row that has a distance. */
static size_t draw(const struct seeding *s, const double *left, double at)
{
    const size_t chunk = kmeans_draw_chunk(left, s->n_chunks, &at);
    size_t last = 0;
    take_newest(s, chunk);
    const size_t end = (chunk + 1) * SEG_CHUNK_ROWS;
    for (size_t r = chunk * SEG_CHUNK_ROWS; r < end && r < s->x->n_rows; r++) {
        if (s->closest[r] <= 0) continue;
        last = r;
        if (at < (double)s->closest[r]) break;
        at -= (double)s->closest[r];
    }
    return last;
}

static enum seg_status seed_greedy(struct seg_pool *pool, struct seeding *s, struct seg_rng *rng,
                                   struct seg_matrix *c)
{
    const size_t k = c->n_rows, row_bytes = c->n_cols * sizeof *c->data;
    const size_t n_candidates = 2 + (size_t)log((double)k);
    size_t newest = 0; /* its place in `tried` in the last pass */
    for (size_t i = 0; i < seg_tiles_count(s->x) * SEG_TILE_ROWS; i++)
        s->closest[i] = FLT_MAX;
    seg_tiles_get_row(s->x, seg_rng_below(rng, s->x->n_rows), c->data);
    memcpy(s->tried.data, c->data, row_bytes);
    s->n_tried = 1;
    for (size_t j = 1; j < k; j++) {
        if (j == 1) seg_pool_for(pool, SEG_PRIORITY_TRAINING, s->n_chunks, seed_chunk, s);
        if (seg_progress_cancelled(s->progress)) return SEG_ECANCELED;
        const double sum = total(s, newest);
        if (!(sum > 0)) { /* every row stands on a prototype */
            for (size_t i = j; i < k; i++)
                memcpy(seg_matrix_row(c, i), seg_matrix_row(c, j - 1), row_bytes);
            return SEG_OK;
        }
        s->n_tried = 1 + n_candidates;
        for (size_t i = 1; i < s->n_tried; i++)
            seg_tiles_get_row(s->x,
                              draw(s, s->left + newest * s->n_chunks, seg_rng_double(rng) * sum),
                              seg_matrix_row(&s->tried, i));
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, s->n_chunks, seed_chunk, s);
        newest = 1;
        for (size_t i = 2; i < s->n_tried; i++)
            if (total(s, i) < total(s, newest)) newest = i;
        memcpy(seg_matrix_row(c, j), seg_matrix_row(&s->tried, newest), row_bytes);
        memcpy(s->tried.data, seg_matrix_row(c, j), row_bytes);
    }
    return seg_progress_cancelled(s->progress) ? SEG_ECANCELED : SEG_OK;
}

enum seg_status prototypes_seed(struct seg_pool *pool, const struct seg_tiles *x,
                                const struct seg_mixed *m, enum seg_kmeans_init init,
                                struct seg_rng *rng, float *closest,
                                const struct seg_progress *progress, struct seg_matrix *c)
{
    if (init == SEG_INIT_RANDOM) /* knows no distance */
        return kmeans_seed(pool, x, init, rng, closest, progress, c);
    struct seeding s = { .x = x, .m = m, .progress = progress, .closest = closest };
    s.n_chunks = x->n_chunks;
    s.left = seg_alloc(TRIED_MAX * s.n_chunks, sizeof *s.left);
    enum seg_status st = s.left == NULL ? SEG_ENOMEM : SEG_OK;
    if (st == SEG_OK) st = seg_matrix_init(&s.tried, TRIED_MAX, x->n_cols);
    if (st == SEG_OK) st = seed_greedy(pool, &s, rng, c);
    seg_free(s.left);
    seg_matrix_release(&s.tried);
    return st;
}
