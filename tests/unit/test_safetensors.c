/* test_safetensors.c - what is written is read back to the bit, and nothing else is accepted. */
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
#include "base/rng.h"
#include "base/safetensors.h"

/* A file of one's own: header text and data after an 8-byte length. Freed by the caller. */
static uint8_t *file_new(const char *header, size_t data_bytes, size_t *ret_len)
{
    const size_t header_bytes = strlen(header);
    uint8_t *bytes = seg_calloc(8 + header_bytes + data_bytes, 1);
    assert_non_null(bytes);
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)header_bytes >> (8 * i));
    memcpy(bytes + 8, header, header_bytes);
    *ret_len = 8 + header_bytes + data_bytes;
    return bytes;
}

/* Reads such a file; on SEG_OK the tensors are released again. */
static enum seg_status read_made(const char *header, size_t data_bytes, struct seg_error *err)
{
    size_t len;
    uint8_t *bytes = file_new(header, data_bytes, &len);
    struct seg_tensors ts;
    seg_tensors_init(&ts);
    enum seg_status st = seg_tensors_read(bytes, len, &ts, err);
    seg_tensors_release(&ts);
    seg_free(bytes);
    return st;
}

/* One of each dtype, a scalar, an empty one, strings and metadata with every kind of escape. */
static enum seg_status sample_init(struct seg_tensors *ts)
{
    static const float weights[6] = { 1, -2, 3.5f, 0, 5e-30f, 6e30f };
    static const double scalar = 3.25;
    static const int64_t longs[2] = { INT64_MIN, INT64_MAX };
    static const int32_t ints[1] = { -7 };
    static const uint32_t codes[3] = { 0, 1, UINT32_MAX };
    static const size_t shape[2] = { 2, 3 }, shape4[4] = { 1, 3, 0, 2 };
    static const char *const names[] = { "", "caf\xc3\xa9", "a\"b\\c" };
    seg_tensors_init(ts);
    enum seg_status st = seg_tensors_add(ts, "weights", SEG_F32, 2, shape, weights);
    if (st == SEG_OK) st = seg_tensors_add_strings(ts, "names", names, 3);
    if (st == SEG_OK) st = seg_tensors_add(ts, "scalar", SEG_F64, 0, NULL, &scalar);
    if (st == SEG_OK) st = seg_tensors_add_vector(ts, "a \"quoted\"\n", SEG_I64, 2, longs);
    if (st == SEG_OK) st = seg_tensors_add_vector(ts, "ints", SEG_I32, 1, ints);
    if (st == SEG_OK) st = seg_tensors_add_vector(ts, "codes", SEG_U32, 3, codes);
    if (st == SEG_OK) st = seg_tensors_add(ts, "none", SEG_F32, 4, shape4, NULL);
    if (st == SEG_OK) st = seg_tensors_set_meta(ts, "spec", "{\"k\": 8}\t\x01");
    if (st == SEG_OK) st = seg_tensors_set_meta(ts, "format", "1");
    return st;
}

static uint8_t *sample_bytes(size_t *ret_len)
{
    struct seg_tensors ts;
    uint8_t *bytes;
    assert_int_equal(sample_init(&ts), SEG_OK);
    assert_int_equal(seg_tensors_write(&ts, &bytes, ret_len), SEG_OK);
    seg_tensors_release(&ts);
    return bytes;
}

static void assert_same(const struct seg_tensors *a, const struct seg_tensors *b)
{
    assert_int_equal(a->n_items, b->n_items);
    for (size_t i = 0; i < a->n_items; i++) {
        const struct seg_tensor *x = &a->items[i], *y = &b->items[i];
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->dtype, y->dtype);
        assert_int_equal(x->n_dims, y->n_dims);
        for (unsigned k = 0; k < x->n_dims; k++)
            assert_int_equal(x->shape[k], y->shape[k]);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_int_equal(memcmp(x->data, y->data, x->n_bytes), 0);
    }
    assert_int_equal(a->n_meta, b->n_meta);
    for (size_t i = 0; i < 2 * a->n_meta; i++)
        assert_string_equal(a->meta[i], b->meta[i]);
}

