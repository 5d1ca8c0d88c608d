/* table.c - raw cells in tiles, and what their distribution looks like. */
#include "features/table.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/worker_pool.h"
#include "features/moments.h"
#include "features/order.h"

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

/* The finite values of one cell column over the wanted rows to values (room for one more than there
 * are: every value is stored and kept only if it counts). Returns how many; n_missing the others.
 */
static size_t gather(const struct seg_table *t, uint32_t cell, const uint8_t *part, uint8_t wanted,
                     float *values, size_t *ret_missing)
{
    size_t n = 0, n_rows = 0;
    const size_t n_tiles = seg_tiles_count(&t->cells);
    for (size_t i = 0; i < n_tiles; i++) {
        const float *x = seg_tiles_at(&t->cells, i) + (size_t)cell * SEG_TILE_ROWS;
        const unsigned rows = seg_tiles_rows(&t->cells, i);
        const uint8_t *p = part == NULL ? NULL : part + i * SEG_TILE_ROWS;
        if (i % SEG_CHUNK_TILES == 0) seg_pool_give_way();
        for (unsigned r = 0; r < rows; r++) {
            const bool counts = p == NULL || p[r] == wanted;
            values[n] = x[r];
            n += counts && fabsf(x[r]) <= FLT_MAX;
            n_rows += counts;
        }
    }
    *ret_missing = n_rows - n;
    return n;
}

enum seg_status seg_table_stats(const struct seg_table *t, uint32_t cell, const uint8_t *part,
                                uint8_t wanted, struct seg_column_stats *ret_stats)
{
    static const double AT[] = { 0, 0.10, 0.25, 0.50, 0.75, 0.90, 1 };
    enum { N_AT = sizeof AT / sizeof AT[0] };
    struct seg_quantile q[N_AT];
    struct seg_column_stats s = { .mean = NAN,
                                  .sd = NAN,
                                  .min = NAN,
                                  .p10 = NAN,
                                  .p25 = NAN,
                                  .median = NAN,
                                  .p75 = NAN,
                                  .p90 = NAN,
                                  .max = NAN };
    enum seg_status st = SEG_ENOMEM;
    float *values = seg_alloc(t->cells.n_rows + 1, sizeof *values);
    uint32_t *counts = seg_alloc(SEG_ORDER_COUNTS, sizeof *counts);
    if (values == NULL || counts == NULL) goto out;
    s.n_present = gather(t, cell, part, wanted, values, &s.n_missing);
    if (s.n_present > 0) {
        const struct seg_moments m = seg_moments_of(values, s.n_present);
        s.mean = m.mean;
        s.sd = seg_moments_sd(&m);
        seg_order_quantiles(values, s.n_present, AT, N_AT, counts, q);
        double *const to[N_AT] = { &s.min, &s.p10, &s.p25, &s.median, &s.p75, &s.p90, &s.max };
        for (size_t i = 0; i < N_AT; i++)
            *to[i] = seg_quantile_value(&q[i]);
    }
    *ret_stats = s;
    st = SEG_OK;

out:
    seg_free(counts);
    seg_free(values);
    return st;
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
