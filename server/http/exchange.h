/* exchange.h - one request and its reply with everything the transport keeps for them. Shared by
 * the files of server/http only: handlers see the struct http_request in it.
 * An exchange belongs to one thread at a time: an I/O thread, or the database thread or compute
 * worker that it was handed to while its connection is suspended. */
#ifndef SERVER_HTTP_EXCHANGE_H
#define SERVER_HTTP_EXCHANGE_H

#include "http/backlog.h"
#include "http/body.h"
#include "http/request.h"
#include "http/route.h"
#include "http/uri.h"

#define EXCHANGE_HEADERS_MAX 100
#define REPLY_HEADERS_MAX    16
#define REPLY_GZIP_MIN       1024 /* shorter replies are sent as they are */

struct http_header {
    const char *name, *value;
};

struct http_reply {
    unsigned status;  /* 0: the handler has not replied */
    const char *type; /* media type; NULL: no body */
    const char *data;
    size_t len;
    char *owned;      /* data when it is ours to free */
    const char *etag; /* unquoted; NULL: none */
    struct reply_stream *stream;
    bool gzipped;
    struct http_header headers[REPLY_HEADERS_MAX];
    size_t n_headers;
};

/* Where an exchange goes next. */
enum exchange_step {
    STEP_HEAD,    /* the request head is coming */
    STEP_QUEUED,  /* suspended at the head of a large batch, until the backlog has decided */
    STEP_BODY,    /* the body is coming */
    STEP_DISCARD, /* the body is coming and thrown away: the reply is a refusal */
    STEP_AWAY,    /* suspended: another thread works on it */
    STEP_REPLY,   /* the reply is ready to be queued */
    STEP_SENT,    /* the reply is queued */
};

struct deferred {
    struct deferred *next;
    void (*fn)(void *);
    void *p;
};

struct exchange {
    struct http_request rq;
    struct http_reply reply;
    enum exchange_step step;
    const char *raw_uri; /* NULL: too long */
    size_t n_headers;
    bool has_more_headers; /* than there is room for */
    struct body_sink sink;
    uint64_t expected;       /* Content-Length, 0 when there is none */
    uint64_t discarded;      /* bytes of a refused body */
    const char *traceparent; /* as the client sent it, when well formed */
    struct deferred *deferred;
    enum { GO_NOWHERE, GO_DB, GO_COMPUTE } go; /* where a handler asked to move */
    bool is_head, close, accepts_gzip, has_body;
    bool is_large;                /* a batch that no I/O thread scores */
    struct backlog_ticket ticket; /* of a large one */
    bool finished;                /* reply_finish has seen the reply */
    int64_t started_ns;           /* monotonic */
    int64_t queued_ns;            /* when it joined the database queue */
    uint64_t bytes_out;
    void *connection;      /* libmicrohttpd's */
    void *io_thread;       /* the daemon's, that has the connection */
    struct exchange *next; /* in the database queue */
    struct uri uri;        /* filled by uri_parse; this and headers are not cleared at the start */
    struct http_header headers[EXCHANGE_HEADERS_MAX]; /* (n_headers) borrowed from the connection */
};

static inline struct exchange *exchange_of(struct http_request *rq)
{
    return rq->transport;
}

/* NULL: no memory. */
struct exchange *exchange_new(struct app *app);
void exchange_free(struct exchange *x);
/* Names and values of reply headers that every reply has; then gzip. Called once, when the handler
 * is done, on the handler's thread; again does nothing. */
void reply_finish(struct exchange *x);
/* True when reply_finish would compress more than is fair to an I/O thread. */
bool reply_is_heavy(const struct exchange *x);
/* Forgets a reply that was made. */
void reply_clear(struct exchange *x);

int64_t monotonic_ns(void);

#endif
