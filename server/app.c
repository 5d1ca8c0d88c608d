/* app.c - start and stop in the order of struct app's fields, and the life between: signals are
 * blocked in every thread and waited for by the main one, so that no handler runs inside anything.
 */
#include "app.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "auth.h"
#include "compute/gemm.h"
#include "compute/kernels.h"
#include "db/db.h"
#include "db/migrate.h"
#include "http/daemon.h"
#include "jobs/runner.h"
#include "log.h"
#include "model_cache.h"
#include "processors.h"

#define POOL_QUEUE_MAX 256 /* scoring batches that may wait; more is answered 503 */
#define DB_WAIT_MS     5000

/* Chunks of this size and more come from mmap and go back to the system when they are freed: a
 * training set must not stay with the process. Few arenas, because many threads allocate little. */
static void tune_malloc(void)
{
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
    mallopt(M_TRIM_THRESHOLD, 1024 * 1024);
    mallopt(M_ARENA_MAX, 4);
}

static void raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        log_event(LOG_WARN, "limit of open files not raised", "reason", "%s", strerror(errno),
                  NULL);
    }
}

static int fail(const char *what, const char *reason)
{
    log_event(LOG_ERROR, what, "reason", "%s", reason, NULL);
    return 1;
}

static void report_compute(const struct app *app)
{
    const char *core = seg_gemm_core_name(), *isa = seg_kernels_get()->isa;
    log_event(LOG_INFO, "compute ready", "workers", "%u", seg_pool_size(app->pool), "blas_core",
              "%s", core, "kernels", "%s", isa, NULL);
    const char *better = seg_gemm_better_core(core, isa);
    if (better == NULL) return;
    log_event(LOG_WARN, "the BLAS does not use all of this processor", "blas_core", "%s", core,
              "remedy", "set OPENBLAS_CORETYPE=%s", better, NULL);
}

static int start_compute(struct app *app)
{
    struct seg_error err = { "" };
    if (seg_gemm_init(&err) != SEG_OK) return fail("compute not started", err.text);
    unsigned n_workers = app->config->jobs.workers;
    if (n_workers == 0) n_workers = processors_count();
    if (n_workers > SEG_WORKERS_MAX) n_workers = SEG_WORKERS_MAX;
    enum seg_status st = seg_pool_new(n_workers, POOL_QUEUE_MAX, &app->pool, &err);
    if (st != SEG_OK) {
        return fail("compute not started", err.text[0] != '\0' ? err.text : seg_status_name(st));
    }
    report_compute(app);
    return 0;
}

static int start_database(struct app *app)
{
    const struct config *c = app->config;
    char sentence[512];
    if (migrate_check(c, sentence, sizeof sentence) != MIGRATE_CURRENT) {
        return fail("the database cannot be used", sentence);
    }
    app->db =
        db_pool_new(c, c->database.connections, c->database.statement_timeout_s, app->metrics);
    return app->db != NULL ? 0 : fail("database pool not made", "out of memory");
}

/* Tokens must be known before the first request, or all would be refused. */
static int start_auth(struct app *app)
{
    app->auth = auth_new(app->config->auth.mode);
    if (app->auth == NULL) return fail("tokens not loaded", "out of memory");
    struct db *db = db_pool_get(app->db, DB_WAIT_MS);
    if (db == NULL) return fail("tokens not loaded", "no database connection");
    enum db_status st = auth_refresh(app->auth, db);
    db_pool_put(app->db, db);
    return st == DB_ONE || st == DB_NONE ? 0 : fail("tokens not loaded", "the database refused");
}

static int start_all(struct app *app)
{
    app->metrics = metrics_new();
    if (app->metrics == NULL) return fail("metrics not made", "out of memory");
    if (start_compute(app) != 0 || start_database(app) != 0 || start_auth(app) != 0) return 1;
    app->models = model_cache_new(app);
    if (app->models == NULL) return fail("model cache not started", "out of memory");
    app->runner = job_runner_new(app);
    if (app->runner == NULL) return fail("job runner not started", "out of memory");
    app->http = http_daemon_start(app);
    return app->http != NULL ? 0 : 1; /* it has said why */
}

int app_start(struct app *app, const struct config *config)
{
    *app = (struct app){ .config = config };
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is a full disk */
    tune_malloc();
    raise_fd_limit();
    if (start_all(app) == 0) {
        log_event(LOG_INFO, "started", "version", "%s", SEGMENTD_VERSION, "port", "%u",
                  http_daemon_port(app->http), "auth", "%s",
                  config->auth.mode == AUTH_OFF ? "off" : "token", NULL);
        return 0;
    }
    app_stop(app);
    return 1;
}

void app_stop(struct app *app)
{
    atomic_store(&app->draining, true);
    http_daemon_stop(app->http);
    job_runner_free(app->runner);
    model_cache_free(app->models);
    auth_free(app->auth);
    if (app->db != NULL) db_pool_free(app->db);
    seg_pool_free(app->pool);
    metrics_free(app->metrics);
    *app = (struct app){ .config = app->config };
}

/* sd_notify(3) by hand: one datagram to $NOTIFY_SOCKET, whose first byte may be '@' for an abstract
 * address. Nobody listens: nothing happens. */
static void notify_supervisor(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (path == NULL || (path[0] != '/' && path[0] != '@')) return;
    size_t len = strlen(path);
    if (len >= sizeof address.sun_path) return;
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return;
    socklen_t address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address, address_len) <
        0) {
        log_event(LOG_WARN, "supervisor not notified", "reason", "%s", strerror(errno), NULL);
    }
    close(fd);
}

static void give_up(int number)
{
    (void)number;
    _exit(1);
}

/* The main thread may be anywhere in app_stop when the second signal comes. */
static void leave_at_next_signal(const sigset_t *signals)
{
    signal(SIGTERM, give_up);
    signal(SIGINT, give_up);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

int app_run(const struct config *config)
{
    struct app app;
    sigset_t signals;
    int number;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* threads inherit it */

    if (app_start(&app, config) != 0) return 1;
    notify_supervisor("READY=1");
    while (sigwait(&signals, &number) != 0) {
    }
    log_event(LOG_INFO, "stopping", "signal", "%s", number == SIGTERM ? "SIGTERM" : "SIGINT", NULL);
    notify_supervisor("STOPPING=1");
    leave_at_next_signal(&signals);
    app_stop(&app);
    log_event(LOG_INFO, "stopped", NULL);
    return 0;
}
