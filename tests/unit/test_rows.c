/* test_rows.c - what rows.h promises of the rows in JSON and NDJSON bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "rows_json_fixture.h"
#include "timestamp.h"

static void json_decode_reads_every_type(void **state)
{
    (void)state;
    assert_true(good_cell(ROW("\"age\":31.5"), AGE).number == 31.5f);
    assert_true(good_cell(ROW("\"age\" : -0"), AGE).number == 0);
    assert_true(good_cell(ROW("\"age\":1e-400"), AGE).number == 0);
    assert_true(good_cell(ROW("\"\\u0061g\\u0065\":2"), AGE).number == 2);
    assert_true(good_cell(ROW("\"active\":true"), ACTIVE).number == 1);
    assert_true(good_cell(ROW("\"active\":false"), ACTIVE).number == 0);
    assert_true(good_cell(ROW("\"joined\":\"2000-01-03T12:00:00Z\""), JOINED).number == 2.5f);
    assert_true(good_cell(ROW("\"joined\":\"2000-01-0\\u0033\""), JOINED).number == 2);
    assert_int_equal(good_cell(ROW("\"channel\":\"web\""), CHANNEL).code, 1);
    assert_int_equal(good_cell(ROW("\"channel\":\"w\\u0065b\""), CHANNEL).code, 1);
    assert_int_equal(good_cell(ROW("\"channel\":\"caf\\u00e9\""), CHANNEL).code, 4);
    assert_int_equal(good_cell(ROW("\"channel\":\"caf\xC3\xA9\""), CHANNEL).code, 4);
    assert_int_equal(good_cell(ROW("\"channel\":\"a,\\\"b\\\"\\nc\""), CHANNEL).code, 5);
    assert_int_equal(good_cell(ROW("\"channel\":\"\\ud83d\\ude00\""), CHANNEL).code,
                     SEG_CODE_UNSEEN);
    assert_int_equal(good_cell(ROW("\"channel\":\"\""), CHANNEL).code, SEG_CODE_UNSEEN);
    assert_true(good_cell(ROW("\"taste\":[1, -2.5 ,3e0]"), TASTE).number == 1);
    assert_true(cell(&rows, 0, schema.features[TASTE].cell + 1).number == -2.5f);
    assert_true(cell(&rows, 0, schema.features[TASTE].cell + 2).number == 3);
}

static void json_decode_takes_whole_numbers_and_booleans_for_categories(void **state)
{
    (void)state;
    assert_int_equal(good_cell(ROW("\"channel\":7"), CHANNEL).code, 2);
    assert_int_equal(good_cell(ROW("\"channel\":true"), CHANNEL).code, 3);
    assert_int_equal(good_cell(ROW("\"channel\":false"), CHANNEL).code, SEG_CODE_UNSEEN);
    assert_int_equal(good_cell(ROW("\"channel\":-7"), CHANNEL).code, SEG_CODE_UNSEEN);
    row_fault_is(ROW("\"channel\":7.0"), CHANNEL, "wrong_type");
    row_fault_is(ROW("\"channel\":7.5"), CHANNEL, "wrong_type");
    row_fault_is(ROW("\"channel\":7e0"), CHANNEL, "wrong_type");
}

static void json_decode_leaves_null_and_absent_features_missing(void **state)
{
    (void)state;
    accepted("{\"rows\":[{\"features\":{\"age\":null,\"active\":null,\"joined\":null,"
             "\"channel\":null,\"taste\":null}},{\"features\":{}},{\"user_id\":null,"
             "\"features\":{\"age\":1}}]}");
    assert_int_equal(rows.n_faults_total, 0);
    for (int i = 0; i < N_FIXTURE; i++)
        assert_true(missing(&rows, 0, i) && missing(&rows, 1, i));
    assert_true(rows.user_id[2] == NULL && !missing(&rows, 2, AGE));
    accepted("{\"columns\":[\"channel\",\"age\"],\"data\":[[null,null]]}");
    for (int i = 0; i < N_FIXTURE; i++)
        assert_true(missing(&rows, 0, i));
}

static void a_bad_value_is_its_rows_fault_alone(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        int feature;
        const char *code;
    } cases[] = { { "\"31\"", AGE, "wrong_type" },
                  { "true", AGE, "wrong_type" },
                  { "[]", AGE, "wrong_type" },
                  { "[1]", AGE, "wrong_type" },
                  { "{}", AGE, "wrong_type" },
                  { "{\"a\":[1,{\"b\":\"\\n\"}]}", AGE, "wrong_type" },
                  { "1e999", AGE, "not_finite" },
                  { "-1e999", AGE, "not_finite" },
                  { "3.5e38", AGE, "not_finite" },
                  { "2", ACTIVE, "wrong_type" },
                  { "1e999", ACTIVE, "wrong_type" },
                  { "\"true\"", ACTIVE, "wrong_type" },
                  { "[true]", ACTIVE, "wrong_type" },
                  { "\"yesterday\"", JOINED, "bad_timestamp" },
                  { "\"2026-02-30\"", JOINED, "bad_timestamp" },
                  { "\"\"", JOINED, "bad_timestamp" },
                  { "1700000000", JOINED, "wrong_type" },
                  { "[\"app\"]", CHANNEL, "wrong_type" },
                  { "{\"a\":1}", CHANNEL, "wrong_type" },
                  { "[1,2]", TASTE, "wrong_width" },
                  { "[1,2,3,4]", TASTE, "wrong_width" },
                  { "[]", TASTE, "wrong_width" },
                  { "[1,null,3]", TASTE, "wrong_type" },
                  { "[1,\"2\",3]", TASTE, "wrong_type" },
                  { "[[1,2,3]]", TASTE, "wrong_type" },
                  { "[1,1e999,3]", TASTE, "not_finite" },
                  { "5", TASTE, "wrong_type" },
                  { "\"1,2,3\"", TASTE, "wrong_type" } };
    char text[400];
    for (size_t i = 0; i < N_OF(cases); i++) {
        const char *name = schema.features[cases[i].feature].name;
        snprintf(text, sizeof(text),
                 "{\"rows\":[{\"features\":{\"%s\":null}},{\"user_id\":\"b\",\"features\":{"
                 "\"%s\":%s}},{\"features\":{\"orders\":3}}]}",
                 name, name, cases[i].value);
        accepted(text);
        if (rows.n_faults_total != 1 || !has_fault(&rows, 1, cases[i].feature, cases[i].code))
            fail_msg("%s: %zu faults, %s", text, rows.n_faults_total,
                     rows.n_faults ? rows.faults[0].code : "");
        assert_true(!rows.invalid[0] && !rows.invalid[2] && rows.user_id_len[1] == 1);
        assert_true(cell(&rows, 2, schema.features[ORDERS].cell).number == 3);
        snprintf(text, sizeof(text), "{\"columns\":[\"%s\",\"orders\"],\"data\":[[null,1],[%s,2]]}",
                 name, cases[i].value);
        accepted(text);
        assert_true(rows.n_faults_total == 1);
        assert_true(has_fault(&rows, 1, cases[i].feature, cases[i].code));
    }
}

static void a_row_may_only_have_an_id_and_features(void **state)
{
    (void)state;
    row_fault_is("{\"rows\":[{\"features\":{},\"id\":1}]}", -1, "unknown_key");
    assert_string_equal(rows.faults[0].name, "id");
    row_fault_is("{\"rows\":[{\"user_id\":\"a\"}]}", -1, "missing_features");
    row_fault_is("{\"rows\":[{}]}", -1, "missing_features");
    row_fault_is("{\"rows\":[{\"features\":[1]}]}", -1, "wrong_type");
    row_fault_is("{\"rows\":[{\"features\":null}]}", -1, "wrong_type");
    row_fault_is("{\"rows\":[7]}", -1, "wrong_type");
    row_fault_is("{\"rows\":[[1,2]]}", -1, "wrong_type");
    row_fault_is(ROW("\"age\":1,\"age\":2"), AGE, "duplicate_key");
    row_fault_is(ROW("\"age\":null,\"age\":null"), AGE, "duplicate_key");
    row_fault_is(ROW("\"age\":1,\"orders\":1,\"\\u0061ge\":2"), AGE, "duplicate_key");
    row_fault_is(ROW("\"height\":1"), -1, "unknown_feature");
    assert_string_equal(rows.faults[0].name, "height");
    row_fault_is(ROW("\"Age\":1"), -1, "unknown_feature");
    row_fault_is(ROW("\"\":1"), -1, "unknown_feature");
    row_fault_is(ROW("\"ag\":1"), -1, "unknown_feature");
    row_fault_is(ROW("\"agee\":1"), -1, "unknown_feature");
}

static void data_of_another_width_is_ragged(void **state)
{
    (void)state;
    accepted(FEATURES "\"data\":[[1,2],[1],[],[1,2,3],[1,2,\"x\",{}],[3,4]]}");
    assert_int_equal(rows.n_rows, 6);
    assert_int_equal(rows.n_faults_total, 4);
    for (uint32_t row = 1; row < 5; row++)
        assert_true(has_fault(&rows, row, -1, "ragged_row"));
    assert_true(cell(&rows, 5, 1).number == 4);
    accepted("{\"columns\":[],\"data\":[[],[1]]}");
    assert_true(!rows.invalid[0] && rows.invalid[1]);
    accepted(FEATURES "\"data\":[1,[1,2],{\"age\":[]},null]}");
    assert_true(has_fault(&rows, 0, -1, "wrong_type") && !rows.invalid[1]);
    assert_true(has_fault(&rows, 2, -1, "wrong_type") && has_fault(&rows, 3, -1, "wrong_type"));
}

static void user_ids_are_text_or_whole_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *id, *text; /* NULL: a fault */
    } cases[] = { { "\"u1\"", "u1" },
                  { "\"a\\\"\\u00e9\"", "a\"\xC3\xA9" },
                  { "0", "0" },
                  { "12345", "12345" },
                  { "9007199254740992", "9007199254740992" },
                  { "9007199254740993", NULL },
                  { "10000000000000000", NULL },
                  { "-1", NULL },
                  { "1.0", NULL },
                  { "1e3", NULL },
                  { "1e999", NULL },
                  { "\"\"", NULL },
                  { "\"a\\nb\"", NULL },
                  { "\"\x7F\"", NULL },
                  { "\"\xC2\x85\"", NULL },
                  { "true", NULL },
                  { "false", NULL },
                  { "[]", NULL },
                  { "{\"a\":1}", NULL } };
    char text[300];
    for (size_t i = 0; i < N_OF(cases); i++)
        for (int order = 0; order < 3; order++) {
            snprintf(text, sizeof(text),
                     order == 0   ? "{\"rows\":[{\"user_id\": %s ,\"features\":{\"age\":1}}]}"
                     : order == 1 ? "{\"columns\":[\"age\"],\"user_ids\":[ %s ],\"data\":[[1]]}"
                                  : "{\"user_ids\":[%s],\"data\":[[1]],\"columns\":[\"age\"]}",
                     cases[i].id);
            accepted(text);
            assert_int_equal(rows.n_rows, 1);
            if (cases[i].text == NULL) {
                if (!has_fault(&rows, 0, -1, "bad_user_id")) fail_msg("%s: no fault", text);
                continue;
            }
            assert_int_equal(rows.n_faults_total, 0);
            assert_int_equal(rows.user_id_len[0], strlen(cases[i].text));
            assert_memory_equal(rows.user_id[0], cases[i].text, strlen(cases[i].text));
        }
    char id[300];
    memset(id, 'x', sizeof(id));
    for (int len = 256; len <= 257; len++) {
        char long_text[400];
        snprintf(long_text, sizeof(long_text),
                 "{\"rows\":[{\"user_id\":\"%.*s\",\"features\":{}}]}", len, id);
        accepted(long_text);
        assert_int_equal(rows.invalid[0], len == 257);
    }
}

