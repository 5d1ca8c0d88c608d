/* Statements of the job queue. The clock is the database's: leases of several instances compare. */
#include "db/jobs.h"

#include <stdio.h>
#include <string.h>

enum {
    JOB_CREATE,
    JOB_BY_KEY,
    JOB_GET,
    JOB_LIST,
    JOB_CANCEL,
    JOB_RETRY,
    JOB_END_DEAD,
    JOB_CLAIM,
    JOB_HEARTBEAT,
    JOB_FINISH,
    JOB_RELEASE,
    JOB_N_STMTS
};

#define RFC3339(column) "to_char(" column ", 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define JOB_FIELDS                                                                                 \
    " id"                                                                                          \
    ", kind"                                                                                       \
    ", state"                                                                                      \
    ", model"                                                                                      \
    ", feature_set"                                                                                \
    ", spec::text"                                                                                 \
    ", progress"                                                                                   \
    ", phase"                                                                                      \
    ", message"                                                                                    \
    ", version"                                                                                    \
    ", attempt"                                                                                    \
    ", warnings::text"                                                                             \
    ", error::text"                                                                                \
    ", " RFC3339("created_at") ", " RFC3339("started_at") ", " RFC3339(                            \
        "finished_at") ", extract(epoch FROM created_at)::numeric || '_' || id"
#define JOB_N_FIELDS 17
#define JOB_OURS     " WHERE id = $1::uuid AND attempt = $2::int AND state IN ('running', 'cancelling')"

#define EXHAUSTED                                                                                  \
    "jsonb_build_object('type', 'about:blank', 'status', 500, 'code', 'attempts_exhausted'"        \
    ", 'title', 'the job was lost too often', 'detail', 'it was given up after ' || attempt || ' " \
    "attempts')"

