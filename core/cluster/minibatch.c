/* minibatch.c - see minibatch.h. A batch is gathered into tiles and measured over the pool; its
 * sums, small beside that, are taken by the caller's thread. */
#include "cluster/minibatch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "cluster/kmeans_run.h"

#define STREAM_START     UINT64_C(0x73746172) /* of a start's rows and draws; its number is added */
#define STREAM_JUDGE     UINT64_C(0x6a756467) /* of the rows that starts are compared on */
#define STREAM_REASSIGN  UINT64_C(0x72656173)
#define SAMPLE_BATCHES   3u
#define FEW_SHARE        0.01 /* of the largest count: a centroid with less is set anew */
#define REASSIGN_ROWS    10u  /* times k: rows between two looks at the counts */
#define TASK_TILES       8u
#define PREFETCH_ROWS    3u
#define REPORT_BATCHES   64u
#define ROUNDS_EMPTY_MAX 32u

const char *seg_minibatch_check(const struct seg_minibatch_params *p, size_t n_rows)
{
    const struct seg_kmeans_params shared = { .k = p->k,
                                              .init = p->init,
                                              .start = p->start,
                                              .n_init = p->n_init,
                                              .n_iter_max = 1,
                                              .tol = p->tol };
    if (p->batch_size < 1 || p->batch_size > SEG_MINIBATCH_SIZE_MAX)
        return "batch_size must be from 1 to 65536";
    if (p->n_iter_max < 1 || p->n_iter_max > 1000000) return "n_iter_max must be from 1 to 1000000";
    return seg_kmeans_check(&shared, n_rows);
}

struct run {
    struct seg_pool *pool;
    const struct seg_tiles *x;
    const struct seg_minibatch_params *p;
    const struct seg_progress *progress;
    const struct seg_kernels *kernels;
    size_t n_batch;         /* rows of a batch */
    struct seg_matrix c;    /* (k, d) */
    struct seg_tiles batch; /* (n_batch, d) */
    uint32_t *rows;         /* (n_batch) their numbers */
    uint32_t *label;        /* (n_batch) whole tiles */
    float *dist2;           /* (n_batch) whole tiles */
    double *center;         /* (k, d) what c rounds */
    double *sum;            /* (k, d) of a batch */
    uint64_t *n_sum;        /* (k) rows of a batch */
    double *count;          /* (k) rows that moved each centroid */
    double variance_mean;   /* of the columns of x; known if tol wants it */
    struct seg_rng reassign;
    size_t n_since; /* rows since the last look at the counts */
    double smooth, smooth_least;
    uint32_t n_worse; /* batches without a new low */
    double *curve;    /* (curve_cap) */
    size_t curve_cap;
    uint32_t n_iter;
    bool converged;
};

static void run_release(struct run *run)
{
    seg_matrix_release(&run->c);
    seg_tiles_release(&run->batch);
    seg_free(run->rows);
    seg_free(run->label);
    seg_free(run->dist2);
    seg_free(run->center);
    seg_free(run->sum);
    seg_free(run->n_sum);
    seg_free(run->count);
    seg_free(run->curve);
}

static enum seg_status run_init(struct run *run)
{
    const size_t k = run->p->k, d = run->x->n_cols;
    run->kernels = seg_kernels_get();
    run->n_batch = run->p->batch_size < run->x->n_rows ? run->p->batch_size : run->x->n_rows;
    run->reassign = seg_rng_make(run->p->seed, STREAM_REASSIGN);
    seg_tiles_init(&run->batch, run->x->n_cols);
    enum seg_status st = seg_tiles_grow(&run->batch, run->n_batch);
    if (st == SEG_OK) st = seg_matrix_init(&run->c, k, d);
    if (st != SEG_OK) return st;
    const size_t n_lanes = seg_tiles_count(&run->batch) * SEG_TILE_ROWS;
    run->rows = seg_alloc(run->n_batch, sizeof *run->rows);
    run->label = seg_alloc(n_lanes, sizeof *run->label);
    run->dist2 = seg_alloc(n_lanes, sizeof *run->dist2);
    run->center = seg_alloc(k * d, sizeof *run->center);
    run->sum = seg_alloc(k * d, sizeof *run->sum);
    run->n_sum = seg_alloc(k, sizeof *run->n_sum);
    run->count = seg_calloc(k, sizeof *run->count);
    if (!run->rows || !run->label || !run->dist2 || !run->center || !run->sum || !run->n_sum ||
        !run->count)
        return SEG_ENOMEM;
    if (run->p->tol == 0) return SEG_OK;
    struct kmeans_data data;
    st = kmeans_data_init(&data, run->pool, run->x);
    if (st != SEG_OK) return st;
    run->variance_mean = data.variance_mean;
    kmeans_data_release(&data);
    return SEG_OK;
}

