/* A runner's thread sleeps on NOTIFY and looks at the queue at least every two seconds, since
 * notifications may be lost. The heartbeat thread has a connection of its own: a job that is busy
 * in a long statement or in the core keeps its lease all the same. */
#include "jobs/runner.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "db/labels.h"
#include "json/json.h"
#include "json/json_out.h"
#include "log.h"

#define HEARTBEAT_MS 300
#define POLL_MS      2000
#define AGAIN_MS     1000
#define WAIT_MS      250 /* how late a stop is noticed */

struct job_monitor {
    pthread_mutex_t lock; /* guards what follows up to `cancel` */
    pthread_cond_t wake;  /* a job started or the runner stops */
    bool running;
    char id[JOB_ID_LEN + 1];
    int attempt;
    double fraction;
    char phase[32];
    char message[200];
    bool cancel_asked, lost;
    atomic_bool cancel; /* the job function is to stop */
};

struct runner {
    struct job_runner *owner;
    pthread_t thread, heartbeat;
    struct job_monitor monitor;
};

struct job_runner {
    struct app *app;
    atomic_bool stop;
    char worker[128]; /* host:pid */
    unsigned n_runners;
    struct runner runners[];
};

struct db *job_connect(const struct job_run *run, bool prepare)
{
    struct db *db = db_connect(run->app->config, 0, prepare, run->app->metrics);
    if (db != NULL) db_stop_with(db, run->cancel);
    return db;
}

void job_progress(struct job_run *run, double fraction, const char *phase, const char *message)
{
    struct job_monitor *m = run->monitor;
    pthread_mutex_lock(&m->lock);
    m->fraction = fraction;
    snprintf(m->phase, sizeof(m->phase), "%s", phase);
    snprintf(m->message, sizeof(m->message), "%s", message);
    pthread_mutex_unlock(&m->lock);
}

enum job_outcome job_fail(struct job_run *run, const char *code, const char *fmt, ...)
{
    va_list args;
    snprintf(run->error_code, sizeof(run->error_code), "%s", code);
    va_start(args, fmt);
    vsnprintf(run->error_detail, sizeof(run->error_detail), fmt, args);
    va_end(args);
    size_t len = strlen(run->error_detail);
    while (len > 0 && !utf8_valid(run->error_detail, len)) /* cut inside a character */
        run->error_detail[--len] = '\0';
    return JOB_FAILED;
}

enum job_outcome job_interrupted(const struct job_run *run)
{
    return atomic_load(run->cancel) ? JOB_STOPPED : JOB_AGAIN;
}

enum job_outcome job_db_failed(struct job_run *run, enum db_status st, const char *what)
{
    if (st == DB_RETRY || st == DB_UNKNOWN) return JOB_AGAIN;
    return job_fail(run, "database_error", "%s failed; the log has the details", what);
}

static void sleep_until_woken(struct job_monitor *m, unsigned ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&m->wake, &m->lock, &until);
}

static int64_t ms_between(const struct timespec *from, const struct timespec *to)
{
    return (int64_t)(to->tv_sec - from->tv_sec) * 1000 + (to->tv_nsec - from->tv_nsec) / 1000000;
}

/* One beat. A lease that could not be renewed for its whole length is lost: the job must stop
 * before another claims it. */
