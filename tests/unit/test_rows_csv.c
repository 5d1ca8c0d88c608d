/* test_rows_csv.c - what rows.h promises of CSV bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "rows_decoding.h"

static enum rows_status decode(const char *text, size_t len)
{
    struct rows_csv *csv = NULL;
    size_t header = 0, used = 0;
    rows_clear(&rows);
    seg_free(body);
    body = exact(text, len);
    error = (struct rows_error){ 0 };
    enum rows_status st = rows_csv_header(&rows, body, len, 1, &csv, &header, &error);
    if (st == ROWS_OK) {
        assert_non_null(csv);
        st = rows_csv_decode(csv, &rows, body + header, len - header, 1, ROWS_MAX, &used, &error);
        assert_int_equal(st, ROWS_OK);
        assert_int_equal(header + used, len);
        check_batch(&rows, ROWS_MAX);
    } else {
        assert_null(csv);
        assert_true(error.code != NULL && error.detail[0] != '\0' && error.line == 1);
    }
    rows_csv_free(csv);
    return st;
}

static void accepted(const char *text, uint32_t n_rows)
{
    if (decode(text, strlen(text)) != ROWS_OK) fail_msg("%s: %s", text, error.detail);
    if (rows.n_rows != n_rows) fail_msg("%s: %u rows", text, rows.n_rows);
}

static uint32_t channel(uint32_t row)
{
    return cell(&rows, row, schema.features[CHANNEL].cell).code;
}

static void csv_reads_every_type(void **state)
{
    (void)state;
    accepted("user_id,age,active,joined,channel\n"
             "u1,31.5,true,2000-01-03,app\n"
             "u2,-1e3,0,2000-01-01T12:00:00Z,7\n"
             "u3,0,FALSE,,new\n",
             3);
    assert_int_equal(rows.n_faults_total, 0);
    assert_memory_equal(rows.user_id[1], "u2", 2);
    assert_true(cell(&rows, 0, AGE).number == 31.5f && cell(&rows, 1, AGE).number == -1000);
    assert_true(cell(&rows, 0, ACTIVE).number == 1 && cell(&rows, 1, ACTIVE).number == 0);
    assert_true(cell(&rows, 2, ACTIVE).number == 0);
    assert_true(cell(&rows, 0, JOINED).number == 2 && cell(&rows, 1, JOINED).number == 0.5f);
    assert_true(missing(&rows, 2, JOINED) && missing(&rows, 0, ORDERS) && missing(&rows, 0, TASTE));
    assert_int_equal(channel(0), 0);
    assert_int_equal(channel(1), 2);
    assert_int_equal(channel(2), SEG_CODE_UNSEEN);
}

static void csv_knows_the_words_for_missing(void **state)
{
    (void)state;
    static const char *const words[] = {
        "", "\"\"", "NA", "na", "N/A", "NaN", "nan", "null", "NULL"
    };
    char text[100];
    for (size_t i = 0; i < N_OF(words); i++) {
        snprintf(text, sizeof(text), "orders,age,active,joined,channel\n1,%s,%s,%s,%s\n", words[i],
                 words[i], words[i], words[i]);
        accepted(text, 1);
        assert_int_equal(rows.n_faults_total, 0);
        for (int f = 0; f < N_FIXTURE; f++)
            assert_int_equal(missing(&rows, 0, f), f != ORDERS);
    }
    accepted("channel\n\"NA\"\n", 1); /* in quotes it is text */
    assert_int_equal(channel(0), SEG_CODE_UNSEEN);
}

