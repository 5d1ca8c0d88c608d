/* Labels by binary COPY, and the statements that publish a run. */
#include "db/labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "db/copy_rows.h"
#include "db/number_text.h"

enum {
    RUN_NEXT_ID,
    RUN_ADD,
    RUN_CURRENT,
    RUN_PROFILE,
    RUN_UNINDEXED,
    RUN_OLD,
    RUN_DELETE,
    RUN_N_STMTS
};

static const struct db_stmt STMTS[RUN_N_STMTS] = {
    [RUN_NEXT_ID] = { "labels_next_id", 0,
                      "SELECT nextval(pg_get_serial_sequence('label_runs', 'id'))" },
    [RUN_ADD] = { "labels_add", 5, /* $1 run, $2 model, $3 version, $4 job, $5 users */
                  "INSERT INTO label_runs (id, model_id, version, job_id, n_users) OVERRIDING "
                  "SYSTEM VALUE"
                  " VALUES ($1::bigint, $2::bigint, $3::int, $4::uuid, $5::bigint)" },
    [RUN_CURRENT] = { "labels_current", 2, /* $1 model, $2 run */
                      "INSERT INTO label_current (model_id, run_id) VALUES ($1::bigint, $2::bigint)"
                      " ON CONFLICT (model_id) DO UPDATE SET run_id = excluded.run_id" },
    [RUN_PROFILE] = { "labels_profile", 5, /* $1 run, $2 segment, $3 size, $4 share, $5 profile */
                      "INSERT INTO segment_profiles (run_id, segment, size, share, profile)"
                      " VALUES ($1::bigint, $2::int, $3::bigint, $4::float8, $5::json)" },
    [RUN_UNINDEXED] = { "labels_unindexed", 0, /* the lock is its maker's until the commit */
                        "SELECT id FROM label_runs"
                        " WHERE to_regclass('labels_' || id) IS NOT NULL"
                        " AND to_regclass('labels_' || id || '_result') IS NULL"
                        " AND pg_try_advisory_xact_lock(hashtextextended('segmentd labels', id))"
                        " ORDER BY id DESC LIMIT 1" },
    [RUN_OLD] = { "labels_old", 2, /* $1 model, $2 runs to keep */
                  "SELECT ARRAY(SELECT id FROM label_runs WHERE model_id = $1::bigint"
                  "             AND id NOT IN (SELECT run_id FROM label_current WHERE model_id = "
                  "$1::bigint)"
                  "             ORDER BY id DESC OFFSET GREATEST($2::int - 1, 0))::text" },
    [RUN_DELETE] = { "labels_delete", 1, /* $1 runs as an array */
                     "WITH pointers AS (DELETE FROM label_current WHERE run_id = ANY "
                     "($1::bigint[]))"
                     " DELETE FROM label_runs WHERE id = ANY ($1::bigint[])" },
};
const struct db_stmts DB_LABELS_STMTS = { STMTS, RUN_N_STMTS };

struct label_writer {
    struct db *db;
    int64_t run_id;
    uint64_t n_users;
    bool indexing; /* the server has been told to */
    struct copy_rows rows;
};

struct label_writer *label_writer_begin(struct db *db)
{
    char sql[512];
    struct db_result *r = NULL;
    struct label_writer *w = seg_calloc(1, sizeof(*w));
    if (w == NULL) return NULL;
    w->db = db;
    enum db_status st = db_exec(db, &STMTS[RUN_NEXT_ID], NULL, &r);
    if (st == DB_ONE) w->run_id = db_result_int(r, 0, 0);
    db_result_free(r);
    if (st != DB_ONE) goto failed;
    /* The transaction stands idle while we score and explain, which takes as long as it takes: it
     * holds nothing that others wait for. A helper sorts an index hardly sooner, and takes the
     * processor that we explain on. */
    st = db_exec_sql(db,
                     "SET LOCAL idle_in_transaction_session_timeout = 0;"
                     "SET LOCAL max_parallel_maintenance_workers = 0",
                     NULL, 0, NULL);
    if (st != DB_ONE && st != DB_NONE) goto failed;
    /* The CHECK says what the partition bound will say, so that attaching need not scan; the
     * DEFAULT spares sending the same number with every row. */
    snprintf(sql, sizeof(sql),
             "CREATE TABLE labels_%1$lld (LIKE labels, CHECK (run_id = %1$lld));"
             "ALTER TABLE labels_%1$lld ALTER COLUMN run_id SET DEFAULT %1$lld",
             (long long)w->run_id);
    st = db_exec_sql(db, sql, NULL, 0, NULL);
    if (st != DB_ONE && st != DB_NONE) goto failed;
    /* Frozen at once: no reader will have to write hint bits, nor vacuum the whole table again. */
    snprintf(sql, sizeof(sql),
             "COPY labels_%lld (user_id, result, confidence, distance) FROM STDIN (FORMAT binary, "
             "FREEZE)",
             (long long)w->run_id);
    if (db_copy_in_begin(db, sql) != DB_ONE) goto failed;
    copy_rows_begin(&w->rows, db);
    return w;
failed:
    seg_free(w);
    return NULL;
}

enum db_status label_writer_add(struct label_writer *w, const struct label *l)
{
    enum db_status st = copy_rows_next(&w->rows, 4);
    copy_rows_text(&w->rows, l->user_id, l->user_id_len);
    copy_rows_int4(&w->rows, l->result);
    copy_rows_float4(&w->rows, l->confidence);
    copy_rows_float4(&w->rows, l->distance);
    w->n_users++;
    return st;
}

