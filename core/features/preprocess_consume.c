/* preprocess_consume.c - a whole table to features, in the memory of one.
 * Rounds of a few chunks: room is made for what they give, they are transformed over the pool, and
 * their memory is the room for the next. Where a row goes depends on its part and its number alone.
 */
#include "features/plan.h"

#include <stdatomic.h>
#include <string.h>
#include "base/alloc.h"

#define FOLDS            5u
#define ROUND_BYTES      ((size_t)4 << 20) /* raw cells a worker takes in one round, about */
#define ROUND_CHUNKS_MAX 8u                /* chunks a worker takes in one round */

/* The target codes that training rows get: each fold's are computed from the others. */
struct fold_codes {
    float *values; /* (FOLDS, n_values, n + 1), NULL for a feature without target codes */
};

struct consumption {
    const struct seg_preprocess *p;
    struct seg_table *table;
    const uint8_t *part;       /* NULL: every row goes to the first part */
    struct seg_code_map *maps; /* (n_features) table's codes to ours; empty for numbers */
    struct fold_codes *folds;  /* (n_features), NULL when no row gets them */
    size_t *base;              /* (n_chunks + 1, SEG_PARTS) rows of each part before a chunk */
    struct seg_tiles out[SEG_PARTS];
    size_t first_chunk; /* of this round */
    atomic_bool out_of_memory;
};

/* ---- before the first chunk ---- */

static enum seg_status check_table(const struct seg_preprocess *p, const struct seg_table *t,
                                   struct seg_error *err)
{
    const struct seg_schema *have = &t->schema, *want = &p->inputs;
    if (have->n_features != want->n_features)
        return seg_fail(err, SEG_EINVAL, "the table has %u features, the preprocessing %u",
                        have->n_features, want->n_features);
    for (uint32_t i = 0; i < want->n_features; i++) {
        const struct seg_feature *h = &have->features[i], *w = &want->features[i];
        if (strcmp(h->name, w->name) != 0 || h->type != w->type || h->width != w->width)
            return seg_fail(err, SEG_EINVAL, "feature %u of the table, %s, does not suit %s", i,
                            h->name, w->name);
    }
    return SEG_OK;
}

