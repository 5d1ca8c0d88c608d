/* test_arena.c - nothing moves, nothing overlaps, limits hold, a failure leaves the arena usable.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/arena.h"
#include "base/rng.h"

#define N_PIECES 2000

static void arena_pieces_are_aligned_and_never_overlap(void **state)
{
    (void)state;
    struct seg_arena a;
    seg_arena_init(&a, 0);
    struct seg_rng rng = seg_rng_make(1, 0);
    static unsigned char *pieces[N_PIECES];
    static size_t sizes[N_PIECES];
    for (size_t i = 0; i < N_PIECES; i++) {
        sizes[i] = seg_rng_below(&rng, i % 50 == 0 ? 100000 : 200); /* some larger than a block */
        pieces[i] = seg_arena_alloc(&a, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i % 251), sizes[i]);
    }
    for (size_t i = 0; i < N_PIECES; i++)
        for (size_t b = 0; b < sizes[i]; b++)
            if (pieces[i][b] != i % 251) fail_msg("piece %zu was overwritten at byte %zu", i, b);
    seg_arena_release(&a);
}

static void arena_asks_for_few_blocks(void **state)
{
    (void)state;
    struct seg_arena a;
    seg_arena_init(&a, 0);
    seg_alloc_fail_at(UINT64_MAX);
    for (int i = 0; i < 10000; i++)
        assert_non_null(seg_arena_alloc(&a, 16)); /* 160,000 bytes */
    assert_true(seg_alloc_count() <= 8);
    assert_int_equal(a.used_bytes, 160000);
    seg_arena_release(&a);
}

static void arena_keeps_the_room_of_its_block_when_a_large_piece_comes(void **state)
{
    (void)state;
    struct seg_arena a;
    seg_arena_init(&a, 0);
    char *before = seg_arena_alloc(&a, 16);
    assert_non_null(seg_arena_alloc(&a, 1000000));
    char *after = seg_arena_alloc(&a, 16);
    assert_ptr_equal(after, before + 16);
    seg_arena_release(&a);
}

static void arena_gives_up_to_its_limit_and_not_a_byte_more(void **state)
{
    (void)state;
    struct seg_arena a;
    seg_arena_init(&a, 1024);
    assert_null(seg_arena_alloc(&a, 1025));
    assert_non_null(seg_arena_alloc(&a, 1000)); /* 1,008 with its alignment */
    assert_null(seg_arena_alloc(&a, 17));
    assert_non_null(seg_arena_alloc(&a, 16));
    assert_null(seg_arena_alloc(&a, 1));
    assert_null(seg_arena_alloc(&a, SIZE_MAX));
    seg_arena_release(&a);
    assert_non_null(seg_arena_alloc(&a, 1024)); /* the limit is of one lifetime */
    seg_arena_release(&a);
}

static void arena_refuses_sizes_that_overflow(void **state)
{
    (void)state;
    struct seg_arena a;
    seg_arena_init(&a, 0);
    for (size_t size = SIZE_MAX; size > SIZE_MAX - 64; size--)
        assert_null(seg_arena_alloc(&a, size));
    assert_null(seg_arena_strndup(&a, "x", SIZE_MAX));
    seg_arena_release(&a);
}

static void arena_strings_are_copied_and_formatted(void **state)
{
    (void)state;
    struct seg_arena a;
    seg_arena_init(&a, 0);
    char source[] = "segment";
    char *copy = seg_arena_strndup(&a, source, 3);
    source[0] = 'X';
    assert_string_equal(copy, "seg");
    assert_string_equal(seg_arena_strndup(&a, NULL, 0), "");
    assert_string_equal(seg_arena_printf(&a, "%s %d", "k", 8), "k 8");
    char *longer = seg_arena_printf(&a, "%*d", 70000, 1); /* more than any block */
    assert_int_equal(strlen(longer), 70000);
    seg_arena_release(&a);
}

static void arena_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        struct seg_arena a;
        seg_arena_init(&a, 0);
        seg_alloc_fail_at(nth);
        bool failed = false;
        for (int i = 0; i < 100; i++) {
            const size_t used_before = a.used_bytes;
            char *p = i % 3 == 0   ? seg_arena_printf(&a, "%0*d", 500, i)
                      : i % 3 == 1 ? seg_arena_strndup(&a, "abc", 3)
                                   : seg_arena_alloc(&a, 5000);
            if (p == NULL) {
                failed = true;
                assert_int_equal(a.used_bytes, used_before);
            }
        }
        seg_alloc_fail_at(0);
        seg_arena_release(&a);
        if (!failed) {
            assert_true(nth > 10); /* the loop did something */
            return;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_pieces_are_aligned_and_never_overlap),
        cmocka_unit_test(arena_asks_for_few_blocks),
        cmocka_unit_test(arena_keeps_the_room_of_its_block_when_a_large_piece_comes),
        cmocka_unit_test(arena_gives_up_to_its_limit_and_not_a_byte_more),
        cmocka_unit_test(arena_refuses_sizes_that_overflow),
        cmocka_unit_test(arena_strings_are_copied_and_formatted),
        cmocka_unit_test(arena_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
