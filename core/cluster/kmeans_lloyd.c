/* kmeans_lloyd.c - Lloyd's iteration: assign, take the means, until nothing moves. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "cluster/kmeans_run.h"

/* With fewer columns a list costs as much as screening. (What is kept of a row takes 28 bytes, a
 * ninth of this many columns.) */
#define NEAR_COLUMNS_MIN 64u
/* A list is worth it when more than one row in so many is found there; when not, it is left alone
 * until centroids have slowed down by NEAR_SLOWER. */
#define NEAR_PART   3u
#define NEAR_SLOWER 0.7
/* In the first iterations centroids go too far for any list, and lists are not made. */
#define NEAR_FROM 12u
/* A few centroids may go much farther than all others. Rows look at them apart, which wakes all,
 * when they go more than MOVER_TIMES as far, and more than one row in MOVER_PART was awake anyway.
 */
#define MOVER_TIMES 2.0
#define MOVER_PART  2u
/* When screening leaves more than one row in so many in doubt, it no longer pays. */
#define DOUBTFUL_PART 4u
/* Rows times centroids times columns between two reports, a tenth of a second at most, and
 * iterations. */
#define LEG_CELLS 2e9
#define LEG_MAX   8
/* With fewer centroids all of them are measured as fast as the one that is the nearest. */
#define LABEL_K_MIN 16u

enum seg_status kmeans_run_init(struct kmeans_run *run, struct seg_pool *pool,
                                const struct kmeans_data *data, struct seg_tiles *own,
                                const struct seg_kmeans_params *p,
                                const struct seg_progress *progress)
{
    const size_t d = data->x->n_cols, n_tiles = seg_tiles_count(data->x);
    const size_t n_lanes = n_tiles * SEG_TILE_ROWS;
    *run = (struct kmeans_run){ .pool = pool, .data = data, .own = own, .progress = progress };
    run->kernels = seg_kernels_get();
    run->screen_kernel = seg_screen_kernel_get();
    run->margin_tiny = 4 * sqrtf((float)d * FLT_MIN);
    run->label = seg_alloc_aligned(n_lanes, sizeof *run->label);
    run->slack = seg_alloc_aligned(n_lanes, sizeof *run->slack);
    run->asleep = seg_alloc(n_tiles, sizeof *run->asleep);
    run->spent = seg_alloc(p->k + 1u, sizeof *run->spent);
    run->way = seg_alloc(p->k, sizeof *run->way);
    run->pace = seg_alloc(p->k, sizeof *run->pace);
    run->spent_lo = seg_alloc(p->k + 1u, sizeof *run->spent_lo);
    run->spent_hi = seg_calloc(p->k + 1u + SEG_SPENT_ROOM, sizeof *run->spent_hi);
    run->curve = seg_alloc(p->n_iter_max, sizeof *run->curve);
    size_t n_desks = (pool != NULL ? seg_pool_size(pool) : 0) + 1;
    run->desks = seg_calloc(n_desks, sizeof *run->desks);
    enum seg_status st = SEG_ENOMEM;
    if (!run->label || !run->slack || !run->asleep || !run->spent || !run->way || !run->pace ||
        !run->spent_lo || !run->spent_hi || !run->curve || !run->desks)
        goto out;
    run->n_desks = n_desks;
    st = seg_matrix_init(&run->c, p->k, d);
    if (st == SEG_OK) st = seg_matrix_init(&run->was, p->k, d);
    if (st == SEG_OK) st = kmeans_sums_init(&run->sums, p->k, d);
    for (size_t i = 0; i < n_desks && st == SEG_OK; i++)
        st = kmeans_desk_init(&run->desks[i], p->k, d);
    if (st == SEG_OK && run->screen_kernel != NULL && seg_screen_pays(p->k, d))
        st = seg_screen_init(&run->screen, p->k, d, data->mean);
    if (st == SEG_OK && run->screen.k > 0 && d >= NEAR_COLUMNS_MIN) {
        run->near = seg_alloc(n_lanes * SEG_NEAR, sizeof *run->near);
        run->rest = seg_alloc(n_lanes, sizeof *run->rest);
        if (run->near == NULL || run->rest == NULL) st = SEG_ENOMEM;
    }
out:
    if (st != SEG_OK) kmeans_run_release(run);
    return st;
}

