/* test_alloc.c - overflow, alignment, and the hook that every other failure test relies on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <stdatomic.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/status.h"
#include "base/utf8.h"

static void alloc_refuses_a_product_that_overflows(void **state)
{
    (void)state;
    char *p = seg_alloc(1, 1);
    volatile size_t half = SIZE_MAX / 2 + 1; /* volatile: the compiler would warn, rightly */
    assert_null(seg_alloc(half, 2));
    assert_null(seg_calloc(half, 2));
    assert_null(seg_alloc_aligned(half, 2));
    assert_null(seg_alloc_aligned(half * 2 - 1, 1)); /* fits, but not once rounded up */
    assert_null(seg_realloc(p, half, 2));
    seg_free(p); /* still valid */
}

static void alloc_of_nothing_is_a_pointer_that_can_be_freed(void **state)
{
    (void)state;
    void *p[] = { seg_alloc(0, 4), seg_calloc(4, 0), seg_alloc_aligned(0, 0),
                  seg_realloc(NULL, 0, 1), seg_realloc(seg_alloc(8, 1), 0, 8) };
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
        assert_non_null(p[i]);
        seg_free(p[i]);
    }
    seg_free(NULL);
}

static void alloc_aligned_is_aligned_at_every_size(void **state)
{
    (void)state;
    for (size_t size = 1; size < 300; size++) {
        char *p = seg_alloc_aligned(size, 1);
        assert_int_equal((uintptr_t)p % SEG_ALIGN, 0);
        memset(p, 1, size);
        seg_free(p);
    }
}

static void calloc_is_zeroed_and_realloc_keeps_content(void **state)
{
    (void)state;
    unsigned char *p = seg_calloc(100, 10);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
    memset(p, 7, 1000);
    p = seg_realloc(p, 5000, 2);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(p[i], 7);
    seg_free(p);
}

static void grow_keeps_content_and_asks_for_memory_rarely(void **state)
{
    (void)state;
    uint32_t *array = NULL;
    size_t cap = 0;
    seg_alloc_fail_at(UINT64_MAX);
    for (uint32_t i = 0; i < 1000; i++) {
        array = seg_grow(array, i, &cap, sizeof *array);
        assert_true(cap > i);
        array[i] = i;
    }
    assert_true(seg_alloc_count() <= 8); /* 8, 16 … 1,024 */
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(array[i], i);

    const size_t cap_before = cap;
    seg_alloc_fail_at(1);
    assert_null(seg_grow(array, cap, &cap, sizeof *array));
    assert_int_equal(cap, cap_before);
    assert_int_equal(array[999], 999);
    seg_free(array);
}

static void strndup_copies_and_terminates(void **state)
{
    (void)state;
    char *all = seg_strdup("segment"), *part = seg_strndup("segment", 3);
    char *nothing = seg_strndup(NULL, 0);
    assert_string_equal(all, "segment");
    assert_string_equal(part, "seg");
    assert_string_equal(nothing, "");
    assert_null(seg_strndup("x", SIZE_MAX));
    seg_free(all);
    seg_free(part);
    seg_free(nothing);
}

static void fail_at_fails_the_nth_allocation_and_no_other(void **state)
{
    (void)state;
    seg_alloc_fail_at(3);
    for (int i = 1; i <= 10; i++) {
        void *p = i % 2 ? seg_alloc(1, 1) : seg_calloc(1, 1);
        assert_true((p == NULL) == (i == 3));
        seg_free(p);
    }
    assert_int_equal(seg_alloc_count(), 10);
    seg_alloc_fail_at(2);
    seg_alloc_fail_at(0); /* switched off again */
    for (int i = 0; i < 5; i++) {
        void *p = seg_alloc(1, 1);
        assert_non_null(p);
        seg_free(p);
    }
    assert_int_equal(seg_alloc_count(), 0);
}

#define N_THREADS 4
#define N_EACH    5000

static atomic_uint n_failed;