enum db_status label_writer_end(struct label_writer *w)
{
    char sql[160];
    uint64_t n_rows = 0;
    enum db_status st = copy_rows_end(&w->rows, &n_rows);
    if (st == DB_NONE) st = DB_ONE; /* nobody was labelled */
    if (st == DB_ONE && n_rows != w->n_users) st = DB_FATAL;
    if (st != DB_ONE) return st;
    snprintf(sql, sizeof(sql), "CREATE UNIQUE INDEX labels_%1$lld_user ON labels_%1$lld (user_id)",
             (long long)w->run_id);
    st = db_send_sql(w->db, sql);
    w->indexing = st == DB_ONE;
    return st;
}

enum db_status label_writer_finish(struct label_writer *w, const atomic_bool *cancel,
                                   int64_t *ret_run_id, uint64_t *ret_n_users)
{
    enum db_status st = db_receive(w->db, cancel);
    *ret_run_id = w->run_id;
    *ret_n_users = w->n_users;
    copy_rows_release(&w->rows);
    seg_free(w);
    return st == DB_NONE ? DB_ONE : st;
}

void label_writer_abort(struct label_writer *w)
{
    static const atomic_bool at_once = true;
    if (w == NULL) return;
    if (w->indexing)
        db_receive(w->db, &at_once);
    else
        db_copy_in_abort(w->db);
    copy_rows_release(&w->rows);
    seg_free(w);
}

enum db_status db_labels_publish(struct db *db, int64_t run_id, int64_t model_id, unsigned version,
                                 const char *job_id, uint64_t n_users)
{
    const struct number_text run = number(run_id), model = number(model_id);
    char sql[128];
    /* Late, since it locks the parent until the commit. */
    snprintf(sql, sizeof(sql),
             "ALTER TABLE labels ATTACH PARTITION labels_%1$s FOR VALUES IN (%1$s)", run.text);
    enum db_status st = db_exec_sql(db, sql, NULL, 0, NULL);
    if (st != DB_ONE && st != DB_NONE) return st;
    st = db_exec(db, &STMTS[RUN_ADD],
                 (const char *[]){ run.text, model.text, number(version).text, job_id,
                                   number((int64_t)n_users).text },
                 NULL);
    return st == DB_ONE
               ? db_exec(db, &STMTS[RUN_CURRENT], (const char *[]){ model.text, run.text }, NULL)
               : st;
}

enum db_status db_labels_profile_add(struct db *db, int64_t run_id, unsigned segment, uint64_t size,
                                     double share, const char *profile_json)
{
    char share_text[32];
    snprintf(share_text, sizeof(share_text), "%.17g", share);
    return db_exec(db, &STMTS[RUN_PROFILE],
                   (const char *[]){ number(run_id).text, number(segment).text,
                                     number((int64_t)size).text, share_text, profile_json },
                   NULL);
}

static enum db_status index_in_tx(struct db *db, void *ctx)
{
    char sql[160];
    struct db_result *r = NULL;
    const atomic_bool *const *stop = ctx;
    enum db_status st = db_exec(db, &STMTS[RUN_UNINDEXED], NULL, &r);
    if (st == DB_ONE) {
        snprintf(sql, sizeof(sql),
                 "CREATE INDEX labels_%1$lld_result ON labels_%1$lld (result, distance, user_id)",
                 (long long)db_result_int(r, 0, 0));
        /* Nobody waits for it: one processor is enough, the others are for who does wait. */
        st = db_exec_sql(db, "SET LOCAL max_parallel_maintenance_workers = 0", NULL, 0, NULL);
        if (st == DB_ONE || st == DB_NONE) st = db_send_sql(db, sql);
        if (st == DB_ONE) st = db_receive(db, *stop);
    }
    db_result_free(r);
    return st;
}

enum db_status db_labels_index(struct db *db, const atomic_bool *stop)
{
    return db_tx_run(db, "labels_index", index_in_tx, &stop);
}

enum db_status db_labels_drop(struct db *db, const char *run_ids)
{
    char sql[64];
    enum db_status st = DB_ONE;
    for (const char *p = run_ids;
         (p = strpbrk(p, "0123456789")) != NULL && (st == DB_ONE || st == DB_NONE);) {
        char *end;
        snprintf(sql, sizeof(sql), "DROP TABLE IF EXISTS labels_%lld", strtoll(p, &end, 10));
        st = db_exec_sql(db, sql, NULL, 0, NULL);
        p = end;
    }
    if (st == DB_ONE || st == DB_NONE)
        st = db_exec(db, &STMTS[RUN_DELETE], (const char *[]){ run_ids }, NULL);
    return st == DB_NONE ? DB_ONE : st;
}

static enum db_status prune_in_tx(struct db *db, void *ctx)
{
    /* Dropping waits for every reader of labels while new readers wait behind it: rather another
     * time. */
    enum db_status st = db_exec_sql(db, "SET LOCAL lock_timeout = '500ms'", NULL, 0, NULL);
    return st == DB_ONE || st == DB_NONE ? db_labels_drop(db, ctx) : st;
}

enum db_status db_labels_prune(struct db *db, int64_t model_id, unsigned keep)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[RUN_OLD],
                                (const char *[]){ number(model_id).text, number(keep).text }, &r);
    if (st == DB_ONE && strcmp(db_result_text(r, 0, 0), "{}") != 0) {
        char *ids = seg_strdup(db_result_text(r, 0, 0));
        st = ids ? db_tx_run(db, "labels_prune", prune_in_tx, ids) : DB_FATAL;
        seg_free(ids);
    }
    db_result_free(r);
    return st;
}
