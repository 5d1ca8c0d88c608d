/* test_tiles.c - rows go in and come out of tiles; growth and failure keep what is there. Also the
 * small matrix that stands beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "compute/matrix.h"
#include "compute/tiles.h"

static float value_at(size_t row, uint32_t col)
{
    return (float)(row % 10007) + (float)col / 64.0f;
}

/* x (n_rows, n_cols), new. */
static float *rows_new(size_t n_rows, uint32_t n_cols)
{
    float *x = seg_alloc(n_rows * n_cols, sizeof *x);
    assert_non_null(x);
    for (size_t r = 0; r < n_rows; r++)
        for (uint32_t c = 0; c < n_cols; c++)
            x[r * n_cols + c] = value_at(r, c);
    return x;
}

static void tiles_from_rows_give_every_row_back(void **state)
{
    (void)state;
    static const size_t n_rows[] = { 0,
                                     1,
                                     63,
                                     64,
                                     65,
                                     128,
                                     SEG_CHUNK_ROWS - 1,
                                     SEG_CHUNK_ROWS,
                                     SEG_CHUNK_ROWS + 1,
                                     2 * SEG_CHUNK_ROWS + 77 };
    static const uint32_t n_cols[] = { 1, 3, 16, 20 };
    for (size_t i = 0; i < sizeof n_rows / sizeof *n_rows; i++) {
        for (size_t k = 0; k < sizeof n_cols / sizeof *n_cols; k++) {
            const uint32_t d = n_cols[k];
            float *x = rows_new(n_rows[i], d), row[20];
            struct seg_tiles t;
            assert_int_equal(seg_tiles_from_rows(&t, x, n_rows[i], d), SEG_OK);
            assert_int_equal(seg_tiles_count(&t), (n_rows[i] + 63) / 64);
            for (size_t r = 0; r < n_rows[i]; r++) {
                seg_tiles_get_row(&t, r, row);
                assert_memory_equal(row, x + r * d, d * sizeof *row);
                assert_true(*seg_tiles_cell(&t, r, d - 1) == value_at(r, d - 1));
                assert_true(seg_tiles_at(&t, r / 64)[(d - 1) * 64 + r % 64] == value_at(r, d - 1));
            }
            seg_tiles_release(&t);
            seg_free(x);
        }
    }
}

static void tiles_past_the_last_row_are_zero_bits(void **state)
{
    (void)state;
    struct seg_tiles t;
    float *x = rows_new(70, 3);
    assert_int_equal(seg_tiles_from_rows(&t, x, 70, 3), SEG_OK);
    assert_int_equal(seg_tiles_rows(&t, 0), 64);
    assert_int_equal(seg_tiles_rows(&t, 1), 6);
    const uint32_t *tile = (const uint32_t *)(const void *)seg_tiles_at(&t, 1);
    for (uint32_t c = 0; c < 3; c++)
        for (unsigned r = 6; r < 64; r++)
            assert_int_equal(tile[c * 64 + r], 0);
    seg_tiles_release(&t);
    seg_free(x);
}

static void tiles_clear_lanes_clears_what_is_no_row_and_nothing_else(void **state)
{
    (void)state;
    struct seg_tiles t;
    assert_int_equal(seg_tiles_zeros(&t, 70, 3), SEG_OK);
    for (size_t i = 0; i < 2; i++) {
        for (size_t at = 0; at < 3 * 64; at++)
            seg_tiles_at(&t, i)[at] = 5.0f;
        seg_tiles_clear_lanes(&t, i);
        for (size_t at = 0; at < 3 * 64; at++)
            assert_true(seg_tiles_at(&t, i)[at] == (i == 0 || at % 64 < 6 ? 5.0f : 0.0f));
    }
    seg_tiles_release(&t);
}

static void tiles_chunk_rows_add_up_to_all_rows(void **state)
{
    (void)state;
    static const size_t n_rows[] = { 1, SEG_CHUNK_ROWS, SEG_CHUNK_ROWS + 1,
                                     3 * SEG_CHUNK_ROWS - 1 };
    for (size_t i = 0; i < sizeof n_rows / sizeof *n_rows; i++) {
        struct seg_tiles t;
        size_t n = 0;
        assert_int_equal(seg_tiles_zeros(&t, n_rows[i], 1), SEG_OK);
        for (size_t chunk = 0; chunk < t.n_chunks; chunk++) {
            assert_true(chunk + 1 == t.n_chunks ||
                        seg_tiles_chunk_rows(&t, chunk) == SEG_CHUNK_ROWS);
            n += seg_tiles_chunk_rows(&t, chunk);
        }
        assert_int_equal(n, n_rows[i]);
        seg_tiles_release(&t);
    }
}

