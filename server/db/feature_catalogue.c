/* The catalogue has the order and the types of columns; the length of arrays is in no type, so that
 * a value has to tell. */
#include "db/feature_catalogue.h"

#include <string.h>

enum {
    FC_COLUMNS,
    FC_N_STMTS,
};

static const struct db_stmt STMTS[FC_N_STMTS] = {
    [FC_COLUMNS] = { "feature_catalogue",
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
const struct db_stmts DB_FEATURE_CATALOGUE_STMTS = { STMTS, FC_N_STMTS };

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

/* Adds column i of the catalogue's answer to rc. *late: a length did not come in time. It becomes
 * true once, and then no further length is asked: each would take as long. */
static enum db_status read_column(struct db *db, const char *schema, const char *relation,
                                  const struct db_result *r, size_t i, struct seg_arena *arena,
                                  struct relation_columns *rc, bool *late)
{
    char *column = seg_arena_strndup(arena, db_result_text(r, i, 0), db_result_len(r, i, 0)),
         *sql_type = seg_arena_strndup(arena, db_result_text(r, i, 1), db_result_len(r, i, 1));
    if (column == NULL || sql_type == NULL) return DB_FATAL;
    const int type = type_of(sql_type, db_result_bool(r, i, 2));
    const char *detail = NULL;
    uint32_t width = 1;
    if (type == SEG_VECTOR && !*late) {
        enum db_status st = vector_width(db, schema, relation, column, arena, &width);
        *late = db_is_late(db, st);
        if (st != DB_ONE && !*late) return st;
    }
    if (type < 0)
        detail = "values of this type cannot be features";
    else if (type == SEG_VECTOR && *late)
        detail = "reading arrays of this relation takes longer than a statement may: their length "
                 "is not known";
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

enum db_status db_feature_catalogue(struct db *db, const char *schema, const char *name,
                                    struct seg_arena *arena, struct relation_columns *ret)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[FC_COLUMNS], (const char *[]){ schema, name }, &r);
    if (st == DB_ONE) {
        const size_t n = db_result_rows(r);
        struct relation_columns rc = { .columns = seg_arena_alloc(arena, n * sizeof(*rc.columns)),
                                       .left_out =
                                           seg_arena_alloc(arena, n * sizeof(*rc.left_out)) };
        bool late = false;
        if (rc.columns == NULL || rc.left_out == NULL) st = DB_FATAL;
        for (size_t i = 0; st == DB_ONE && i < n; i++)
            st = read_column(db, schema, name, r, i, arena, &rc, &late);
        if (st == DB_ONE) *ret = rc;
    }
    db_result_free(r);
    return st;
}
