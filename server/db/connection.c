/* connection.c - opening a connection and waiting on it. Connecting is one TCP or Unix connect, the
 * server's greeting, and a single pipelined round trip that sets the session up and prepares every
 * statement. Nothing here blocks but name resolution, which libpq does in PQconnectStart. */
#include "db/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/alloc.h"
#include "db/statements.h"
#include "log.h"

/* Session settings are set rather than passed as startup options, so that options in the URL stay
 * the user's and a session pooler in between does not refuse us. $1 schema, $2 statement timeout,
 * $3 lock timeout. */
static const char SESSION_SQL[] =
    "SELECT set_config('search_path', quote_ident($1) || ', pg_catalog', false)"
    "     , set_config('statement_timeout', $2, false)"
    "     , set_config('lock_timeout', $3, false)"
    "     , set_config('idle_in_transaction_session_timeout', '60s', false)"
    "     , set_config('synchronize_seqscans', 'off', false)" /* scans in one order: same bits */
    "     , set_config('jit', 'off', false)" /* compiling a summary of many columns takes minutes */
    "     , set_config('TimeZone', 'UTC', false)"
    "     , set_config('DateStyle', 'ISO, YMD', false)"
    "     , set_config('IntervalStyle', 'postgres', false)"
    "     , set_config('bytea_output', 'hex', false)"
    "     , set_config('extra_float_digits', '1', false)"
    "     , set_config('standard_conforming_strings', 'on', false)";

int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t connection_control_deadline(void)
{
    return clock_ms() + CONTROL_TIMEOUT_MS + GRACE_MS;
}

int64_t connection_statement_deadline(const struct db *db)
{
    if (db->statement_timeout_s == 0) return clock_ms() + UNLIMITED_WAIT_MS;
    return clock_ms() + (int64_t)db->statement_timeout_s * 1000 + GRACE_MS;
}

/* Copies the first line of libpq's or the server's text. */
static void copy_line(char *out, size_t size, const char *text)
{
    size_t len = strcspn(text, "\n");
    if (len >= size) len = size - 1;
    memcpy(out, text, len);
    out[len] = '\0';
}

void connection_start(struct db *db, const char *what)
{
    snprintf(db->what, sizeof db->what, "%s", what);
    db->sqlstate[0] = '\0';
    db->message[0] = '\0';
}

static void connection_shut(struct db *db)
{
    PQfreemem(db->chunk);
    db->chunk = NULL;
    db->copying = false;
    PQfinish(db->pg);
    db->pg = NULL;
}

enum db_status connection_lose(struct db *db, const char *why)
{
    copy_line(db->message, sizeof db->message, why);
    if (db->sqlstate[0] == '\0') memcpy(db->sqlstate, "08006", 6);
    log_event(LOG_WARN, "database connection lost", "statement", "%s", db->what, "sqlstate", "%s",
              db->sqlstate, "reason", "%s", db->message, NULL);
    if (db->metrics != NULL) metrics_add(db->metrics, METRIC_DB_ERRORS, 1);
    connection_shut(db);
    return DB_RETRY;
}

static enum db_status status_of(const char *sqlstate)
{
    static const struct {
        const char *prefix; /* of the SQLSTATE */
        enum db_status status;
    } MAP[] = {
        { "23505", DB_CONFLICT }, /* unique_violation */
        { "23503", DB_CONFLICT }, /* foreign_key_violation */
        { "40", DB_RETRY },       /* serialization_failure, deadlock_detected … */
        { "08", DB_RETRY },       /* connection exceptions */
        { "53", DB_RETRY },       /* disk full, out of memory, too many connections */
        { "57", DB_RETRY },       /* query_canceled (a timeout), shutdown, recovery */
        { "55P03", DB_RETRY },    /* lock_not_available */
        { "55006", DB_RETRY },    /* object_in_use */
        { "25006", DB_RETRY },    /* read only: a fail-over is going on */
        { "25P03", DB_RETRY },    /* idle_in_transaction_session_timeout */
        { "26000", DB_RETRY },    /* a pooler lost our prepared statements */
    };
    for (size_t i = 0; i < sizeof MAP / sizeof MAP[0]; i++)
        if (strncmp(sqlstate, MAP[i].prefix, strlen(MAP[i].prefix)) == 0) return MAP[i].status;
    return DB_FATAL;
}

