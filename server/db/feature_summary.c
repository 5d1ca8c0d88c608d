/* Statements are built for the columns that there are, from escaped identifiers. */
#include "db/feature_summary.h"

#include <math.h>
#include <string.h>

#include "db/feature_sample.h"
#include "json/json.h"

/* How based_on tells of the rows that were read. */
static const struct {
    const char *method, *detail;
} METHODS[] = {
    [SAMPLE_ALL] = { "all_rows", NULL },
    [SAMPLE_RANDOM_PAGES] = { "random_pages",
                              "a part of the pages was read: missing and the counts in top are "
                              "estimates for all rows, the other figures are those of the sample" },
    [SAMPLE_FIRST_ROWS] = { "first_rows",
                            "only the first rows were read, since there are no pages to draw from: "
                            "missing and the counts in top are estimates for all rows, the other "
                            "figures are those of the first rows" },
    [SAMPLE_NOTHING] = { "nothing",
                         "reading the rows takes longer than a statement may: there are no "
                         "figures" },
};

/* What the database has computed of a column. */
struct column_figures {
    const char *stats; /* text of an object */
    const char *top;   /* text of an array; NULL: not a categorical feature */
    uint64_t distinct; /* values of a categorical feature */
};

struct figures {
    uint64_t n_rows;                /* rows that they are of */
    uint64_t n_all;                 /* rows of the whole set, as far as reading these has told */
    struct column_figures *columns; /* (n_columns); NULL: there are none */
};

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
            "), 'min', min(%1$s::float8) FILTER (WHERE " IN_RANGE
            "), 'mean', avg(%1$s::float8) FILTER (WHERE " IN_RANGE
            "), 'max', max(%1$s::float8) FILTER (WHERE " IN_RANGE
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
        return seg_arena_printf(arena, "json_build_object('missing', count(*) - count(%s))", col);
    case SEG_VECTOR:
        return seg_arena_printf(
            arena, "json_build_object('missing', count(*) - count(%1$s), 'width', %2$u)", col,
            c->width);
    }
    return NULL;
}

/* The values of a categorical feature: how many there are, and [{"value", "count"}] of the ten most
 * frequent. n_all is to n_read as the counts that are told are to those that are read. */
static enum db_status read_values(struct db *db, const char *from, const struct feature_column *c,
                                  const char *id, uint64_t n_all, uint64_t n_read,
                                  struct seg_arena *arena, struct column_figures *f)
{
    char col[160];
    struct db_result *r = NULL;
    if (!db_ident(db, c->column, col, sizeof(col))) return DB_FATAL;
    char *sql = seg_arena_printf(
        arena,
        "SELECT COALESCE(json_agg(json_build_object('value', v, "
        "'count', round(n::numeric * %4$llu / %5$llu)::bigint) ORDER BY n DESC, v), '[]')"
        ", COALESCE(max(n_values), 0)"
        " FROM (SELECT %1$s::text COLLATE \"C\" AS v, count(*) AS n, count(*) OVER () AS n_values"
        " FROM %2$s WHERE %1$s IS NOT NULL AND %3$s IS NOT NULL"
        " GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10) AS top",
        col, from, id, (unsigned long long)n_all, (unsigned long long)(n_read > 0 ? n_read : 1));
    if (sql == NULL) return DB_FATAL;
    enum db_status st = db_exec_sql(db, sql, NULL, 0, &r);
    if (st == DB_ONE) {
        f->top = seg_arena_strndup(arena, db_result_text(r, 0, 0), db_result_len(r, 0, 0));
        f->distinct = (uint64_t)db_result_int(r, 0, 1);
    }
    db_result_free(r);
    return st == DB_ONE && f->top == NULL ? DB_FATAL : st;
}