static const struct db_stmt STMTS[JOB_N_STMTS] = {
    [JOB_CREATE] = { "jobs_create", 7, /* $1 kind, $2 model, $3 feature set, $4 spec, $5 key, $6
                                          request, $7 attempts */
                     "WITH made AS (INSERT INTO jobs (kind, model, feature_set, spec, "
                     "idempotency_key, request_sha256, attempt_limit)"
                     " VALUES ($1, $2, $3, $4::json, $5, $6, $7::int)"
                     " ON CONFLICT (idempotency_key) DO NOTHING"
                     " RETURNING *)"
                     " SELECT" JOB_FIELDS
                     ", pg_notify(current_schema() || '_jobs', '')::text FROM made" },
    [JOB_BY_KEY] = { "jobs_by_key", 2, /* $1 key, $2 request */
                     "SELECT" JOB_FIELDS
                     ", request_sha256 = $2 FROM jobs WHERE idempotency_key = $1" },
    [JOB_GET] = { "jobs_get", 1, "SELECT" JOB_FIELDS " FROM jobs WHERE id = $1::uuid" },
    [JOB_LIST] = { "jobs_list", 5, /* $1 state, $2 model, $3 epoch and $4 id of the last job of the
                                      page before, $5 limit */
                   "SELECT" JOB_FIELDS " FROM jobs"
                   " WHERE ($1::text IS NULL OR state = $1)"
                   " AND ($2::text IS NULL OR model = $2)"
                   " AND ($3::numeric IS NULL OR (created_at, id) < ('epoch'::timestamptz + "
                   "$3::numeric * interval '1 second', $4::uuid))"
                   " ORDER BY created_at DESC, id DESC LIMIT $5::int" },
    [JOB_CANCEL] = { "jobs_cancel", 1,
                     "UPDATE jobs"
                     " SET state = CASE state WHEN 'queued' THEN 'cancelled' ELSE 'cancelling' END"
                     "   , finished_at = CASE state WHEN 'queued' THEN now() END"
                     "   , message = CASE state WHEN 'queued' THEN 'cancelled before it started' "
                     "ELSE 'stopping' END"
                     " WHERE id = $1::uuid AND state IN ('queued', 'running', 'cancelling')"
                     " RETURNING" JOB_FIELDS },
    [JOB_RETRY] = { "jobs_retry", 2, /* $1 id, $2 attempts */
                    "WITH again AS (UPDATE jobs"
                    " SET state = 'queued', phase = 'queued', message = '', progress = 0, error = "
                    "NULL, warnings = '[]'"
                    "   , started_at = NULL, finished_at = NULL, attempt_limit = attempt + $2::int"
                    " WHERE id = $1::uuid AND state IN ('failed', 'cancelled')"
                    " RETURNING *)"
                    " SELECT" JOB_FIELDS
                    ", pg_notify(current_schema() || '_jobs', '')::text FROM again" },
    [JOB_END_DEAD] = { "jobs_end_dead",
                       0, /* jobs whose runner died and that nobody is to take up again */
                       "UPDATE jobs"
                       " SET state = CASE state WHEN 'cancelling' THEN 'cancelled' ELSE 'failed' "
                       "END"
                       "   , error = CASE state WHEN 'cancelling' THEN NULL ELSE "
                       "" EXHAUSTED " END"
                       "   , lease_until = NULL, finished_at = now()"
                       " WHERE state IN ('running', 'cancelling') AND lease_until < now()"
                       " AND (state = 'cancelling' OR attempt >= attempt_limit)" },
    [JOB_CLAIM] = { "jobs_claim",
                    2, /* $1 worker, $2 lease seconds; skips rows that another runner is claiming */
                    "UPDATE jobs AS j"
                    " SET state = 'running', worker = $1, attempt = j.attempt + 1, phase = "
                    "'starting', message = '', progress = 0"
                    "   , lease_until = now() + $2::int * interval '1 second'"
                    "   , started_at = COALESCE(j.started_at, now())"
                    " FROM (SELECT id AS claimed, attempt AS before FROM jobs"
                    "       WHERE state = 'queued' OR (state = 'running' AND lease_until < now())"
                    "       ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED) AS c"
                    " WHERE j.id = c.claimed"
                    " RETURNING" JOB_FIELDS ", c.before > 0" },
    [JOB_HEARTBEAT] = { "jobs_heartbeat", 6, /* $1 id, $2 attempt, $3 lease seconds, $4 progress, $5
                                                phase, $6 message */
                        "UPDATE jobs"
                        " SET lease_until = now() + $3::int * interval '1 second'"
                        "   , progress = $4::real"
                        "   , phase = $5"
                        "   , message = CASE state WHEN 'cancelling' THEN message ELSE $6 "
                        "END" JOB_OURS " RETURNING state = 'cancelling'" },
    [JOB_FINISH] = { "jobs_finish",
                     6, /* $1 id, $2 attempt, $3 state, $4 version, $5 warnings, $6 error. Of the
                           publishing transaction the last of many: now() is when that began */
                     "UPDATE jobs"
                     " SET state = $3"
                     "   , version = NULLIF($4::int, 0)"
                     "   , warnings = COALESCE($5::jsonb, '[]')"
                     "   , error = $6::jsonb"
                     "   , progress = CASE $3 WHEN 'succeeded' THEN 1 ELSE progress END"
                     "   , phase = CASE $3 WHEN 'succeeded' THEN 'done' ELSE phase END"
                     "   , message = CASE $3 WHEN 'failed' THEN message ELSE $3 END"
                     "   , lease_until = NULL"
                     "   , finished_at = clock_timestamp()" JOB_OURS
                     " AND ($3 <> 'succeeded' OR state = 'running') RETURNING id" },
    [JOB_RELEASE] = { "jobs_release",
                      2, /* $1 id, $2 attempt; the last attempt is not handed back */
                      "WITH back AS (UPDATE jobs"
                      " SET state = CASE WHEN state = 'cancelling' THEN 'cancelled'"
                      "   WHEN attempt >= attempt_limit THEN 'failed' ELSE 'queued' END"
                      "   , error = CASE WHEN state = 'running' AND attempt >= attempt_limit "
                      "THEN " EXHAUSTED " END"
                      "   , finished_at = CASE WHEN state = 'cancelling' OR attempt >= "
                      "attempt_limit THEN now() END"
                      "   , message = CASE state WHEN 'cancelling' THEN 'cancelled' ELSE 'handed "
                      "back' END"
                      "   , phase = 'queued', progress = 0, lease_until = NULL" JOB_OURS
                      " RETURNING state)"
                      " SELECT state, pg_notify(current_schema() || '_jobs', "
                      "'')::text FROM back" },
};
const struct db_stmts DB_JOBS_STMTS = { STMTS, JOB_N_STMTS };