/* Fills base, so that every chunk knows where its rows go. */
static enum seg_status count_parts(struct consumption *c, struct seg_error *err)
{
    const size_t n_rows = c->table->cells.n_rows, n_chunks = c->table->cells.n_chunks;
    c->base = seg_calloc((n_chunks + 1) * SEG_PARTS, sizeof *c->base);
    if (c->base == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    for (size_t i = 0; i < n_chunks; i++) {
        const size_t *before = c->base + i * SEG_PARTS;
        size_t *after = c->base + (i + 1) * SEG_PARTS;
        memcpy(after, before, SEG_PARTS * sizeof *after);
        const size_t first = i * SEG_CHUNK_ROWS;
        seg_pool_give_way();
        const size_t end = first + SEG_CHUNK_ROWS < n_rows ? first + SEG_CHUNK_ROWS : n_rows;
        if (c->part == NULL) after[SEG_PART_TRAIN] = end;
        for (size_t row = first; c->part != NULL && row < end; row++) {
            if (c->part[row] >= SEG_PARTS)
                return seg_fail(err, SEG_EINVAL, "row %zu is in part %u (limit %u)", row,
                                c->part[row], SEG_PARTS - 1);
            after[c->part[row]]++;
        }
    }
    return SEG_OK;
}

static enum seg_status make_maps(struct consumption *c, struct seg_error *err)
{
    const struct seg_schema *have = &c->table->schema, *want = &c->p->inputs;
    c->maps = seg_calloc(want->n_features, sizeof *c->maps);
    if (c->maps == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < want->n_features; i++) {
        if (want->features[i].type != SEG_CATEGORICAL) continue;
        enum seg_status st = seg_code_map_make(&have->features[i].dictionary,
                                               &want->features[i].dictionary, &c->maps[i]);
        if (st != SEG_OK) return seg_fail(err, st, "out of memory");
    }
    return SEG_OK;
}

/* The code of category i for rows of one fold: what all other folds say about it. The prior stays
 * that of all rows: it is the same for each of them and so tells nothing about one. */
static float out_of_fold_code(const struct seg_target_counts *counts, unsigned fold, uint32_t i,
                              uint32_t class, const struct seg_target *target)
{
    uint64_t rows = 0, hits = 0;
    for (unsigned other = 0; other < FOLDS; other++) {
        if (other == fold) continue;
        const uint32_t *n = seg_target_counts_at(counts, other, i);
        for (uint32_t k = 0; k < counts->n_classes; k++)
            rows += n[k];
        hits += n[class];
    }
    return seg_target_code(target, hits, rows);
}

static enum seg_status make_feature_folds(struct consumption *c, uint32_t feature,
                                          const uint16_t *y, struct seg_error *err)
{
    const struct seg_plan *plan = &c->p->plans[feature];
    struct seg_target_counts counts = { .n_folds = FOLDS,
                                        .n_categories = c->p->inputs.features[feature].dictionary.n,
                                        .n_classes = plan->n_values + 1 };
    const size_t n = counts.n_categories;
    enum seg_status st = seg_target_count(c->table, feature, &c->maps[feature], plan->impute_code,
                                          c->part, y, c->p->seed, &counts);
    if (st == SEG_EINVAL)
        return seg_fail(err, st, "a class is not below the %u that feature %s was fitted with",
                        counts.n_classes, c->p->inputs.features[feature].name);
    if (st != SEG_OK) return seg_fail(err, st, "out of memory");
    float *values = seg_alloc(FOLDS * plan->n_values * (n + 1), sizeof *values);
    for (unsigned fold = 0; fold < FOLDS && values != NULL; fold++)
        for (uint32_t j = 0; j < plan->n_values; j++) {
            float *codes = values + ((size_t)fold * plan->n_values + j) * (n + 1);
            for (uint32_t i = 0; i < n; i++)
                codes[i] = out_of_fold_code(&counts, fold, i, j + 1, &plan->targets[j]);
            codes[n] = plan->values[(size_t)j * (n + 1) + n];
        }
    seg_free(counts.rows);
    c->folds[feature].values = values;
    return values == NULL ? seg_fail(err, SEG_ENOMEM, "out of memory") : SEG_OK;
}

static enum seg_status make_folds(struct consumption *c, const uint16_t *y, struct seg_error *err)
{
    c->folds = seg_calloc(c->p->inputs.n_features, sizeof *c->folds);
    if (c->folds == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < c->p->inputs.n_features; i++) {
        if (c->p->plans[i].targets == NULL) continue;
        enum seg_status st = make_feature_folds(c, i, y, err);
        if (st != SEG_OK) return st;
    }
    return SEG_OK;
}

/* ---- a chunk ---- */

/* Replaces the table's codes in a raw tile by ours. */
static void map_codes(const struct consumption *c, float *raw)
{
    for (uint32_t i = 0; i < c->p->inputs.n_features; i++) {
        const struct seg_feature *f = &c->p->inputs.features[i];
        if (f->type != SEG_CATEGORICAL) continue;
        union seg_cell *cells = (union seg_cell *)(raw + (size_t)f->cell * SEG_TILE_ROWS);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
            cells[r].code = seg_code_map_at(&c->maps[i], cells[r].code);
    }
}

/* Puts the out-of-fold codes of the training rows of a tile over those that scoring would give. */
static void apply_folds(const struct consumption *c, const float *raw, size_t first_row,
                        unsigned n_rows, float *out)
{
    for (uint32_t i = 0; i < c->p->inputs.n_features; i++) {
        const struct seg_plan *plan = &c->p->plans[i];
        const struct seg_feature *f = &c->p->inputs.features[i];
        if (c->folds[i].values == NULL) continue;
        const union seg_cell *cells =
            (const union seg_cell *)(raw + (size_t)f->cell * SEG_TILE_ROWS);
        const uint32_t n = f->dictionary.n;
        for (unsigned r = 0; r < n_rows; r++) {
            if (c->part != NULL && c->part[first_row + r] != SEG_PART_TRAIN) continue;
            const size_t fold = seg_target_fold(c->p->seed, first_row + r, FOLDS);
            uint32_t code = cells[r].code == SEG_CODE_MISSING ? plan->impute_code : cells[r].code;
            if (code > n) code = n;
            for (uint32_t j = 0; j < plan->n_values; j++)
                out[((size_t)plan->first_out + j) * SEG_TILE_ROWS + r] =
                    c->folds[i].values[(fold * plan->n_values + j) * (n + 1) + code];
        }
    }
}

/* Deals the rows of a transformed tile to their parts; next (SEG_PARTS) is where each goes on. */
static void scatter(struct consumption *c, const float *tile, size_t first_row, unsigned n_rows,
                    size_t *next)
{
    float *to[SEG_TILE_ROWS];
    for (unsigned r = 0; r < n_rows; r++) {
        const uint8_t part = c->part[first_row + r];
        to[r] = seg_tiles_cell(&c->out[part], next[part]++, 0);
    }
    for (uint32_t j = 0; j < c->p->n_columns; j++) /* columns outside: a tile's column is one run */
        for (unsigned r = 0; r < n_rows; r++)
            to[r][(size_t)j * SEG_TILE_ROWS] = tile[(size_t)j * SEG_TILE_ROWS + r];
}

static void consume_chunk(void *ctx, size_t index)
{
    struct consumption *c = ctx;
    const size_t chunk = c->first_chunk + index;
    const struct seg_tiles *cells = &c->table->cells;
    const uint32_t n_columns = c->p->n_columns;
    size_t next[SEG_PARTS];
    memcpy(next, c->base + chunk * SEG_PARTS, sizeof next);
    const size_t n_scratch = (size_t)c->p->n_derived * SEG_TILE_ROWS;
    const size_t n_tile = c->part != NULL ? (size_t)n_columns * SEG_TILE_ROWS : 0;
    float *scratch = NULL, *tile = NULL; /* tile (n_columns, 64) when rows are dealt to parts */
    if (n_scratch + n_tile > 0) {
        scratch = seg_alloc_aligned(n_scratch + n_tile, sizeof *scratch);
        if (scratch == NULL) {
            atomic_store_explicit(&c->out_of_memory, true, memory_order_relaxed);
            return;
        }
        if (n_tile > 0) tile = scratch + n_scratch;
    }
    const size_t n_tiles = seg_tiles_count(cells), end = (chunk + 1) * SEG_CHUNK_TILES;
    for (size_t i = chunk * SEG_CHUNK_TILES; i < n_tiles && i < end; i++) {
        float *raw = seg_tiles_at(cells, i);
        float *out = tile != NULL ? tile : seg_tiles_at(&c->out[SEG_PART_TRAIN], i);
        const size_t first_row = i * SEG_TILE_ROWS;
        const unsigned n_rows = seg_tiles_rows(cells, i);
        seg_pool_give_way();
        map_codes(c, raw);
        seg_preprocess_columns_tile(c->p, raw, scratch, out);
        if (c->folds != NULL) apply_folds(c, raw, first_row, n_rows, out);
        if (tile != NULL)
            scatter(c, tile, first_row, n_rows, next);
        else
            seg_tiles_clear_lanes(&c->out[SEG_PART_TRAIN], i);
    }
    seg_free(scratch);
}

/* ---- all chunks ---- */

static enum seg_status consume_chunks(struct seg_pool *pool, struct consumption *c,
                                      const struct seg_progress *progress, struct seg_error *err)
{
    struct seg_tiles *cells = &c->table->cells;
    const size_t chunk_bytes = (size_t)SEG_CHUNK_ROWS * cells->n_cols * sizeof **cells->chunks;
    size_t round = ROUND_BYTES / chunk_bytes;
    round = round < 1 ? 1 : round > ROUND_CHUNKS_MAX ? ROUND_CHUNKS_MAX : round;
    if (pool != NULL) round *= seg_pool_size(pool);

    const size_t n_chunks = cells->n_chunks;
    for (c->first_chunk = 0; c->first_chunk < n_chunks; c->first_chunk += round) {
        if (seg_progress_cancelled(progress)) return seg_fail(err, SEG_ECANCELED, "canceled");
        seg_progress_report(progress, (double)c->first_chunk / (double)n_chunks,
                            "applying the preprocessing");
        const size_t left = n_chunks - c->first_chunk, n = left < round ? left : round;
        const size_t *after = c->base + (c->first_chunk + n) * SEG_PARTS;
        for (unsigned part = 0; part < SEG_PARTS; part++) {
            enum seg_status st = c->part == NULL ? seg_tiles_extend(&c->out[part], after[part])
                                                 : seg_tiles_grow(&c->out[part], after[part]);
            if (st != SEG_OK) return seg_fail(err, st, "out of memory");
        }
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, n, consume_chunk, c);
        if (atomic_load_explicit(&c->out_of_memory, memory_order_relaxed))
            return seg_fail(err, SEG_ENOMEM, "out of memory");
        for (size_t i = 0; i < n; i++)
            seg_tiles_recycle_chunk(cells, c->first_chunk + i, &c->out[SEG_PART_TRAIN]);
    }
    seg_tiles_trim(&c->out[SEG_PART_TRAIN]);
    seg_progress_report(progress, 1, "applying the preprocessing");
    return SEG_OK;
}

