/* The order of the checks is the order in which they may be trusted: framing first, because behind
 * a request whose end is in doubt every other answer could be given to the wrong client. */
#include "http/admit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "auth.h"
#include "http/accept.h"
#include "http/router.h"
#include "log.h"

#define TRACEPARENT_BYTES 55 /* 00-<32 hex>-<16 hex>-<2 hex> */

/* RFC 9110, 5.6.2: bit c - 32 of the first word, c - 64 and c - 96 of the others. */
static bool is_token(const char *s)
{
    static const uint32_t TCHAR[] = { 0x03FF6CFA, 0xC7FFFFFE, 0x57FFFFFF };
    const char *p = s;
    for (; *p != '\0'; p++) {
        unsigned c = (unsigned char)*p - 32u;
        if (c >= 96 || (TCHAR[c / 32] >> c % 32 & 1) == 0) return false;
    }
    return p > s;
}

static bool has_control(const char *s)
{
    for (; *s != '\0'; s++)
        if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f) return true;
    return false;
}

/* What the framing headers say, with how often each stands there. */
struct framing {
    const char *length, *coding;
    unsigned n_length, n_coding, n_host, n_authorization, n_type, n_encoding;
};

static void count_header(struct framing *f, const struct http_header *h)
{
    switch (h->name[0] | 0x20) { /* most names are none of these */
    case 'a':
    case 'c':
    case 'h':
    case 't': break;
    default: return;
    }
    if (strcasecmp(h->name, "Content-Length") == 0)
        f->n_length++, f->length = h->value;
    else if (strcasecmp(h->name, "Transfer-Encoding") == 0)
        f->n_coding++, f->coding = h->value;
    else if (strcasecmp(h->name, "Host") == 0)
        f->n_host++;
    else if (strcasecmp(h->name, "Authorization") == 0)
        f->n_authorization++;
    else if (strcasecmp(h->name, "Content-Type") == 0)
        f->n_type++;
    else if (strcasecmp(h->name, "Content-Encoding") == 0)
        f->n_encoding++;
}

/* NULL, or why it is in doubt where the request ends or what it says. */
static const char *framing_check(struct exchange *x, const char *version, struct framing *f)
{
    bool is_1_0 = strcmp(version, "HTTP/1.0") == 0;
    if (!is_1_0 && strcmp(version, "HTTP/1.1") != 0) return "only HTTP/1.1 and HTTP/1.0 are spoken";
    if (x->has_more_headers) return "too many headers: the limit is 100";
    for (size_t i = 0; i < x->n_headers; i++) {
        if (!is_token(x->headers[i].name)) return "a header name is not a token";
        if (has_control(x->headers[i].value)) return "a header value has a control character";
        count_header(f, &x->headers[i]);
    }
    if (f->n_host > 1 || (f->n_host == 0 && !is_1_0)) return "there must be one Host";
    if (f->n_length > 1) return "more than one Content-Length";
    if (f->n_coding > 0 && f->n_length > 0)
        return "Content-Length and Transfer-Encoding stand together";
    if (f->n_coding > 1 || (f->coding != NULL && strcasecmp(f->coding, "chunked") != 0))
        return "the only transfer coding is chunked";
    if (f->coding != NULL && is_1_0) return "HTTP/1.0 has no transfer codings";
    if (f->n_type > 1 || f->n_encoding > 1 || f->n_authorization > 1)
        return "a header that may stand once stands twice";
    if (f->length == NULL) return NULL;
    size_t digits = strspn(f->length, "0123456789");
    if (digits == 0 || digits > 19 || f->length[digits] != '\0')
        return "Content-Length is not a number";
    x->expected = strtoull(f->length, NULL, 10);
    return NULL;
}

static void copy_request_id(struct exchange *x)
{
    const char *given = request_header(&x->rq, "X-Request-Id");
    size_t n = given == NULL ? 0
                             : strspn(given, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                             "0123456789._-");
    if (n >= 1 && n <= 64 && given[n] == '\0') memcpy(x->rq.request_id, given, n + 1);
}

