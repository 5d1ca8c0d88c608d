/* rows_private.h - what the decoders of rows share: adding rows, cells, ids and faults. */
#ifndef SERVER_HTTP_ROWS_PRIVATE_H
#define SERVER_HTTP_ROWS_PRIVATE_H

#include <stdbool.h>
#include <string.h>
#include "http/rows.h"

/* Makes key_order and keys. False: no memory. */
bool rows_prepare(struct rows *r);
/* Adds a row, or n of them, with every cell missing. False: no memory. */
bool rows_add(struct rows *r);
bool rows_add_many(struct rows *r, uint32_t n);
/* Notes a fault of the last row and marks it invalid. name and detail must outlive the batch. */
void rows_fault(struct rows *r, int feature, const char *code, const char *name, const char *detail,
                size_t line, size_t column);
/* Puts the faults from n_before on, which are by row, among those before them. */
void rows_merge_faults(struct rows *r, size_t n_before);
/* Index of the feature called key; -1: there is none. position: how many keys the row had before;
 * rows mostly repeat the last row's order. */
int rows_feature(struct rows *r, uint32_t position, const char *key, size_t len);
/* Sets the last row's id, borrowed; a fault when it is not valid. */
void rows_user_id(struct rows *r, const char *id, size_t len, size_t line, size_t column);
/* Looks a category up; for values whose text stands in the body. */
void rows_category(struct rows *r, const struct seg_feature *f, const char *text, size_t len);
/* A time's text; a fault when it is none. */
void rows_timestamp(struct rows *r, int feature, const char *text, size_t len, size_t line,
                    size_t column);

/* Cell of the last row. */
static inline union seg_cell *rows_cell(struct rows *r, uint32_t cell)
{
    return r->last + (size_t)cell * SEG_TILE_ROWS;
}
/* True when this is the feature's first value in the last row. */
static inline bool rows_first(struct rows *r, int feature)
{
    bool first = r->keys[feature].seen != r->n_rows;
    r->keys[feature].seen = r->n_rows;
    return first;
}
static inline void rows_number(struct rows *r, int feature, float x, size_t line, size_t column)
{
    if (x - x == 0)
        rows_cell(r, r->schema->features[feature].cell)->number = x;
    else
        rows_fault(r, feature, "not_finite", NULL, "the number is too large", line, column);
}

#endif
