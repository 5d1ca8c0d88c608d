/* Replies as plain data: status, headers, bytes. daemon_replies.c turns them into what
 * libmicrohttpd sends. A reply that cannot be made for want of memory becomes a fixed problem
 * document. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/alloc.h"
#include "http/accept.h"
#include "http/exchange.h"
#include "http/gzip.h"
#include "http/reply_stream.h"
#include "http/route.h"

#define PROBLEM_JSON  "application/problem+json"
#define HEAVY_BYTES   ((size_t)32 << 10) /* compressing more than this is left to a worker */
#define RETRY_AFTER_S "1"

static const char NO_MEMORY_BODY[] =
    "{\"type\":\"/docs#no_memory\",\"title\":\"the server is short of memory; try again\","
    "\"status\":503,\"code\":\"no_memory\"}";

void reply_clear(struct exchange *x)
{
    seg_free(x->reply.owned);
    reply_stream_free(x->reply.stream);
    x->reply = (struct http_reply){ 0 };
}

/* Starts the reply's status and body; a second reply of a confused handler replaces the first one,
 * the headers stay. */
static struct http_reply *begin(struct http_request *rq, unsigned status, const char *type)
{
    struct http_reply *r = rq->reply;
    seg_free(r->owned);
    r->owned = NULL;
    reply_stream_free(r->stream);
    r->stream = NULL;
    r->data = NULL;
    r->len = 0;
    r->gzipped = false;
    r->status = status;
    r->type = type;
    return r;
}

static enum http_status reply_no_memory(struct http_request *rq)
{
    struct http_reply *r = begin(rq, 503, PROBLEM_JSON);
    r->data = NO_MEMORY_BODY;
    r->len = sizeof(NO_MEMORY_BODY) - 1;
    reply_header(rq, "Retry-After", RETRY_AFTER_S);
    return HTTP_ERROR;
}

enum http_status reply_take(struct http_request *rq, enum http_status status, const char *type,
                            char *bytes, size_t len)
{
    struct http_reply *r = begin(rq, (unsigned)status, type);
    r->owned = bytes;
    r->data = bytes;
    r->len = len;
    return status;
}

static enum http_status reply_text(struct http_request *rq, unsigned status, const char *type,
                                   struct json_out *o)
{
    size_t len = 0;
    char *text = json_out_take(o, &len);
    if (text == NULL) return reply_no_memory(rq);
    return reply_take(rq, (enum http_status)status, type, text, len);
}

enum http_status reply_json(struct http_request *rq, enum http_status status, struct json_out *o)
{
    return reply_text(rq, (unsigned)status, "application/json", o);
}

enum http_status reply_empty(struct http_request *rq, enum http_status status)
{
    begin(rq, (unsigned)status, NULL);
    return status;
}

enum http_status reply_bytes(struct http_request *rq, enum http_status status, const char *type,
                             const void *data, size_t len, bool copy)
{
    if (copy) {
        char *own = seg_alloc(len + 1, 1);
        if (own == NULL) return reply_no_memory(rq);
        memcpy(own, data, len);
        return reply_take(rq, status, type, own, len);
    }
    struct http_reply *r = begin(rq, (unsigned)status, type);
    r->data = data;
    r->len = len;
    return status;
}

enum http_status reply_static(struct http_request *rq, const char *type, const void *data,
                              size_t len, const void *gzip, size_t gzip_len)
{
    bool small = gzip != NULL && exchange_of(rq)->accepts_gzip;
    reply_bytes(rq, HTTP_200, type, small ? gzip : data, small ? gzip_len : len, false);
    rq->reply->gzipped = small;
    return HTTP_200;
}

static bool type_is_text(const char *type)
{
    return strncmp(type, "text/", 5) == 0 || strstr(type, "json") != NULL ||
           strstr(type, "javascript") != NULL || strstr(type, "svg") != NULL;
}

enum http_status reply_stream(struct http_request *rq, enum http_status status, const char *type,
                              reply_fill_fn fill, void *ctx)
{
    struct reply_stream *s = reply_stream_new(fill, ctx);
    if (s == NULL) return reply_no_memory(rq);
    struct http_reply *r = begin(rq, (unsigned)status, type);
    r->stream = s;
    r->gzipped = exchange_of(rq)->accepts_gzip && type_is_text(type) && reply_stream_gzip(s);
    return status;
}

/* RFC 9457, with our code, request_id and errors. */
static enum http_status reply_problem(struct http_request *rq, enum http_error code,
                                      const char *detail, const struct faults *f)
{
    const struct http_error_info *info = &HTTP_ERROR_INFO[code];
    struct json_out o;
    char type[64];
    snprintf(type, sizeof(type), "/docs#%s", info->code);
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "type", type);
    json_out_member_string(&o, "title", info->title);
    json_out_member_uint(&o, "status", info->status);
    if (detail != NULL) json_out_member_string(&o, "detail", detail);
    json_out_member_string(&o, "code", info->code);
    json_out_member_string(&o, "request_id", rq->request_id);
    if (rq->route != NULL && strncmp(rq->route->path, "/v2/", 4) == 0) /* its protocol's name */
        json_out_member_string(&o, "error", detail != NULL ? detail : info->title);
    if (f != NULL) {
        json_out_key(&o, "errors");
        json_out_array(&o);
        for (size_t i = 0; i < f->n_items; i++) {
            json_out_object(&o);
            json_out_member_string(&o, "pointer", f->items[i].pointer);
            json_out_member_string(&o, "code", f->items[i].code);
            json_out_member_string(&o, "detail", f->items[i].detail);
            json_out_end_object(&o);
        }
        json_out_end_array(&o);
    }
    json_out_end_object(&o);
    if (info->status == 503) reply_header(rq, "Retry-After", RETRY_AFTER_S);
    if (info->status == 401) reply_header(rq, "WWW-Authenticate", "Bearer realm=\"segmentd\"");
    reply_text(rq, info->status, PROBLEM_JSON, &o);
    return HTTP_ERROR;
}

