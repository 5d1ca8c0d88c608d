/* What uri.h promises: split first, decode after, refuse what others might read in another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "http/uri.h"

static const char *parse(const char *raw, struct uri *u, struct seg_arena *a)
{
    seg_arena_init(a, 0);
    return uri_parse(raw, a, u);
}

static void refused(const char *raw)
{
    struct seg_arena a;
    struct uri u;
    if (parse(raw, &u, &a) == NULL) fail_msg("taken: %s", raw);
    seg_arena_release(&a);
}

static void uri_parse_splits_before_it_decodes(void **state)
{
    (void)state;
    struct seg_arena a;
    struct uri u;
    assert_null(parse("/v1/m%6fdels/a%3Fb%26c?x=1%262&y%3d=%3f&z&=&&", &u, &a));
    assert_int_equal(u.n_segments, 3);
    assert_string_equal(u.segments[1], "models");
    assert_string_equal(u.segments[2], "a?b&c");
    assert_int_equal(u.n_params, 4);
    assert_string_equal(u.params[0].name, "x");
    assert_string_equal(u.params[0].value, "1&2");
    assert_string_equal(u.params[1].name, "y=");
    assert_string_equal(u.params[1].value, "?");
    assert_string_equal(u.params[2].value, "");
    assert_string_equal(u.params[3].name, "");
    seg_arena_release(&a);
}

static void uri_parse_keeps_a_plus_in_the_path_and_reads_it_as_space_in_the_query(void **state)
{
    (void)state;
    struct seg_arena a;
    struct uri u;
    assert_null(parse("/a+b?q=c+d%2Be", &u, &a));
    assert_string_equal(u.segments[0], "a+b");
    assert_string_equal(u.params[0].value, "c d+e");
    seg_arena_release(&a);
}

static void uri_parse_keeps_empty_segments(void **state)
{
    (void)state;
    struct seg_arena a;
    struct uri u;
    assert_null(parse("/", &u, &a));
    assert_int_equal(u.n_segments, 0);
    seg_arena_release(&a);
    assert_null(parse("//a/", &u, &a));
    assert_int_equal(u.n_segments, 3);
    assert_string_equal(u.segments[0], "");
    assert_string_equal(u.segments[2], "");
    seg_arena_release(&a);
}

static void uri_parse_takes_the_path_of_an_absolute_form(void **state)
{
    (void)state;
    struct seg_arena a;
    struct uri u;
    assert_null(parse("http://host:80/a?b=c", &u, &a));
    assert_string_equal(u.segments[0], "a");
    assert_string_equal(u.params[0].value, "c");
    seg_arena_release(&a);
    assert_null(parse("https://host", &u, &a));
    assert_int_equal(u.n_segments, 0);
    seg_arena_release(&a);
}

static void uri_parse_refuses_what_others_could_read_in_another_way(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",        "a",          "*",        "ftp://h/a", "/%",      "/%a",    "/%g0",   "/a%00b",
        "/a\\b",   "/a%5c\\",    "/..",      "/.",        "/a/../b", "/%0a",   "/a%7fb", "/%ff",
        "/%c0%af", "/%ed%a0%80", "/a?b=%00", "/a?%0d=1",  "/a#b",    "/a?b#c", "/\xff",
    };
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++)
        refused(BAD[i]);
}

static void uri_parse_marks_segments_that_only_a_user_id_may_be(void **state)
{
    (void)state;
    struct seg_arena a;
    struct uri u;
    assert_null(parse("/a/x%2fy/b%5c/%2e%2e/%2E/.%2e/c%2e/%20/d", &u, &a));
    assert_string_equal(u.segments[1], "x/y");
    assert_string_equal(u.segments[3], "..");
    assert_int_equal(u.opaque, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5);
    seg_arena_release(&a);
}

static void uri_parse_bounds_segments_and_parameters(void **state)
{
    (void)state;
    char raw[1024] = "";
    struct seg_arena a;
    struct uri u;
    for (int i = 0; i < URI_SEGMENTS_MAX; i++)
        strcat(raw, "/a");
    assert_null(parse(raw, &u, &a));
    seg_arena_release(&a);
    strcat(raw, "/a");
    refused(raw);
    strcpy(raw, "/?");
    for (int i = 0; i < URI_PARAMS_MAX; i++)
        strcat(raw, "a=b&");
    assert_null(parse(raw, &u, &a));
    assert_int_equal(u.n_params, URI_PARAMS_MAX);
    seg_arena_release(&a);
    strcat(raw, "a=b");
    refused(raw);
}

/* Random targets of the bytes that matter: taken or refused, what comes out is clean. */
static void uri_parse_gives_clean_text_for_any_bytes(void **state)
{
    (void)state;
    static const char ALPHABET[] = "/%?&=+.#\\az019fF2e \x01\x7f\xc3\xa4\xff";
    uint32_t r = 1;
    for (int round = 0; round < 200000; round++) {
        char raw[40] = "/";
        size_t len = 1 + (r >> 8) % 38;
        for (size_t i = 1; i < len; i++) {
            r = r * 1664525u + 1013904223u;
            raw[i] = ALPHABET[(r >> 16) % (sizeof(ALPHABET) - 1)];
        }
        struct seg_arena a;
        struct uri u;
        if (parse(raw, &u, &a) == NULL)
            for (size_t i = 0; i < u.n_segments; i++) {
                assert_null(strpbrk(u.segments[i], "/\\\x01\x7f\xff"));
                assert_string_not_equal(u.segments[i], "..");
            }
        seg_arena_release(&a);
    }
}

static void uri_parse_refuses_when_memory_is_short(void **state)
{
    (void)state;
    struct seg_arena a;
    struct uri u;
    seg_alloc_fail_at(1);
    assert_non_null(parse("/a", &u, &a));
    seg_alloc_fail_at(0);
    seg_arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uri_parse_splits_before_it_decodes),
        cmocka_unit_test(uri_parse_keeps_a_plus_in_the_path_and_reads_it_as_space_in_the_query),
        cmocka_unit_test(uri_parse_keeps_empty_segments),
        cmocka_unit_test(uri_parse_takes_the_path_of_an_absolute_form),
        cmocka_unit_test(uri_parse_refuses_what_others_could_read_in_another_way),
        cmocka_unit_test(uri_parse_marks_segments_that_only_a_user_id_may_be),
        cmocka_unit_test(uri_parse_bounds_segments_and_parameters),
        cmocka_unit_test(uri_parse_gives_clean_text_for_any_bytes),
        cmocka_unit_test(uri_parse_refuses_when_memory_is_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
