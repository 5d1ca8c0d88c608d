/* Names that people give reach SQL as parameters or, for relations and columns, through db_ident
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
};
const struct db_stmts DB_FEATURE_SETS_STMTS = { STMTS, FS_N_STMTS };

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

char *db_feature_sets_relation(struct db *db, const struct feature_set *fs, struct seg_arena *arena)
{
    char schema[160], name[160];
    if (!db_ident(db, fs->relation_schema, schema, sizeof(schema)) ||
        !db_ident(db, fs->relation_name, name, sizeof(name)))
        return NULL;
    return seg_arena_printf(arena, "%s.%s", schema, name);
}
