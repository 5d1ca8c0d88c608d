/* The registry of feature sets, the catalogue's view of a relation, and the summary of its columns.
 * Names that people give reach SQL as parameters or, for relations and columns, through db_ident
 * after the catalogue confirmed them. */
#include "db/feature_sets.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "json/json.h"

enum {
    FS_GET,
    FS_LIST,
    FS_PUT_RELATION,
    FS_PUT_MANAGED,
    FS_IN_USE,
    FS_DELETE,
    FS_CATALOGUE,
    FS_N_STMTS,
};

#define FS_FIELDS                                                                                  \
    " id"                                                                                          \
    ", name"                                                                                       \
    ", kind = 'managed'"                                                                           \
    ", relation"                                                                                   \
    ", id_column"                                                                                  \
    ", numbered"                                                                                   \
    ", columns::text"                                                                              \
    ", CASE WHEN kind = 'managed' THEN n_rows ELSE -1 END"                                         \
    ", to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"                                   \
    ", to_char(updated_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"                                   \
    ", current_schema()"                                                                           \
    ", left_out::text"

static const struct db_stmt STMTS[FS_N_STMTS] = {
    [FS_GET] = { "feature_sets_get", 1, /* $1 name */
                 "SELECT" FS_FIELDS " FROM feature_sets WHERE name = $1" },
    [FS_LIST] = { "feature_sets_list", 2, /* $1 last name of the page before, $2 limit */
                  "SELECT" FS_FIELDS " FROM feature_sets"
                  " WHERE name > COALESCE($1, '')"
                  " ORDER BY name LIMIT $2::int" },
    [FS_PUT_RELATION] = { "feature_sets_put_relation", 5, /* $1 name, $2 schema.relation, $3 id
                                                             column, $4 columns, $5 left out */
                          "INSERT INTO feature_sets AS f"
                          " (name, kind, relation, id_column, columns, left_out)"
                          " VALUES ($1, 'relation', $2, $3, $4::jsonb, $5::jsonb)"
                          " ON CONFLICT (name) DO UPDATE"
                          " SET relation = excluded.relation"
                          "   , id_column = excluded.id_column"
                          "   , columns = excluded.columns"
                          "   , left_out = excluded.left_out"
                          "   , updated_at = now()"
                          " WHERE f.kind = 'relation'"
                          " RETURNING id, xmax = 0" },
    [FS_PUT_MANAGED] = { "feature_sets_put_managed",
                         4, /* $1 name, $2 imported id column, $3 columns, $4 numbered */
                         "INSERT INTO feature_sets AS f (name, kind, id_column, columns, numbered)"
                         " VALUES ($1, 'managed', $2, $3::jsonb, $4::boolean)"
                         " ON CONFLICT (name) DO UPDATE SET updated_at = now()"
                         " WHERE f.kind = 'managed' AND f.columns = excluded.columns"
                         " RETURNING id, xmax = 0" },
    [FS_IN_USE] = { "feature_sets_in_use", 1, /* $1 name */
                    "SELECT EXISTS (SELECT 1 FROM model_versions WHERE feature_set = $1)"
                    " OR EXISTS (SELECT 1 FROM jobs WHERE feature_set = $1"
                    "            AND state IN ('queued', 'running', 'cancelling'))" },
    [FS_DELETE] = { "feature_sets_delete", 1, /* $1 name */
                    "DELETE FROM feature_sets WHERE name = $1 RETURNING id, kind = 'managed'" },
    [FS_CATALOGUE] = { "feature_sets_catalogue",
                       2, /* $1 schema, $2 relation; only what this role may read */
                       "SELECT a.attname"
                       ", format_type(a.atttypid, NULL)"
                       ", t.typtype = 'e' OR (t.typtype = 'd' AND b.typcategory = 'S')"
                       " FROM pg_class c"
                       " JOIN pg_namespace n ON n.oid = c.relnamespace"
                       " JOIN pg_attribute a ON a.attrelid = c.oid"
                       " JOIN pg_type t ON t.oid = a.atttypid"
                       " LEFT JOIN pg_type b ON b.oid = t.typbasetype"
                       " WHERE n.nspname = $1 AND c.relname = $2"
                       " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
                       " AND c.relkind IN ('r', 'v', 'm', 'f', 'p')"
                       " AND a.attnum > 0 AND NOT a.attisdropped"
                       " AND has_schema_privilege(n.oid, 'USAGE')"
                       " AND has_table_privilege(c.oid, 'SELECT')"
                       " ORDER BY a.attnum" },
};
const struct db_stmts DB_FEATURE_SETS_STMTS = { STMTS, FS_N_STMTS };

