/* db_copy.c - streams in and out by COPY. Each read and each write has a deadline of its own, so
 * that a long stream may take as long as it moves. */
#include "db/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "db/connection.h"

#define FLUSH_BYTES 65536 /* libpq buffers what the socket does not take: this bounds it */
/* The server sends 8 KiB at a time. A reader that is woken for each takes the processor from it as
 * often; one that sleeps this long finds some tens of them, fewer than a socket's buffer holds. */
#define GATHER_NS 300000

static enum db_status begin(struct db *db, const atomic_bool *cancel, const char *what,
                            const char *sql, ExecStatusType kind)
{
    PGresult *res = NULL;
    enum db_status st = connection_send(db, what, sql);
    if (st == DB_ONE)
        st = connection_finish_or_cancel(db, cancel, connection_statement_deadline(db), &res);
    if (st != DB_ONE && st != DB_NONE) return st;
    bool right = PQresultStatus(res) == kind;
    PQclear(res);
    if (!right) { /* sql is ours and is no such COPY */
        connection_lose(db, "the statement is not a COPY of this direction");
        return DB_FATAL;
    }
    db->copying = true;
    db->unsent = 0;
    return DB_ONE;
}

/* The command's own result, after its data. */
static enum db_status end(struct db *db, uint64_t *ret_rows)
{
    PGresult *res = NULL;
    db->copying = false;
    enum db_status st = connection_finish(db, connection_statement_deadline(db), &res);
    if (st == DB_ONE || st == DB_NONE) {
        if (ret_rows != NULL && res != NULL) *ret_rows = strtoull(PQcmdTuples(res), NULL, 10);
    }
    PQclear(res);
    return st;
}

enum db_status db_copy_out_begin(struct db *db, const atomic_bool *cancel, const char *sql)
{
    return begin(db, cancel, "copy out", sql, PGRES_COPY_OUT);
}

enum db_status db_copy_out_read(struct db *db, const atomic_bool *cancel, const char **ret_bytes,
                                size_t *ret_len)
{
    if (db->pg == NULL) return DB_RETRY;
    int64_t deadline_ms = 0; /* from the first wait on: mostly there is none */
    bool looked = false;     /* at what has come since the last chunk */
    PQfreemem(db->chunk);
    db->chunk = NULL;
    for (;;) {
        char *chunk = NULL;
        int n = PQgetCopyData(db->pg, &chunk, 1);
        if (n > 0) {
            db->chunk = chunk;
            *ret_bytes = chunk;
            *ret_len = (size_t)n;
            return DB_ONE;
        }
        if (n == -1) {
            enum db_status st = end(db, NULL);
            return st == DB_ONE ? DB_NONE : st;
        }
        if (n == -2) return connection_lose(db, PQerrorMessage(db->pg));
        if (looked) {
            if (deadline_ms == 0) deadline_ms = connection_statement_deadline(db);
            nanosleep(&(struct timespec){ 0, GATHER_NS }, NULL);
            if (connection_wait_uncancelled(db, cancel, deadline_ms) <= 0) return DB_RETRY;
        }
        looked = true;
        if (PQconsumeInput(db->pg) == 0) return connection_lose(db, PQerrorMessage(db->pg));
    }
}

void db_copy_out_abort(struct db *db)
{
    if (db->pg == NULL || !db->copying) return;
    int64_t deadline_ms = connection_control_deadline();
    if (!connection_cancel(db)) {
        connection_lose(db, "an unfinished COPY could not be cancelled");
        return;
    }
    for (;;) { /* what was on its way */
        char *chunk = NULL;
        int n = PQgetCopyData(db->pg, &chunk, 1);
        PQfreemem(chunk);
        if (n < 0) break;
        if (n > 0) continue;
        if (!connection_wait(db, false, deadline_ms)) return;
        if (PQconsumeInput(db->pg) == 0) {
            connection_lose(db, PQerrorMessage(db->pg));
            return;
        }
    }
    db->copying = false;
    PGresult *res = NULL;
    while (connection_result(db, deadline_ms, &res) && res != NULL)
        PQclear(res);
}

enum db_status db_copy_in_begin(struct db *db, const char *sql)
{
    return begin(db, NULL, "copy in", sql, PGRES_COPY_IN);
}

enum db_status db_copy_in_write(struct db *db, const char *bytes, size_t len)
{
    int64_t deadline_ms = connection_statement_deadline(db);
    while (len > 0) {
        if (db->pg == NULL) return DB_RETRY;
        size_t n = len < FLUSH_BYTES ? len : FLUSH_BYTES;
        int put = PQputCopyData(db->pg, bytes, (int)n);
        if (put < 0) return connection_lose(db, PQerrorMessage(db->pg));
        if (put > 0) {
            bytes += n;
            len -= n;
            db->unsent += n;
        }
        if (put == 0 || db->unsent >= FLUSH_BYTES) {
            if (!connection_flush(db, deadline_ms)) return DB_RETRY;
            db->unsent = 0;
        }
    }
    return DB_ONE;
}

/* Ends the stream, with the sentence that makes the server refuse it or with NULL. */
static bool put_end(struct db *db, const char *refusal)
{
    int64_t deadline_ms = connection_control_deadline();
    for (;;) {
        int put = PQputCopyEnd(db->pg, refusal);
        if (put > 0) return true;
        if (put < 0) {
            connection_lose(db, PQerrorMessage(db->pg));
            return false;
        }
        if (!connection_flush(db, deadline_ms)) return false;
    }
}

enum db_status db_copy_in_end(struct db *db, uint64_t *ret_rows)
{
    if (db->pg == NULL) return DB_RETRY;
    if (!put_end(db, NULL)) return DB_RETRY;
    return end(db, ret_rows);
}

void db_copy_in_abort(struct db *db)
{
    if (db->pg == NULL || !db->copying) return;
    db->copying = false;
    if (!put_end(db, "given up by segmentd")) return;
    int64_t deadline_ms = connection_control_deadline();
    PGresult *res = NULL;
    if (!connection_flush(db, deadline_ms)) return;
    while (connection_result(db, deadline_ms, &res) && res != NULL)
        PQclear(res);
}
