/* kmeans_assign.c - the assignment of an iteration, without the distances that cannot change
 * anything.
 *
 * Bounds after Hamerly (2010), folded into one number a row. When a row is measured at distance u
 * from its centroid and l from the next one, it can spend l - u before it may change cluster. Later
 * moves of centroids cost a row of cluster j at most spent[j]: the way of j itself plus the longest
 * way of any other. slack[row] = l - u + spent[j] at that time, so that nothing is written while a
 * row waits; it is measured again once spent[j] has passed slack[row]. A tile whose rows all wait
 * is not looked at before spent_any, the longest way anybody can have spent, passes what its
 * poorest row has left.
 *
 * Skipping is safe in floating point: squared distances from the kernel are sums of squares with a
 * relative error under (d + 3) 2^-24, so u and l are widened by (d + 16) 2^-24, which covers the
 * error now, the error of the distances that will not be computed later, and the roundings here. A
 * skipped row is therefore one whose label the kernel would have given again, ties included.
 *
 * With many centroids rows are screened by products of 16-bit integers first (compute/screen.h),
 * which give the same labels with a bound on u and l, or say that they cannot tell. Screening also
 * lists the centroids nearest to the row and says how far all others are. A row that wakes is
 * measured against its list alone, as long as drift, the sum of the longest ways, has not brought
 * one of the others near: in many dimensions most rows wake in most iterations, and nearly always
 * for one of the same few centroids. A few that go much farther than the rest are movers: drift
 * leaves them out while they do, all rows wake, and each is measured against its list and them. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "cluster/kmeans_run.h"

/* Waking rows of a tile are put together with those of the chunk's other tiles, which costs as much
 * for each as to measure it against this many centroids; when that is dearer, the whole tile is
 * measured in place. */
#define GATHER_COST 24u

enum seg_status kmeans_desk_init(struct kmeans_desk *desk, size_t k, size_t d)
{
    const size_t n_cells = (d + d % 2) * SEG_TILE_ROWS;
    atomic_flag_clear(&desk->taken);
    /* One more vector: rows a power of two apart share few places of the first cache. */
    desk->rows_stride = (d + 2 * SEG_SCREEN_PAD - 1) / SEG_SCREEN_PAD * SEG_SCREEN_PAD;
    desk->cells = seg_alloc_aligned(n_cells, sizeof *desk->cells);
    desk->doubtful.cells = seg_alloc_aligned(n_cells, sizeof *desk->doubtful.cells);
    desk->code = seg_alloc_aligned(n_cells / 2, sizeof *desk->code);
    desk->rows = seg_alloc_aligned(desk->rows_stride * SEG_TILE_ROWS, sizeof *desk->rows);
    if (!desk->cells || !desk->doubtful.cells || !desk->code || !desk->rows) return SEG_ENOMEM;
    memset(desk->cells, 0, n_cells * sizeof *desk->cells);
    memset(desk->doubtful.cells, 0, n_cells * sizeof *desk->doubtful.cells);
    memset(desk->rows, 0, desk->rows_stride * SEG_TILE_ROWS * sizeof *desk->rows);
    return kmeans_sums_init(&desk->moved, k, d);
}

void kmeans_desk_release(struct kmeans_desk *desk)
{
    seg_free(desk->cells);
    seg_free(desk->doubtful.cells);
    seg_free(desk->code);
    seg_free(desk->rows);
    kmeans_sums_release(&desk->moved);
}

struct kmeans_desk *kmeans_desk_take(struct kmeans_run *run)
{
    for (size_t i = 0;; i = (i + 1) % run->n_desks)
        if (!atomic_flag_test_and_set_explicit(&run->desks[i].taken, memory_order_acquire))
            return &run->desks[i];
}

void kmeans_desk_give(struct kmeans_desk *desk)
{
    atomic_flag_clear_explicit(&desk->taken, memory_order_release);
}

/* Books what was found of n rows, whose numbers are row[]: the first cell of the i-th is cells[i],
 * each of its others `step` further on. */
