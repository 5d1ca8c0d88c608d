/* What row_spool.h promises: rows and ids come back as they were kept, and a full disk costs the
 * keeping and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "jobs/row_spool.h"

#define N_COLS     3u
#define BLOCK_ROWS ((size_t)SEG_CHUNK_ROWS * 2)
#define N_ROWS     (BLOCK_ROWS + SEG_CHUNK_ROWS + 70)

static float cell_of(size_t row, uint32_t col)
{
    return (float)(row * N_COLS + col);
}

static size_t id_of(size_t row, char out[32])
{
    return (size_t)snprintf(out, 32, row % 5 == 0 ? "user-%zu" : "%zu", row);
}

/* Keeps N_ROWS rows in two blocks, of which the second ends inside a tile. */
static void keep(struct row_spool *s)
{
    struct seg_tiles cells;
    struct user_ids ids = { 0 };
    char id[32];
    seg_tiles_init(&cells, N_COLS);
    assert_true(row_spool_begin(s, "/var/tmp"));
    for (size_t row = 0; row < N_ROWS; row++) {
        assert_int_equal(seg_tiles_grow(&cells, row + 1), SEG_OK);
        for (uint32_t c = 0; c < N_COLS; c++)
            *seg_tiles_cell(&cells, row, c) = cell_of(row, c);
        assert_true(user_ids_add(&ids, id, id_of(row, id)));
        if (row + 1 != BLOCK_ROWS && row + 1 != N_ROWS) continue;
        assert_true(row_spool_add(s, &cells, &ids));
        user_ids_clear(&ids);
    }
    assert_int_equal(s->n_kept, N_ROWS);
    user_ids_release(&ids);
    seg_tiles_release(&cells);
}

/* The rows of a spool from `first` on, whose ids begin at first_id. */
static void assert_read(const struct seg_tiles *cells, const struct user_ids *ids, size_t first,
                        size_t first_id)
{
    const size_t last_tile = (first + N_ROWS) / SEG_TILE_ROWS;
    for (size_t row = 0; row < N_ROWS; row++) {
        char want[32];
        size_t len, want_len = id_of(row, want);
        const char *id = user_ids_at(ids, first_id + row, &len);
        assert_int_equal(len, want_len);
        assert_memory_equal(id, want, len);
        for (uint32_t c = 0; c < N_COLS; c++)
            assert_float_equal(*seg_tiles_cell(cells, first + row, c), cell_of(row, c), 0);
    }
    for (size_t lane = N_ROWS % SEG_TILE_ROWS; lane < SEG_TILE_ROWS; lane++)
        for (size_t c = 0; c < cells->n_cols; c++)
            assert_float_equal(seg_tiles_at(cells, last_tile)[c * SEG_TILE_ROWS + lane], 0, 0);
}

/* n_spools of the same rows, each with one behind it that has none, into a table with n_cols
 * columns, of which the first are those that were kept. */