static void tensors_written_are_read_back(void **state)
{
    (void)state;
    struct seg_tensors ts, back;
    struct seg_error err = { "" };
    size_t len;
    uint8_t *bytes = sample_bytes(&len);
    assert_int_equal(sample_init(&ts), SEG_OK);
    assert_int_equal(seg_tensors_read(bytes, len, &back, &err), SEG_OK);
    assert_string_equal(err.text, "");
    assert_same(&ts, &back);
    assert_string_equal(seg_tensors_meta(&back, "spec"), "{\"k\": 8}\t\x01");
    assert_null(seg_tensors_meta(&back, "spe"));
    assert_null(seg_tensors_find(&back, "weight"));
    assert_non_null(seg_tensors_find(&back, "a \"quoted\"\n"));
    seg_tensors_release(&ts);
    seg_tensors_release(&back);
    seg_free(bytes);
}

/* The definition of the format: a small fixed case, byte for byte. */
static void tensors_write_the_documented_bytes(void **state)
{
    (void)state;
    static const char header[] = "{\"__metadata__\":{\"k\":\"v\"},"
                                 "\"n\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]},"
                                 "\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}";
    static const float w[2] = { 1.0f, 2.0f };
    static const uint8_t n[1] = { 9 };
    struct seg_tensors ts;
    seg_tensors_init(&ts);
    assert_int_equal(seg_tensors_add_vector(&ts, "w", SEG_F32, 2, w), SEG_OK);
    assert_int_equal(seg_tensors_add_vector(&ts, "n", SEG_U8, 1, n), SEG_OK);
    assert_int_equal(seg_tensors_set_meta(&ts, "k", "v"), SEG_OK);
    uint8_t *bytes;
    size_t len;
    assert_int_equal(seg_tensors_write(&ts, &bytes, &len), SEG_OK);
    const size_t text_bytes = sizeof header - 1, header_bytes = (text_bytes + 7) / 8 * 8;
    assert_int_equal(len, 8 + header_bytes + 9);
    assert_int_equal(bytes[0], header_bytes);
    for (int i = 1; i < 8; i++)
        assert_int_equal(bytes[i], 0);
    assert_memory_equal(bytes + 8, header, text_bytes);
    for (size_t i = text_bytes; i < header_bytes; i++)
        assert_int_equal(bytes[8 + i], ' ');
    static const uint8_t data[9] = { 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 9 };
    assert_memory_equal(bytes + 8 + header_bytes, data, 9);
    seg_free(bytes);
    seg_tensors_release(&ts);
}

static void tensors_added_in_any_order_give_the_same_bytes(void **state)
{
    (void)state;
    uint8_t *first = NULL;
    size_t first_len = 0;
    struct seg_rng rng = seg_rng_make(1, 0);
    uint32_t order[20];
    for (uint32_t i = 0; i < 20; i++)
        order[i] = i;
    for (int round = 0; round < 5; round++) {
        struct seg_tensors ts;
        seg_tensors_init(&ts);
        for (uint32_t i = 0; i < 20; i++) {
            char name[20];
            snprintf(name, sizeof name, "t%u", order[i]);
            assert_int_equal(seg_tensors_add_vector(&ts, name, order[i] % SEG_N_DTYPES, 1,
                                                    (double[]){ order[i] }),
                             SEG_OK);
            assert_int_equal(seg_tensors_set_meta(&ts, name, name), SEG_OK);
        }
        uint8_t *bytes;
        size_t len;
        assert_int_equal(seg_tensors_write(&ts, &bytes, &len), SEG_OK);
        seg_tensors_release(&ts);
        if (first == NULL) {
            first = bytes;
            first_len = len;
        } else {
            assert_int_equal(len, first_len);
            assert_memory_equal(bytes, first, len);
            seg_free(bytes);
        }
        seg_rng_shuffle(&rng, order, 20);
    }
    seg_free(first);
}

static void tensors_start_at_a_multiple_of_their_element(void **state)
{
    (void)state;
    size_t len;
    uint8_t *bytes = sample_bytes(&len);
    char *header = seg_strndup((const char *)bytes + 8, bytes[0] + 256u * bytes[1]);
    assert_int_equal(strlen(header) % 8, 0);
    int n_seen = 0;
    for (const char *at = header; (at = strstr(at, "\"dtype\":\"")) != NULL; n_seen++) {
        at += strlen("\"dtype\":\"");
        const size_t n_bytes = at[1] == '6' ? 8 : at[1] == '3' ? 4 : 1;
        const size_t offset = strtoul(strstr(at, "offsets\":[") + 10, NULL, 10);
        assert_int_equal(offset % n_bytes, 0);
    }
    assert_int_equal(n_seen, 7);
    seg_free(header);
    seg_free(bytes);
}