static void beat(struct runner *r, struct db **db, struct timespec *renewed)
{
    struct job_monitor *m = &r->monitor, now;
    const struct config *c = r->owner->app->config;
    bool cancel_asked = false;
    struct timespec sent, answered;
    pthread_mutex_lock(&m->lock);
    memcpy(now.id, m->id, sizeof(now.id));
    memcpy(now.phase, m->phase, sizeof(now.phase));
    memcpy(now.message, m->message, sizeof(now.message));
    now.attempt = m->attempt;
    now.fraction = m->fraction;
    pthread_mutex_unlock(&m->lock);

    if (*db != NULL && db_is_broken(*db)) {
        db_close(*db);
        *db = NULL;
    }
    if (*db == NULL) *db = db_connect(c, c->jobs.lease_seconds, true, r->owner->app->metrics);
    clock_gettime(CLOCK_MONOTONIC, &sent);
    enum db_status st =
        *db == NULL ? DB_RETRY
                    : db_jobs_heartbeat(*db, now.id, now.attempt, c->jobs.lease_seconds,
                                        now.fraction, now.phase, now.message, &cancel_asked);
    clock_gettime(CLOCK_MONOTONIC, &answered);
    if (st == DB_ONE) *renewed = sent; /* the lease runs from a moment after */
    bool has_run_out = ms_between(renewed, &answered) >= (int64_t)c->jobs.lease_seconds * 1000;
    pthread_mutex_lock(&m->lock);
    if (m->running && m->attempt == now.attempt && strcmp(m->id, now.id) == 0) {
        m->cancel_asked = m->cancel_asked || cancel_asked;
        m->lost = m->lost || st == DB_NONE || has_run_out;
        if (m->cancel_asked || m->lost) atomic_store(&m->cancel, true);
    }
    pthread_mutex_unlock(&m->lock);
}

static void *heartbeat_main(void *arg)
{
    struct runner *r = arg;
    struct job_monitor *m = &r->monitor;
    struct db *db = NULL;
    struct timespec renewed = { 0 };
    bool was_running = false;
    char id[sizeof(m->id)] = ""; /* of the job that was running, and its attempt */
    int attempt = 0;
    for (;;) {
        pthread_mutex_lock(&m->lock);
        if (!m->running && !atomic_load(&r->owner->stop)) sleep_until_woken(m, WAIT_MS);
        bool running = m->running;
        if (m->attempt != attempt || strcmp(m->id, id) != 0) was_running = false;
        attempt = m->attempt;
        memcpy(id, m->id, sizeof(id));
        pthread_mutex_unlock(&m->lock);
        if (!running && atomic_load(&r->owner->stop)) break;
        if (!running) {
            was_running = false;
            continue;
        }
        if (!was_running) clock_gettime(CLOCK_MONOTONIC, &renewed);
        was_running = true;
        if (atomic_load(&r->owner->stop)) atomic_store(&m->cancel, true);
        beat(r, &db, &renewed);
        pthread_mutex_lock(&m->lock);
        if (m->running) sleep_until_woken(m, HEARTBEAT_MS);
        pthread_mutex_unlock(&m->lock);
    }
    db_close(db);
    return NULL;
}

/* The problem object of a failed job; seg_free it. */
static char *error_json(const struct job_run *run)
{
    struct json_out o;
    size_t len;
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "type", "about:blank");
    json_out_member_string(&o, "title", "the job failed");
    json_out_member_uint(&o, "status", 422);
    json_out_member_string(&o, "code", run->error_code);
    json_out_member_string(&o, "detail", run->error_detail);
    json_out_end_object(&o);
    return json_out_take(&o, &len);
}

/* About a second, less when the runner is to stop. The job is still ours meanwhile. */
static void pause_before_next(const struct runner *r)
{
    for (unsigned waited = 0; waited < AGAIN_MS && !atomic_load(&r->owner->stop); waited += WAIT_MS)
        nanosleep(&(struct timespec){ 0, WAIT_MS * 1000000L }, NULL);
}

/* True when the connection works: opened again when it broke. */
static bool connection_ready(struct runner *r, struct db **db)
{
    if (*db != NULL && db_is_broken(*db)) {
        db_close(*db);
        *db = NULL;
    }
    if (*db != NULL) return true;
    *db = db_connect(r->owner->app->config, 0, true, r->owner->app->metrics);
    if (*db == NULL) return false;
    char channel[80];
    snprintf(channel, sizeof(channel), "%s_jobs", r->owner->app->config->database.schema);
    db_stop_with(*db, &r->owner->stop);
    return db_listen(*db, channel) != DB_FATAL;
}

