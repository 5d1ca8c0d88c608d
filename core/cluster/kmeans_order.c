/* kmeans_order.c - rows that will wake soon stand together.
 *
 * Rows near a border between clusters wake in every iteration and lie anywhere. As a tile is
 * columnar, one of them costs as many cache lines as the tile has columns, so that with a tenth of
 * the rows awake nearly all of the data is read. From time to time the rows of each chunk are
 * therefore put in the order in which they are expected to wake: those awake fill a few tiles,
 * which are measured where they stand, and the others sleep as whole tiles. Sums are exact and
 * every row is a lane of its own, so the order cannot be seen in any result; place[] tells where a
 * row came from, and it is put back before anybody else looks. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "cluster/kmeans_run.h"

/* Rows that were read while asleep, as a multiple of all rows, before the next ordering: it costs
 * about as much as to read everything as often. */
#define ORDER_COST 2u
/* Where a chunk more for each worker would be too much memory, the data is in the cache anyway. */
#define CHUNKS_MIN 16u
/* Four to each doubling of the iterations that a row is expected to sleep, from 2^-4 to 2^12; the
 * last is for lanes that are no rows. */
#define N_BUCKETS 66u

enum seg_status kmeans_order_init(struct kmeans_run *run, struct seg_tiles *own)
{
    const size_t n_tiles = seg_tiles_count(own);
    if (own->n_chunks < CHUNKS_MIN * run->n_desks) return SEG_OK;
    run->place = seg_alloc(n_tiles * SEG_TILE_ROWS, sizeof *run->place);
    if (run->place == NULL) return SEG_ENOMEM;
    for (size_t i = 0; i < run->n_desks; i++) {
        run->desks[i].spare =
            seg_alloc_aligned((size_t)SEG_CHUNK_ROWS * own->n_cols, sizeof *run->desks[i].spare);
        if (run->desks[i].spare == NULL) return SEG_ENOMEM;
    }
    run->own = own;
    return SEG_OK;
}

/* Puts at each place i of the chunk the row that stands at from[i]. A column is first copied out of
 * its tiles: their distance makes them share few places of the first cache. */
static void permute_cells(struct kmeans_run *run, size_t chunk, const uint16_t *from)
{
    const size_t d = run->own->n_cols;
    float column[SEG_CHUNK_ROWS];
    struct kmeans_desk *desk = kmeans_desk_take(run);
    float *in = run->own->chunks[chunk], *out = desk->spare;
    for (size_t c = 0; c < d; c++) {
        for (size_t t = 0; t < SEG_CHUNK_TILES; t++) {
            const float *cells = in + (t * d + c) * SEG_TILE_ROWS;
            const float *next = c + 1 < d ? cells + SEG_TILE_ROWS : cells;
            for (size_t r = 0; r < SEG_TILE_ROWS; r += SEG_ALIGN / sizeof *next)
                __builtin_prefetch(next + r, 0, 3);
            memcpy(column + t * SEG_TILE_ROWS, cells, SEG_TILE_ROWS * sizeof *cells);
        }
        if (c % 4 == 3) seg_pool_give_way();
        for (size_t t = 0; t < SEG_CHUNK_TILES; t++) {
            float *to = out + (t * d + c) * SEG_TILE_ROWS;
            const uint16_t *of = from + t * SEG_TILE_ROWS;
            for (size_t r = 0; r < SEG_TILE_ROWS; r++)
                to[r] = column[of[r]];
        }
    }
    run->own->chunks[chunk] = out;
    desk->spare = in;
    kmeans_desk_give(desk);
}

/* The bucket of a row with so much left at this pace: exponent and upper two bits of the mantissa
 * of the iterations it will sleep. */
static unsigned bucket_of(float left, float iterations_each)
{
    const float iterations = left * iterations_each;
    int32_t bits;
    memcpy(&bits, &iterations, sizeof bits);
    const int32_t place = (bits >> 21) - ((127 - 4) << 2);
    return place < 0 ? 0 : place > (int32_t)N_BUCKETS - 2 ? N_BUCKETS - 2 : (unsigned)place;
}