enum db_status connection_fail_result(struct db *db, const PGresult *res)
{
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    if (sqlstate == NULL) /* made by libpq itself: the connection broke */
        return connection_lose(db, PQresultErrorMessage(res));
    copy_line(db->sqlstate, sizeof db->sqlstate, sqlstate);
    copy_line(db->message, sizeof db->message, primary != NULL ? primary : "");
    enum db_status st = status_of(sqlstate);
    /* Conflicts are answers, not failures. */
    enum log_level level = st == DB_CONFLICT ? LOG_DEBUG : st == DB_RETRY ? LOG_WARN : LOG_ERROR;
    log_event(level, "statement failed", "statement", "%s", db->what, "sqlstate", "%s",
              db->sqlstate, "reason", "%s", db_reason(db), NULL);
    if (st != DB_CONFLICT && db->metrics != NULL) metrics_add(db->metrics, METRIC_DB_ERRORS, 1);
    return st;
}

void db_stop_with(struct db *db, const atomic_bool *stop)
{
    db->stop = stop;
}

bool connection_is_stopping(const struct db *db)
{
    return db->stop != NULL && atomic_load(db->stop);
}

/* 1 ready, 0 at the deadline, -1 on failure. */
static int wait_socket(const struct db *db, short events, int64_t deadline_ms)
{
    const int64_t look_ms = db->stop != NULL ? CANCEL_LOOK_MS : 60000;
    for (;;) {
        const int64_t now_ms = clock_ms();
        if (connection_is_stopping(db) && deadline_ms > now_ms + STOP_WAIT_MS)
            deadline_ms = now_ms + STOP_WAIT_MS;
        int64_t left_ms = deadline_ms - now_ms;
        if (left_ms < 0) left_ms = 0;
        struct pollfd p = { .fd = PQsocket(db->pg), .events = events };
        int n = poll(&p, 1, (int)(left_ms < look_ms ? left_ms : look_ms));
        if (n > 0) return 1;
        if (n < 0 && errno != EINTR) return -1;
        if (n == 0 && clock_ms() >= deadline_ms) return 0;
    }
}

int connection_poll(const struct db *db, int64_t deadline_ms)
{
    return wait_socket(db, POLLIN, deadline_ms);
}

int connection_wait_uncancelled(struct db *db, const atomic_bool *cancel, int64_t deadline_ms)
{
    while (cancel == NULL || !atomic_load(cancel)) {
        const int64_t look_ms = clock_ms() + CANCEL_LOOK_MS;
        if (cancel == NULL || look_ms >= deadline_ms)
            return connection_wait(db, false, deadline_ms) ? 1 : -1;
        const int ready = connection_poll(db, look_ms);
        if (ready > 0) return 1;
        if (ready < 0) {
            connection_lose(db, strerror(errno));
            return -1;
        }
    }
    return 0;
}

bool connection_wait(struct db *db, bool for_write, int64_t deadline_ms)
{
    int ready = wait_socket(db, (short)(POLLIN | (for_write ? POLLOUT : 0)), deadline_ms);
    if (ready > 0) return true;
    connection_lose(db, ready == 0 ? "no answer within the deadline" : strerror(errno));
    return false;
}

bool connection_flush(struct db *db, int64_t deadline_ms)
{
    for (;;) {
        int rest = PQflush(db->pg);
        if (rest == 0) return true;
        if (rest < 0) {
            connection_lose(db, PQerrorMessage(db->pg));
            return false;
        }
        if (!connection_wait(db, true, deadline_ms)) return false;
        /* Read too: a server that is blocked on writing to us would never read. */
        if (PQconsumeInput(db->pg) == 0) {
            connection_lose(db, PQerrorMessage(db->pg));
            return false;
        }
    }
}

bool connection_result(struct db *db, int64_t deadline_ms, PGresult **ret)
{
    while (PQisBusy(db->pg)) {
        if (!connection_wait(db, false, deadline_ms)) return false;
        if (PQconsumeInput(db->pg) == 0) {
            connection_lose(db, PQerrorMessage(db->pg));
            return false;
        }
    }
    *ret = PQgetResult(db->pg);
    return true;
}

