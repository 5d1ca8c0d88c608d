/* Binary COPY into tiles. A row is one tuple: the id as text (when wanted), the target as text
 * (when there is one), then each feature in the binary form of its SQL type. */
#include "db/feature_load.h"

#include <endian.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "compute/worker_pool.h"
#include "evaluate/classification.h"
#include "features/calendar.h"

#define ORDER_ROWS_MAX 200000 /* smaller relations are read in the order of their ids */

static const char COPY_SIGNATURE[11] = "PGCOPY\n\377\r\n";
#define COPY_HEADER_BYTES 19

enum wire {
    WIRE_INT2,
    WIRE_INT4,
    WIRE_INT8,
    WIRE_FLOAT4,
    WIRE_FLOAT8,
    WIRE_BOOL,
    WIRE_TIMESTAMP,
    WIRE_TEXT,
    WIRE_ARRAY
};

/* How a column of some SQL type travels: cast to add in the SELECT list, and the binary form that
 * arrives. */
struct wire_type {
    const char *sql_type;
    const char *cast;
    enum wire wire;
};
static const struct wire_type NUMERIC_WIRES[] = {
    { "smallint", "", WIRE_INT2 },
    { "integer", "", WIRE_INT4 },
    { "bigint", "", WIRE_INT8 },
    { "real", "", WIRE_FLOAT4 },
    { "double precision", "", WIRE_FLOAT8 },
    { "boolean", "::int4", WIRE_INT4 },
};

struct load_column {
    enum wire wire;
    uint32_t cell, width;
    uint32_t n_alike; /* columns from here on that are float4 as well; 0: this one is not */
    uint64_t n_not_finite;
};

struct feature_load {
    struct db *db;
    struct load_column *columns;
    uint32_t n_columns;
    bool ids, has_target, ended;
    bool header_done;
    struct seg_dictionary classes;
    uint16_t *target;
    size_t n_target, target_cap;
    char *pending; /* start of a tuple whose end has not come yet */
    size_t n_pending, pending_cap;
};

static struct wire_type column_wire(const struct feature_column *c)
{
    switch (c->type) {
    case SEG_NUMERIC:
        for (size_t i = 0; i < sizeof(NUMERIC_WIRES) / sizeof(NUMERIC_WIRES[0]); i++)
            if (strcmp(c->sql_type, NUMERIC_WIRES[i].sql_type) == 0) return NUMERIC_WIRES[i];
        return (struct wire_type){ "", "::float8", WIRE_FLOAT8 }; /* numeric */
    case SEG_BOOLEAN: return (struct wire_type){ "", "", WIRE_BOOL };
    case SEG_TIMESTAMP: return (struct wire_type){ "", "::timestamp", WIRE_TIMESTAMP };
    case SEG_CATEGORICAL: return (struct wire_type){ "", "::text", WIRE_TEXT };
    case SEG_VECTOR: return (struct wire_type){ "", "::float4[]", WIRE_ARRAY };
    }
    return (struct wire_type){ "", "::text", WIRE_TEXT };
}

enum seg_status feature_load_schema(const struct feature_set *fs, const uint32_t *columns,
                                    uint32_t n_columns, struct seg_schema *ret_s,
                                    struct seg_error *err)
{
    struct seg_schema s;
    seg_schema_init(&s);
    for (uint32_t i = 0; i < n_columns; i++) {
        const struct feature_column *c = &fs->columns[columns[i]];
        enum seg_status st = seg_schema_add(&s, c->name, c->type, c->width, err);
        if (st != SEG_OK) {
            seg_schema_release(&s);
            return st;
        }
    }
    *ret_s = s;
    return SEG_OK;
}

/* True when rows are to come ordered by id: always for what has no physical order, and where
 * sorting is cheap. */
static bool wants_order(struct db *db, const char *relation)
{
    const char *params[] = { relation };
    struct db_result *r = NULL;
    bool order = true;
    if (db_exec_sql(
            db,
            "SELECT c.relkind IN ('r', 'm', 'p') AND c.reltuples >= " /* never analysed: -1 */
            "200000 FROM pg_class c WHERE c.oid = $1::regclass",
            params, 1, &r) == DB_ONE)
        order = !db_result_bool(r, 0, 0);
    db_result_free(r);
    return order;
}
enum db_status feature_load_pages(struct db *db, const struct feature_set *fs,
                                  uint32_t *ret_n_pages)
{
    struct seg_arena arena;
    struct db_result *r = NULL;
    seg_arena_init(&arena, 0);
    char *relation = db_feature_sets_relation(db, fs, &arena);
    enum db_status st =
        relation == NULL
            ? DB_FATAL
            : db_exec_sql(
                  db,
                  "SELECT pg_relation_size(c.oid) / current_setting('block_size')::int"
                  " FROM pg_class c WHERE c.oid = $1::regclass AND c.relkind = 'r'"
                  " AND c.reltuples >= 200000 AND current_setting('server_version_num')::int >= "
                  "140000",
                  (const char *[]){ relation }, 1, &r);
    if (st == DB_ONE) *ret_n_pages = (uint32_t)db_result_int(r, 0, 0);
    db_result_free(r);
    seg_arena_release(&arena);
    return st;
}
_Static_assert(ORDER_ROWS_MAX == 200000, "the statements above spell the same number");