/* W3C trace context, version 00: echoed and logged, never acted upon. */
static bool traceparent_is_valid(const char *s)
{
    static const unsigned char FIELDS[] = { 2, 32, 16, 2 };
    if (strlen(s) != TRACEPARENT_BYTES || strncmp(s, "00-", 3) != 0) return false;
    for (size_t i = 0; i < sizeof(FIELDS); i++) {
        size_t n = FIELDS[i];
        if (strspn(s, "0123456789abcdef") != n) return false;
        if ((i == 1 || i == 2) && strspn(s, "0") == n) return false; /* all zero is invalid */
        s += n + (s[n] == '-');
    }
    return true;
}

static enum admission refuse(struct exchange *x, enum http_error code, const char *why)
{
    if (why != NULL)
        reply_error(&x->rq, code, "%s", why);
    else
        reply_error(&x->rq, code, NULL);
    return ADMIT_REFUSE;
}

/* Finds the row; false after a refusal. */
static bool admit_route(struct exchange *x, const char *method)
{
    struct route_match m;
    char allow[64];
    int known = router_method(method);
    bool is_options = strcmp(method, "OPTIONS") == 0;
    x->is_head = strcmp(method, "HEAD") == 0;
    if (known < 0 && !is_options && strcmp(method, "TRACE") != 0 &&
        strcmp(method, "CONNECT") != 0) {
        refuse(x, ERR_NOT_IMPLEMENTED, "the method is not known");
        return false;
    }
    if (x->raw_uri == NULL) {
        refuse(x, ERR_URI_TOO_LONG, "the limit is 8192 bytes");
        return false;
    }
    if (is_options && strcmp(x->raw_uri, "*") == 0) {
        reply_empty(&x->rq, HTTP_204);
        return false;
    }
    const char *why = uri_parse(x->raw_uri, &x->rq.arena, &x->uri);
    if (why != NULL) {
        refuse(x, ERR_BAD_REQUEST, why);
        return false;
    }
    router_match(&x->uri, known, &m);
    if (!router_takes_opaque(&x->uri, m.route)) {
        refuse(x, ERR_BAD_REQUEST, "a path segment has an encoded slash, backslash or dot segment");
        return false;
    }
    if (m.methods == 0) {
        refuse(x, ERR_NO_SUCH_ROUTE, NULL);
        return false;
    }
    if (m.route == NULL) {
        router_allow(m.methods, allow, sizeof(allow));
        if (is_options)
            reply_empty(&x->rq, HTTP_204);
        else
            refuse(x, ERR_METHOD_NOT_ALLOWED, NULL);
        reply_header(&x->rq, "Allow", allow);
        return false;
    }
    x->rq.route = m.route;
    memcpy(x->rq.path_args, m.args, sizeof(m.args));
    return true;
}

static bool word_in(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; *p != '\0';) {
        size_t len = strcspn(p, " ");
        if (len == n && strncmp(p, word, n) == 0) return true;
        p += len + (p[len] == ' ');
    }
    return false;
}

/* Every parameter must be known to the route and stand once; all faults are told at once. */
static bool admit_query(struct exchange *x)
{
    const struct uri *u = &x->uri;
    struct faults f;
    char pointer[80];
    if (u->n_params == 0) return true;
    faults_init(&f, &x->rq.arena);
    for (size_t i = 0; i < u->n_params; i++) {
        const char *name = u->params[i].name;
        bool again = false;
        for (size_t j = 0; j < i; j++)
            again |= strcmp(u->params[j].name, name) == 0;
        size_t len = strlen(name);
        if (len > 60) len = 60;
        while (len > 0 && !utf8_valid(name, len))
            len--;
        pointer[0] = '?';
        memcpy(pointer + 1, name, len);
        pointer[len + 1] = '\0';
        if (!word_in(x->rq.route->query, name))
            faults_add(&f, pointer, "unknown_parameter", "the route knows no such parameter");
        else if (again)
            faults_add(&f, pointer, "duplicate_parameter", "the parameter is given twice");
    }
    if (f.n_total > 0) reply_faults(&x->rq, ERR_BAD_PARAMETER, &f);
    return f.n_total == 0;
}