static void tiles_grow_never_moves_nor_shrinks_what_is_there(void **state)
{
    (void)state;
    struct seg_tiles t;
    seg_tiles_init(&t, 2);
    assert_int_equal(seg_tiles_bytes(&t), 0);
    assert_int_equal(seg_tiles_grow(&t, 10), SEG_OK);
    float *cell = seg_tiles_cell(&t, 9, 1);
    *cell = 5.0f;
    for (size_t n = 11; n < 40 * SEG_CHUNK_ROWS; n += 3000)
        assert_int_equal(seg_tiles_grow(&t, n), SEG_OK);
    assert_ptr_equal(seg_tiles_cell(&t, 9, 1), cell);
    assert_true(*cell == 5.0f);
    const size_t n_rows = t.n_rows, n_chunks = t.n_chunks;
    assert_int_equal(seg_tiles_grow(&t, 3), SEG_OK);
    assert_int_equal(t.n_rows, n_rows);
    assert_int_equal(t.n_chunks, n_chunks);
    assert_true(*seg_tiles_cell(&t, n_rows - 1, 1) == 0.0f);
    seg_tiles_release(&t);
    assert_int_equal(t.n_cols, 2); /* empty, and still of two columns */
    assert_int_equal(t.n_rows, 0);
}

static void tiles_drop_chunk_gives_its_memory_back(void **state)
{
    (void)state;
    struct seg_tiles t;
    seg_tiles_init(&t, 4);
    assert_int_equal(seg_tiles_grow(&t, 3 * SEG_CHUNK_ROWS), SEG_OK);
    const size_t chunk_bytes = (size_t)SEG_CHUNK_ROWS * 4 * sizeof(float);
    const size_t bytes = seg_tiles_bytes(&t);
    assert_true(bytes >= 3 * chunk_bytes);
    *seg_tiles_cell(&t, 2 * SEG_CHUNK_ROWS, 3) = 7.0f;
    seg_tiles_drop_chunk(&t, 1);
    assert_int_equal(seg_tiles_bytes(&t), bytes - chunk_bytes);
    assert_true(*seg_tiles_cell(&t, 2 * SEG_CHUNK_ROWS, 3) == 7.0f);
    seg_tiles_drop_chunk(&t, 1); /* again: nothing happens */
    seg_tiles_release(&t);
}

static void tiles_grow_leaves_all_as_it_was_when_memory_is_short(void **state)
{
    (void)state;
    struct seg_tiles t;
    seg_tiles_init(&t, 2);
    assert_int_equal(seg_tiles_grow(&t, 5), SEG_OK);
    *seg_tiles_cell(&t, 4, 1) = 3.0f;
    uint64_t nth = 1;
    for (;; nth++) {
        seg_alloc_fail_at(nth);
        enum seg_status st = seg_tiles_grow(&t, 20 * SEG_CHUNK_ROWS);
        seg_alloc_fail_at(0);
        if (st == SEG_OK) break;
        assert_int_equal(st, SEG_ENOMEM);
        assert_int_equal(t.n_rows, 5);
        assert_int_equal(t.n_chunks, 1);
        assert_true(*seg_tiles_cell(&t, 4, 1) == 3.0f);
    }
    assert_true(nth > 19); /* 19 new chunks, each of which failed once */
    assert_int_equal(t.n_rows, 20 * SEG_CHUNK_ROWS);
    seg_tiles_release(&t);
}

static void tiles_from_rows_survive_every_failed_allocation(void **state)
{
    (void)state;
    float *x = rows_new(SEG_CHUNK_ROWS + 1, 2);
    struct seg_tiles t;
    uint64_t nth = 1;
    for (;; nth++) {
        seg_alloc_fail_at(nth);
        enum seg_status st = seg_tiles_from_rows(&t, x, SEG_CHUNK_ROWS + 1, 2);
        seg_alloc_fail_at(0);
        if (st == SEG_OK) break;
        assert_int_equal(st, SEG_ENOMEM);
    }
    assert_int_equal(nth, 4); /* the list and two chunks */
    seg_tiles_release(&t);
    seg_free(x);
}

