/* db.c - statements, transactions and notifications on one connection. */
#include "db/db.h"

#include <stdio.h>
#include <string.h>
#include "db/connection.h"

bool db_is_broken(const struct db *db)
{
    return db->pg == NULL || PQstatus(db->pg) == CONNECTION_BAD;
}

bool db_is_late(const struct db *db, enum db_status st)
{
    return st == DB_RETRY && !db_is_broken(db) && strcmp(db->sqlstate, "57014") == 0;
}

const char *db_sqlstate(const struct db *db)
{
    return db->sqlstate;
}

/* Class 22 are data exceptions: "1e400" is out of range for type double precision. */
const char *db_reason(const struct db *db)
{
    return strncmp(db->sqlstate, "22", 2) != 0  ? db->message
           : strcmp(db->sqlstate, "22003") == 0 ? "a number is out of range"
                                                : "a value does not fit its type";
}

const char *db_message(const struct db *db)
{
    return db->message;
}

/* Names what runs; false when there is no connection to run it on. */
static bool start(struct db *db, const char *what, struct db_result **ret)
{
    if (ret != NULL) *ret = NULL;
    connection_start(db, what);
    if (db->pg != NULL) return true;
    snprintf(db->message, sizeof db->message, "the connection is closed");
    return false;
}

enum db_status db_exec(struct db *db, const struct db_stmt *stmt, const char *const *params,
                       struct db_result **ret)
{
    if (!start(db, stmt->name, ret)) return DB_RETRY;
    int n = (int)stmt->n_params;
    int sent = db->prepare ? PQsendQueryPrepared(db->pg, stmt->name, n, params, NULL, NULL, 0)
                           : PQsendQueryParams(db->pg, stmt->sql, n, NULL, params, NULL, NULL, 0);
    if (sent == 0) return connection_lose(db, PQerrorMessage(db->pg));
    return connection_finish(db, connection_statement_deadline(db), (PGresult **)ret);
}

enum db_status db_exec_sql(struct db *db, const char *sql, const char *const *params,
                           unsigned n_params, struct db_result **ret)
{
    if (!start(db, "sql", ret)) return DB_RETRY;
    int sent = n_params == 0
                   ? PQsendQuery(db->pg, sql)
                   : PQsendQueryParams(db->pg, sql, (int)n_params, NULL, params, NULL, NULL, 0);
    if (sent == 0) return connection_lose(db, PQerrorMessage(db->pg));
    return connection_finish(db, connection_statement_deadline(db), (PGresult **)ret);
}

enum db_status db_send_sql(struct db *db, const char *sql)
{
    if (!start(db, "sql", NULL)) return DB_RETRY;
    if (PQsendQuery(db->pg, sql) == 0) return connection_lose(db, PQerrorMessage(db->pg));
    return connection_flush(db, connection_statement_deadline(db)) ? DB_ONE : DB_RETRY;
}

enum db_status db_receive(struct db *db, const atomic_bool *cancel)
{
    if (db->pg == NULL) return DB_RETRY;
    return connection_finish_or_cancel(db, cancel, connection_statement_deadline(db), NULL);
}

enum db_status db_begin(struct db *db)
{
    return connection_run(db, "begin", "BEGIN", connection_control_deadline(), NULL);
}

void db_rollback(struct db *db)
{
    if (db->pg == NULL || PQtransactionStatus(db->pg) == PQTRANS_IDLE) return;
    /* The failure that led here stays the last one: callers map it after the rollback. */
    char sqlstate[sizeof db->sqlstate], message[sizeof db->message];
    memcpy(sqlstate, db->sqlstate, sizeof sqlstate);
    memcpy(message, db->message, sizeof message);
    connection_run(db, "rollback", "ROLLBACK", connection_control_deadline(), NULL);
    memcpy(db->sqlstate, sqlstate, sizeof sqlstate);
    memcpy(db->message, message, sizeof message);
}

enum db_status db_commit(struct db *db)
{
    if (!start(db, "commit", NULL)) return DB_RETRY; /* it never reached the server */
    PGTransactionStatusType before = PQtransactionStatus(db->pg);
    if (before == PQTRANS_INERROR) { /* COMMIT would quietly roll back */
        db_rollback(db);
        return DB_FATAL;
    }
    PGresult *res = NULL;
    enum db_status st = connection_run(db, "commit", "COMMIT", connection_control_deadline(), &res);
    PQclear(res);
    if (st == DB_ONE || st == DB_NONE) return st;
    /* A refusal that the session survived (a serialisation failure, a deferred constraint) rolled
     * back for certain. A session that ended between COMMIT and its answer may have done either. */
    return db_is_broken(db) ? DB_UNKNOWN : st;
}

enum db_status db_listen(struct db *db, const char *channel)
{
    char ident[2 * 63 + 3], sql[sizeof ident + 8];
    if (!db_ident(db, channel, ident, sizeof ident)) return DB_FATAL;
    snprintf(sql, sizeof sql, "LISTEN %s", ident);
    return connection_run(db, "listen", sql, connection_control_deadline(), NULL);
}

/* Takes every notification that has come. */
static bool drain_notifications(struct db *db)
{
    bool any = false;
    PGnotify *n;
    while ((n = PQnotifies(db->pg)) != NULL) {
        PQfreemem(n);
        any = true;
    }
    return any;
}

bool db_wait_notify(struct db *db, unsigned timeout_ms)
{
    if (!start(db, "wait for notification", NULL)) return false;
    int64_t deadline_ms = clock_ms() + timeout_ms;
    while (!drain_notifications(db)) {
        int ready = connection_poll(db, deadline_ms);
        if (ready == 0) return false;
        if (ready < 0 || PQconsumeInput(db->pg) == 0) {
            connection_lose(db, PQerrorMessage(db->pg));
            return false;
        }
    }
    return true;
}
