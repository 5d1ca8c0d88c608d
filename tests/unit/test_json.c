/* test_json.c - what json.h promises: every trap of cJSON's own grammar is closed, and faults say
 * where they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "json/json.h"

#define REFUSED(text, code_, line_, column_) refused(text, sizeof(text) - 1, code_, line_, column_)

static void refused(const char *text, size_t len, const char *code, size_t line, size_t column)
{
    struct json_fault fault = { 0 };
    /* a copy of exact size: a sanitizer sees any read past the end */
    char *bytes = seg_alloc(len, 1);
    assert_non_null(bytes);
    memcpy(bytes, text, len);
    struct json *doc = json_parse(bytes, len, &fault);
    seg_free(bytes);
    if (doc != NULL) fail_msg("accepted: %s", text);
    if (strcmp(fault.code, code) != 0 || fault.line != line || fault.column != column) {
        fail_msg("%s: %s at %zu:%zu (%s), not %s at %zu:%zu", text, fault.code, fault.line,
                 fault.column, fault.detail, code, line, column);
    }
    assert_true(fault.detail[0] != '\0');
}

static struct json *accepted(const char *text)
{
    struct json_fault fault = { 0 };
    struct json *doc = json_parse(text, strlen(text), &fault);
    if (doc == NULL) fail_msg("%s: %s", text, fault.detail);
    return doc;
}

static void valid_documents_are_accepted(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "{}",
        "[]",
        " \t\r\n[ ] ",
        "0",
        "-0",
        "0.5",
        "-1.5e-3",
        "1E+2",
        "1e-400",
        "true",
        "null",
        "\"\"",
        "\"\\u00e9\\n\\\"\\/\"",
        "\"\\ud83d\\ude00\"",
        "\"é😀\"",
        "[1,2,3]",
        "{\"\":1}",
        "{\"a\":{\"b\":[{},[]]},\"c\":null}",
        "{\"a\":{\"a\":1},\"b\":{\"a\":1}}",
        "{\"a\":1,\"A\":2}",
        "[1.7976931348623157e308]",
        "\"\x7f\"",
        "\"\xf4\x8f\xbf\xbf\"",
        "\"\xee\x80\x80\"",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        json_free(accepted(TEXTS[i]));
}

static void what_is_not_the_grammar_is_refused_with_its_place(void **state)
{
    (void)state;
    REFUSED("", "not_json", 1, 1);
    REFUSED("  ", "not_json", 1, 3);
    REFUSED("[1] garbage", "not_json", 1, 5);
    REFUSED("{} {}", "not_json", 1, 4);
    REFUSED("[1,]", "not_json", 1, 4);
    REFUSED("[,1]", "not_json", 1, 2);
    REFUSED("[1 2]", "not_json", 1, 4);
    REFUSED("[1", "not_json", 1, 3);
    REFUSED("[", "not_json", 1, 2);
    REFUSED("{", "not_json", 1, 2);
    REFUSED("]", "not_json", 1, 1);
    REFUSED("[1}", "not_json", 1, 3);
    REFUSED("{\"a\":1]", "not_json", 1, 7);
    REFUSED("{\"a\"}", "not_json", 1, 5);
    REFUSED("{\"a\":}", "not_json", 1, 6);
    REFUSED("{\"a\":1,}", "not_json", 1, 8);
    REFUSED("{a:1}", "not_json", 1, 2);
    REFUSED("{1:1}", "not_json", 1, 2);
    REFUSED("{'a':1}", "not_json", 1, 2);
    REFUSED("tru", "not_json", 1, 1);
    REFUSED("True", "not_json", 1, 1);
    REFUSED("nullx", "not_json", 1, 5);
    REFUSED("[1] // why", "not_json", 1, 5);
    REFUSED("{\n  \"a\": [1,\n    x]}", "not_json", 3, 5);
}

static void numbers_that_cjson_would_take_are_refused(void **state)
{
    (void)state;
    REFUSED("01", "not_json", 1, 1);
    REFUSED("-01", "not_json", 1, 1);
    REFUSED("00", "not_json", 1, 1);
    REFUSED("1.", "not_json", 1, 3);
    REFUSED("[1.]", "not_json", 1, 4);
    REFUSED(".5", "not_json", 1, 1);
    REFUSED("+1", "not_json", 1, 1);
    REFUSED("-", "not_json", 1, 2);
    REFUSED("1e", "not_json", 1, 3);
    REFUSED("1e+", "not_json", 1, 4);
    REFUSED("0x10", "not_json", 1, 2);
    REFUSED("NaN", "not_json", 1, 1);
    REFUSED("Infinity", "not_json", 1, 1);
    REFUSED("-Infinity", "not_json", 1, 2);
    REFUSED("1e999", "not_finite", 1, 1);
    REFUSED("[0, -1e999]", "not_finite", 1, 5);
}

