/* kmeans_lloyd.c - Lloyd's iteration, without the distances that cannot change anything.
 *
 * Bounds after Hamerly (2010), folded into one number a row. When a row is measured at distance u
 * from its centroid and l from the next one, it can spend l - u before it may change cluster. Later
 * moves of centroids cost a row of cluster j at most spent[j]: the way of j itself plus the longest
 * way of any other. slack[row] = l - u + spent[j] at that time, so that nothing is written while a
 * row waits; it is measured again once spent[j] has passed slack[row].
 *
 * Skipping is safe in floating point: squared distances from the kernel are sums of squares with a
 * relative error under (d + 3) 2^-24, so u and l are widened by (d + 16) 2^-24, which covers the
 * error now, the error of the distances that will not be computed later, and the roundings here. A
 * skipped row is therefore one whose label the kernel would have given again, ties included. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "cluster/kmeans_run.h"

/* Waking rows of a tile are gathered with those of the chunk's other tiles, which costs as much for
 * each as to measure it against this many centroids; when that is dearer, the whole tile is
 * measured in place. */
#define GATHER_COST 24u

/* The workspace of one worker. As sums are exact it does not matter who summed what. */
struct kmeans_desk {
    atomic_flag taken;
    struct kmeans_sums moved;          /* what rows that changed cluster add and take */
    uint64_t n_moved;                  /* their number */
    float *batch;                      /* (d, 64) gathered rows */
    uint32_t batch_row[SEG_TILE_ROWS]; /* their numbers */
    unsigned n_batch;
};

static enum seg_status desk_init(struct kmeans_desk *desk, size_t k, size_t d)
{
    atomic_flag_clear(&desk->taken);
    desk->batch = seg_alloc_aligned(d * SEG_TILE_ROWS, sizeof *desk->batch);
    if (desk->batch == NULL) return SEG_ENOMEM;
    memset(desk->batch, 0, d * SEG_TILE_ROWS * sizeof *desk->batch);
    return kmeans_sums_init(&desk->moved, k, d);
}

static void desk_release(struct kmeans_desk *desk)
{
    seg_free(desk->batch);
    kmeans_sums_release(&desk->moved);
}

/* There is a desk for every thread that can be here. */
static struct kmeans_desk *desk_take(struct kmeans_run *run)
{
    for (size_t i = 0;; i = (i + 1) % run->n_desks)
        if (!atomic_flag_test_and_set_explicit(&run->desks[i].taken, memory_order_acquire))
            return &run->desks[i];
}

static void desk_give(struct kmeans_desk *desk)
{
    atomic_flag_clear_explicit(&desk->taken, memory_order_release);
}

enum seg_status kmeans_run_init(struct kmeans_run *run, struct seg_pool *pool,
                                const struct kmeans_data *data, const struct seg_kmeans_params *p,
                                const struct seg_progress *progress)
{
    size_t d = data->x->n_cols;
    size_t n_lanes = seg_tiles_count(data->x) * SEG_TILE_ROWS;
    *run = (struct kmeans_run){ .pool = pool, .data = data, .progress = progress };
    run->kernels = seg_kernels_get();
    run->label = seg_alloc_aligned(n_lanes, sizeof *run->label);
    run->slack = seg_alloc_aligned(n_lanes, sizeof *run->slack);
    run->spent = seg_alloc(p->k + 1u, sizeof *run->spent);
    run->way = seg_alloc(p->k, sizeof *run->way);
    run->spent_lo = seg_alloc(p->k + 1u, sizeof *run->spent_lo);
    run->spent_hi = seg_alloc(p->k + 1u, sizeof *run->spent_hi);
    run->curve = seg_alloc(p->n_iter_max, sizeof *run->curve);
    size_t n_desks = (pool != NULL ? seg_pool_size(pool) : 0) + 1;
    run->desks = seg_calloc(n_desks, sizeof *run->desks);
    enum seg_status st = SEG_ENOMEM;
    if (!run->label || !run->slack || !run->spent || !run->way || !run->spent_lo ||
        !run->spent_hi || !run->curve || !run->desks)
        goto out;
    run->n_desks = n_desks;
    st = seg_matrix_init(&run->c, p->k, d);
    if (st == SEG_OK) st = seg_matrix_init(&run->was, p->k, d);
    if (st == SEG_OK) st = kmeans_sums_init(&run->sums, p->k, d);
    for (size_t i = 0; i < n_desks && st == SEG_OK; i++)
        st = desk_init(&run->desks[i], p->k, d);
out:
    if (st != SEG_OK) kmeans_run_release(run);
    return st;
}

