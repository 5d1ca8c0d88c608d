/* A request from its first line to its log line. What libmicrohttpd 0.9.75 taught: a connection may
 * be suspended only inside a callback, and a reply queued only inside the access handler, so
 * workers store a result and resume; a reply queued on the first call closes the connection, so
 * refusals of requests without a body wait for the second call. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "http/acceptor.h"
#include "http/admit.h"
#include "http/connections.h"
#include "http/daemon_private.h"
#include "http/db_threads.h"
#include "http/router.h"
#include "log.h"

#define DISCARD_BYTES_MAX ((uint64_t)16 << 20) /* of a refused body, to keep the connection */

static struct connection *connection_of(struct MHD_Connection *con)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(con, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

void daemon_deadline(struct MHD_Connection *con, unsigned timeout_s)
{
    struct connection *k = connection_of(con);
    if (k != NULL) connection_deadline(k, timeout_s);
}

/* ---- a request moves to another thread and comes back ---- */

bool daemon_leave(struct http_daemon *d)
{
    atomic_fetch_add(&d->n_away, 1);
    if (!atomic_load(&d->stopping)) return true;
    atomic_fetch_sub(&d->n_away, 1);
    return false;
}

void daemon_return(struct exchange *x)
{
    struct http_daemon *d = daemon_of(x);
    struct io_thread *t = x->io_thread;
    MHD_resume_connection(x->connection); /* x may be gone after this */
    daemon_wake(t);
    atomic_fetch_sub(&d->n_away, 1);
}

/* Back with a reply. */
static void come_back(struct exchange *x)
{
    x->step = STEP_REPLY;
    daemon_return(x);
}

/* The handler, unless its client has waited too long already; or a reply to be compressed. */
static void compute_task(void *arg)
{
    struct exchange *x = arg;
    struct http_daemon *d = daemon_of(x);
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

/* Whether the body of a scoring request is read piece by piece, while its reply is sent. */
static bool is_piecemeal(struct exchange *x)
{
    return !request_is(&x->rq, "application/json") &&
           !request_is(&x->rq, "application/octet-stream");
}

/* Bytes of a body as work for a worker: a stream comes back to the queue after each piece. */
static uint64_t work_of(struct exchange *x)
{
    uint64_t len = x->rq.body.len;
    return len > BODY_MEMORY_MAX && is_piecemeal(x) ? BODY_MEMORY_MAX : len;
}

/* Hands a suspended exchange over. */
static void go_on(struct exchange *x)
{
    struct http_daemon *d = daemon_of(x);
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

void daemon_db_done(struct exchange *x)
{
    if (x->go != GO_NOWHERE)
        go_on(x);
    else
        come_back(x);
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

void daemon_make_request_id(struct http_daemon *d, char ret_id[static 17])
{
    /* splitmix64 of a counter from a random start: distinct in a process, unlike in two. */
    uint64_t z = d->id_seed + atomic_fetch_add(&d->id_next, 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    for (unsigned i = 0; i < 16; i++)
        ret_id[i] = "0123456789abcdef"[z >> (60 - 4 * i) & 15];
    ret_id[16] = '\0';
}

/* First sight of a request: its line is in. What this returns becomes *con_cls. */
void *daemon_on_uri(void *cls, const char *uri, struct MHD_Connection *con)
{
    struct io_thread *t = cls;
    struct http_daemon *d = t->daemon;
    struct exchange *x = exchange_new(d->app);
    if (x == NULL) return NULL;
    atomic_fetch_add(&d->n_open, 1);
    x->io_thread = t;
    x->connection = con;
    daemon_make_request_id(d, x->rq.request_id);
    size_t len = strlen(uri);
    if (len <= URI_BYTES_MAX) x->raw_uri = seg_arena_strndup(&x->rq.arena, uri, len);
    daemon_deadline(con, d->app->config->http.header_timeout_s);
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
    const struct http_daemon *d = daemon_of(x);
    bool expects = request_header(&x->rq, "Expect") != NULL;
    daemon_deadline(con, d->app->config->http.body_timeout_s);
    x->step = STEP_DISCARD;
    x->close = close || (x->has_body && (expects || x->expected > DISCARD_BYTES_MAX));
    reply_finish(x);
    return x->close ? daemon_queue_reply(x, con) : MHD_YES;
}

static enum MHD_Result take_head(struct exchange *x, struct MHD_Connection *con)
{
    const struct http_daemon *d = daemon_of(x);
    daemon_deadline(con, d->app->config->http.body_timeout_s);
    x->step = STEP_BODY;
    return MHD_YES;
}

/* The doorman's word about a batch that waited at its head. */
void daemon_head_decided(struct backlog_ticket *t)
{
    daemon_return(t->owner);
}

/* Back from the backlog's queue, or not let into it. */
static enum MHD_Result on_decision(struct exchange *x, struct MHD_Connection *con)
{
    const struct http_daemon *d = daemon_of(x);
    if (x->ticket.is_let_in) return take_head(x, con);
    log_set_request_id(x->rq.request_id);
    reply_error(&x->rq, ERR_BUSY, "large batches have to wait for more than %u ms",
                d->app->config->limits.scoring_wait_ms);
    return refuse_head(x, con, false);
}

static enum MHD_Result come_to_backlog(struct exchange *x, struct MHD_Connection *con)
{
    struct http_daemon *d = daemon_of(x);
    x->is_large = true;
    x->ticket = (struct backlog_ticket){ .owner = x };
    if (backlog_come(d->backlog, &x->ticket, x->expected, monotonic_ns())) return take_head(x, con);
    if (!daemon_leave(d)) return on_decision(x, con);
    daemon_deadline(con, 0);
    x->step = STEP_QUEUED;
    MHD_suspend_connection(con);
    backlog_queue(d->backlog, &x->ticket);
    return MHD_YES;
}

static enum MHD_Result on_head(const struct io_thread *t, struct exchange *x,
                               struct MHD_Connection *con, const char *method, const char *version)
{
    struct http_daemon *d = t->daemon;
    MHD_get_connection_values_n(con, MHD_HEADER_KIND, collect_header, x);
    enum admission a = admit(x, method, version);
    bool at_probe_thread = t == &d->io_threads[PROBE_THREAD];
    bool is_probe = x->rq.route != NULL && x->rq.route->runs == RUNS_INLINE;
    if (connection_of(con) == NULL) { /* no memory for it */
        reply_clear(x);
        reply_error(&x->rq, ERR_BUSY, NULL);
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
    char text[REFUSAL_TEXT_MAX];
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(con, MHD_CONNECTION_INFO_CONNECTION_FD);
    size_t n = daemon_write_reply(x, text, sizeof(text));
    if (info != NULL && n > 0) {
        ssize_t sent = send(info->connect_fd, text, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == (ssize_t)n) shutdown(info->connect_fd, SHUT_WR);
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

/* Whether the len bytes that came are the whole of a small batch. */
static bool came_whole(struct exchange *x, size_t len)
{
    return x->rq.route->runs == RUNS_SCORING && !x->is_large && x->sink.inflate == NULL &&
           len == x->expected && !is_piecemeal(x);
}

/* Runs the handler on the calling I/O thread. */
static void run_here(struct exchange *x)
{
    x->rq.on_io_thread = true;
    exchange_run(x);
    x->rq.on_io_thread = false;
    log_set_request_id("");
}

/* Scores a body where libmicrohttpd has read it to. False, with nothing replied: it has to be kept,
 * since the request goes elsewhere. */
static bool run_in_place(struct exchange *x, const char *data, size_t len)
{
    x->rq.body = (struct http_body){ .data = data, .fd = -1, .len = len };
    run_here(x);
    x->rq.body = (struct http_body){ .fd = -1 };
    if (x->go == GO_NOWHERE) x->step = STEP_REPLY;
    return x->reply.status != 0;
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
    struct http_daemon *d = daemon_of(x);
    if (came_whole(x, len) && run_in_place(x, data, len)) return MHD_YES;
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
    struct http_daemon *d = daemon_of(x);
    daemon_deadline(con, 0);
    if (x->step == STEP_DISCARD) return daemon_queue_reply(x, con);
    enum http_error e = body_sink_end(&x->sink, &x->rq.body);
    body_sink_release(&x->sink);
    if (e != BODY_TAKEN) {
        refuse_body(x, e);
        reply_finish(x);
        return daemon_queue_reply(x, con);
    }
    if (x->rq.route->runs == RUNS_ON_DB) {
        x->go = GO_DB;
    } else if (x->go == GO_NOWHERE) {
        run_here(x);
        if (x->go == GO_NOWHERE) return daemon_queue_reply(x, con);
    }
    if (!daemon_leave(d)) {
        if (x->reply.status == 0) reply_error(&x->rq, ERR_DRAINING, NULL);
        reply_finish(x);
        return daemon_queue_reply(x, con);
    }
    x->step = STEP_AWAY;
    MHD_suspend_connection(con);
    go_on(x);
    return MHD_YES;
}

enum MHD_Result daemon_on_access(void *cls, struct MHD_Connection *con, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **con_cls)
{
    struct io_thread *t = cls;
    struct exchange *x = *con_cls;
    (void)url; /* decoded before it was split: see uri.h */
    t->has_worked = true;
    if (x == NULL) return MHD_NO;
    switch (x->step) {
    case STEP_HEAD: return on_head(t, x, con, method, version);
    case STEP_QUEUED: return on_decision(x, con);
    case STEP_BODY:
    case STEP_DISCARD: return *size > 0 ? on_body(x, con, data, size) : on_end(x, con);
    case STEP_REPLY: return daemon_queue_reply(x, con);
    case STEP_AWAY:
    case STEP_SENT: break;
    }
    return MHD_YES;
}

/* ---- the end of a request ---- */

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

void daemon_on_completed(void *cls, struct MHD_Connection *con, void **con_cls,
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
    daemon_deadline(con, c->http.idle_timeout_s + c->http.header_timeout_s);
    atomic_fetch_sub(&d->n_open, 1);
}
