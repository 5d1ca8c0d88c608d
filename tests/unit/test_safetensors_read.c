/* test_safetensors_read.c - every file that the format allows is read, and nothing else is
 * accepted, whatever was cut, changed or made up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "base/alloc.h"
#include "safetensors_sample.h"

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

/* Files that must be refused: a header and so many bytes of data behind it. Each differs from an
 * acceptable file by one fault. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_read_accepts_what_json_allows),
        cmocka_unit_test(tensors_read_decodes_every_escape),
        cmocka_unit_test(tensors_read_refuses_every_fault),
        cmocka_unit_test(tensors_read_refuses_a_name_that_is_too_long),
        cmocka_unit_test(tensors_read_refuses_a_header_length_that_lies),
        cmocka_unit_test(tensors_read_refuses_every_truncation),
        cmocka_unit_test(tensors_read_survives_every_changed_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
