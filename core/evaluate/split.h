/* split.h - cutting rows in training, validation and test parts.
 * Deterministic by seed, independent of anything but row number and class. */
#ifndef SEG_EVALUATE_SPLIT_H
#define SEG_EVALUATE_SPLIT_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

/* part (n) receives SEG_PART_TRAIN, _VALIDATION or _TEST (features/preprocess.h). test and
 * validation are shares of all rows, 0 <= each, sum < 1. With y (n) the split is stratified: every
 * class is cut in the same shares, rounded so that the totals are right to one row a class; the
 * first row of a class (in shuffled order) always goes to training. y NULL: not stratified.
 * SEG_EINVAL, SEG_ENOMEM. */
enum seg_status seg_split(size_t n, const uint16_t *y, uint32_t n_classes, double test,
                          double validation, uint64_t seed, uint8_t *part, struct seg_error *err);

#endif