static void tensors_add_refuses_what_could_not_be_read_again(void **state)
{
    (void)state;
    struct seg_tensors ts;
    seg_tensors_init(&ts);
    const float x = 1;
    char name[SEG_TENSOR_NAME_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_int_equal(seg_tensors_add_vector(&ts, name, SEG_F32, 1, &x), SEG_EINVAL);
    name[sizeof name - 2] = '\0';
    assert_int_equal(seg_tensors_add_vector(&ts, name, SEG_F32, 1, &x), SEG_OK);
    assert_int_equal(seg_tensors_add_vector(&ts, name, SEG_F32, 1, &x), SEG_EINVAL);
    assert_int_equal(seg_tensors_add_vector(&ts, "", SEG_F32, 1, &x), SEG_EINVAL);
    assert_int_equal(seg_tensors_add_vector(&ts, "\xff", SEG_F32, 1, &x), SEG_EINVAL);
    assert_int_equal(seg_tensors_add_vector(&ts, "__metadata__", SEG_F32, 1, &x), SEG_EINVAL);
    assert_int_equal(seg_tensors_add_vector(&ts, "v", SEG_F32, SIZE_MAX / 2, &x), SEG_ELIMIT);
    assert_int_equal(seg_tensors_add_vector(&ts, "v", SEG_F32, SEG_TENSORS_BYTES_MAX, &x),
                     SEG_ELIMIT);
    const size_t shape[5] = { 1, 1, 1, 1, 1 };
    assert_int_equal(seg_tensors_add(&ts, "v", SEG_F32, 5, shape, &x), SEG_EINVAL);
    assert_int_equal(seg_tensors_set_meta(&ts, "k", "\xc3"), SEG_EINVAL);
    assert_int_equal(seg_tensors_set_meta(&ts, "\xc3", "v"), SEG_EINVAL);
    assert_int_equal(seg_tensors_add_strings(&ts, "s", (const char *[]){ "\x80" }, 1), SEG_EINVAL);
    assert_int_equal(ts.n_items, 1);
    assert_int_equal(ts.n_meta, 0);
    seg_tensors_release(&ts);
}

static void tensors_set_meta_replaces(void **state)
{
    (void)state;
    struct seg_tensors ts;
    seg_tensors_init(&ts);
    assert_int_equal(seg_tensors_set_meta(&ts, "k", "old"), SEG_OK);
    assert_int_equal(seg_tensors_set_meta(&ts, "k", "new"), SEG_OK);
    assert_int_equal(ts.n_meta, 1);
    assert_string_equal(seg_tensors_meta(&ts, "k"), "new");
    seg_tensors_release(&ts);
}

static void tensors_expect_says_which_and_what(void **state)
{
    (void)state;
    struct seg_tensors ts;
    struct seg_error err;
    const void *data = NULL;
    assert_int_equal(sample_init(&ts), SEG_OK);
    assert_int_equal(seg_tensors_expect(&ts, "weights", SEG_F32, 6, &data, &err), SEG_OK);
    assert_true(((const float *)data)[2] == 3.5f);
    const void *before = data;
    assert_int_equal(seg_tensors_expect(&ts, "weights", SEG_F32, 5, &data, &err), SEG_EFORMAT);
    assert_string_equal(err.text, "tensor 'weights' has 6 elements (expected 5)");
    assert_int_equal(seg_tensors_expect(&ts, "weights", SEG_I32, 6, &data, &err), SEG_EFORMAT);
    assert_string_equal(err.text, "tensor 'weights' is F32 (expected I32)");
    assert_int_equal(seg_tensors_expect(&ts, "bias", SEG_F32, 6, &data, &err), SEG_EFORMAT);
    assert_string_equal(err.text, "tensor 'bias' is missing");
    assert_ptr_equal(data, before);
    seg_tensors_release(&ts);
}

static void tensors_strings_are_split_at_their_ends(void **state)
{
    (void)state;
    struct seg_tensors ts;
    struct seg_error err;
    const char **strings;
    size_t n;
    assert_int_equal(sample_init(&ts), SEG_OK);
    assert_int_equal(seg_tensors_strings(&ts, "names", &strings, &n, &err), SEG_OK);
    assert_int_equal(n, 3);
    assert_string_equal(strings[0], "");
    assert_string_equal(strings[1], "caf\xc3\xa9");
    assert_string_equal(strings[2], "a\"b\\c");
    seg_free(strings);

    assert_int_equal(seg_tensors_add_strings(&ts, "no strings", NULL, 0), SEG_OK);
    assert_int_equal(seg_tensors_strings(&ts, "no strings", &strings, &n, &err), SEG_OK);
    assert_int_equal(n, 0);
    seg_free(strings);

    assert_int_equal(seg_tensors_add_vector(&ts, "endless", SEG_U8, 2, "ab"), SEG_OK);
    assert_int_equal(seg_tensors_add_vector(&ts, "latin-1", SEG_U8, 2, "\xe9"), SEG_OK);
    static const char *const bad[] = { "endless", "latin-1", "weights", "absent" };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(seg_tensors_strings(&ts, bad[i], &strings, &n, &err), SEG_EFORMAT);
    seg_tensors_release(&ts);
}

#define W(members) "{\"w\":{" members "}}"
#define GOOD       "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"

static void tensors_read_accepts_what_json_allows(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
    } cases[] = {
        { "{}", 0 },
        { " {\t}\r\n ", 0 },
        { "{\"__metadata__\":{}}", 0 },
        { W(GOOD), 4 },
        { W("\"data_offsets\" : [ 0 , 4 ] , \"shape\":[ ],\"dtype\":\"F32\""), 4 },
        { "{\"\\u0077\\uD83D\\uDE00\\/\":{" GOOD "}}", 4 },
        { W("\"dt\\u0079pe\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]"), 0 },
        { "{\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]},"
          "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
          1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seg_error err;
        if (read_made(cases[i].header, cases[i].data_bytes, &err) != SEG_OK)
            fail_msg("%s: %s", cases[i].header, err.text);
    }
}

static void tensors_read_decodes_every_escape(void **state)
{
    (void)state;
    size_t len;
    uint8_t *bytes = file_new("{\"__metadata__\":{\"k\":"
                              "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"}}",
                              0, &len);
    struct seg_tensors ts;
    assert_int_equal(seg_tensors_read(bytes, len, &ts, NULL), SEG_OK);
    assert_string_equal(seg_tensors_meta(&ts, "k"),
                        "\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    seg_tensors_release(&ts);
    seg_free(bytes);
}

