/* request.h - what a handler sees of a request, and how it answers. Handlers parse, act and reply:
 * no socket, no SQL, no libmicrohttpd. A request belongs to one thread at a time. All its memory
 * comes from its arena, freed in one place after the last byte went out. */
#ifndef SERVER_HTTP_REQUEST_H
#define SERVER_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "app.h"
#include "base/arena.h"
#include "db/db.h"
#include "faults.h"
#include "http/errors.h"
#include "json/json.h"
#include "json/json_out.h"

#define PATH_ARGS_MAX 4

/* Statuses are plain numbers; the type makes a handler's contract readable. */
enum http_status {
    HTTP_MOVED = 0, /* no reply yet: request_move_… was called */
    HTTP_200 = 200,
    HTTP_201 = 201,
    HTTP_202 = 202,
    HTTP_204 = 204,
    HTTP_304 = 304,
    HTTP_ERROR = 400
};

/* A body is in memory, or when larger than 1 MiB in an unlinked spool file; both read by body_read.
 * A handler that replies by a stream has it until the last byte went out. Otherwise, where the
 * Content-Type is JSON or octet-stream, only until it returns: a small one may stand in the
 * transport's own buffer. */
struct http_body {
    const char *data; /* not NUL-terminated; NULL when spooled */
    int fd;           /* spool file, -1 when in memory */
    uint64_t len;
};

struct http_reply; /* reply.c */

struct http_request {
    struct app *app;
    const struct route *route;
    struct seg_arena arena;
    struct db *db; /* RUNS_ON_DB: a connection for the handler's time; else NULL */
    const char *path_args[PATH_ARGS_MAX]; /* decoded segments that matched {…}, in order */
    struct http_body body;                /* decoded from gzip where it was */
    char request_id[65];
    bool on_io_thread; /* RUNS_INLINE, and RUNS_SCORING until it moves: must not block */
    void *work;        /* what a handler that moves keeps from one call to the next; starts NULL */
    void *transport;   /* the exchange's own */
    struct http_reply *reply;
};

/* Decoded value of ?name=, NULL when absent. A name given twice was refused before the handler ran.
 */
const char *request_query(struct http_request *rq, const char *name);
/* A request header, NULL when absent; name in any case. */
const char *request_header(struct http_request *rq, const char *name);
/* True when the body's media type (without parameters) is type. No Content-Type counts as
 * application/json. */
bool request_is(struct http_request *rq, const char *type);
/* ?limit= within 1..1000, default 50; a fault is added when bad. */
unsigned request_limit(struct http_request *rq, struct faults *f);
/* ?cursor= decoded: an opaque string that reply_cursor made, or NULL when absent; a fault is added
 * when it is not one of ours. */
const char *request_cursor(struct http_request *rq, struct faults *f);
/* Cursor text for a key (base64url). From the arena. */
char *request_make_cursor(struct http_request *rq, const char *key);
/* ?name=true|false|1|0, default otherwise; a fault is added when bad. */
bool request_flag(struct http_request *rq, const char *name, bool otherwise, struct faults *f);
/* Up to size bytes of the body from offset; the number read, 0 at the end, -1 on an I/O error. */
long body_read(const struct http_body *b, uint64_t offset, char *out, size_t size);
/* The whole body in memory (arena), for documents; NULL when memory is short. */
const char *body_bytes(struct http_request *rq);
/* Parses the body as a JSON document. NULL after a 400 was replied: then return HTTP_ERROR. Freed
 * with the request. */
const struct json *request_json(struct http_request *rq);
/* For a route whose body may be left out and says nothing: true for no body and for {}. False after
 * a reply. */
bool request_has_no_options(struct http_request *rq);
/* Registers p to be released by fn(p) with the request. False: no memory (fn was called at once).
 */
bool request_defer(struct http_request *rq, void (*fn)(void *), void *p);

/* A scoring body of at most so many bytes is small: it is scored on the I/O thread. */
uint64_t request_inline_bytes(const struct http_request *rq);
/* RUNS_SCORING: goes on elsewhere, as in `return request_move_to_compute(rq);`. The handler is
 * called again there: on a database thread with rq->db, or on the compute pool. Each at most once
 * a request, to the database first. */
enum http_status request_move_to_db(struct http_request *rq);
enum http_status request_move_to_compute(struct http_request *rq);

/* Replies. Each returns what the handler returns. */
enum http_status reply_json(struct http_request *rq, enum http_status status,
                            struct json_out *o); /* takes o's text */
enum http_status reply_empty(struct http_request *rq, enum http_status status);
/* Bytes that live as long as the process (copy false) or are copied. */
enum http_status reply_bytes(struct http_request *rq, enum http_status status, const char *type,
                             const void *data, size_t len, bool copy);
/* Takes bytes (from seg_alloc), also on failure. */
enum http_status reply_take(struct http_request *rq, enum http_status status, const char *type,
                            char *bytes, size_t len);
/* 200 with bytes that live as long as the process, or with their gzip form (NULL: none) where the
 * client accepts it. */
enum http_status reply_static(struct http_request *rq, const char *type, const void *data,
                              size_t len, const void *gzip, size_t gzip_len);
/* A problem document. fmt NULL: only the code's title. */
__attribute__((format(printf, 3, 4))) enum http_status reply_error(struct http_request *rq,
                                                                   enum http_error code,
                                                                   const char *fmt, ...);
/* A problem with all the faults that f holds. */
enum http_status reply_faults(struct http_request *rq, enum http_error code,
                              const struct faults *f);
/* A failed database call: DB_RETRY and DB_UNKNOWN give 503 + Retry-After, else 500. */
enum http_status reply_db_error(struct http_request *rq, enum db_status st);
/* Extra headers, before the reply. Value is checked against header injection. */
void reply_header(struct http_request *rq, const char *name, const char *value);
/* Sets ETag (etag is unquoted); true when If-None-Match has it: then return reply_empty(rq,
 * HTTP_304). A gzip reply gets the tag with "-gzip" appended: strong tags name the bytes sent. */
bool reply_etag(struct http_request *rq, const char *etag);
/* A reply produced piece by piece: fill is called on the I/O thread or, for long work, from the
 * compute pool, and returns bytes written into out (at most size), 0 at the end, -1 on failure (the
 * connection is closed). ctx is released by request_defer's means. */
typedef long (*reply_fill_fn)(void *ctx, char *out, size_t size);
enum http_status reply_stream(struct http_request *rq, enum http_status status, const char *type,
                              reply_fill_fn fill, void *ctx);
/* Names (feature sets, models, aliases): ^[a-z][a-z0-9_-]{0,62}$. */
bool name_is_valid(const char *s);
/* 1 to 256 bytes of valid UTF-8 without control characters. */
bool user_id_is_valid(const char *s, size_t len);

#endif
