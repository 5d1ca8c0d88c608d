/* test_rows_json.c - what rows.h promises of bodies that are not JSON, or not of its shape: none is
 * taken, none is read past its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "rows_json_fixture.h"

static const char *const NOT_JSON[] = {
    "",
    " ",
    "{",
    "}",
    "{]",
    "{\"rows\":[}",
    "{\"rows\":[]",
    "{\"rows\":[]} x",
    "{\"rows\":[]}{}",
    "{\"rows\":[]},",
    "{\"rows\":[],}",
    "{,\"rows\":[]}",
    "{rows:[]}",
    "{'rows':[]}",
    "{\"rows\" []}",
    "{\"rows\":[,]}",
    "{\"rows\":[{},]}",
    "{\"rows\":[{} {}]}",
    "{\"rows\":[{}];}",
    "{\"rows\":[{\"features\":{\"age\":1,}}]}",
    "{\"rows\":[{\"features\":{,\"age\":1}}]}",
    "{\"rows\":[{\"features\":{\"age\"}}]}",
    "{\"rows\":[{\"features\":{\"age\":}}]}",
    "{\"rows\":[{\"features\":{\"age\" 1}}]}",
    "{\"rows\":[{\"features\":{age:1}}]}",
    "{\"rows\":[{\"features\":{\"age\":1 \"orders\":2}}]}",
    "\xEF\xBB\xBF{\"rows\":[]}",
    "{\"rows\":[]}/**/",
    "//\n{\"rows\":[]}",
    "{\"rows\":[]\f}",
    "{\"rows\":[]\xC2\xA0}",
    "{\"columns\":[\"age\"],\"data\":[[1],]}",
    "{\"columns\":[\"age\"],\"data\":[[1,]]}",
    "{\"columns\":[\"age\"],\"data\":[[,1]]}",
    "{\"columns\":[\"age\"],\"data\":[[1}]}",
    "{\"columns\":[\"age\",],\"data\":[]}",
    "{\"columns\":[\"age\"],\"data\":[[1],[2]],\"user_ids\":[\"a\",]}"
};

static const char *const NO_VALUES[] = { "NaN",
                                         "nan",
                                         "Infinity",
                                         "-Infinity",
                                         "inf",
                                         "01",
                                         "-01",
                                         "1.",
                                         ".5",
                                         "+1",
                                         "-",
                                         "1e",
                                         "1e+",
                                         "0x10",
                                         "1.e5",
                                         "--1",
                                         "1 2",
                                         "1.5.5",
                                         "True",
                                         "TRUE",
                                         "tru",
                                         "truex",
                                         "nul",
                                         "nulll",
                                         "None",
                                         "undefined",
                                         "'a'",
                                         "\"a",
                                         "\"\\x\"",
                                         "\"\\u12\"",
                                         "\"\\u12g4\"",
                                         "\"\\\"",
                                         "\"\\u0000\"",
                                         "\"\\ud800\"",
                                         "\"\\ud800x\"",
                                         "\"\\ud800\\n\"",
                                         "\"\\ud800\\u0041\"",
                                         "\"\\udc00\"",
                                         "\"\\udc00\\ud800\"",
                                         "\"\\ud800\\ud800\"",
                                         "\"a\nb\"",
                                         "\"a\tb\"",
                                         "\"\x1F\"",
                                         "[1",
                                         "[1,]",
                                         "[,]",
                                         "{\"a\"}",
                                         "{\"a\":}",
                                         "{\"a\":1,}",
                                         "{1:2}",
                                         "[}",
                                         "{]" };