static void csv_reads_quotes_line_ends_and_byte_order_marks(void **state)
{
    (void)state;
    accepted(
        "\xEF\xBB\xBFuser_id,\"channel\"\r\n\"a,1\",\"a,\"\"b\"\"\nc\"\r\nb,web\r\n\"c\"\"\",app",
        3);
    assert_int_equal(rows.n_faults_total, 0);
    assert_memory_equal(rows.user_id[0], "a,1", 3);
    assert_int_equal(channel(0), 5);
    assert_int_equal(channel(1), 1);
    assert_int_equal(channel(2), 0);
    assert_int_equal(rows.user_id_len[2], 2);
    assert_memory_equal(rows.user_id[2], "c\"", 2);
    accepted("age\n1", 1);
    accepted("age\n1\r", 1);
    assert_true(cell(&rows, 0, AGE).number == 1);
    accepted("age\n\n1\n\r\n\n2\n\n", 2);
    accepted("age\r\n", 0);
    accepted("age", 0);
    accepted("channel\n5\" disk\n", 1); /* a quote inside a field is text */
    assert_int_equal(rows.n_faults_total, 0);
    accepted("channel,age\n,\n", 1);
    assert_true(missing(&rows, 0, CHANNEL) && missing(&rows, 0, AGE));
}

static void csv_header_refuses_what_the_model_cannot_use(void **state)
{
    (void)state;
    static const struct {
        const char *text, *code;
    } cases[] = { { "", "bad_header" },
                  { "\n1\n", "bad_header" },
                  { "\xEF\xBB\xBF", "bad_header" },
                  { "height\n1\n", "bad_header" },
                  { "age,age\n", "bad_header" },
                  { "user_id,user_id\n", "bad_header" },
                  { "age,\n", "bad_header" },
                  { ",age\n", "bad_header" },
                  { "Age\n", "bad_header" },
                  { "age;orders\n", "bad_header" },
                  { "taste\n", "bad_header" },
                  { "\"age\n", "bad_header" },
                  { "\"age\"x\n", "bad_header" },
                  { "age\xFF\n", "not_utf8" },
                  { " age\n", "bad_header" } };
    for (size_t i = 0; i < N_OF(cases); i++) {
        if (decode(cases[i].text, strlen(cases[i].text)) != ROWS_REFUSED)
            fail_msg("accepted: %s", cases[i].text);
        assert_string_equal(error.code, cases[i].code);
    }
    assert_int_equal(decode("age\0x\n", 6), ROWS_REFUSED);
    assert_string_equal(error.code, "not_utf8");
}

static void a_bad_record_is_invalid_alone_and_its_place_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *record, *code;
        int feature;
        size_t column;
    } cases[] = {
        { "x,app", "wrong_type", AGE, 1 },       { "0x10,app", "wrong_type", AGE, 1 },
        { "inf,app", "wrong_type", AGE, 1 },     { "-Infinity,app", "wrong_type", AGE, 1 },
        { "1e999,app", "not_finite", AGE, 1 },   { "1.,app", "wrong_type", AGE, 1 },
        { "01,app", "wrong_type", AGE, 1 },      { "1 ,app", "wrong_type", AGE, 1 },
        { "\"1;5\",app", "wrong_type", AGE, 1 }, { "1", "ragged_row", -1, 1 },
        { "1,app,2", "ragged_row", -1, 1 },      { "1,\"app\"x", "bad_record", -1, 3 },
        { "1,\xFF", "not_utf8", -1, 1 },         { "1,\xED\xA0\x80", "not_utf8", -1, 1 }
    };
    char text[200];
    for (size_t i = 0; i < N_OF(cases); i++) {
        snprintf(text, sizeof(text), "age,channel\n1,\"a\nb\"\n%s\n3,web\n", cases[i].record);
        accepted(text, 3);
        if (rows.n_faults != 1 || !has_fault(&rows, 1, cases[i].feature, cases[i].code))
            fail_msg("%s: %s", text, rows.n_faults ? rows.faults[0].code : "no fault");
        assert_int_equal(rows.faults[0].line, 4); /* the quoted newline counts */
        assert_int_equal(rows.faults[0].column, cases[i].column);
        assert_true(!rows.invalid[0] && !rows.invalid[2] && cell(&rows, 2, AGE).number == 3);
    }
    accepted("age,channel\n1,\"open\n2,app\n", 1);
    assert_true(has_fault(&rows, 0, -1, "bad_record"));
    accepted("active,joined\n2,2000-01-01\ntrue,2000-13-01\n", 2);
    assert_true(has_fault(&rows, 0, ACTIVE, "wrong_type"));
    assert_true(has_fault(&rows, 1, JOINED, "bad_timestamp"));
    accepted("user_id,age\n\"a\nb\",1\n", 1);
    assert_true(has_fault(&rows, 0, -1, "bad_user_id"));
}