static void settle(struct kmeans_run *run, struct kmeans_desk *desk, const float *cells,
                   size_t step, const uint32_t *row, unsigned n, const uint32_t *label,
                   const float *margin)
{
    unsigned moved[SEG_TILE_ROWS], n_moved = 0;
    for (unsigned i = 0; i < n; i++) {
        float sum = margin[i] + run->spent_lo[label[i]];
        run->slack[row[i]] = sum - fabsf(sum) * 0x1p-22f;
        moved[n_moved] = i;
        n_moved += run->label[row[i]] != label[i];
    }
    for (unsigned m = 0; m < n_moved; m++) {
        unsigned i = moved[m];
        kmeans_sums_move(&desk->moved, run->data->scale, cells + i, step, run->label[row[i]],
                         label[i]);
        run->label[row[i]] = label[i];
    }
    desk->n_moved += n_moved;
}

/* By sums of squared differences. */
static void measure_exactly(struct kmeans_run *run, struct kmeans_desk *desk, const float *tile,
                            const uint32_t *row, unsigned n)
{
    const size_t d = run->data->x->n_cols;
    uint32_t label[SEG_TILE_ROWS];
    float dist2[SEG_TILE_ROWS], second2[SEG_TILE_ROWS], margin[SEG_TILE_ROWS];
    run->kernels->nearest(tile, d, run->c.data, run->c.n_rows, label, dist2, second2);
    run->kernels->margin(dist2, second2, (float)(d + 16) * 0x1p-24f, run->margin_tiny, margin);
    for (unsigned i = 0; i < n && run->near != NULL; i++)
        run->rest[row[i]] = -FLT_MAX; /* no list: the next time the row is screened */
    settle(run, desk, tile, SEG_TILE_ROWS, row, n, label, margin);
}

static void measure_doubtful(struct kmeans_run *run, struct kmeans_desk *desk)
{
    struct kmeans_batch *batch = &desk->doubtful;
    const unsigned n = batch->n;
    batch->n = 0;
    if (n > 0) measure_exactly(run, desk, batch->cells, batch->row, n);
}

/* Keeps lanes of a tile, whose rows' numbers are row[], to be measured exactly. */
static void keep_doubtful(struct kmeans_run *run, struct kmeans_desk *desk, const float *tile,
                          const uint32_t *row, const uint32_t *lane, unsigned n)
{
    const size_t d = run->data->x->n_cols;
    struct kmeans_batch *batch = &desk->doubtful;
    for (unsigned i = 0; i < n; i++) {
        for (size_t c = 0; c < d; c++)
            batch->cells[c * SEG_TILE_ROWS + batch->n] = tile[c * SEG_TILE_ROWS + lane[i]];
        batch->row[batch->n++] = row[lane[i]];
        if (batch->n == SEG_TILE_ROWS) measure_doubtful(run, desk);
    }
}

/* What rows remember of the centroids around them. A list without the row's own cluster, which
 * takes many centroids that are equally near, is of no use. */
static void keep_lists(struct kmeans_run *run, const uint32_t *row, unsigned n,
                       const uint32_t *label, uint16_t near[][SEG_NEAR], const float *rest)
{
    for (unsigned i = 0; i < n; i++) {
        bool has_own = false;
        for (unsigned m = 0; m < SEG_NEAR; m++)
            has_own = has_own || near[i][m] == label[i];
        const float sum = rest[i] + run->drift_lo;
        memcpy(run->near + (size_t)row[i] * SEG_NEAR, near[i], sizeof near[i]);
        run->rest[row[i]] = has_own ? sum - sum * 0x1p-22f : -FLT_MAX;
    }
}

/* By products of integers where that can tell the nearest centroid; the rows where it cannot are
 * left as they are for the batch that is measured exactly. */
