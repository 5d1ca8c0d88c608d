/* Binary COPY into tiles. A row is one tuple: the id (when wanted), the target as text (when there
 * is one), then each feature in the binary form of its SQL type. */
#include "db/feature_load.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "compute/worker_pool.h"
#include "db/feature_wire.h"
#include "evaluate/classification.h"

#define ORDER_ROWS_MAX 200000 /* smaller relations are read in the order of their ids */

static const char COPY_SIGNATURE[11] = "PGCOPY\n\377\r\n";
#define COPY_HEADER_BYTES 19

struct feature_load {
    struct db *db;
    struct wire_column *columns;
    uint32_t n_columns;
    enum wire id_wire;
    const atomic_bool *cancel; /* borrowed */
    bool ids, has_target, ended;
    bool header_done;
    struct seg_dictionary classes;
    uint16_t *target;
    size_t n_target, target_cap;
    char *pending; /* start of a tuple whose end has not come yet */
    size_t n_pending, pending_cap;
};

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

/* What the catalogue says about a relation. */
struct source {
    bool ordered; /* by id: what has no physical order, and where sorting is cheap */
    struct wire_type id;
};

static struct source look_up(struct db *db, const char *relation, const char *id_column)
{
    const char *params[] = { relation, id_column };
    struct db_result *r = NULL;
    struct source s = { true, wire_of_id("") };
    if (db_exec_sql(
            db,
            "SELECT c.relkind IN ('r', 'm', 'p') AND c.reltuples >= " /* never analysed: -1 */
            "200000, format_type(a.atttypid, NULL)"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2"
            " WHERE c.oid = $1::regclass",
            params, 2, &r) == DB_ONE)
        s = (struct source){ !db_result_bool(r, 0, 0), wire_of_id(db_result_text(r, 0, 1)) };
    db_result_free(r);
    return s;
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
                       struct seg_arena *arena, enum wire *ret_id)
{
    char ident[160], id[160];
    uint32_t n = 0;
    char *relation = db_feature_sets_relation(db, fs, arena);
    const char **fields = seg_arena_alloc(arena, (n_columns + 2) * sizeof(*fields));
    if (relation == NULL || fields == NULL || !db_ident(db, fs->id_column, id, sizeof(id)))
        return NULL;
    const struct source source = look_up(db, relation, fs->id_column);
    char *where = seg_arena_printf(arena, "%s IS NOT NULL", id);
    if (ids) fields[n++] = seg_arena_printf(arena, "%s%s", id, source.id.cast);
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
        fields[n++] = seg_arena_printf(arena, "%s%s", ident, wire_of_column(c).cast);
    }
    for (uint32_t i = 0; i < n; i++)
        if (fields[i] == NULL) return NULL;
    char *list = seg_arena_join(arena, fields, n, ", ");
    char *order = pages == NULL && source.ordered
                      ? seg_arena_printf(arena, " ORDER BY %s::text COLLATE \"C\"", id)
                      : seg_arena_strndup(arena, "", 0);
    if (list == NULL || where == NULL || order == NULL) return NULL;
    *ret_id = source.id.wire;
    /* A row without an id is nobody's and one without the target teaches nothing: they are left
     * out. */
    return seg_arena_printf(arena, "COPY (SELECT %s FROM %s WHERE %s%s) TO STDOUT (FORMAT binary)",
                            list, relation, where, order);
}

enum db_status feature_load_begin(struct db *db, const struct feature_set *fs,
                                  const uint32_t *columns, uint32_t n_columns, int target, bool ids,
                                  const struct feature_pages *pages, const atomic_bool *cancel,
                                  struct feature_load **ret, struct seg_error *err)
{
    enum db_status st = DB_FATAL;
    struct seg_arena arena;
    seg_arena_init(&arena, 0);
    struct feature_load *l = seg_calloc(1, sizeof(*l));
    if (l == NULL) goto no_memory;
    seg_dictionary_init(&l->classes);
    l->db = db;
    l->cancel = cancel;
    l->ids = ids;
    l->has_target = target >= 0;
    l->n_columns = n_columns;
    l->columns = seg_calloc(n_columns, sizeof(*l->columns));
    if (l->columns == NULL) goto no_memory;
    wire_lay_out(fs, columns, n_columns, l->columns);
    char *sql = copy_text(db, fs, columns, n_columns, target, ids, pages, &arena, &l->id_wire);
    if (sql == NULL) goto no_memory;
    st = db_copy_out_begin(db, cancel, sql);
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

static enum seg_status add_id(struct feature_load *l, const char *p, size_t len,
                              struct user_ids *ids, struct seg_error *err)
{
    char digits[WIRE_ID_DIGITS];
    const char *text = wire_id_text(l->id_wire, p, len, digits, &len);
    if (text == NULL)
        return seg_fail(err, SEG_EFORMAT,
                        "the database sent ids in another type: was the table changed?");
    return ids == NULL || user_ids_add(ids, text, len) ? SEG_OK : SEG_ENOMEM;
}

/* One complete tuple of n bytes into a new row. */
static enum seg_status read_tuple(struct feature_load *l, const char *p, size_t n,
                                  struct seg_table *t, struct user_ids *ids, struct seg_error *err)
{
    const char *const end = p + n;
    const size_t row = t->cells.n_rows;
    if (wire_u16(p) != l->n_columns + l->ids + l->has_target)
        return seg_fail(err, SEG_EFORMAT, "the database sent %u columns (%u wanted)", wire_u16(p),
                        l->n_columns);
    enum seg_status st = seg_tiles_grow(&t->cells, row + 1);
    p += 2;
    if (st == SEG_OK && l->ids) {
        const uint32_t len = wire_u32(p); /* never NULL: the SELECT leaves such rows out */
        st = add_id(l, p + 4, len, ids, err);
        p += 4 + (size_t)len;
    }
    if (st == SEG_OK && l->has_target) {
        const uint32_t len = wire_u32(p); /* never NULL either */
        st = add_target(l, p + 4, len, err);
        p += 4 + (size_t)len;
    }
    return st == SEG_OK ? wire_read_columns(l->columns, l->n_columns, p, end, t, row, err) : st;
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
    const uint32_t n_before = (uint32_t)l->ids + l->has_target;
    size_t used = 0;
    if (!l->header_done) {
        if (len < COPY_HEADER_BYTES) goto out;
        if (memcmp(bytes, COPY_SIGNATURE, sizeof(COPY_SIGNATURE)) != 0)
            return seg_fail(err, SEG_EFORMAT, "the database did not send binary COPY data");
        used = COPY_HEADER_BYTES + wire_u32(bytes + 15);
        l->header_done = true;
    }
    for (size_t n;
         !*ret_end && t->cells.n_rows < n_rows_end &&
         (n = wire_tuple_bytes(bytes + used, len - used, n_before, l->columns, l->n_columns)) > 0;
         used += n) {
        *ret_end = wire_u16(bytes + used) == UINT16_MAX;
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
        enum db_status st = db_copy_out_read(l->db, l->cancel, &bytes, &len);
        l->ended = st == DB_NONE;
        if (l->ended) break;
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
        enum db_status st = db_copy_out_read(l->db, l->cancel, &bytes, &len);
        if (st == DB_ONE) continue;
        l->ended = st == DB_NONE;
        if (!l->ended) {
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