/* score.c looks faults up by bisection. */
static void faults_stand_by_row_also_when_ids_come_last(void **state)
{
    (void)state;
    accepted(
        "{\"columns\":[\"age\"],\"data\":[[\"x\"],[1],[\"x\"]],\"user_ids\":[\"a\",\"\",\"\"]}");
    assert_int_equal(rows.n_faults, 4);
    static const uint32_t expected[] = { 0, 1, 2, 2 };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(rows.faults[i].row, expected[i]);
}

static void members_may_come_in_any_order(void **state)
{
    (void)state;
    static const char *const members[] = { "\"columns\":[\"age\",\"channel\"]",
                                           "\"user_ids\":[\"a\",\"b\\n\",\"c\"]",
                                           "\"data\":[[1,\"app\"],[2,\"web\"],[3,null]]" };
    static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    char text[300];
    for (size_t i = 0; i < N_OF(orders); i++) {
        snprintf(text, sizeof(text), " { %s , %s,%s}\n", members[orders[i][0]],
                 members[orders[i][1]], members[orders[i][2]]);
        accepted(text);
        assert_int_equal(rows.n_rows, 3);
        assert_int_equal(rows.n_faults_total, 1);
        assert_true(has_fault(&rows, 1, -1, "bad_user_id"));
        assert_memory_equal(rows.user_id[2], "c", 1);
        assert_int_equal(cell(&rows, 1, schema.features[CHANNEL].cell).code, 1);
        assert_true(missing(&rows, 2, CHANNEL) && cell(&rows, 2, 0).number == 3);
    }
}

