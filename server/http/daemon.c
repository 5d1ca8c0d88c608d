/* The seam between libmicrohttpd 0.9.75 and us. What it taught: a connection may be suspended only
 * inside a callback, and a reply queued only inside the access handler, so workers store a result
 * and resume; a reply queued on the first call closes the connection, so refusals of requests
 * without a body wait for the second call; all suspended connections must be resumed before stop.
 */
#include "http/daemon.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/alloc.h"
#include "http/acceptor.h"
#include "http/admit.h"
#include "http/connections.h"
#include "http/db_threads.h"
#include "http/listen.h"
#include "http/reply_stream.h"
#include "http/router.h"
#include "log.h"

#define CONNECTIONS_RESERVE                                                                        \
    64 /* taken beyond the limit to say 503 and not to leave them hanging                          \
        */
#define SURPLUS_TIMEOUT_S 2
/* Of libmicrohttpd: bounds a request head. It clears them all, and what it read into once more, for
 * every request. */
#define CONNECTION_POOL_BYTES ((size_t)32 << 10)
#define POOL_INCREMENT_BYTES  ((size_t)8 << 10)
#define DISCARD_BYTES_MAX     ((uint64_t)16 << 20) /* of a refused body, to keep the connection */
#define DB_QUEUE_MAX          256
#define DRAIN_MS              10000
#define FILES_RESERVE         128 /* for the database, models and the page */

#define PROBE_THREAD          0 /* of the I/O threads: has the connections that ask how the process does */

/* An I/O thread: a libmicrohttpd of its own. */
struct io_thread {
    struct http_daemon *daemon;
    struct MHD_Daemon *mhd;
    atomic_uint n_connections; /* handed to it and not closed yet */
};

struct http_daemon {
    struct app *app;
    struct io_thread *io_threads; /* (n_io_threads), the first is PROBE_THREAD */
    unsigned n_io_threads;
    struct acceptor *acceptor;
    struct connections *connections;
    struct db_threads *db_threads;
    struct backlog *backlog;
    int listen_fd;
    unsigned port;
    atomic_uint n_open;   /* requests from their first byte to their last */
    atomic_uint n_away;   /* connections suspended, or about to be */
    atomic_bool stopping; /* nothing may be suspended any more */
    uint64_t id_seed;
    atomic_uint_least64_t id_next;
};