static const char SAMPLE[] = "\xEF\xBB\xBF\"user_id\",age,channel,joined\r\n"
                             "a,1.5,\"a,\"\"b\"\"\nc\",2026-11-23T10:00:00Z\r\n"
                             "\"b\"\"\",,\"\",\n"
                             "\n"
                             "c,x,caf\xC3\xA9,\"2026-01-01\"\r\n"
                             "d,4,\"\"\"\"\"\",\r\n"
                             "e,-5e-1,\"w\"eb,2000-01-01\n"
                             "f,6,web";

static char *held[2 * sizeof(SAMPLE)]; /* pieces that ids are borrowed from */
static size_t n_held;

static void release_held(void)
{
    while (n_held > 0)
        seg_free(held[--n_held]);
}

/* Feeds the bytes by a window that ends at `first`, then moves on by `step`. */
static void decode_in_pieces(struct rows *r, const char *bytes, size_t len, size_t first,
                             size_t step)
{
    struct rows_csv *csv = NULL;
    size_t at = 0, end = first;
    rows_clear(r);
    release_held();
    for (;;) {
        char *piece = held[n_held++] = exact(bytes + at, end - at);
        size_t used = 0;
        int final = end == len;
        enum rows_status st =
            csv == NULL ? rows_csv_header(r, piece, end - at, final, &csv, &used, &error)
                        : rows_csv_decode(csv, r, piece, end - at, final, ROWS_MAX, &used, &error);
        assert_int_equal(st, ROWS_OK);
        assert_true(used <= end - at && (!final || used > 0 || at == len));
        at += used;
        if (final && at == len) break;
        end = end + step < len ? end + step : len;
    }
    rows_csv_free(csv);
}

static void a_body_split_anywhere_gives_the_same_rows(void **state)
{
    (void)state;
    size_t len = sizeof(SAMPLE) - 1;
    struct rows pieces;
    rows_init(&pieces, &schema);
    accepted(SAMPLE, 6);
    assert_int_equal(rows.n_faults_total, 3);
    for (size_t first = 0; first <= len; first++)
        for (size_t step = 1; step <= len; step = step == 1 ? 7 : step == 7 ? len : len + 1) {
            decode_in_pieces(&pieces, SAMPLE, len, first, step);
            assert_same_rows(&rows, &pieces);
            assert_int_equal(pieces.n_faults, rows.n_faults);
            for (size_t i = 0; i < rows.n_faults; i++) {
                assert_int_equal(pieces.faults[i].line, rows.faults[i].line);
                assert_int_equal(pieces.faults[i].column, rows.faults[i].column);
            }
        }
    rows_release(&pieces);
    release_held();
}

static void every_truncation_and_changed_byte_leaves_a_sound_batch(void **state)
{
    (void)state;
    char text[sizeof(SAMPLE)];
    for (size_t len = 0; len < sizeof(SAMPLE); len++)
        decode(SAMPLE, len);
    memcpy(text, SAMPLE, sizeof(SAMPLE));
    for (size_t at = 0; at + 1 < sizeof(SAMPLE); at++) {
        for (int byte = 0; byte < 256; byte++) {
            text[at] = (char)byte;
            decode(text, sizeof(SAMPLE) - 1);
        }
        text[at] = SAMPLE[at];
    }
}