static bool admit_auth(struct exchange *x)
{
    const struct route *r = x->rq.route;
    if (r->scope == SCOPE_NONE) return true;
    switch (auth_check(x->rq.app->auth, request_header(&x->rq, "Authorization"), r->scope)) {
    case AUTH_GRANTED: return true;
    case AUTH_UNAUTHENTICATED: refuse(x, ERR_UNAUTHENTICATED, NULL); break;
    case AUTH_FORBIDDEN:
        reply_error(&x->rq, ERR_FORBIDDEN, "this wants a token of scope %s", scope_text(r->scope));
        break;
    case AUTH_UNAVAILABLE: refuse(x, ERR_DB_UNAVAILABLE, NULL); break;
    }
    return false;
}

static uint64_t body_limit(const struct exchange *x)
{
    const struct config *c = x->rq.app->config;
    switch (x->rq.route->body) {
    case BODY_NONE: return 0;
    case BODY_DOCUMENT: return c->limits.body_bytes_max;
    case BODY_IMPORT: return c->limits.import_bytes_max;
    case BODY_SCORE: break;
    }
    struct http_request *rq = (struct http_request *)(uintptr_t)&x->rq;
    bool streams = request_is(rq, "application/x-ndjson") || request_is(rq, "text/csv");
    return streams ? c->limits.stream_bytes_max : c->limits.body_bytes_max;
}

static bool admit_body(struct exchange *x)
{
    if (x->rq.route->body == BODY_NONE && x->has_body) {
        refuse(x, ERR_BAD_BODY, "the route takes no body");
        return false;
    }
    uint64_t max = body_limit(x);
    body_sink_init(&x->sink, max, x->rq.app->config->limits.spool_dir);
    const char *encoding = request_header(&x->rq, "Content-Encoding");
    if (encoding != NULL && x->has_body && strcasecmp(encoding, "identity") != 0) {
        bool is_gzip = strcasecmp(encoding, "gzip") == 0 || strcasecmp(encoding, "x-gzip") == 0;
        if (!is_gzip && strcasecmp(encoding, "zstd") != 0) {
            reply_header(&x->rq, "Accept-Encoding", "gzip, zstd");
            refuse(x, ERR_UNSUPPORTED_MEDIA_TYPE, "the content codings are gzip and zstd");
            return false;
        }
        if (body_sink_inflate(&x->sink, is_gzip ? CODING_GZIP : CODING_ZSTD) != BODY_TAKEN) {
            refuse(x, ERR_NO_MEMORY, NULL);
            return false;
        }
    }
    if (x->expected > max) {
        reply_error(&x->rq, ERR_TOO_LARGE, "the body has %" PRIu64 " bytes (limit %" PRIu64 ")",
                    x->expected, max);
        return false;
    }
    return true;
}

enum admission admit(struct exchange *x, const char *method, const char *version)
{
    struct framing f = { 0 };
    copy_request_id(x);
    log_set_request_id(x->rq.request_id);
    const char *why = framing_check(x, version, &f);
    if (why != NULL) {
        refuse(x, ERR_BAD_REQUEST, why);
        return ADMIT_CLOSE;
    }
    x->has_body = x->expected > 0 || f.coding != NULL;
    const char *trace = request_header(&x->rq, "traceparent");
    if (trace != NULL && traceparent_is_valid(trace)) x->traceparent = trace;
    const char *encodings = request_header(&x->rq, "Accept-Encoding");
    x->accepts_gzip =
        encodings != NULL && accept_has(encodings, (const char *const[]){ "gzip", "*", NULL });
    if (!admit_route(x, method) || !admit_auth(x) || !admit_query(x)) return ADMIT_REFUSE;
    if (atomic_load(&x->rq.app->draining) && x->rq.route->runs == RUNS_ON_DB)
        return refuse(x, ERR_DRAINING, NULL);
    return admit_body(x) ? ADMIT_TAKE : ADMIT_REFUSE;
}