/* SQL types that are features, by the name format_type gives them. */
static const struct {
    const char *sql_type;
    enum seg_type type;
} SQL_TYPES[] = {
    { "smallint", SEG_NUMERIC },
    { "integer", SEG_NUMERIC },
    { "bigint", SEG_NUMERIC },
    { "real", SEG_NUMERIC },
    { "double precision", SEG_NUMERIC },
    { "numeric", SEG_NUMERIC },
    { "boolean", SEG_BOOLEAN },
    { "date", SEG_TIMESTAMP },
    { "timestamp without time zone", SEG_TIMESTAMP },
    { "timestamp with time zone", SEG_TIMESTAMP },
    { "text", SEG_CATEGORICAL },
    { "character varying", SEG_CATEGORICAL },
    { "character", SEG_CATEGORICAL },
    { "\"char\"", SEG_CATEGORICAL },
    { "name", SEG_CATEGORICAL },
    { "uuid", SEG_CATEGORICAL },
    { "citext", SEG_CATEGORICAL },
    { "real[]", SEG_VECTOR },
    { "double precision[]", SEG_VECTOR },
    { "integer[]", SEG_VECTOR },
    { "numeric[]", SEG_VECTOR },
};

/* The columns document of the registry into fs. False: it is not ours, or memory is short. */
static bool parse_columns(const char *text, struct seg_arena *arena, struct feature_set *fs)
{
    struct json_fault fault;
    struct json *doc = json_parse(text, strlen(text), &fault);
    if (doc == NULL) return false;
    bool good = json_kind(doc) == JSON_ARRAY;
    size_t n = good ? json_size(doc) : 0;
    fs->columns = seg_arena_alloc(arena, (n + 1) * sizeof(*fs->columns));
    good = good && fs->columns != NULL;
    for (const struct json *v = good ? json_first(doc) : NULL; v != NULL && good;
         v = json_next(v)) {
        struct feature_column *c = &fs->columns[fs->n_columns++];
        const struct json *name = json_get(v, "name"), *type = json_get(v, "type"),
                          *column = json_get(v, "column"), *sql_type = json_get(v, "sql_type"),
                          *width = json_get(v, "width");
        good = name && type && column && sql_type && width &&
               seg_type_from_name(json_string(type)) >= 0;
        if (!good) break;
        *c = (struct feature_column){
            .name = seg_arena_strndup(arena, json_string(name), strlen(json_string(name))),
            .type = (enum seg_type)seg_type_from_name(json_string(type)),
            .column = seg_arena_strndup(arena, json_string(column), strlen(json_string(column))),
            .sql_type =
                seg_arena_strndup(arena, json_string(sql_type), strlen(json_string(sql_type))),
            .width = (uint32_t)json_number(width)
        };
        good = c->name && c->column && c->sql_type;
    }
    json_free(doc);
    return good;
}

static char *copy_field(const struct db_result *r, size_t row, unsigned col,
                        struct seg_arena *arena)
{
    const char *s = db_result_text(r, row, col);
    return s == NULL ? NULL : seg_arena_strndup(arena, s, strlen(s));
}

