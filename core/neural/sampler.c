/* sampler.c - shuffles tiles, then rows window by window; see the header for why. */
#include "neural/sampler.h"

#include <string.h>
#include "base/alloc.h"

#define WINDOW_BYTES     ((size_t)1 << 20) /* half of a current core's second-level cache */
#define WINDOW_TILES_MIN 64u

enum seg_status seg_sampler_init(struct seg_sampler *s, const struct seg_tiles *x)
{
    struct seg_sampler made = { .x = x, .n_tiles = seg_tiles_count(x) };
    size_t tile_bytes = (size_t)x->n_cols * SEG_TILE_ROWS * sizeof(float);
    size_t wanted = WINDOW_BYTES / tile_bytes;
    if (wanted < WINDOW_TILES_MIN) wanted = WINDOW_TILES_MIN;
    made.n_windows = made.n_tiles > wanted ? made.n_tiles / wanted : 1;
    size_t largest = made.n_tiles / made.n_windows + 1;
    made.tiles = seg_alloc(made.n_tiles, sizeof *made.tiles);
    made.rows = seg_alloc(largest * SEG_TILE_ROWS, sizeof *made.rows);
    if (made.tiles == NULL || made.rows == NULL) {
        seg_sampler_release(&made);
        return SEG_ENOMEM;
    }
    *s = made;
    return SEG_OK;
}

void seg_sampler_release(struct seg_sampler *s)
{
    seg_free(s->tiles);
    seg_free(s->rows);
    *s = (struct seg_sampler){ 0 };
}

void seg_sampler_start(struct seg_sampler *s, struct seg_rng rng)
{
    s->rng = rng;
    for (size_t i = 0; i < s->n_tiles; i++)
        s->tiles[i] = (uint32_t)i;
    seg_rng_shuffle(&s->rng, s->tiles, s->n_tiles);
    s->window = 0;
    s->n_rows = 0;
    s->next = 0;
}

static void draw_window(struct seg_sampler *s)
{
    size_t first = s->n_tiles * s->window / s->n_windows;
    size_t last = s->n_tiles * (s->window + 1) / s->n_windows;
    s->window++;
    s->n_rows = 0;
    s->next = 0;
    for (size_t i = first; i < last; i++) {
        uint32_t row = s->tiles[i] * SEG_TILE_ROWS;
        for (unsigned r = 0; r < seg_tiles_rows(s->x, s->tiles[i]); r++)
            s->rows[s->n_rows++] = row + r;
    }
    seg_rng_shuffle(&s->rng, s->rows, s->n_rows);
}

size_t seg_sampler_next(struct seg_sampler *s, size_t n_max, uint32_t *rows)
{
    size_t n = 0;
    while (n < n_max) {
        if (s->next == s->n_rows) {
            if (s->window == s->n_windows) break;
            draw_window(s);
        }
        size_t left = s->n_rows - s->next;
        size_t take = n_max - n < left ? n_max - n : left;
        memcpy(rows + n, s->rows + s->next, take * sizeof *rows);
        s->next += take;
        n += take;
    }
    return n;
}