static void screen(struct kmeans_run *run, struct kmeans_desk *desk, const float *tile,
                   const uint32_t *row, unsigned n)
{
    uint32_t label[SEG_TILE_ROWS], doubtful[SEG_TILE_ROWS] = { 0 };
    float margin[SEG_TILE_ROWS];
    unsigned n_doubtful = 0;
    uint16_t near[SEG_TILE_ROWS][SEG_NEAR];
    float rest[SEG_TILE_ROWS];
    run->screen_kernel->screen(&run->screen, tile, desk->code, label, margin,
                               run->keeps_lists ? near[0] : NULL, rest);
    if (run->keeps_lists) keep_lists(run, row, n, label, near, rest);
    for (unsigned i = 0; i < n; i++) {
        margin[i] -= run->margin_tiny;
        doubtful[n_doubtful] = i;
        n_doubtful += !(margin[i] > 0);
    }
    for (unsigned i = 0; i < n_doubtful; i++) {
        label[doubtful[i]] = run->label[row[doubtful[i]]];
        margin[doubtful[i]] = 0;
    }
    settle(run, desk, tile, SEG_TILE_ROWS, row, n, label, margin);
    keep_doubtful(run, desk, tile, row, doubtful, n_doubtful);
    desk->n_screened += n;
    desk->n_doubtful += n_doubtful;
}

/* Measures the first n rows of a tile, whose numbers are row[]. */
static void measure(struct kmeans_run *run, struct kmeans_desk *desk, const float *tile,
                    const uint32_t *row, unsigned n)
{
    (run->is_screened ? screen : measure_exactly)(run, desk, tile, row, n);
    kmeans_offer(&desk->n_cells, run->c.n_rows * run->c.n_cols);
}

/* Bit i: row i of the tile has spent its slack. If none has, the tile may sleep until spent_any
 * passes *ret_asleep. */
static uint64_t awake_rows(const struct kmeans_run *run, size_t tile, double *ret_asleep)
{
    const size_t first = tile * SEG_TILE_ROWS;
    float least;
    const uint64_t awake = run->kernels->spent_rows(run->slack + first, run->label + first,
                                                    run->spent_hi, run->c.n_rows + 1, &least);
    /* 2^-20 of the slack: more than the roundings of spent_hi now and later and of this. */
    *ret_asleep = awake == 0 ? run->spent_any + (double)least * (1 - 0x1p-20) : 0;
    return awake;
}

/* The rows of a tile that are to be measured: those that are awake, or all where there are movers
 * to look at. */
static uint64_t rows_to_measure(struct kmeans_run *run, struct kmeans_desk *desk, size_t tile)
{
    const bool all = run->n_movers > 0;
    if (!all && run->spent_any < run->asleep[tile]) return 0;
    const uint64_t awake = awake_rows(run, tile, &run->asleep[tile]);
    desk->n_awake += (unsigned)__builtin_popcountll(awake);
    if (!all) return awake;
    run->asleep[tile] = 0; /* what its rows have left is measured anew */
    return UINT64_MAX >> (SEG_TILE_ROWS - seg_tiles_rows(run->data->x, tile));
}

/* First pass of a start: no row has a cluster, and lanes that are no rows never wake. */
static void begin_chunk(struct kmeans_run *run, size_t first_tile, size_t n_tiles)
{
    const uint32_t k = (uint32_t)run->c.n_rows;
    for (size_t i = first_tile * SEG_TILE_ROWS; i < (first_tile + n_tiles) * SEG_TILE_ROWS; i++) {
        const bool is_row = i < run->data->x->n_rows;
        run->label[i] = is_row ? k : 0;
        run->slack[i] = is_row ? -FLT_MAX : FLT_MAX;
        if (run->near != NULL) run->rest[i] = -FLT_MAX;
    }
    for (size_t t = first_tile; t < first_tile + n_tiles; t++)
        run->asleep[t] = 0;
}

/* Rows of a chunk that wait to be measured, some of them while their cells are on the way. */
struct queue {
    uint32_t row[SEG_CHUNK_ROWS];
    unsigned n, n_done;
};

/* So many rows wait for their cells. */
#define ROWS_AHEAD 64u

/* Starts to load the lines of a row that is turned. */
SEG_PREFETCH prefetch_row(const struct kmeans_run *run, uint32_t row)
{
    const uintptr_t first = (uintptr_t)kmeans_row_at(run, row);
    const uintptr_t end = first + run->data->x->n_cols * sizeof(float);
    for (uintptr_t line = first - first % SEG_ALIGN; line < end; line += SEG_ALIGN)
        __builtin_prefetch((const void *)line, 0, 2);
}

/* The nearest of some centroids, and the next one. */
struct nearest {
    float least2, second2; /* squared distances */
    uint32_t label;
};

