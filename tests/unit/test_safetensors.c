/* test_safetensors.c - what is written is what the format says, the same whatever the order, and is
 * read back to the bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "safetensors_sample.h"

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
        cmocka_unit_test(tensors_survive_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