static struct connection *connection_of(struct MHD_Connection *con)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(con, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

static void set_deadline(struct MHD_Connection *con, unsigned timeout_s)
{
    struct connection *k = connection_of(con);
    if (k != NULL && !connection_is_surplus(k)) connection_deadline(k, timeout_s);
}

/* ---- a request moves to another thread and comes back ---- */

static void come_back(struct exchange *x)
{
    struct http_daemon *d = x->daemon;
    x->step = STEP_REPLY;
    MHD_resume_connection(x->connection); /* x may be gone after this */
    atomic_fetch_sub(&d->n_away, 1);
}

/* The handler, unless its client has waited too long already; or a reply to be compressed. */
static void compute_task(void *arg)
{
    struct exchange *x = arg;
    struct http_daemon *d = x->daemon;
    bool is_batch = x->is_large && x->reply.status == 0;
    x->rq.on_io_thread = false;
    if (is_batch && !backlog_begin(d->backlog, &x->ticket, monotonic_ns())) {
        reply_error(&x->rq, ERR_BUSY, "the batch waited for more than %u ms",
                    d->app->config->limits.scoring_wait_ms);
    } else if (x->reply.status == 0) {
        exchange_run(x);
        if (is_batch) backlog_done(d->backlog, &x->ticket, monotonic_ns());
    }
    reply_finish(x);
    log_set_request_id("");
    come_back(x);
}

/* Bytes of a body as work for a worker: a stream comes back to the queue after each piece. */
static uint64_t work_of(struct exchange *x)
{
    uint64_t len = x->rq.body.len;
    bool is_piecemeal = len > BODY_MEMORY_MAX && !request_is(&x->rq, "application/json") &&
                        !request_is(&x->rq, "application/octet-stream");
    return is_piecemeal ? BODY_MEMORY_MAX : len;
}

/* Hands a suspended exchange over. */
static void go_on(struct exchange *x)
{
    struct http_daemon *d = x->daemon;
    if (x->go == GO_COMPUTE && x->is_large && x->reply.status == 0)
        backlog_wait(d->backlog, &x->ticket, work_of(x), monotonic_ns());
    bool taken = x->go == GO_DB ? db_threads_push(d->db_threads, x)
                                : seg_pool_submit(d->app->pool, SEG_PRIORITY_SCORING, compute_task,
                                                  x) == SEG_OK;
    if (taken) return;
    if (x->reply.status == 0) reply_error(&x->rq, ERR_BUSY, NULL);
    reply_finish(x);
    come_back(x);
}

static void db_thread_done(struct exchange *x)
{
    if (x->go != GO_NOWHERE)
        go_on(x);
    else
        come_back(x);
}

/* True when the connection may be suspended now; then exactly one come_back or stream_back follows.
 */
static bool leave(struct http_daemon *d)
{
    atomic_fetch_add(&d->n_away, 1);
    if (!atomic_load(&d->stopping)) return true;
    atomic_fetch_sub(&d->n_away, 1);
    return false;
}

/* ---- sending ---- */

static void stream_back(struct exchange *x)
{
    struct http_daemon *d = x->daemon;
    MHD_resume_connection(x->connection);
    atomic_fetch_sub(&d->n_away, 1);
}

static void stream_task(void *arg)
{
    struct exchange *x = arg;
    log_set_request_id(x->rq.request_id);
    reply_stream_fill(x->reply.stream);
    log_set_request_id("");
    stream_back(x);
}

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct exchange *x = cls;
    struct http_daemon *d = x->daemon;
    (void)pos;
    switch (reply_stream_state(x->reply.stream)) {
    case STREAM_READY: {
        size_t n = reply_stream_take(x->reply.stream, buf, max);
        x->bytes_out += n;
        set_deadline(x->connection, d->app->config->http.body_timeout_s);
        return (ssize_t)n;
    }
    case STREAM_ENDED: return MHD_CONTENT_READER_END_OF_STREAM;
    case STREAM_BROKEN: return MHD_CONTENT_READER_END_WITH_ERROR;
    case STREAM_EMPTY: break;
    }
    if (!leave(d)) return MHD_CONTENT_READER_END_WITH_ERROR;
    set_deadline(x->connection, 0);
    MHD_suspend_connection(x->connection);
    if (seg_pool_submit(d->app->pool, SEG_PRIORITY_SCORING, stream_task, x) != SEG_OK)
        stream_task(x); /* the pool is full: this piece is made here, which slows this client down
                           and bounds the queue */
    return 0;
}

static struct MHD_Response *make_response(struct exchange *x)
{
    struct http_reply *r = &x->reply;
    if (r->stream != NULL)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 64 << 10, stream_read, x, NULL);
    struct MHD_Response *response =
        r->owned != NULL
            ? MHD_create_response_from_buffer_with_free_callback(r->len, r->owned, seg_free)
            : MHD_create_response_from_buffer(r->len, (void *)(uintptr_t)r->data,
                                              MHD_RESPMEM_PERSISTENT);
    if (response != NULL) r->owned = NULL;
    if (!x->is_head) x->bytes_out = r->len;
    return response;
}

static void add_headers(struct exchange *x, struct MHD_Response *response)
{
    const struct http_reply *r = &x->reply;
    char tag[300];
    bool success = r->status < 300 || r->status == 304;
    bool has_cache_control = false;
    MHD_add_response_header(response, "X-Request-Id", x->rq.request_id);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (x->traceparent != NULL) MHD_add_response_header(response, "traceparent", x->traceparent);
    if (r->type != NULL) {
        MHD_add_response_header(response, "Content-Type", r->type);
        MHD_add_response_header(response, "Vary", "Accept-Encoding");
    }
    if (r->gzipped) MHD_add_response_header(response, "Content-Encoding", "gzip");
    if (r->etag != NULL && success) {
        snprintf(tag, sizeof(tag), r->gzipped ? "\"%s-gzip\"" : "\"%s\"", r->etag);
        MHD_add_response_header(response, "ETag", tag);
    }
    for (size_t i = 0; i < r->n_headers; i++) {
        MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
        has_cache_control |= strcmp(r->headers[i].name, "Cache-Control") == 0;
    }
    if (!has_cache_control)
        MHD_add_response_header(response, "Cache-Control",
                                r->etag != NULL && success ? "no-cache" : "no-store");
    if (x->close || atomic_load(&x->rq.app->draining))
        MHD_add_response_header(response, "Connection", "close");
}

