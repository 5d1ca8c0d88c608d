/* test_dictionary.c - strings get numbers in order of first sight and keep them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "features/dictionary.h"

static uint32_t add(struct seg_dictionary *d, const char *s)
{
    uint32_t code = SEG_CODE_MISSING;
    assert_int_equal(seg_dictionary_add(d, s, strlen(s), &code), SEG_OK);
    return code;
}

static void dictionary_numbers_strings_in_order_of_first_sight(void **state)
{
    (void)state;
    struct seg_dictionary d;
    seg_dictionary_init(&d);
    assert_int_equal(add(&d, "app"), 0);
    assert_int_equal(add(&d, "web"), 1);
    assert_int_equal(add(&d, "app"), 0);
    assert_int_equal(add(&d, ""), 2); /* the empty string is a value like others */
    assert_int_equal(d.n, 3);
    assert_string_equal(d.strings[1], "web");
    assert_int_equal(d.lengths[1], 3);
    seg_dictionary_release(&d);
    assert_int_equal(d.n, 0);
}

static void dictionary_find_knows_only_what_was_added(void **state)
{
    (void)state;
    struct seg_dictionary d;
    seg_dictionary_init(&d);
    assert_int_equal(seg_dictionary_find(&d, "app", 3), SEG_CODE_UNSEEN); /* nothing in it yet */
    add(&d, "app");
    assert_int_equal(seg_dictionary_find(&d, "app", 3), 0);
    assert_int_equal(seg_dictionary_find(&d, "apple", 3), 0); /* the length counts, not the NUL */
    assert_int_equal(seg_dictionary_find(&d, "ap", 2), SEG_CODE_UNSEEN);
    assert_int_equal(seg_dictionary_find(&d, "apple", 5), SEG_CODE_UNSEEN);
    assert_int_equal(seg_dictionary_find(&d, "", 0), SEG_CODE_UNSEEN);
    seg_dictionary_release(&d);
}

static void dictionary_keeps_every_code_while_it_grows(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct seg_dictionary d, copy;
    char s[32];
    seg_dictionary_init(&d);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(s, sizeof s, "user %u", i);
        assert_int_equal(add(&d, s), i);
    }
    assert_int_equal(seg_dictionary_copy(&copy, &d), SEG_OK);
    seg_dictionary_release(&d);
    assert_int_equal(copy.n, N);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(s, sizeof s, "user %u", i);
        assert_int_equal(seg_dictionary_find(&copy, s, strlen(s)), i);
        assert_string_equal(copy.strings[i], s);
    }
    seg_dictionary_release(&copy);
}

static void dictionary_refuses_more_than_its_limit(void **state)
{
    (void)state;
    struct seg_dictionary d;
    char s[16];
    uint32_t code;
    seg_dictionary_init(&d);
    for (uint32_t i = 0; i < SEG_CATEGORIES_MAX; i++) {
        const int len = snprintf(s, sizeof s, "%x", i);
        if (seg_dictionary_add(&d, s, (size_t)len, &code) != SEG_OK) fail();
    }
    code = 77;
    assert_int_equal(seg_dictionary_add(&d, "one more", 8, &code), SEG_ELIMIT);
    assert_int_equal(code, 77);
    assert_int_equal(seg_dictionary_add(&d, "0", 1, &code), SEG_OK); /* known ones still are */
    assert_int_equal(code, 0);
    seg_dictionary_release(&d);
}

/* Adds until every allocation on the way has failed once; what is in stays in. */
static void dictionary_survives_every_failed_allocation(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (;; nth++) {
        struct seg_dictionary d, copy;
        enum seg_status st = SEG_OK;
        uint32_t n_added = 0, code;
        char s[16];
        seg_dictionary_init(&d);
        seg_dictionary_init(&copy);
        seg_alloc_fail_at(nth);
        while (st == SEG_OK && n_added < 40) {
            snprintf(s, sizeof s, "%u", n_added);
            st = seg_dictionary_add(&d, s, strlen(s), &code);
            n_added += st == SEG_OK;
        }
        if (st == SEG_OK) st = seg_dictionary_copy(&copy, &d);
        seg_alloc_fail_at(0);
        assert_int_equal(d.n, n_added);
        for (uint32_t i = 0; i < n_added; i++) {
            snprintf(s, sizeof s, "%u", i);
            assert_int_equal(seg_dictionary_find(&d, s, strlen(s)), i);
        }
        seg_dictionary_release(&d);
        seg_dictionary_release(&copy);
        if (st == SEG_OK) break;
        assert_int_equal(st, SEG_ENOMEM);
        assert_true(nth < 1000);
    }
    assert_true(nth > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dictionary_numbers_strings_in_order_of_first_sight),
        cmocka_unit_test(dictionary_find_knows_only_what_was_added),
        cmocka_unit_test(dictionary_keeps_every_code_while_it_grows),
        cmocka_unit_test(dictionary_refuses_more_than_its_limit),
        cmocka_unit_test(dictionary_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
