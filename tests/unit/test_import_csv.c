/* test_import_csv.c - imported CSV bodies as records, and what type a column of fields is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "import/source.h"

#define N_OF(a)    (sizeof(a) / sizeof((a)[0]))
#define FIRST_READ ((size_t)512 << 10) /* bytes that the window takes first */

/* All records of a body as text: fields in <>, bad records as their code, each with its line. */
struct reading {
    enum source_status end;
    uint32_t n_columns;
    char code[40];
    size_t refusal_line;
    char text[4096];
};

static void append(struct reading *r, const char *text, size_t len)
{
    size_t n = strlen(r->text);
    if (n + len >= sizeof(r->text)) return;
    memcpy(r->text + n, text, len);
    r->text[n + len] = '\0';
}

static void append_record(struct reading *r, const struct record *rec, size_t n_columns)
{
    char line[40];
    append(r, line, (size_t)snprintf(line, sizeof(line), "%zu", rec->line));
    if (rec->bad) {
        append(r, rec->code, strlen(rec->code));
        append(r, line, (size_t)snprintf(line, sizeof(line), "@%zu", rec->column));
    }
    for (size_t i = 0; !rec->bad && i < n_columns; i++) {
        const struct field *f = &rec->fields[i];
        append(r, "<", 1);
        if (f->kind == FIELD_MISSING)
            append(r, "?", 1);
        else if (f->len < 100)
            append(r, f->text, f->len);
        append(r, ">", 1);
    }
    append(r, "|", 1);
}

static void read_all(struct source *s, struct reading *ret)
{
    struct record rec;
    memset(ret, 0, sizeof(*ret));
    while ((ret->end = s->next(s, &rec)) == SOURCE_RECORD)
        append_record(ret, &rec, s->n_columns);
    ret->n_columns = s->n_columns;
    if (ret->end != SOURCE_REFUSED) return;
    snprintf(ret->code, sizeof(ret->code), "%s", s->refusal_code);
    ret->refusal_line = s->refusal_line;
    assert_true(s->refusal[0] != '\0');
}

/* Reads the body twice, as an import does: both times it must say the same. */
static void read_body(const char *bytes, size_t len, struct reading *ret)
{
    char *copy = seg_alloc(len, 1); /* of exact size: a sanitizer sees a read past the end */
    struct reading again;
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    const struct http_body body = { .data = copy, .fd = -1, .len = len };
    struct source *s = csv_source_new(&body);
    assert_non_null(s);
    read_all(s, ret);
    if (ret->end == SOURCE_END) {
        assert_true(s->rewind(s));
        read_all(s, &again);
        assert_int_equal(again.end, SOURCE_END);
        assert_string_equal(again.text, ret->text);
    }
    s->free(s);
    seg_free(copy);
}

static void csv_gives_records_as_they_stand(void **state)
{
    (void)state;
    static const struct {
        const char *body, *records;
    } cases[] = {
        { "a,b\n1,2\n", "2<1><2>|" },
        { "a,b\n1,2", "2<1><2>|" },
        { "a,b\r\n1,2\r\n3,4\r\n", "2<1><2>|3<3><4>|" },
        { "a,b\n1,2\r", "2<1><2>|" },
        { "\xEF\xBB\xBF"
          "a,b\n1,2\n",
          "2<1><2>|" },
        { "a;b\n1,5;2\n", "2<1,5><2>|" },
        { "a\tb\n1\t2\n", "2<1><2>|" },
        { "a,b\n\"x,y\",\"p\nq\"\n3,4\n", "2<x,y><p\nq>|4<3><4>|" },
        { "a,b\n\"x\"\"y\",\"\"\"\"\n", "2<x\"y><\">|" },
        { "a,b\n5\" disk,x\"y\n", "2<5\" disk><x\"y>|" },
        { "\"a,1\",\"b\nc\"\n1,2\n", "3<1><2>|" },
        { "a,b\n,\"\"\nNA,\"NA\"\nnull,N/A\nNaN,nan\n", "2<?><?>|3<?><NA>|4<?><?>|5<?><?>|" },
        { "a,b\n\n1,2\n\r\n\n3,4\n\n", "3<1><2>|6<3><4>|" },
        { "a,b\n1\n1,2,3\n4,5\n", "2ragged_row@0|3ragged_row@0|4<4><5>|" },
        { "a,b\n1,\"x\"y\n4,5\n", "2bad_record@3|3<4><5>|" },
        { "a,b\n1,\"x\n4,5\n", "2bad_record@3|" },
        { "a,b\n1,\xFF\n4,5\n", "2bad_record@3|3<4><5>|" },
        { "a,b\n1,\xED\xA0\x80\n4,5\n", "2bad_record@3|3<4><5>|" },
        { "a\n\"\"\n", "2<?>|" },
        { "a\n", "" },
        { "a", "" },
    };
    struct reading r;
    for (size_t i = 0; i < N_OF(cases); i++) {
        read_body(cases[i].body, strlen(cases[i].body), &r);
        if (r.end != SOURCE_END || strcmp(r.text, cases[i].records) != 0)
            fail_msg("%s: %s %s", cases[i].body, r.text, r.code);
    }
}

