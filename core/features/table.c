/* table.c - raw cells in tiles. */
#include "features/table.h"

#include <math.h>
#include <string.h>
#include "compute/worker_pool.h"

void seg_table_init(struct seg_table *t, struct seg_schema *schema)
{
    t->schema = *schema;
    seg_schema_init(schema);
    seg_tiles_init(&t->cells, t->schema.n_cells);
}

void seg_table_release(struct seg_table *t)
{
    seg_tiles_release(&t->cells);
    seg_schema_release(&t->schema);
}

void seg_table_clear_rows(const struct seg_schema *s, float *tile, unsigned first, unsigned n)
{
    for (uint32_t f = 0; f < s->n_features; f++) {
        const struct seg_feature *feature = &s->features[f];
        union seg_cell missing = { .number = NAN };
        if (feature->type == SEG_CATEGORICAL) missing.code = SEG_CODE_MISSING;
        const uint32_t end = feature->cell + seg_feature_cells(feature->type, feature->width);
        for (uint32_t c = feature->cell; c < end; c++) {
            union seg_cell *cells = (union seg_cell *)(tile + (size_t)c * SEG_TILE_ROWS);
            for (unsigned r = first; r < first + n; r++)
                cells[r] = missing;
        }
    }
}

enum seg_status seg_table_add_row(struct seg_table *t, size_t *ret_row)
{
    const size_t row = t->cells.n_rows;
    enum seg_status st = seg_tiles_grow(&t->cells, row + 1);
    if (st != SEG_OK) return st;
    seg_table_clear_rows(&t->schema, seg_tiles_at(&t->cells, row / SEG_TILE_ROWS),
                         row % SEG_TILE_ROWS, 1);
    *ret_row = row;
    return SEG_OK;
}

void seg_table_category_counts(const struct seg_table *t, uint32_t feature, const uint8_t *part,
                               uint8_t wanted, size_t *counts)
{
    const struct seg_feature *f = &t->schema.features[feature];
    const uint32_t n = f->dictionary.n;
    memset(counts, 0, ((size_t)n + 1) * sizeof *counts);
    for (size_t row = 0; row < t->cells.n_rows; row++) {
        if (row % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        if (part != NULL && part[row] != wanted) continue;
        const uint32_t code = seg_table_cell(t, row, f->cell)->code;
        counts[code < n ? code : n]++;
    }
}
