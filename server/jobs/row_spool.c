/* row_spool.c - blocks one after the other: two counts, ends and bytes of the ids, then the tiles
 * as they stand in memory. */
#include "jobs/row_spool.h"

#include <assert.h>
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

typedef bool (*transfer)(int fd, void *bytes, size_t len);

static bool write_bytes(int fd, void *bytes, size_t len)
{
    return spool_write(fd, bytes, len);
}

/* The first n_cols columns of rows first .. n_rows - 1 of cells: a chunk at a time when they are
 * all of them, else a tile. */
static bool transfer_tiles(transfer move, int fd, uint32_t n_cols, const struct seg_tiles *cells,
                           size_t first)
{
    const size_t tile_bytes = (size_t)n_cols * SEG_TILE_ROWS * sizeof(float);
    const size_t n_tiles = seg_tiles_count(cells);
    const size_t step = n_cols == cells->n_cols ? SEG_CHUNK_TILES : 1;
    for (size_t tile = first / SEG_TILE_ROWS; tile < n_tiles; tile += step) {
        size_t n = n_tiles - tile < step ? n_tiles - tile : step;
        if (!move(fd, seg_tiles_at(cells, tile), n * tile_bytes)) return false;
    }
    return true;
}

bool row_spool_add(struct row_spool *s, const struct seg_tiles *cells, const struct user_ids *ids)
{
    const struct block b = { cells->n_rows - s->n_kept, ids->n_bytes };
    assert(ids->n == b.n_rows && s->n_kept % SEG_CHUNK_ROWS == 0);
    s->n_cols = cells->n_cols;
    if (spool_write(s->fd, &b, sizeof(b)) &&
        spool_write(s->fd, ids->ends, ids->n * sizeof(*ids->ends)) &&
        spool_write(s->fd, ids->bytes, ids->n_bytes) &&
        transfer_tiles(write_bytes, s->fd, s->n_cols, cells, s->n_kept)) {
        s->n_kept = cells->n_rows;
        return true;
    }
    row_spool_end(s);
    return false;
}

/* The next n rows of the file as rows of cells, which ends with a chunk. */
static enum seg_status read_tiles(const struct row_spool *s, struct seg_tiles *cells, size_t n)
{
    const size_t first = cells->n_rows;
    enum seg_status st = seg_tiles_grow(cells, first + n);
    if (st != SEG_OK) return st;
    return transfer_tiles(spool_read, s->fd, s->n_cols, cells, first) ? SEG_OK : SEG_EFORMAT;
}

/* The same where cells ends anywhere. */
static enum seg_status append_tiles(const struct row_spool *s, struct seg_tiles *cells, size_t n)
{
    struct seg_tiles block;
    seg_tiles_init(&block, s->n_cols);
    enum seg_status st = read_tiles(s, &block, n);
    if (st == SEG_OK) st = seg_tiles_append(cells, &block);
    seg_tiles_release(&block);
    return st;
}

enum seg_status row_spool_read(struct row_spool *s, struct seg_tiles *cells, struct user_ids *ids,
                               bool *ret_more)
{
    struct block b = { 0 };
    *ret_more = false;
    if (s->n_read == 0 && lseek(s->fd, 0, SEEK_SET) != 0) return SEG_EFORMAT;
    if (s->n_read == s->n_kept) return SEG_OK;
    if (!spool_read(s->fd, &b, sizeof(b))) return SEG_EFORMAT;
    if (!user_ids_reserve(ids, b.n_rows, b.n_id_bytes)) return SEG_ENOMEM;
    uint64_t *ends = ids->ends + ids->n;
    if (!spool_read(s->fd, ends, b.n_rows * sizeof(*ends)) ||
        !spool_read(s->fd, ids->bytes + ids->n_bytes, b.n_id_bytes))
        return SEG_EFORMAT;
    enum seg_status st = cells->n_rows % SEG_CHUNK_ROWS == 0 ? read_tiles(s, cells, b.n_rows)
                                                             : append_tiles(s, cells, b.n_rows);
    if (st != SEG_OK) return st;
    for (size_t i = 0; i < b.n_rows; i++)
        ends[i] += ids->n_bytes;
    ids->n += b.n_rows;
    ids->n_bytes += b.n_id_bytes;
    s->n_read += b.n_rows;
    *ret_more = s->n_read < s->n_kept;
    return SEG_OK;
}
