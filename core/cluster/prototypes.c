/* prototypes.c - k-prototypes from the caller's side: check, run the starts, keep the best, put the
 * clusters in order. */
#include "cluster/prototypes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "cluster/kmeans_run.h"
#include "cluster/prototypes_run.h"

const char *seg_prototypes_check(const struct seg_prototypes_params *p, size_t n_rows)
{
    const struct seg_kmeans_params shared = {
        .k = p->k, .init = p->init, .n_init = p->n_init, .n_iter_max = p->n_iter_max, .tol = p->tol
    };
    if (p->init != SEG_INIT_KMEANS_PP && p->init != SEG_INIT_RANDOM)
        return "k-prototypes starts by k-means++ or from random rows";
    if (!p->weight_auto && !(p->weight >= 0 && p->weight <= SEG_MIXED_WEIGHT_MAX))
        return "the weight of categories must be from 0 to 1e12";
    return seg_kmeans_check(&shared, n_rows);
}

/* The workspace of one worker. As sums are exact it does not matter who summed what. */
struct desk {
    atomic_flag taken;
    struct prototype_sums moved; /* what rows that changed cluster add and take */
    uint64_t n_moved;            /* their number */
};

/* One start after the other. */
struct run {
    struct seg_pool *pool;
    const struct seg_tiles *x;
    const struct seg_mixed *m;
    const struct seg_prototypes_params *p;
    const struct seg_progress *progress;
    float *scale;        /* (n_numbers) of the sums */
    double length2;      /* what a movement of the prototypes is measured by */
    struct seg_matrix c; /* (k, n_cols) */
    uint32_t *label;     /* (n) whole tiles; k = none yet */
    float *dist2;        /* (n) whole tiles */
    struct prototype_sums sums;
    struct desk *desks;
    size_t n_desks;
    size_t n_chunks;
    double *cost;  /* (n_chunks) sum of dist2 */
    double *curve; /* (n_iter_max) */
    uint32_t n_iter;
    bool converged;
};

static void run_release(struct run *run)
{
    for (size_t i = 0; i < run->n_desks; i++)
        prototype_sums_release(&run->desks[i].moved);
    seg_free(run->desks);
    prototype_sums_release(&run->sums);
    seg_matrix_release(&run->c);
    seg_free(run->scale);
    seg_free(run->label);
    seg_free(run->dist2);
    seg_free(run->cost);
    seg_free(run->curve);
}

/* Fills scale and length2. */
static enum seg_status measure_numbers(struct run *run)
{
    const struct seg_mixed *m = run->m;
    double *variance = seg_alloc(m->n_numbers, sizeof *variance);
    enum seg_status st = variance == NULL
                             ? SEG_ENOMEM
                             : seg_mixed_survey(run->pool, run->x, m, variance, run->scale);
    for (size_t i = 0; st == SEG_OK && i < m->n_numbers; i++) {
        run->length2 += variance[i] / (double)m->n_numbers;
        run->scale[i] = kmeans_sum_scale(run->scale[i], run->x->n_rows);
    }
    if (m->n_numbers == 0) run->length2 = (double)m->weight;
    seg_free(variance);
    return st;
}

static enum seg_status run_init(struct run *run)
{
    const size_t n_lanes = seg_tiles_count(run->x) * SEG_TILE_ROWS, k = run->p->k;
    const size_t n_desks = (run->pool != NULL ? seg_pool_size(run->pool) : 0) + 1;
    run->n_chunks = run->x->n_chunks;
    run->scale = seg_alloc(run->m->n_numbers, sizeof *run->scale);
    run->label = seg_alloc_aligned(n_lanes, sizeof *run->label);
    run->dist2 = seg_alloc_aligned(n_lanes, sizeof *run->dist2);
    run->cost = seg_alloc(run->n_chunks, sizeof *run->cost);
    run->curve = seg_alloc(run->p->n_iter_max, sizeof *run->curve);
    run->desks = seg_calloc(n_desks, sizeof *run->desks);
    if (!run->scale || !run->label || !run->dist2 || !run->cost || !run->curve || !run->desks)
        return SEG_ENOMEM;
    run->n_desks = n_desks;
    enum seg_status st = seg_matrix_init(&run->c, k, run->x->n_cols);
    if (st == SEG_OK) st = measure_numbers(run);
    if (st == SEG_OK) st = prototype_sums_init(&run->sums, k, run->m, run->scale);
    for (size_t i = 0; i < n_desks && st == SEG_OK; i++) {
        atomic_flag_clear(&run->desks[i].taken);
        st = prototype_sums_init(&run->desks[i].moved, k, run->m, run->scale);
    }
    return st;
}

