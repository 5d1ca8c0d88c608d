/* What handlers ask of a request: headers, query, cursor, documents, names. */
#include "http/request.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "base/alloc.h"
#include "http/exchange.h"

#define INLINE_BYTES_A_ROW 256u /* of a row of [limits] inline_rows_max */
#define CURSOR_MARK        'k'  /* first byte of a decoded cursor: its format */

int64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct exchange *exchange_new(struct app *app)
{
    struct exchange *x = seg_alloc(1, sizeof(*x));
    if (x == NULL) return NULL;
    memset(x, 0, offsetof(struct exchange, uri));
    x->uri.n_segments = x->uri.n_params = 0;
    x->rq.app = app;
    x->rq.transport = x;
    x->rq.reply = &x->reply;
    x->rq.body.fd = -1;
    x->sink.fd = -1;
    x->started_ns = monotonic_ns();
    seg_arena_init(&x->rq.arena, 0);
    return x;
}

void exchange_free(struct exchange *x)
{
    if (x == NULL) return;
    for (struct deferred *d = x->deferred; d != NULL; d = d->next)
        d->fn(d->p);
    reply_clear(x);
    body_sink_release(&x->sink);
    body_release(&x->rq.body);
    seg_arena_release(&x->rq.arena);
    seg_free(x);
}

bool request_defer(struct http_request *rq, void (*fn)(void *), void *p)
{
    struct exchange *x = exchange_of(rq);
    struct deferred *d = seg_arena_alloc(&rq->arena, sizeof(*d));
    if (d == NULL) {
        fn(p);
        return false;
    }
    *d = (struct deferred){ .next = x->deferred, .fn = fn, .p = p };
    x->deferred = d;
    return true;
}

uint64_t request_inline_bytes(const struct http_request *rq)
{
    return (uint64_t)rq->app->config->limits.inline_rows_max * INLINE_BYTES_A_ROW;
}

enum http_status request_move_to_db(struct http_request *rq)
{
    exchange_of(rq)->go = GO_DB;
    return HTTP_MOVED;
}

enum http_status request_move_to_compute(struct http_request *rq)
{
    exchange_of(rq)->go = GO_COMPUTE;
    return HTTP_MOVED;
}

const char *request_query(struct http_request *rq, const char *name)
{
    const struct uri *u = &exchange_of(rq)->uri;
    for (size_t i = 0; i < u->n_params; i++)
        if (strcmp(u->params[i].name, name) == 0) return u->params[i].value;
    return NULL;
}

const char *request_header(struct http_request *rq, const char *name)
{
    const struct exchange *x = exchange_of(rq);
    for (size_t i = 0; i < x->n_headers; i++) {
        const char *given = x->headers[i].name;
        bool may_be = ((given[0] ^ name[0]) & ~0x20) == 0; /* most are not */
        if (may_be && strcasecmp(given, name) == 0) return x->headers[i].value;
    }
    return NULL;
}

bool request_is(struct http_request *rq, const char *type)
{
    const char *given = request_header(rq, "Content-Type");
    if (given == NULL) given = "application/json";
    size_t n = strcspn(given, "; \t");
    return strlen(type) == n && strncasecmp(given, type, n) == 0;
}

unsigned request_limit(struct http_request *rq, struct faults *f)
{
    const char *text = request_query(rq, "limit");
    if (text == NULL) return 50;
    size_t digits = strspn(text, "0123456789");
    unsigned long n =
        digits > 0 && digits <= 6 && text[digits] == '\0' ? strtoul(text, NULL, 10) : 0;
    if (n >= 1 && n <= 1000) return (unsigned)n;
    faults_add(f, "?limit", "out_of_range", "limit must be a whole number from 1 to 1000");
    return 50;
}

bool request_flag(struct http_request *rq, const char *name, bool otherwise, struct faults *f)
{
    const char *text = request_query(rq, name);
    if (text == NULL) return otherwise;
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0) return true;
    if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0) return false;
    char pointer[80] = "?";
    strncat(pointer, name, sizeof(pointer) - 2);
    faults_add(f, pointer, "wrong_type", "%s must be true or false", name);
    return otherwise;
}

static const char BASE64URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *request_make_cursor(struct http_request *rq, const char *key)
{
    size_t len = strlen(key) + 1;
    unsigned char *in = seg_arena_alloc(&rq->arena, len);
    char *out = seg_arena_alloc(&rq->arena, len / 3 * 4 + 5);
    if (in == NULL || out == NULL) return NULL;
    in[0] = CURSOR_MARK;
    memcpy(in + 1, key, len - 1);
    size_t n = 0;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | in[i];
        for (n_bits += 8; n_bits >= 6; n_bits -= 6)
            out[n++] = BASE64URL[bits >> (n_bits - 6) & 63];
    }
    if (n_bits > 0) out[n++] = BASE64URL[bits << (6 - n_bits) & 63];
    out[n] = '\0';
    return out;
}

