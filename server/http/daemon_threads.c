/* The I/O threads, and which connections they have. libmicrohttpd 0.9.75 runs no thread of its own:
 * with one it asks the kernel for at most 128 events at a time and, having got as many, for more
 * with the time to wait unchanged, so that exactly 128 requests, or 256, that came at one moment
 * stayed unanswered until the idle timeout. Called from a loop of ours it never waits. */
#include "http/daemon_private.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/connections.h"
#include "log.h"
#include "processors.h"

#define REFUSALS_TOLD_EVERY_NS INT64_C(10000000000)
/* Out of reach: daemon_take_connection counts, and says so to the client, where libmicrohttpd would
 * close the connection without a word. */
#define LIBRARY_CONNECTIONS_MAX ((unsigned)INT_MAX)
/* Of libmicrohttpd: bounds a request head. It clears them all, and what it read into once more, for
 * every request. */
#define CONNECTION_POOL_BYTES ((size_t)32 << 10)
#define POOL_INCREMENT_BYTES  ((size_t)8 << 10)
/* Every fifth connection goes to the thread that has the fewest: an odd number, so that with two
 * threads it is not always the same one's turn. */
#define FEWEST_EVERY 5

/* ---- connections are dealt out ---- */

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
        t->was_started = true;
        return;
    }
    atomic_fetch_sub(&t->n_connections, 1);
    if (*context != NULL) connections_remove(d->connections, *context);
    *context = NULL;
}

/* The thread for a new connection, or for one that comes to ask how we are, that one which has
 * nothing else to do. NULL: there are too many.
 *
 * Threads take turns: a busy one learns late which clients have gone, and dealt out by counts
 * alone, the connections of clients that come again all at once would go to the others. What closes
 * unevenly is made up for with every fifth. */