/* COPY (SELECT …) TO STDOUT (FORMAT binary), from the arena; NULL when a name is no identifier or
 * memory is short. */
static char *copy_text(struct db *db, const struct feature_set *fs, const uint32_t *columns,
                       uint32_t n_columns, int target, bool ids, const struct feature_pages *pages,
                       struct seg_arena *arena)
{
    char ident[160], id[160];
    uint32_t n = 0;
    char *relation = db_feature_sets_relation(db, fs, arena);
    const char **fields = seg_arena_alloc(arena, (n_columns + 2) * sizeof(*fields));
    if (relation == NULL || fields == NULL || !db_ident(db, fs->id_column, id, sizeof(id)))
        return NULL;
    char *where = seg_arena_printf(arena, "%s IS NOT NULL", id);
    if (ids) fields[n++] = seg_arena_printf(arena, "%s::text", id);
    if (target >= 0) {
        if (!db_ident(db, fs->columns[target].column, ident, sizeof(ident)) || where == NULL)
            return NULL;
        where = seg_arena_printf(arena, "%s AND %s IS NOT NULL", where, ident);
        fields[n++] = seg_arena_printf(arena, "%s::text", ident);
    }
    if (pages != NULL && where != NULL)
        where = seg_arena_printf(arena, "%s AND ctid >= '(%u,0)'::tid AND ctid < '(%u,0)'::tid",
                                 where, pages->first, pages->end);
    for (uint32_t i = 0; i < n_columns; i++) {
        const struct feature_column *c = &fs->columns[columns[i]];
        if (!db_ident(db, c->column, ident, sizeof(ident))) return NULL;
        fields[n++] = seg_arena_printf(arena, "%s%s", ident, column_wire(c).cast);
    }
    for (uint32_t i = 0; i < n; i++)
        if (fields[i] == NULL) return NULL;
    char *list = seg_arena_join(arena, fields, n, ", ");
    char *order = pages == NULL && wants_order(db, relation)
                      ? seg_arena_printf(arena, " ORDER BY %s::text COLLATE \"C\"", id)
                      : seg_arena_strndup(arena, "", 0);
    if (list == NULL || where == NULL || order == NULL) return NULL;
    /* A row without an id is nobody's and one without the target teaches nothing: they are left
     * out. */
    return seg_arena_printf(arena, "COPY (SELECT %s FROM %s WHERE %s%s) TO STDOUT (FORMAT binary)",
                            list, relation, where, order);
}

enum db_status feature_load_begin(struct db *db, const struct feature_set *fs,
                                  const uint32_t *columns, uint32_t n_columns, int target, bool ids,
                                  const struct feature_pages *pages, struct feature_load **ret,
                                  struct seg_error *err)
{
    enum db_status st = DB_FATAL;
    struct seg_arena arena;
    seg_arena_init(&arena, 0);
    struct feature_load *l = seg_calloc(1, sizeof(*l));
    if (l == NULL) goto no_memory;
    seg_dictionary_init(&l->classes);
    l->db = db;
    l->ids = ids;
    l->has_target = target >= 0;
    l->n_columns = n_columns;
    l->columns = seg_calloc(n_columns, sizeof(*l->columns));
    if (l->columns == NULL) goto no_memory;
    uint32_t cell = 0;
    for (uint32_t i = 0; i < n_columns; i++) {
        const struct feature_column *c = &fs->columns[columns[i]];
        l->columns[i] =
            (struct load_column){ .wire = column_wire(c).wire, .cell = cell, .width = c->width };
        cell += seg_feature_cells(c->type, c->width);
    }
    for (uint32_t i = n_columns; i-- > 0;)
        if (l->columns[i].wire == WIRE_FLOAT4)
            l->columns[i].n_alike = 1 + (i + 1 < n_columns ? l->columns[i + 1].n_alike : 0);
    char *sql = copy_text(db, fs, columns, n_columns, target, ids, pages, &arena);
    if (sql == NULL) goto no_memory;
    st = db_copy_out_begin(db, sql);
    if (st != DB_ONE) {
        seg_fail(err, SEG_EINVAL, "the features cannot be read: %s", db_reason(db));
        goto out;
    }
    *ret = l;
    seg_arena_release(&arena);
    return DB_ONE;
no_memory:
    seg_fail(err, SEG_ENOMEM, "out of memory");
out:
    seg_arena_release(&arena);
    if (l != NULL) l->ended = true;
    feature_load_free(l);
    return st;
}