static enum MHD_Result queue_reply(struct exchange *x, struct MHD_Connection *con)
{
    const struct http_daemon *d = x->daemon;
    struct MHD_Response *response = make_response(x);
    if (response == NULL) return MHD_NO;
    add_headers(x, response);
    x->step = STEP_SENT;
    set_deadline(con, d->app->config->http.body_timeout_s);
    enum MHD_Result rc = MHD_queue_response(con, x->reply.status, response);
    MHD_destroy_response(response);
    return rc;
}

/* ---- receiving ---- */

static enum MHD_Result collect_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                      size_t name_len, const char *value, size_t value_len)
{
    struct exchange *x = cls;
    (void)kind;
    if (x->n_headers == EXCHANGE_HEADERS_MAX) {
        x->has_more_headers = true; /* refused by admit */
        return MHD_NO;
    }
    /* A NUL inside would end the string early: give admit something that it refuses. */
    bool whole =
        name != NULL && strlen(name) == name_len && (value == NULL || strlen(value) == value_len);
    x->headers[x->n_headers++] =
        (struct http_header){ whole ? name : "", value != NULL ? value : "" };
    return MHD_YES;
}

static void make_request_id(struct http_daemon *d, char out[static 17])
{
    /* splitmix64 of a counter from a random start: distinct in a process, unlike in two. */
    uint64_t z = d->id_seed + atomic_fetch_add(&d->id_next, 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    for (unsigned i = 0; i < 16; i++)
        out[i] = "0123456789abcdef"[z >> (60 - 4 * i) & 15];
    out[16] = '\0';
}

/* First sight of a request: its line is in. What this returns becomes *con_cls. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *con)
{
    struct http_daemon *d = cls;
    struct exchange *x = exchange_new(d->app);
    if (x == NULL) return NULL;
    atomic_fetch_add(&d->n_open, 1);
    x->daemon = d;
    x->connection = con;
    make_request_id(d, x->rq.request_id);
    size_t len = strlen(uri);
    if (len <= URI_BYTES_MAX) x->raw_uri = seg_arena_strndup(&x->rq.arena, uri, len);
    set_deadline(con, d->app->config->http.header_timeout_s);
    return x;
}

/* Whether a batch comes that no I/O thread will score. */
static bool is_large(struct exchange *x)
{
    bool is_small =
        x->expected > 0 && x->expected <= request_inline_bytes(&x->rq) && x->sink.inflate == NULL;
    return x->rq.route->runs == RUNS_SCORING && x->has_body && !is_small;
}

/* The head was refused, with the reply made. */
static enum MHD_Result refuse_head(struct exchange *x, struct MHD_Connection *con, bool close)
{
    const struct http_daemon *d = x->daemon;
    bool expects = request_header(&x->rq, "Expect") != NULL;
    set_deadline(con, d->app->config->http.body_timeout_s);
    x->step = STEP_DISCARD;
    x->close = close || (x->has_body && (expects || x->expected > DISCARD_BYTES_MAX));
    reply_finish(x);
    return x->close ? queue_reply(x, con) : MHD_YES;
}

static enum MHD_Result take_head(struct exchange *x, struct MHD_Connection *con)
{
    const struct http_daemon *d = x->daemon;
    set_deadline(con, d->app->config->http.body_timeout_s);
    x->step = STEP_BODY;
    return MHD_YES;
}

/* The doorman's word about a batch that waited at its head. */
static void head_decided(struct backlog_ticket *t)
{
    struct exchange *x = t->owner;
    struct http_daemon *d = x->daemon;
    MHD_resume_connection(x->connection); /* x may be gone after this */
    atomic_fetch_sub(&d->n_away, 1);
}

/* Back from the backlog's queue, or not let into it. */
static enum MHD_Result on_decision(struct exchange *x, struct MHD_Connection *con)
{
    const struct http_daemon *d = x->daemon;
    if (x->ticket.is_let_in) return take_head(x, con);
    log_set_request_id(x->rq.request_id);
    reply_error(&x->rq, ERR_BUSY, "large batches have to wait for more than %u ms",
                d->app->config->limits.scoring_wait_ms);
    return refuse_head(x, con, false);
}

static enum MHD_Result come_to_backlog(struct exchange *x, struct MHD_Connection *con)
{
    struct http_daemon *d = x->daemon;
    x->is_large = true;
    x->ticket = (struct backlog_ticket){ .owner = x };
    if (backlog_come(d->backlog, &x->ticket, x->expected, monotonic_ns())) return take_head(x, con);
    if (!leave(d)) return on_decision(x, con);
    set_deadline(con, 0);
    x->step = STEP_QUEUED;
    MHD_suspend_connection(con);
    backlog_queue(d->backlog, &x->ticket);
    return MHD_YES;
}

static enum MHD_Result on_head(const struct io_thread *t, struct exchange *x,
                               struct MHD_Connection *con, const char *method, const char *version)
{
    struct http_daemon *d = t->daemon;
    struct connection *k = connection_of(con);
    MHD_get_connection_values_n(con, MHD_HEADER_KIND, collect_header, x);
    enum admission a = admit(x, method, version);
    bool at_probe_thread = t == &d->io_threads[PROBE_THREAD];
    bool is_probe = x->rq.route != NULL && x->rq.route->runs == RUNS_INLINE;
    if (k == NULL || (connection_is_surplus(k) && !(at_probe_thread && is_probe))) {
        reply_clear(x);
        reply_error(&x->rq, ERR_BUSY, "too many connections");
        a = ADMIT_CLOSE;
    }
    if (a != ADMIT_TAKE) return refuse_head(x, con, a == ADMIT_CLOSE);
    x->close = at_probe_thread && !is_probe; /* to come again through the other door */
    return is_large(x) ? come_to_backlog(x, con) : take_head(x, con);
}

/* libmicrohttpd cannot answer in the middle of a body. When a client goes on sending for long after
 * its request was refused, the answer is written here and the connection cut. */
static enum MHD_Result cut(struct exchange *x, struct MHD_Connection *con)
{
    char text[1024];
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(con, MHD_CONNECTION_INFO_CONNECTION_FD);
    int n = snprintf(text, sizeof(text),
                     "HTTP/1.1 %u Refused\r\nConnection: close\r\nContent-Type: %s\r\n"
                     "X-Request-Id: %s\r\nContent-Length: %zu\r\n\r\n%.*s",
                     x->reply.status, x->reply.type, x->rq.request_id, x->reply.len,
                     (int)x->reply.len, x->reply.data);
    if (info != NULL && n > 0 && (size_t)n < sizeof(text) && !x->reply.gzipped) {
        ssize_t sent = send(info->connect_fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == n) shutdown(info->connect_fd, SHUT_WR);
    }
    return MHD_NO;
}

static void refuse_body(struct exchange *x, enum http_error e)
{
    if (x->sink.why[0] != '\0')
        reply_error(&x->rq, e, "%s", x->sink.why);
    else
        reply_error(&x->rq, e, NULL);
}

static enum MHD_Result on_body(struct exchange *x, struct MHD_Connection *con, const char *data,
                               size_t *size)
{
    size_t len = *size;
    *size = 0;
    if (x->step == STEP_DISCARD) {
        x->discarded += len;
        return x->discarded > DISCARD_BYTES_MAX ? cut(x, con) : MHD_YES;
    }
    struct http_daemon *d = x->daemon;
    enum http_error e = body_sink_write(&x->sink, data, len, x->expected);
    if (x->is_large) backlog_hold(d->backlog, &x->ticket, x->sink.fd < 0 ? x->sink.len : 0);
    if (e == BODY_TAKEN) return MHD_YES;
    body_sink_release(&x->sink);
    refuse_body(x, e);
    x->accepts_gzip = false;
    reply_finish(x);
    x->step = STEP_DISCARD;
    return MHD_YES;
}

/* The whole request is in: run its handler, here or elsewhere. */
static enum MHD_Result on_end(struct exchange *x, struct MHD_Connection *con)
{
    struct http_daemon *d = x->daemon;
    set_deadline(con, 0);
    if (x->step == STEP_DISCARD) return queue_reply(x, con);
    enum http_error e = body_sink_end(&x->sink, &x->rq.body);
    body_sink_release(&x->sink);
    if (e != BODY_TAKEN) {
        refuse_body(x, e);
        reply_finish(x);
        return queue_reply(x, con);
    }
    if (x->rq.route->runs == RUNS_ON_DB) {
        x->go = GO_DB;
    } else {
        x->rq.on_io_thread = true;
        exchange_run(x);
        log_set_request_id("");
        if (x->go == GO_NOWHERE) return queue_reply(x, con);
    }
    x->rq.on_io_thread = false;
    if (!leave(d)) {
        if (x->reply.status == 0) reply_error(&x->rq, ERR_DRAINING, NULL);
        reply_finish(x);
        return queue_reply(x, con);
    }
    x->step = STEP_AWAY;
    MHD_suspend_connection(con);
    go_on(x);
    return MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *con, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **con_cls)
{
    struct exchange *x = *con_cls;
    (void)url; /* decoded before it was split: see uri.h */
    if (x == NULL) return MHD_NO;
    switch (x->step) {
    case STEP_HEAD: return on_head(cls, x, con, method, version);
    case STEP_QUEUED: return on_decision(x, con);
    case STEP_BODY:
    case STEP_DISCARD: return *size > 0 ? on_body(x, con, data, size) : on_end(x, con);
    case STEP_REPLY: return queue_reply(x, con);
    case STEP_AWAY:
    case STEP_SENT: break;
    }
    return MHD_YES;
}

/* ---- the end of a request, the ends of a connection ---- */

static void log_access(const struct exchange *x, double seconds)
{
    const struct route *r = x->rq.route;
    enum log_level level =
        r != NULL && r->runs == RUNS_SCORING && x->reply.status < 400 ? LOG_DEBUG : LOG_INFO;
    log_event(level, x->reply.status != 0 ? "request" : "request aborted", "method", "%s",
              r != NULL ? (x->is_head ? "HEAD" : router_method_name(r->method)) : "-", "route",
              "%s", r != NULL ? r->path : "-", "status", "%u", x->reply.status, "dur_ms", "%.1f",
              seconds * 1e3, "bytes", "%llu", (unsigned long long)x->bytes_out,
              x->traceparent != NULL ? "traceparent" : NULL, "%s", x->traceparent, NULL);
}

static void on_completed(void *cls, struct MHD_Connection *con, void **con_cls,
                         enum MHD_RequestTerminationCode how)
{
    struct http_daemon *d = cls;
    struct exchange *x = *con_cls;
    const struct config *c = d->app->config;
    (void)how;
    if (x == NULL) return;
    *con_cls = NULL;
    double seconds = (double)(monotonic_ns() - x->started_ns) / 1e9;
    size_t route = x->rq.route != NULL ? (size_t)(x->rq.route - ROUTES) : N_ROUTES;
    if (x->step != STEP_SENT) x->reply.status = 0;
    log_set_request_id(x->rq.request_id);
    log_access(x, seconds);
    log_set_request_id("");
    if (x->reply.status != 0) metrics_request(d->app->metrics, route, x->reply.status, seconds);
    if (x->is_large) backlog_leave(d->backlog, &x->ticket);
    exchange_free(x);
    set_deadline(con, c->http.idle_timeout_s + c->http.header_timeout_s);
    atomic_fetch_sub(&d->n_open, 1);
}

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
        if (k != NULL && connection_is_surplus(k)) connection_deadline(k, SURPLUS_TIMEOUT_S);
        *context = k;
        return;
    }
    atomic_fetch_sub(&t->n_connections, 1);
    if (*context != NULL) connections_remove(d->connections, *context);
    *context = NULL;
}

