/* db_tx.c - one transaction, run again when PostgreSQL or the network says that it may be. */
#include "db/db.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "db/connection.h"
#include "log.h"

#define TX_ATTEMPTS_MAX 10

/* 5, 10, 20 … 640 ms, each between half and all of it, so that two that met do not meet again. */
static void back_off(unsigned attempt)
{
    uint32_t most_ms = 5u << (attempt < 7 ? attempt : 7);
    uint32_t ms = most_ms / 2 + arc4random_uniform(most_ms / 2 + 1);
    struct timespec t = { .tv_sec = 0, .tv_nsec = (long)ms * 1000000 };
    nanosleep(&t, NULL);
}

/* Nothing was committed and the same work may succeed at once. Timeouts and a full disk are
 * DB_RETRY as well, but waiting longer on a request's thread would make them worse: they are the
 * client's to retry. */
static bool may_run_again(const struct db *db, enum db_status st)
{
    return st == DB_RETRY && (db_is_broken(db) || strncmp(db->sqlstate, "40", 2) == 0);
}

static enum db_status run_once(struct db *db, db_tx_fn fn, void *ctx)
{
    enum db_status st = db_begin(db);
    if (st != DB_ONE && st != DB_NONE) return st;
    st = fn(db, ctx);
    if (st != DB_ONE && st != DB_NONE) {
        db_rollback(db);
        return st;
    }
    enum db_status done = db_commit(db);
    return done == DB_ONE || done == DB_NONE ? st : done;
}

enum db_status db_tx_run(struct db *db, const char *name, db_tx_fn fn, void *ctx)
{
    int64_t give_up_ms = connection_statement_deadline(db);
    enum db_status st = DB_RETRY;
    for (unsigned attempt = 0; attempt < TX_ATTEMPTS_MAX; attempt++) {
        if (attempt > 0) {
            if (clock_ms() >= give_up_ms || connection_is_stopping(db)) break;
            if (db->metrics != NULL) metrics_add(db->metrics, METRIC_DB_RETRIES, 1);
            back_off(attempt);
        }
        if (db_is_broken(db)) {
            int64_t connect_ms =
                clock_ms() + (int64_t)db->config->database.connect_timeout_s * 1000;
            if (!connection_open(db, connect_ms < give_up_ms ? connect_ms : give_up_ms)) continue;
        }
        st = run_once(db, fn, ctx);
        if (!may_run_again(db, st)) return st;
    }
    log_event(LOG_WARN, "transaction given up", "transaction", "%s", name, "sqlstate", "%s",
              db->sqlstate, NULL);
    return st;
}