static void read_back(struct seg_pool *pool, uint32_t n_cols, unsigned n_spools)
{
    const size_t apart = (N_ROWS + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS * SEG_TILE_ROWS;
    struct row_spool s, empty;
    struct seg_tiles cells;
    struct user_ids ids = { 0 };
    keep(&s);
    assert_true(row_spool_begin(&empty, "/var/tmp"));
    seg_tiles_init(&cells, n_cols);
    for (unsigned i = 0; i < n_spools; i++) {
        struct row_spool_reader r = { &s }, none = { &empty };
        unsigned n_blocks = 0;
        for (bool more = true; more; n_blocks++)
            assert_int_equal(row_spool_read(pool, &r, &cells, &ids, &more), SEG_OK);
        assert_int_equal(n_blocks, 2);
        bool more = true;
        assert_int_equal(row_spool_read(pool, &none, &cells, &ids, &more), SEG_OK);
        assert_false(more);
    }
    assert_int_equal(ids.n, n_spools * N_ROWS);
    assert_int_equal(cells.n_rows, (n_spools - 1) * apart + N_ROWS);
    assert_int_equal(cells.n_chunks, (cells.n_rows + SEG_CHUNK_ROWS - 1) / SEG_CHUNK_ROWS);
    for (unsigned i = 0; i < n_spools; i++)
        assert_read(&cells, &ids, i * apart, i * N_ROWS);
    user_ids_release(&ids);
    seg_tiles_release(&cells);
    row_spool_end(&empty);
    row_spool_end(&s);
}

static void rows_and_ids_come_back_as_they_were_kept(void **state)
{
    (void)state;
    read_back(NULL, N_COLS, 1);
}

static void rows_come_back_into_a_wider_table(void **state)
{
    (void)state;
    read_back(NULL, N_COLS + 2, 1);
}

static void the_next_spool_begins_the_next_tile(void **state)
{
    (void)state;
    struct seg_pool *pool;
    assert_int_equal(seg_pool_new(3, 4, &pool, NULL), SEG_OK);
    for (uint32_t n_cols = N_COLS; n_cols <= N_COLS + 1; n_cols++) {
        read_back(NULL, n_cols, 5);
        read_back(pool, n_cols, 5);
    }
    seg_pool_free(pool);
}

/* Block by block, while another reading stands elsewhere. */
static void blocks_come_back_as_tiles_of_their_own(void **state)
{
    (void)state;
    struct row_spool s;
    struct seg_tiles cells;
    struct user_ids ids = { 0 }, others = { 0 };
    bool more = true;
    float *tiles = seg_alloc_aligned((size_t)ROW_SPOOL_BLOCK_ROWS * N_COLS, sizeof(*tiles));
    assert_non_null(tiles);
    keep(&s);
    struct row_spool_reader r = { &s }, other = { &s };
    seg_tiles_init(&cells, N_COLS);
    assert_int_equal(row_spool_read(NULL, &other, &cells, &others, &more), SEG_OK);
    for (size_t first = 0; more; first += ids.n) {
        user_ids_clear(&ids);
        assert_int_equal(row_spool_read_block(&r, tiles, &ids, &more), SEG_OK);
        assert_int_equal(ids.n, more ? BLOCK_ROWS : N_ROWS - BLOCK_ROWS);
        for (size_t i = 0; i < ids.n; i++) {
            char want[32];
            size_t len, want_len = id_of(first + i, want);
            const char *id = user_ids_at(&ids, i, &len);
            assert_int_equal(len, want_len);
            assert_memory_equal(id, want, len);
            const float *tile = tiles + i / SEG_TILE_ROWS * SEG_TILE_ROWS * N_COLS;
            for (size_t c = 0; c < N_COLS; c++)
                assert_float_equal(tile[c * SEG_TILE_ROWS + i % SEG_TILE_ROWS],
                                   cell_of(first + i, (uint32_t)c), 0);
        }
    }
    assert_int_equal(r.n_read, N_ROWS);
    assert_int_equal(cells.n_rows, BLOCK_ROWS);
    seg_free(tiles);
    user_ids_release(&ids);
    user_ids_release(&others);
    seg_tiles_release(&cells);
    row_spool_end(&s);
}

static void a_full_disk_ends_the_keeping(void **state)
{
    (void)state;
    struct seg_tiles cells;
    struct user_ids ids = { 0 };
    struct row_spool s = { .fd = open("/dev/full", O_RDWR) };
    assert_true(s.fd >= 0);
    seg_tiles_init(&cells, N_COLS);
    assert_int_equal(seg_tiles_grow(&cells, 1), SEG_OK);
    assert_true(user_ids_add(&ids, "1", 1));
    assert_false(row_spool_add(&s, &cells, &ids));
    assert_int_equal(s.fd, -1);
    user_ids_release(&ids);
    seg_tiles_release(&cells);
}

static void a_folder_that_is_not_there_keeps_nothing(void **state)
{
    (void)state;
    struct row_spool s;
    assert_false(row_spool_begin(&s, "/var/tmp/no such folder"));
    assert_int_equal(s.fd, -1);
    row_spool_end(&s);
}

/* What row_spool_read got from the file before memory was short must not be half of a block. */
static void reading_survives_every_failing_allocation(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (;; nth++) {
        struct row_spool s;
        struct seg_tiles cells;
        struct user_ids ids = { 0 };
        bool more;
        keep(&s);
        struct row_spool_reader r = { &s };
        seg_tiles_init(&cells, N_COLS);
        seg_alloc_fail_at(nth);
        enum seg_status st = row_spool_read(NULL, &r, &cells, &ids, &more);
        seg_alloc_fail_at(0);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
        assert_int_equal(ids.n, st == SEG_OK ? BLOCK_ROWS : 0);
        user_ids_release(&ids);
        seg_tiles_release(&cells);
        row_spool_end(&s);
        if (st == SEG_OK) break;
    }
    assert_true(nth > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_and_ids_come_back_as_they_were_kept),
        cmocka_unit_test(rows_come_back_into_a_wider_table),
        cmocka_unit_test(the_next_spool_begins_the_next_tile),
        cmocka_unit_test(blocks_come_back_as_tiles_of_their_own),
        cmocka_unit_test(a_full_disk_ends_the_keeping),
        cmocka_unit_test(a_folder_that_is_not_there_keeps_nothing),
        cmocka_unit_test(reading_survives_every_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