/* ---- the start ---- */

/* A new tiles of n rows drawn with replacement. */
static enum seg_status draw_sample(const struct run *run, struct seg_rng *rng, size_t n,
                                   struct seg_tiles *ret_t)
{
    uint32_t *rows = seg_alloc(n, sizeof *rows);
    if (rows == NULL) return SEG_ENOMEM;
    for (size_t i = 0; i < n; i++)
        rows[i] = (uint32_t)seg_rng_below(rng, run->x->n_rows);
    enum seg_status st = seg_tiles_gather(run->x, rows, n, ret_t);
    seg_free(rows);
    return st;
}

/* Rows of a sample: with as many as there are, all are taken, each once. */
static size_t sample_rows(const struct run *run)
{
    const size_t k3 = (size_t)SAMPLE_BATCHES * run->p->k, b3 = SAMPLE_BATCHES * run->n_batch;
    return b3 > k3 ? b3 : k3;
}

/* Seeds run->c for one start. scratch: a float a row of the sample, whole tiles. */
static enum seg_status seed(struct run *run, uint32_t start, float *scratch)
{
    struct seg_rng rng = seg_rng_make(run->p->seed, STREAM_START + start);
    struct seg_tiles sample = { 0 };
    const size_t n = sample_rows(run);
    if (n >= run->x->n_rows)
        return kmeans_seed(run->pool, run->x, run->p->init, &rng, scratch, run->progress, &run->c);
    enum seg_status st = draw_sample(run, &rng, n, &sample);
    if (st == SEG_OK)
        st = kmeans_seed(run->pool, &sample, run->p->init, &rng, scratch, run->progress, &run->c);
    seg_tiles_release(&sample);
    return st;
}