enum seg_status seg_preprocess_consume(struct seg_pool *pool, const struct seg_preprocess *p,
                                       struct seg_table *t, const uint8_t *part, const uint16_t *y,
                                       const struct seg_progress *progress,
                                       struct seg_tiles ret_x[SEG_PARTS], struct seg_error *err)
{
    struct consumption c = { .p = p, .table = t, .part = part };
    for (unsigned i = 0; i < SEG_PARTS; i++)
        seg_tiles_init(&c.out[i], p->n_columns);
    enum seg_status st = check_table(p, t, err);
    if (st == SEG_OK) st = count_parts(&c, err);
    if (st == SEG_OK) st = make_maps(&c, err);
    if (st == SEG_OK && y != NULL) st = make_folds(&c, y, err);
    if (st == SEG_OK) st = consume_chunks(pool, &c, progress, err);
    if (st != SEG_OK) goto out;
    for (unsigned i = 0; i < SEG_PARTS; i++) {
        ret_x[i] = c.out[i];
        seg_tiles_init(&c.out[i], p->n_columns);
    }

out:
    for (unsigned i = 0; i < SEG_PARTS; i++)
        seg_tiles_release(&c.out[i]);
    for (uint32_t i = 0; i < p->inputs.n_features; i++) {
        if (c.maps != NULL) seg_free(c.maps[i].codes);
        if (c.folds != NULL) seg_free(c.folds[i].values);
    }
    seg_free(c.maps);
    seg_free(c.folds);
    seg_free(c.base);
    return st;
}

