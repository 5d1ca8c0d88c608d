/* kmeans_rows.c - rows one after another instead of tiles, where few of a tile wake.
 *
 * Rows near a border between clusters wake in every iteration and lie anywhere. As a tile is
 * columnar, one of them costs as many cache lines as the tile has columns, so that with a tenth of
 * the rows awake nearly all of the data is read. Once that has cost enough, the cells of each tile
 * are turned, in place, to row after row: a row that wakes is a few lines, which are asked for
 * before they are needed, and those awake are put together to tiles in the cache. They are turned
 * back before anybody else looks. */
#include <string.h>
#include "cluster/kmeans_run.h"

/* To read a row costs as much as to measure it against READ_COST centroids, and to turn it, there
 * and back, as much as to measure it against TURN_COST. */
#define READ_COST 8u
#define TURN_COST 32u

static void turn_chunk(void *ctx, size_t chunk)
{
    struct kmeans_run *run = ctx;
    const size_t d = run->own->n_cols, first = chunk * SEG_CHUNK_TILES;
    const size_t n_tiles = seg_tiles_count(run->own);
    struct kmeans_desk *desk = kmeans_desk_take(run);
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        float *cells = seg_tiles_at(run->own, t);
        (run->is_turned ? run->kernels->from_rows : run->kernels->to_rows)(cells, d, desk->cells);
        memcpy(cells, desk->cells, d * SEG_TILE_ROWS * sizeof *cells);
        if (t % 8 == 7) seg_pool_give_way();
    }
    kmeans_desk_give(desk);
}

/* Whole, even if the run is cancelled meanwhile: there is no half of it. */
static void turn(struct kmeans_run *run)
{
    seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, run->own->n_chunks, turn_chunk, run);
    run->is_turned = !run->is_turned;
}

void kmeans_rows_turn_if_it_pays(struct kmeans_run *run)
{
    if (run->own == NULL || run->is_turned) return;
    const uint64_t wasted = run->n_idle * (run->c.n_rows + READ_COST);
    if (run->looks_near || wasted >= TURN_COST * (uint64_t)run->own->n_rows) turn(run);
}

void kmeans_rows_turn_back(struct kmeans_run *run)
{
    if (run->is_turned) turn(run);
}
