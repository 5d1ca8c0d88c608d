/* db.h - connections to PostgreSQL and statements on them. server/db is the only folder that sees
 * libpq.
 *
 * Properties: every wait on the server has a deadline of ours (non-blocking libpq and poll), so
 * that a PostgreSQL that is stopped dead costs at most the statement timeout plus 2 s. All
 * statements of a noun are prepared at connect: a typo stops the start. Statements are unqualified:
 * search_path is the configured schema, then pg_catalog. Operation: a struct db is one connection,
 * used by one thread at a time. A lost one is opened again by the next db_pool_get (jittered
 * back-off 0.1..2 s). Safety: db_pool_* from any thread. */
#ifndef SERVER_DB_DB_H
#define SERVER_DB_DB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "config.h"
#include "metrics.h"

struct db; /* one connection */
struct db_pool;
struct db_result;

enum db_status {
    DB_ONE,      /* done; at least one row, or at least one row affected */
    DB_NONE,     /* done; no row */
    DB_CONFLICT, /* unique or foreign key violation: 23505, 23503 */
    DB_RETRY,    /* may succeed later: connection lost, busy, deadline, serialisation failure,
                    deadlock, disk full */
    DB_UNKNOWN,  /* connection lost while committing: it may or may not have happened */
    DB_FATAL,    /* our own error; details are in the log */
};

/* One prepared statement: STMTS tables at the top of db/<noun>.c, registered in db/statements.c. */
struct db_stmt {
    const char *name;
    unsigned n_params; /* all text format unless bound by a binary call */
    const char *sql;
};

/* connections: most that are open at once. Does not connect yet. NULL: no memory. */
struct db_pool *db_pool_new(const struct config *c, unsigned connections,
                            uint32_t statement_timeout_s, struct metrics *m);
void db_pool_free(struct db_pool *p);
/* Waits up to timeout_ms for a connection that works. NULL: none could be had. */
struct db *db_pool_get(struct db_pool *p, unsigned timeout_ms);
/* Gives it back; a broken one is closed. A transaction left open is rolled back. */
void db_pool_put(struct db_pool *p, struct db *db);
/* True when the last thing a connection of this pool did was to work. Never blocks: for /readyz. */
bool db_pool_is_up(struct db_pool *p);

/* A connection of one's own, for jobs and commands. SQLSTATE and sentence go to the log.
 * statement_timeout_s 0: none. NULL on failure. prepare false: for migrations, when the schema may
 * not be there yet. */
struct db *db_connect(const struct config *c, uint32_t statement_timeout_s, bool prepare,
                      struct metrics *m);
void db_close(struct db *db);
bool db_is_broken(const struct db *db);
/* Whether st, the last on db, is a statement that took longer than [database] statement_timeout_s.
 */
bool db_is_late(const struct db *db, enum db_status st);
/* Once *stop is set (borrowed until db is closed), no wait on db lasts longer than 5 s, after which
 * the connection is lost: whoever is to end does, also when the server has stopped dead. */
void db_stop_with(struct db *db, const atomic_bool *stop);
/* SQLSTATE of the last failure ("" when none), and the server's sentence; for the callers that map
 * them. Borrowed. */
const char *db_sqlstate(const struct db *db);
const char *db_message(const struct db *db);
/* The same for the log and for errors of jobs: what quotes a value of the data is left out. */
const char *db_reason(const struct db *db);

/* Runs a prepared statement with text parameters (NULL = SQL NULL). Result in *ret when ret is not
 * NULL (free with db_result_free, also set to NULL when there is none). */
enum db_status db_exec(struct db *db, const struct db_stmt *stmt, const char *const *params,
                       struct db_result **ret);
/* Runs SQL text that was built from escaped identifiers (db_ident); several statements only without
 * parameters. */
enum db_status db_exec_sql(struct db *db, const char *sql, const char *const *params,
                           unsigned n_params, struct db_result **ret);
/* The same without parameters or result in two halves, for callers that compute while the server
 * works: after send (DB_ONE: it is on its way) nothing but receive may be called on db. Once
 * *cancel is set, NULL: never, receive has the server end it, which is a failure unless it has
 * ended before.
 */
enum db_status db_send_sql(struct db *db, const char *sql);
enum db_status db_receive(struct db *db, const atomic_bool *cancel);
void db_result_free(struct db_result *r);
size_t db_result_rows(const struct db_result *r);
unsigned db_result_columns(const struct db_result *r);
/* Text of a field, NULL for SQL NULL. Borrowed from r. */
const char *db_result_text(const struct db_result *r, size_t row, unsigned col);
size_t db_result_len(const struct db_result *r, size_t row, unsigned col);
int64_t db_result_int(const struct db_result *r, size_t row, unsigned col); /* 0 for NULL */
bool db_result_bool(const struct db_result *r, size_t row, unsigned col);
/* Decodes a bytea in hex text format into new bytes (seg_free). NULL on lack of memory. */
uint8_t *db_result_bytea(const struct db_result *r, size_t row, unsigned col, size_t *ret_len);
/* The same into the caller's bytes. How many there are; 0 when they are more than `most`. */
size_t db_result_bytea_copy(const struct db_result *r, size_t row, unsigned col, uint8_t *out,
                            size_t most);
/* Hex text form of bytes for a bytea parameter ("\\x…"); seg_free. */
char *db_bytea_text(const uint8_t *bytes, size_t len);

/* "name" quoted as an identifier into out (at least 2 * 63 + 3 bytes); false when it is empty, over
 * 63 bytes or has a NUL. */
bool db_ident(struct db *db, const char *name, char *out, size_t out_size);

/* One transaction. fn may run again after a serialisation failure, a deadlock or a connection lost
 * before COMMIT (at most 10 times, jittered): it writes only to ctx and never replies. It returns
 * DB_ONE or DB_NONE to commit, anything else to roll back. */
typedef enum db_status (*db_tx_fn)(struct db *db, void *ctx);
enum db_status db_tx_run(struct db *db, const char *name, db_tx_fn fn, void *ctx);
/* Plain BEGIN / COMMIT / ROLLBACK for long streams that must not run twice. */
enum db_status db_begin(struct db *db);
enum db_status db_commit(struct db *db);
void db_rollback(struct db *db);

/* COPY … TO STDOUT (FORMAT binary): begin, then chunks until DB_NONE. A chunk is any run of bytes
 * of the stream, valid until the next call. Neither waits once *cancel is set (NULL: never):
 * DB_RETRY; a COPY that has begun is to be aborted. */
enum db_status db_copy_out_begin(struct db *db, const atomic_bool *cancel, const char *sql);
enum db_status db_copy_out_read(struct db *db, const atomic_bool *cancel, const char **ret_bytes,
                                size_t *ret_len);
/* Ends an unfinished COPY by cancelling it; the connection works on. */
void db_copy_out_abort(struct db *db);
/* COPY … FROM STDIN (FORMAT binary or csv): begin, write, then end (commit is the caller's). */
enum db_status db_copy_in_begin(struct db *db, const char *sql);
enum db_status db_copy_in_write(struct db *db, const char *bytes, size_t len);
enum db_status db_copy_in_end(struct db *db, uint64_t *ret_rows);
void db_copy_in_abort(struct db *db);

/* LISTEN on channel; db_wait_notify returns true when a notification came within timeout_ms, false
 * at the timeout or when the connection broke. */
enum db_status db_listen(struct db *db, const char *channel);
bool db_wait_notify(struct db *db, unsigned timeout_ms);

#endif
