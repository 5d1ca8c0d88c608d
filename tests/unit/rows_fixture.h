/* rows_fixture.h - a schema with a feature of every type, and bodies in heap buffers of exact size,
 * so that a sanitizer sees a read past their end. Include after cmocka.h. */
#ifndef TESTS_UNIT_ROWS_FIXTURE_H
#define TESTS_UNIT_ROWS_FIXTURE_H

#include <stdbool.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "http/rows.h"

enum { AGE, ORDERS, ACTIVE, JOINED, CHANNEL, TASTE, N_FIXTURE };
#define TASTE_WIDTH 3u

static inline void add_feature(struct seg_schema *s, const char *name, enum seg_type type,
                               uint32_t width)
{
    assert_int_equal(seg_schema_add(s, name, type, width, NULL), SEG_OK);
}

static inline void fixture_init(struct seg_schema *s)
{
    static const char *const channels[] = {
        "app", "web", "7", "true", "caf\xC3\xA9", "a,\"b\"\nc"
    };
    uint32_t code;
    seg_schema_init(s);
    add_feature(s, "age", SEG_NUMERIC, 1);
    add_feature(s, "orders", SEG_NUMERIC, 1);
    add_feature(s, "active", SEG_BOOLEAN, 1);
    add_feature(s, "joined", SEG_TIMESTAMP, 1);
    add_feature(s, "channel", SEG_CATEGORICAL, 1);
    add_feature(s, "taste", SEG_VECTOR, TASTE_WIDTH);
    for (size_t i = 0; i < sizeof(channels) / sizeof(channels[0]); i++)
        assert_int_equal(seg_dictionary_add(&s->features[CHANNEL].dictionary, channels[i],
                                            strlen(channels[i]), &code),
                         SEG_OK);
}

static inline char *exact(const char *bytes, size_t len)
{
    char *copy = seg_alloc(len, 1);
    assert_non_null(copy);
    memcpy(copy, bytes, len);
    return copy;
}

static inline union seg_cell cell(const struct rows *r, uint32_t row, uint32_t column)
{
    return *(union seg_cell *)seg_tiles_cell(&r->cells, row, column);
}

static inline bool missing(const struct rows *r, uint32_t row, int feature)
{
    const struct seg_feature *f = &r->schema->features[feature];
    for (uint32_t i = 0; i < f->width; i++)
        if (f->type == SEG_CATEGORICAL ? cell(r, row, f->cell).code != SEG_CODE_MISSING
                                       : !isnan(cell(r, row, f->cell + i).number))
            return false;
    return true;
}

static inline bool has_fault(const struct rows *r, uint32_t row, int feature, const char *code)
{
    for (size_t i = 0; i < r->n_faults; i++)
        if (r->faults[i].row == row && r->faults[i].feature == feature &&
            strcmp(r->faults[i].code, code) == 0)
            return r->invalid[row] == 1;
    return false;
}

/* What must hold of every batch, whatever the bytes were. */
static inline void check_batch(const struct rows *r, uint32_t n_rows_max)
{
    assert_true(r->n_rows <= n_rows_max);
    assert_int_equal(r->cells.n_rows, r->n_rows);
    assert_true(r->n_faults <= r->n_faults_total && r->n_faults <= ROW_FAULTS_MAX);
    for (size_t i = 0; i < r->n_faults; i++) {
        const struct row_fault *f = &r->faults[i];
        assert_true(f->row < r->n_rows && r->invalid[f->row] == 1);
        assert_true(i == 0 || r->faults[i - 1].row <= f->row);
        assert_true(f->feature >= -1 && f->feature < (int)r->schema->n_features);
        assert_true(f->code != NULL && f->detail != NULL && strlen(f->detail) > 0);
        assert_true(f->name == NULL || strlen(f->name) < 1000000);
    }
    for (uint32_t row = 0; row < r->n_rows; row++) {
        assert_true(r->user_id[row] == NULL || r->user_id_len[row] <= 256);
        for (uint32_t i = 0; i < r->schema->n_features; i++) {
            const struct seg_feature *f = &r->schema->features[i];
            for (uint32_t k = 0; f->type != SEG_CATEGORICAL && k < f->width; k++)
                assert_false(isinf(cell(r, row, f->cell + k).number));
        }
    }
}

static inline void assert_same_rows(const struct rows *a, const struct rows *b)
{
    assert_int_equal(a->n_rows, b->n_rows);
    for (uint32_t row = 0; row < a->n_rows; row++) {
        assert_int_equal(a->invalid[row], b->invalid[row]);
        assert_int_equal(a->user_id_len[row], b->user_id_len[row]);
        assert_memory_equal(a->user_id[row], b->user_id[row], a->user_id_len[row]);
        for (uint32_t i = 0; i < a->schema->n_cells; i++)
            if (cell(a, row, i).code != cell(b, row, i).code)
                fail_msg("row %u, cell %u: %#x and %#x", row, i, cell(a, row, i).code,
                         cell(b, row, i).code);
    }
}

#endif