static void decode_stops_at_the_rows_wanted_and_goes_on(void **state)
{
    (void)state;
    static const char text[] = "age\n1\n2\n3\n4\n5\n";
    struct rows_csv *csv = NULL;
    size_t at = 0, used, len = sizeof(text) - 1;
    assert_int_equal(rows_csv_header(&rows, text, len, 1, &csv, &used, &error), ROWS_OK);
    at += used;
    for (int batch = 0; batch < 3; batch++) {
        rows_clear(&rows);
        assert_int_equal(rows_csv_decode(csv, &rows, text + at, len - at, 1, 2, &used, &error),
                         ROWS_OK);
        at += used;
        assert_int_equal(rows.n_rows, batch < 2 ? 2 : 1);
        assert_true(cell(&rows, 0, AGE).number == 2 * (float)batch + 1);
    }
    assert_int_equal(at, len);
    rows_csv_free(csv);
}

static void csv_gives_the_cells_that_json_gives(void **state)
{
    (void)state;
    enum { N = 200 };
    static const char *const channels[] = { "app", "web", "7", "true", "", "new" };
    char csv[N * 120], json[N * 160], *c = csv, *j = json;
    struct rows r;
    rows_init(&r, &schema);
    c += sprintf(c, "age,user_id,active,channel,joined\n");
    j += sprintf(j, "{\"rows\":[");
    for (int i = 0; i < N; i++) {
        const char *text = channels[i % 6];
        c += sprintf(c, "%.17g,u%d,%s,%s,2026-01-01T00:00:%02dZ\n", i / 7.0, i,
                     i % 2 ? "true" : "false", text, i % 60);
        j += sprintf(j,
                     "%s{\"user_id\":\"u%d\",\"features\":{\"age\":%.17g,\"active\":%s,"
                     "\"joined\":\"2026-01-01T00:00:%02dZ\"%s%s%s}}",
                     i ? "," : "", i, i / 7.0, i % 2 ? "true" : "false", i % 60,
                     *text ? ",\"channel\":\"" : "", text, *text ? "\"" : "");
    }
    j += sprintf(j, "]}");
    accepted(csv, N);
    assert_int_equal(rows_json_decode(&r, json, (size_t)(j - json), N, &error), ROWS_OK);
    assert_int_equal(rows.n_faults_total + r.n_faults_total, 0);
    assert_same_rows(&rows, &r);
    rows_release(&r);
}

/* Every allocation fails once: the body is refused for memory, or, where only the text of a fault
 * was lost, decoded all the same. */
static void memory_that_fails_is_said_and_leaks_nothing(void **state)
{
    (void)state;
    static const char text[] = "user_id,\"channel\"\n\"a\"\"b\",\"\"\"\"\n\xFF,x\n1,2,3\n";
    uint64_t n = 1;
    for (;; n++) {
        struct rows r;
        struct rows_csv *csv = NULL;
        size_t used = 0, more = 0, len = sizeof(text) - 1;
        rows_init(&r, &schema);
        seg_alloc_fail_at(n);
        enum rows_status st = rows_csv_header(&r, text, len, 1, &csv, &used, &error);
        if (st == ROWS_OK)
            st = rows_csv_decode(csv, &r, text + used, len - used, 1, 10, &more, &error);
        bool failed = seg_alloc_count() >= n;
        seg_alloc_fail_at(0);
        assert_true(st == ROWS_OK || (failed && st == ROWS_NO_MEMORY));
        if (st == ROWS_OK) {
            check_batch(&r, 10);
            assert_int_equal(r.n_rows, 3);
            assert_int_equal(r.user_id_len[0], 3);
            assert_true(!r.invalid[0] && r.invalid[1] && r.invalid[2]);
        }
        rows_csv_free(csv);
        rows_release(&r);
        if (!failed) break;
        assert_true(n < 1000);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(csv_reads_every_type),
        T(csv_knows_the_words_for_missing),
        T(csv_reads_quotes_line_ends_and_byte_order_marks),
        T(csv_header_refuses_what_the_model_cannot_use),
        T(a_bad_record_is_invalid_alone_and_its_place_is_told),
        T(a_body_split_anywhere_gives_the_same_rows),
        T(every_truncation_and_changed_byte_leaves_a_sound_batch),
        T(decode_stops_at_the_rows_wanted_and_goes_on),
        T(csv_gives_the_cells_that_json_gives),
        T(memory_that_fails_is_said_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