/* The best of the starts into run->c. */
static enum seg_status choose_start(struct run *run)
{
    const size_t n_init = run->p->init == SEG_INIT_GIVEN ? 1 : run->p->n_init;
    const size_t bytes = run->c.n_rows * run->c.n_cols * sizeof *run->c.data;
    const size_t n_lanes = (sample_rows(run) + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS * SEG_TILE_ROWS;
    struct seg_rng rng = seg_rng_make(run->p->seed, STREAM_JUDGE);
    struct seg_tiles judge = { 0 };
    struct seg_matrix best_c = { 0 };
    double best = INFINITY;
    if (run->p->init == SEG_INIT_GIVEN) {
        memcpy(run->c.data, run->p->start->data, bytes);
        return SEG_OK;
    }
    float *dist2 = seg_alloc_aligned(n_lanes, sizeof *dist2);
    enum seg_status st =
        dist2 == NULL ? SEG_ENOMEM : draw_sample(run, &rng, sample_rows(run), &judge);
    if (st == SEG_OK) st = seg_matrix_copy(&best_c, &run->c);
    for (uint32_t start = 0; start < n_init && st == SEG_OK; start++) {
        double inertia = 0;
        st = seed(run, start, dist2);
        if (st != SEG_OK) break;
        kmeans_assign(run->pool, &judge, &run->c, run->progress, NULL, dist2);
        if (seg_progress_cancelled(run->progress)) st = SEG_ECANCELED;
        for (size_t r = 0; r < judge.n_rows; r++)
            inertia += (double)dist2[r];
        if (start > 0 && inertia >= best) continue;
        best = inertia;
        memcpy(best_c.data, run->c.data, bytes);
    }
    if (st == SEG_OK) memcpy(run->c.data, best_c.data, bytes);
    seg_matrix_release(&best_c);
    seg_tiles_release(&judge);
    seg_free(dist2);
    return st;
}

/* ---- batches ---- */

/* Gathers and measures some tiles of the batch. */
static void batch_task(void *ctx, size_t task)
{
    struct run *run = ctx;
    const size_t n_tiles = seg_tiles_count(&run->batch), d = run->x->n_cols;
    for (size_t t = task * TASK_TILES; t < (task + 1) * TASK_TILES && t < n_tiles; t++) {
        float *tile = seg_tiles_at(&run->batch, t);
        const uint32_t *rows = run->rows + t * SEG_TILE_ROWS;
        const unsigned n = seg_tiles_rows(&run->batch, t);
        seg_pool_give_way();
        for (unsigned i = 0; i < n; i++) {
            const float *from = seg_tiles_cell(run->x, rows[i], 0);
            if (i + PREFETCH_ROWS < n) {
                const float *next = seg_tiles_cell(run->x, rows[i + PREFETCH_ROWS], 0);
                for (size_t c = 0; c < d; c++) /* each cell is a line of its own */
                    __builtin_prefetch(next + c * SEG_TILE_ROWS, 0, 2);
            }
            for (size_t c = 0; c < d; c++)
                tile[c * SEG_TILE_ROWS + i] = from[c * SEG_TILE_ROWS];
        }
        run->kernels->nearest(tile, d, run->c.data, run->c.n_rows, run->label + t * SEG_TILE_ROWS,
                              run->dist2 + t * SEG_TILE_ROWS, NULL);
    }
}

/* Sums of the batch by cluster; returns the mean squared distance. */
static double sum_batch(struct run *run)
{
    const size_t k = run->c.n_rows, d = run->c.n_cols;
    double inertia = 0;
    memset(run->sum, 0, k * d * sizeof *run->sum);
    memset(run->n_sum, 0, k * sizeof *run->n_sum);
    for (size_t r = 0; r < run->n_batch; r++) {
        const float *cell = seg_tiles_cell(&run->batch, r, 0);
        double *sum = run->sum + run->label[r] * d;
        for (size_t c = 0; c < d; c++)
            sum[c] += (double)cell[c * SEG_TILE_ROWS];
        run->n_sum[run->label[r]]++;
        inertia += (double)run->dist2[r];
    }
    return inertia / (double)run->n_batch;
}

/* Moves the centroids. Returns the sum of their squared movements. */
static double move(struct run *run)
{
    const size_t d = run->c.n_cols;
    double moved2 = 0;
    for (size_t j = 0; j < run->c.n_rows; j++) {
        const double n = (double)run->n_sum[j];
        if (n == 0) continue;
        run->count[j] += n;
        for (size_t c = 0; c < d; c++) {
            double *center = &run->center[j * d + c];
            const double step = (run->sum[j * d + c] - n * *center) / run->count[j];
            *center += step;
            moved2 += step * step;
            run->c.data[j * d + c] = (float)*center;
        }
    }
    return moved2;
}

/* Sets centroids with few rows to rows of the batch: at most half of its rows, the centroids with
 * the fewest first; each row once. They get the count of the least of the others, so that they are
 * not set again at once. */
static void reassign_few(struct run *run)
{
    const size_t k = run->c.n_rows, d = run->c.n_cols;
    double most = 0, least = INFINITY;
    bool is_few[SEG_K_MAX];
    size_t n_few = 0, n_free = run->n_batch;
    for (size_t j = 0; j < k; j++)
        most = fmax(most, run->count[j]);
    for (size_t j = 0; j < k; j++) {
        is_few[j] = run->count[j] < FEW_SHARE * most;
        n_few += is_few[j];
    }
    while (n_few > run->n_batch / 2) { /* the richest of the few stay */
        size_t richest = k;
        for (size_t j = 0; j < k; j++)
            if (is_few[j] && (richest == k || run->count[j] >= run->count[richest])) richest = j;
        is_few[richest] = false;
        n_few--;
    }
    for (size_t j = 0; j < k; j++)
        if (!is_few[j]) least = fmin(least, run->count[j]);
    for (size_t j = 0; j < k && n_few > 0; j++) {
        if (!is_few[j]) continue;
        /* A draw without replacement: the row drawn changes places with the last free one. */
        const size_t i = seg_rng_below(&run->reassign, n_free--);
        const uint32_t row = run->rows[i];
        run->rows[i] = run->rows[n_free];
        seg_tiles_get_row(run->x, row, seg_matrix_row(&run->c, j));
        for (size_t c = 0; c < d; c++)
            run->center[j * d + c] = (double)run->c.data[j * d + c];
        run->count[j] = least;
    }
}

/* Whether it is time to look at the counts. */
static bool wants_reassignment(struct run *run)
{
    bool is_due = false;
    run->n_since += run->n_batch;
    for (size_t j = 0; j < run->c.n_rows; j++)
        is_due = is_due || run->count[j] == 0;
    is_due = is_due || run->n_since >= REASSIGN_ROWS * run->c.n_rows;
    if (is_due) run->n_since = 0;
    return is_due;
}

/* Takes in a batch's inertia and says whether to stop. The first is of the start, not of what
 * batches made of it. */
static bool has_converged(struct run *run, double inertia, double moved2)
{
    const double n = (double)run->x->n_rows;
    const double rate = fmin(1, 2 * (double)run->n_batch / (n + 1));
    const bool is_first = run->n_iter == 0;
    run->smooth = run->n_iter < 2 ? inertia : run->smooth * (1 - rate) + inertia * rate;
    run->curve[run->n_iter++] = run->smooth * n;
    if (is_first) return false;
    if (run->p->tol > 0 && moved2 <= run->p->tol * run->variance_mean) return true;
    if (run->n_iter == 2 || run->smooth < run->smooth_least) {
        run->smooth_least = run->smooth;
        run->n_worse = 0;
    } else {
        run->n_worse++;
    }
    return run->p->patience > 0 && run->n_worse >= run->p->patience;
}

static void report(const struct run *run)
{
    char text[96];
    snprintf(text, sizeof text, "batch %u of at most %u, inertia %.6g", run->n_iter,
             run->p->n_iter_max, run->curve[run->n_iter - 1]);
    seg_progress_report(run->progress, 0.9 * (double)run->n_iter / (double)run->p->n_iter_max,
                        text);
}

static enum seg_status run_batches(struct run *run)
{
    struct seg_rng rng = seg_rng_make(run->p->seed, SEG_MINIBATCH_STREAM);
    const size_t n_tasks = (seg_tiles_count(&run->batch) + TASK_TILES - 1) / TASK_TILES;
    for (size_t i = 0; i < run->c.n_rows * run->c.n_cols; i++)
        run->center[i] = (double)run->c.data[i];
    while (run->n_iter < run->p->n_iter_max && !run->converged) {
        double *curve = seg_grow(run->curve, run->n_iter, &run->curve_cap, sizeof *curve);
        if (curve == NULL) return SEG_ENOMEM;
        run->curve = curve;
        for (size_t i = 0; i < run->n_batch; i++)
            run->rows[i] = (uint32_t)seg_rng_below(&rng, run->x->n_rows);
        seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, n_tasks, batch_task, run);
        if (seg_progress_cancelled(run->progress)) return SEG_ECANCELED;
        const double inertia = sum_batch(run), moved2 = move(run);
        run->converged = has_converged(run, inertia, moved2);
        if (!run->converged && wants_reassignment(run)) reassign_few(run);
        if (run->n_iter % REPORT_BATCHES == 1) report(run);
    }
    return SEG_OK;
}

