/* The batch that all decoders fill. Its first tiles are allocated small, since most requests have
 * one row, and grow to whole chunks. */
#include "http/rows.h"

#include "base/alloc.h"
#include "features/calendar.h"
#include "features/table.h"
#include "http/request.h"
#include "http/rows_private.h"
#include "timestamp.h"

#define LINEAR_FEATURES_MAX 32 /* more features are found through a dictionary */

void rows_init(struct rows *r, const struct seg_schema *schema)
{
    *r = (struct rows){ .schema = schema };
    seg_tiles_init(&r->cells, schema->n_cells);
    seg_arena_init(&r->arena, 0);
    seg_dictionary_init(&r->names);
}

void rows_clear(struct rows *r)
{
    r->n_rows = 0;
    r->cells.n_rows = 0;
    r->n_faults = r->n_faults_total = 0;
    seg_arena_release(&r->arena);
    for (uint32_t i = 0; r->keys != NULL && i < r->schema->n_features; i++)
        r->keys[i].seen = 0;
}

void rows_release(struct rows *r)
{
    seg_tiles_release(&r->cells);
    seg_arena_release(&r->arena);
    seg_dictionary_release(&r->names);
    seg_free(r->user_id);
    seg_free(r->user_id_len);
    seg_free(r->invalid);
    seg_free(r->faults);
    seg_free(r->key_order);
    seg_free(r->keys);
    *r = (struct rows){ .schema = r->schema };
}

/* Length of a name that stands in JSON as it is, else 0. */
static uint32_t plain_len(const char *name)
{
    const char *p = name;
    while (*p != '\0' && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    return *p == '\0' ? (uint32_t)(p - name) : 0;
}

bool rows_prepare(struct rows *r)
{
    const struct seg_schema *s = r->schema;
    if (r->keys != NULL) return true;
    struct rows_key *keys = seg_calloc(s->n_features, sizeof(*keys));
    uint16_t *order = seg_calloc(s->n_features, sizeof(*order));
    if (keys == NULL || order == NULL) {
        seg_free(keys);
        seg_free(order);
        return false;
    }
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct seg_feature *f = &s->features[i];
        keys[i] = (struct rows_key){ .name = f->name,
                                     .plain_len = plain_len(f->name),
                                     .cell = f->cell,
                                     .is_numeric = f->type == SEG_NUMERIC };
        order[i] = (uint16_t)i;
    }
    r->keys = keys;
    r->key_order = order;
    return true;
}

static bool reserve_rows(struct rows *r)
{
    if (!rows_prepare(r)) return false;
    if (r->n_rows < r->rows_cap) return true;
    uint32_t cap = r->rows_cap ? 4 * r->rows_cap : SEG_TILE_ROWS;
    const char **ids = seg_realloc(r->user_id, cap, sizeof(*ids));
    if (ids != NULL) r->user_id = ids;
    uint32_t *lens = seg_realloc(r->user_id_len, cap, sizeof(*lens));
    if (lens != NULL) r->user_id_len = lens;
    uint8_t *invalid = seg_realloc(r->invalid, cap, sizeof(*invalid));
    if (invalid != NULL) r->invalid = invalid;
    if (ids == NULL || lens == NULL || invalid == NULL) return false;
    r->rows_cap = cap;
    return true;
}

/* Room for tile `tile`, the one after the last that has room or an earlier one. */
static bool reserve_tile(struct rows *r, size_t tile)
{
    struct seg_tiles *t = &r->cells;
    size_t floats = (size_t)t->n_cols * SEG_TILE_ROWS;
    if (tile < r->tiles_cap) return true;
    if (t->chunks == NULL) {
        t->chunks = seg_calloc(1, sizeof(*t->chunks));
        if (t->chunks == NULL) return false;
        t->chunks_cap = 1;
    }
    if (tile < SEG_CHUNK_TILES) { /* the first chunk grows: 1, 4, 16, 64 tiles */
        size_t cap = r->tiles_cap ? 4 * r->tiles_cap : 1;
        float *chunk = seg_alloc_aligned(cap * floats, sizeof(*chunk));
        if (chunk == NULL) return false;
        if (r->tiles_cap > 0) {
            memcpy(chunk, t->chunks[0], r->tiles_cap * floats * sizeof(*chunk));
            seg_free(t->chunks[0]);
        }
        t->chunks[0] = chunk;
        t->n_chunks = 1;
        r->tiles_cap = cap;
        return true;
    }
    if (t->n_chunks == t->chunks_cap) {
        float **chunks = seg_realloc(t->chunks, 2 * t->chunks_cap, sizeof(*chunks));
        if (chunks == NULL) return false;
        t->chunks = chunks;
        t->chunks_cap *= 2;
    }
    float *chunk = seg_alloc_aligned(SEG_CHUNK_TILES * floats, sizeof(*chunk));
    if (chunk == NULL) return false;
    t->chunks[t->n_chunks++] = chunk;
    r->tiles_cap += SEG_CHUNK_TILES;
    return true;
}