static void *allocate_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < N_EACH; i++) {
        void *p = seg_alloc(1, 16);
        if (p == NULL) atomic_fetch_add(&n_failed, 1);
        seg_free(p);
    }
    return NULL;
}

static void fail_at_fails_one_allocation_whatever_the_number_of_threads(void **state)
{
    (void)state;
    pthread_t threads[N_THREADS];
    seg_alloc_fail_at(N_EACH);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, allocate_many, NULL), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(n_failed, 1);
    assert_int_equal(seg_alloc_count(), N_THREADS * N_EACH);
    seg_alloc_fail_at(0);
}

static void fail_cuts_a_long_sentence_between_characters(void **state)
{
    (void)state;
    /* Each run of padding puts the cut at another byte of the characters that follow. */
    static const char *const characters[] = { "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80" };
    for (size_t kind = 0; kind < 3; kind++) {
        char text[2000] = "";
        for (int i = 0; i < 300; i++)
            strcat(text, characters[kind]);
        for (int pad = 0; pad < 8; pad++) {
            struct seg_error err;
            assert_int_equal(seg_fail(&err, SEG_ELIMIT, "%*s%s", pad, "", text), SEG_ELIMIT);
            const size_t len = strlen(err.text);
            assert_true(len < sizeof err.text && len >= sizeof err.text - 4);
            assert_true(seg_utf8_valid(err.text, len));
        }
    }
    assert_int_equal(seg_fail(NULL, SEG_EINVAL, "%d", 1), SEG_EINVAL);
}

static void fail_writes_a_short_sentence_whole(void **state)
{
    (void)state;
    struct seg_error err;
    seg_fail(&err, SEG_EINVAL, "k is %u (limit %u)", 9u, 8u);
    assert_string_equal(err.text, "k is 9 (limit 8)");
    assert_string_equal(seg_status_name(SEG_OK), "SEG_OK");
    assert_string_equal(seg_status_name(SEG_EBUSY), "SEG_EBUSY");
}

/* The boundary cases of Unicode 15, table 3-7. */
static void utf8_valid_draws_the_line_where_unicode_does(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        bool is_valid;
    } cases[] = {
        { "", true },
        { "a\x7f", true },
        { "\xc2\x80", true },
        { "\xdf\xbf", true },
        { "\xe0\xa0\x80", true },
        { "\xed\x9f\xbf", true },
        { "\xee\x80\x80", true },
        { "\xf0\x90\x80\x80", true },
        { "\xf4\x8f\xbf\xbf", true },
        { "\x80", false },
        { "\xc0\x80", false },
        { "\xc1\xbf", false },
        { "\xe0\x9f\xbf", false },
        { "\xed\xa0\x80", false },
        { "\xf0\x8f\xbf\xbf", false },
        { "\xf4\x90\x80\x80", false },
        { "\xf5\x80\x80\x80", false },
        { "\xff", false },
        { "\xc3", false },
        { "\xe2\x82", false },
        { "\xf0\x9f\x98", false },
        { "\xe2\x82\x41", false },
        { "\xc3\xa9\xa9", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(seg_utf8_valid(cases[i].bytes, strlen(cases[i].bytes)), cases[i].is_valid);
    assert_true(seg_utf8_valid("a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alloc_refuses_a_product_that_overflows),
        cmocka_unit_test(alloc_of_nothing_is_a_pointer_that_can_be_freed),
        cmocka_unit_test(alloc_aligned_is_aligned_at_every_size),
        cmocka_unit_test(calloc_is_zeroed_and_realloc_keeps_content),
        cmocka_unit_test(grow_keeps_content_and_asks_for_memory_rarely),
        cmocka_unit_test(strndup_copies_and_terminates),
        cmocka_unit_test(fail_at_fails_the_nth_allocation_and_no_other),
        cmocka_unit_test(fail_at_fails_one_allocation_whatever_the_number_of_threads),
        cmocka_unit_test(fail_cuts_a_long_sentence_between_characters),
        cmocka_unit_test(fail_writes_a_short_sentence_whole),
        cmocka_unit_test(utf8_valid_draws_the_line_where_unicode_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
