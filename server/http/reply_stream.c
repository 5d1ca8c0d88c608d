/* The buffer between a compute worker and an I/O thread. */
#include "http/reply_stream.h"

#include <string.h>
#include "base/alloc.h"
#include "http/gzip.h"

struct reply_stream {
    reply_fill_fn fill;
    void *ctx;
    struct gzip_writer *gzip; /* between fill and buf; NULL: none */
    size_t len, at;           /* bytes in buf, bytes of them sent */
    bool ended, broken;
    char buf[STREAM_BYTES];
};

struct reply_stream *reply_stream_new(reply_fill_fn fill, void *ctx)
{
    struct reply_stream *s = seg_alloc(1, sizeof(*s));
    if (s == NULL) return NULL;
    s->fill = fill;
    s->ctx = ctx;
    s->gzip = NULL;
    s->len = s->at = 0;
    s->ended = s->broken = false;
    return s;
}

void reply_stream_free(struct reply_stream *s)
{
    if (s != NULL) gzip_writer_free(s->gzip);
    seg_free(s);
}

bool reply_stream_gzip(struct reply_stream *s)
{
    s->gzip = gzip_writer_new(s->fill, s->ctx);
    if (s->gzip == NULL) return false;
    s->fill = gzip_writer_read;
    s->ctx = s->gzip;
    return true;
}

enum stream_state reply_stream_state(const struct reply_stream *s)
{
    if (s->at < s->len) return STREAM_READY;
    if (s->broken) return STREAM_BROKEN;
    return s->ended ? STREAM_ENDED : STREAM_EMPTY;
}

void reply_stream_fill(struct reply_stream *s)
{
    s->len = s->at = 0;
    while (s->len < STREAM_BYTES) {
        long n = s->fill(s->ctx, s->buf + s->len, STREAM_BYTES - s->len);
        if (n <= 0) {
            s->ended = n == 0;
            s->broken = n < 0;
            return;
        }
        s->len += (size_t)n;
    }
}

size_t reply_stream_take(struct reply_stream *s, char *out, size_t size)
{
    size_t n = s->len - s->at < size ? s->len - s->at : size;
    memcpy(out, s->buf + s->at, n);
    s->at += n;
    return n;
}