void kmeans_run_release(struct kmeans_run *run)
{
    for (size_t i = 0; i < run->n_desks; i++)
        desk_release(&run->desks[i]);
    seg_free(run->desks);
    seg_matrix_release(&run->c);
    seg_matrix_release(&run->was);
    kmeans_sums_release(&run->sums);
    seg_free(run->label);
    seg_free(run->slack);
    seg_free(run->spent);
    seg_free(run->way);
    seg_free(run->spent_lo);
    seg_free(run->spent_hi);
    seg_free(run->curve);
    *run = (struct kmeans_run){ 0 };
}

/* What rows with these squared distances can spend, rounded down. */
static void measure_slack(const float *dist2, const float *second2, size_t d, float *slack)
{
    const float widen = (float)(d + 16) * 0x1p-24f;
    const float tiny = (float)d * FLT_MIN; /* underflow of the squares, at most */
    const float tiny_way = 4 * sqrtf(tiny);
    for (size_t i = 0; i < SEG_TILE_ROWS; i++) {
        float next2 = second2[i] < FLT_MAX ? second2[i] : FLT_MAX;
        slack[i] = sqrtf(next2) * (1 - widen) - sqrtf(dist2[i]) * (1 + widen) - tiny_way;
    }
}

/* Measures the first n rows of a tile, whose numbers are row[]. */
static void measure(struct kmeans_run *run, struct kmeans_desk *desk, const float *tile,
                    const uint32_t *row, unsigned n)
{
    const size_t d = run->data->x->n_cols;
    uint32_t label[SEG_TILE_ROWS];
    float dist2[SEG_TILE_ROWS], second2[SEG_TILE_ROWS], slack[SEG_TILE_ROWS];
    unsigned moved[SEG_TILE_ROWS], n_moved = 0;

    run->kernels->nearest(tile, d, run->c.data, run->c.n_rows, label, dist2, second2);
    measure_slack(dist2, second2, d, slack);
    for (unsigned i = 0; i < n; i++) {
        float sum = slack[i] + run->spent_lo[label[i]];
        run->slack[row[i]] = sum - fabsf(sum) * 0x1p-22f;
        moved[n_moved] = i;
        n_moved += run->label[row[i]] != label[i];
    }
    for (unsigned m = 0; m < n_moved; m++) {
        unsigned i = moved[m];
        kmeans_sums_move(&desk->moved, run->data->scale, tile + i, run->label[row[i]], label[i]);
        run->label[row[i]] = label[i];
    }
    desk->n_moved += n_moved;
}

static void measure_batch(struct kmeans_run *run, struct kmeans_desk *desk)
{
    measure(run, desk, desk->batch, desk->batch_row, desk->n_batch);
    desk->n_batch = 0;
}

/* Puts lanes of a tile into the batch, measuring it whenever it is full. */
static void gather(struct kmeans_run *run, struct kmeans_desk *desk, const float *tile,
                   uint32_t first_row, const uint32_t *lane, unsigned n)
{
    const size_t d = run->data->x->n_cols;
    for (unsigned done = 0; done < n;) {
        unsigned room = SEG_TILE_ROWS - desk->n_batch;
        unsigned some = n - done < room ? n - done : room;
        float *to = desk->batch + desk->n_batch;
        for (size_t c = 0; c < d; c++)
            for (unsigned i = 0; i < some; i++)
                to[c * SEG_TILE_ROWS + i] = tile[c * SEG_TILE_ROWS + lane[done + i]];
        for (unsigned i = 0; i < some; i++)
            desk->batch_row[desk->n_batch + i] = first_row + lane[done + i];
        desk->n_batch += some;
        done += some;
        if (desk->n_batch == SEG_TILE_ROWS) measure_batch(run, desk);
    }
}

