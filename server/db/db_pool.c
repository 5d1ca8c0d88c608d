/* db_pool.c - the connections of requests. Idle ones are a stack, so that the warmest is used
 * first. The keeper is a thread that looks at idle connections every KEEPER_MS and tries to connect
 * while the pool is down: so db_pool_is_up is right within a second also when nobody asks for
 * anything.
 *
 * Lock: the mutex guards every field below it and is never held across a wait on a socket. */
#include "db/db.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "db/connection.h"
#include "log.h"

#define KEEPER_MS    500
#define BACK_OFF_MIN 100
#define BACK_OFF_MAX 2000

struct db_pool {
    const struct config *config;
    struct metrics *metrics;
    uint32_t statement_timeout_s;
    unsigned size; /* connections at most */
    atomic_bool up;
    pthread_t keeper;
    pthread_mutex_t lock;
    pthread_cond_t changed;  /* a connection came back, a slot is free, or the end */
    struct db **idle;        /* (size) stack of open connections */
    unsigned n_idle, n_open; /* n_open counts those in use too */
    int64_t retry_at_ms;     /* no connecting before this */
    uint32_t back_off_ms;    /* 0 while connecting works */
    bool closing;
};

/* The state as metrics and /readyz see it; logs the change. */
static void set_up(struct db_pool *p, bool up)
{
    if (atomic_exchange(&p->up, up) == up) return;
    log_event(up ? LOG_INFO : LOG_WARN, up ? "database is up" : "database is down", NULL);
    if (p->metrics != NULL) metrics_set(p->metrics, METRIC_DB_UP, up);
}

/* Caller holds the lock. Waits for a change until deadline_ms; false when it has passed. */
static bool wait_change(struct db_pool *p, int64_t deadline_ms)
{
    if (clock_ms() >= deadline_ms) return false;
    struct timespec t = { .tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000 };
    pthread_cond_timedwait(&p->changed, &p->lock, &t);
    return true;
}

/* Caller holds the lock. Doubles the pause before the next attempt, with jitter. */
static void back_off(struct db_pool *p)
{
    uint32_t twice = p->back_off_ms * 2;
    p->back_off_ms = p->back_off_ms == 0    ? BACK_OFF_MIN
                     : twice < BACK_OFF_MAX ? twice
                                            : BACK_OFF_MAX;
    p->retry_at_ms = clock_ms() + p->back_off_ms / 2 + arc4random_uniform(p->back_off_ms / 2 + 1);
}

/* Gives up a connection's slot. */
static void drop(struct db_pool *p, struct db *db)
{
    db_close(db);
    pthread_mutex_lock(&p->lock);
    p->n_open--;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

/* Opens a connection in a slot that the caller took; gives the slot back on failure. */
static struct db *open_slot(struct db_pool *p, int64_t deadline_ms)
{
    int64_t connect_ms = clock_ms() + (int64_t)p->config->database.connect_timeout_s * 1000;
    struct db *db = connection_new(p->config, p->statement_timeout_s, true, p->metrics);
    bool ok =
        db != NULL && connection_open(db, connect_ms < deadline_ms ? connect_ms : deadline_ms);
    pthread_mutex_lock(&p->lock);
    if (ok)
        p->back_off_ms = 0;
    else
        back_off(p);
    pthread_mutex_unlock(&p->lock);
    set_up(p, ok);
    if (ok) return db;
    drop(p, db);
    return NULL;
}

struct db *db_pool_get(struct db_pool *p, unsigned timeout_ms)
{
    int64_t deadline_ms = clock_ms() + timeout_ms;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        if (p->n_idle > 0) {
            struct db *db = p->idle[--p->n_idle];
            pthread_mutex_unlock(&p->lock);
            if (connection_is_alive(db)) return db;
            drop(p, db); /* the server was restarted: the others are as dead */
            pthread_mutex_lock(&p->lock);
            continue;
        }
        int64_t until_ms = deadline_ms;
        if (p->n_open < p->size) {
            if (clock_ms() >= p->retry_at_ms) {
                p->n_open++;
                pthread_mutex_unlock(&p->lock);
                struct db *db = open_slot(p, deadline_ms);
                if (db != NULL) return db;
                pthread_mutex_lock(&p->lock);
            }
            if (p->retry_at_ms < until_ms) until_ms = p->retry_at_ms;
        }
        if (p->closing || clock_ms() >= deadline_ms) break; /* closing: only the keeper is here */
        wait_change(p, until_ms);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void db_pool_put(struct db_pool *p, struct db *db)
{
    if (db == NULL) return;
    if (db->copying) connection_lose(db, "given back in the middle of a COPY");
    db_rollback(db);
    bool works = !db_is_broken(db) && PQtransactionStatus(db->pg) == PQTRANS_IDLE;
    set_up(p, works);
    if (!works) {
        drop(p, db);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->idle[p->n_idle++] = db;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

bool db_pool_is_up(struct db_pool *p)
{
    return atomic_load(&p->up);
}

/* Closes idle connections that the server ended. */
static void sweep(struct db_pool *p)
{
    struct db *dead = NULL;
    do {
        dead = NULL;
        pthread_mutex_lock(&p->lock);
        for (unsigned i = 0; i < p->n_idle && dead == NULL; i++)
            if (!connection_is_alive(p->idle[i])) {
                dead = p->idle[i];
                p->idle[i] = p->idle[--p->n_idle];
            }
        pthread_mutex_unlock(&p->lock);
        if (dead == NULL) break;
        set_up(p, false);
        drop(p, dead);
    } while (true);
}

static void *keeper_main(void *arg)
{
    struct db_pool *p = arg;
    pthread_mutex_lock(&p->lock);
    while (!p->closing) {
        pthread_mutex_unlock(&p->lock);
        sweep(p);
        if (!atomic_load(&p->up)) {
            struct db *db = db_pool_get(p, p->config->database.connect_timeout_s * 1000);
            if (db != NULL) db_pool_put(p, db);
        }
        pthread_mutex_lock(&p->lock);
        for (int64_t next_ms = clock_ms() + KEEPER_MS; !p->closing && wait_change(p, next_ms);) {
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct db_pool *db_pool_new(const struct config *c, unsigned connections,
                            uint32_t statement_timeout_s, struct metrics *m)
{
    pthread_condattr_t monotonic;
    struct db_pool *p = seg_calloc(1, sizeof *p);
    if (p == NULL) return NULL;
    p->config = c;
    p->metrics = m;
    p->statement_timeout_s = statement_timeout_s;
    p->size = connections;
    p->idle = seg_calloc(connections, sizeof *p->idle);
    if (p->idle == NULL) goto no_idle;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&p->lock, NULL);
    if (pthread_create(&p->keeper, NULL, keeper_main, p) != 0) goto no_thread;
    return p;
no_thread:
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    seg_free(p->idle);
no_idle:
    seg_free(p);
    return NULL;
}

/* Every connection has been put back. */
void db_pool_free(struct db_pool *p)
{
    if (p == NULL) return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->keeper, NULL);
    while (p->n_idle > 0)
        db_close(p->idle[--p->n_idle]);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->changed);
    seg_free(p->idle);
    seg_free(p);
}