/* ---- columns to components ---- */

struct rotation {
    const struct seg_pca *pca;
    struct seg_tiles *x, out;
    size_t first_chunk; /* of this round */
};

static void rotate_chunk(void *ctx, size_t index)
{
    struct rotation *rotation = ctx;
    const size_t chunk = rotation->first_chunk + index, n_tiles = seg_tiles_count(rotation->x);
    const size_t end = (chunk + 1) * SEG_CHUNK_TILES;
    for (size_t i = chunk * SEG_CHUNK_TILES; i < n_tiles && i < end; i++) {
        seg_pool_give_way();
        seg_pca_tile(rotation->pca, seg_tiles_at(rotation->x, i), seg_tiles_at(&rotation->out, i));
        seg_tiles_clear_lanes(&rotation->out, i);
    }
    seg_tiles_drop_chunk(rotation->x, chunk);
}

enum seg_status seg_preprocess_consume_columns(struct seg_pool *pool,
                                               const struct seg_preprocess *p,
                                               const struct seg_progress *progress,
                                               struct seg_tiles *x)
{
    if (p->pca == NULL) return SEG_OK;
    struct rotation rotation = { .pca = p->pca, .x = x };
    const size_t n_chunks = x->n_chunks;
    const size_t round = ROUND_CHUNKS_MAX * (pool != NULL ? seg_pool_size(pool) : 1);
    enum seg_status st = SEG_OK;
    seg_tiles_init(&rotation.out, p->pca->n_out);
    for (size_t first = 0; first < n_chunks && st == SEG_OK; first += round) {
        const size_t n = n_chunks - first < round ? n_chunks - first : round;
        const size_t rows = (first + n) * SEG_CHUNK_ROWS;
        rotation.first_chunk = first;
        if (seg_progress_cancelled(progress)) st = SEG_ECANCELED;
        if (st == SEG_OK) st = seg_tiles_extend(&rotation.out, rows < x->n_rows ? rows : x->n_rows);
        if (st == SEG_OK) seg_pool_for(pool, SEG_PRIORITY_TRAINING, n, rotate_chunk, &rotation);
    }
    if (st == SEG_OK) {
        seg_tiles_release(x);
        *x = rotation.out;
        seg_tiles_init(&rotation.out, p->pca->n_out);
    }
    seg_tiles_release(&rotation.out);
    return st;
}