void kmeans_run_release(struct kmeans_run *run)
{
    for (size_t i = 0; i < run->n_desks; i++)
        kmeans_desk_release(&run->desks[i]);
    seg_free(run->desks);
    seg_screen_release(&run->screen);
    seg_matrix_release(&run->c);
    seg_matrix_release(&run->was);
    kmeans_sums_release(&run->sums);
    seg_free(run->label);
    seg_free(run->slack);
    seg_free(run->near);
    seg_free(run->rest);
    seg_free(run->asleep);
    seg_free(run->spent);
    seg_free(run->way);
    seg_free(run->pace);
    seg_free(run->spent_lo);
    seg_free(run->spent_hi);
    seg_free(run->curve);
    *run = (struct kmeans_run){ 0 };
}

/* Every row has to be measured next time. */
static void wake_all(struct kmeans_run *run)
{
    for (size_t r = 0; r < run->data->x->n_rows; r++)
        run->slack[r] = -FLT_MAX;
    for (size_t t = 0; t < seg_tiles_count(run->data->x); t++)
        run->asleep[t] = 0;
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
            kmeans_rows_turn_back(run);
            dist2 = run->slack;
            kmeans_assign(run->pool, x, &run->c, run->progress, NULL, dist2);
        }
        size_t far = 0;
        float far2 = 0;
        for (size_t r = 0; r < x->n_rows; r++)
            if (dist2[r] > far2 && run->sums.count[run->label[r]] > 1) {
                far = r;
                far2 = dist2[r];
            }
        if (far2 <= 0) break;
        kmeans_sums_move(&run->sums, run->data->scale, seg_tiles_cell(x, far, 0), SEG_TILE_ROWS,
                         run->label[far], j);
        run->label[far] = j;
        dist2[far] = 0;
        n_reseeded++;
    }
    if (dist2 != NULL) wake_all(run);
    return n_reseeded;
}

/* Takes for movers the centroids that went more than MOVER_TIMES as far as all but SEG_FEW did.
 * Returns the longest way of the others. */
static double choose_movers(struct kmeans_run *run)
{
    double way[SEG_FEW + 1] = { 0 }; /* the longest, descending */
    uint16_t of[SEG_FEW + 1] = { 0 };
    for (size_t j = 0; j < run->c.n_rows; j++) {
        if (run->way[j] <= way[SEG_FEW]) continue;
        size_t at = SEG_FEW;
        for (; at > 0 && run->way[j] > way[at - 1]; at--) {
            way[at] = way[at - 1];
            of[at] = of[at - 1];
        }
        way[at] = run->way[j];
        of[at] = (uint16_t)j;
    }
    run->n_movers = 0;
    while (run->n_awake > run->data->x->n_rows / MOVER_PART && run->n_movers < SEG_FEW &&
           way[run->n_movers] > MOVER_TIMES * way[SEG_FEW])
        run->n_movers++;
    memcpy(run->movers, of, sizeof run->movers);
    return way[run->n_movers];
}

/* Whether the next rows that wake are looked for among the centroids they remember. longest: the
 * longest way of any. */
static void look_near_if_it_pays(struct kmeans_run *run, double longest)
{
    run->keeps_lists = run->near != NULL && run->n_iter >= NEAR_FROM;
    run->looks_near = run->keeps_lists && run->is_screened;
    if (run->looks_near) {
        run->longest_way = choose_movers(run);
        run->looks_near = run->longest_way < NEAR_SLOWER * run->failed_way;
    }
    if (run->looks_near) return;
    run->longest_way = longest;
    run->n_movers = 0;
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
    look_near_if_it_pays(run, longest);
    run->drift += run->longest_way;
    run->drift_lo = (float)(run->drift * (1 - 0x1p-22));
    run->drift_hi = (float)(run->drift * (1 + 0x1p-22));
    run->spent_any += (longest + second) * (1 + 0x1p-20);
    for (size_t j = 0; j < k; j++) {
        run->pace[j] = run->way[j] + (j == longest_j ? second : longest);
        run->spent[j] += run->pace[j];
        run->spent_lo[j] = (float)(run->spent[j] * (1 - 0x1p-22));
        run->spent_hi[j] = (float)(run->spent[j] * (1 + 0x1p-22));
    }
    return total2;
}