static void json_decode_refuses_what_is_not_json(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(NOT_JSON); i++)
        refused(NOT_JSON[i], strlen(NOT_JSON[i]), "not_json");
    /* a bad value is as bad for every feature, in every place */
    static const char *const names[] = { "age", "active", "joined", "channel", "taste", "nobody" };
    char text[300];
    for (size_t i = 0; i < N_OF(NO_VALUES); i++)
        for (size_t k = 0; k < N_OF(names); k++) {
            snprintf(text, sizeof(text), ROW("\"%s\":%s"), names[k], NO_VALUES[i]);
            refused(text, strlen(text), "not_json");
            snprintf(text, sizeof(text), ROW("\"%s\":[[%s]]"), names[k], NO_VALUES[i]);
            refused(text, strlen(text), "not_json");
            snprintf(text, sizeof(text), "{\"columns\":[\"age\"],\"data\":[[1,%s]]}", NO_VALUES[i]);
            refused(text, strlen(text), "not_json");
            snprintf(text, sizeof(text), "{\"data\":[[%s]],\"columns\":[\"age\"]}", NO_VALUES[i]);
            refused(text, strlen(text), "not_json");
            snprintf(text, sizeof(text), "{\"rows\":[{\"user_id\":%s}]}", NO_VALUES[i]);
            refused(text, strlen(text), "not_json");
        }
}

static void json_decode_refuses_what_is_not_utf8(void **state)
{
    (void)state;
    static const char *const bytes[] = { "\xFF",
                                         "\x80",
                                         "\xC0\x80",
                                         "\xC1\xBF",
                                         "\xE0\x80\x80",
                                         "\xE0\x9F\xBF",
                                         "\xED\xA0\x80",
                                         "\xED\xBF\xBF",
                                         "\xF0\x80\x80\x80",
                                         "\xF0\x8F\xBF\xBF",
                                         "\xF4\x90\x80\x80",
                                         "\xF5\x80\x80\x80",
                                         "\xC3",
                                         "\xE2\x82",
                                         "\xF0\x9F\x98",
                                         "\xC3(",
                                         "\xE2(\xA1",
                                         "\xF8\x88\x80\x80\x80" };
    char text[300];
    for (size_t i = 0; i < N_OF(bytes); i++)
        for (int pad = 0; pad < 70; pad++) { /* at every place in a block of a fast check */
            snprintf(text, sizeof(text), ROW("\"channel\":\"%*s%s\""), pad, "", bytes[i]);
            refused(text, strlen(text), "not_utf8");
            assert_int_equal(error.column, strstr(text, bytes[i]) - text + 1);
        }
    for (size_t pad = 0; pad < 70; pad++) {
        size_t len =
            (size_t)snprintf(text, sizeof(text), ROW("\"channel\":\"%*sx\""), (int)pad, "");
        text[len - 6] = '\0';
        refused(text, len, "not_utf8");
        memset(text, ' ', 80 + pad);
        memcpy(text + 10, TEXT("{\"rows\":[]}"));
        text[79 + pad] = '\0';
        refused(text, 80 + pad, "not_utf8");
        text[79 + pad] = '\xC3';
        refused(text, 80 + pad, "not_utf8");
    }
}

