/* rows_json_fixture.h - bodies of JSON, decoded into the batch of rows_decoding.h. Include after
 * cmocka.h. */
#ifndef TESTS_UNIT_ROWS_JSON_FIXTURE_H
#define TESTS_UNIT_ROWS_JSON_FIXTURE_H

#include "rows_decoding.h"

#define TEXT(s)  (s), sizeof(s) - 1
#define ROW(s)   "{\"rows\":[{\"features\":{" s "}}]}"
#define FEATURES "{\"columns\":[\"age\",\"orders\"],"

static inline enum rows_status decode(const char *text, size_t len)
{
    rows_clear(&rows);
    seg_free(body);
    body = exact(text, len);
    error = (struct rows_error){ 0 };
    enum rows_status st = rows_json_decode(&rows, body, len, ROWS_MAX, &error);
    if (st == ROWS_OK) check_batch(&rows, ROWS_MAX);
    if (st == ROWS_REFUSED) {
        assert_true(error.code != NULL && error.detail[0] != '\0');
        assert_true(error.line >= 1 && error.column >= 1 && error.column <= len + 1);
    }
    return st;
}

static inline void accepted(const char *text)
{
    if (decode(text, strlen(text)) != ROWS_OK)
        fail_msg("%s: %s %s", text, error.code, error.detail);
}

static inline void refused(const char *text, size_t len, const char *code)
{
    if (decode(text, len) != ROWS_REFUSED) fail_msg("accepted: %s", text);
    if (strcmp(error.code, code) != 0)
        fail_msg("%s: %s (%s), not %s", text, error.code, error.detail, code);
}

/* A body of one row that is scored, with the feature's value. */
static inline union seg_cell good_cell(const char *text, int feature)
{
    accepted(text);
    if (rows.n_rows != 1 || rows.n_faults_total != 0) fail_msg("%s: has faults", text);
    return cell(&rows, 0, schema.features[feature].cell);
}

static inline void row_fault_is(const char *text, int feature, const char *code)
{
    accepted(text);
    if (!has_fault(&rows, 0, feature, code)) fail_msg("%s: no fault %s", text, code);
}

/* A body of each form, with blanks, escapes and every type. */
static const char *const SAMPLES[] = {
    "{\"rows\": [{\"user_id\": \"u\\u00e9\", \"features\": {\"age\": 31, \"channel\": \"app\", "
    "\"taste\": [1,2.5,-3e1], \"joined\": \"2026-11-23T10:00:00Z\", \"active\": true}},\n"
    " {\"user_id\": 12, \"features\": {\"age\": null, \"x\": {\"a\": [\"\\ud83d\\ude00\"]}}}]}",
    "{\"columns\": [\"age\", \"channel\"], \"user_ids\": [\"a\", \"\\\"\"], "
    "\"data\": [[31.25, \"caf\xC3\xA9\"], [-0.5E-3, 7]]}",
    "{\"user_ids\":[1],\"data\":[[31,\"w\\u0065b\",[1,2,3]]],\"columns\":[\"age\",\"channel\","
    "\"taste\"]}",
};

#endif
