/* test_tensors.c - bodies of the Open Inference Protocol: what fits is read, and no bytes make the
 * decoder read or write where it may not (run it under the address sanitizer). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "http/tensors.h"

#define ROWS_MAX 1000u

/* age (number), channel (app, web), member (boolean), place (vector of 2). */
static void make_schema(struct seg_schema *s)
{
    uint32_t code;
    seg_schema_init(s);
    assert_int_equal(seg_schema_add(s, "age", SEG_NUMERIC, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(s, "channel", SEG_CATEGORICAL, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(s, "member", SEG_BOOLEAN, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(s, "place", SEG_VECTOR, 2, NULL), SEG_OK);
    assert_int_equal(seg_dictionary_add(&s->features[1].dictionary, "app", 3, &code), SEG_OK);
    assert_int_equal(seg_dictionary_add(&s->features[1].dictionary, "web", 3, &code), SEG_OK);
}

static const char HEADER[] =
    "{\"id\":\"7\",\"inputs\":["
    "{\"name\":\"age\",\"datatype\":\"FP32\",\"shape\":[2],\"data\":[31,null]},"
    "{\"name\":\"channel\",\"datatype\":\"BYTES\",\"shape\":[2,1],"
    "\"parameters\":{\"binary_data_size\":14}},"
    "{\"name\":\"member\",\"datatype\":\"BOOL\",\"shape\":[2],\"data\":[true,false]},"
    "{\"name\":\"place\",\"datatype\":\"FP64\",\"shape\":[2,2],\"data\":[[1,2.5],[3,4]]}],"
    "\"outputs\":[{\"name\":\"segment\",\"parameters\":{\"binary_data\":true}}]}";
static const char TAIL[] = "\3\0\0\0web\3\0\0\0new";
#define HEADER_LEN (sizeof(HEADER) - 1)
#define TAIL_LEN   (sizeof(TAIL) - 1)

/* Decodes a copy of the bytes that ends where they end. */
static enum rows_status decode(const struct seg_schema *schema, const char *bytes, size_t len,
                               size_t json_len, struct rows *r, struct tensor_request *q,
                               size_t *ret_n_faults)
{
    struct seg_arena arena;
    struct faults f;
    struct rows_error e = { 0 };
    char *body = seg_alloc(len + (len == 0), 1);
    assert_non_null(body);
    memcpy(body, bytes, len);
    seg_arena_init(&arena, 0);
    faults_init(&f, &arena);
    rows_init(r, schema);
    enum rows_status st = tensors_decode(r, body, len, json_len, ROWS_MAX, q, &e, &f);
    if (st == ROWS_REFUSED) assert_true((e.code != NULL) != (f.n_total > 0));
    if (st == ROWS_OK) assert_true(r->n_rows >= 1 && r->n_rows <= ROWS_MAX);
    if (ret_n_faults != NULL) *ret_n_faults = f.n_total;
    seg_arena_release(&arena);
    seg_free(body);
    return st;
}

static void join(char out[HEADER_LEN + TAIL_LEN])
{
    memcpy(out, HEADER, HEADER_LEN);
    memcpy(out + HEADER_LEN, TAIL, TAIL_LEN);
}

static void json_and_binary_tensors_of_every_type_fill_their_cells(void **state)
{
    (void)state;
    struct seg_schema schema;
    struct rows r;
    struct tensor_request q;
    char body[HEADER_LEN + TAIL_LEN];
    make_schema(&schema);
    join(body);
    assert_int_equal(decode(&schema, body, sizeof(body), HEADER_LEN, &r, &q, NULL), ROWS_OK);
    assert_int_equal(r.n_rows, 2);
    assert_int_equal(r.n_faults, 0);
    const union seg_cell *first = (union seg_cell *)seg_tiles_cell(&r.cells, 0, 0);
    const float expected[] = { 31, 0, 1, 1, 2.5f };
    for (unsigned c = 0; c < 5; c++)
        if (c != 1) assert_true(first[c * SEG_TILE_ROWS].number == expected[c]);
    assert_int_equal(first[1 * SEG_TILE_ROWS].code, 1);
    assert_int_equal(first[1 * SEG_TILE_ROWS + 1].code, SEG_CODE_UNSEEN);
    assert_true(first[1].number != first[1].number); /* null is missing */
    assert_true(first[4 * SEG_TILE_ROWS + 1].number == 4);
    assert_string_equal(q.id, "7");
    assert_int_equal(q.n_outputs, 1);
    assert_true(q.outputs[0].binary);
    rows_release(&r);
    seg_schema_release(&schema);
}

/* A vector of `width` numbers between two numbers, n_rows rows: a tensor of the vector alone, or of
 * whole rows. The body's floats lie at odd addresses. */
static void fill_and_look(uint32_t width, uint32_t n_rows, bool whole_rows)
{
    struct seg_schema schema;
    struct rows r;
    struct tensor_request q;
    const uint32_t n_cols = whole_rows ? width + 2 : width, first = whole_rows ? 0 : 1;
    const size_t n_bytes = (size_t)n_rows * n_cols * sizeof(float);
    seg_schema_init(&schema);
    assert_int_equal(seg_schema_add(&schema, "a", SEG_NUMERIC, 1, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(&schema, "v", SEG_VECTOR, width, NULL), SEG_OK);
    assert_int_equal(seg_schema_add(&schema, "b", SEG_NUMERIC, 1, NULL), SEG_OK);
    char *body = seg_alloc(300 + n_bytes, 1);
    assert_non_null(body);
    int len = snprintf(body, 300,
                       "{\"inputs\":[{\"name\":\"%s\",\"datatype\":\"FP32\",\"shape\":[%u,%u],"
                       "\"parameters\":{\"binary_data_size\":%zu}}]}",
                       whole_rows ? "features" : "v", n_rows, n_cols, n_bytes);
    if (len % 2 == 0) body[len++] = ' ';
    for (uint32_t i = 0; i < n_rows * n_cols; i++) {
        const float x = i % 7 == 3 ? NAN : (float)i;
        memcpy(body + len + i * sizeof(float), &x, sizeof(x));
    }
    assert_int_equal(decode(&schema, body, (size_t)len + n_bytes, (size_t)len, &r, &q, NULL),
                     ROWS_OK);
    assert_int_equal(r.n_rows, n_rows);
    for (uint32_t row = 0; row < n_rows; row++)
        for (uint32_t c = 0; c < width + 2; c++) {
            const float x = *seg_tiles_cell(&r.cells, row, c);
            const uint32_t i = row * n_cols + c - first;
            if (c < first || c - first >= n_cols || i % 7 == 3)
                assert_true(x != x);
            else
                assert_true(x == (float)i);
        }
    rows_release(&r);
    seg_schema_release(&schema);
    seg_free(body);
}

static void floats_are_copied_whatever_the_width_and_the_number_of_rows(void **state)
{
    (void)state;
    static const uint32_t widths[] = { 1, 5, 62, 63, 64, 65, 130 }, rows[] = { 1, 63, 64, 65, 200 };
    for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++)
        for (size_t n = 0; n < sizeof(rows) / sizeof(rows[0]); n++) {
            fill_and_look(widths[w], rows[n], false);
            fill_and_look(widths[w], rows[n], true);
        }
}

static void a_body_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct seg_schema schema;
    struct rows r;
    struct tensor_request q;
    char body[HEADER_LEN + TAIL_LEN];
    make_schema(&schema);
    join(body);
    for (size_t len = 0; len < sizeof(body); len++) {
        size_t json_len = len < HEADER_LEN ? len : HEADER_LEN;
        assert_int_equal(decode(&schema, body, len, json_len, &r, &q, NULL), ROWS_REFUSED);
        rows_release(&r);
    }
    seg_schema_release(&schema);
}

static void no_bytes_make_it_leave_its_buffers(void **state)
{
    (void)state;
    struct seg_schema schema;
    struct rows r;
    struct tensor_request q;
    struct seg_rng rng = seg_rng_make(1, 1);
    make_schema(&schema);
    for (int round = 0; round < 20000; round++) {
        static const char alphabet[] = "{}[]\",:0123456789-.eEtfn\\u\0\xff";
        char body[HEADER_LEN + TAIL_LEN];
        join(body);
        for (uint64_t n = seg_rng_below(&rng, 4) + 1; n > 0; n--) {
            size_t at = (size_t)seg_rng_below(&rng, sizeof(body));
            body[at] = alphabet[seg_rng_below(&rng, sizeof(alphabet))];
        }
        decode(&schema, body, sizeof(body), HEADER_LEN, &r, &q, NULL);
        rows_release(&r);
    }
    seg_schema_release(&schema);
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    struct seg_schema schema;
    struct rows r;
    struct tensor_request q;
    struct seg_arena arena;
    struct faults f;
    struct rows_error e = { 0 };
    char body[HEADER_LEN + TAIL_LEN];
    enum rows_status st = ROWS_NO_MEMORY;
    make_schema(&schema);
    join(body);
    uint64_t n = 1;
    for (; st == ROWS_NO_MEMORY; n++) {
        assert_true(n < 1000);
        seg_arena_init(&arena, 0);
        faults_init(&f, &arena);
        rows_init(&r, &schema);
        seg_alloc_fail_at(n);
        st = tensors_decode(&r, body, sizeof(body), HEADER_LEN, ROWS_MAX, &q, &e, &f);
        seg_alloc_fail_at(0);
        rows_release(&r);
        seg_arena_release(&arena);
    }
    assert_true(n > 5);
    assert_int_equal(st, ROWS_OK);
    seg_schema_release(&schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_and_binary_tensors_of_every_type_fill_their_cells),
        cmocka_unit_test(floats_are_copied_whatever_the_width_and_the_number_of_rows),
        cmocka_unit_test(a_body_cut_anywhere_is_refused),
        cmocka_unit_test(no_bytes_make_it_leave_its_buffers),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