/* Each differs from an acceptable file by one fault; data_bytes is what the sound file would have.
 */
/* Files that must be refused: a header and so many bytes of data behind it. */
static const struct {
    const char *fault, *header;
    size_t data_bytes;
} FAULTS[] = {
    { "nothing", "", 0 },
    { "a list", "[]", 0 },
    { "no end", "{\"w\":{" GOOD "}", 4 },
    { "more after the end", "{}{}", 0 },
    { "trailing comma", "{\"w\":{" GOOD "},}", 4 },
    { "no comma", "{\"__metadata__\":{} \"w\":{" GOOD "}}", 4 },
    { "trailing bytes", W(GOOD), 5 },
    { "data too short", W(GOOD), 3 },
    { "data without tensors", "{}", 1 },
    { "unknown dtype", W("\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]"), 4 },
    { "dtype in lower case", W("\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4 },
    { "dtype is no string", W("\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]"), 4 },
    { "no dtype", W("\"shape\":[1],\"data_offsets\":[0,4]"), 4 },
    { "no shape", W("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4 },
    { "no offsets", W("\"dtype\":\"F32\",\"shape\":[0]"), 0 },
    { "dtype twice", W(GOOD ",\"dtype\":\"F32\""), 4 },
    { "unknown member", W(GOOD ",\"x\":\"y\""), 4 },
    { "shape product", W("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4 },
    { "shape overflows",
      W("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0 },
    { "dimension over 64 bits",
      W("\"dtype\":\"F32\",\"shape\":[18446744073709551617],\"data_offsets\":[0,4]"), 4 },
    { "too many dimensions", W("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]"),
      4 },
    { "negative dimension", W("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4 },
    { "fraction", W("\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]"), 4 },
    { "exponent", W("\"dtype\":\"F32\",\"shape\":[1e0],\"data_offsets\":[0,4]"), 4 },
    { "leading zero", W("\"dtype\":\"F32\",\"shape\":[01],\"data_offsets\":[0,4]"), 4 },
    { "null shape", W("\"dtype\":\"F32\",\"shape\":null,\"data_offsets\":[0,4]"), 4 },
    { "hole in a list", W("\"dtype\":\"F32\",\"shape\":[,1],\"data_offsets\":[0,4]"), 4 },
    { "end of a list", W("\"dtype\":\"F32\",\"shape\":[1,],\"data_offsets\":[0,4]"), 4 },
    { "one offset", W("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]"), 4 },
    { "three offsets", W("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]"), 4 },
    { "offsets turned", W("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4 },
    { "gap before", W("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8 },
    { "offsets out of bounds",
      W("\"dtype\":\"U8\",\"shape\":[4294967296],\"data_offsets\":[0,4294967296]"), 4 },
    { "gap between",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
      "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}",
      3 },
    { "overlap",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
      "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
      3 },
    { "the same bytes twice",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
      "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
      1 },
    { "name twice",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
      "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
      2 },
    { "name twice, once escaped",
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
      "\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
      2 },
    { "metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0 },
    { "key twice", "{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0 },
    { "metadata of a number", "{\"__metadata__\":{\"k\":1}}", 0 },
    { "metadata too deep", "{\"__metadata__\":{\"k\":{}}}", 0 },
    { "metadata is a string", "{\"__metadata__\":\"k\"}", 0 },
    { "empty name", "{\"\":{" GOOD "}}", 4 },
    { "name without quotes", "{w:{" GOOD "}}", 4 },
    { "no colon", "{\"w\"{" GOOD "}}", 4 },
    { "bad escape", "{\"__metadata__\":{\"k\":\"\\x\"}}", 0 },
    { "escape of a NUL", "{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0 },
    { "short escape", "{\"__metadata__\":{\"k\":\"\\u12\"}}", 0 },
    { "escape of no digits", "{\"__metadata__\":{\"k\":\"\\u12g4\"}}", 0 },
    { "high surrogate alone", "{\"__metadata__\":{\"k\":\"\\ud83d\"}}", 0 },
    { "high surrogate twice", "{\"__metadata__\":{\"k\":\"\\ud83d\\ud83d\"}}", 0 },
    { "low surrogate alone", "{\"__metadata__\":{\"k\":\"\\ude00\"}}", 0 },
    { "control character", "{\"__metadata__\":{\"k\":\"\n\"}}", 0 },
    { "string without an end", "{\"__metadata__\":{\"k\":\"", 0 },
    { "string ends in a backslash", "{\"__metadata__\":{\"k\":\"\\", 0 },
    { "not UTF-8", "{\"__metadata__\":{\"k\":\"\xc3\"}}", 0 },
    { "overlong UTF-8", "{\"__metadata__\":{\"k\":\"\xc0\xaf\"}}", 0 },
    { "byte order mark", "\xef\xbb\xbf{}", 0 },
};

static void tensors_read_refuses_every_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
        struct seg_error err = { "" };
        enum seg_status st = read_made(FAULTS[i].header, FAULTS[i].data_bytes, &err);
        if (st != SEG_EFORMAT) fail_msg("%s was accepted", FAULTS[i].fault);
        assert_true(err.text[0] != '\0');
    }
}

static void tensors_read_refuses_a_name_that_is_too_long(void **state)
{
    (void)state;
    char header[400], name[SEG_TENSOR_NAME_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    snprintf(header, sizeof header, "{\"%s\":{" GOOD "}}", name);
    assert_int_equal(read_made(header, 4, NULL), SEG_EFORMAT);
    snprintf(header, sizeof header, "{\"%s\":{" GOOD "}}", name + 1);
    assert_int_equal(read_made(header, 4, NULL), SEG_OK);
}

static void tensors_read_refuses_a_header_length_that_lies(void **state)
{
    (void)state;
    static const uint64_t lengths[] = { 3, 100000001, (uint64_t)1 << 63, UINT64_MAX,
                                        UINT64_MAX - 7 };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t bytes[10] = "........{}";
        for (unsigned k = 0; k < 8; k++)
            bytes[k] = (uint8_t)(lengths[i] >> (8 * k));
        struct seg_tensors ts;
        assert_int_equal(seg_tensors_read(bytes, sizeof bytes, &ts, NULL), SEG_EFORMAT);
    }
}

/* The copy has no byte to spare: a read past its end is seen by the address sanitizer. */
static void tensors_read_refuses_every_truncation(void **state)
{
    (void)state;
    size_t len;
    uint8_t *bytes = sample_bytes(&len);
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *copy = seg_alloc(cut, 1);
        memcpy(copy, bytes, cut);
        struct seg_tensors ts;
        assert_int_equal(seg_tensors_read(copy, cut, &ts, NULL), SEG_EFORMAT);
        seg_free(copy);
    }
    seg_free(bytes);
}

/* Every byte replaced by every other value. What is still accepted must be sound: it writes and
 * reads to the same again. */
static void tensors_read_survives_every_changed_byte(void **state)
{
    (void)state;
    size_t len, n_accepted = 0, n_refused = 0;
    uint8_t *bytes = sample_bytes(&len);
    for (size_t i = 0; i < len; i++) {
        const uint8_t sound = bytes[i];
        for (unsigned change = 1; change < 256; change++) {
            bytes[i] = (uint8_t)(sound ^ change);
            struct seg_tensors ts, back;
            if (seg_tensors_read(bytes, len, &ts, NULL) != SEG_OK) {
                n_refused++;
                continue;
            }
            n_accepted++;
            uint8_t *again;
            size_t again_len;
            assert_int_equal(seg_tensors_write(&ts, &again, &again_len), SEG_OK);
            assert_int_equal(seg_tensors_read(again, again_len, &back, NULL), SEG_OK);
            assert_same(&ts, &back);
            seg_free(again);
            seg_tensors_release(&ts);
            seg_tensors_release(&back);
        }
        bytes[i] = sound;
    }
    assert_true(n_accepted > 0 && n_refused > 20 * len); /* both happened, and often */
    seg_free(bytes);
}

static enum seg_status round_trip(void)
{
    struct seg_tensors ts, back;
    uint8_t *bytes = NULL;
    size_t len, n;
    const char **strings = NULL;
    seg_tensors_init(&back);
    enum seg_status st = sample_init(&ts);
    if (st == SEG_OK) st = seg_tensors_write(&ts, &bytes, &len);
    if (st == SEG_OK) st = seg_tensors_read(bytes, len, &back, NULL);
    if (st == SEG_OK) st = seg_tensors_strings(&back, "names", &strings, &n, NULL);
    seg_free(strings);
    seg_free(bytes);
    seg_tensors_release(&back);
    seg_tensors_release(&ts);
    return st;
}

static void tensors_survive_every_failed_allocation(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (;; nth++) {
        seg_alloc_fail_at(nth);
        enum seg_status st = round_trip();
        seg_alloc_fail_at(0);
        if (st == SEG_OK) break;
        assert_int_equal(st, SEG_ENOMEM);
    }
    assert_true(nth > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_written_are_read_back),
        cmocka_unit_test(tensors_write_the_documented_bytes),
        cmocka_unit_test(tensors_added_in_any_order_give_the_same_bytes),
        cmocka_unit_test(tensors_start_at_a_multiple_of_their_element),
        cmocka_unit_test(tensors_add_refuses_what_could_not_be_read_again),
        cmocka_unit_test(tensors_set_meta_replaces),
        cmocka_unit_test(tensors_expect_says_which_and_what),
        cmocka_unit_test(tensors_strings_are_split_at_their_ends),
        cmocka_unit_test(tensors_read_accepts_what_json_allows),
        cmocka_unit_test(tensors_read_decodes_every_escape),
        cmocka_unit_test(tensors_read_refuses_every_fault),
        cmocka_unit_test(tensors_read_refuses_a_name_that_is_too_long),
        cmocka_unit_test(tensors_read_refuses_a_header_length_that_lies),
        cmocka_unit_test(tensors_read_refuses_every_truncation),
        cmocka_unit_test(tensors_read_survives_every_changed_byte),
        cmocka_unit_test(tensors_survive_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
