/* jobs.h - the queue of long work: enqueue, claim, keep alive, finish.
 * Every write of a runner names the attempt it holds; when another runner took the job over, the
 * write changes nothing and DB_NONE comes back. Strings of a struct db_job are in the caller's
 * arena. */
#ifndef SERVER_DB_JOBS_H
#define SERVER_DB_JOBS_H

#include "base/arena.h"
#include "db/db.h"
#include "db/statements.h"

#define JOB_ID_LEN 36

struct db_job {
    char id[JOB_ID_LEN + 1];
    const char *kind;  /* "train", "label" */
    const char *state; /* queued, running, cancelling, cancelled, succeeded, failed */
    const char *model, *feature_set;
    const char *spec; /* JSON */
    double progress;
    const char *phase, *message;
    int version; /* 0: none */
    int attempt;
    const char *warnings;                              /* JSON array */
    const char *error;                                 /* JSON problem or NULL */
    const char *created_at, *started_at, *finished_at; /* RFC 3339 or NULL */
    const char *key;                                   /* for keyset paging */
};

extern const struct db_stmts DB_JOBS_STMTS;

struct db_job_new {
    const char *kind, *model, *feature_set, *spec;
    const char *idempotency_key, *request_sha256; /* NULL: none */
    unsigned attempts_max;
};
/* DB_ONE: *ret is the new job, or the one that the same key and request made before
 * (*ret_existing). DB_CONFLICT: the key came with another request. */
enum db_status db_jobs_create(struct db *db, const struct db_job_new *j, struct seg_arena *arena,
                              struct db_job *ret, bool *ret_existing);
enum db_status db_jobs_get(struct db *db, const char *id, struct seg_arena *arena,
                           struct db_job *ret);
/* Newest first; state, model and after (a job's key) may be NULL. */
enum db_status db_jobs_list(struct db *db, const char *state, const char *model, const char *after,
                            unsigned limit, struct seg_arena *arena, struct db_job **ret,
                            size_t *ret_n);
/* queued -> cancelled, running -> cancelling; others stay (*ret shows). DB_CONFLICT: it has ended
 * already. */
enum db_status db_jobs_cancel(struct db *db, const char *id, struct seg_arena *arena,
                              struct db_job *ret);
/* failed or cancelled -> queued. DB_CONFLICT: it is in another state. */
enum db_status db_jobs_retry(struct db *db, const char *id, unsigned attempts_max,
                             struct seg_arena *arena, struct db_job *ret);

/* Takes the oldest job that is queued or whose lease ran out. Ends those that were being cancelled
 * or had their last attempt when their runner died. *ret_taken_over: somebody else had it before.
 */
enum db_status db_jobs_claim(struct db *db, const char *worker, unsigned lease_seconds,
                             struct seg_arena *arena, struct db_job *ret, bool *ret_taken_over);
/* Renews the lease and writes progress. *ret_cancel: somebody asked for its cancellation. DB_NONE:
 * it is ours no more. */
enum db_status db_jobs_heartbeat(struct db *db, const char *id, int attempt, unsigned lease_seconds,
                                 double progress, const char *phase, const char *message,
                                 bool *ret_cancel);
/* Ends it. state: succeeded (in the transaction that publishes; only from running), failed,
 * cancelled. version 0: none. */
enum db_status db_jobs_finish(struct db *db, const char *id, int attempt, const char *state,
                              int version, const char *warnings, const char *error);
/* Gives it back unfinished, for a stopping server or a lost database connection. Its state is then
 * "queued"; or it has ended: "cancelled", since somebody had asked for that, or "failed", since
 * this was its last attempt. *ret_state is static storage. */
enum db_status db_jobs_release(struct db *db, const char *id, int attempt, const char **ret_state);

#endif