/* The key in cursor text, or NULL when request_make_cursor would not have made it. */
static const char *cursor_decode(struct http_request *rq, const char *text)
{
    size_t len = strlen(text), n = 0;
    char *out = seg_arena_alloc(&rq->arena, len + 1);
    if (out == NULL) return NULL;
    uint32_t bits = 0;
    unsigned n_bits = 0;
    for (size_t i = 0; i < len; i++) {
        const char *at = strchr(BASE64URL, text[i]);
        if (at == NULL) return NULL;
        bits = bits << 6 | (uint32_t)(at - BASE64URL);
        n_bits += 6;
        if (n_bits < 8) continue;
        n_bits -= 8;
        out[n++] = (char)(bits >> n_bits & 255);
    }
    if (n == 0 || out[0] != CURSOR_MARK || memchr(out, '\0', n) != NULL) return NULL;
    out[n] = '\0';
    if (!utf8_valid(out, n)) return NULL;
    const char *canonical = request_make_cursor(rq, out + 1);
    return canonical != NULL && strcmp(canonical, text) == 0 ? out + 1 : NULL;
}

const char *request_cursor(struct http_request *rq, struct faults *f)
{
    const char *text = request_query(rq, "cursor");
    if (text == NULL) return NULL;
    const char *key = cursor_decode(rq, text);
    if (key == NULL)
        faults_add(f, "?cursor", "bad_cursor", "cursor is not a next_cursor of this list");
    return key;
}

const char *body_bytes(struct http_request *rq)
{
    struct http_body *b = &rq->body;
    if (b->data != NULL) return b->data;
    if (b->fd < 0) return "";
    char *all = seg_alloc((size_t)b->len + 1, 1);
    if (all == NULL) return NULL;
    for (uint64_t at = 0; at < b->len;) {
        long n = body_read(b, at, all + at, (size_t)(b->len - at));
        if (n <= 0) {
            seg_free(all);
            return NULL;
        }
        at += (uint64_t)n;
    }
    all[b->len] = '\0';
    return request_defer(rq, seg_free, all) ? all : NULL;
}

static void json_release(void *doc)
{
    json_free(doc);
}

const struct json *request_json(struct http_request *rq)
{
    if (!request_is(rq, "application/json")) {
        reply_error(rq, ERR_UNSUPPORTED_MEDIA_TYPE, "this route takes application/json");
        return NULL;
    }
    if (rq->body.len == 0) {
        reply_error(rq, ERR_NOT_JSON, "the body is empty");
        return NULL;
    }
    const char *bytes = body_bytes(rq);
    if (bytes == NULL) {
        reply_error(rq, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    struct json_fault fault = { 0 };
    struct json *doc = json_parse(bytes, (size_t)rq->body.len, &fault);
    if (doc != NULL) {
        if (request_defer(rq, json_release, doc)) return doc;
        reply_error(rq, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    if (strcmp(fault.code, "out_of_memory") == 0) {
        reply_error(rq, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    struct faults f;
    faults_init(&f, &rq->arena);
    const char *at = seg_arena_printf(&rq->arena, "line %zu, column %zu", fault.line, fault.column);
    faults_add(&f, at != NULL ? at : "", fault.code, "%s", fault.detail);
    reply_faults(rq, ERR_NOT_JSON, &f);
    return NULL;
}

bool request_has_no_options(struct http_request *rq)
{
    struct faults f;
    if (rq->body.len == 0) return true;
    const struct json *doc = request_json(rq);
    if (doc == NULL) return false;
    faults_init(&f, &rq->arena);
    if (json_kind(doc) != JSON_OBJECT) faults_add(&f, "", "wrong_type", "must be an object: {}");
    for (const struct json *m = f.n_total == 0 ? json_first(doc) : NULL; m; m = json_next(m)) {
        char *at = seg_arena_printf(&rq->arena, "/%s", json_key(m));
        faults_add(&f, at != NULL ? at : "", "unknown_key", "there is no such option here");
    }
    if (f.n_total > 0) reply_faults(rq, ERR_INVALID, &f);
    return f.n_total == 0;
}

bool name_is_valid(const char *s)
{
    if (s[0] < 'a' || s[0] > 'z') return false;
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return n <= 63 && s[n] == '\0';
}

bool user_id_is_valid(const char *s, size_t len)
{
    if (len < 1 || len > 256) return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20 || c == 0x7f) return false;
        if (c == 0xc2 && i + 1 < len && (unsigned char)s[i + 1] < 0xa0) return false; /* C1 */
    }
    return utf8_valid(s, len);
}