/* Bit i: row i of the tile has spent its slack. */
static uint64_t awake_rows(const struct kmeans_run *run, size_t tile)
{
    const float *slack = run->slack + tile * SEG_TILE_ROWS;
    const uint32_t *label = run->label + tile * SEG_TILE_ROWS;
    uint64_t awake = 0;
    for (unsigned i = seg_tiles_rows(run->data->x, tile); i-- > 0;)
        awake = awake << 1 | !(slack[i] > run->spent_hi[label[i]]);
    return awake;
}

static void assign_chunk(void *ctx, size_t chunk)
{
    struct kmeans_run *run = ctx;
    const struct seg_tiles *x = run->data->x;
    const size_t k = run->c.n_rows, first = chunk * SEG_CHUNK_TILES;
    const size_t left = seg_tiles_count(x) - first;
    const size_t n_tiles = left < SEG_CHUNK_TILES ? left : SEG_CHUNK_TILES;
    uint64_t awake[SEG_CHUNK_TILES + 1] = { 0 };
    if (seg_progress_cancelled(run->progress)) return;
    for (size_t t = 0; t < n_tiles; t++)
        awake[t] = awake_rows(run, first + t);
    struct kmeans_desk *desk = desk_take(run);
    for (size_t t = 0; t < n_tiles; t++) {
        const unsigned n_awake = (unsigned)__builtin_popcountll(awake[t]);
        const uint32_t row = (uint32_t)((first + t) * SEG_TILE_ROWS);
        if (awake[t + 1] != 0) kmeans_prefetch(x, first + t + 1);
        if (t % 8 == 7) seg_pool_give_way();
        if (n_awake * (k + GATHER_COST) >= SEG_TILE_ROWS * k) {
            uint32_t rows[SEG_TILE_ROWS];
            const unsigned n = seg_tiles_rows(x, first + t);
            for (unsigned i = 0; i < n; i++)
                rows[i] = row + i;
            measure(run, desk, seg_tiles_at(x, first + t), rows, n);
        } else if (n_awake > 0) {
            uint32_t lane[SEG_TILE_ROWS];
            uint64_t rest = awake[t];
            for (unsigned i = 0; i < n_awake; i++, rest &= rest - 1)
                lane[i] = (uint32_t)__builtin_ctzll(rest);
            gather(run, desk, seg_tiles_at(x, first + t), row, lane, n_awake);
        }
    }
    if (desk->n_batch > 0) measure_batch(run, desk);
    desk_give(desk);
}

/* Every row has to be measured next time. */
static void wake_all(struct kmeans_run *run)
{
    size_t n_lanes = seg_tiles_count(run->data->x) * SEG_TILE_ROWS;
    for (size_t i = 0; i < n_lanes; i++)
        run->slack[i] = -FLT_MAX;
}

/* Gives each empty cluster the row farthest from its centroid, unless all rows stand on theirs. */
static size_t reseed_empty(struct kmeans_run *run)
{
    const struct seg_tiles *x = run->data->x;
    const uint32_t k = (uint32_t)run->c.n_rows;
    size_t n_reseeded = 0;
    float *dist2 = NULL; /* kept in slack, which is void after a reseeding */
    for (uint32_t j = 0; j < k; j++) {
        if (run->sums.count[j] > 0) continue;
        if (dist2 == NULL) {
            dist2 = run->slack;
            kmeans_assign(run->pool, x, &run->c, run->progress, run->label, dist2);
        }
        size_t far = 0;
        float far2 = 0;
        for (size_t r = 0; r < x->n_rows; r++)
            if (dist2[r] > far2 && run->sums.count[run->label[r]] > 1) {
                far = r;
                far2 = dist2[r];
            }
        if (far2 <= 0) break;
        kmeans_sums_move(&run->sums, run->data->scale, seg_tiles_cell(x, far, 0), run->label[far],
                         j);
        run->label[far] = j;
        dist2[far] = 0;
        n_reseeded++;
    }
    if (dist2 != NULL) wake_all(run);
    return n_reseeded;
}

/* Takes the means and books what their movement costs the rows. Returns the sum of squared
 * movements. */
