/* tiles.c - storage of feature tiles, chunk by chunk. */
#include "compute/tiles.h"

#include <stdbool.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"
#include "compute/worker_pool.h"

#define CHUNKS_CAP_MIN 8u

static size_t chunk_cells(const struct seg_tiles *t)
{
    return (size_t)SEG_CHUNK_ROWS * t->n_cols;
}

void seg_tiles_init(struct seg_tiles *t, uint32_t n_cols)
{
    *t = (struct seg_tiles){ .n_cols = n_cols };
}

void seg_tiles_release(struct seg_tiles *t)
{
    for (size_t i = 0; i < t->n_chunks + t->n_spare; i++)
        seg_free(t->chunks[i]);
    seg_free(t->chunks);
    seg_tiles_init(t, t->n_cols);
}

static enum seg_status reserve_chunks(struct seg_tiles *t, size_t n_chunks)
{
    if (n_chunks <= t->chunks_cap) return SEG_OK;
    size_t cap = t->chunks_cap < CHUNKS_CAP_MIN ? CHUNKS_CAP_MIN : t->chunks_cap * 2;
    if (cap < n_chunks) cap = n_chunks;
    float **chunks = seg_realloc(t->chunks, cap, sizeof *chunks);
    if (chunks == NULL) return SEG_ENOMEM;
    t->chunks = chunks;
    t->chunks_cap = cap;
    return SEG_OK;
}

static enum seg_status grow(struct seg_tiles *t, size_t n_rows, bool zeroed)
{
    if (n_rows <= t->n_rows) return SEG_OK;
    const size_t n_old = t->n_chunks;
    const size_t n_chunks = n_rows / SEG_CHUNK_ROWS + (n_rows % SEG_CHUNK_ROWS != 0);
    enum seg_status st = reserve_chunks(t, n_chunks);
    if (st != SEG_OK) return st;
    while (t->n_chunks < n_chunks) {
        float **chunk = &t->chunks[t->n_chunks];
        if (t->n_spare > 0) /* it stands there */
            t->n_spare--;
        else
            *chunk = seg_alloc_aligned(chunk_cells(t), sizeof **chunk);
        if (*chunk == NULL) goto undo;
        if (zeroed) memset(*chunk, 0, chunk_cells(t) * sizeof **chunk);
        t->n_chunks++;
    }
    t->n_rows = n_rows;
    return SEG_OK;

undo:
    while (t->n_chunks > n_old)
        seg_free(t->chunks[--t->n_chunks]);
    return SEG_ENOMEM;
}

enum seg_status seg_tiles_grow(struct seg_tiles *t, size_t n_rows)
{
    return grow(t, n_rows, true);
}

enum seg_status seg_tiles_extend(struct seg_tiles *t, size_t n_rows)
{
    return grow(t, n_rows, false);
}

enum seg_status seg_tiles_zeros(struct seg_tiles *ret_t, size_t n_rows, uint32_t n_cols)
{
    seg_tiles_init(ret_t, n_cols);
    enum seg_status st = seg_tiles_grow(ret_t, n_rows);
    if (st != SEG_OK) seg_tiles_release(ret_t); /* the list of chunks may be there */
    return st;
}

void seg_tiles_clear_lanes(struct seg_tiles *t, size_t tile)
{
    const unsigned n = seg_tiles_rows(t, tile);
    float *cells = seg_tiles_at(t, tile);
    if (n == SEG_TILE_ROWS) return;
    for (size_t c = 0; c < t->n_cols; c++)
        memset(cells + c * SEG_TILE_ROWS + n, 0, (SEG_TILE_ROWS - n) * sizeof *cells);
}

void seg_tiles_drop_chunk(struct seg_tiles *t, size_t i)
{
    seg_free(t->chunks[i]);
    t->chunks[i] = NULL;
}

void seg_tiles_recycle_chunk(struct seg_tiles *t, size_t i, struct seg_tiles *to)
{
    const size_t n = to->n_chunks + to->n_spare;
    if (t->chunks[i] == NULL || t->n_cols != to->n_cols || reserve_chunks(to, n + 1) != SEG_OK) {
        seg_tiles_drop_chunk(t, i);
        return;
    }
    to->chunks[n] = t->chunks[i];
    to->n_spare++;
    t->chunks[i] = NULL;
}