enum http_status reply_error(struct http_request *rq, enum http_error code, const char *fmt, ...)
{
    char detail[512];
    if (fmt == NULL) return reply_problem(rq, code, NULL, NULL);
    va_list args;
    va_start(args, fmt);
    vsnprintf(detail, sizeof(detail), fmt, args);
    va_end(args);
    size_t len = strlen(detail);
    while (len > 0 && !utf8_valid(detail, len)) /* cut inside a character */
        detail[--len] = '\0';
    return reply_problem(rq, code, detail, NULL);
}

enum http_status reply_faults(struct http_request *rq, enum http_error code, const struct faults *f)
{
    char detail[64];
    snprintf(detail, sizeof(detail), "%zu fault%s", f->n_total, f->n_total == 1 ? "" : "s");
    return reply_problem(rq, code, f->n_total == 1 ? f->items[0].detail : detail, f);
}

enum http_status reply_db_error(struct http_request *rq, enum db_status st)
{
    bool later = st == DB_RETRY || st == DB_UNKNOWN;
    return reply_problem(rq, later ? ERR_DB_UNAVAILABLE : ERR_INTERNAL, NULL, NULL);
}

void reply_header(struct http_request *rq, const char *name, const char *value)
{
    struct http_reply *r = rq->reply;
    for (const char *p = value; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) return; /* no second header by a line feed */
    size_t at = 0;
    while (at < r->n_headers && strcasecmp(r->headers[at].name, name) != 0)
        at++;
    if (at == REPLY_HEADERS_MAX) return;
    const char *kept = seg_arena_strndup(&rq->arena, value, strlen(value));
    if (kept == NULL) return;
    r->headers[at] = (struct http_header){ name, kept };
    if (at == r->n_headers) r->n_headers++;
}

/* True when list (the value of If-None-Match) has "etag" or "etag-gzip", weak or not, or is "*". */
static bool etag_list_has(const char *list, const char *etag)
{
    size_t len = strlen(etag);
    for (const char *p = list; *p != '\0';) {
        p += strspn(p, " \t,");
        if (*p == '*') return true;
        if (strncmp(p, "W/", 2) == 0) p += 2;
        if (*p != '"') return false;
        const char *end = strchr(++p, '"');
        if (end == NULL) return false;
        size_t n = (size_t)(end - p);
        if (n > 5 && n == len + 5 && strncmp(end - 5, "-gzip", 5) == 0) n -= 5;
        if (n == len && strncmp(p, etag, n) == 0) return true;
        p = end + 1;
    }
    return false;
}

bool reply_etag(struct http_request *rq, const char *etag)
{
    const char *kept = seg_arena_strndup(&rq->arena, etag, strlen(etag));
    if (kept == NULL) return false;
    rq->reply->etag = kept;
    const char *list = request_header(rq, "If-None-Match");
    return list != NULL && etag_list_has(list, etag);
}

static bool wants_gzip(const struct exchange *x)
{
    const struct http_reply *r = &x->reply;
    return x->accepts_gzip && !r->gzipped && r->data != NULL && r->len > REPLY_GZIP_MIN &&
           type_is_text(r->type);
}

bool reply_is_heavy(const struct exchange *x)
{
    return wants_gzip(x) && x->reply.len > HEAVY_BYTES;
}

/* A document that was only read is not sent to a client that would not take it. What has done
 * something is answered whatever the client takes, and so are probes and pages. */
static bool is_acceptable(struct exchange *x)
{
    const struct route *r = x->rq.route;
    if (r == NULL || r->method != HTTP_GET || r->scope == SCOPE_NONE || x->reply.status != 200)
        return true;
    const char *list = request_header(&x->rq, "Accept");
    return list == NULL || accept_media_type(list, x->reply.type);
}

void reply_finish(struct exchange *x)
{
    struct http_reply *r = &x->reply;
    if (r->status == 0) reply_error(&x->rq, ERR_INTERNAL, NULL);
    if (!is_acceptable(x)) reply_error(&x->rq, ERR_NOT_ACCEPTABLE, "this is %s", r->type);
    if (x->finished) return;
    x->finished = true;
    if (!wants_gzip(x)) return;
    size_t len = 0;
    char *small = gzip_compress(r->data, r->len, &len);
    if (small == NULL) return;
    seg_free(r->owned);
    r->owned = small;
    r->data = small;
    r->len = len;
    r->gzipped = true;
}