/* There is a desk for every thread that can be here. */
static struct desk *desk_take(struct run *run)
{
    for (size_t i = 0;; i = (i + 1) % run->n_desks)
        if (!atomic_flag_test_and_set_explicit(&run->desks[i].taken, memory_order_acquire))
            return &run->desks[i];
}

static void assign_chunk(void *ctx, size_t chunk)
{
    struct run *run = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(run->x);
    double cost = 0;
    if (seg_progress_cancelled(run->progress)) return;
    struct desk *desk = desk_take(run);
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        const float *tile = seg_tiles_at(run->x, t);
        uint32_t label[SEG_TILE_ROWS], *was = run->label + t * SEG_TILE_ROWS;
        float second2[SEG_TILE_ROWS], *dist2 = run->dist2 + t * SEG_TILE_ROWS;
        if (t % 8 == 7) seg_pool_give_way();
        seg_mixed_nearest(run->m, tile, run->c.data, run->c.n_rows, label, dist2, second2);
        for (unsigned r = 0; r < seg_tiles_rows(run->x, t); r++) {
            cost += (double)dist2[r];
            if (label[r] == was[r]) continue;
            prototype_sums_move(&desk->moved, tile + r, was[r], label[r]);
            was[r] = label[r];
            desk->n_moved++;
        }
    }
    atomic_flag_clear_explicit(&desk->taken, memory_order_release);
    run->cost[chunk] = cost;
}

/* Assigns all rows; returns how many changed cluster. The cost is the sum of run->cost. */
static uint64_t assign(struct run *run)
{
    uint64_t n_moved = 0;
    seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, run->n_chunks, assign_chunk, run);
    for (size_t i = 0; i < run->n_desks; i++) {
        struct desk *desk = &run->desks[i];
        if (desk->n_moved == 0) continue;
        prototype_sums_drain(&run->sums, &desk->moved);
        n_moved += desk->n_moved;
        desk->n_moved = 0;
    }
    return n_moved;
}

/* Gives each empty cluster the row farthest from its prototype, unless all rows stand on theirs or
 * the run is cancelled. */