static void tiles_gather_copies_rows_in_the_order_asked_for(void **state)
{
    (void)state;
    static const uint32_t ROWS[] = { 129, 0, 64, 64, 63 };
    float *x = rows_new(130, 3);
    struct seg_tiles t, g;
    assert_int_equal(seg_tiles_from_rows(&t, x, 130, 3), SEG_OK);
    assert_int_equal(seg_tiles_gather(&t, ROWS, 5, &g), SEG_OK);
    assert_int_equal(g.n_rows, 5);
    for (size_t i = 0; i < 5; i++)
        for (uint32_t c = 0; c < 3; c++)
            assert_true(*seg_tiles_cell(&g, i, c) == x[ROWS[i] * 3 + c]);
    for (size_t r = 5; r < SEG_TILE_ROWS; r++)
        assert_true(seg_tiles_at(&g, 0)[r] == 0);
    seg_tiles_release(&g);
    for (uint64_t n = 1; n <= 2; n++) {
        seg_alloc_fail_at(n);
        assert_int_equal(seg_tiles_gather(&t, ROWS, 5, &g), SEG_ENOMEM);
    }
    seg_alloc_fail_at(0);
    seg_tiles_release(&t);
    seg_free(x);
}

/* The second part of a load starts anywhere in a tile and a chunk. */
/* Memory that went from one to the other is that of a chunk before: only the address tells. */
static void tiles_recycle_gives_chunks_to_grow_into(void **state)
{
    (void)state;
    struct seg_tiles from, to;
    assert_int_equal(seg_tiles_zeros(&from, 2 * SEG_CHUNK_ROWS + 1, 3), SEG_OK);
    assert_int_equal(seg_tiles_zeros(&to, 1, 3), SEG_OK);
    memset(from.chunks[0], 0xff, SEG_CHUNK_ROWS * 3 * sizeof(float));
    float *const first = from.chunks[0], *const second = from.chunks[1];
    seg_tiles_recycle_chunk(&from, 0, &to);
    assert_null(from.chunks[0]);
    seg_tiles_recycle(&from, &to);
    assert_int_equal(from.n_rows, 0);
    assert_int_equal(to.n_rows, 1);
    seg_alloc_fail_at(1);
    assert_int_equal(seg_tiles_grow(&to, 3 * SEG_CHUNK_ROWS), SEG_OK);
    assert_int_equal(seg_alloc_count(), 0);
    seg_alloc_fail_at(0);
    assert_ptr_equal(to.chunks[1], first);
    assert_ptr_equal(to.chunks[2], second);
    for (size_t row = SEG_CHUNK_ROWS; row < 2 * SEG_CHUNK_ROWS; row++)
        assert_float_equal(*seg_tiles_cell(&to, row, 2), 0, 0);
    const size_t bytes = seg_tiles_bytes(&to);
    seg_tiles_trim(&to); /* of the third */
    assert_int_equal(seg_tiles_bytes(&to), bytes - SEG_CHUNK_ROWS * 3 * sizeof(float));
    seg_tiles_release(&to);
}

static void tiles_recycle_frees_chunks_of_another_width(void **state)
{
    (void)state;
    struct seg_tiles from, to;
    assert_int_equal(seg_tiles_zeros(&from, 2 * SEG_CHUNK_ROWS, 3), SEG_OK);
    seg_tiles_init(&to, 2);
    seg_tiles_recycle(&from, &to);
    assert_int_equal(seg_tiles_bytes(&to), 0);
    assert_int_equal(seg_tiles_grow(&to, 1), SEG_OK);
    seg_tiles_release(&to);
}

static void tiles_append_keeps_the_order_of_rows(void **state)
{
    (void)state;
    static const size_t FIRST[] = { 0, 1, 64, 70, SEG_CHUNK_ROWS - 5, SEG_CHUNK_ROWS };
    static const size_t SECOND[] = { 0, 1, 63, 64, 200, SEG_CHUNK_ROWS + 77 };
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 6; j++) {
            struct seg_tiles t, src;
            seg_tiles_init(&t, 3);
            seg_tiles_init(&src, 2);
            assert_int_equal(seg_tiles_grow(&t, FIRST[i]), SEG_OK);
            assert_int_equal(seg_tiles_grow(&src, SECOND[j]), SEG_OK);
            for (size_t r = 0; r < FIRST[i]; r++)
                *seg_tiles_cell(&t, r, 1) = (float)r;
            for (size_t r = 0; r < SECOND[j]; r++)
                *seg_tiles_cell(&src, r, 1) = (float)(FIRST[i] + r);
            assert_int_equal(seg_tiles_append(&t, &src), SEG_OK);
            assert_int_equal(t.n_rows, FIRST[i] + SECOND[j]);
            assert_int_equal(seg_tiles_bytes(&src), 0);
            for (size_t r = 0; r < t.n_rows; r++) {
                assert_true(*seg_tiles_cell(&t, r, 1) == (float)r);
                assert_true(*seg_tiles_cell(&t, r, 2) == 0);
            }
            for (size_t r = t.n_rows; r % SEG_TILE_ROWS != 0; r++)
                assert_true(seg_tiles_at(&t, r / SEG_TILE_ROWS)[64 + r % 64] == 0);
            seg_tiles_release(&t);
        }
}