/* ---- the end ---- */

/* Assigns all rows, label and dist2 (n), and moves centroids that no row is nearest to onto the
 * farthest rows. Sets n_distinct. */
static enum seg_status settle(struct run *run, uint32_t *label, float *dist2, struct seg_kmeans *km)
{
    const size_t k = run->c.n_rows, n = run->x->n_rows;
    for (unsigned round = 0;; round++) {
        bool has_rows[SEG_K_MAX] = { false }, moved = false;
        kmeans_assign(run->pool, run->x, &run->c, run->progress, label, dist2);
        if (seg_progress_cancelled(run->progress)) return SEG_ECANCELED;
        for (size_t r = 0; r < n; r++)
            has_rows[label[r]] = true;
        km->n_distinct = 0;
        for (size_t j = 0; j < k; j++) {
            size_t far = 0;
            km->n_distinct += has_rows[j];
            if (has_rows[j] || round == ROUNDS_EMPTY_MAX) continue;
            for (size_t r = 1; r < n; r++)
                if (dist2[r] > dist2[far]) far = r;
            if (!(dist2[far] > 0)) continue; /* every row stands on its centroid */
            seg_tiles_get_row(run->x, far, seg_matrix_row(&run->c, j));
            dist2[far] = 0;
            moved = true;
        }
        if (!moved) return SEG_OK;
    }
}

enum seg_status seg_minibatch_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                  const struct seg_minibatch_params *p,
                                  const struct seg_progress *progress, struct seg_kmeans *ret_km,
                                  struct seg_error *err)
{
    struct seg_kmeans km = { 0 };
    struct run run = { .pool = pool, .x = x, .p = p, .progress = progress };
    uint32_t *label = NULL;
    float *dist2 = NULL;
    const char *fault = seg_minibatch_check(p, x->n_rows);
    if (fault != NULL) return seg_fail(err, SEG_EINVAL, "%s", fault);
    enum seg_status st = p->init == SEG_INIT_GIVEN ? kmeans_check_start(x, p->start, err) : SEG_OK;
    if (st != SEG_OK) return st;
    st = run_init(&run);
    if (st == SEG_OK) st = choose_start(&run);
    if (st == SEG_OK) st = run_batches(&run);
    if (st != SEG_OK) goto out;
    label = seg_alloc(x->n_rows, sizeof *label);
    dist2 = seg_alloc(x->n_rows, sizeof *dist2);
    st = label == NULL || dist2 == NULL ? SEG_ENOMEM : settle(&run, label, dist2, &km);
    if (st == SEG_OK) st = kmeans_put_in_order(&run.c, label, dist2, x->n_rows, &km);
    if (st != SEG_OK) goto out;
    km.n_iter = run.n_iter;
    km.converged = run.converged;
    km.curve = run.curve;
    run.curve = NULL;
    *ret_km = km;
    km = (struct seg_kmeans){ 0 };
out:
    seg_free(label);
    seg_free(dist2);
    seg_kmeans_release(&km);
    run_release(&run);
    if (st == SEG_ENOMEM)
        seg_fail(err, st, "not enough memory for mini-batch k-means on %zu rows", x->n_rows);
    return st;
}
