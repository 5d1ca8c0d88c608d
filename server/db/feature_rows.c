/* The stage is a temporary table that goes with the transaction: nothing of a refused import stays.
 */
#include "db/feature_rows.h"

#include <stdio.h>
#include <string.h>

#define LOCK_NOT_AVAILABLE "55P03"

enum db_status db_feature_rows_begin(struct db *db)
{
    char sql[48];
    snprintf(sql, sizeof(sql), "SET LOCAL lock_timeout = '%us'", DB_FEATURE_ROWS_WAIT_S);
    enum db_status st = db_begin(db);
    if (st == DB_ONE) st = db_exec_sql(db, sql, NULL, 0, NULL);
    return st == DB_NONE ? DB_ONE : st;
}

bool db_feature_rows_busy(const struct db *db)
{
    return strcmp(db_sqlstate(db), LOCK_NOT_AVAILABLE) == 0;
}

enum db_status db_feature_rows_stage(struct db *db, const struct feature_set *fs,
                                     const uint32_t *columns, uint32_t n, struct seg_arena *arena)
{
    char ident[160];
    const char **definitions = seg_arena_alloc(arena, (n + 1) * sizeof(*definitions));
    if (definitions == NULL) return DB_FATAL;
    definitions[0] = "line bigint, user_id text COLLATE \"C\"";
    for (uint32_t i = 0; i < n; i++) {
        const struct feature_column *c = &fs->columns[columns[i]];
        if (!db_ident(db, c->column, ident, sizeof(ident))) return DB_FATAL;
        definitions[i + 1] = seg_arena_printf(arena, "%s %s", ident, c->sql_type);
        if (definitions[i + 1] == NULL) return DB_FATAL;
    }
    char *list = seg_arena_join(arena, definitions, n + 1, ", ");
    char *sql = list ? seg_arena_printf(
                           arena, "CREATE TEMPORARY TABLE import_stage (%s) ON COMMIT DROP", list)
                     : NULL;
    if (sql == NULL) return DB_FATAL;
    enum db_status st = db_exec_sql(db, sql, NULL, 0, NULL);
    return st == DB_ONE || st == DB_NONE
               ? db_copy_in_begin(db, "COPY import_stage FROM STDIN (FORMAT binary)")
               : st;
}

enum db_status db_feature_rows_duplicates(struct db *db, unsigned limit, struct seg_arena *arena,
                                          struct duplicate_row **ret, size_t *ret_n,
                                          uint64_t *ret_total)
{
    char limit_text[16];
    struct db_result *r = NULL;
    snprintf(limit_text, sizeof(limit_text), "%u", limit);
    enum db_status st = db_exec_sql(db,
                                    "SELECT line, first_line, count(*) OVER ()"
                                    " FROM (SELECT line, min(line) OVER (PARTITION BY user_id) AS "
                                    "first_line FROM import_stage) AS s"
                                    " WHERE line > first_line ORDER BY line LIMIT $1::int",
                                    (const char *[]){ limit_text }, 1, &r);
    *ret_n = 0;
    *ret_total = 0;
    if (st == DB_ONE) {
        size_t n = db_result_rows(r);
        struct duplicate_row *rows = seg_arena_alloc(arena, n * sizeof(*rows));
        for (size_t i = 0; rows != NULL && i < n; i++)
            rows[i] = (struct duplicate_row){ (uint64_t)db_result_int(r, i, 0),
                                              (uint64_t)db_result_int(r, i, 1) };
        if (rows == NULL) st = DB_FATAL;
        *ret = rows;
        *ret_n = n;
        *ret_total = (uint64_t)db_result_int(r, 0, 2);
    }
    db_result_free(r);
    return st;
}

enum db_status db_feature_rows_drop_duplicates(struct db *db)
{
    return db_exec_sql(db,
                       "DELETE FROM import_stage s USING (SELECT line, min(line) OVER (PARTITION "
                       "BY user_id) AS first_line FROM import_stage) AS d"
                       " WHERE s.line = d.line AND d.line > d.first_line",
                       NULL, 0, NULL);
}

/* The columns as a list of identifiers, or of "c = excluded.c". */
static char *column_list(struct db *db, const struct feature_set *fs, const uint32_t *columns,
                         uint32_t n, bool assign, struct seg_arena *arena)
{
    char ident[160];
    const char **items = seg_arena_alloc(arena, (n + 1) * sizeof(*items));
    for (uint32_t i = 0; items != NULL && i < n; i++) {
        if (!db_ident(db, fs->columns[columns[i]].column, ident, sizeof(ident))) return NULL;
        items[i] = seg_arena_printf(arena, assign ? "%1$s = excluded.%1$s" : "%s", ident);
        if (items[i] == NULL) return NULL;
    }
    return items ? seg_arena_join(arena, items, n, ", ") : NULL;
}

/* Imports into one set take turns from here on: each counts what the others left, and none waits
 * for rows of another that waits for its own. */
static enum db_status lock_set(struct db *db, const struct feature_set *fs)
{
    char id[24];
    snprintf(id, sizeof(id), "%lld", (long long)fs->id);
    enum db_status st =
        db_exec_sql(db, "SELECT 1 FROM feature_sets WHERE id = $1::bigint FOR UPDATE",
                    (const char *[]){ id }, 1, NULL);
    return st == DB_NONE ? DB_RETRY : st; /* deleted since: the client's next try makes it anew */
}

enum db_status db_feature_rows_merge(struct db *db, const struct feature_set *fs,
                                     const uint32_t *columns, uint32_t n, struct seg_arena *arena,
                                     uint64_t *ret_inserted, uint64_t *ret_updated)
{
    struct db_result *r = NULL;
    char *relation = db_feature_sets_relation(db, fs, arena);
    char *list = column_list(db, fs, columns, n, false, arena),
         *assign = column_list(db, fs, columns, n, true, arena);
    if (relation == NULL || list == NULL || assign == NULL) return DB_FATAL;
    char *count = seg_arena_printf(arena,
                                   "SELECT (SELECT count(*) FROM import_stage)"
                                   ", (SELECT count(*) FROM import_stage JOIN %s USING (user_id))",
                                   relation);
    char *merge = seg_arena_printf(arena,
                                   "INSERT INTO %s (user_id%s%s) SELECT user_id%s%s FROM "
                                   "import_stage ON CONFLICT (user_id) DO %s%s",
                                   relation, n ? ", " : "", list, n ? ", " : "", list,
                                   n ? "UPDATE SET " : "NOTHING", assign);
    if (count == NULL || merge == NULL) return DB_FATAL;
    enum db_status st = lock_set(db, fs);
    if (st == DB_ONE) st = db_exec_sql(db, count, NULL, 0, &r);
    if (st == DB_ONE) {
        *ret_updated = (uint64_t)db_result_int(r, 0, 1);
        *ret_inserted = (uint64_t)db_result_int(r, 0, 0) - *ret_updated;
    }
    db_result_free(r);
    if (st != DB_ONE) return st;
    st = db_exec_sql(db, merge, NULL, 0, NULL);
    if (st != DB_ONE && st != DB_NONE) return st;
    char *update = seg_arena_printf(
        arena, "UPDATE feature_sets SET n_rows = n_rows + %llu, updated_at = now() WHERE id = %lld",
        (unsigned long long)*ret_inserted, (long long)fs->id);
    st = update ? db_exec_sql(db, update, NULL, 0, NULL) : DB_FATAL;
    return st == DB_NONE ? DB_ONE : st;
}