static void a_header_that_names_no_columns_refuses_the_body(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",       "\xEF\xBB\xBF", "\n1\n", "a,,b\n", "a,a\n",
        "\"a\n1", "\"a\"b\n",     "a,\n",  "\xFF\n", "a,b,\"a\"\n"
    };
    struct reading r;
    for (size_t i = 0; i < N_OF(bodies); i++) {
        read_body(bodies[i], strlen(bodies[i]), &r);
        if (r.end != SOURCE_REFUSED || strcmp(r.code, "bad_header") != 0)
            fail_msg("%s: %d %s", bodies[i], (int)r.end, r.code);
    }
    char wide[8000], *p = wide;
    for (int i = 0; i < 1025; i++)
        p += sprintf(p, "c%d,", i);
    p[-1] = '\n';
    read_body(wide, (size_t)(p - wide), &r);
    assert_string_equal(r.code, "too_many_columns");
}

/* A record of every kind, moved byte by byte over the end of what is read first. */
static void the_end_of_the_window_may_fall_on_any_byte(void **state)
{
    (void)state;
    static const char head[] = "a,b\n", tail[] =
                                            "\",1\r\n\"x\"\"y\",\"p,\r\nq\"\r\n\xC3\xA9,\"\"\r\n"
                                            "5,\"\"\"\"\"\"\r\n\r\n7,8";
    struct reading r, expected = { 0 };
    char *body = seg_alloc(FIRST_READ + 200, 1);
    assert_non_null(body);
    for (size_t shift = 0; shift <= sizeof(tail); shift++) {
        size_t n = FIRST_READ - shift, len = n + sizeof(tail) - 1;
        memcpy(body, head, sizeof(head) - 1);
        memset(body + sizeof(head) - 1, 'z', n - (sizeof(head) - 1));
        body[sizeof(head) - 1] = '"';
        memcpy(body + n, tail, sizeof(tail) - 1);
        read_body(body, len, &r);
        if (shift == 0) expected = r;
        assert_int_equal(r.end, SOURCE_END);
        assert_string_equal(r.text, expected.text);
    }
    assert_string_equal(expected.text,
                        "2<><1>|3<x\"y><p,\r\nq>|5<\xC3\xA9><?>|6<5><\"\">|8<7><8>|");
    seg_free(body);
}

static void a_record_over_the_limit_refuses_the_body(void **state)
{
    (void)state;
    struct reading r;
    size_t len = 2 * RECORD_BYTES_MAX + FIRST_READ;
    char *body = seg_alloc(len, 1);
    assert_non_null(body);
    memset(body, 'x', len);
    memcpy(body, "a\n\"", 3);
    read_body(body, len, &r);
    assert_int_equal(r.end, SOURCE_REFUSED);
    assert_string_equal(r.code, "record_too_long");
    assert_int_equal(r.refusal_line, 2);
    seg_free(body);
}

