/* row_spool.c - blocks one after the other: two counts, ends and bytes of the ids, then the tiles
 * as they stand in memory. */
#include "jobs/row_spool.h"

#include <assert.h>
#include <stdatomic.h>
#include <unistd.h>
#include "spool.h"

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

/* Tiles of the chunk that begins with `tile`. */
static size_t chunk_tiles(const struct seg_tiles *cells, size_t tile)
{
    const size_t left = seg_tiles_count(cells) - tile;
    return left < SEG_CHUNK_TILES ? left : SEG_CHUNK_TILES;
}

static bool write_tiles(const struct row_spool *s, const struct seg_tiles *cells, size_t first_row)
{
    const size_t n_tiles = seg_tiles_count(cells);
    for (size_t tile = first_row / SEG_TILE_ROWS; tile < n_tiles; tile += SEG_CHUNK_TILES)
        if (!spool_write(s->fd, seg_tiles_at(cells, tile),
                         chunk_tiles(cells, tile) * tile_bytes(s->n_cols)))
            return false;
    return true;
}

bool row_spool_add(struct row_spool *s, const struct seg_tiles *cells, const struct user_ids *ids)
{
    const struct block b = { cells->n_rows - s->n_kept, ids->n_bytes };
    assert(ids->n == b.n_rows && s->n_kept % SEG_CHUNK_ROWS == 0);
    s->n_cols = cells->n_cols;
    if (spool_write(s->fd, &b, sizeof(b)) &&
        spool_write(s->fd, ids->ends, ids->n * sizeof(*ids->ends)) &&
        spool_write(s->fd, ids->bytes, ids->n_bytes) && write_tiles(s, cells, s->n_kept)) {
        s->n_kept = cells->n_rows;
        return true;
    }
    row_spool_end(s);
    return false;
}

/* Chunks of a block while they are read. */
struct reading {
    const struct row_spool *s;
    const struct seg_tiles *cells;
    size_t first_tile; /* of the block */
    off_t at;          /* where it stands in the file */
    atomic_bool failed;
};

static void read_chunk(void *ctx, size_t chunk)
{
    struct reading *r = ctx;
    const size_t first = r->first_tile + chunk * SEG_CHUNK_TILES, bytes = tile_bytes(r->s->n_cols);
    const size_t n = chunk_tiles(r->cells, first);
    const size_t step = r->s->n_cols == r->cells->n_cols ? n : 1; /* tiles that are one run */
    for (size_t i = 0; i < n; i += step) {
        const off_t at = r->at + (off_t)((first + i - r->first_tile) * bytes);
        if (!spool_read_at(r->s->fd, seg_tiles_at(r->cells, first + i), step * bytes, at))
            atomic_store(&r->failed, true);
        seg_pool_give_way();
    }
}

/* The next n rows of the file as rows of cells, which ends with a chunk. */
static enum seg_status read_tiles(struct seg_pool *pool, const struct row_spool *s,
                                  struct seg_tiles *cells, size_t n)
{
    const size_t first = cells->n_rows;
    struct reading r = {
        .s = s, .cells = cells, .first_tile = first / SEG_TILE_ROWS, .at = lseek(s->fd, 0, SEEK_CUR)
    };
    if (r.at < 0) return SEG_EFORMAT;
    const bool whole = s->n_cols == cells->n_cols && n % SEG_CHUNK_ROWS == 0;
    enum seg_status st =
        whole ? seg_tiles_extend(cells, first + n) : seg_tiles_grow(cells, first + n);
    if (st != SEG_OK) return st;
    const size_t n_tiles = seg_tiles_count(cells) - r.first_tile;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, (n_tiles + SEG_CHUNK_TILES - 1) / SEG_CHUNK_TILES,
                 read_chunk, &r);
    const off_t end = r.at + (off_t)(n_tiles * tile_bytes(s->n_cols));
    return atomic_load(&r.failed) || lseek(s->fd, end, SEEK_SET) != end ? SEG_EFORMAT : SEG_OK;
}

/* The same where cells ends anywhere. */
static enum seg_status append_tiles(struct seg_pool *pool, const struct row_spool *s,
                                    struct seg_tiles *cells, size_t n)
{
    struct seg_tiles block;
    seg_tiles_init(&block, s->n_cols);
    enum seg_status st = read_tiles(pool, s, &block, n);
    if (st == SEG_OK) st = seg_tiles_append(cells, &block);
    seg_tiles_release(&block);
    return st;
}

/* The ids of the next block; *ret_b is empty at the end. */
static enum seg_status read_ids(struct row_spool *s, struct user_ids *ids, struct block *ret_b)
{
    struct block b = { 0 };
    *ret_b = b;
    if (s->n_read == 0 && lseek(s->fd, 0, SEEK_SET) != 0) return SEG_EFORMAT;
    if (s->n_read == s->n_kept) return SEG_OK;
    if (!spool_read(s->fd, &b, sizeof(b))) return SEG_EFORMAT;
    if (!user_ids_reserve(ids, b.n_rows, b.n_id_bytes)) return SEG_ENOMEM;
    uint64_t *ends = ids->ends + ids->n;
    if (!spool_read(s->fd, ends, b.n_rows * sizeof(*ends)) ||
        !spool_read(s->fd, ids->bytes + ids->n_bytes, b.n_id_bytes))
        return SEG_EFORMAT;
    *ret_b = b;
    return SEG_OK;
}

/* Counts a block whose cells have been dealt with. */
static void take_block(struct row_spool *s, struct user_ids *ids, const struct block *b,
                       bool *ret_more)
{
    for (size_t i = 0; i < b->n_rows; i++)
        ids->ends[ids->n + i] += ids->n_bytes;
    ids->n += b->n_rows;
    ids->n_bytes += b->n_id_bytes;
    s->n_read += b->n_rows;
    *ret_more = s->n_read < s->n_kept;
}

enum seg_status row_spool_read(struct seg_pool *pool, struct row_spool *s, struct seg_tiles *cells,
                               struct user_ids *ids, bool *ret_more)
{
    struct block b;
    *ret_more = false;
    enum seg_status st = read_ids(s, ids, &b);
    if (st != SEG_OK || b.n_rows == 0) return st;
    st = cells->n_rows % SEG_CHUNK_ROWS == 0 ? read_tiles(pool, s, cells, b.n_rows)
                                             : append_tiles(pool, s, cells, b.n_rows);
    if (st == SEG_OK) take_block(s, ids, &b, ret_more);
    return st;
}

void row_spool_rewind(struct row_spool *s)
{
    s->n_read = 0;
}

enum seg_status row_spool_read_ids(struct row_spool *s, struct user_ids *ids, bool *ret_more)
{
    struct block b;
    *ret_more = false;
    enum seg_status st = read_ids(s, ids, &b);
    if (st != SEG_OK || b.n_rows == 0) return st;
    const size_t n_tiles = (b.n_rows + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
    if (lseek(s->fd, (off_t)(n_tiles * tile_bytes(s->n_cols)), SEEK_CUR) < 0) return SEG_EFORMAT;
    take_block(s, ids, &b, ret_more);
    return SEG_OK;
}