static void json_decode_refuses_bodies_that_make_no_sense(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code;
    } cases[] = {
        { "[]", "wrong_type" },
        { " null", "wrong_type" },
        { "1", "wrong_type" },
        { "\"rows\"", "wrong_type" },
        { "{\"rows\":{}}", "wrong_type" },
        { "{\"rows\":null}", "wrong_type" },
        { "{\"columns\":[7],\"data\":[]}", "wrong_type" },
        { "{\"columns\":\"age\",\"data\":[]}", "wrong_type" },
        { "{\"columns\":[\"age\"],\"data\":{}}", "wrong_type" },
        { "{\"data\":7,\"columns\":[\"age\"]}", "wrong_type" },
        { "{\"columns\":[\"age\"],\"user_ids\":{},\"data\":[]}", "wrong_type" },
        { "{}", "missing_rows" },
        { "{\"columns\":[\"age\"]}", "missing_rows" },
        { "{\"data\":[]}", "missing_rows" },
        { "{\"user_ids\":[]}", "missing_rows" },
        { "{\"Rows\":[]}", "unknown_key" },
        { "{\"rows\":[],\"x\":1}", "unknown_key" },
        { "{\"rows\":[],\"rows\":[]}", "duplicate_key" },
        { "{\"rows\":[],\"r\\u006fws\":[]}", "duplicate_key" },
        { "{\"columns\":[],\"columns\":[],\"data\":[]}", "duplicate_key" },
        { "{\"columns\":[],\"data\":[],\"data\":[]}", "duplicate_key" },
        { "{\"data\":[],\"data\":[],\"columns\":[]}", "duplicate_key" },
        { "{\"columns\":[],\"user_ids\":[],\"user_ids\":[],\"data\":[]}", "duplicate_key" },
        { "{\"rows\":[{\"user_id\":\"a\",\"user_id\":\"b\",\"features\":{}}]}", "duplicate_key" },
        { "{\"rows\":[{\"features\":{},\"features\":{}}]}", "duplicate_key" },
        { "{\"rows\":[{\"features\":1,\"features\":{}}]}", "duplicate_key" },
        { "{\"rows\":[],\"columns\":[]}", "bad_body" },
        { "{\"columns\":[],\"rows\":[]}", "bad_body" },
        { "{\"rows\":[],\"data\":[]}", "bad_body" },
        { "{\"data\":[],\"rows\":[]}", "bad_body" },
        { "{\"user_ids\":[],\"rows\":[]}", "bad_body" },
        { "{\"columns\":[\"age\",\"age\"],\"data\":[]}", "duplicate_key" },
        { "{\"columns\":[\"height\"],\"data\":[]}", "unknown_feature" },
        { "{\"columns\":[\"Age\"],\"data\":[]}", "unknown_feature" },
        { "{\"columns\":[\"\"],\"data\":[]}", "unknown_feature" },
        { "{\"columns\":[\"ag\"],\"data\":[]}", "unknown_feature" },
        { "{\"columns\":[\"agee\"],\"data\":[]}", "unknown_feature" },
        { "{\"columns\":[\"age\"],\"data\":[[1]],\"user_ids\":[]}", "ragged_row" },
        { "{\"columns\":[\"age\"],\"user_ids\":[\"a\",\"b\"],\"data\":[[1]]}", "ragged_row" },
    };
    for (size_t i = 0; i < N_OF(cases); i++)
        refused(cases[i].text, strlen(cases[i].text), cases[i].code);
    refused(TEXT("{\"columns\":[\"age\",\n \"height\"],\"data\":[]}"), "unknown_feature");
    assert_string_equal(error.pointer, "/columns/1");
    assert_int_equal(error.line, 2);
}

static void json_decode_refuses_depth_without_recursion(void **state)
{
    (void)state;
    enum { BOMB = 1000000 };
    char *text = seg_alloc(BOMB + 100, 1);
    static const char *const heads[] = { "",
                                         "{\"rows\":",
                                         "{\"data\":",
                                         "{\"rows\":[{\"features\":{\"age\":",
                                         "{\"rows\":[{\"features\":{\"taste\":",
                                         "{\"rows\":[{\"x\":" };
    for (size_t i = 0; i < N_OF(heads); i++) {
        size_t len = strlen(heads[i]);
        memcpy(text, heads[i], len);
        memset(text + len, '[', BOMB);
        refused(text, len + BOMB, "too_deep");
    }
    seg_free(text);
    char deep[200];
    for (int depth = 20; depth < 40; depth++) { /* four levels stand around the value */
        char open[41] = "", close[41] = "";
        memset(open, '[', (size_t)depth);
        memset(close, ']', (size_t)depth);
        snprintf(deep, sizeof(deep), ROW("\"x\":%s%s"), open, close);
        if (4 + depth > 32)
            refused(deep, strlen(deep), "too_deep");
        else
            accepted(deep);
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(SAMPLES); i++)
        for (size_t len = 0; len < strlen(SAMPLES[i]); len++)
            assert_int_equal(decode(SAMPLES[i], len), ROWS_REFUSED);
}

static void every_change_of_a_byte_leaves_a_sound_batch(void **state)
{
    (void)state;
    char text[600];
    for (size_t i = 0; i < N_OF(SAMPLES); i++) {
        size_t len = strlen(SAMPLES[i]);
        memcpy(text, SAMPLES[i], len);
        for (size_t at = 0; at < len; at++) {
            for (int byte = 0; byte < 256; byte++) {
                text[at] = (char)byte;
                decode(text, len);
                if (byte >= 0x80 && SAMPLES[i][at] < 0x7F && SAMPLES[i][at] > 0)
                    assert_string_equal(error.code, "not_utf8");
            }
            text[at] = SAMPLES[i][at];
        }
    }
}