/* from[i] = where the row that comes to place i stands: a counting sort by bucket. */
static void sort_rows(const struct kmeans_run *run, size_t first, size_t n, uint16_t *from)
{
    uint8_t bucket[SEG_CHUNK_ROWS];
    unsigned at[N_BUCKETS] = { 0 };
    float each[SEG_K_MAX]; /* iterations that a unit of slack lasts */
    for (size_t j = 0; j < run->c.n_rows; j++)
        each[j] = (float)fmin(1 / run->pace[j], (double)FLT_MAX / 2);
    for (size_t i = 0; i < SEG_CHUNK_ROWS; i++) {
        bucket[i] = N_BUCKETS - 1;
        if (i < n) {
            const uint32_t j = run->label[first + i];
            bucket[i] = (uint8_t)bucket_of(run->slack[first + i] - run->spent_hi[j], each[j]);
        }
        at[bucket[i]]++;
    }
    for (unsigned b = 0, sum = 0; b < N_BUCKETS; b++) {
        const unsigned count = at[b];
        at[b] = sum;
        sum += count;
    }
    for (size_t i = 0; i < SEG_CHUNK_ROWS; i++)
        from[at[bucket[i]]++] = (uint16_t)i;
}

static void order_chunk(void *ctx, size_t chunk)
{
    struct kmeans_run *run = ctx;
    const size_t first = chunk * SEG_CHUNK_ROWS, n = seg_tiles_chunk_rows(run->own, chunk);
    uint16_t from[SEG_CHUNK_ROWS], place[SEG_CHUNK_ROWS];
    uint32_t label[SEG_CHUNK_ROWS];
    float slack[SEG_CHUNK_ROWS];
    if (seg_progress_cancelled(run->progress)) return;
    sort_rows(run, first, n, from);
    memcpy(label, run->label + first, n * sizeof *label);
    memcpy(slack, run->slack + first, n * sizeof *slack);
    memcpy(place, run->place + first, n * sizeof *place);
    for (size_t i = 0; i < n; i++) {
        run->label[first + i] = label[from[i]];
        run->slack[first + i] = slack[from[i]];
        run->place[first + i] = place[from[i]];
    }
    for (size_t t = first / SEG_TILE_ROWS; t * SEG_TILE_ROWS < first + n; t++)
        run->asleep[t] = 0;
    permute_cells(run, chunk, from);
}

void kmeans_order_if_it_pays(struct kmeans_run *run)
{
    if (run->own == NULL) return;
    if (run->is_surveyed) {
        seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, run->own->n_chunks, order_chunk, run);
        run->is_surveyed = false;
        run->is_ordered = true;
        run->n_wasted = 0;
        run->n_idle_least = UINT64_MAX;
        return;
    }
    if (run->n_idle < run->n_idle_least) run->n_idle_least = run->n_idle;
    run->n_wasted += run->n_idle - (run->is_ordered ? run->n_idle_least : 0);
    run->is_surveyed = run->n_wasted >= ORDER_COST * (uint64_t)run->own->n_rows;
}

static void restore_chunk(void *ctx, size_t chunk)
{
    struct kmeans_run *run = ctx;
    const size_t first = chunk * SEG_CHUNK_ROWS, n = seg_tiles_chunk_rows(run->own, chunk);
    uint16_t from[SEG_CHUNK_ROWS];
    for (size_t i = 0; i < SEG_CHUNK_ROWS; i++)
        from[i < n ? run->place[first + i] : i] = (uint16_t)i;
    permute_cells(run, chunk, from);
}

void kmeans_order_restore(struct kmeans_run *run)
{
    if (!run->is_ordered) return;
    run->is_ordered = false;
    seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, run->own->n_chunks, restore_chunk, run);
}
