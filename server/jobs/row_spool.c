/* row_spool.c - blocks one after the other: two counts, ends and bytes of the ids, then the tiles
 * as they stand in memory. These begin a page: the system copies whole pages twice as fast. */
#include "jobs/row_spool.h"

#include <assert.h>
#include <stdatomic.h>
#include <unistd.h>
#include "spool.h"

#define PAGE 4096

struct block {
    uint64_t n_rows, n_id_bytes;
};

bool row_spool_begin(struct row_spool *s, const char *dir)
{
    *s = (struct row_spool){ .fd = spool_open(dir) };
    return s->fd >= 0;
}

void row_spool_end(struct row_spool *s)
{
    if (s->fd >= 0) close(s->fd);
    *s = ROW_SPOOL_NONE;
}

static size_t tile_bytes(uint32_t n_cols)
{
    return (size_t)n_cols * SEG_TILE_ROWS * sizeof(float);
}

static size_t tiles_of(size_t n_rows)
{
    return (n_rows + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
}

/* Where the tiles of a block stand whose ids end at `at`. */
static off_t tiles_at(off_t at)
{
    return (at + PAGE - 1) / PAGE * PAGE;
}

/* Tiles of the chunk that begins with `tile`. */
static size_t chunk_tiles(const struct seg_tiles *cells, size_t tile)
{
    const size_t left = seg_tiles_count(cells) - tile;
    return left < SEG_CHUNK_TILES ? left : SEG_CHUNK_TILES;
}

/* Writes at the end of what is kept, which moves on. */
static bool put(struct row_spool *s, const void *bytes, size_t len)
{
    const off_t at = s->end;
    s->end += (off_t)len;
    return spool_write_at(s->fd, bytes, len, at);
}

static bool put_tiles(struct row_spool *s, const struct seg_tiles *cells, size_t first_row)
{
    const size_t n_tiles = seg_tiles_count(cells);
    s->end = tiles_at(s->end);
    for (size_t tile = first_row / SEG_TILE_ROWS; tile < n_tiles; tile += SEG_CHUNK_TILES)
        if (!put(s, seg_tiles_at(cells, tile), chunk_tiles(cells, tile) * tile_bytes(s->n_cols)))
            return false;
    return true;
}

bool row_spool_add(struct row_spool *s, const struct seg_tiles *cells, const struct user_ids *ids)
{
    const struct block b = { cells->n_rows - s->n_kept, ids->n_bytes };
    assert(ids->n == b.n_rows && b.n_rows <= ROW_SPOOL_BLOCK_ROWS);
    assert(s->n_kept % SEG_CHUNK_ROWS == 0);
    s->n_cols = cells->n_cols;
    if (put(s, &b, sizeof(b)) && put(s, ids->ends, ids->n * sizeof(*ids->ends)) &&
        put(s, ids->bytes, ids->n_bytes) && put_tiles(s, cells, s->n_kept)) {
        s->n_kept = cells->n_rows;
        return true;
    }
    row_spool_end(s);
    return false;
}

/* The next bytes of a reading. */
static bool get(struct row_spool_reader *r, void *bytes, size_t len)
{
    const off_t at = r->at;
    r->at += (off_t)len;
    return spool_read_at(r->spool->fd, bytes, len, at);
}

/* The ids of the next block, behind which the reading stands at the block's tiles; ids counts them
 * once they are taken. *ret_b is empty at the end. */
static enum seg_status get_ids(struct row_spool_reader *r, struct user_ids *ids,
                               struct block *ret_b)
{
    struct block b = { 0 };
    *ret_b = b;
    if (r->n_read == r->spool->n_kept) return SEG_OK;
    if (!get(r, &b, sizeof(b))) return SEG_EFORMAT;
    if (!user_ids_reserve(ids, b.n_rows, b.n_id_bytes)) return SEG_ENOMEM;
    if (!get(r, ids->ends + ids->n, b.n_rows * sizeof(*ids->ends)) ||
        !get(r, ids->bytes + ids->n_bytes, b.n_id_bytes))
        return SEG_EFORMAT;
    r->at = tiles_at(r->at);
    *ret_b = b;
    return SEG_OK;
}

/* Counts a block whose tiles have been read. */
static void take_block(struct row_spool_reader *r, struct user_ids *ids, const struct block *b,
                       bool *ret_more)
{
    for (size_t i = 0; i < b->n_rows; i++)
        ids->ends[ids->n + i] += ids->n_bytes;
    ids->n += b->n_rows;
    ids->n_bytes += b->n_id_bytes;
    r->n_read += b->n_rows;
    *ret_more = r->n_read < r->spool->n_kept;
}

enum seg_status row_spool_read_block(struct row_spool_reader *r, float *tiles, struct user_ids *ids,
                                     bool *ret_more)
{
    struct block b;
    *ret_more = false;
    enum seg_status st = get_ids(r, ids, &b);
    if (st != SEG_OK || b.n_rows == 0) return st;
    if (!get(r, tiles, tiles_of(b.n_rows) * tile_bytes(r->spool->n_cols))) return SEG_EFORMAT;
    take_block(r, ids, &b, ret_more);
    return SEG_OK;
}

/* A block while it is read, by the chunks of cells that it comes to stand in. */
struct reading {
    const struct row_spool *s;
    const struct seg_tiles *cells; /* it is their end */
    size_t first_tile;             /* of the block */
    off_t at;                      /* where it stands in the file */
    atomic_bool failed;
};

static void read_chunk(void *ctx, size_t index)
{
    struct reading *r = ctx;
    const size_t chunk = r->first_tile / SEG_CHUNK_TILES + index, bytes = tile_bytes(r->s->n_cols);
    const size_t begin = chunk * SEG_CHUNK_TILES, end = begin + chunk_tiles(r->cells, begin);
    const size_t first = begin < r->first_tile ? r->first_tile : begin;
    const size_t step = r->s->n_cols == r->cells->n_cols ? end - first : 1; /* tiles in one run */
    for (size_t tile = first; tile < end; tile += step) {
        const off_t at = r->at + (off_t)((tile - r->first_tile) * bytes);
        if (!spool_read_at(r->s->fd, seg_tiles_at(r->cells, tile), step * bytes, at))
            atomic_store(&r->failed, true);
        seg_pool_give_way();
    }
}

/* The next n rows as rows of cells. */
static enum seg_status get_tiles(struct seg_pool *pool, struct row_spool_reader *reader,
                                 struct seg_tiles *cells, size_t n)
{
    const struct row_spool *s = reader->spool;
    struct reading r = {
        .s = s, .cells = cells, .first_tile = seg_tiles_count(cells), .at = reader->at
    };
    const size_t end = r.first_tile * SEG_TILE_ROWS + n;
    enum seg_status st =
        s->n_cols == cells->n_cols ? seg_tiles_extend(cells, end) : seg_tiles_grow(cells, end);
    if (st != SEG_OK) return st;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, cells->n_chunks - r.first_tile / SEG_CHUNK_TILES,
                 read_chunk, &r);
    reader->at += (off_t)(tiles_of(n) * tile_bytes(s->n_cols));
    return atomic_load(&r.failed) ? SEG_EFORMAT : SEG_OK;
}

enum seg_status row_spool_read(struct seg_pool *pool, struct row_spool_reader *r,
                               struct seg_tiles *cells, struct user_ids *ids, bool *ret_more)
{
    struct block b;
    *ret_more = false;
    enum seg_status st = get_ids(r, ids, &b);
    if (st != SEG_OK || b.n_rows == 0) return st;
    st = get_tiles(pool, r, cells, b.n_rows);
    if (st == SEG_OK) take_block(r, ids, &b, ret_more);
    return st;
}