/* A row of FS_FIELDS. False on lack of memory. */
static bool read_feature_set(const struct db_result *r, size_t row, struct seg_arena *arena,
                             struct feature_set *ret)
{
    struct feature_set fs = { .id = db_result_int(r, row, 0),
                              .name = copy_field(r, row, 1, arena),
                              .managed = db_result_bool(r, row, 2),
                              .numbered = db_result_bool(r, row, 5),
                              .n_rows = db_result_int(r, row, 7),
                              .created_at = copy_field(r, row, 8, arena),
                              .updated_at = copy_field(r, row, 9, arena),
                              .left_out = copy_field(r, row, 11, arena) };
    if (fs.managed) {
        fs.relation_schema = copy_field(r, row, 10, arena);
        fs.relation_name = seg_arena_printf(arena, "fs_%lld", (long long)fs.id);
        fs.id_column = "user_id";
        fs.imported_id = copy_field(r, row, 4, arena);
    } else {
        const char *relation = db_result_text(r, row, 3);
        const char *dot = strchr(relation, '.');
        if (dot == NULL) return false;
        fs.relation_schema = seg_arena_strndup(arena, relation, (size_t)(dot - relation));
        fs.relation_name = seg_arena_strndup(arena, dot + 1, strlen(dot + 1));
        fs.id_column = copy_field(r, row, 4, arena);
    }
    if (fs.name == NULL || fs.relation_schema == NULL || fs.relation_name == NULL ||
        fs.id_column == NULL || !parse_columns(db_result_text(r, row, 6), arena, &fs))
        return false;
    *ret = fs;
    return true;
}

enum db_status db_feature_sets_get(struct db *db, const char *name, struct seg_arena *arena,
                                   struct feature_set *ret)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[FS_GET], (const char *[]){ name }, &r);
    if (st == DB_ONE && !read_feature_set(r, 0, arena, ret)) st = DB_FATAL;
    db_result_free(r);
    return st;
}

enum db_status db_feature_sets_list(struct db *db, const char *after, unsigned limit,
                                    struct seg_arena *arena, struct feature_set **ret,
                                    size_t *ret_n)
{
    char limit_text[16];
    struct db_result *r = NULL;
    snprintf(limit_text, sizeof(limit_text), "%u", limit);
    enum db_status st = db_exec(db, &STMTS[FS_LIST], (const char *[]){ after, limit_text }, &r);
    if (st == DB_ONE) {
        size_t n = db_result_rows(r);
        struct feature_set *sets = seg_arena_alloc(arena, n * sizeof(*sets));
        for (size_t i = 0; sets != NULL && i < n; i++)
            if (!read_feature_set(r, i, arena, &sets[i])) sets = NULL;
        if (sets == NULL) st = DB_FATAL;
        *ret = sets;
        *ret_n = n;
    }
    db_result_free(r);
    return st;
}

/* The registry's columns document; seg_free it. */
static char *columns_text(const struct feature_set *fs)
{
    struct json_out o;
    size_t len;
    json_out_init(&o);
    json_out_array(&o);
    for (uint32_t i = 0; i < fs->n_columns; i++) {
        const struct feature_column *c = &fs->columns[i];
        json_out_object(&o);
        json_out_member_string(&o, "name", c->name);
        json_out_member_string(&o, "type", seg_type_name(c->type));
        json_out_member_string(&o, "column", c->column);
        json_out_member_string(&o, "sql_type", c->sql_type);
        json_out_member_uint(&o, "width", c->width);
        json_out_end_object(&o);
    }
    json_out_end_array(&o);
    return json_out_take(&o, &len);
}

enum db_status db_feature_sets_put_relation(struct db *db, const struct feature_set *fs,
                                            bool *ret_created)
{
    char relation[160];
    char *columns = columns_text(fs);
    if (columns == NULL) return DB_FATAL;
    snprintf(relation, sizeof(relation), "%s.%s", fs->relation_schema, fs->relation_name);
    struct db_result *r = NULL;
    enum db_status st =
        db_exec(db, &STMTS[FS_PUT_RELATION],
                (const char *[]){ fs->name, relation, fs->id_column, columns, fs->left_out }, &r);
    if (st == DB_ONE) *ret_created = db_result_bool(r, 0, 1);
    db_result_free(r);
    seg_free(columns);
    return st == DB_NONE ? DB_CONFLICT : st;
}

