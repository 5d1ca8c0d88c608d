/* split.c - rows are grouped by class, each group is shuffled, and its front is dealt out.
 * Counts come from rounding running totals, so that neither a class nor the whole is off by more
 * than a row for each class. */
#include "evaluate/split.h"

#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/shuffle.h"
#include "features/preprocess.h"

#define SPLIT_STREAM ((uint64_t)5 << 60) /* plus the class */

/* Row numbers in order of class: class c at rows[start[c]..start[c + 1]). */
static enum seg_status group_rows(size_t n, const uint16_t *y, uint32_t n_classes, size_t *start,
                                  uint32_t *rows, struct seg_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (i % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        uint32_t c = y != NULL ? y[i] : 0;
        if (c >= n_classes)
            return seg_fail(err, SEG_EINVAL, "class is %u at row %zu (limit %u)", c, i,
                            n_classes - 1);
        start[c + 1]++;
    }
    for (uint32_t c = 0; c < n_classes; c++)
        start[c + 1] += start[c];
    for (size_t i = 0; i < n; i++) { /* start[c] runs to the end of c: shifted back below */
        if (i % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        rows[start[y != NULL ? y[i] : 0]++] = (uint32_t)i;
    }
    memmove(start + 1, start, n_classes * sizeof *start);
    start[0] = 0;
    return SEG_OK;
}

/* Writes down the part of n rows. */
static void deal(const uint32_t *rows, size_t n, enum seg_part to, uint8_t *part)
{
    for (size_t i = 0; i < n; i++) {
        if (i % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        part[rows[i]] = (uint8_t)to;
    }
}

/* What `share` of rows first..last-1 is, when every boundary is rounded. */
static size_t share_of(double share, size_t first, size_t last)
{
    return (size_t)(floor(share * (double)last + 0.5) - floor(share * (double)first + 0.5));
}

enum seg_status seg_split(size_t n, const uint16_t *y, uint32_t n_classes, double test,
                          double validation, uint64_t seed, uint8_t *part, struct seg_error *err)
{
    if (!(test >= 0.0 && validation >= 0.0 && test + validation < 1.0))
        return seg_fail(
            err, SEG_EINVAL,
            "test and validation shares are %g and %g (limit: each 0 or more, sum under 1)", test,
            validation);
    if (n > UINT32_MAX)
        return seg_fail(err, SEG_EINVAL, "too many rows: %zu (limit %u)", n, UINT32_MAX);
    if (y == NULL) n_classes = 1;

    enum seg_status st = SEG_OK;
    size_t *start = seg_calloc((size_t)n_classes + 1, sizeof *start);
    uint32_t *rows = seg_alloc(n, sizeof *rows);
    if (start == NULL || rows == NULL) {
        st = seg_fail(err, SEG_ENOMEM, "out of memory for a split of %zu rows", n);
        goto out;
    }
    st = group_rows(n, y, n_classes, start, rows, err);
    if (st != SEG_OK) goto out;

    memset(part, SEG_PART_TRAIN, n);
    for (uint32_t c = 0; c < n_classes; c++) {
        uint32_t *group = rows + start[c];
        size_t n_group = start[c + 1] - start[c];
        if (n_group == 0) continue;
        size_t n_test = share_of(test, start[c], start[c + 1]);
        size_t n_validation = share_of(validation, start[c], start[c + 1]);
        /* one row is for training, then the test comes first */
        if (n_test > n_group - 1) n_test = n_group - 1;
        if (n_validation > n_group - 1 - n_test) n_validation = n_group - 1 - n_test;
        struct seg_rng rng = seg_rng_make(seed, SPLIT_STREAM | c);
        seg_shuffle(&rng, group, n_group);
        deal(group + 1, n_test, SEG_PART_TEST, part);
        deal(group + 1 + n_test, n_validation, SEG_PART_VALIDATION, part);
    }
out:
    seg_free(start);
    seg_free(rows);
    return st;
}
