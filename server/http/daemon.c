/* Start and stop. All suspended connections must be resumed before libmicrohttpd is stopped. */
#include "http/daemon_private.h"

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/alloc.h"
#include "http/acceptor.h"
#include "http/connections.h"
#include "http/db_threads.h"
#include "http/lingering.h"
#include "http/listen.h"
#include "http/router.h"
#include "log.h"

#define PROBE_CONNECTIONS_MAX 64
#define DB_QUEUE_MAX          256
#define DRAIN_MS              10000
/* For probes, connections that were refused, I/O threads, the database, models and the page. */
#define FILES_A_THREAD 3 /* libmicrohttpd's epoll and a pipe */
#define FILES_RESERVE  (PROBE_CONNECTIONS_MAX + LINGERING_MAX + 128)

/* Shares out the limit on open files, after raising it: where it is low, there are fewer
 * connections of each kind. */
static void share_files(struct http_daemon *d)
{
    struct rlimit limit;
    const struct config *c = d->app->config;
    unsigned wanted = c->http.connections_max;
    rlim_t reserve = FILES_RESERVE + FILES_A_THREAD * ((rlim_t)c->http.io_threads + 1);
    rlim_t need = wanted + reserve;
    d->n_connections_max = wanted;
    d->n_probes_max = PROBE_CONNECTIONS_MAX;
    d->n_lingering_max = LINGERING_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    if (limit.rlim_cur < need && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = need < limit.rlim_max ? need : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= need) return;
    if (reserve > limit.rlim_cur / 2) reserve = limit.rlim_cur / 2;
    d->n_connections_max = (unsigned)(limit.rlim_cur - reserve);
    d->n_probes_max = d->n_lingering_max = (unsigned)(reserve / 8 + 1);
    log_event(LOG_WARN, "fewer connections than configured: the limit on open files is low",
              "connections", "%u", d->n_connections_max, "open_files", "%llu",
              (unsigned long long)limit.rlim_cur, NULL);
}

struct http_daemon *http_daemon_start(struct app *app)
{
    const struct config *c = app->config;
    char sentence[256] = "out of memory, threads or files", address[192];
    const char *wrong_table = router_check();
    struct http_daemon *d = seg_calloc(1, sizeof(*d));
    if (d == NULL) goto fail;
    d->app = app;
    d->listen_fd = -1;
    share_files(d);
    if (wrong_table != NULL) goto fail;
    d->id_seed = (uint64_t)monotonic_ns() ^ (uint64_t)getpid() << 40 ^ (uint64_t)time(NULL) << 20;
    d->listen_fd = listen_open(c->http.listen, sentence, sizeof(sentence));
    if (d->listen_fd < 0) goto fail;
    d->port = listen_name(d->listen_fd, address, sizeof(address));
    for (size_t i = 0; i < N_ROUTES; i++)
        metrics_route(app->metrics, i, router_method_name(ROUTES[i].method), ROUTES[i].path);
    metrics_route(app->metrics, N_ROUTES, "-", "none");
    d->connections = connections_new(app->metrics);
    d->backlog =
        backlog_new(seg_pool_size(app->pool), c->limits.scoring_wait_ms, daemon_head_decided);
    d->db_threads = db_threads_start(app, c->database.connections, DB_QUEUE_MAX, daemon_db_done);
    if (d->connections == NULL || d->backlog == NULL || d->db_threads == NULL) goto fail;
    if (!daemon_start_threads(d)) goto fail;
    d->acceptor = acceptor_start(d->listen_fd, daemon_take_connection, daemon_write_refusal,
                                 d->n_lingering_max, d);
    if (d->acceptor == NULL) goto fail;
    log_event(LOG_INFO, "listening", "address", "%s", address, NULL);
    return d;
fail:
    log_event(LOG_ERROR, "cannot serve HTTP", "reason", "%s",
              wrong_table != NULL ? wrong_table : sentence, NULL);
    if (d == NULL) return NULL;
    daemon_stop_threads(d);
    db_threads_free(d->db_threads);
    backlog_free(d->backlog);
    connections_free(d->connections);
    if (d->listen_fd >= 0) listen_close(d->listen_fd, c->http.listen);
    seg_free(d);
    return NULL;
}

static void wait_for_zero(const atomic_uint *n, unsigned timeout_ms)
{
    const struct timespec nap = { .tv_nsec = 2000000 };
    for (unsigned ms = 0; atomic_load(n) > 0 && (timeout_ms == 0 || ms < timeout_ms); ms += 2)
        nanosleep(&nap, NULL);
}

void http_daemon_stop(struct http_daemon *d)
{
    if (d == NULL) return;
    atomic_store(&d->app->draining, true);
    acceptor_stop(d->acceptor);
    listen_close(d->listen_fd, d->app->config->http.listen);
    wait_for_zero(&d->n_open, DRAIN_MS);
    atomic_store(&d->stopping, true);
    backlog_stop(d->backlog);
    db_threads_stop(d->db_threads); /* queued ones are answered and resumed */
    wait_for_zero(&d->n_away, 0);   /* computing ones run to their end */
    daemon_stop_threads(d);
    db_threads_free(d->db_threads);
    backlog_free(d->backlog);
    connections_free(d->connections);
    seg_free(d);
}

unsigned http_daemon_port(const struct http_daemon *d)
{
    return d->port;
}