static void rows_past_the_limit_refuse_the_body(void **state)
{
    (void)state;
    static const char *const texts[] = { "{\"rows\":[{\"features\":{}},{\"features\":{}}]}",
                                         "{\"columns\":[\"age\"],\"data\":[[1],[2]]}",
                                         "{\"data\":[[1],[2]],\"columns\":[\"age\"]}" };
    for (size_t i = 0; i < N_OF(texts); i++)
        for (uint32_t max = 0; max < 4; max++) {
            rows_clear(&rows);
            enum rows_status st = rows_json_decode(&rows, texts[i], strlen(texts[i]), max, &error);
            assert_int_equal(st, max < 2 ? ROWS_REFUSED : ROWS_OK);
            if (max < 2) assert_string_equal(error.code, "too_many_rows");
        }
}

static void faults_past_the_limit_are_counted(void **state)
{
    (void)state;
    enum { N = 1500 };
    char *text = seg_alloc(N * 8 + 100, 1), *p = text;
    p += sprintf(p, "{\"columns\":[\"age\"],\"data\":[");
    for (int i = 0; i < N; i++)
        p += sprintf(p, "%s[true]", i ? "," : "");
    sprintf(p, "]}");
    accepted(text);
    assert_int_equal(rows.n_faults_total, N);
    assert_int_equal(rows.n_faults, ROW_FAULTS_MAX);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(rows.invalid[i], 1);
    seg_free(text);
}