void feature_load_free(struct feature_load *l)
{
    if (l == NULL) return;
    if (!l->ended) db_copy_out_abort(l->db);
    seg_dictionary_release(&l->classes);
    seg_free(l->columns);
    seg_free(l->target);
    seg_free(l->pending);
    seg_free(l);
}

static uint16_t read_u16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return be16toh(v);
}
static uint32_t read_u32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}
static uint64_t read_u64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

static float number_or_missing(struct load_column *c, double x)
{
    if (fabs(x) <= FLT_MAX) return (float)x;
    c->n_not_finite++;
    return NAN;
}

static double read_float4(const char *p)
{
    uint32_t bits = read_u32(p);
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}
static double read_float8(const char *p)
{
    uint64_t bits = read_u64(p);
    double d;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

static void set_missing(struct seg_table *t, uint32_t feature, size_t row)
{
    const struct seg_feature *f = &t->schema.features[feature];
    for (uint32_t i = 0; i < seg_feature_cells(f->type, f->width); i++) {
        union seg_cell *cell = seg_table_cell(t, row, f->cell + i);
        if (f->type == SEG_CATEGORICAL)
            cell->code = SEG_CODE_MISSING;
        else
            cell->number = NAN;
    }
}

/* n float4 columns at p, which has n * 8 bytes, to cells (n), a tile's column apart. False when one
 * of them is NULL or not finite: then each is to be looked at by itself. */
static bool read_float4s(const char *p, uint32_t n, union seg_cell *cells)
{
    uint32_t strange = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t bits = read_u32(p + (size_t)i * 8 + 4);
        strange |= (read_u32(p + (size_t)i * 8) ^ 4) | ((bits & 0x7f800000) == 0x7f800000);
        cells[(size_t)i * SEG_TILE_ROWS].code = bits;
    }
    return strange == 0;
}

/* A one-dimensional float4[]: dimensions, has-null flag, element type, (length, lower bound),
 * elements. Another length than the schema's is missing and counted: a vector is all there or not
 * at all. */
static void read_array(struct load_column *c, const char *p, size_t len, struct seg_table *t,
                       uint32_t feature, size_t row)
{
    bool good = len >= 20 && read_u32(p) == 1 && read_u32(p + 12) == c->width;
    size_t at = 20;
    for (uint32_t i = 0; good && i < c->width; i++) {
        good = at + 8 <= len && read_u32(p + at) == 4 && isfinite(read_float4(p + at + 4));
        at += 8;
    }
    if (!good) {
        c->n_not_finite++;
        set_missing(t, feature, row);
        return;
    }
    for (uint32_t i = 0; i < c->width; i++)
        seg_table_cell(t, row, c->cell + i)->number = (float)read_float4(p + 24 + (size_t)i * 8);
}

static enum seg_status read_cell(struct load_column *c, struct seg_table *t, uint32_t feature,
                                 size_t row, const char *p, size_t len)
{
    union seg_cell *cell = seg_table_cell(t, row, c->cell);
    switch (c->wire) {
    case WIRE_INT2: cell->number = (float)(int16_t)read_u16(p); break;
    case WIRE_INT4: cell->number = (float)(int32_t)read_u32(p); break;
    case WIRE_INT8: cell->number = (float)(int64_t)read_u64(p); break;
    case WIRE_FLOAT4: cell->number = number_or_missing(c, read_float4(p)); break;
    case WIRE_FLOAT8: cell->number = number_or_missing(c, read_float8(p)); break;
    case WIRE_BOOL: cell->number = *p ? 1.0f : 0.0f; break;
    case WIRE_TIMESTAMP: {
        int64_t micros = (int64_t)read_u64(p);
        if (micros == INT64_MAX || micros == INT64_MIN) { /* PostgreSQL's infinity */
            c->n_not_finite++;
            set_missing(t, feature, row);
            break;
        }
        seg_moment_cells(micros, &cell->number, &seg_table_cell(t, row, c->cell + 1)->number);
        break;
    }
    case WIRE_TEXT:
        return seg_dictionary_add(&t->schema.features[feature].dictionary, p, len, &cell->code);
    case WIRE_ARRAY: read_array(c, p, len, t, feature, row); break;
    }
    return SEG_OK;
}

