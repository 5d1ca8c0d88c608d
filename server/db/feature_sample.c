/* Whether a set is large is found by counting a bounded number of its rows: what the planner
 * expects of a view or of a foreign table can be wrong by any factor. */
#include "db/feature_sample.h"

#include <string.h>

#include "db/number_text.h"
#include "json/json.h"

/* Counting stops at so many milliseconds, and does not begin when the planner expects more rows,
 * at 0.1 µs each. */
#define COUNT_MS_MAX   3000
#define COUNT_ROWS_MAX 20000000u

enum {
    FP_HAS_PAGES,
    FP_LIMIT_TIME,
    FP_N_STMTS,
};

static const struct db_stmt STMTS[FP_N_STMTS] = {
    /* A foreign table below a partitioned one would be read whole. */
    [FP_HAS_PAGES] = { "feature_sample_has_pages", 2, /* $1 schema, $2 relation */
                       "WITH RECURSIVE tree AS ("
                       " SELECT c.oid, c.relkind"
                       " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                       " WHERE n.nspname = $1 AND c.relname = $2"
                       " UNION"
                       " SELECT c.oid, c.relkind"
                       " FROM tree t"
                       " JOIN pg_inherits i ON i.inhparent = t.oid"
                       " JOIN pg_class c ON c.oid = i.inhrelid)"
                       " SELECT COALESCE(bool_and(relkind IN ('r', 'm', 'p')), false) FROM tree" },
    [FP_LIMIT_TIME] = { "feature_sample_limit_time", 1, /* $1 ms; until the transaction ends */
                        "SELECT set_config('statement_timeout'"
                        ", LEAST(NULLIF(setting::int, 0), $1::int)::text, true)"
                        " FROM pg_settings WHERE name = 'statement_timeout'" },
};
const struct db_stmts DB_FEATURE_SAMPLE_STMTS = { STMTS, FP_N_STMTS };

/* The rows that are looked for, as they stand in statements. */
struct wanted {
    char id[160];
    const char *relation;
};

static bool name_rows(struct db *db, const struct feature_set *fs, struct seg_arena *arena,
                      struct wanted *ret)
{
    ret->relation = db_feature_sets_relation(db, fs, arena);
    return ret->relation != NULL && db_ident(db, fs->id_column, ret->id, sizeof(ret->id));
}

/* Counts the rows. limit: " LIMIT n" for no more than n of them, or "". */
static enum db_status count(struct db *db, const struct wanted *w, const char *limit,
                            struct seg_arena *arena, uint64_t *ret)
{
    struct db_result *r = NULL;
    const char *sql = seg_arena_printf(
        arena, "SELECT count(*) FROM (SELECT FROM %s WHERE %s IS NOT NULL%s) AS found", w->relation,
        w->id, limit);
    enum db_status st = sql != NULL ? db_exec_sql(db, sql, NULL, 0, &r) : DB_FATAL;
    if (st == DB_ONE) *ret = (uint64_t)db_result_int(r, 0, 0);
    db_result_free(r);
    return st;
}

/* How many rows the planner expects. */
static enum db_status estimate(struct db *db, const struct wanted *w, struct seg_arena *arena,
                               uint64_t *ret)
{
    struct db_result *r = NULL;
    struct json_fault fault;
    struct json *doc = NULL;
    const char *sql = seg_arena_printf(
        arena, "EXPLAIN (FORMAT JSON) SELECT FROM %s WHERE %s IS NOT NULL", w->relation, w->id);
    enum db_status st = sql != NULL ? db_exec_sql(db, sql, NULL, 0, &r) : DB_FATAL;
    if (st == DB_ONE) {
        doc = json_parse(db_result_text(r, 0, 0), db_result_len(r, 0, 0), &fault);
        const struct json *plan = doc != NULL ? json_get(json_first(doc), "Plan") : NULL,
                          *rows = plan != NULL ? json_get(plan, "Plan Rows") : NULL;
        if (rows != NULL)
            *ret = (uint64_t)json_number(rows);
        else
            st = DB_FATAL;
    }
    json_free(doc);
    db_result_free(r);
    return st;
}

/* Counts all rows unless that takes too long, which is DB_NONE. */
static enum db_status count_in_time(struct db *db, const struct wanted *w, struct seg_arena *arena,
                                    uint64_t *ret)
{
    enum db_status st = db_begin(db);
    if (st == DB_ONE)
        st =
            db_exec(db, &STMTS[FP_LIMIT_TIME], (const char *[]){ number(COUNT_MS_MAX).text }, NULL);
    if (st == DB_ONE) st = count(db, w, "", arena, ret);
    const bool late = db_is_late(db, st);
    db_rollback(db); /* it has read, no more */
    return late ? DB_NONE : st;
}