static void a_number_of_400_digits_is_refused_and_not_cut(void **state)
{
    (void)state;
    char text[401];
    memset(text, '1', sizeof text);
    refused(text, 400, "not_json", 1, 1);
    refused(text, 64, "not_json", 1, 1);
    text[63] = '\0';
    struct json *doc = accepted(text);
    assert_true(json_number(doc) == strtod(text, NULL));
    json_free(doc);
}

static void strings_with_nul_control_or_half_a_surrogate_are_refused(void **state)
{
    (void)state;
    REFUSED("[\0]", "not_json", 1, 2);
    REFUSED("\"a\0b\"", "not_json", 1, 3);
    REFUSED("[1]\0", "not_json", 1, 4);
    REFUSED("\"a\\u0000b\"", "not_json", 1, 3);
    REFUSED("\"a\nb\"", "not_json", 1, 3);
    REFUSED("\"\x1f\"", "not_json", 1, 2);
    REFUSED("\"\\x41\"", "not_json", 1, 2);
    REFUSED("\"\\\0\"", "not_json", 1, 2);
    REFUSED("\"\\u12g4\"", "not_json", 1, 2);
    REFUSED("\"\\u12", "not_json", 1, 2);
    REFUSED("\"\\ud800\"", "not_json", 1, 2);
    REFUSED("\"\\udc00\"", "not_json", 1, 2);
    REFUSED("\"\\ud800\\u0041\"", "not_json", 1, 2);
    REFUSED("\"\\ud800\\ud800\"", "not_json", 1, 2);
    REFUSED("\"abc", "not_json", 1, 1);
    REFUSED("\"abc\\", "not_json", 1, 5);
    REFUSED("\xef\xbb\xbf{}", "not_json", 1, 1);
}

static void invalid_utf8_is_refused_in_values_and_keys(void **state)
{
    (void)state;
    REFUSED("\"\xff\"", "not_utf8", 1, 2);
    REFUSED("\"\x80\"", "not_utf8", 1, 2);
    REFUSED("\"\xc0\xaf\"", "not_utf8", 1, 2); /* overlong */
    REFUSED("\"\xc1\xbf\"", "not_utf8", 1, 2);
    REFUSED("\"\xe0\x9f\xbf\"", "not_utf8", 1, 2);
    REFUSED("\"\xf0\x8f\xbf\xbf\"", "not_utf8", 1, 2);
    REFUSED("\"\xed\xa0\x80\"", "not_utf8", 1, 2);     /* surrogate */
    REFUSED("\"\xf4\x90\x80\x80\"", "not_utf8", 1, 2); /* over U+10FFFF */
    REFUSED("\"\xf5\x80\x80\x80\"", "not_utf8", 1, 2);
    REFUSED("\"\xe2\x82\"", "not_utf8", 1, 2); /* cut */
    REFUSED("\"\xe2\x82", "not_utf8", 1, 2);
    REFUSED("{\"\xff\":1}", "not_utf8", 1, 3);
}

static void depth_is_limited_and_a_bomb_costs_nothing(void **state)
{
    (void)state;
    char text[2 * JSON_DEPTH_MAX + 3] = "";
    memset(text, '[', JSON_DEPTH_MAX);
    memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
    json_free(accepted(text));

    static char bomb[1000000];
    memset(bomb, '[', sizeof bomb);
    refused(bomb, sizeof bomb, "too_deep", 1, JSON_DEPTH_MAX + 1);
    for (size_t i = 0; i < sizeof bomb; i += 5)
        memcpy(bomb + i, "{\"a\":", 5);
    refused(bomb, sizeof bomb, "too_deep", 1, 5 * JSON_DEPTH_MAX + 1);
}

static void duplicate_keys_are_refused_where_the_second_stands(void **state)
{
    (void)state;
    REFUSED("{\"a\":1,\"a\":2}", "duplicate_key", 1, 8);
    REFUSED("{\"a\":1,\"b\":2,\n \"\\u0061\":3}", "duplicate_key", 2, 2);
    REFUSED("[{\"a\":{\"x\":1}},{\"a\":{\"x\":1,\"y\":0,\"x\":2}}]", "duplicate_key", 1, 34);
    REFUSED("{\"\":1,\"\":2}", "duplicate_key", 1, 7);
}

