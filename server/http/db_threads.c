/* A queue under one lock, a few threads behind it, and a clerk that refuses what waited too long.
 * The lock is never held across a handler. */
#include "http/db_threads.h"

#include <pthread.h>
#include <time.h>
#include "base/alloc.h"
#include "log.h"

#define CONNECTION_WAIT_MS 2000
#define QUEUE_WAIT_NS      5000000000LL

struct db_threads {
    struct app *app;
    void (*done)(struct exchange *x);
    pthread_mutex_t lock;      /* guards the queue and stopping */
    pthread_cond_t wake;       /* something is queued, or stopping */
    pthread_cond_t clerk_wake; /* stopping */
    struct exchange *head, **tail;
    unsigned n_queued, queue_max;
    bool stopping;
    unsigned n_threads;
    pthread_t threads[];
};

void exchange_run(struct exchange *x)
{
    x->go = GO_NOWHERE;
    log_set_request_id(x->rq.request_id);
    enum http_status st = x->rq.route->handler(&x->rq);
    if (st == HTTP_MOVED && x->go != GO_NOWHERE) return;
    x->go = GO_NOWHERE;
    if (!x->rq.on_io_thread || !reply_is_heavy(x))
        reply_finish(x);
    else
        x->go = GO_COMPUTE; /* to be compressed there */
}

static void refuse(struct exchange *x, enum http_error code, const char *why)
{
    if (why != NULL)
        reply_error(&x->rq, code, "%s", why);
    else
        reply_error(&x->rq, code, NULL);
    reply_finish(x);
}

static void run_with_connection(struct db_threads *t, struct exchange *x)
{
    struct db_pool *pool = t->app->db;
    struct db *db = pool != NULL ? db_pool_get(pool, CONNECTION_WAIT_MS) : NULL;
    if (db == NULL) {
        refuse(x, ERR_DB_UNAVAILABLE, NULL);
        return;
    }
    x->rq.db = db;
    exchange_run(x);
    x->rq.db = NULL;
    db_pool_put(pool, db);
}

/* Caller holds the lock and knows that there is one. */
static struct exchange *take_first(struct db_threads *t)
{
    struct exchange *x = t->head;
    t->head = x->next;
    if (t->head == NULL) t->tail = &t->head;
    t->n_queued--;
    x->go = GO_NOWHERE; /* it is here */
    return x;
}

static void *thread_main(void *arg)
{
    struct db_threads *t = arg;
    for (;;) {
        pthread_mutex_lock(&t->lock);
        while (t->head == NULL && !t->stopping)
            pthread_cond_wait(&t->wake, &t->lock);
        struct exchange *x = t->head != NULL ? take_first(t) : NULL;
        bool stopping = t->stopping;
        pthread_mutex_unlock(&t->lock);
        if (x == NULL) return NULL;
        log_set_request_id(x->rq.request_id);
        if (stopping)
            refuse(x, ERR_DRAINING, NULL);
        else
            run_with_connection(t, x);
        log_set_request_id("");
        t->done(x);
    }
}

/* The clerk: when every thread hangs in a statement, someone has to tell those in the queue. */
static void *clerk_main(void *arg)
{
    struct db_threads *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->stopping) {
        int64_t due_ns = monotonic_ns() + QUEUE_WAIT_NS;
        if (t->head != NULL) due_ns = t->head->queued_ns + QUEUE_WAIT_NS;
        if (t->head == NULL || due_ns > monotonic_ns()) {
            struct timespec until = { .tv_sec = due_ns / 1000000000,
                                      .tv_nsec = due_ns % 1000000000 };
            pthread_cond_timedwait(&t->clerk_wake, &t->lock, &until);
            continue;
        }
        struct exchange *x = take_first(t);
        pthread_mutex_unlock(&t->lock);
        refuse(x, ERR_BUSY, "the request waited too long for the database");
        t->done(x);
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

struct db_threads *db_threads_start(struct app *app, unsigned n_threads, unsigned queue_max,
                                    void (*done)(struct exchange *x))
{
    /* The clerk is the last thread. */
    struct db_threads *t = seg_calloc(1, sizeof(*t) + (n_threads + 1) * sizeof(t->threads[0]));
    if (t == NULL) return NULL;
    t->app = app;
    t->done = done;
    t->queue_max = queue_max;
    t->tail = &t->head;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    pthread_cond_init(&t->clerk_wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (unsigned i = 0; i <= n_threads; i++) {
        void *(*body)(void *) = i < n_threads ? thread_main : clerk_main;
        if (pthread_create(&t->threads[i], NULL, body, t) != 0) {
            db_threads_free(t);
            return NULL;
        }
        t->n_threads++;
    }
    return t;
}

bool db_threads_push(struct db_threads *t, struct exchange *x)
{
    pthread_mutex_lock(&t->lock);
    bool room = !t->stopping && t->n_queued < t->queue_max;
    if (room) {
        x->queued_ns = monotonic_ns();
        x->next = NULL;
        *t->tail = x;
        t->tail = &x->next;
        t->n_queued++;
        pthread_cond_signal(&t->wake);
    }
    pthread_mutex_unlock(&t->lock);
    return room;
}

void db_threads_stop(struct db_threads *t)
{
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_broadcast(&t->wake);
    pthread_cond_signal(&t->clerk_wake);
    pthread_mutex_unlock(&t->lock);
    for (; t->n_threads > 0; t->n_threads--)
        pthread_join(t->threads[t->n_threads - 1], NULL);
}

void db_threads_free(struct db_threads *t)
{
    if (t == NULL) return;
    db_threads_stop(t);
    pthread_cond_destroy(&t->wake);
    pthread_cond_destroy(&t->clerk_wake);
    pthread_mutex_destroy(&t->lock);
    seg_free(t);
}