/* f NULL: there are no figures. scale: rows of the set for each row read. False: out of memory. */
static bool write_column(struct json_out *o, const struct feature_column *c,
                         const struct column_figures *f, double scale)
{
    struct json_fault fault;
    struct json *doc = f ? json_parse(f->stats, strlen(f->stats), &fault) : NULL;
    if (f != NULL && doc == NULL) return false;
    json_out_object(o);
    json_out_member_string(o, "name", c->name);
    json_out_member_string(o, "type", seg_type_name(c->type));
    for (const struct json *m = doc ? json_first(doc) : NULL; m != NULL; m = json_next(m)) {
        json_out_key(o, json_key(m));
        if (strcmp(json_key(m), "missing") == 0)
            json_out_double(o, round(json_number(m) * scale));
        else if (json_kind(m) == JSON_NUMBER)
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
    if (f == NULL && c->type == SEG_VECTOR) json_out_member_uint(o, "width", c->width);
    if (f != NULL && f->top != NULL) {
        json_out_member_uint(o, "distinct", f->distinct);
        json_out_member_raw(o, "top", f->top);
    }
    json_out_end_object(o);
    json_free(doc);
    return true;
}

/* Rows of the set of which n_read were read. */
static uint64_t rows_of_set(const struct feature_sample *sample, uint64_t n_read)
{
    if (sample->method == SAMPLE_ALL) return n_read;
    return sample->share > 0 && n_read > 0 ? (uint64_t)round((double)n_read / sample->share)
                                           : sample->n_rows;
}

/* The figures of the rows that were chosen, in *ret. */
static enum db_status read_figures(struct db *db, const struct feature_set *fs,
                                   const struct feature_sample *sample, struct seg_arena *arena,
                                   struct figures *ret)
{
    char id[160];
    struct db_result *r = NULL;
    struct figures f = { 0 };
    if (!db_ident(db, fs->id_column, id, sizeof(id))) return DB_FATAL;
    const char **fields = seg_arena_alloc(arena, (fs->n_columns + 1) * sizeof(*fields));
    f.columns = seg_arena_alloc(arena, (fs->n_columns + 1) * sizeof(*f.columns));
    if (fields == NULL || f.columns == NULL) return DB_FATAL;
    fields[0] = "SELECT count(*)";
    for (uint32_t i = 0; i < fs->n_columns; i++)
        if ((fields[i + 1] = summary_expression(db, &fs->columns[i], arena)) == NULL)
            return DB_FATAL;
    char *list = seg_arena_join(arena, fields, fs->n_columns + 1, ", ");
    char *sql =
        list ? seg_arena_printf(arena, "%s FROM %s WHERE %s IS NOT NULL", list, sample->from, id)
             : NULL;
    if (sql == NULL) return DB_FATAL;
    enum db_status st = db_exec_sql(db, sql, NULL, 0, &r);
    if (st == DB_ONE) f.n_rows = (uint64_t)db_result_int(r, 0, 0);
    f.n_all = rows_of_set(sample, f.n_rows);
    for (uint32_t i = 0; st == DB_ONE && i < fs->n_columns; i++) {
        struct column_figures *c = &f.columns[i];
        *c = (struct column_figures){ .stats = seg_arena_strndup(arena, db_result_text(r, 0, i + 1),
                                                                 db_result_len(r, 0, i + 1)) };
        if (c->stats == NULL)
            st = DB_FATAL;
        else if (fs->columns[i].type == SEG_CATEGORICAL)
            st = read_values(db, sample->from, &fs->columns[i], id, f.n_all, f.n_rows, arena, c);
    }
    db_result_free(r);
    if (st == DB_ONE) *ret = f;
    return st;
}

static void write_basis(struct json_out *o, const struct feature_sample *sample, uint64_t n_rows)
{
    json_out_key(o, "based_on");
    json_out_object(o);
    json_out_member_uint(o, "rows", n_rows);
    json_out_member_bool(
        o, "sample", sample->method == SAMPLE_RANDOM_PAGES || sample->method == SAMPLE_FIRST_ROWS);
    json_out_member_string(o, "method", METHODS[sample->method].method);
    if (METHODS[sample->method].detail != NULL)
        json_out_member_string(o, "detail", METHODS[sample->method].detail);
    json_out_end_object(o);
}

enum db_status db_feature_summary(struct db *db, const struct feature_set *fs, uint64_t values_max,
                                  struct seg_arena *arena, struct json_out *o)
{
    struct feature_sample sample;
    struct figures f = { 0 };
    bool widened = false;
    enum db_status st = db_feature_sample(db, fs, values_max, arena, &sample);
    while (st == DB_ONE && sample.method != SAMPLE_NOTHING) {
        st = read_figures(db, fs, &sample, arena, &f);
        if (db_is_late(db, st)) {
            st = db_feature_sample_shrink(db, fs, values_max, arena, &sample);
        } else if (st == DB_ONE && f.n_rows == 0 && sample.method == SAMPLE_RANDOM_PAGES &&
                   !widened) {
            widened = true;
            f = (struct figures){ 0 }; /* if more pages are late there are none */
            st = db_feature_sample_widen(db, fs, values_max, arena, &sample);
        } else {
            break;
        }
    }
    if (st != DB_ONE) return st;
    if (sample.method != SAMPLE_NOTHING) sample.n_rows = f.n_all;
    json_out_member_uint(o, "rows", sample.n_rows);
    json_out_member_bool(o, "rows_estimated", sample.estimated);
    write_basis(o, &sample, f.n_rows);
    json_out_key(o, "columns");
    json_out_array(o);
    for (uint32_t i = 0; i < fs->n_columns; i++)
        if (!write_column(o, &fs->columns[i], f.columns ? &f.columns[i] : NULL,
                          f.n_rows > 0 ? (double)sample.n_rows / (double)f.n_rows : 1))
            return DB_FATAL;
    json_out_end_array(o);
    return st;
}
