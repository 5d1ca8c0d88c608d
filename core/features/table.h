/* table.h - raw features of many users in memory, as they came from the database.
 * Cells are in tiles (compute/tiles.h): NaN or SEG_CODE_MISSING where there was no value; a number
 * that is not finite counts as none either. Filled by one thread. */
#ifndef SEG_FEATURES_TABLE_H
#define SEG_FEATURES_TABLE_H

#include "compute/tiles.h"
#include "features/schema.h"

struct seg_table {
    struct seg_schema schema;
    struct seg_tiles cells; /* (n_rows, schema.n_cells) of union seg_cell */
};

/* Takes the schema (empties the caller's). */
void seg_table_init(struct seg_table *t, struct seg_schema *schema);
void seg_table_release(struct seg_table *t);
/* Adds one row with every cell missing and returns its number through ret_row. SEG_ENOMEM. */
enum seg_status seg_table_add_row(struct seg_table *t, size_t *ret_row);
/* Writes the missing marks of tile rows first..first+n-1 of a raw tile (n_cells, 64) of this
 * schema. */
void seg_table_clear_rows(const struct seg_schema *s, float *tile, unsigned first, unsigned n);

static inline union seg_cell *seg_table_cell(const struct seg_table *t, size_t row, uint32_t cell)
{
    return (union seg_cell *)seg_tiles_cell(&t->cells, row, cell);
}

/* How often each code of a categorical feature occurs over the rows whose part[row] == wanted (part
 * NULL: all rows), to counts (dictionary.n + 1), the last for missing. */
void seg_table_category_counts(const struct seg_table *t, uint32_t feature, const uint8_t *part,
                               uint8_t wanted, size_t *counts);

#endif
