/* safetensors_sample.h - tensors of every kind, their bytes, and whether two sets are the same.
 * Include after cmocka.h. */
#ifndef TESTS_UNIT_SAFETENSORS_SAMPLE_H
#define TESTS_UNIT_SAFETENSORS_SAMPLE_H

#include <string.h>
#include "base/safetensors.h"

/* One of each dtype, a scalar, an empty one, strings and metadata with every kind of escape. */
static inline enum seg_status sample_init(struct seg_tensors *ts)
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

static inline uint8_t *sample_bytes(size_t *ret_len)
{
    struct seg_tensors ts;
    uint8_t *bytes;
    assert_int_equal(sample_init(&ts), SEG_OK);
    assert_int_equal(seg_tensors_write(&ts, &bytes, ret_len), SEG_OK);
    seg_tensors_release(&ts);
    return bytes;
}

static inline void assert_same(const struct seg_tensors *a, const struct seg_tensors *b)
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

#endif