static const char *field(const struct db_result *r, size_t row, unsigned col,
                         struct seg_arena *arena, bool *good)
{
    const char *s = db_result_text(r, row, col);
    if (s == NULL) return NULL;
    const char *copy = seg_arena_strndup(arena, s, strlen(s));
    if (copy == NULL) *good = false;
    return copy;
}

/* A row of JOB_FIELDS. False on lack of memory. */
static bool read_job(const struct db_result *r, size_t row, struct seg_arena *arena,
                     struct db_job *ret)
{
    bool good = true;
    struct db_job j = { .kind = field(r, row, 1, arena, &good),
                        .state = field(r, row, 2, arena, &good),
                        .model = field(r, row, 3, arena, &good),
                        .feature_set = field(r, row, 4, arena, &good),
                        .spec = field(r, row, 5, arena, &good),
                        .phase = field(r, row, 7, arena, &good),
                        .message = field(r, row, 8, arena, &good),
                        .version = (int)db_result_int(r, row, 9),
                        .attempt = (int)db_result_int(r, row, 10),
                        .warnings = field(r, row, 11, arena, &good),
                        .error = field(r, row, 12, arena, &good),
                        .created_at = field(r, row, 13, arena, &good),
                        .started_at = field(r, row, 14, arena, &good),
                        .finished_at = field(r, row, 15, arena, &good),
                        .key = field(r, row, 16, arena, &good) };
    snprintf(j.id, sizeof(j.id), "%s", db_result_text(r, row, 0));
    sscanf(db_result_text(r, row, 6), "%lf", &j.progress);
    if (good) *ret = j;
    return good;
}

static enum db_status one_job(struct db *db, int stmt, const char *const *params,
                              struct seg_arena *arena, struct db_job *ret, bool *ret_flag)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[stmt], params, &r);
    if (st == DB_ONE && !read_job(r, 0, arena, ret)) st = DB_FATAL;
    if (st == DB_ONE && ret_flag != NULL) *ret_flag = db_result_bool(r, 0, JOB_N_FIELDS);
    db_result_free(r);
    return st;
}

enum db_status db_jobs_create(struct db *db, const struct db_job_new *j, struct seg_arena *arena,
                              struct db_job *ret, bool *ret_existing)
{
    char attempts[16];
    bool same = false;
    snprintf(attempts, sizeof(attempts), "%u", j->attempts_max);
    const char *params[] = { j->kind, j->model,           j->feature_set,
                             j->spec, j->idempotency_key, j->request_sha256,
                             attempts };
    *ret_existing = false;
    enum db_status st = one_job(db, JOB_CREATE, params, arena, ret, NULL);
    if (st != DB_NONE) return st;
    *ret_existing = true;
    st = one_job(db, JOB_BY_KEY, (const char *[]){ j->idempotency_key, j->request_sha256 }, arena,
                 ret, &same);
    return st == DB_ONE && !same ? DB_CONFLICT : st;
}

/* PostgreSQL would refuse text that is no UUID with an error; it simply names no job. */
static bool is_uuid(const char *s)
{
    if (strlen(s) != JOB_ID_LEN) return false;
    for (int i = 0; i < JOB_ID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : strchr("0123456789abcdefABCDEF", s[i]) == NULL) return false;
    }
    return true;
}

enum db_status db_jobs_get(struct db *db, const char *id, struct seg_arena *arena,
                           struct db_job *ret)
{
    return is_uuid(id) ? one_job(db, JOB_GET, (const char *[]){ id }, arena, ret, NULL) : DB_NONE;
}

enum db_status db_jobs_list(struct db *db, const char *state, const char *model, const char *after,
                            unsigned limit, struct seg_arena *arena, struct db_job **ret,
                            size_t *ret_n)
{
    char limit_text[16], epoch[64] = "";
    const char *id = after ? strchr(after, '_') : NULL;
    snprintf(limit_text, sizeof(limit_text), "%u", limit);
    if (after != NULL && (id == NULL || (size_t)(id - after) >= sizeof(epoch) || !is_uuid(id + 1)))
        return DB_NONE;
    if (after != NULL) memcpy(epoch, after, (size_t)(id - after));
    if (after != NULL && (epoch[0] == '\0' || strspn(epoch, "0123456789.") != strlen(epoch)))
        return DB_NONE;
    const char *params[] = { state, model, after ? epoch : NULL, after ? id + 1 : NULL,
                             limit_text };
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[JOB_LIST], params, &r);
    if (st == DB_ONE) {
        size_t n = db_result_rows(r);
        struct db_job *jobs = seg_arena_alloc(arena, n * sizeof(*jobs));
        for (size_t i = 0; jobs != NULL && i < n; i++)
            if (!read_job(r, i, arena, &jobs[i])) jobs = NULL;
        if (jobs == NULL) st = DB_FATAL;
        *ret = jobs;
        *ret_n = n;
    }
    db_result_free(r);
    return st;
}