/* More rows than a tile, than the first chunk's first size, and than a chunk. */
static void named_and_columnar_rows_and_ndjson_give_the_same_cells(void **state)
{
    (void)state;
    static const uint32_t sizes[] = { 1, 63, 64, 65, 300, 5000 };
    static const char *const channels[] = { "\"app\"", "\"web\"", "7", "true", "null", "\"new\"" };
    struct rows columnar, lines;
    rows_init(&columnar, &schema);
    rows_init(&lines, &schema);
    char *named_text = seg_alloc(5000 * 220, 1), *columnar_text = seg_alloc(5000 * 220, 1);
    char *line_text = seg_alloc(5000 * 220, 1);
    assert_true(named_text != NULL && columnar_text != NULL && line_text != NULL);
    for (size_t i = 0; i < N_OF(sizes); i++) {
        char *n = named_text, *c = columnar_text, *l = line_text;
        rows_clear(&columnar);
        rows_clear(&lines);
        n += sprintf(n, "{\"rows\":[");
        c += sprintf(c, "{\"columns\":[\"taste\",\"age\",\"joined\",\"channel\",\"active\"],"
                        "\"user_ids\":[");
        for (uint32_t k = 0; k < sizes[i]; k++)
            c += sprintf(c, "%s\"u%u\"", k ? "," : "", k);
        c += sprintf(c, "],\"data\":[");
        for (uint32_t k = 0; k < sizes[i]; k++) {
            char taste[60], age[30], joined[40];
            snprintf(taste, sizeof(taste), "[%u,-%u.5,%ue-3]", k, k, k);
            snprintf(age, sizeof(age), "%.17g", k / 7.0);
            snprintf(joined, sizeof(joined), "\"20%02u-03-01T00:00:%02uZ\"", k % 100, k % 60);
            const char *active = k % 3 == 0 ? "true" : k % 3 == 1 ? "false" : "null";
            const char *channel = channels[k % 6];
            c +=
                sprintf(c, "%s[%s,%s,%s,%s,%s]", k ? "," : "", taste, age, joined, channel, active);
            char *start = l;
            l += sprintf(l,
                         "{\"user_id\":\"u%u\",\"features\":{\"active\":%s,\"channel\":%s,"
                         "\"taste\":%s,\"joined\":%s,\"age\":%s}}",
                         k, active, channel, taste, joined, age);
            assert_int_equal(rows_ndjson_line(&lines, start, (size_t)(l - start), k + 1), ROWS_OK);
            n += sprintf(n, "%s%.*s", k ? "," : "", (int)(l - start), start);
        }
        n += sprintf(n, "]}");
        c += sprintf(c, "]}");
        accepted(named_text);
        assert_int_equal(rows_json_decode(&columnar, columnar_text, (size_t)(c - columnar_text),
                                          ROWS_MAX, &error),
                         ROWS_OK);
        assert_int_equal(rows.n_rows, sizes[i]);
        assert_int_equal(rows.n_faults_total, 0);
        assert_same_rows(&rows, &columnar);
        assert_same_rows(&rows, &lines);
    }
    rows_release(&columnar);
    rows_release(&lines);
    seg_free(named_text);
    seg_free(columnar_text);
    seg_free(line_text);
}