static void an_ndjson_line_that_is_not_json_is_an_invalid_row(void **state)
{
    (void)state;
    static const struct {
        const char *line, *code;
    } cases[] = { { "{", "not_json" },
                  { "x", "not_json" },
                  { "", "not_json" },
                  { "{\"features\":{\"age\":1}} x", "not_json" },
                  { "{\"features\":{\"age\":1,\"age\":2}}", "duplicate_key" },
                  { "{\"features\":{},\"features\":{}}", "duplicate_key" },
                  { "{\"features\":{\"age\":01}}", "not_json" },
                  { "{\"features\":{\"age\":1e999}}", "not_finite" },
                  { "\xFF", "not_utf8" },
                  { "[1]", "wrong_type" },
                  { "\xEF\xBB\xBF{\"features\":{}}", "not_json" },
                  { "{\"features\":{\"x\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                    "too_deep" } };
    for (size_t i = 0; i < N_OF(cases); i++) {
        rows_clear(&rows);
        char *bad = exact(cases[i].line, strlen(cases[i].line));
        static const char good[] = "{\"user_id\":\"b\",\"features\":{\"age\":5}}";
        assert_int_equal(rows_ndjson_line(&rows, good, sizeof(good) - 1, 1), ROWS_OK);
        assert_int_equal(rows_ndjson_line(&rows, bad, strlen(cases[i].line), 2), ROWS_OK);
        assert_int_equal(rows_ndjson_line(&rows, good, sizeof(good) - 1, 3), ROWS_OK);
        check_batch(&rows, 3);
        assert_int_equal(rows.n_rows, 3);
        bool found = false;
        for (size_t k = 0; k < rows.n_faults; k++) {
            assert_int_equal(rows.faults[k].line, 2);
            found = found || strcmp(rows.faults[k].code, cases[i].code) == 0;
        }
        if (!found) fail_msg("%s: no fault %s", cases[i].line, cases[i].code);
        assert_true(!rows.invalid[0] && rows.invalid[1] && !rows.invalid[2]);
        assert_true(cell(&rows, 2, 0).number == 5);
        seg_free(bad);
    }
}

static void memory_that_fails_is_said_and_leaks_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_OF(SAMPLES) + 1; i++) {
        bool is_line = i == N_OF(SAMPLES);
        static const char line[] = "{\"user_id\":\"\\u0061\",\"features\":{\"q\\\"\":1,\"age\":x}}";
        const char *text = is_line ? line : SAMPLES[i];
        char *bytes = exact(text, strlen(text));
        enum rows_status st = ROWS_NO_MEMORY;
        uint64_t n = 0;
        for (;;) {
            struct rows r;
            assert_true(++n < 1000);
            rows_init(&r, &schema);
            seg_alloc_fail_at(n);
            st = is_line ? rows_ndjson_line(&r, bytes, strlen(text), 1)
                         : rows_json_decode(&r, bytes, strlen(text), 10, &error);
            bool failed = seg_alloc_count() >= n;
            seg_alloc_fail_at(0);
            if (!failed) assert_int_equal(st, ROWS_OK);
            if (st == ROWS_OK) check_batch(&r, 10);
            /* the decoder can be used again */
            rows_clear(&r);
            assert_int_equal(rows_json_decode(&r, TEXT(ROW("\"age\":4")), 1, &error), ROWS_OK);
            assert_true(cell(&r, 0, 0).number == 4 && r.n_faults_total == 0);
            rows_release(&r);
            if (!failed) break;
        }
        assert_true(n > 5);
        seg_free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(json_decode_refuses_what_is_not_json),
        T(json_decode_refuses_what_is_not_utf8),
        T(json_decode_refuses_bodies_that_make_no_sense),
        T(json_decode_refuses_depth_without_recursion),
        T(every_truncation_is_refused),
        T(every_change_of_a_byte_leaves_a_sound_batch),
        T(an_ndjson_line_that_is_not_json_is_an_invalid_row),
        T(memory_that_fails_is_said_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