static void every_truncation_and_changed_byte_is_safe(void **state)
{
    (void)state;
    static const char sample[] =
        "\xEF\xBB\xBF\"a\",b,c\r\n1,\"x\"\"y\",\xC3\xA9\n\"p\nq\",,\"\"\n\nz";
    char text[sizeof(sample)];
    struct reading r;
    for (size_t len = 0; len < sizeof(sample); len++)
        read_body(sample, len, &r);
    memcpy(text, sample, sizeof(sample));
    for (size_t i = 0; i + 1 < sizeof(sample); i++) {
        for (int byte = 0; byte < 256; byte += 1 + (byte > 128) * 5) {
            text[i] = (char)byte;
            read_body(text, sizeof(sample) - 1, &r);
        }
        text[i] = sample[i];
    }
}

static void memory_that_fails_is_said_and_leaks_nothing(void **state)
{
    (void)state;
    char text[8000], *p = text;
    for (int i = 0; i < 200; i++) /* more fields than there is room for at first */
        p += sprintf(p, "column_%03d,", i);
    p[-1] = '\n';
    for (int i = 0; i < 200; i++)
        p += sprintf(p, "\"%d\",", i);
    p[-1] = '\n';
    const struct http_body body = { .data = text, .fd = -1, .len = (uint64_t)(p - text) };
    for (uint64_t n = 1;; n++) {
        struct reading r = { 0 };
        seg_alloc_fail_at(n);
        struct source *s = csv_source_new(&body);
        if (s != NULL) {
            read_all(s, &r);
            s->free(s);
        }
        bool failed = seg_alloc_count() >= n;
        seg_alloc_fail_at(0);
        if (failed && s != NULL) assert_int_equal(r.end, SOURCE_NO_MEMORY);
        if (!failed) {
            assert_int_equal(r.end, SOURCE_END);
            assert_true(n > 4);
            break;
        }
    }
}

static struct field text_field(const char *text)
{
    struct field f = { .kind =
                           field_is_missing_text(text, strlen(text)) ? FIELD_MISSING : FIELD_TEXT,
                       .text = text,
                       .len = strlen(text) };
    return f;
}

static void a_columns_type_is_the_narrowest_that_holds_every_value(void **state)
{
    (void)state;
    static const struct {
        const char *values[4];
        int type;
    } cases[] = { { { "1", "2.5", "-3e4", "" }, SEG_NUMERIC },
                  { { "+1", ".5", "5.", "" }, SEG_NUMERIC },
                  { { "1", "x", "", "" }, SEG_CATEGORICAL },
                  { { "true", "FALSE", "", "" }, SEG_BOOLEAN },
                  { { "true", "1", "", "" }, SEG_CATEGORICAL },
                  { { "2026-01-01", "2026-01-01T10:00:00Z", "", "" }, SEG_TIMESTAMP },
                  { { "2026-01-01", "1", "", "" }, SEG_CATEGORICAL },
                  { { "0x10", "1", "", "" }, SEG_CATEGORICAL },
                  { { "inf", "1", "", "" }, SEG_CATEGORICAL },
                  { { "1e999", "1", "", "" }, SEG_CATEGORICAL },
                  { { "-", "+", ".", "1e" }, SEG_CATEGORICAL },
                  { { "", "NA", "null", "nan" }, SEG_NUMERIC } };
    for (size_t i = 0; i < N_OF(cases); i++) {
        struct field_types types;
        field_types_init(&types);
        for (size_t k = 0; k < 4; k++) {
            struct field f = text_field(cases[i].values[k]);
            field_narrow(&types, &f);
        }
        if (field_type(&types) != cases[i].type)
            fail_msg("%s: %d", cases[i].values[0], field_type(&types));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_gives_records_as_they_stand),
        cmocka_unit_test(a_header_that_names_no_columns_refuses_the_body),
        cmocka_unit_test(the_end_of_the_window_may_fall_on_any_byte),
        cmocka_unit_test(a_record_over_the_limit_refuses_the_body),
        cmocka_unit_test(every_truncation_and_changed_byte_is_safe),
        cmocka_unit_test(memory_that_fails_is_said_and_leaks_nothing),
        cmocka_unit_test(a_columns_type_is_the_narrowest_that_holds_every_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