static struct io_thread *thread_for(struct http_daemon *d, bool is_probe)
{
    struct io_thread *probes = &d->io_threads[PROBE_THREAD];
    struct io_thread *next = &d->io_threads[PROBE_THREAD + 1 + d->turn], *fewest = next;
    unsigned n_all = 0, n_fewest = atomic_load(&next->n_connections);
    if (is_probe && atomic_load(&probes->n_connections) < d->n_probes_max) return probes;
    for (unsigned i = PROBE_THREAD + 1; i < d->n_io_threads; i++) {
        unsigned n = atomic_load(&d->io_threads[i].n_connections);
        n_all += n;
        if (n >= n_fewest) continue;
        n_fewest = n;
        fewest = &d->io_threads[i];
    }
    if (n_all >= d->n_connections_max) return NULL;
    if (++d->n_dealt % FEWEST_EVERY == 0 && fewest != next) return fewest;
    d->turn = (d->turn + 1) % (d->n_io_threads - PROBE_THREAD - 1);
    return next;
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

/* False when the pipe is full: the thread is 16,384 of them behind, and about to look. */
static bool post(struct io_thread *t, int fd)
{
    atomic_fetch_add(&t->n_posted, 1);
    if (write(t->post[1], &fd, sizeof(fd)) == (ssize_t)sizeof(fd)) return true;
    atomic_fetch_sub(&t->n_posted, 1);
    return false;
}

void daemon_wake(struct io_thread *t)
{
    post(t, -1);
}

bool daemon_take_connection(void *daemon, int fd, bool is_probe)
{
    struct http_daemon *d = daemon;
    struct io_thread *t = thread_for(d, is_probe);
    if (t != NULL) {
        atomic_fetch_add(&t->n_connections, 1);
        if (post(t, fd)) return true;
        atomic_fetch_sub(&t->n_connections, 1);
    }
    count_refusal(d);
    return false;
}

/* ---- a thread ---- */

/* Takes what was posted; false at the end of the pipe. */
static bool take_posted(struct io_thread *t)
{
    static const struct sockaddr nowhere; /* nobody asks where a client is */
    int fd;
    for (;;) {
        ssize_t n = read(t->post[0], &fd, sizeof(fd));
        if (n == 0) return false;
        if (n < 0) return true; /* there is no more yet */
        atomic_fetch_sub(&t->n_posted, 1);
        if (fd < 0) continue; /* a wake */
        t->was_started = false;
        MHD_add_connection(t->mhd, fd, &nowhere, sizeof(nowhere));
        if (!t->was_started) atomic_fetch_sub(&t->n_connections, 1); /* no memory: it is closed */
    }
}

static void wait_for_work(const struct io_thread *t, int epoll_fd)
{
    struct pollfd fds[] = { { .fd = epoll_fd, .events = POLLIN },
                            { .fd = t->post[0], .events = POLLIN } };
    MHD_UNSIGNED_LONG_LONG ms;
    int wait_ms = -1;
    if (MHD_get_timeout(t->mhd, &ms) == MHD_YES) wait_ms = ms < INT_MAX ? (int)ms : INT_MAX;
    poll(fds, 2, wait_ms);
}

/* While requests keep coming the thread asks for more at once, and waits when there was nothing. At
 * the end it serves what was handed over or resumed last. */
static void *io_main(void *arg)
{
    struct io_thread *t = arg;
    const int epoll_fd = MHD_get_daemon_info(t->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    bool goes_on;
    pthread_setname_np(pthread_self(),
                       t == &t->daemon->io_threads[PROBE_THREAD] ? "seg-probes" : "seg-io");
    do {
        goes_on = atomic_load(&t->n_posted) == 0 || take_posted(t);
        t->has_worked = false;
        MHD_run(t->mhd);
        if (goes_on && !t->has_worked) wait_for_work(t, epoll_fd);
    } while (goes_on);
    return NULL;
}

/* ---- start and stop ---- */

static bool start_library(struct io_thread *t)
{
    struct http_daemon *d = t->daemon;
    const struct config *c = d->app->config;
    t->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
        daemon_on_access, t, MHD_OPTION_CONNECTION_LIMIT, LIBRARY_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, c->http.idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_POOL_BYTES, MHD_OPTION_CONNECTION_MEMORY_INCREMENT, POOL_INCREMENT_BYTES,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, t, MHD_OPTION_NOTIFY_COMPLETED,
        daemon_on_completed, d, MHD_OPTION_URI_LOG_CALLBACK, daemon_on_uri, t, MHD_OPTION_END);
    return t->mhd != NULL;
}

/* I/O threads beside the probes' have no processor in common, if there are enough. The system looks
 * for a free one only while the machine has some to spare, and takes training for load: left alone
 * it puts two of them behind each other for milliseconds, while another processor does nothing but
 * train. */
static bool start_thread(struct http_daemon *d, unsigned i)
{
    struct io_thread *t = &d->io_threads[i];
    pthread_attr_t attr;
    cpu_set_t all, part;
    t->daemon = d;
    t->post[0] = t->post[1] = -1;
    if (pipe2(t->post, O_CLOEXEC | O_NONBLOCK) != 0 || !start_library(t)) return false;
    pthread_attr_init(&attr);
    if (i != PROBE_THREAD && sched_getaffinity(0, sizeof(all), &all) == 0) {
        processors_part(&all, i - PROBE_THREAD - 1, d->app->config->http.io_threads, &part);
        pthread_attr_setaffinity_np(&attr, sizeof(part), &part);
    }
    t->is_running = pthread_create(&t->thread, &attr, io_main, t) == 0;
    pthread_attr_destroy(&attr);
    return t->is_running;
}

bool daemon_start_threads(struct http_daemon *d)
{
    const unsigned n = d->app->config->http.io_threads + 1;
    bool ok = true;
    d->io_threads = seg_alloc_aligned(n, sizeof(*d->io_threads));
    if (d->io_threads == NULL) return false;
    memset(d->io_threads, 0, n * sizeof(*d->io_threads));
    while (ok && d->n_io_threads < n)
        ok = start_thread(d, d->n_io_threads++);
    return ok;
}

static void stop_thread(struct io_thread *t)
{
    atomic_fetch_add(&t->n_posted, 1); /* the end */
    if (t->post[1] >= 0) close(t->post[1]);
    if (t->is_running) pthread_join(t->thread, NULL);
    if (t->post[0] >= 0) close(t->post[0]);
    if (t->mhd != NULL) MHD_stop_daemon(t->mhd);
}

void daemon_stop_threads(struct http_daemon *d)
{
    for (unsigned i = 0; i < d->n_io_threads; i++)
        stop_thread(&d->io_threads[i]);
    seg_free(d->io_threads);
}
