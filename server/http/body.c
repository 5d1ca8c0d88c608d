/* Bodies: memory first, an unlinked file past 1 MiB, so that a thousand slow uploads cost a
 * thousand megabytes of disk at most and of memory hardly any. */
#include "http/body.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "spool.h"

#define INFLATE_BYTES 16384 /* inflated at a time, on the stack */

void body_sink_init(struct body_sink *s, uint64_t max, const char *spool_dir)
{
    *s = (struct body_sink){ .spool_dir = spool_dir, .max = max, .fd = -1 };
}

enum http_error body_sink_gunzip(struct body_sink *s)
{
    s->gzip = gzip_reader_new();
    return s->gzip != NULL ? BODY_TAKEN : ERR_NO_MEMORY;
}

static enum http_error spool_start(struct body_sink *s)
{
    s->fd = spool_open(s->spool_dir);
    if (s->fd < 0) return ERR_NO_SPACE;
    enum http_error e = spool_write(s->fd, s->buf, (size_t)s->len) ? BODY_TAKEN : ERR_NO_SPACE;
    seg_free(s->buf);
    s->buf = NULL;
    s->cap = 0;
    return e;
}

static enum http_error memory_reserve(struct body_sink *s, size_t need, uint64_t expected)
{
    if (need <= s->cap) return BODY_TAKEN;
    size_t cap = s->cap == 0 ? 1024 : s->cap * 2;
    if (expected <= BODY_MEMORY_MAX && expected > cap) cap = (size_t)expected;
    while (cap < need)
        cap *= 2;
    char *grown = seg_realloc(s->buf, cap + 1, 1); /* and a NUL */
    if (grown == NULL) return ERR_NO_MEMORY;
    s->buf = grown;
    s->cap = cap;
    return BODY_TAKEN;
}

static enum http_error take(struct body_sink *s, const char *data, size_t len, uint64_t expected)
{
    if (len > s->max - s->len) return ERR_TOO_LARGE;
    enum http_error e = BODY_TAKEN;
    if (s->fd < 0 && s->len + len > BODY_MEMORY_MAX) e = spool_start(s);
    if (e != BODY_TAKEN) return e;
    if (s->fd >= 0) {
        if (!spool_write(s->fd, data, len)) e = ERR_NO_SPACE;
    } else {
        e = memory_reserve(s, (size_t)s->len + len, expected);
        if (e == BODY_TAKEN) memcpy(s->buf + s->len, data, len);
    }
    if (e == BODY_TAKEN) s->len += len;
    return e;
}

enum http_error body_sink_write(struct body_sink *s, const char *data, size_t len,
                                uint64_t expected)
{
    if (s->gzip == NULL) return take(s, data, len, expected);
    char out[INFLATE_BYTES];
    gzip_reader_feed(s->gzip, data, len);
    for (;;) {
        long n = gzip_reader_next(s->gzip, out, sizeof(out));
        if (n == 0) return BODY_TAKEN;
        if (n < 0) return n == -2 ? ERR_NO_MEMORY : ERR_BAD_BODY;
        enum http_error e = take(s, out, (size_t)n, 0);
        if (e != BODY_TAKEN) return e;
    }
}

enum http_error body_sink_end(struct body_sink *s, struct http_body *ret)
{
    if (s->gzip != NULL && !gzip_reader_at_end(s->gzip)) return ERR_BAD_BODY;
    if (s->fd < 0) {
        enum http_error e = memory_reserve(s, (size_t)s->len + 1, 0);
        if (e != BODY_TAKEN) return e;
        s->buf[s->len] = '\0';
    }
    *ret = (struct http_body){ .data = s->buf, .fd = s->fd, .len = s->len };
    s->buf = NULL;
    s->fd = -1;
    return BODY_TAKEN;
}

void body_sink_release(struct body_sink *s)
{
    gzip_reader_free(s->gzip);
    s->gzip = NULL;
    seg_free(s->buf);
    s->buf = NULL;
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
}

void body_release(struct http_body *b)
{
    seg_free((char *)(uintptr_t)b->data);
    if (b->fd >= 0) close(b->fd);
    *b = (struct http_body){ .fd = -1 };
}

long body_read(const struct http_body *b, uint64_t offset, char *out, size_t size)
{
    if (offset >= b->len) return 0;
    if (size > b->len - offset) size = (size_t)(b->len - offset);
    if (b->data != NULL) {
        memcpy(out, b->data + offset, size);
        return (long)size;
    }
    for (;;) {
        ssize_t n = pread(b->fd, out, size, (off_t)offset);
        if (n >= 0) return (long)n;
        if (errno != EINTR) return -1;
    }
}