static size_t reseed_empty(struct run *run)
{
    size_t n_reseeded = 0;
    for (uint32_t j = 0; j < run->p->k; j++) {
        size_t far = 0;
        float far2 = 0;
        if (run->sums.size[j] > 0) continue;
        if (seg_progress_cancelled(run->progress)) break;
        for (size_t r = 0; r < run->x->n_rows; r++) {
            if (r % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
            if (run->dist2[r] > far2 && run->sums.size[run->label[r]] > 1) {
                far = r;
                far2 = run->dist2[r];
            }
        }
        if (far2 <= 0) break;
        prototype_sums_move(&run->sums, seg_tiles_cell(run->x, far, 0), run->label[far], j);
        run->label[far] = j;
        run->dist2[far] = 0;
        n_reseeded++;
    }
    return n_reseeded;
}

static void report(const struct run *run, uint32_t start)
{
    char text[128];
    const double part = (double)run->n_iter / (double)run->p->n_iter_max;
    snprintf(text, sizeof text, "start %u of %u, iteration %u, cost %.6g", start + 1,
             run->p->n_init, run->n_iter, run->curve[run->n_iter - 1]);
    seg_progress_report(run->progress, ((double)start + part) / (double)run->p->n_init, text);
}

/* Iterates from run->c. */
static enum seg_status iterate(struct run *run, uint32_t start)
{
    const struct seg_prototypes_params *p = run->p;
    for (size_t i = 0; i < seg_tiles_count(run->x) * SEG_TILE_ROWS; i++)
        run->label[i] = p->k;
    prototype_sums_clear(&run->sums);
    run->n_iter = 0;
    run->converged = false;
    while (run->n_iter < p->n_iter_max && !run->converged) {
        uint64_t n_moved = assign(run);
        if (seg_progress_cancelled(run->progress)) return SEG_ECANCELED;
        const double cost = kmeans_total(run->cost, run->n_chunks);
        /* Prototypes are rounded to float: near the end the last digit can go up and down. */
        if (run->n_iter > 0 && cost > run->curve[run->n_iter - 1]) {
            run->converged = true;
            break;
        }
        run->curve[run->n_iter++] = cost;
        n_moved += reseed_empty(run);
        if (seg_progress_cancelled(run->progress)) return SEG_ECANCELED;
        const double moved2 = prototype_sums_take(&run->sums, &run->c);
        run->converged = n_moved == 0 || (p->tol > 0 && moved2 <= p->tol * run->length2);
        report(run, start);
    }
    return SEG_OK;
}

/* Runs all starts; the best one's prototypes end in run->c, its history in km. */
static enum seg_status run_starts(struct run *run, struct seg_kmeans *km)
{
    const size_t bytes = run->c.n_rows * run->c.n_cols * sizeof *run->c.data;
    double best = INFINITY;
    struct seg_matrix best_c = { 0 }; /* (k, n_cols) */
    enum seg_status st = seg_matrix_init(&best_c, run->c.n_rows, run->c.n_cols);
    for (uint32_t start = 0; start < run->p->n_init && st == SEG_OK; start++) {
        struct seg_rng rng = seg_rng_make(run->p->seed, start);
        st = prototypes_seed(run->pool, run->x, run->m, run->p->init, &rng, run->dist2,
                             run->progress, &run->c);
        if (st == SEG_OK) st = iterate(run, start);
        if (st != SEG_OK) break;
        if (run->curve[run->n_iter - 1] >= best) continue;
        best = run->curve[run->n_iter - 1];
        memcpy(best_c.data, run->c.data, bytes);
        memcpy(km->curve, run->curve, run->n_iter * sizeof *km->curve);
        km->n_iter = run->n_iter;
        km->converged = run->converged;
        km->n_distinct = run->p->k;
        for (size_t j = 0; j < run->p->k; j++)
            km->n_distinct -= run->sums.size[j] == 0;
    }
    if (st == SEG_OK) memcpy(run->c.data, best_c.data, bytes);
    seg_matrix_release(&best_c);
    return st;
}

enum seg_status seg_prototypes_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                   const struct seg_mixed *m, const struct seg_prototypes_params *p,
                                   const struct seg_progress *progress, struct seg_kmeans *ret_km,
                                   struct seg_error *err)
{
    struct seg_kmeans km = { 0 };
    struct run run = { .pool = pool, .x = x, .m = m, .p = p, .progress = progress };
    const char *fault = seg_prototypes_check(p, x->n_rows);
    if (fault != NULL) return seg_fail(err, SEG_EINVAL, "%s", fault);
    enum seg_status st = run_init(&run);
    if (st != SEG_OK) goto out;
    km.curve = seg_alloc(p->n_iter_max, sizeof *km.curve);
    if (km.curve == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    st = run_starts(&run, &km);
    if (st != SEG_OK) goto out;
    seg_mixed_assign(pool, x, m, &run.c, run.label, run.dist2);
    st = kmeans_put_in_order(&run.c, run.label, run.dist2, x->n_rows, &km);
    if (st != SEG_OK) goto out;
    *ret_km = km;
    km = (struct seg_kmeans){ 0 };
out:
    seg_kmeans_release(&km);
    run_release(&run);
    if (st == SEG_ENOMEM)
        seg_fail(err, st, "not enough memory for k-prototypes on %zu rows", x->n_rows);
    return st;
}