/* Ends the job as *state, or hands it back (NULL); *state is what it is then. Over a new connection
 * when the job's was lost, which nobody notices while a job computes. */
static enum db_status write_end(struct runner *r, struct job_run *run, const char **state)
{
    const struct db_job *j = run->job;
    const bool failed = *state != NULL && strcmp(*state, "failed") == 0, release = *state == NULL;
    char *error = failed ? error_json(run) : NULL;
    enum db_status st = DB_RETRY;
    for (int i = 0; i < 2 && st == DB_RETRY && connection_ready(r, &run->db); i++)
        st = release ? db_jobs_release(run->db, j->id, j->attempt, state)
                     : db_jobs_finish(run->db, j->id, j->attempt, *state, 0, NULL, error);
    seg_free(error);
    return st;
}

/* Writes how the job ended, and counts it once that is written: until then it may be claimed again.
 * What succeeded has been ended by its own commit. */
static const char *end_job(struct runner *r, struct job_run *run, enum job_outcome outcome,
                           bool cancel_asked, bool lost)
{
    struct metrics *metrics = r->owner->app->metrics;
    const char *state = outcome == JOB_FAILED                    ? "failed"
                        : outcome == JOB_STOPPED && cancel_asked ? "cancelled"
                                                                 : NULL;
    if (outcome == JOB_SUCCEEDED) {
        metrics_add(metrics, METRIC_JOBS_SUCCEEDED, 1);
        return "succeeded";
    }
    if (lost) {
        metrics_add(metrics, METRIC_FENCED_WRITES, 1);
        return "lost";
    }
    if (outcome == JOB_AGAIN) pause_before_next(r); /* what went wrong may last */
    if (write_end(r, run, &state) != DB_ONE) return "lost";
    if (strcmp(state, "failed") == 0) metrics_add(metrics, METRIC_JOBS_FAILED, 1);
    if (strcmp(state, "cancelled") == 0) metrics_add(metrics, METRIC_JOBS_CANCELLED, 1);
    return strcmp(state, "queued") == 0 ? "handed back" : state;
}

/* *db is another connection afterwards, or NULL, when it was lost. */
static void run_job(struct runner *r, struct db **db, const struct db_job *job)
{
    struct job_monitor *m = &r->monitor;
    struct timespec start, end;
    struct job_run run = {
        .app = r->owner->app, .db = *db, .job = job, .cancel = &m->cancel, .monitor = m
    };
    clock_gettime(CLOCK_MONOTONIC, &start);
    seg_arena_init(&run.arena, 0);
    pthread_mutex_lock(&m->lock);
    m->running = true;
    m->attempt = job->attempt;
    m->fraction = 0;
    m->cancel_asked = m->lost = false;
    memcpy(m->id, job->id, sizeof(m->id));
    snprintf(m->phase, sizeof(m->phase), "starting");
    m->message[0] = '\0';
    atomic_store(&m->cancel, false);
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
    metrics_gauge_add(r->owner->app->metrics, METRIC_JOBS_RUNNING, 1);
    log_event(LOG_INFO, "job started", "job", "%s", job->id, "kind", "%s", job->kind, "model", "%s",
              job->model, "attempt", "%d", job->attempt, NULL);

    enum job_outcome outcome =
        strcmp(job->kind, "train") == 0 ? train_job_run(&run) : label_job_run(&run);

    pthread_mutex_lock(&m->lock);
    m->running = false;
    bool cancel_asked = m->cancel_asked, lost = m->lost;
    pthread_cond_signal(&m->wake);
    pthread_mutex_unlock(&m->lock);
    const char *state = end_job(r, &run, outcome, cancel_asked, lost);
    *db = run.db;
    metrics_gauge_add(r->owner->app->metrics, METRIC_JOBS_RUNNING, -1);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long long ms = ms_between(&start, &end);
    if (outcome == JOB_FAILED)
        log_event(LOG_WARN, "job failed", "job", "%s", job->id, "state", "%s", state, "code", "%s",
                  run.error_code, "detail", "%s", run.error_detail, "dur_ms", "%lld", ms, NULL);
    else
        log_event(LOG_INFO, "job finished", "job", "%s", job->id, "state", "%s", state, "dur_ms",
                  "%lld", ms, NULL);
    seg_arena_release(&run.arena);
}

