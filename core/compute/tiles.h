/* tiles.h - feature rows by the million, in tiles of 64 rows that are columnar inside.
 *
 * Row r, column c stands at tile(r / 64)[c * 64 + r % 64]. A kernel that treats 64 rows at once
 * therefore reads every column as one contiguous run of 64 floats: no transpose, no horizontal sum,
 * and a row's result never depends on its neighbours. Tiles stand in chunks of SEG_CHUNK_TILES,
 * each allocated on its own: a load of unknown length never copies, and a transformation can free
 * its input chunk by chunk, so that features are in memory once. Cells are 4 bytes: a float, or for
 * categories a code. The rows of the last tile past n_rows are zero bits. One writer or many
 * readers. */
#ifndef SEG_COMPUTE_TILES_H
#define SEG_COMPUTE_TILES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

#define SEG_TILE_ROWS   64u
#define SEG_CHUNK_TILES 64u /* 4,096 rows a chunk */
#define SEG_CHUNK_ROWS  (SEG_TILE_ROWS * SEG_CHUNK_TILES)

/* Rows 0..n_rows-1 of a column in whole vectors, whatever the instruction set: 16, 32, 48 or 64. */
static inline size_t seg_tile_lanes(size_t n_rows)
{
    return (n_rows + 15) / 16 * 16;
}

union seg_cell {
    float number;  /* NaN = missing */
    uint32_t code; /* index in the column's dictionary, or SEG_CODE_MISSING, SEG_CODE_UNSEEN */
};
_Static_assert(sizeof(union seg_cell) == 4, "a cell is 4 bytes");

struct seg_tiles {
    size_t n_rows;
    uint32_t n_cols;
    size_t n_chunks; /* those that n_rows take; more only in one whose rows were taken back to
                        be filled again */
    size_t n_spare;  /* chunks behind these, to grow into */
    size_t chunks_cap;
    float **chunks; /* chunk i: SEG_CHUNK_TILES tiles of (n_cols, 64) cells; NULL once dropped */
};

/* Empty, of n_cols columns (>= 1). Allocates nothing. */
void seg_tiles_init(struct seg_tiles *t, uint32_t n_cols);
void seg_tiles_release(struct seg_tiles *t);
/* Makes room for rows up to n_rows (zeroed) and sets n_rows to it; never shrinks. SEG_ENOMEM leaves
 * t as it was. */
enum seg_status seg_tiles_grow(struct seg_tiles *t, size_t n_rows);
/* The same for a caller that writes every new tile whole, the lanes past its last row included, and
 * lets t grow in no other way once it ends inside a chunk: new chunks hold anything, and are first
 * touched by whoever writes them. */
enum seg_status seg_tiles_extend(struct seg_tiles *t, size_t n_rows);
/* A new tiles of n_rows rows of zeros; on SEG_ENOMEM it is empty. */
enum seg_status seg_tiles_zeros(struct seg_tiles *ret_t, size_t n_rows, uint32_t n_cols);
/* Makes the lanes of tile i that are no rows zero bits again: a transformation of whole tiles has
 * left something in them. */
void seg_tiles_clear_lanes(struct seg_tiles *t, size_t tile);
/* Frees chunk i: its rows may not be touched any more. For transformations that consume their
 * input. */
void seg_tiles_drop_chunk(struct seg_tiles *t, size_t i);
/* Makes memory of chunk i, whose rows may not be touched any more, room for `to` to grow into, when
 * that has as many columns; frees it otherwise. Memory that has been touched costs nothing to touch
 * again: the system clears every page that it hands out. */
void seg_tiles_recycle_chunk(struct seg_tiles *t, size_t i, struct seg_tiles *to);
/* The same with all of t, which is empty afterwards. */
void seg_tiles_recycle(struct seg_tiles *t, struct seg_tiles *to);
/* Frees the room that there is to grow into. */
void seg_tiles_trim(struct seg_tiles *t);
/* Appends the rows of src as the first src->n_cols columns of t, which has as many or more. src is
 * empty afterwards; its chunks are freed or filled again on the way, so that the rows are in memory
 * once. SEG_ENOMEM leaves both good for nothing but release. */
enum seg_status seg_tiles_append(struct seg_tiles *t, struct seg_tiles *src);
/* Copies row-major x (n_rows, n_cols) into a new tiles. */
enum seg_status seg_tiles_from_rows(struct seg_tiles *ret_t, const float *x, size_t n_rows,
                                    uint32_t n_cols);
/* Copies the n rows of t whose numbers stand in rows, in that order and as often, into a new tiles.
 * SEG_ENOMEM. */
enum seg_status seg_tiles_gather(const struct seg_tiles *t, const uint32_t *rows, size_t n,
                                 struct seg_tiles *ret_t);

static inline size_t seg_tiles_count(const struct seg_tiles *t)
{
    return (t->n_rows + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
}
/* Tile i as floats: column c starts at [c * SEG_TILE_ROWS]. */
static inline float *seg_tiles_at(const struct seg_tiles *t, size_t tile)
{
    return t->chunks[tile / SEG_CHUNK_TILES] +
           (tile % SEG_CHUNK_TILES) * (size_t)t->n_cols * SEG_TILE_ROWS;
}
/* Rows of tile i that exist: 64 but for the last. */
static inline unsigned seg_tiles_rows(const struct seg_tiles *t, size_t tile)
{
    size_t left = t->n_rows - tile * SEG_TILE_ROWS;
    return left < SEG_TILE_ROWS ? (unsigned)left : SEG_TILE_ROWS;
}
/* Rows of chunk i that exist: SEG_CHUNK_ROWS but for the last. No chunk that was kept when rows
 * were taken back. */
static inline size_t seg_tiles_chunk_rows(const struct seg_tiles *t, size_t chunk)
{
    assert(chunk * SEG_CHUNK_ROWS < t->n_rows);
    const size_t left = t->n_rows - chunk * SEG_CHUNK_ROWS;
    return left < SEG_CHUNK_ROWS ? left : SEG_CHUNK_ROWS;
}
/* Tiles of it that have rows. */
static inline size_t seg_tiles_chunk_tiles(const struct seg_tiles *t, size_t chunk)
{
    return (seg_tiles_chunk_rows(t, chunk) + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
}
static inline float *seg_tiles_cell(const struct seg_tiles *t, size_t row, uint32_t col)
{
    return seg_tiles_at(t, row / SEG_TILE_ROWS) + (size_t)col * SEG_TILE_ROWS + row % SEG_TILE_ROWS;
}
/* For functions that prefetch and do nothing else: gcc takes a call of one for a call without
 * effect and leaves it out, unless it is inlined before gcc has looked. */
#define SEG_PREFETCH static inline __attribute__((always_inline)) void

/* Asks the memory for one column of a tile that is read soon, if there is such a tile: neighbours
 * in a column are a tile apart, which is more than the processor foresees. */
SEG_PREFETCH seg_tiles_prefetch_column(const struct seg_tiles *t, size_t tile, uint32_t col)
{
    enum { LINE = 64 / sizeof(float) };
    if (tile >= seg_tiles_count(t)) return;
    const float *column = seg_tiles_at(t, tile) + (size_t)col * SEG_TILE_ROWS;
    for (unsigned r = 0; r < SEG_TILE_ROWS; r += LINE)
        __builtin_prefetch(column + r);
}
/* Gathers row r into out (n_cols). */
void seg_tiles_get_row(const struct seg_tiles *t, size_t row, float *out);
/* Bytes allocated. */
size_t seg_tiles_bytes(const struct seg_tiles *t);

#endif
