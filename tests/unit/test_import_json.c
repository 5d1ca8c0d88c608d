/* test_import_json.c - imported NDJSON bodies as records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "import/source.h"

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* The records of a body as text, with the values as they print; the end's status. */
static enum source_status read_all(struct source *s, char *out, size_t size)
{
    struct record rec;
    enum source_status status;
    size_t n = 0;
    out[0] = '\0';
#define PUT(...) n += (size_t)snprintf(out + n, n < size ? size - n : 0, __VA_ARGS__)
    while ((status = s->next(s, &rec)) == SOURCE_RECORD) {
        assert_true(n < size);
        PUT("%zu", rec.line);
        if (rec.bad) {
            assert_true(rec.detail != NULL && rec.detail[0] != '\0');
            PUT("%s|", rec.code);
            continue;
        }
        for (uint32_t i = 0; i < s->n_columns; i++) {
            const struct field *f = &rec.fields[i];
            PUT(" %s=", s->columns[i]);
            if (f->kind == FIELD_TEXT)
                PUT("'%.*s'", (int)f->len, f->text);
            else if (f->kind == FIELD_ARRAY)
                PUT("[%g*%u]", (double)f->array[0], f->n);
            else if (f->kind == FIELD_BOOL)
                PUT("%s", f->number != 0 ? "true" : "false");
            else if (f->kind == FIELD_NUMBER)
                PUT("%g", f->number);
            else
                PUT("?");
        }
        PUT("|");
    }
#undef PUT
    return status;
}

static enum source_status read_body(const char *text, size_t len, char *out, size_t size)
{
    char *bytes = seg_alloc(len, 1); /* of exact size: a sanitizer sees a read past the end */
    char again[2048];
    assert_non_null(bytes);
    memcpy(bytes, text, len);
    const struct http_body body = { .data = bytes, .fd = -1, .len = len };
    struct source *s = ndjson_source_new(&body);
    assert_non_null(s);
    enum source_status status = read_all(s, out, size);
    uint32_t n_columns = s->n_columns;
    if (status == SOURCE_END) {
        assert_true(s->rewind(s));
        assert_int_equal(read_all(s, again, sizeof(again)), SOURCE_END);
        assert_int_equal(s->n_columns, n_columns);
    }
    s->free(s);
    seg_free(bytes);
    return status;
}

static void ndjson_gives_rows_flat_or_with_features_apart(void **state)
{
    (void)state;
    static const struct {
        const char *body, *records;
    } cases[] = {
        { "{\"a\":1,\"b\":\"x\"}\n", "1 a=1 b='x'|" },
        { "{\"id\":\"u\",\"features\":{\"a\":1}}", "1 id='u' a=1|" },
        { "{\"features\":{\"a\":1},\"id\":7}", "1 id=7 a=1|" },
        { "{\"a\":1}\n{\"b\":2}\n{\"a\":3}", "1 a=1|2 a=? b=2|3 a=3 b=?|" },
        { "\n \r\n{\"a\":true}\r\n\t\n{\"a\":null}", "3 a=true|5 a=?|" },
        { "{\"a\":[1,2,3]}", "1 a=[1*3]|" },
        { "{\"features\":\"text\"}", "1 features='text'|" },
        { "{}\n{\"a\":1}", "1|2 a=1|" },
        { "", "" },
        { "\n\n", "" },
        { "{\"a\":1}\n{\"a\":\n{\"a\":2}\n", "1 a=1|2not_json|3 a=2|" },
        { "[1]\n5\n", "1wrong_type|2wrong_type|" },
        { "{\"a\":{}}", "1wrong_type|" },
        { "{\"a\":[]}", "1wrong_type|" },
        { "{\"a\":[\"x\"]}", "1wrong_type|" },
        { "{\"a\":[1,null]}", "1wrong_type|" },
        { "{\"a\":[1e300]}", "1wrong_type|" },
        { "{\"a\":1e999}", "1not_finite|" },
        { "{\"a\":1,\"a\":2}", "1duplicate_key|" },
        { "{\"a\":1,\"features\":{\"a\":2}}", "1duplicate_key|" },
        { "{\"\":1}", "1too_many_columns|" },
        { "{\"a\":\"\xFF\"}", "1not_utf8|" },
        { "\xEF\xBB\xBF{\"a\":1}", "1not_json|" },
    };
    char out[2048];
    for (size_t i = 0; i < N_OF(cases); i++) {
        enum source_status status =
            read_body(cases[i].body, strlen(cases[i].body), out, sizeof(out));
        if (status != SOURCE_END || strcmp(out, cases[i].records) != 0)
            fail_msg("%s: %s, not %s", cases[i].body, out, cases[i].records);
    }
}