enum db_status connection_finish(struct db *db, int64_t deadline_ms, PGresult **ret)
{
    enum db_status st = DB_NONE;
    bool failed = false;
    PGresult *last = NULL, *res = NULL;
    if (!connection_flush(db, deadline_ms)) return DB_RETRY;
    for (;;) {
        if (!connection_result(db, deadline_ms, &res)) {
            PQclear(last);
            return DB_RETRY;
        }
        if (res == NULL) break;
        ExecStatusType kind = PQresultStatus(res);
        bool good = kind == PGRES_TUPLES_OK || kind == PGRES_COMMAND_OK || kind == PGRES_COPY_IN ||
                    kind == PGRES_COPY_OUT;
        if (good && !failed) {
            PQclear(last);
            last = res;
            if (kind == PGRES_COPY_IN || kind == PGRES_COPY_OUT) break; /* results come later */
            continue;
        }
        if (!good && !failed) st = connection_fail_result(db, res);
        failed = failed || !good;
        PQclear(res);
        if (db->pg == NULL) break;
    }
    if (db->pg != NULL && PQstatus(db->pg) == CONNECTION_BAD) {
        /* The server said why it ends the session (57P01 …); that is logged already. */
        if (!failed)
            connection_lose(db, PQerrorMessage(db->pg));
        else
            connection_shut(db);
        if (!failed) st = DB_RETRY;
        failed = true;
    }
    if (failed) {
        PQclear(last);
        return st;
    }
    if (last != NULL) {
        const char *affected = PQcmdTuples(last);
        st = PQresultStatus(last) == PGRES_TUPLES_OK ? (PQntuples(last) > 0 ? DB_ONE : DB_NONE)
             : strcmp(affected, "0") == 0            ? DB_NONE
                                                     : DB_ONE; /* rows, or a command without any */
    }
    if (ret != NULL)
        *ret = last;
    else
        PQclear(last);
    return st;
}

enum db_status connection_finish_or_cancel(struct db *db, const atomic_bool *cancel,
                                           int64_t deadline_ms, PGresult **ret)
{
    if (!connection_flush(db, deadline_ms)) return DB_RETRY;
    while (cancel != NULL && PQisBusy(db->pg)) {
        const int ready = connection_wait_uncancelled(db, cancel, deadline_ms);
        if (ready < 0) return DB_RETRY;
        if (ready == 0) {
            if (connection_cancel(db)) break;
            return connection_lose(db, "a statement could not be cancelled");
        }
        if (PQconsumeInput(db->pg) == 0) return connection_lose(db, PQerrorMessage(db->pg));
    }
    return connection_finish(db, deadline_ms, ret);
}

enum db_status connection_send(struct db *db, const char *what, const char *sql)
{
    connection_start(db, what);
    if (db->pg == NULL) {
        copy_line(db->message, sizeof db->message, "the connection is closed");
        return DB_RETRY;
    }
    return PQsendQuery(db->pg, sql) != 0 ? DB_ONE : connection_lose(db, PQerrorMessage(db->pg));
}

enum db_status connection_run(struct db *db, const char *what, const char *sql, int64_t deadline_ms,
                              PGresult **ret)
{
    if (ret != NULL) *ret = NULL;
    enum db_status st = connection_send(db, what, sql);
    return st == DB_ONE ? connection_finish(db, deadline_ms, ret) : st;
}

static void on_notice(void *ctx, const PGresult *res)
{
    (void)ctx;
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    log_event(LOG_DEBUG, "database notice", "notice", "%s", text != NULL ? text : "", NULL);
}

/* Queues the session's settings and every statement: one round trip for all. */
static bool send_session(struct db *db)
{
    char statement_ms[24], lock_ms[24];
    snprintf(statement_ms, sizeof statement_ms, "%us", db->statement_timeout_s);
    uint32_t lock_s = db->statement_timeout_s;
    snprintf(lock_ms, sizeof lock_ms, "%us", lock_s == 0 || lock_s > 10 ? 10 : lock_s);
    const char *params[] = { db->config->database.schema, statement_ms, lock_ms };
    if (PQenterPipelineMode(db->pg) == 0) return false;
    if (PQsendQueryParams(db->pg, SESSION_SQL, 3, NULL, params, NULL, NULL, 0) == 0) return false;
    for (size_t i = 0; db->prepare && i < N_DB_STATEMENTS; i++)
        for (size_t j = 0; j < DB_STATEMENTS[i]->n; j++) {
            const struct db_stmt *s = &DB_STATEMENTS[i]->stmts[j];
            if (s->sql != NULL &&
                PQsendPrepare(db->pg, s->name, s->sql, (int)s->n_params, NULL) == 0)
                return false;
        }
    return PQpipelineSync(db->pg) != 0;
}

/* Takes one command's result out of the pipeline. */
static bool receive_ok(struct db *db, const char *what, int64_t deadline_ms)
{
    PGresult *res = NULL, *end = NULL;
    connection_start(db, what);
    if (!connection_result(db, deadline_ms, &res)) return false;
    ExecStatusType kind = PQresultStatus(res);
    bool ok = kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK || kind == PGRES_PIPELINE_SYNC;
    if (!ok) connection_fail_result(db, res);
    PQclear(res);
    if (!ok || kind == PGRES_PIPELINE_SYNC) return ok;
    if (!connection_result(db, deadline_ms, &end)) return false; /* the NULL after a command */
    PQclear(end);
    return true;
}