/* Takes in what the desks hold. Returns the number of rows that changed cluster. */
static uint64_t collect(struct kmeans_run *run)
{
    uint64_t n_moved = 0, n_screened = 0, n_doubtful = 0, n_tried = 0, n_found = 0;
    run->n_awake = 0;
    for (size_t i = 0; i < run->n_desks; i++) {
        struct kmeans_desk *desk = &run->desks[i];
        if (desk->n_moved > 0) kmeans_sums_drain(&run->sums, &desk->moved);
        n_moved += desk->n_moved;
        n_screened += desk->n_screened;
        n_doubtful += desk->n_doubtful;
        n_tried += desk->n_tried;
        n_found += desk->n_found;
        run->n_awake += desk->n_awake;
        run->n_idle += desk->n_idle;
        desk->n_moved = desk->n_screened = desk->n_doubtful = desk->n_idle = 0;
        desk->n_tried = desk->n_found = desk->n_awake = 0;
    }
    if (n_tried > 0 && n_found < n_tried / NEAR_PART) run->failed_way = run->longest_way;
    if (n_doubtful > n_screened / DOUBTFUL_PART) run->is_screened = false;
    return n_moved;
}

/* What the rows have is set by the first assignment. */
static void reset(struct kmeans_run *run)
{
    for (size_t j = 0; j <= run->c.n_rows; j++)
        run->spent[j] = run->spent_lo[j] = run->spent_hi[j] = 0;
    run->spent_any = 0;
    run->drift = 0;
    run->keeps_lists = run->looks_near = false;
    run->n_movers = 0;
    run->failed_way = INFINITY;
    run->drift_lo = run->drift_hi = 0;
    run->n_idle = 0;
    run->is_screened = run->screen.k > 0;
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

static void step(struct kmeans_run *run, const struct seg_kmeans_params *p)
{
    kmeans_run_assign(run);
    if (seg_progress_cancelled(run->progress)) return;
    uint64_t n_moved = collect(run);
    n_moved += reseed_empty(run);
    double inertia = kmeans_sums_inertia(&run->sums, run->data);
    /* Centroids are rounded to float: near the end the last digit can go up and down. */
    if (run->n_iter > 0 && inertia > run->inertia) {
        run->converged = true;
        return;
    }
    run->inertia = run->curve[run->n_iter++] = inertia;
    double moved2 = move_centroids(run);
    run->converged = n_moved == 0 || (p->tol > 0 && moved2 <= p->tol * run->data->variance_mean);
    if (!run->converged) kmeans_rows_turn_if_it_pays(run);
}

/* Some iterations, on the thread of one who works for them too: it takes up the next at once,
 * where one that waits must be woken for it, and wake the others. */
struct leg {
    struct kmeans_run *run;
    const struct seg_kmeans_params *p;
    uint32_t end; /* iteration */
};

static void run_leg(void *ctx, size_t index)
{
    const struct leg *leg = ctx;
    (void)index;
    while (leg->run->n_iter < leg->end && !leg->run->converged &&
           !seg_progress_cancelled(leg->run->progress))
        step(leg->run, leg->p);
}

static enum seg_status iterate(struct kmeans_run *run, const struct seg_kmeans_params *p,
                               uint32_t start, uint32_t n_starts)
{
    const double cells = (double)run->data->x->n_rows * (double)(run->c.n_rows * run->c.n_cols);
    const uint32_t length = (uint32_t)fmin(fmax(LEG_CELLS / cells, 1), LEG_MAX);
    reset(run);
    while (run->n_iter < p->n_iter_max && !run->converged) {
        struct leg leg = { run, p, run->n_iter + length };
        if (leg.end > p->n_iter_max) leg.end = p->n_iter_max;
        seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, 1, run_leg, &leg);
        if (seg_progress_cancelled(run->progress)) return SEG_ECANCELED;
        report(run, p, start, n_starts);
    }
    return SEG_OK;
}

enum seg_status kmeans_run_iterate(struct kmeans_run *run, const struct seg_kmeans_params *p,
                                   uint32_t start, uint32_t n_starts)
{
    enum seg_status st = iterate(run, p, start, n_starts);
    kmeans_rows_turn_back(run);
    return st;
}

static void measure_chunk(void *ctx, size_t chunk)
{
    struct kmeans_run *run = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(run->data->x);
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        const size_t row = t * SEG_TILE_ROWS;
        if (t % 8 == 7) seg_pool_give_way();
        run->kernels->squares_to(seg_tiles_at(run->data->x, t), run->c.n_cols, run->c.data,
                                 run->label + row, run->slack + row);
    }
}

void kmeans_run_label(struct kmeans_run *run, bool is_last)
{
    if (run->c.n_rows < LABEL_K_MIN) {
        kmeans_assign(run->pool, run->data->x, &run->c, run->progress, run->label, run->slack);
        return;
    }
    if (!is_last) reset(run);
    kmeans_run_assign(run);
    if (seg_progress_cancelled(run->progress)) return;
    seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, run->data->x->n_chunks, measure_chunk, run);
}
