/* kmeans_share.c - the smallest share of rows a cluster may have. */
#include <string.h>
#include "cluster/kmeans_run.h"

#define ROUNDS_MAX 32

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

/* Fills cluster j to n_min rows with the nearest ones of clusters that have more than that. */
static void take_rows(struct kmeans_run *run, uint32_t j, size_t n_min, size_t *size,
                      struct offer *heap, uint32_t *no_label)
{
    const struct seg_tiles *x = run->data->x;
    struct seg_matrix centroid = { 1, run->c.n_cols, seg_matrix_row(&run->c, j) };
    size_t n = 0;
    seg_kmeans_assign(run->pool, x, &centroid, no_label, run->slack);
    for (size_t r = 0; r < x->n_rows; r++)
        if (run->label[r] != j && size[run->label[r]] > n_min)
            heap[n++] = (struct offer){ run->slack[r], (uint32_t)r };
    for (size_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
    while (n > 0 && size[j] < n_min) {
        uint32_t *label = &run->label[heap[0].row];
        if (size[*label] > n_min) {
            size[*label]--;
            size[j]++;
            *label = j;
        }
        heap[0] = heap[--n];
        if (n > 0) sift_down(heap, n, 0);
    }
}

/* Means of the rows as they are labelled. */
static void take_means(struct kmeans_run *run)
{
    const uint32_t none = (uint32_t)run->c.n_rows;
    kmeans_sums_clear(&run->sums);
    for (size_t r = 0; r < run->data->x->n_rows; r++)
        kmeans_sums_move(&run->sums, run->data->scale, seg_tiles_cell(run->data->x, r, 0), none,
                         run->label[r]);
    kmeans_sums_means(&run->sums, run->data, &run->c);
}

enum seg_status kmeans_run_fill(struct kmeans_run *run, size_t n_min)
{
    const size_t k = run->c.n_rows, n = run->data->x->n_rows;
    enum seg_status st = SEG_ENOMEM;
    struct offer *heap = seg_alloc(n, sizeof *heap);
    uint32_t *no_label = seg_alloc(n, sizeof *no_label); /* what the distance pass also writes */
    size_t *size = seg_alloc(k, sizeof *size);
    if (heap == NULL || no_label == NULL || size == NULL) goto out;

    st = SEG_OK;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        size_t n_short = 0;
        memset(size, 0, k * sizeof *size);
        for (size_t r = 0; r < n; r++)
            size[run->label[r]]++;
        for (size_t j = 0; j < k; j++)
            n_short += size[j] < n_min;
        if (n_short == 0) break;
        if (seg_progress_cancelled(run->progress)) {
            st = SEG_ECANCELED;
            break;
        }
        for (uint32_t j = 0; j < k; j++)
            if (size[j] < n_min) take_rows(run, j, n_min, size, heap, no_label);
        take_means(run);
        seg_kmeans_assign(run->pool, run->data->x, &run->c, run->label, run->slack);
    }
out:
    seg_free(heap);
    seg_free(no_label);
    seg_free(size);
    return st;
}