/* s->n_rows of a set that has at least so many. */
static enum db_status count_or_estimate(struct db *db, const struct wanted *w,
                                        struct seg_arena *arena, struct feature_sample *s)
{
    uint64_t n = 0;
    enum db_status st = estimate(db, w, arena, &n);
    if (st != DB_ONE) return st;
    if (n > s->n_rows) s->n_rows = n;
    s->estimated = true;
    if (n > COUNT_ROWS_MAX) return DB_ONE;
    st = count_in_time(db, w, arena, &n);
    if (st == DB_NONE) return DB_ONE;
    if (st != DB_ONE) return st;
    s->n_rows = n;
    s->estimated = false;
    return DB_ONE;
}

/* method and from of a sample of about n_wanted rows of s->n_rows. */
static enum db_status choose_rows(struct db *db, const struct feature_set *fs,
                                  const struct wanted *w, uint64_t n_wanted,
                                  struct seg_arena *arena, struct feature_sample *s)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[FP_HAS_PAGES],
                                (const char *[]){ fs->relation_schema, fs->relation_name }, &r);
    if (st == DB_ONE && db_result_bool(r, 0, 0)) {
        s->method = SAMPLE_RANDOM_PAGES;
        s->from = seg_arena_printf(
            arena, "%s TABLESAMPLE SYSTEM (100.0 * %llu / %llu) REPEATABLE (0)", w->relation,
            (unsigned long long)n_wanted, (unsigned long long)s->n_rows);
    } else if (st == DB_ONE) {
        s->method = SAMPLE_FIRST_ROWS;
        s->from =
            seg_arena_printf(arena, "(SELECT * FROM %s WHERE %s IS NOT NULL LIMIT %llu) AS sample",
                             w->relation, w->id, (unsigned long long)n_wanted);
    }
    db_result_free(r);
    return st == DB_ONE && s->from == NULL ? DB_FATAL : st;
}

enum db_status db_feature_sample(struct db *db, const struct feature_set *fs, uint64_t values_max,
                                 struct seg_arena *arena, struct feature_sample *ret)
{
    struct wanted w;
    const uint64_t n_most = values_max / (fs->n_columns > 0 ? fs->n_columns : 1);
    const char *limit = seg_arena_printf(arena, " LIMIT %llu", (unsigned long long)n_most + 1);
    if (limit == NULL || !name_rows(db, fs, arena, &w)) return DB_FATAL;
    struct feature_sample s = { .method = SAMPLE_ALL,
                                .from = w.relation,
                                .n_rows = (uint64_t)fs->n_rows };
    enum db_status st = fs->managed ? DB_ONE : count(db, &w, limit, arena, &s.n_rows);
    const bool late = db_is_late(db, st);
    if (late) {
        s.estimated = true;
        st = estimate(db, &w, arena, &s.n_rows);
    } else if (st == DB_ONE && s.n_rows > n_most && !fs->managed) {
        st = count_or_estimate(db, &w, arena, &s);
    }
    if (st == DB_ONE && (late || s.n_rows > n_most))
        st = db_feature_sample_shrink(db, fs, values_max, arena, &s);
    if (st == DB_ONE) *ret = s;
    return st;
}

enum db_status db_feature_sample_shrink(struct db *db, const struct feature_set *fs,
                                        uint64_t values_max, struct seg_arena *arena,
                                        struct feature_sample *s)
{
    struct wanted w;
    const uint64_t n_wanted =
        values_max / FEATURE_SAMPLE_SHARE / (fs->n_columns > 0 ? fs->n_columns : 1);
    if (s->method != SAMPLE_ALL || s->n_rows <= n_wanted) {
        s->method = SAMPLE_NOTHING;
        s->from = NULL;
        return DB_ONE;
    }
    return name_rows(db, fs, arena, &w) ? choose_rows(db, fs, &w, n_wanted, arena, s) : DB_FATAL;
}

enum db_status db_feature_sample_widen(struct db *db, const struct feature_set *fs,
                                       uint64_t values_max, struct seg_arena *arena,
                                       struct feature_sample *s)
{
    struct wanted w;
    uint64_t n_wanted = values_max / (fs->n_columns > 0 ? fs->n_columns : 1);
    /* Unless counting was late there are that many rows, and a tenth of the pages has as many as a
     * sample is to have, however many pages are empty. */
    if (n_wanted < s->n_rows / FEATURE_SAMPLE_SHARE) n_wanted = s->n_rows / FEATURE_SAMPLE_SHARE;
    if (n_wanted > s->n_rows) n_wanted = s->n_rows;
    if (s->estimated) s->share = (double)n_wanted / (double)s->n_rows;
    return name_rows(db, fs, arena, &w) ? choose_rows(db, fs, &w, n_wanted, arena, s) : DB_FATAL;
}
