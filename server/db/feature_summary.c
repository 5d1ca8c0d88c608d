/* Statements are built for the columns that there are, from escaped identifiers. */
#include "db/feature_summary.h"

#include <math.h>
#include <string.h>

#include "json/json.h"

/* A finite number within float32. */
#define IN_RANGE "%1$s BETWEEN -3.4028234e38 AND 3.4028234e38"

/* One statement for all columns of one kind of summary: jsonb built in the database. */
static const char *summary_expression(struct db *db, const struct feature_column *c,
                                      struct seg_arena *arena)
{
    char col[160];
    const char *col_text = col;
    if (!db_ident(db, c->column, col, sizeof(col))) return NULL;
    switch (c->type) {
    case SEG_NUMERIC:
        if (strcmp(c->sql_type, "boolean") == 0) /* read as 0 and 1 */
            col_text = seg_arena_printf(arena, "%s::int", col);
        if (col_text == NULL) return NULL;
        /* What training takes as missing, not finite or beyond float32, is missing here as well. */
        return seg_arena_printf(
            arena,
            "json_build_object('missing', count(*) - count(*) FILTER (WHERE " IN_RANGE
            "), 'min', min(%1$s) FILTER (WHERE " IN_RANGE
            "), 'mean', avg(%1$s::float8) FILTER (WHERE " IN_RANGE
            "), 'max', max(%1$s) FILTER (WHERE " IN_RANGE
            "), 'quantiles', (SELECT json_object_agg(k, v) FROM unnest(ARRAY['p10', 'p25', "
            "'median', 'p75', 'p90'],"
            " percentile_cont(ARRAY[0.1, 0.25, 0.5, 0.75, 0.9]) WITHIN GROUP (ORDER BY "
            "%1$s::float8) FILTER (WHERE " IN_RANGE ")) AS q(k, v)))",
            col_text);
    case SEG_BOOLEAN:
        return seg_arena_printf(arena,
                                "json_build_object('missing', count(*) - count(%1$s), 'min', "
                                "min(%1$s::int), 'mean', avg(%1$s::int)::float8,"
                                " 'max', max(%1$s::int))",
                                col);
    case SEG_TIMESTAMP:
        return seg_arena_printf(
            arena,
            "json_build_object('missing', count(*) - count(%1$s), 'min', "
            "to_char(min(%1$s)::timestamp, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
            " 'max', to_char(max(%1$s)::timestamp, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'))",
            col);
    case SEG_CATEGORICAL:
        return seg_arena_printf(arena,
                                "json_build_object('missing', count(*) - count(%1$s), 'distinct', "
                                "count(DISTINCT %1$s::text))",
                                col);
    case SEG_VECTOR:
        return seg_arena_printf(
            arena, "json_build_object('missing', count(*) - count(%1$s), 'width', %2$u)", col,
            c->width);
    }
    return NULL;
}

/* [{"value", "count"}] of the ten most frequent values. */
static enum db_status top_values(struct db *db, const char *relation,
                                 const struct feature_column *c, const char *id,
                                 struct seg_arena *arena, char **ret)
{
    char col[160];
    struct db_result *r = NULL;
    if (!db_ident(db, c->column, col, sizeof(col))) return DB_FATAL;
    char *sql = seg_arena_printf(arena,
                                 "SELECT COALESCE(json_agg(json_build_object('value', v, "
                                 "'count', n) ORDER BY n DESC, v), '[]')"
                                 " FROM (SELECT %1$s::text COLLATE \"C\" AS v, count(*) AS n FROM "
                                 "%2$s WHERE %1$s IS NOT NULL AND %3$s IS NOT NULL"
                                 " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10) AS top",
                                 col, relation, id);
    if (sql == NULL) return DB_FATAL;
    enum db_status st = db_exec_sql(db, sql, NULL, 0, &r);
    if (st == DB_ONE)
        *ret = seg_arena_strndup(arena, db_result_text(r, 0, 0), db_result_len(r, 0, 0));
    db_result_free(r);
    return st == DB_ONE && *ret == NULL ? DB_FATAL : st;
}

static void write_column(struct json_out *o, const struct feature_column *c, const char *stats,
                         const char *top)
{
    struct json_fault fault;
    struct json *doc = stats ? json_parse(stats, strlen(stats), &fault) : NULL;
    json_out_object(o);
    json_out_member_string(o, "name", c->name);
    json_out_member_string(o, "type", seg_type_name(c->type));
    for (const struct json *m = doc ? json_first(doc) : NULL; m != NULL; m = json_next(m)) {
        json_out_key(o, json_key(m));
        if (json_kind(m) == JSON_NUMBER)
            json_out_double(o, json_number(m));
        else if (json_kind(m) == JSON_STRING)
            json_out_string(o, json_string(m));
        else if (json_kind(m) == JSON_OBJECT) {
            json_out_object(o);
            for (const struct json *q = json_first(m); q != NULL; q = json_next(q))
                json_out_member_double(o, json_key(q),
                                       json_kind(q) == JSON_NUMBER ? json_number(q) : (double)NAN);
            json_out_end_object(o);
        } else
            json_out_null(o);
    }
    if (top != NULL) json_out_member_raw(o, "top", top);
    json_out_end_object(o);
    json_free(doc);
}

enum db_status db_feature_summary(struct db *db, const struct feature_set *fs,
                                  struct seg_arena *arena, struct json_out *o)
{
    char id[160];
    struct db_result *r = NULL;
    char *relation = db_feature_sets_relation(db, fs, arena);
    if (relation == NULL || !db_ident(db, fs->id_column, id, sizeof(id))) return DB_FATAL;
    const char **fields = seg_arena_alloc(arena, (fs->n_columns + 1) * sizeof(*fields));
    if (fields == NULL) return DB_FATAL;
    fields[0] = "SELECT count(*)";
    for (uint32_t i = 0; i < fs->n_columns; i++)
        if ((fields[i + 1] = summary_expression(db, &fs->columns[i], arena)) == NULL)
            return DB_FATAL;
    char *list = seg_arena_join(arena, fields, fs->n_columns + 1, ", ");
    char *sql = list
                    ? seg_arena_printf(arena, "%s FROM %s WHERE %s IS NOT NULL", list, relation, id)
                    : NULL;
    if (sql == NULL) return DB_FATAL;
    enum db_status st = db_exec_sql(db, sql, NULL, 0, &r);
    if (st != DB_ONE) goto out;
    json_out_member_uint(o, "rows", (uint64_t)db_result_int(r, 0, 0));
    json_out_key(o, "columns");
    json_out_array(o);
    for (uint32_t i = 0; i < fs->n_columns; i++) {
        char *top = NULL;
        if (fs->columns[i].type == SEG_CATEGORICAL)
            st = top_values(db, relation, &fs->columns[i], id, arena, &top);
        if (st != DB_ONE) goto out;
        write_column(o, &fs->columns[i], db_result_text(r, 0, i + 1), top);
    }
    json_out_end_array(o);
out:
    db_result_free(r);
    return st;
}