/* Names that look like JSON's own marks, and more features than are searched one by one. */
static void features_are_found_among_many_and_by_odd_names(void **state)
{
    (void)state;
    struct seg_schema wide;
    struct rows r;
    char name[20], text[200];
    seg_schema_init(&wide);
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        add_feature(&wide, name, SEG_NUMERIC, 1);
    }
    add_feature(&wide, "a\"b", SEG_NUMERIC, 1);
    add_feature(&wide, "a\\b", SEG_NUMERIC, 1);
    add_feature(&wide, "a\tb", SEG_NUMERIC, 1);
    rows_init(&r, &wide);
    for (uint32_t i = 0; i < 300; i++) {
        rows_clear(&r);
        uint32_t other = (i * 7 + 11) % 300;
        int len = snprintf(text, sizeof(text),
                           ROW("\"f%u\":1,\"f%u\":2,\"a\\\"b\":3,\"a\\\\b\":4,"
                               "\"a\\tb\":5"),
                           i, other);
        assert_int_equal(rows_json_decode(&r, text, (size_t)len, 1, &error), ROWS_OK);
        if (i == other) continue;
        assert_int_equal(r.n_faults_total, 0);
        assert_true(cell(&r, 0, i).number == 1 && cell(&r, 0, other).number == 2);
        for (uint32_t k = 0; k < 3; k++)
            assert_true(cell(&r, 0, 300 + k).number == 3 + (float)k);
    }
    static const char *const bad[] = { ROW("\"f0\":1,\"f1\":2,\"a\"b\":3"),
                                       ROW("\"f0\":1,\"f1\":2,\"a\"b\":3,\"a\\b\":4"),
                                       ROW("\"f0\":1,\"f1\":2,\"x\":3,\"y\":4,\"a\tb\":4") };
    for (size_t i = 0; i < N_OF(bad); i++) {
        rows_clear(&r);
        assert_int_equal(rows_json_decode(&r, bad[i], strlen(bad[i]), 1, &error), ROWS_REFUSED);
    }
    rows_release(&r);
    seg_schema_release(&wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(json_decode_reads_every_type),
        T(json_decode_takes_whole_numbers_and_booleans_for_categories),
        T(json_decode_leaves_null_and_absent_features_missing),
        T(a_bad_value_is_its_rows_fault_alone),
        T(a_row_may_only_have_an_id_and_features),
        T(data_of_another_width_is_ragged),
        T(user_ids_are_text_or_whole_numbers),
        T(faults_stand_by_row_also_when_ids_come_last),
        T(members_may_come_in_any_order),
        T(rows_past_the_limit_refuse_the_body),
        T(faults_past_the_limit_are_counted),
        T(named_and_columnar_rows_and_ndjson_give_the_same_cells),
        T(features_are_found_among_many_and_by_odd_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