static inline void look_at(struct nearest *found, uint32_t centroid, float dist2)
{
    const bool is_nearer = dist2 < found->least2;
    const float other2 = is_nearer ? found->least2 : dist2;
    found->second2 = other2 < found->second2 ? other2 : found->second2;
    found->least2 = is_nearer ? dist2 : found->least2;
    found->label = is_nearer ? centroid : found->label;
}

/* Looks at the movers that a row does not remember, and lets its rest know how near they came. */
static void look_at_movers(struct kmeans_run *run, uint32_t row, const uint16_t *near,
                           const float *dist2, struct nearest *found)
{
    for (unsigned m = 0; m < run->n_movers; m++) {
        bool is_listed = false;
        for (unsigned i = 0; i < SEG_NEAR; i++)
            is_listed |= near[i] == run->movers[m];
        if (is_listed) continue;
        const float sum = sqrtf(dist2[m]) * (1 - run->screen.widen) + run->drift_lo;
        run->rest[row] = fminf(run->rest[row], sum - sum * 0x1p-22f);
        look_at(found, run->movers[m], dist2[m]);
    }
}

/* Settles those of n rows (1..64) whose nearest centroid is certainly among those that they
 * remember and the movers, and writes the others to left. Returns their number. */
static unsigned settle_near(struct kmeans_run *run, struct kmeans_desk *desk, const uint32_t *row,
                            unsigned n, uint32_t *left)
{
    const struct seg_screen_kernel *kernel = run->screen_kernel;
    const size_t d = run->data->x->n_cols, step = kmeans_row_step(run), stride = desk->rows_stride;
    const float widen = run->screen.widen;
    const uint16_t *near[SEG_TILE_ROWS] = { 0 };
    float dist2[SEG_TILE_ROWS][SEG_NEAR], mover2[SEG_TILE_ROWS][SEG_NEAR];
    unsigned n_left = 0;
    for (unsigned i = 0; i < n; i++) {
        const float *cells = kmeans_row_at(run, row[i]);
        near[i] = run->near + (size_t)row[i] * SEG_NEAR;
        for (size_t c = 0; c < d; c++)
            desk->rows[i * stride + c] = cells[c * step];
    }
    kernel->among(&run->screen, desk->rows, stride, n, near, dist2[0]);
    if (run->n_movers > 0)
        kernel->among_few(&run->screen, desk->rows, stride, n, run->movers, run->n_movers,
                          mover2[0]);
    for (unsigned i = 0; i < n; i++) {
        const uint32_t r = row[i];
        struct nearest found = { .least2 = FLT_MAX, .second2 = FLT_MAX };
        for (unsigned m = 0; m < SEG_NEAR; m++)
            look_at(&found, near[i][m], dist2[i][m]);
        look_at_movers(run, r, near[i], mover2[i], &found);
        const float second = sqrtf(found.second2) * (1 - widen);
        const float rest = (run->rest[r] - run->drift_hi) * (1 - 0x1p-22f);
        const float next = second < rest ? second : rest;
        const float margin = next - sqrtf(found.least2) * (1 + widen) - run->margin_tiny;
        if (margin > 0)
            settle(run, desk, desk->rows + i * stride, 1, &r, 1, &found.label, &margin);
        else
            left[n_left++] = r;
    }
    desk->n_tried += n;
    desk->n_found += n - n_left;
    kmeans_offer(&desk->n_cells, SEG_NEAR * d);
    return n_left;
}

/* Puts n rows (1..64) together to a tile. */
static void gather(const struct kmeans_run *run, const uint32_t *row, unsigned n, float *tile)
{
    const size_t d = run->data->x->n_cols;
    const float *from[SEG_TILE_ROWS];
    for (unsigned i = 0; i < SEG_TILE_ROWS; i++)
        from[i] = kmeans_row_at(run, row[i < n ? i : 0]);
    if (run->is_turned) {
        run->kernels->from_each(from, d, tile);
        return;
    }
    for (size_t c = 0; c < d; c++)
        for (unsigned i = 0; i < n; i++)
            tile[c * SEG_TILE_ROWS + i] = from[i][c * SEG_TILE_ROWS];
}