/* CREATE TABLE fs_<id>: the id and one typed column a feature. */
static enum db_status create_table(struct db *db, const struct feature_set *fs, int64_t id)
{
    enum db_status st = DB_FATAL;
    char ident[160];
    struct seg_arena arena;
    seg_arena_init(&arena, 0);
    const char **columns = seg_arena_alloc(&arena, (fs->n_columns + 1) * sizeof(*columns));
    if (columns == NULL) goto out;
    columns[0] = "user_id text COLLATE \"C\" PRIMARY KEY";
    for (uint32_t i = 0; i < fs->n_columns; i++) {
        if (!db_ident(db, fs->columns[i].column, ident, sizeof(ident))) goto out;
        columns[i + 1] = seg_arena_printf(&arena, "%s %s", ident, fs->columns[i].sql_type);
        if (columns[i + 1] == NULL) goto out;
    }
    char *list = seg_arena_join(&arena, columns, fs->n_columns + 1, ", ");
    char *sql =
        list ? seg_arena_printf(&arena, "CREATE TABLE fs_%lld (%s)", (long long)id, list) : NULL;
    if (sql != NULL) st = db_exec_sql(db, sql, NULL, 0, NULL);
    if (st == DB_NONE) st = DB_ONE;
out:
    seg_arena_release(&arena);
    return st;
}

enum db_status db_feature_sets_put_managed(struct db *db, const struct feature_set *fs,
                                           int64_t *ret_id, bool *ret_created)
{
    char *columns = columns_text(fs);
    if (columns == NULL) return DB_FATAL;
    struct db_result *r = NULL;
    enum db_status st = db_exec(
        db, &STMTS[FS_PUT_MANAGED],
        (const char *[]){ fs->name, fs->imported_id, columns, fs->numbered ? "true" : "false" },
        &r);
    if (st == DB_ONE) {
        *ret_id = db_result_int(r, 0, 0);
        *ret_created = db_result_bool(r, 0, 1);
        if (*ret_created) st = create_table(db, fs, *ret_id);
    }
    db_result_free(r);
    seg_free(columns);
    return st == DB_NONE ? DB_CONFLICT : st;
}

struct delete_args {
    const char *name;
    bool force;
};

static enum db_status delete_in_tx(struct db *db, void *ctx)
{
    const struct delete_args *a = ctx;
    struct db_result *r = NULL;
    enum db_status st = DB_ONE;
    if (!a->force) {
        st = db_exec(db, &STMTS[FS_IN_USE], (const char *[]){ a->name }, &r);
        bool used = st == DB_ONE && db_result_bool(r, 0, 0);
        db_result_free(r);
        r = NULL;
        if (used) return DB_CONFLICT;
        if (st != DB_ONE) return st;
    }
    st = db_exec(db, &STMTS[FS_DELETE], (const char *[]){ a->name }, &r);
    if (st == DB_ONE && db_result_bool(r, 0, 1)) {
        char sql[64];
        snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS fs_%lld",
                 (long long)db_result_int(r, 0, 0));
        enum db_status drop = db_exec_sql(db, sql, NULL, 0, NULL);
        if (drop != DB_ONE && drop != DB_NONE) st = drop;
    }
    db_result_free(r);
    return st;
}

enum db_status db_feature_sets_delete(struct db *db, const char *name, bool force)
{
    struct feature_set fs;
    struct seg_arena arena;
    struct delete_args args = { name, force };
    seg_arena_init(&arena, 0);
    enum db_status st =
        db_feature_sets_get(db, name, &arena, &fs); /* an unused name is not "in use" */
    seg_arena_release(&arena);
    return st == DB_ONE ? db_tx_run(db, "feature_sets_delete", delete_in_tx, &args) : st;
}

/* Length of the vectors in a column, from the first that is there; 0: none is. DB_ONE, or why it
 * cannot be told. */