/* A new connection goes to the thread that has the fewest; one that comes to ask how we are, to the
 * one that has nothing else to do. */
static void take_connection(void *ctx, int fd, const struct sockaddr *from, socklen_t len,
                            bool is_probe)
{
    struct http_daemon *d = ctx;
    struct io_thread *least = &d->io_threads[is_probe ? PROBE_THREAD : 1];
    for (unsigned i = 2; i < d->n_io_threads && !is_probe; i++)
        if (atomic_load(&d->io_threads[i].n_connections) < atomic_load(&least->n_connections))
            least = &d->io_threads[i];
    atomic_fetch_add(&least->n_connections, 1);
    if (MHD_add_connection(least->mhd, fd, from, len) != MHD_YES) /* which closed fd */
        atomic_fetch_sub(&least->n_connections, 1);
}

/* ---- start and stop ---- */

/* Connections that the limit on open files has room for, after raising it. */
static unsigned connections_possible(unsigned wanted)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)wanted + CONNECTIONS_RESERVE + FILES_RESERVE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
    if (limit.rlim_cur < need && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = need < limit.rlim_max ? need : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= need) return wanted;
    rlim_t fixed = limit.rlim_cur / 2 < CONNECTIONS_RESERVE + FILES_RESERVE
                       ? limit.rlim_cur / 2
                       : CONNECTIONS_RESERVE + FILES_RESERVE;
    unsigned possible = (unsigned)(limit.rlim_cur - fixed);
    log_event(LOG_WARN, "fewer connections than configured: the limit on open files is low",
              "connections", "%u", possible, "open_files", "%llu",
              (unsigned long long)limit.rlim_cur, NULL);
    return possible;
}

