/* kmeans_share.c - the smallest share of rows a cluster may have. */
#include <string.h>
#include "cluster/kmeans_run.h"

#define ROUNDS_MAX  32u
#define ROUNDS_PULL 8u /* until a short cluster stands at the mean of what it took */

/* A row that a cluster could take. */
struct offer {
    float dist2;
    uint32_t row;
};

static bool nearer(struct offer a, struct offer b)
{
    return a.dist2 != b.dist2 ? a.dist2 < b.dist2 : a.row < b.row;
}

/* Restores the heap (nearest offer first) below place i. */
static void sift_down(struct offer *heap, size_t n, size_t i)
{
    struct offer moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && nearer(heap[child + 1], heap[child])) child++;
        if (!nearer(heap[child], moving)) break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

/* What the rounds share. */
struct filling {
    struct kmeans_run *run;
    size_t n_min;
    size_t *size;             /* (k) rows of each cluster */
    bool *is_short;           /* (k) in this round */
    bool *was_short;          /* (k) in an earlier one */
    struct kmeans_sums taken; /* the rows taken in this round */
    struct seg_matrix pull;   /* (k, d) their means */
    struct offer *heap;       /* (n) */
    uint32_t *no_label;       /* (n) what the distance pass also writes */
};

static void filling_release(struct filling *f)
{
    seg_free(f->size);
    seg_free(f->is_short);
    seg_free(f->was_short);
    kmeans_sums_release(&f->taken);
    seg_matrix_release(&f->pull);
    seg_free(f->heap);
    seg_free(f->no_label);
}

static enum seg_status filling_init(struct filling *f)
{
    const size_t k = f->run->c.n_rows, d = f->run->c.n_cols, n = f->run->data->x->n_rows;
    f->size = seg_alloc(k, sizeof *f->size);
    f->is_short = seg_calloc(k, sizeof *f->is_short);
    f->was_short = seg_calloc(k, sizeof *f->was_short);
    f->heap = seg_alloc(n, sizeof *f->heap);
    f->no_label = seg_alloc(n, sizeof *f->no_label);
    if (!f->size || !f->is_short || !f->was_short || !f->heap || !f->no_label) return SEG_ENOMEM;
    enum seg_status st = kmeans_sums_init(&f->taken, k, d);
    return st == SEG_OK ? seg_matrix_init(&f->pull, k, d) : st;
}

/* Fills cluster j to n_min rows with the nearest ones of clusters that have more than that. */
static void take_rows(struct filling *f, uint32_t j)
{
    struct kmeans_run *run = f->run;
    const struct seg_tiles *x = run->data->x;
    const uint32_t none = (uint32_t)run->c.n_rows;
    struct seg_matrix centroid = { 1, run->c.n_cols, seg_matrix_row(&run->c, j) };
    size_t n = 0;
    kmeans_assign(run->pool, x, &centroid, run->progress, f->no_label, run->slack);
    for (size_t r = 0; r < x->n_rows; r++)
        if (run->label[r] != j && f->size[run->label[r]] > f->n_min)
            f->heap[n++] = (struct offer){ run->slack[r], (uint32_t)r };
    for (size_t i = n / 2; i-- > 0;)
        sift_down(f->heap, n, i);
    while (n > 0 && f->size[j] < f->n_min) {
        const uint32_t row = f->heap[0].row;
        if (f->size[run->label[row]] > f->n_min) {
            f->size[run->label[row]]--;
            f->size[j]++;
            run->label[row] = j;
            kmeans_sums_move(&f->taken, run->data->scale, seg_tiles_cell(x, row, 0), SEG_TILE_ROWS,
                             none, j);
        }
        f->heap[0] = f->heap[--n];
        if (n > 0) sift_down(f->heap, n, 0);
    }
}

/* Means of the rows as they are labelled. The mean of a cluster that took rows goes some of the way
 * (0..1) on to the mean of those: an outlier would draw it away from them again, and they would go
 * home. A cluster that was short before and has enough rows now stays where it is. */
static void take_means(struct filling *f, double way)
{
    struct kmeans_run *run = f->run;
    const size_t k = run->c.n_rows, d = run->c.n_cols;
    memcpy(run->was.data, run->c.data, k * d * sizeof *run->was.data);
    kmeans_sums_clear(&run->sums);
    for (size_t r = 0; r < run->data->x->n_rows; r++)
        kmeans_sums_move(&run->sums, run->data->scale, seg_tiles_cell(run->data->x, r, 0),
                         SEG_TILE_ROWS, (uint32_t)k, run->label[r]);
    kmeans_sums_means(&run->sums, run->data, &run->c);
    kmeans_sums_means(&f->taken, run->data, &f->pull);
    for (size_t j = 0; j < k; j++) {
        float *c = seg_matrix_row(&run->c, j);
        const float *pull = seg_matrix_row(&f->pull, j);
        if (f->taken.count[j] > 0)
            for (size_t i = 0; i < d; i++)
                c[i] = (float)((1 - way) * (double)c[i] + way * (double)pull[i]);
        else if (f->was_short[j])
            memcpy(c, seg_matrix_row(&run->was, j), d * sizeof *c);
        f->was_short[j] = f->was_short[j] || f->is_short[j];
    }
    kmeans_sums_clear(&f->taken);
}

/* Counts the rows of the clusters. Returns whether one of them is short. */
static bool count_rows(struct filling *f)
{
    const size_t k = f->run->c.n_rows;
    bool any = false;
    memset(f->size, 0, k * sizeof *f->size);
    for (size_t r = 0; r < f->run->data->x->n_rows; r++)
        f->size[f->run->label[r]]++;
    for (size_t j = 0; j < k; j++) {
        f->is_short[j] = f->size[j] < f->n_min;
        any = any || f->is_short[j];
    }
    return any;
}

enum seg_status kmeans_run_fill(struct kmeans_run *run, size_t n_min)
{
    struct filling f = { .run = run, .n_min = n_min };
    enum seg_status st = filling_init(&f);
    for (unsigned round = 0; st == SEG_OK && round < ROUNDS_MAX && count_rows(&f); round++) {
        for (uint32_t j = 0; j < run->c.n_rows; j++)
            if (f.is_short[j]) take_rows(&f, j);
        take_means(&f, round < ROUNDS_PULL ? (double)round / ROUNDS_PULL : 1);
        kmeans_assign(run->pool, run->data->x, &run->c, run->progress, run->label, run->slack);
        if (seg_progress_cancelled(run->progress)) st = SEG_ECANCELED;
    }
    filling_release(&f);
    return st;
}
