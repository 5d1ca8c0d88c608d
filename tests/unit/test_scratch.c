/* test_scratch.c - blocks are lent to one chunk at a time, and again to the next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "compute/scratch.h"

#define BLOCK_BYTES 256u
#define N_CHUNKS    500u
#define N_ROUNDS    40
#define N_WORKERS   3u

struct borrowing {
    struct seg_scratch scratch;
    bool was_disturbed[N_CHUNKS];
};

/* Fills a block, gives way, and looks whether anybody else has written. */
static void borrow(void *ctx, size_t index)
{
    struct borrowing *b = ctx;
    uint8_t *block = seg_scratch_take(&b->scratch);
    assert_non_null(block);
    assert_int_equal((uintptr_t)block % SEG_ALIGN, 0);
    memset(block, (int)(index % 251), BLOCK_BYTES);
    seg_pool_give_way();
    for (size_t i = 0; i < BLOCK_BYTES; i++)
        if (block[i] != index % 251) b->was_disturbed[index] = true;
    seg_scratch_give(&b->scratch, block);
}

static void a_block_is_one_chunk_s_at_a_time_and_serves_the_next(void **state)
{
    (void)state;
    struct seg_pool *pool;
    assert_int_equal(seg_pool_new(N_WORKERS, 1, &pool, NULL), SEG_OK);
    for (int round = 0; round < N_ROUNDS; round++) { /* each makes its blocks while others look */
        struct borrowing b = { 0 };
        assert_int_equal(seg_scratch_init(&b.scratch, pool, BLOCK_BYTES), SEG_OK);
        seg_alloc_fail_at(UINT64_MAX);
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, N_CHUNKS, borrow, &b);
        assert_in_range(seg_alloc_count(), 1, N_WORKERS);
        for (size_t i = 0; i < N_CHUNKS; i++)
            assert_false(b.was_disturbed[i]);
        seg_scratch_release(&b.scratch);
    }
    seg_pool_free(pool);
}

static void without_a_pool_there_is_one_block(void **state)
{
    (void)state;
    struct seg_scratch s;
    assert_int_equal(seg_scratch_init(&s, NULL, 1), SEG_OK);
    void *block = seg_scratch_take(&s);
    seg_scratch_give(&s, block);
    assert_ptr_equal(seg_scratch_take(&s), block);
    seg_scratch_give(&s, block);
    seg_scratch_release(&s);
}

static void a_block_that_could_not_be_made_is_asked_for_again(void **state)
{
    (void)state;
    struct seg_scratch s;
    seg_alloc_fail_at(1);
    assert_int_equal(seg_scratch_init(&s, NULL, 1), SEG_ENOMEM);
    seg_alloc_fail_at(0);
    seg_scratch_release(&s);
    assert_int_equal(seg_scratch_init(&s, NULL, 1), SEG_OK);
    seg_alloc_fail_at(1);
    assert_null(seg_scratch_take(&s));
    seg_alloc_fail_at(0);
    void *block = seg_scratch_take(&s);
    assert_non_null(block);
    seg_scratch_give(&s, block);
    seg_scratch_release(&s);
}

static void blocks_that_were_made_are_taken_without_fail(void **state)
{
    (void)state;
    struct seg_scratch s;
    assert_int_equal(seg_scratch_init(&s, NULL, 1), SEG_OK);
    seg_alloc_fail_at(1);
    assert_int_equal(seg_scratch_make(&s), SEG_ENOMEM);
    seg_alloc_fail_at(0);
    assert_int_equal(seg_scratch_make(&s), SEG_OK);
    seg_alloc_fail_at(1);
    void *block = seg_scratch_take(&s);
    seg_alloc_fail_at(0);
    assert_non_null(block);
    seg_scratch_give(&s, block);
    seg_scratch_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_one_chunk_s_at_a_time_and_serves_the_next),
        cmocka_unit_test(without_a_pool_there_is_one_block),
        cmocka_unit_test(a_block_that_could_not_be_made_is_asked_for_again),
        cmocka_unit_test(blocks_that_were_made_are_taken_without_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