/* Measures the next rows of the queue, 64 if there are as many. */
static void measure_next(struct kmeans_run *run, struct kmeans_desk *desk, struct queue *queue)
{
    const unsigned n_left = queue->n - queue->n_done;
    const unsigned n = n_left < SEG_TILE_ROWS ? n_left : SEG_TILE_ROWS;
    const uint32_t *row = queue->row + queue->n_done;
    gather(run, row, n, desk->cells);
    measure(run, desk, desk->cells, row, n);
    queue->n_done += n;
}

/* Looks for the next rows of the queue among the centroids they remember; the others join far. */
static void look_near_next(struct kmeans_run *run, struct kmeans_desk *desk, struct queue *queue,
                           struct queue *far)
{
    const unsigned n_left = queue->n - queue->n_done;
    const unsigned n = n_left < SEG_TILE_ROWS ? n_left : SEG_TILE_ROWS;
    far->n += settle_near(run, desk, queue->row + queue->n_done, n, far->row + far->n);
    queue->n_done += n;
}

/* Queues rows of a tile: those that can be looked for among what they remember, as none of the
 * other centroids can have come near, and the others. */
static void queue_rows(const struct kmeans_run *run, uint32_t first_row, uint64_t wanted,
                       struct queue *near, struct queue *far)
{
    for (; wanted != 0; wanted &= wanted - 1) {
        const uint32_t row = first_row + (uint32_t)__builtin_ctzll(wanted);
        const bool is_near = run->looks_near && run->rest[row] > run->drift_hi;
        struct queue *queue = is_near ? near : far;
        if (run->is_turned) prefetch_row(run, row);
        queue->row[queue->n++] = row;
    }
}

/* Measures a tile where it stands. */
static void measure_in_place(struct kmeans_run *run, struct kmeans_desk *desk, size_t tile)
{
    const struct seg_tiles *x = run->data->x;
    uint32_t row[SEG_TILE_ROWS];
    for (unsigned i = 0; i < SEG_TILE_ROWS; i++)
        row[i] = (uint32_t)(tile * SEG_TILE_ROWS) + i;
    measure(run, desk, seg_tiles_at(x, tile), row, seg_tiles_rows(x, tile));
}

static void assign_chunk(void *ctx, size_t chunk)
{
    struct kmeans_run *run = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, k = run->c.n_rows;
    const size_t n_tiles = seg_tiles_chunk_tiles(run->data->x, chunk);
    const bool may_in_place = !run->is_turned && !run->looks_near;
    struct queue near, far; /* near: rows that are looked for among what they remember */
    near.n = near.n_done = far.n = far.n_done = 0;
    if (seg_progress_cancelled(run->progress)) return;
    if (run->n_iter == 0) begin_chunk(run, first, n_tiles);
    struct kmeans_desk *desk = kmeans_desk_take(run);
    for (size_t t = first; t < first + n_tiles; t++) {
        const uint64_t wanted = rows_to_measure(run, desk, t);
        const unsigned n_wanted = (unsigned)__builtin_popcountll(wanted);
        if (n_wanted == 0) continue;
        desk->n_idle += SEG_TILE_ROWS - n_wanted;
        if (may_in_place && n_wanted * (k + GATHER_COST) >= SEG_TILE_ROWS * k) {
            measure_in_place(run, desk, t);
            continue;
        }
        queue_rows(run, (uint32_t)(t * SEG_TILE_ROWS), wanted, &near, &far);
        while (near.n - near.n_done >= SEG_TILE_ROWS + ROWS_AHEAD)
            look_near_next(run, desk, &near, &far);
        while (far.n - far.n_done >= SEG_TILE_ROWS + ROWS_AHEAD)
            measure_next(run, desk, &far);
    }
    while (near.n_done < near.n)
        look_near_next(run, desk, &near, &far);
    while (far.n_done < far.n)
        measure_next(run, desk, &far);
    measure_doubtful(run, desk);
    kmeans_desk_give(desk);
}

void kmeans_run_assign(struct kmeans_run *run)
{
    if (run->is_screened) seg_screen_set(&run->screen, &run->c);
    seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, run->data->x->n_chunks, assign_chunk, run);
}
