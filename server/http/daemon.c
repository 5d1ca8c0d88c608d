/* The threads of the server and the connections that they have. All suspended connections must be
 * resumed before libmicrohttpd is stopped. */
#include "http/daemon_private.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
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
#include "processors.h"

#define PROBE_CONNECTIONS_MAX  64
#define REFUSALS_TOLD_EVERY_NS INT64_C(10000000000)
/* libmicrohttpd 0.9.75 locks an I/O thread up for good when a connection that was handed over turns
 * out to be over its limit: that is out of reach, and take_connection counts. */
#define LIBRARY_CONNECTIONS_MAX ((unsigned)INT_MAX)
/* Of libmicrohttpd: bounds a request head. It clears them all, and what it read into once more, for
 * every request. */
#define CONNECTION_POOL_BYTES ((size_t)32 << 10)
#define POOL_INCREMENT_BYTES  ((size_t)8 << 10)
#define DB_QUEUE_MAX          256
#define DRAIN_MS              10000
/* For probes, connections that were refused, the database, models and the page. */
#define FILES_RESERVE (PROBE_CONNECTIONS_MAX + LINGERING_MAX + 128)

static void on_connection(void *cls, struct MHD_Connection *con, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    struct io_thread *t = cls;
    struct http_daemon *d = t->daemon;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(con, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct connection *k = connections_add(d->connections, info->connect_fd,
                                               d->app->config->http.header_timeout_s);
        *context = k;
        return;
    }
    atomic_fetch_sub(&t->n_connections, 1);
    if (*context != NULL) connections_remove(d->connections, *context);
    *context = NULL;
}

/* The thread for a new connection: that one which has the fewest, or for one that comes to ask how
 * we are, that one which has nothing else to do. NULL: there are too many. */
static struct io_thread *thread_for(struct http_daemon *d, bool is_probe)
{
    struct io_thread *probes = &d->io_threads[PROBE_THREAD], *least = NULL;
    unsigned n_all = 0, n_least = 0;
    if (is_probe && atomic_load(&probes->n_connections) < d->n_probes_max) return probes;
    for (unsigned i = PROBE_THREAD + 1; i < d->n_io_threads; i++) {
        unsigned n = atomic_load(&d->io_threads[i].n_connections);
        n_all += n;
        if (least != NULL && n >= n_least) continue;
        n_least = n;
        least = &d->io_threads[i];
    }
    return n_all < d->n_connections_max ? least : NULL;
}

/* A refused connection has no line of its own in the log: there may be thousands a second. */
static void count_refusal(struct http_daemon *d)
{
    int64_t now_ns = monotonic_ns();
    metrics_add(d->app->metrics, METRIC_CONNECTIONS_REFUSED, 1);
    d->n_refused++;
    if (now_ns < d->refusals_told_ns + REFUSALS_TOLD_EVERY_NS) return;
    log_event(LOG_WARN, "connections refused: there are too many", "refused", "%u", d->n_refused,
              "connections_max", "%u", d->n_connections_max, NULL);
    d->refusals_told_ns = now_ns;
    d->n_refused = 0;
}

static bool take_connection(void *ctx, int fd, const struct sockaddr *from, socklen_t len,
                            bool is_probe)
{
    struct http_daemon *d = ctx;
    struct io_thread *t = thread_for(d, is_probe);
    if (t == NULL) {
        count_refusal(d);
        return false;
    }
    atomic_fetch_add(&t->n_connections, 1);
    if (MHD_add_connection(t->mhd, fd, from, len) != MHD_YES) /* which closed fd */
        atomic_fetch_sub(&t->n_connections, 1);
    return true;
}

/* ---- start and stop ---- */

/* Shares out the limit on open files, after raising it: where it is low, there are fewer
 * connections of each kind. */
static void share_files(struct http_daemon *d)
{
    struct rlimit limit;
    unsigned wanted = d->app->config->http.connections_max;
    rlim_t need = (rlim_t)wanted + FILES_RESERVE, reserve = FILES_RESERVE;
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

static bool start_io_thread(struct io_thread *t, struct http_daemon *d)
{
    const struct config *c = d->app->config;
    t->daemon = d;
    t->mhd = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
            MHD_USE_NO_LISTEN_SOCKET,
        0, NULL, NULL, daemon_on_access, t, MHD_OPTION_CONNECTION_LIMIT, LIBRARY_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, c->http.idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_POOL_BYTES, MHD_OPTION_CONNECTION_MEMORY_INCREMENT, POOL_INCREMENT_BYTES,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, t, MHD_OPTION_NOTIFY_COMPLETED,
        daemon_on_completed, d, MHD_OPTION_URI_LOG_CALLBACK, daemon_on_uri, d, MHD_OPTION_END);
    return t->mhd != NULL;
}

static void stop_io_threads(struct http_daemon *d)
{
    for (unsigned i = 0; i < d->n_io_threads; i++)
        MHD_stop_daemon(d->io_threads[i].mhd);
    seg_free(d->io_threads);
}

/* I/O threads beside the probes' have no processor in common, if there are enough. The system looks
 * for a free one only while the machine has some to spare, and takes training for load: left alone
 * it puts two of them behind each other for milliseconds, while another processor does nothing but
 * train. libmicrohttpd makes the threads, which inherit where the calling one may run. */
static void *start_io_threads(void *arg)
{
    struct http_daemon *d = arg;
    const unsigned n = d->app->config->http.io_threads;
    cpu_set_t all, part;
    bool is_known = sched_getaffinity(0, sizeof(all), &all) == 0;
    for (; d->n_io_threads <= n; d->n_io_threads++) {
        unsigned i = d->n_io_threads;
        if (is_known && i != PROBE_THREAD) {
            processors_part(&all, i - PROBE_THREAD - 1, n, &part);
            sched_setaffinity(0, sizeof(part), &part);
        }
        if (!start_io_thread(&d->io_threads[i], d)) break;
    }
    return NULL;
}

/* The I/O threads, then who feeds them. */
static bool start_threads(struct http_daemon *d)
{
    const unsigned n = d->app->config->http.io_threads + 1;
    pthread_t starter; /* the kernel remembers a choice of processors, even of all: not for us */
    d->io_threads = seg_calloc(n, sizeof(*d->io_threads));
    if (d->io_threads == NULL) return false;
    if (pthread_create(&starter, NULL, start_io_threads, d) != 0) return false;
    pthread_join(starter, NULL);
    if (d->n_io_threads < n) return false;
    d->acceptor =
        acceptor_start(d->listen_fd, take_connection, daemon_write_refusal, d->n_lingering_max, d);
    return d->acceptor != NULL;
}

struct http_daemon *http_daemon_start(struct app *app)
{
    const struct config *c = app->config;
    char sentence[256] = "out of memory or threads", address[192];
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
    if (!start_threads(d)) goto fail;
    log_event(LOG_INFO, "listening", "address", "%s", address, NULL);
    return d;
fail:
    log_event(LOG_ERROR, "cannot serve HTTP", "reason", "%s",
              wrong_table != NULL ? wrong_table : sentence, NULL);
    if (d == NULL) return NULL;
    stop_io_threads(d);
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
    stop_io_threads(d);
    db_threads_free(d->db_threads);
    backlog_free(d->backlog);
    connections_free(d->connections);
    seg_free(d);
}

unsigned http_daemon_port(const struct http_daemon *d)
{
    return d->port;
}