/* What publishing leaves out. Where it fails, it is tried again after the next job. */
static void index_labels(const struct runner *r, struct db *db)
{
    while (!atomic_load(&r->owner->stop) && db_labels_index(db, &r->owner->stop) == DB_ONE)
        ;
}

static void *runner_main(void *arg)
{
    struct runner *r = arg;
    struct job_runner *o = r->owner;
    struct db *db = NULL;
    bool indexed = false; /* a process before us may have been killed between commit and index */
    seg_pool_thread_gives_way();
    while (!atomic_load(&o->stop)) {
        struct seg_arena arena;
        struct db_job job;
        bool taken_over = false;
        if (!connection_ready(r, &db)) {
            nanosleep(&(struct timespec){ 0, WAIT_MS * 1000000L }, NULL);
            continue;
        }
        if (!indexed) index_labels(r, db);
        indexed = true;
        seg_arena_init(&arena, 0);
        enum db_status st = db_jobs_claim(db, o->worker, o->app->config->jobs.lease_seconds, &arena,
                                          &job, &taken_over);
        if (st == DB_ONE) {
            if (taken_over) metrics_add(o->app->metrics, METRIC_JOBS_TAKEN_OVER, 1);
            run_job(r, &db, &job);
            indexed = false;
        }
        seg_arena_release(&arena);
        for (unsigned waited = 0;
             st != DB_ONE && waited < POLL_MS && !atomic_load(&o->stop) && !db_is_broken(db);
             waited += WAIT_MS)
            if (db_wait_notify(db, WAIT_MS)) break;
    }
    db_close(db);
    return NULL;
}

struct job_runner *job_runner_new(struct app *app)
{
    char host[64] = "";
    unsigned n = app->config->jobs.runners;
    struct job_runner *o = seg_calloc(1, sizeof(*o) + n * sizeof(o->runners[0]));
    if (o == NULL) return NULL;
    o->app = app;
    gethostname(host, sizeof(host) - 1);
    snprintf(o->worker, sizeof(o->worker), "%s:%d", host, (int)getpid());
    for (unsigned i = 0; i < n; i++) {
        struct runner *r = &o->runners[i];
        pthread_condattr_t attr;
        r->owner = o;
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_mutex_init(&r->monitor.lock, NULL);
        pthread_cond_init(&r->monitor.wake, &attr);
        pthread_condattr_destroy(&attr);
        if (pthread_create(&r->heartbeat, NULL, heartbeat_main, r) != 0) break;
        if (pthread_create(&r->thread, NULL, runner_main, r) != 0) {
            atomic_store(&o->stop, true);
            pthread_join(r->heartbeat, NULL);
            break;
        }
        o->n_runners++;
    }
    if (o->n_runners == n) return o;
    job_runner_free(o);
    return NULL;
}

void job_runner_free(struct job_runner *o)
{
    if (o == NULL) return;
    atomic_store(&o->stop, true);
    for (unsigned i = 0; i < o->n_runners; i++) {
        struct runner *r = &o->runners[i];
        pthread_mutex_lock(&r->monitor.lock);
        pthread_cond_broadcast(&r->monitor.wake);
        pthread_mutex_unlock(&r->monitor.lock);
        pthread_join(r->thread, NULL);
        pthread_join(r->heartbeat, NULL);
        pthread_mutex_destroy(&r->monitor.lock);
        pthread_cond_destroy(&r->monitor.wake);
    }
    seg_free(o);
}
