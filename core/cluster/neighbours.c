/* neighbours.c - a task holds some tiles and lets all rows stream past them, a tile at a time. */
#include "cluster/neighbours.h"

#include <assert.h>
#include <float.h>
#include <stdatomic.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"

#define TASK_TILES 8u

struct search {
    const struct seg_tiles *x;
    const struct seg_progress *progress;
    struct seg_neighbours nb;
    atomic_bool no_memory;
};

/* The rows of one tile with the best found so far: (n, 64) each, nearest first. */
struct best {
    float *dist2;
    uint32_t *rows;
};

static void best_insert(const struct best *b, uint32_t n, unsigned lane, float dist2, uint32_t row)
{
    uint32_t at = n - 1;
    for (; at > 0 && b->dist2[(at - 1) * SEG_TILE_ROWS + lane] > dist2; at--) {
        b->dist2[at * SEG_TILE_ROWS + lane] = b->dist2[(at - 1) * SEG_TILE_ROWS + lane];
        b->rows[at * SEG_TILE_ROWS + lane] = b->rows[(at - 1) * SEG_TILE_ROWS + lane];
    }
    b->dist2[at * SEG_TILE_ROWS + lane] = dist2;
    b->rows[at * SEG_TILE_ROWS + lane] = row;
}

/* Shows the rows of tile `other`, whose distances are dist2 (64, 64), to those of tile `own`. */
static void best_offer(const struct best *b, uint32_t n, size_t own, size_t other, unsigned n_other,
                       const float *dist2)
{
    const float *worst = b->dist2 + (n - 1) * SEG_TILE_ROWS;
    for (unsigned j = 0; j < n_other; j++)
        for (unsigned lane = 0; lane < SEG_TILE_ROWS; lane++) {
            float d = dist2[j * SEG_TILE_ROWS + lane];
            if (d < worst[lane] && (own != other || j != lane))
                best_insert(b, n, lane, d, (uint32_t)(other * SEG_TILE_ROWS + j));
        }
}

static void write_rows(struct search *s, size_t tile, const uint32_t *rows)
{
    for (unsigned r = 0; r < seg_tiles_rows(s->x, tile); r++)
        for (uint32_t i = 0; i < s->nb.n; i++)
            s->nb.rows[(tile * SEG_TILE_ROWS + r) * s->nb.n + i] = rows[i * SEG_TILE_ROWS + r];
}

static void search_task(void *ctx, size_t task)
{
    struct search *s = ctx;
    const struct seg_kernels *k = seg_kernels_get();
    size_t n_tiles = seg_tiles_count(s->x), first = task * TASK_TILES, d = s->x->n_cols;
    size_t n_own = n_tiles - first < TASK_TILES ? n_tiles - first : TASK_TILES;
    size_t list = (size_t)s->nb.n * SEG_TILE_ROWS;
    float *others = seg_alloc_aligned(d * SEG_TILE_ROWS, sizeof *others); /* (64, d) */
    float *dist2 = seg_alloc_aligned(SEG_TILE_ROWS * SEG_TILE_ROWS, sizeof *dist2);
    float *best_dist2 = seg_alloc(n_own * list, sizeof *best_dist2);
    uint32_t *best_rows = seg_calloc(n_own * list, sizeof *best_rows);
    if (others == NULL || dist2 == NULL || best_dist2 == NULL || best_rows == NULL) {
        atomic_store(&s->no_memory, true);
        goto out;
    }
    for (size_t i = 0; i < n_own * list; i++)
        best_dist2[i] = FLT_MAX;
    for (size_t other = 0; other < n_tiles; other++) {
        if (seg_progress_cancelled(s->progress)) goto out;
        k->to_rows(seg_tiles_at(s->x, other), d, others);
        for (size_t i = 0; i < n_own; i++) {
            const struct best best = { best_dist2 + i * list, best_rows + i * list };
            seg_pool_give_way();
            k->squares(seg_tiles_at(s->x, first + i), d, others, SEG_TILE_ROWS, dist2);
            best_offer(&best, s->nb.n, first + i, other, seg_tiles_rows(s->x, other), dist2);
        }
    }
    for (size_t i = 0; i < n_own; i++)
        write_rows(s, first + i, best_rows + i * list);
out:
    seg_free(others);
    seg_free(dist2);
    seg_free(best_dist2);
    seg_free(best_rows);
}

enum seg_status seg_neighbours_find(struct seg_pool *pool, const struct seg_tiles *x, uint32_t n,
                                    const struct seg_progress *progress,
                                    struct seg_neighbours *ret_nb)
{
    struct search s = { .x = x, .progress = progress, .nb = { .n_rows = x->n_rows } };
    enum seg_status st = SEG_OK;
    assert(n <= SEG_NEIGHBOURS_MAX && x->n_rows <= UINT32_MAX);
    s.nb.n = x->n_rows > n ? n : x->n_rows > 0 ? (uint32_t)x->n_rows - 1 : 0;
    if (s.nb.n > 0) {
        s.nb.rows = seg_alloc(x->n_rows, s.nb.n * sizeof *s.nb.rows);
        if (s.nb.rows == NULL) return SEG_ENOMEM;
        seg_pool_for(pool, SEG_PRIORITY_TRAINING,
                     (seg_tiles_count(x) + TASK_TILES - 1) / TASK_TILES, search_task, &s);
        if (atomic_load(&s.no_memory)) st = SEG_ENOMEM;
        if (seg_progress_cancelled(progress)) st = SEG_ECANCELED;
    }
    if (st == SEG_OK)
        *ret_nb = s.nb;
    else
        seg_neighbours_release(&s.nb);
    return st;
}

void seg_neighbours_release(struct seg_neighbours *nb)
{
    seg_free(nb->rows);
    *nb = (struct seg_neighbours){ 0 };
}

struct mean {
    const struct seg_neighbours *nb;
    const struct seg_tiles *from;
    struct seg_tiles *to;
};

static void mean_task(void *ctx, size_t task)
{
    const struct mean *m = ctx;
    uint32_t n = m->nb->n;
    size_t n_tiles = seg_tiles_count(m->from), last = (task + 1) * TASK_TILES;
    for (size_t t = task * TASK_TILES; t < n_tiles && t < last; t++)
        for (unsigned r = 0; r < seg_tiles_rows(m->from, t); r++) {
            size_t row = t * SEG_TILE_ROWS + r;
            seg_pool_give_way();
            for (uint32_t c = 0; c < m->from->n_cols; c++) {
                double sum = (double)*seg_tiles_cell(m->from, row, c);
                for (uint32_t i = 0; i < n; i++)
                    sum += (double)*seg_tiles_cell(m->from, m->nb->rows[row * n + i], c);
                *seg_tiles_cell(m->to, row, c) = (float)(sum / (n + 1));
            }
        }
}

void seg_neighbours_mean(struct seg_pool *pool, const struct seg_neighbours *nb,
                         const struct seg_tiles *from, struct seg_tiles *to)
{
    struct mean m = { nb, from, to };
    size_t n_tasks = (seg_tiles_count(from) + TASK_TILES - 1) / TASK_TILES;
    assert(from != to && from->n_rows == nb->n_rows && to->n_rows == nb->n_rows);
    assert(from->n_cols == to->n_cols);
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_tasks, mean_task, &m);
}