static double move_centroids(struct kmeans_run *run)
{
    const size_t k = run->c.n_rows, d = run->c.n_cols;
    const double widen = 1 + (double)(d + 16) * 0x1p-24;
    double total2 = 0, longest = 0, second = 0;
    size_t longest_j = 0;
    memcpy(run->was.data, run->c.data, k * d * sizeof *run->was.data);
    kmeans_sums_means(&run->sums, run->data, &run->c);
    for (size_t j = 0; j < k; j++) {
        const float *now = seg_matrix_row(&run->c, j), *was = seg_matrix_row(&run->was, j);
        double way2 = 0;
        for (size_t i = 0; i < d; i++) {
            double step = (double)now[i] - (double)was[i];
            way2 += step * step;
        }
        total2 += way2;
        run->way[j] = sqrt(way2) * widen;
        if (run->way[j] > longest) {
            second = longest;
            longest = run->way[j];
            longest_j = j;
        } else if (run->way[j] > second) {
            second = run->way[j];
        }
    }
    for (size_t j = 0; j < k; j++) {
        run->spent[j] += run->way[j] + (j == longest_j ? second : longest);
        run->spent_lo[j] = (float)(run->spent[j] * (1 - 0x1p-22));
        run->spent_hi[j] = (float)(run->spent[j] * (1 + 0x1p-22));
    }
    return total2;
}

/* Takes in what the desks hold. Returns the number of rows that changed cluster. */
static uint64_t collect(struct kmeans_run *run)
{
    uint64_t n_moved = 0;
    for (size_t i = 0; i < run->n_desks; i++) {
        struct kmeans_desk *desk = &run->desks[i];
        if (desk->n_moved == 0) continue;
        kmeans_sums_drain(&run->sums, &desk->moved);
        n_moved += desk->n_moved;
        desk->n_moved = 0;
    }
    return n_moved;
}

static void reset(struct kmeans_run *run)
{
    const size_t k = run->c.n_rows;
    size_t n_lanes = seg_tiles_count(run->data->x) * SEG_TILE_ROWS;
    for (size_t i = 0; i < n_lanes; i++)
        run->label[i] = (uint32_t)k;
    wake_all(run);
    for (size_t j = 0; j <= k; j++)
        run->spent[j] = run->spent_lo[j] = run->spent_hi[j] = 0;
    kmeans_sums_clear(&run->sums);
    run->n_iter = 0;
    run->converged = false;
}

static void report(const struct kmeans_run *run, const struct seg_kmeans_params *p, uint32_t start,
                   uint32_t n_starts)
{
    char text[128];
    double part = (double)run->n_iter / (double)p->n_iter_max;
    snprintf(text, sizeof text, "start %u of %u, iteration %u, inertia %.6g", start + 1, n_starts,
             run->n_iter, run->inertia);
    seg_progress_report(run->progress, ((double)start + part) / (double)n_starts, text);
}

enum seg_status kmeans_run_iterate(struct kmeans_run *run, const struct seg_kmeans_params *p,
                                   uint32_t start, uint32_t n_starts)
{
    const struct seg_tiles *x = run->data->x;
    const size_t n_chunks = (seg_tiles_count(x) + SEG_CHUNK_TILES - 1) / SEG_CHUNK_TILES;
    reset(run);
    while (run->n_iter < p->n_iter_max && !run->converged) {
        seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, n_chunks, assign_chunk, run);
        if (seg_progress_cancelled(run->progress)) return SEG_ECANCELED;
        uint64_t n_moved = collect(run);
        n_moved += reseed_empty(run);
        double inertia = kmeans_sums_inertia(&run->sums, run->data);
        /* Centroids are rounded to float: near the end the last digit can go up and down. */
        if (run->n_iter > 0 && inertia > run->inertia) {
            run->converged = true;
            break;
        }
        run->inertia = run->curve[run->n_iter++] = inertia;
        double moved2 = move_centroids(run);
        run->converged =
            n_moved == 0 || (p->tol > 0 && moved2 <= p->tol * run->data->variance_mean);
        report(run, p, start, n_starts);
    }
    return SEG_OK;
}
