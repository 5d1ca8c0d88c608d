/* connection.h - one connection as the files of this folder share it.
 *
 * Properties: the socket is non-blocking and every wait ends at a deadline on the monotonic clock.
 * What goes wrong is recorded in one place: connection_fail_result for what the server refused,
 * connection_lose for a connection that is gone. Safety: one thread at a time. */
#ifndef SERVER_DB_CONNECTION_H
#define SERVER_DB_CONNECTION_H

#include <libpq-fe.h>
#include "db/db.h"

#define CONTROL_TIMEOUT_MS 30000   /* BEGIN, COMMIT, ROLLBACK, LISTEN, cancelling */
#define GRACE_MS           2000    /* what the server gets on top of its own statement timeout */
#define CANCEL_LOOK_MS     100     /* between two looks at a cancel flag */
#define STOP_WAIT_MS       5000    /* a wait that is to end */
#define UNLIMITED_WAIT_MS  3600000 /* silence that ends even a statement without a timeout */

struct db {
    const struct config *config; /* borrowed, read only */
    struct metrics *metrics;     /* may be NULL */
    PGconn *pg;                  /* NULL when broken */
    uint32_t statement_timeout_s;
    const atomic_bool *stop; /* borrowed: see db_stop_with; NULL: none */
    bool prepare;            /* statements are prepared when it opens */
    bool copying;            /* between a COPY's begin and its end */
    size_t unsent;           /* bytes given to COPY since the last flush */
    char *chunk;             /* libpq's buffer of the last chunk read from COPY */
    char what[64];           /* what runs, for the log: a statement's name */
    char sqlstate[6];
    char message[512];
};

int64_t clock_ms(void); /* monotonic */

/* A struct that is not open yet; NULL: no memory. Free with db_close. */
struct db *connection_new(const struct config *c, uint32_t statement_timeout_s, bool prepare,
                          struct metrics *m);
/* Opens it (again): connects, sets the session up, prepares. False: broken, and logged. */
bool connection_open(struct db *db, int64_t deadline_ms);
/* True when the server has not closed an idle connection; asks the socket only. */
bool connection_is_alive(struct db *db);

/* True when db_stop_with's flag is set. */
bool connection_is_stopping(const struct db *db);

/* Deadlines of a statement and of a control statement that start now. */
int64_t connection_statement_deadline(const struct db *db);
int64_t connection_control_deadline(void);

/* Forgets the last failure and names what runs. */
void connection_start(struct db *db, const char *what);
/* The connection is gone or cannot be trusted: logs why, closes it. Returns DB_RETRY. */
enum db_status connection_lose(struct db *db, const char *why);
/* Records an error result, logs it once and maps its SQLSTATE. The result stays the caller's. */
enum db_status connection_fail_result(struct db *db, const PGresult *res);
/* Waits until the socket is readable: 1, or 0 at the deadline, -1 on failure. Loses nothing. */
int connection_poll(const struct db *db, int64_t deadline_ms);
/* Waits until the socket is readable or *cancel is set (NULL: never): 1, or 0 when it is set. -1:
 * at the deadline, or on failure, the connection is lost. */
int connection_wait_uncancelled(struct db *db, const atomic_bool *cancel, int64_t deadline_ms);
/* Waits until the socket is readable, and writable if asked for. Loses the connection at the
 * deadline. */
bool connection_wait(struct db *db, bool for_write, int64_t deadline_ms);
/* Sends everything that libpq has buffered. */
bool connection_flush(struct db *db, int64_t deadline_ms);
/* The next result of what runs; *ret NULL at its end. False: lost. */
bool connection_result(struct db *db, int64_t deadline_ms, PGresult **ret);
/* Reads all results of what was sent. The first failure wins, else the last result. *ret is the
 * caller's (PQclear); it may be NULL. */
enum db_status connection_finish(struct db *db, int64_t deadline_ms, PGresult **ret);
/* Asks the server to end what runs, which may have ended by itself. False: it could not be asked.
 */
bool connection_cancel(const struct db *db);
/* The same; once *cancel is set (NULL: never) the server is asked to end what runs. */
enum db_status connection_finish_or_cancel(struct db *db, const atomic_bool *cancel,
                                           int64_t deadline_ms, PGresult **ret);
/* Sends sql without parameters. DB_ONE: it is on its way. */
enum db_status connection_send(struct db *db, const char *what, const char *sql);
/* The same, and finishes it. */
enum db_status connection_run(struct db *db, const char *what, const char *sql, int64_t deadline_ms,
                              PGresult **ret);

#endif
