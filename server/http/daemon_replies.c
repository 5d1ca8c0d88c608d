/* A reply, which is plain data, as libmicrohttpd sends it. A stream suspends its connection while a
 * worker makes the next piece. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "http/daemon_private.h"
#include "http/reply_stream.h"
#include "log.h"

static void stream_task(void *arg)
{
    struct exchange *x = arg;
    log_set_request_id(x->rq.request_id);
    reply_stream_fill(x->reply.stream);
    log_set_request_id("");
    daemon_return(x);
}

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct exchange *x = cls;
    struct http_daemon *d = daemon_of(x);
    (void)pos;
    switch (reply_stream_state(x->reply.stream)) {
    case STREAM_READY: {
        size_t n = reply_stream_take(x->reply.stream, buf, max);
        x->bytes_out += n;
        daemon_deadline(x->connection, d->app->config->http.body_timeout_s);
        return (ssize_t)n;
    }
    case STREAM_ENDED: return MHD_CONTENT_READER_END_OF_STREAM;
    case STREAM_BROKEN: return MHD_CONTENT_READER_END_WITH_ERROR;
    case STREAM_EMPTY: break;
    }
    if (!daemon_leave(d)) return MHD_CONTENT_READER_END_WITH_ERROR;
    daemon_deadline(x->connection, 0);
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
    MHD_add_response_header(response, "X-Request-Id", x->rq.request_id);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (x->traceparent != NULL) MHD_add_response_header(response, "traceparent", x->traceparent);
    if (r->type != NULL) MHD_add_response_header(response, "Content-Type", r->type);
    if (r->gzipped) MHD_add_response_header(response, "Content-Encoding", "gzip");
    if (r->etag != NULL && success) {
        snprintf(tag, sizeof(tag), r->gzipped ? "\"%s-gzip\"" : "\"%s\"", r->etag);
        MHD_add_response_header(response, "ETag", tag);
    }
    for (size_t i = 0; i < r->n_headers; i++)
        MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
    bool is_kept = r->etag != NULL && success;
    MHD_add_response_header(response, "Cache-Control", is_kept ? "no-cache" : "no-store");
    if (is_kept) /* only caches ask what an answer depends on */
        MHD_add_response_header(response, "Vary", "Accept-Encoding");
    if (x->close || atomic_load(&x->rq.app->draining))
        MHD_add_response_header(response, "Connection", "close");
}

enum MHD_Result daemon_queue_reply(struct exchange *x, struct MHD_Connection *con)
{
    const struct http_daemon *d = daemon_of(x);
    struct MHD_Response *response = make_response(x);
    if (response == NULL) return MHD_NO;
    add_headers(x, response);
    x->step = STEP_SENT;
    daemon_deadline(con, d->app->config->http.body_timeout_s);
    enum MHD_Result rc = MHD_queue_response(con, x->reply.status, response);
    MHD_destroy_response(response);
    return rc;
}

/* The length with what is appended, which may be beyond size. */
__attribute__((format(printf, 4, 5))) static size_t append(char *text, size_t size, size_t len,
                                                           const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(len < size ? text + len : NULL, len < size ? size - len : 0, fmt, args);
    va_end(args);
    return n < 0 ? size : len + (size_t)n;
}

size_t daemon_write_reply(const struct exchange *x, char *text, size_t size)
{
    const struct http_reply *r = &x->reply;
    size_t len = 0;
    if (r->gzipped || r->data == NULL) return 0;
    len =
        append(text, size, len, "HTTP/1.1 %u Refused\r\nConnection: close\r\nX-Request-Id: %s\r\n",
               r->status, x->rq.request_id);
    for (size_t i = 0; i < r->n_headers; i++)
        len = append(text, size, len, "%s: %s\r\n", r->headers[i].name, r->headers[i].value);
    len = append(text, size, len, "Content-Type: %s\r\nContent-Length: %zu\r\n\r\n%.*s", r->type,
                 r->len, (int)r->len, r->data);
    return len < size ? len : 0;
}

size_t daemon_write_refusal(void *daemon, char *text, size_t size)
{
    struct http_daemon *d = daemon;
    struct exchange *x = exchange_new(d->app);
    if (x == NULL) return 0;
    daemon_make_request_id(d, x->rq.request_id);
    reply_error(&x->rq, ERR_BUSY, "too many connections");
    size_t len = daemon_write_reply(x, text, size);
    exchange_free(x);
    return len;
}