void seg_tiles_recycle(struct seg_tiles *t, struct seg_tiles *to)
{
    for (size_t i = 0; i < t->n_chunks + t->n_spare; i++)
        seg_tiles_recycle_chunk(t, i, to);
    seg_tiles_release(t);
}

void seg_tiles_trim(struct seg_tiles *t)
{
    for (; t->n_spare > 0; t->n_spare--)
        seg_free(t->chunks[t->n_chunks + t->n_spare - 1]);
}

/* Appends n rows of a tile of n_cols columns; there is room. */
static void append_tile(struct seg_tiles *t, size_t row, const float *from, uint32_t n_cols,
                        unsigned n)
{
    const unsigned lane = row % SEG_TILE_ROWS;
    const unsigned fit = n < SEG_TILE_ROWS - lane ? n : SEG_TILE_ROWS - lane;
    float *to = seg_tiles_cell(t, row, 0);
    float *next = n > fit ? seg_tiles_cell(t, row + fit, 0) : NULL;
    for (size_t c = 0; c < (size_t)n_cols * SEG_TILE_ROWS; c += SEG_TILE_ROWS) {
        memcpy(to + c, from + c, fit * sizeof *to);
        if (next != NULL) memcpy(next + c, from + c + fit, (n - fit) * sizeof *next);
    }
}

enum seg_status seg_tiles_append(struct seg_tiles *t, struct seg_tiles *src)
{
    for (size_t i = 0; i < seg_tiles_count(src); i++) {
        const size_t row = t->n_rows;
        const unsigned n = seg_tiles_rows(src, i);
        enum seg_status st = seg_tiles_grow(t, row + n);
        if (st != SEG_OK) return st;
        append_tile(t, row, seg_tiles_at(src, i), src->n_cols, n);
        seg_pool_give_way();
        if (i % SEG_CHUNK_TILES == SEG_CHUNK_TILES - 1)
            seg_tiles_recycle_chunk(src, i / SEG_CHUNK_TILES, t);
    }
    seg_tiles_release(src);
    seg_tiles_trim(t);
    return SEG_OK;
}

enum seg_status seg_tiles_from_rows(struct seg_tiles *ret_t, const float *x, size_t n_rows,
                                    uint32_t n_cols)
{
    struct seg_tiles t;
    enum seg_status st = seg_tiles_zeros(&t, n_rows, n_cols);
    if (st != SEG_OK) return st;
    const struct seg_kernels *kernels = seg_kernels_get();
    const size_t n_full = n_rows / SEG_TILE_ROWS;
    for (size_t i = 0; i < n_full; i++)
        kernels->from_rows(x + i * SEG_TILE_ROWS * n_cols, n_cols, seg_tiles_at(&t, i));
    for (size_t row = n_full * SEG_TILE_ROWS; row < n_rows; row++)
        for (uint32_t c = 0; c < n_cols; c++)
            *seg_tiles_cell(&t, row, c) = x[row * n_cols + c];
    *ret_t = t;
    return SEG_OK;
}

enum seg_status seg_tiles_gather(const struct seg_tiles *t, const uint32_t *rows, size_t n,
                                 struct seg_tiles *ret_t)
{
    struct seg_tiles g;
    seg_tiles_init(&g, t->n_cols);
    enum seg_status st = seg_tiles_grow(&g, n);
    if (st != SEG_OK) {
        seg_tiles_release(&g); /* as above */
        return st;
    }
    for (size_t i = 0; i < n; i++) {
        const float *from = seg_tiles_cell(t, rows[i], 0);
        if (i % SEG_TILE_ROWS == 0) seg_pool_give_way();
        float *to = seg_tiles_cell(&g, i, 0);
        for (size_t c = 0; c < (size_t)t->n_cols * SEG_TILE_ROWS; c += SEG_TILE_ROWS)
            to[c] = from[c];
    }
    *ret_t = g;
    return SEG_OK;
}

void seg_tiles_get_row(const struct seg_tiles *t, size_t row, float *out)
{
    const float *cell = seg_tiles_cell(t, row, 0);
    for (uint32_t c = 0; c < t->n_cols; c++)
        out[c] = cell[(size_t)c * SEG_TILE_ROWS];
}

size_t seg_tiles_bytes(const struct seg_tiles *t)
{
    size_t bytes = t->chunks_cap * sizeof *t->chunks;
    for (size_t i = 0; i < t->n_chunks + t->n_spare; i++)
        if (t->chunks[i] != NULL) bytes += chunk_cells(t) * sizeof **t->chunks;
    return bytes;
}