static enum seg_status add_target(struct feature_load *l, const char *p, size_t len,
                                  struct seg_error *err)
{
    uint32_t code;
    if (l->n_target == l->target_cap) {
        size_t cap = l->target_cap ? l->target_cap * 2 : 4096;
        uint16_t *more = seg_realloc(l->target, cap, sizeof(*more));
        if (more == NULL) return SEG_ENOMEM;
        l->target = more;
        l->target_cap = cap;
    }
    enum seg_status st = seg_dictionary_add(&l->classes, p, len, &code);
    if (st != SEG_OK) return st;
    if (l->classes.n > SEG_CLASSES_MAX)
        return seg_fail(
            err, SEG_ELIMIT,
            "the target has more than %u different values: it does not look like classes",
            SEG_CLASSES_MAX);
    l->target[l->n_target++] = (uint16_t)code;
    return SEG_OK;
}

static const uint8_t WIRE_BYTES[] = {
    [WIRE_INT2] = 2, [WIRE_INT4] = 4,      [WIRE_INT8] = 8, [WIRE_FLOAT4] = 4, [WIRE_FLOAT8] = 8,
    [WIRE_BOOL] = 1, [WIRE_TIMESTAMP] = 8, [WIRE_TEXT] = 0, [WIRE_ARRAY] = 0
};

/* Bytes of the tuple at p; 0 when it is not complete in len bytes. The trailer counts as a tuple of
 * 2 bytes. */
static size_t tuple_bytes(const char *p, size_t len)
{
    if (len < 2) return 0;
    uint16_t n = read_u16(p);
    size_t at = 2;
    if (n == UINT16_MAX) return at;
    for (uint16_t i = 0; i < n; i++) {
        if (len - at < 4) return 0;
        uint32_t field = read_u32(p + at);
        at += 4;
        if (field == UINT32_MAX) continue;
        if (len - at < field) return 0;
        at += field;
    }
    return at;
}

/* One complete tuple of n bytes into a new row. */
static enum seg_status read_tuple(struct feature_load *l, const char *p, size_t n,
                                  struct seg_table *t, struct user_ids *ids, struct seg_error *err)
{
    const char *const end = p + n;
    const size_t row = t->cells.n_rows;
    if (read_u16(p) != l->n_columns + l->ids + l->has_target)
        return seg_fail(err, SEG_EFORMAT, "the database sent %u columns (%u wanted)", read_u16(p),
                        l->n_columns);
    enum seg_status st = seg_tiles_grow(&t->cells, row + 1);
    if (st != SEG_OK) return st;
    p += 2;
    if (l->ids) {
        uint32_t len = read_u32(p); /* never NULL: the SELECT leaves such rows out */
        if (ids != NULL && !user_ids_add(ids, p + 4, len)) return SEG_ENOMEM;
        p += 4 + (size_t)len;
    }
    if (l->has_target) {
        uint32_t len = read_u32(p); /* never NULL either */
        st = add_target(l, p + 4, len, err);
        if (st != SEG_OK) return st;
        p += 4 + (size_t)len;
    }
    for (uint32_t i = 0; i < l->n_columns; i++) {
        struct load_column *c = &l->columns[i];
        if (c->n_alike > 1 && (size_t)(end - p) >= (size_t)c->n_alike * 8 &&
            read_float4s(p, c->n_alike, seg_table_cell(t, row, c->cell))) {
            p += (size_t)c->n_alike * 8;
            i += c->n_alike - 1;
            continue;
        }
        uint32_t len = read_u32(p);
        p += 4;
        if (len == UINT32_MAX) {
            set_missing(t, i, row);
            continue;
        }
        if (WIRE_BYTES[c->wire] != 0 && len != WIRE_BYTES[c->wire])
            return seg_fail(err, SEG_EFORMAT,
                            "the database sent feature %s in another type: was its table changed?",
                            t->schema.features[i].name);
        st = read_cell(c, t, i, row, p, len);
        if (st == SEG_ELIMIT)
            return seg_fail(err, st, "feature %s has more than %u distinct values",
                            t->schema.features[i].name, SEG_CATEGORIES_MAX);
        if (st != SEG_OK) return st;
        p += len;
    }
    return SEG_OK;
}

static bool keep_pending(struct feature_load *l, const char *bytes, size_t len)
{
    if (l->pending_cap - l->n_pending < len) {
        size_t cap = l->n_pending + len + 65536;
        char *more = seg_realloc(l->pending, cap, 1);
        if (more == NULL) return false;
        l->pending = more;
        l->pending_cap = cap;
    }
    memcpy(l->pending + l->n_pending, bytes, len);
    l->n_pending += len;
    return true;
}

