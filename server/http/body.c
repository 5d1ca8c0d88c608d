/* Bodies: memory first, an unlinked file past 1 MiB, so that a thousand slow uploads cost a
 * thousand megabytes of disk at most and of memory hardly any. */
#include "http/body.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "spool.h"

#define INFLATE_BYTES 16384 /* inflated at a time, on the stack */

void body_sink_init(struct body_sink *s, uint64_t max, const char *spool_dir)
{
    *s = (struct body_sink){ .spool_dir = spool_dir, .max = max, .fd = -1 };
}

enum http_error body_sink_inflate(struct body_sink *s, enum coding coding)
{
    s->coding = coding;
    s->inflate = inflate_new(coding);
    return s->inflate != NULL ? BODY_TAKEN : ERR_NO_MEMORY;
}

__attribute__((format(printf, 3, 4))) static enum http_error fail(struct body_sink *s,
                                                                  enum http_error e,
                                                                  const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->why, sizeof(s->why), fmt, args);
    va_end(args);
    return e;
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
    if (len > s->max - s->len)
        return fail(s, ERR_TOO_LARGE, "the limit is %llu bytes", (unsigned long long)s->max);
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

static const char *coding_name(const struct body_sink *s)
{
    return s->coding == CODING_GZIP ? "gzip" : "zstd";
}

enum http_error body_sink_write(struct body_sink *s, const char *data, size_t len,
                                uint64_t expected)
{
    if (s->inflate == NULL) return take(s, data, len, expected);
    char out[INFLATE_BYTES];
    s->wire_len += len;
    inflate_feed(s->inflate, data, len);
    for (;;) {
        long n = inflate_next(s->inflate, out, sizeof(out));
        if (n == 0) return BODY_TAKEN;
        if (n == -2) return ERR_NO_MEMORY;
        if (n < 0) return fail(s, ERR_BAD_BODY, "the body is not %s", coding_name(s));
        enum http_error e = take(s, out, (size_t)n, 0);
        if (e != BODY_TAKEN) return e;
        if (s->len > BODY_MEMORY_MAX && s->len / BODY_RATIO_MAX > s->wire_len)
            return fail(s, ERR_TOO_LARGE, "the body inflates to more than %u times its length",
                        BODY_RATIO_MAX);
    }
}

enum http_error body_sink_end(struct body_sink *s, struct http_body *ret)
{
    if (s->inflate != NULL && !inflate_at_end(s->inflate))
        return fail(s, ERR_BAD_BODY, "the %s body is cut short", coding_name(s));
    if (s->fd < 0) {
        enum http_error e = memory_reserve(s, s->len > 0 ? (size_t)s->len : 1, 0);
        if (e != BODY_TAKEN) return e;
        s->buf[s->len] = '\0'; /* for which there is always room */
    }
    *ret = (struct http_body){ .data = s->buf, .fd = s->fd, .len = s->len };
    s->buf = NULL;
    s->fd = -1;
    return BODY_TAKEN;
}

void body_sink_release(struct body_sink *s)
{
    inflate_free(s->inflate);
    s->inflate = NULL;
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
