/* sampler.c - shuffles tiles, then rows window by window; see the header for why. */
#include "neural/sampler.h"

#include <string.h>
#include "base/alloc.h"
#include "compute/shuffle.h"

#define WINDOW_BYTES     ((size_t)1 << 20) /* half of a current core's second-level cache */
#define WINDOW_TILES_MIN 64u
#define TASK_TILES       8u /* that a task stages */

enum seg_status seg_sampler_init(struct seg_sampler *s, const struct seg_tiles *x, size_t n_max)
{
    struct seg_sampler made = { .x = x,
                                .kernels = seg_layer_kernels_get(),
                                .n_tiles = seg_tiles_count(x),
                                .n_max = n_max,
                                .stride = SEG_STAGED_STRIDE((size_t)x->n_cols) };
    size_t tile_bytes = (size_t)x->n_cols * SEG_TILE_ROWS * sizeof(float);
    size_t wanted = WINDOW_BYTES / tile_bytes;
    if (wanted < WINDOW_TILES_MIN) wanted = WINDOW_TILES_MIN;
    made.n_windows = made.n_tiles > wanted ? made.n_tiles / wanted : 1;
    size_t window_rows = (made.n_tiles / made.n_windows + 1) * SEG_TILE_ROWS;
    size_t n_staged = window_rows + n_max + SEG_TILE_ROWS;
    size_t n_floats = n_staged * made.stride + SEG_STAGED_SLACK;
    made.tiles = seg_alloc(made.n_tiles, sizeof *made.tiles);
    made.rows = seg_alloc(n_staged, sizeof *made.rows);
    made.place = seg_alloc(window_rows, sizeof *made.place);
    made.staged = seg_alloc_aligned(n_floats, sizeof *made.staged);
    made.spare = seg_alloc_aligned(made.stride, sizeof *made.spare);
    if (made.tiles == NULL || made.rows == NULL || made.place == NULL || made.staged == NULL ||
        made.spare == NULL) {
        seg_sampler_release(&made);
        return SEG_ENOMEM;
    }
    memset(made.staged, 0, n_floats * sizeof *made.staged);
    *s = made;
    return SEG_OK;
}

void seg_sampler_release(struct seg_sampler *s)
{
    seg_free(s->tiles);
    seg_free(s->rows);
    seg_free(s->place);
    seg_free(s->staged);
    seg_free(s->spare);
    *s = (struct seg_sampler){ 0 };
}

void seg_sampler_start(struct seg_sampler *s, struct seg_rng rng)
{
    s->rng = rng;
    for (size_t i = 0; i < s->n_tiles; i++)
        s->tiles[i] = (uint32_t)i;
    seg_shuffle(&s->rng, s->tiles, s->n_tiles);
    s->window = 0;
    s->n_rows = 0;
    s->next = 0;
}

/* Some tiles of the window: a row goes where it was shuffled to. */
static void stage_tiles(void *ctx, size_t task)
{
    struct seg_sampler *s = ctx;
    size_t first = s->first + task * TASK_TILES, last = first + TASK_TILES;
    if (last > s->last) last = s->last;
    for (size_t i = first; i < last; i++) {
        const uint32_t *place = s->place + (i - s->first) * SEG_TILE_ROWS;
        unsigned n_rows = seg_tiles_rows(s->x, s->tiles[i]);
        float *to[SEG_TILE_ROWS];
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
            to[r] = r < n_rows ? s->staged + place[r] * s->stride : s->spare;
        s->kernels->scatter(seg_tiles_at(s->x, s->tiles[i]), s->x->n_cols, to);
        seg_pool_give_way();
    }
}

/* Appends a window. Its rows are shuffled as places in it, tile by tile. */
static void draw_window(struct seg_sampler *s, struct seg_team *team)
{
    uint32_t *rows = s->rows + s->n_rows;
    size_t n = 0;
    s->first = s->n_tiles * s->window / s->n_windows;
    s->last = s->n_tiles * (s->window + 1) / s->n_windows;
    s->window++;
    for (size_t i = s->first; i < s->last; i++) {
        for (unsigned r = 0; r < seg_tiles_rows(s->x, s->tiles[i]); r++)
            rows[n++] = (uint32_t)((i - s->first) * SEG_TILE_ROWS + r);
        if (i % SEG_CHUNK_TILES == 0) seg_pool_give_way();
    }
    seg_shuffle(&s->rng, rows, n);
    for (size_t at = 0; at < n; at++) {
        uint32_t place = rows[at];
        s->place[place] = (uint32_t)(s->n_rows + at);
        rows[at] =
            s->tiles[s->first + place / SEG_TILE_ROWS] * SEG_TILE_ROWS + place % SEG_TILE_ROWS;
        if (at % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
    }
    s->n_rows += n;
    size_t n_tiles = s->last - s->first;
    seg_team_phase(team, (n_tiles + TASK_TILES - 1) / TASK_TILES, stage_tiles, s);
}

/* Moves what is left, less than a batch, to the front. */
static void close_up(struct seg_sampler *s)
{
    memmove(s->rows, s->rows + s->next, s->n_rows * sizeof *s->rows);
    for (size_t row = 0; row < s->n_rows; row += SEG_TILE_ROWS) {
        const size_t left = s->n_rows - row, n = left < SEG_TILE_ROWS ? left : SEG_TILE_ROWS;
        memmove(s->staged + row * s->stride, s->staged + (s->next + row) * s->stride,
                n * s->stride * sizeof *s->staged);
        seg_pool_give_way();
    }
    s->next = 0;
}

size_t seg_sampler_next(struct seg_sampler *s, struct seg_team *team, const uint32_t **ret_rows,
                        const float **ret_staged)
{
    if (s->n_rows < s->n_max && s->window < s->n_windows) close_up(s);
    while (s->n_rows < s->n_max && s->window < s->n_windows)
        draw_window(s, team);
    size_t n = s->n_rows < s->n_max ? s->n_rows : s->n_max;
    *ret_rows = s->rows + s->next;
    *ret_staged = s->staged + s->next * s->stride;
    s->next += n;
    s->n_rows -= n;
    return n;
}