/* Eats whole tuples of bytes until t has n_rows_end rows; what is left over comes first the next
 * time. *ret_end: the trailer was there. */
static enum seg_status read_tuples(struct feature_load *l, const char *bytes, size_t len,
                                   size_t n_rows_end, struct seg_table *t, struct user_ids *ids,
                                   size_t *ret_used, bool *ret_end, struct seg_error *err)
{
    size_t used = 0;
    if (!l->header_done) {
        if (len < COPY_HEADER_BYTES) goto out;
        if (memcmp(bytes, COPY_SIGNATURE, sizeof(COPY_SIGNATURE)) != 0)
            return seg_fail(err, SEG_EFORMAT, "the database did not send binary COPY data");
        used = COPY_HEADER_BYTES + read_u32(bytes + 15);
        l->header_done = true;
    }
    for (size_t n; !*ret_end && t->cells.n_rows < n_rows_end &&
                   (n = tuple_bytes(bytes + used, len - used)) > 0;
         used += n) {
        *ret_end = read_u16(bytes + used) == UINT16_MAX;
        if (*ret_end) continue;
        enum seg_status st = read_tuple(l, bytes + used, n, t, ids, err);
        if (st != SEG_OK) return st;
    }
out:
    *ret_used = used;
    return SEG_OK;
}

/* Joins bytes to what is pending and eats what it can; bytes NULL: only what is pending. */
static enum seg_status eat(struct feature_load *l, const char *bytes, size_t len, size_t n_rows_end,
                           struct seg_table *t, struct user_ids *ids, bool *ret_end,
                           struct seg_error *err)
{
    size_t used = 0;
    if (l->n_pending == 0) {
        enum seg_status st = read_tuples(l, bytes, len, n_rows_end, t, ids, &used, ret_end, err);
        if (st == SEG_OK && used < len && !keep_pending(l, bytes + used, len - used))
            st = SEG_ENOMEM;
        return st;
    }
    if (bytes != NULL && !keep_pending(l, bytes, len)) return SEG_ENOMEM;
    enum seg_status st =
        read_tuples(l, l->pending, l->n_pending, n_rows_end, t, ids, &used, ret_end, err);
    if (st == SEG_OK) {
        memmove(l->pending, l->pending + used, l->n_pending - used);
        l->n_pending -= used;
    }
    return st;
}

enum db_status feature_load_rows(struct feature_load *l, size_t n_rows_max, struct seg_table *t,
                                 struct user_ids *ids, struct seg_error *err)
{
    const size_t n_rows_end = t->cells.n_rows + n_rows_max;
    bool end = false;
    enum seg_status seg =
        l->n_pending > 0 ? eat(l, NULL, 0, n_rows_end, t, ids, &end, err) : SEG_OK;
    while (seg == SEG_OK && !end && t->cells.n_rows < n_rows_end) {
        const char *bytes;
        size_t len;
        enum db_status st = db_copy_out_read(l->db, &bytes, &len);
        if (st != DB_ONE) l->ended = true;
        if (st == DB_NONE) break;
        if (st != DB_ONE) {
            seg_fail(err, SEG_EINVAL, "reading the features failed: %s", db_reason(l->db));
            return st;
        }
        seg = eat(l, bytes, len, n_rows_end, t, ids, &end, err);
        if (t->cells.n_rows % SEG_TILE_ROWS == 0) seg_pool_give_way();
    }
    if (seg == SEG_ENOMEM) seg_fail(err, seg, "out of memory after %zu rows", t->cells.n_rows);
    if (seg != SEG_OK) return DB_FATAL;
    if (!end && !l->ended) return DB_ONE;
    /* The trailer is followed by the end of the COPY, which must be read for the connection to be
     * free. */
    for (const char *bytes; !l->ended;) {
        size_t len;
        enum db_status st = db_copy_out_read(l->db, &bytes, &len);
        if (st == DB_ONE) continue;
        l->ended = true;
        if (st != DB_NONE) {
            seg_fail(err, SEG_EINVAL, "reading the features failed: %s", db_reason(l->db));
            return st;
        }
    }
    return DB_NONE;
}

const uint16_t *feature_load_target(const struct feature_load *l, size_t *ret_n,
                                    const struct seg_dictionary **ret_classes)
{
    *ret_n = l->n_target;
    *ret_classes = &l->classes;
    return l->target;
}

uint64_t feature_load_not_finite(const struct feature_load *l, uint32_t i)
{
    return l->columns[i].n_not_finite;
}