static enum db_status vector_width(struct db *db, const char *schema, const char *name,
                                   const char *column, struct seg_arena *arena, uint32_t *ret_width)
{
    char s[160], t[160], c[160];
    struct db_result *r = NULL;
    if (!db_ident(db, schema, s, sizeof(s)) || !db_ident(db, name, t, sizeof(t)) ||
        !db_ident(db, column, c, sizeof(c)))
        return DB_FATAL;
    char *sql = seg_arena_printf(
        arena, "SELECT array_length(%s, 1) FROM %s.%s WHERE %s IS NOT NULL LIMIT 1", c, s, t, c);
    enum db_status st = sql != NULL ? db_exec_sql(db, sql, NULL, 0, &r) : DB_FATAL;
    if (st == DB_ONE || st == DB_NONE) {
        *ret_width = st == DB_ONE ? (uint32_t)db_result_int(r, 0, 0) : 0;
        st = DB_ONE;
    }
    db_result_free(r);
    return st;
}

/* The type of a feature that an SQL type is by nature, or -1. is_text: an enum, or a domain over
 * strings. */
static int type_of(const char *sql_type, bool is_text)
{
    if (is_text) return SEG_CATEGORICAL;
    for (size_t k = 0; k < sizeof(SQL_TYPES) / sizeof(SQL_TYPES[0]); k++)
        if (strcmp(sql_type, SQL_TYPES[k].sql_type) == 0) return SQL_TYPES[k].type;
    return -1;
}

/* Adds column i of the catalogue's answer to rc. */
static enum db_status read_column(struct db *db, const char *schema, const char *relation,
                                  const struct db_result *r, size_t i, struct seg_arena *arena,
                                  struct relation_columns *rc)
{
    char *column = copy_field(r, i, 0, arena), *sql_type = copy_field(r, i, 1, arena);
    if (column == NULL || sql_type == NULL) return DB_FATAL;
    const int type = type_of(sql_type, db_result_bool(r, i, 2));
    const char *detail = NULL;
    uint32_t width = 1;
    if (type == SEG_VECTOR) {
        enum db_status st = vector_width(db, schema, relation, column, arena, &width);
        if (st != DB_ONE) return st;
    }
    if (type < 0)
        detail = "values of this type cannot be features";
    else if (width == 0)
        detail = "there is no array in it, or the first is empty: their length is not known";
    else if (width > SEG_VECTOR_WIDTH_MAX) {
        detail = seg_arena_printf(arena, "its arrays are too long: %u elements (limit %u)", width,
                                  SEG_VECTOR_WIDTH_MAX);
        if (detail == NULL) return DB_FATAL;
    }
    if (detail != NULL)
        rc->left_out[rc->n_left_out++] = (struct column_left_out){ column, sql_type, detail };
    else
        rc->columns[rc->n++] = (struct feature_column){ .name = column,
                                                        .type = (enum seg_type)type,
                                                        .column = column,
                                                        .sql_type = sql_type,
                                                        .width = width };
    return DB_ONE;
}

enum db_status db_feature_sets_catalogue(struct db *db, const char *schema, const char *name,
                                         struct seg_arena *arena, struct relation_columns *ret)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[FS_CATALOGUE], (const char *[]){ schema, name }, &r);
    if (st == DB_ONE) {
        const size_t n = db_result_rows(r);
        struct relation_columns rc = { .columns = seg_arena_alloc(arena, n * sizeof(*rc.columns)),
                                       .left_out =
                                           seg_arena_alloc(arena, n * sizeof(*rc.left_out)) };
        if (rc.columns == NULL || rc.left_out == NULL) st = DB_FATAL;
        for (size_t i = 0; st == DB_ONE && i < n; i++)
            st = read_column(db, schema, name, r, i, arena, &rc);
        if (st == DB_ONE) *ret = rc;
    }
    db_result_free(r);
    return st;
}

char *db_feature_sets_relation(struct db *db, const struct feature_set *fs, struct seg_arena *arena)
{
    char schema[160], name[160];
    if (!db_ident(db, fs->relation_schema, schema, sizeof(schema)) ||
        !db_ident(db, fs->relation_name, name, sizeof(name)))
        return NULL;
    return seg_arena_printf(arena, "%s.%s", schema, name);
}