static bool start_io_thread(struct io_thread *t, struct http_daemon *d, unsigned n_connections)
{
    const struct config *c = d->app->config;
    t->daemon = d;
    t->mhd = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                                  MHD_USE_ITC | MHD_USE_NO_LISTEN_SOCKET,
                              0, NULL, NULL, on_access, t, MHD_OPTION_CONNECTION_LIMIT,
                              n_connections + CONNECTIONS_RESERVE, MHD_OPTION_CONNECTION_TIMEOUT,
                              c->http.idle_timeout_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                              CONNECTION_POOL_BYTES, MHD_OPTION_CONNECTION_MEMORY_INCREMENT,
                              POOL_INCREMENT_BYTES, MHD_OPTION_NOTIFY_CONNECTION, on_connection, t,
                              MHD_OPTION_NOTIFY_COMPLETED, on_completed, d,
                              MHD_OPTION_URI_LOG_CALLBACK, on_uri, d, MHD_OPTION_END);
    return t->mhd != NULL;
}

static void stop_io_threads(struct http_daemon *d)
{
    for (unsigned i = 0; i < d->n_io_threads; i++)
        MHD_stop_daemon(d->io_threads[i].mhd);
    seg_free(d->io_threads);
}

/* The I/O threads, then who feeds them. */
static bool start_threads(struct http_daemon *d, unsigned n_connections)
{
    unsigned n = d->app->config->http.io_threads + 1;
    d->io_threads = seg_calloc(n, sizeof(*d->io_threads));
    if (d->io_threads == NULL) return false;
    for (; d->n_io_threads < n; d->n_io_threads++)
        if (!start_io_thread(&d->io_threads[d->n_io_threads], d, n_connections)) return false;
    d->acceptor = acceptor_start(d->listen_fd, take_connection, d);
    return d->acceptor != NULL;
}