static void every_truncation_and_changed_byte_is_safe(void **state)
{
    (void)state;
    static const char sample[] =
        "{\"id\":\"\\u00e9\",\"features\":{\"a\":[1,2.5],\"b\":true}}\r\n\n"
        "{\"c\":null,\"a\":-1e3,\"id\":\"\xC3\xA9\"}";
    char text[sizeof(sample)], out[2048];
    for (size_t len = 0; len < sizeof(sample) - 1; len++)
        read_body(sample, len, out, sizeof(out));
    memcpy(text, sample, sizeof(sample));
    for (size_t i = 0; i + 1 < sizeof(sample); i++) {
        for (int byte = 0; byte < 256; byte += 1 + (byte > 128) * 5) {
            text[i] = (char)byte;
            read_body(text, sizeof(sample) - 1, out, sizeof(out));
        }
        text[i] = sample[i];
    }
}

static void more_columns_than_a_set_may_have_is_a_bad_row(void **state)
{
    (void)state;
    static char text[40000];
    char *p = text;
    for (int i = 0; i < 1025; i++)
        p += sprintf(p, "{\"c%d\":%d}\n", i, i);
    const struct http_body body = { .data = text, .fd = -1, .len = (uint64_t)(p - text) };
    struct source *s = ndjson_source_new(&body);
    struct record rec = { 0 };
    assert_non_null(s);
    for (int i = 0; i < 1025; i++) {
        assert_int_equal(s->next(s, &rec), SOURCE_RECORD);
        assert_int_equal(rec.bad, i == 1024);
    }
    assert_int_equal(s->n_columns, 1024);
    assert_int_equal(s->next(s, &rec), SOURCE_END);
    s->free(s);
}

static void memory_that_fails_is_said_and_leaks_nothing(void **state)
{
    (void)state;
    char text[3000], out[60000], *p = text;
    for (int i = 0; i < 70; i++) /* more columns than there is room for at first */
        p += sprintf(p, "{\"c%d\":[1,2],\"c%d\":\"x\"}\n", i, i + 1);
    const struct http_body body = { .data = text, .fd = -1, .len = (uint64_t)(p - text) };
    for (uint64_t n = 1;; n++) {
        enum source_status status = SOURCE_NO_MEMORY;
        seg_alloc_fail_at(n);
        struct source *s = ndjson_source_new(&body);
        if (s != NULL) {
            status = read_all(s, out, sizeof(out));
            bool failed = seg_alloc_count() >= n;
            seg_alloc_fail_at(0);
            for (uint32_t i = 0; i < s->n_columns; i++) /* names stay readable */
                assert_true(s->columns[i][0] == 'c');
            s->free(s);
            if (!failed) {
                assert_int_equal(status, SOURCE_END);
                assert_true(n > 70);
                return;
            }
        }
        assert_int_equal(status, SOURCE_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ndjson_gives_rows_flat_or_with_features_apart),
        cmocka_unit_test(every_truncation_and_changed_byte_is_safe),
        cmocka_unit_test(more_columns_than_a_set_may_have_is_a_bad_row),
        cmocka_unit_test(memory_that_fails_is_said_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
