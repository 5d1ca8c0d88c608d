/* labels.h - labelling runs: written by COPY into a table of their own and published by one commit.
 *
 * A run lives in one transaction of the writer: begin, copy, publish, commit. Killed anywhere
 * before the commit nothing of it exists; after it, readers see the whole run. */
#ifndef SERVER_DB_LABELS_H
#define SERVER_DB_LABELS_H

#include "db/document.h"
#include "db/statements.h"

extern const struct db_stmts DB_LABELS_STMTS;

struct label {
    const char *user_id;
    size_t user_id_len;
    int32_t result;   /* segment id or class index; -1: insufficient data */
    float confidence; /* NaN with -1 */
    float distance;   /* NaN for classification and with -1 */
};

struct label_writer;
/* Inside a transaction: makes the run's table and starts the COPY into it, which holds the
 * connection until end. NULL: failed, roll back. */
struct label_writer *label_writer_begin(struct db *db);
enum db_status label_writer_add(struct label_writer *w, const struct label *l);
/* Ends the COPY and lets the server begin with the index by user, which the caller may wait for
 * when it has nothing else to do. */
enum db_status label_writer_end(struct label_writer *w);
/* Waits for the index, until *cancel is set. DB_CONFLICT: a user came twice. *ret_run_id for
 * db_labels_publish. Frees w, also on failure. */
enum db_status label_writer_finish(struct label_writer *w, const atomic_bool *cancel,
                                   int64_t *ret_run_id, uint64_t *ret_n_users);
/* Gives up: the transaction must be rolled back. NULL is fine. */
void label_writer_abort(struct label_writer *w);

/* Inside the same transaction, near its end: the run becomes the model's current one. DB_CONFLICT:
 * the job has published before. */
enum db_status db_labels_publish(struct db *db, int64_t run_id, int64_t model_id, unsigned version,
                                 const char *job_id, uint64_t n_users);
/* One segment's profile of the run, in the same transaction. */
enum db_status db_labels_profile_add(struct db *db, int64_t run_id, unsigned segment, uint64_t size,
                                     double share, const char *profile_json);
/* Makes the index by distance of the newest run that has none, in a transaction of its own: readers
 * are served without it, more slowly, so that publishing need not wait for it. DB_NONE: every run
 * has its index, or another instance is making it. Given up once *stop is set. */
enum db_status db_labels_index(struct db *db, const atomic_bool *stop);
/* Drops the model's runs but the newest keep. Own transactions; gives way when readers hold the
 * tables. */
enum db_status db_labels_prune(struct db *db, int64_t model_id, unsigned keep);
/* Drops the tables of the runs named in a PostgreSQL array text "{1,2}", in the caller's
 * transaction. */
enum db_status db_labels_drop(struct db *db, const char *run_ids);

#endif