struct http_daemon *http_daemon_start(struct app *app)
{
    const struct config *c = app->config;
    char sentence[256] = "out of memory or threads", address[192];
    const char *wrong_table = router_check();
    unsigned n_connections = connections_possible(c->http.connections_max);
    struct http_daemon *d = seg_calloc(1, sizeof(*d));
    if (d == NULL || wrong_table != NULL) goto fail;
    d->app = app;
    d->id_seed = (uint64_t)monotonic_ns() ^ (uint64_t)getpid() << 40 ^ (uint64_t)time(NULL) << 20;
    d->listen_fd = listen_open(c->http.listen, sentence, sizeof(sentence));
    if (d->listen_fd < 0) goto fail;
    d->port = listen_name(d->listen_fd, address, sizeof(address));
    for (size_t i = 0; i < N_ROUTES; i++)
        metrics_route(app->metrics, i, router_method_name(ROUTES[i].method), ROUTES[i].path);
    metrics_route(app->metrics, N_ROUTES, "-", "none");
    d->connections = connections_new(n_connections, app->metrics);
    d->backlog = backlog_new(seg_pool_size(app->pool), c->limits.scoring_wait_ms, head_decided);
    d->db_threads = db_threads_start(app, c->database.connections, DB_QUEUE_MAX, db_thread_done);
    if (d->connections == NULL || d->backlog == NULL || d->db_threads == NULL) goto fail;
    if (!start_threads(d, n_connections)) goto fail;
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