enum db_status db_jobs_cancel(struct db *db, const char *id, struct seg_arena *arena,
                              struct db_job *ret)
{
    if (!is_uuid(id)) return DB_NONE;
    enum db_status st = one_job(db, JOB_CANCEL, (const char *[]){ id }, arena, ret, NULL);
    if (st != DB_NONE) return st;
    st = db_jobs_get(db, id, arena, ret);
    return st == DB_ONE ? DB_CONFLICT : st;
}

enum db_status db_jobs_retry(struct db *db, const char *id, unsigned attempts_max,
                             struct seg_arena *arena, struct db_job *ret)
{
    char attempts[16];
    if (!is_uuid(id)) return DB_NONE;
    snprintf(attempts, sizeof(attempts), "%u", attempts_max);
    enum db_status st = one_job(db, JOB_RETRY, (const char *[]){ id, attempts }, arena, ret, NULL);
    if (st != DB_NONE) return st;
    st = db_jobs_get(db, id, arena, ret);
    return st == DB_ONE ? DB_CONFLICT : st;
}

enum db_status db_jobs_claim(struct db *db, const char *worker, unsigned lease_seconds,
                             struct seg_arena *arena, struct db_job *ret, bool *ret_taken_over)
{
    char lease[16];
    snprintf(lease, sizeof(lease), "%u", lease_seconds);
    enum db_status st = db_exec(db, &STMTS[JOB_END_DEAD], NULL, NULL);
    if (st != DB_ONE && st != DB_NONE) return st;
    return one_job(db, JOB_CLAIM, (const char *[]){ worker, lease }, arena, ret, ret_taken_over);
}

enum db_status db_jobs_heartbeat(struct db *db, const char *id, int attempt, unsigned lease_seconds,
                                 double progress, const char *phase, const char *message,
                                 bool *ret_cancel)
{
    char attempt_text[16], lease[16], progress_text[32];
    struct db_result *r = NULL;
    snprintf(attempt_text, sizeof(attempt_text), "%d", attempt);
    snprintf(lease, sizeof(lease), "%u", lease_seconds);
    snprintf(progress_text, sizeof(progress_text), "%.6f",
             progress < 0   ? 0
             : progress > 1 ? 1
                            : progress);
    enum db_status st =
        db_exec(db, &STMTS[JOB_HEARTBEAT],
                (const char *[]){ id, attempt_text, lease, progress_text, phase, message }, &r);
    if (st == DB_ONE) *ret_cancel = db_result_bool(r, 0, 0);
    db_result_free(r);
    return st;
}

enum db_status db_jobs_finish(struct db *db, const char *id, int attempt, const char *state,
                              int version, const char *warnings, const char *error)
{
    char attempt_text[16], version_text[16];
    snprintf(attempt_text, sizeof(attempt_text), "%d", attempt);
    snprintf(version_text, sizeof(version_text), "%d", version);
    return db_exec(db, &STMTS[JOB_FINISH],
                   (const char *[]){ id, attempt_text, state, version_text, warnings, error },
                   NULL);
}

enum db_status db_jobs_release(struct db *db, const char *id, int attempt, const char **ret_state)
{
    static const char *const STATES[] = { "queued", "cancelled", "failed" };
    char attempt_text[16];
    struct db_result *r = NULL;
    snprintf(attempt_text, sizeof(attempt_text), "%d", attempt);
    enum db_status st = db_exec(db, &STMTS[JOB_RELEASE], (const char *[]){ id, attempt_text }, &r);
    for (size_t i = 0; st == DB_ONE && i < sizeof(STATES) / sizeof(STATES[0]); i++)
        if (strcmp(db_result_text(r, 0, 0), STATES[i]) == 0) *ret_state = STATES[i];
    db_result_free(r);
    return st;
}