static bool set_up_session(struct db *db, int64_t deadline_ms)
{
    connection_start(db, "connect");
    if (!send_session(db)) {
        connection_lose(db, PQerrorMessage(db->pg));
        return false;
    }
    if (!connection_flush(db, deadline_ms)) return false;
    if (!receive_ok(db, "session settings", deadline_ms)) return false;
    for (size_t i = 0; db->prepare && i < N_DB_STATEMENTS; i++)
        for (size_t j = 0; j < DB_STATEMENTS[i]->n; j++) {
            const struct db_stmt *s = &DB_STATEMENTS[i]->stmts[j];
            if (s->sql != NULL && !receive_ok(db, s->name, deadline_ms)) return false;
        }
    if (!receive_ok(db, "connect", deadline_ms)) return false;
    if (PQexitPipelineMode(db->pg) == 0) {
        connection_lose(db, PQerrorMessage(db->pg));
        return false;
    }
    return true;
}

/* Until the server has greeted us, or refused. */
static bool greet(struct db *db, int64_t deadline_ms)
{
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    while (next != PGRES_POLLING_OK) {
        if (next == PGRES_POLLING_FAILED || PQstatus(db->pg) == CONNECTION_BAD) {
            connection_lose(db, PQerrorMessage(db->pg));
            return false;
        }
        /* The socket may change from one step to the next: several hosts, TLS refused. */
        int ready = wait_socket(db, next == PGRES_POLLING_WRITING ? POLLOUT : POLLIN, deadline_ms);
        if (ready <= 0) {
            connection_lose(db, ready == 0 ? "no connection within the deadline" : strerror(errno));
            return false;
        }
        next = PQconnectPoll(db->pg);
    }
    return true;
}

bool connection_open(struct db *db, int64_t deadline_ms)
{
    /* What stands before dbname may be overridden by the URL, what follows may not. */
    static const char *const KEYS[] = {
        "fallback_application_name",
        "tcp_user_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "dbname",
        "client_encoding",
        NULL,
    };
    const char *const values[] = {
        "segmentd", "5000", "1", "5", "2", "3", db->config->database.url, "UTF8", NULL,
    };
    connection_shut(db);
    connection_start(db, "connect");
    db->pg = PQconnectStartParams(KEYS, values, 1);
    if (db->pg == NULL) {
        connection_lose(db, "out of memory");
        return false;
    }
    PQsetNoticeReceiver(db->pg, on_notice, NULL);
    if (!greet(db, deadline_ms)) return false;
    if (PQsetnonblocking(db->pg, 1) != 0) {
        connection_lose(db, PQerrorMessage(db->pg));
        return false;
    }
    if (!set_up_session(db, deadline_ms)) {
        connection_shut(db); /* a refused statement leaves the connection open, but useless */
        return false;
    }
    return true;
}

bool connection_is_alive(struct db *db)
{
    if (db->pg == NULL || PQstatus(db->pg) != CONNECTION_OK) return false;
    struct pollfd p = { .fd = PQsocket(db->pg), .events = POLLIN };
    /* What comes although nothing was asked is a notice, or the reason for the end and then it. */
    while (poll(&p, 1, 0) > 0)
        if (PQconsumeInput(db->pg) == 0 || PQstatus(db->pg) != CONNECTION_OK) return false;
    return true;
}

struct db *connection_new(const struct config *c, uint32_t statement_timeout_s, bool prepare,
                          struct metrics *m)
{
    struct db *db = seg_calloc(1, sizeof *db);
    if (db == NULL) return NULL;
    db->config = c;
    db->metrics = m;
    db->statement_timeout_s = statement_timeout_s;
    db->prepare = prepare;
    return db;
}

struct db *db_connect(const struct config *c, uint32_t statement_timeout_s, bool prepare,
                      struct metrics *m)
{
    struct db *db = connection_new(c, statement_timeout_s, prepare, m);
    if (db == NULL) return NULL;
    if (!connection_open(db, clock_ms() + (int64_t)c->database.connect_timeout_s * 1000)) {
        db_close(db);
        return NULL;
    }
    return db;
}

void db_close(struct db *db)
{
    if (db == NULL) return;
    connection_shut(db);
    seg_free(db);
}

/* Through a second connection: PQcancel would block on a server that does not answer. */
bool connection_cancel(const struct db *db)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", PQbackendPID(db->pg));
    const char *const params[] = { pid };
    struct db *other = db_connect(db->config, CONTROL_TIMEOUT_MS / 1000, false, db->metrics);
    if (other == NULL) return false;
    enum db_status st =
        db_exec_sql(other, "SELECT pg_cancel_backend($1::integer)", params, 1, NULL);
    db_close(other);
    return st == DB_ONE;
}