static void many_keys_are_told_apart_quickly(void **state)
{
    (void)state;
    enum { N = 200000 };
    char *text = seg_alloc(N + 1, 16), *at = text;
    assert_non_null(text);
    *at++ = '{';
    for (int i = 0; i < N; i++)
        at += sprintf(at, "\"k%d\":0,", i);
    strcpy(at - 1, "}");
    json_free(accepted(text));
    strcpy(at - 1, ",\"k777\":1}");
    refused(text, strlen(text), "duplicate_key", 1, (size_t)(at - text) + 1);
    seg_free(text);
}

static void values_read_back(void **state)
{
    (void)state;
    struct json *doc =
        accepted("{\"n\":null,\"b\":true,\"x\":-2.5,\"s\":\"a\\u00e9\",\"l\":[1,2,3]}");
    assert_int_equal(json_kind(doc), JSON_OBJECT);
    assert_int_equal(json_size(doc), 5);
    assert_int_equal(json_kind(json_get(doc, "n")), JSON_NULL);
    assert_true(json_bool(json_get(doc, "b")));
    assert_true(json_number(json_get(doc, "x")) == -2.5);
    assert_string_equal(json_string(json_get(doc, "s")), "a\xc3\xa9");
    assert_null(json_get(doc, "N")); /* case matters */
    double sum = 0;
    for (const struct json *v = json_first(json_get(doc, "l")); v != NULL; v = json_next(v)) {
        sum += json_number(v);
    }
    assert_true(sum == 6);
    assert_string_equal(json_key(json_first(doc)), "n");
    assert_string_equal(json_kind_name(json_kind(json_get(doc, "l"))), "an array");
    json_free(doc);
}

static void integers_are_integral_in_range_and_exact(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
    } CASES[] = {
        { "5", true },      { "5.0", true },    { "5e0", true },   { "5.5", false },
        { "11", false },    { "-1", false },    { "0", true },     { "10", true },
        { "1e300", false }, { "\"5\"", false }, { "null", false },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        int64_t n = -7;
        struct json *doc = accepted(CASES[i].text);
        assert_int_equal(json_integer(doc, 0, 10, &n), CASES[i].ok);
        assert_true(CASES[i].ok == (n != -7));
        json_free(doc);
    }
    int64_t n;
    struct json *doc = accepted("[9007199254740991, 9007199254740993, -9007199254740991]");
    const struct json *v = json_first(doc);
    assert_true(json_integer(v, 0, INT64_MAX, &n) && n == 9007199254740991);
    v = json_next(v);
    assert_false(json_integer(v, 0, INT64_MAX, &n)); /* a double cannot hold it */
    assert_true(json_integer(json_next(v), INT64_MIN, 0, &n) && n == -9007199254740991);
    json_free(doc);
}

static void utf8_valid_refuses_nul(void **state)
{
    (void)state;
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid("a\xc3\xa9", 3));
    assert_false(utf8_valid("a\0b", 3));
    assert_false(utf8_valid("\xc3", 1));
    assert_false(utf8_valid("\xed\xa0\x80", 3));
}

static void no_allocation_failure_crashes_or_leaks(void **state)
{
    (void)state;
    static const char TEXT[] = "{\"a\":[1,{\"b\":\"text\",\"c\":null}],\"d\":{\"e\":true}}";
    struct json *doc = NULL;
    unsigned n = 0;
    while (doc == NULL) {
        struct json_fault fault = { 0 };
        seg_alloc_fail_at(++n);
        doc = json_parse(TEXT, sizeof TEXT - 1, &fault);
        seg_alloc_fail_at(0);
        if (doc == NULL) assert_string_equal(fault.code, "out_of_memory");
        assert_true(n < 1000);
    }
    assert_true(n > 10);
    json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_documents_are_accepted),
        cmocka_unit_test(what_is_not_the_grammar_is_refused_with_its_place),
        cmocka_unit_test(numbers_that_cjson_would_take_are_refused),
        cmocka_unit_test(a_number_of_400_digits_is_refused_and_not_cut),
        cmocka_unit_test(strings_with_nul_control_or_half_a_surrogate_are_refused),
        cmocka_unit_test(invalid_utf8_is_refused_in_values_and_keys),
        cmocka_unit_test(depth_is_limited_and_a_bomb_costs_nothing),
        cmocka_unit_test(duplicate_keys_are_refused_where_the_second_stands),
        cmocka_unit_test(many_keys_are_told_apart_quickly),
        cmocka_unit_test(values_read_back),
        cmocka_unit_test(integers_are_integral_in_range_and_exact),
        cmocka_unit_test(utf8_valid_refuses_nul),
        cmocka_unit_test(no_allocation_failure_crashes_or_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