static void tiles_append_survives_every_failing_allocation(void **state)
{
    (void)state;
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 1;
    for (; st != SEG_OK; nth++) {
        struct seg_tiles t, src;
        seg_tiles_init(&t, 2);
        seg_tiles_init(&src, 2);
        assert_int_equal(seg_tiles_grow(&t, 7), SEG_OK);
        assert_int_equal(seg_tiles_grow(&src, 2 * SEG_CHUNK_ROWS), SEG_OK);
        seg_alloc_fail_at(nth);
        st = seg_tiles_append(&t, &src);
        seg_alloc_fail_at(0);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
        seg_tiles_release(&t);
        seg_tiles_release(&src);
    }
    assert_true(nth > 2);
}

static void matrix_starts_zeroed_and_its_copy_is_its_own(void **state)
{
    (void)state;
    struct seg_matrix a, b;
    assert_int_equal(seg_matrix_init(&a, 3, 5), SEG_OK);
    assert_int_equal((uintptr_t)a.data % SEG_ALIGN, 0);
    for (size_t i = 0; i < 15; i++)
        assert_true(a.data[i] == 0.0f);
    seg_matrix_row(&a, 2)[4] = 9.0f;
    assert_int_equal(seg_matrix_copy(&b, &a), SEG_OK);
    assert_true(b.data[14] == 9.0f);
    b.data[14] = 1.0f;
    assert_true(a.data[14] == 9.0f);
    seg_matrix_release(&a);
    seg_matrix_release(&a); /* no-op */
    seg_matrix_release(&b);
}

static void matrix_init_fails_whole(void **state)
{
    (void)state;
    struct seg_matrix m = { 0 }, from = { 0 };
    assert_int_equal(seg_matrix_init(&m, SIZE_MAX / 2, 3), SEG_ENOMEM);
    assert_int_equal(seg_matrix_init(&m, SIZE_MAX / 4, 2), SEG_ENOMEM);
    seg_alloc_fail_at(1);
    assert_int_equal(seg_matrix_init(&m, 2, 2), SEG_ENOMEM);
    seg_alloc_fail_at(1);
    assert_int_equal(seg_matrix_copy(&m, &from), SEG_ENOMEM);
    seg_alloc_fail_at(0);
    assert_null(m.data);
    assert_int_equal(seg_matrix_copy(&m, &from), SEG_OK); /* an empty one too */
    seg_matrix_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_from_rows_give_every_row_back),
        cmocka_unit_test(tiles_past_the_last_row_are_zero_bits),
        cmocka_unit_test(tiles_clear_lanes_clears_what_is_no_row_and_nothing_else),
        cmocka_unit_test(tiles_chunk_rows_add_up_to_all_rows),
        cmocka_unit_test(tiles_grow_never_moves_nor_shrinks_what_is_there),
        cmocka_unit_test(tiles_drop_chunk_gives_its_memory_back),
        cmocka_unit_test(tiles_grow_leaves_all_as_it_was_when_memory_is_short),
        cmocka_unit_test(tiles_from_rows_survive_every_failed_allocation),
        cmocka_unit_test(tiles_gather_copies_rows_in_the_order_asked_for),
        cmocka_unit_test(tiles_recycle_gives_chunks_to_grow_into),
        cmocka_unit_test(tiles_recycle_frees_chunks_of_another_width),
        cmocka_unit_test(tiles_append_keeps_the_order_of_rows),
        cmocka_unit_test(tiles_append_survives_every_failing_allocation),
        cmocka_unit_test(matrix_starts_zeroed_and_its_copy_is_its_own),
        cmocka_unit_test(matrix_init_fails_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
