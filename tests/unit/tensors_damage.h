/* tensors_damage.h - what may happen to stored tensors: bits that flip, one that lacks, one that is
 * cut to half. `refused` loads what it is given and says whether that failed. Include after
 * cmocka.h.
 */
#ifndef TESTS_UNIT_TENSORS_DAMAGE_H
#define TESTS_UNIT_TENSORS_DAMAGE_H

#include <stdbool.h>
#include "base/safetensors.h"

typedef bool (*tensors_refused)(const struct seg_tensors *ts);

/* Flips each bit of every step-th byte of item i, and back. How often it was refused. */
static inline size_t tensors_flip_bits(struct seg_tensors *ts, size_t i, size_t step,
                                       tensors_refused refused)
{
    uint8_t *bytes = ts->items[i].data;
    size_t n_refused = 0;
    for (size_t at = 0; at < ts->items[i].n_bytes; at += step)
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[at] = (uint8_t)(bytes[at] ^ 1u << bit);
            n_refused += refused(ts);
            bytes[at] = (uint8_t)(bytes[at] ^ 1u << bit);
        }
    return n_refused;
}

/* Item i left out, and item i with half of its rows, must be refused. */
static inline void tensors_must_be_whole(const struct seg_tensors *ts, size_t i,
                                         tensors_refused refused)
{
    struct seg_tensors without, half;
    seg_tensors_init(&without);
    seg_tensors_init(&half);
    for (size_t j = 0; j < ts->n_items; j++) {
        const struct seg_tensor *item = &ts->items[j];
        size_t shape[2] = { item->shape[0], item->n_dims > 1 ? item->shape[1] : 1 };
        if (j != i)
            assert_int_equal(
                seg_tensors_add(&without, item->name, item->dtype, item->n_dims, shape, item->data),
                SEG_OK);
        if (j == i) shape[0] /= 2;
        assert_int_equal(
            seg_tensors_add(&half, item->name, item->dtype, item->n_dims, shape, item->data),
            SEG_OK);
    }
    assert_true(refused(&without));
    assert_true(refused(&half));
    seg_tensors_release(&without);
    seg_tensors_release(&half);
}

#endif