/* A tile of missing cells, when the next row is the first of one. */
static bool start_tile(struct rows *r)
{
    const size_t tile = r->n_rows / SEG_TILE_ROWS;
    if (r->n_rows % SEG_TILE_ROWS != 0) return true;
    if (!reserve_tile(r, tile)) return false;
    seg_table_clear_rows(r->schema, seg_tiles_at(&r->cells, tile), 0, SEG_TILE_ROWS);
    return true;
}

bool rows_add(struct rows *r)
{
    if (!reserve_rows(r) || !start_tile(r)) return false;
    r->user_id[r->n_rows] = NULL;
    r->user_id_len[r->n_rows] = 0;
    r->invalid[r->n_rows] = 0;
    r->last = (union seg_cell *)seg_tiles_cell(&r->cells, r->n_rows, 0);
    r->n_rows++;
    r->cells.n_rows = r->n_rows;
    return true;
}

bool rows_add_many(struct rows *r, uint32_t n)
{
    while (n > 0) {
        if (!reserve_rows(r) || !start_tile(r)) return false;
        uint32_t now = SEG_TILE_ROWS - r->n_rows % SEG_TILE_ROWS; /* for which there is room */
        if (now > n) now = n;
        memset(r->user_id + r->n_rows, 0, now * sizeof(*r->user_id));
        memset(r->user_id_len + r->n_rows, 0, now * sizeof(*r->user_id_len));
        memset(r->invalid + r->n_rows, 0, now * sizeof(*r->invalid));
        r->n_rows += now;
        r->cells.n_rows = r->n_rows;
        r->last = (union seg_cell *)seg_tiles_cell(&r->cells, r->n_rows - 1, 0);
        n -= now;
    }
    return true;
}

void rows_fault(struct rows *r, int feature, const char *code, const char *name, const char *detail,
                size_t line, size_t column)
{
    r->invalid[r->n_rows - 1] = 1;
    r->n_faults_total++;
    if (r->n_faults == ROW_FAULTS_MAX) return;
    if (r->n_faults == r->faults_cap) {
        size_t cap = r->faults_cap ? 4 * r->faults_cap : 16;
        struct row_fault *faults = seg_realloc(r->faults, cap, sizeof(*faults));
        if (faults == NULL) return; /* counted all the same, and the row is invalid */
        r->faults = faults;
        r->faults_cap = cap;
    }
    r->faults[r->n_faults++] =
        (struct row_fault){ r->n_rows - 1, feature, code, name, detail, line, column };
}

void rows_merge_faults(struct rows *r, size_t n_before)
{
    for (size_t i = n_before, at = 0; i < r->n_faults && n_before > 0; i++) {
        struct row_fault f = r->faults[i];
        while (at < i && r->faults[at].row <= f.row)
            at++;
        memmove(&r->faults[at + 1], &r->faults[at], (i - at) * sizeof(f));
        r->faults[at] = f;
    }
}

static bool name_is(const struct seg_schema *s, uint32_t feature, const char *key, size_t len)
{
    const char *name = s->features[feature].name;
    return strncmp(name, key, len) == 0 && name[len] == '\0';
}

int rows_feature(struct rows *r, uint32_t position, const char *key, size_t len)
{
    const struct seg_schema *s = r->schema;
    int found = -1;
    if (position < s->n_features && name_is(s, r->key_order[position], key, len))
        return r->key_order[position];
    if (s->n_features <= LINEAR_FEATURES_MAX) {
        found = seg_schema_find(s, key, len);
    } else {
        for (uint32_t code, i = r->names.n; i < s->n_features; i++)
            if (seg_dictionary_add(&r->names, s->features[i].name, strlen(s->features[i].name),
                                   &code) != SEG_OK)
                return seg_schema_find(s, key, len);
        uint32_t code = seg_dictionary_find(&r->names, key, len);
        found = code == SEG_CODE_UNSEEN ? -1 : (int)code;
    }
    if (found >= 0 && position < s->n_features) r->key_order[position] = (uint16_t)found;
    return found;
}

void rows_user_id(struct rows *r, const char *id, size_t len, size_t line, size_t column)
{
    if (!user_id_is_valid(id, len)) {
        rows_fault(r, -1, "bad_user_id", NULL,
                   "a user id is 1 to 256 bytes of UTF-8 without control characters", line, column);
        return;
    }
    r->user_id[r->n_rows - 1] = id;
    r->user_id_len[r->n_rows - 1] = (uint32_t)len;
}

void rows_category(struct rows *r, const struct seg_feature *f, const char *text, size_t len)
{
    rows_cell(r, f->cell)->code = seg_dictionary_find(&f->dictionary, text, len);
}

void rows_timestamp(struct rows *r, int feature, const char *text, size_t len, size_t line,
                    size_t column)
{
    const uint32_t cell = r->schema->features[feature].cell;
    int64_t micros;
    if (timestamp_parse(text, len, &micros))
        seg_moment_cells(micros, &rows_cell(r, cell)->number, &rows_cell(r, cell + 1)->number);
    else
        rows_fault(r, feature, "bad_timestamp", NULL, "must be a time such as 2026-11-23T10:00:00Z",
                   line, column);
}
