/* log.c - a line is built on the stack and written by one write(2), so that lines of threads never
 * mix and logging works without memory. What does not fit in LINE_MAX_BYTES is cut, the line stays
 * well-formed. */
#include "log.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES  4096
#define VALUE_MAX_BYTES 1024
#define TAIL_BYTES      8 /* kept for the end of a cut line */

static atomic_int level_min = LOG_INFO;
static bool as_json, with_priority; /* set before threads start */
static _Thread_local char request_id[65];

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
    bool full;
};

/* stderr is the journal's own socket: $JOURNAL_STREAM is "device:inode" of it. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(enum log_level level, int json)
{
    atomic_store(&level_min, (int)level);
    as_json = json != 0;
    with_priority = stderr_is_journal();
}

void log_set_request_id(const char *id)
{
    size_t len = strnlen(id, sizeof request_id - 1);
    memcpy(request_id, id, len);
    request_id[len] = '\0';
}

/* All of s or nothing. */
static void put(struct line *l, const char *s, size_t len)
{
    if (l->full || len > sizeof l->text - TAIL_BYTES - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->text + l->len, s, len);
    l->len += len;
}

static void put_text(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* Bytes of the UTF-8 character at s; 0 when it is none, or a control character: neither may reach a
 * terminal or a JSON reader. */
static size_t printable(const unsigned char *s)
{
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    size_t n = s[0] >= 0xf0 && s[0] <= 0xf4   ? 4
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
                                              : 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    bool control = s[0] == 0xc2 && s[1] < 0xa0;
    return overlong || outside || control ? 0 : n;
}

static void put_quoted(struct line *l, const char *s)
{
    put_text(l, "\"");
    for (const unsigned char *at = (const unsigned char *)s; *at != '\0' && !l->full;) {
        size_t n = printable(at);
        if (*at == '"' || *at == '\\') {
            put(l, (const char[]){ '\\', (char)*at }, 2);
        } else if (n > 0) {
            put(l, (const char *)at, n);
        } else {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", *at < 0x80 ? *at : 0xfffd);
            put_text(l, escape);
        }
        at += n > 0 ? n : 1;
    }
    /* the closing quote fits even in a full line */
    l->text[l->len++] = '"';
}

/* Text lines quote only what would be ambiguous. */
static bool is_plain(const char *s)
{
    if (*s == '\0') return false;
    for (; *s != '\0'; s++) {
        if (!isgraph((unsigned char)*s) || strchr("\"\\=", *s) != NULL) return false;
    }
    return true;
}

static void put_value(struct line *l, const char *value, bool is_number)
{
    if (is_number || (!as_json && is_plain(value))) {
        put_text(l, value);
    } else {
        put_quoted(l, value);
    }
}

static void put_fact(struct line *l, const char *key, const char *value, bool is_number)
{
    size_t before = l->len; /* to take back half a fact */
    put_text(l, as_json ? ",\"" : " ");
    put_text(l, key);
    put_text(l, as_json ? "\":" : "=");
    if (l->full) {
        l->len = before;
        return;
    }
    put_value(l, value, is_number);
    if (l->full && is_number) l->len = before;
}

/* Renders the next argument by fmt, which has one conversion at most. True: it is a number and
 * nothing but. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
__attribute__((nonnull)) static bool render(const char *fmt, va_list *args, char *out, size_t size)
{
    const char *at = strchr(fmt, '%');
    if (at == NULL) {
        snprintf(out, size, "%s", fmt);
        return false;
    }
    const char *modifier = at + 1 + strspn(at + 1, "-+ #0123456789.");
    const char *kind = modifier + strspn(modifier, "hljzt");
    switch (*kind) {
    case 's': {
        const char *s = va_arg(*args, const char *);
        snprintf(out, size, fmt, s != NULL ? s : "");
        break;
    }
    case 'c': snprintf(out, size, fmt, va_arg(*args, int)); break;
    case 'e':
    case 'f':
    case 'g': snprintf(out, size, fmt, va_arg(*args, double)); break;
    case 'd':
    case 'i':
    case 'u':
    case 'x':
        if (strchr("ljzt", *modifier) != NULL && modifier < kind) {
            static_assert(sizeof(long) == sizeof(long long) && sizeof(long) == sizeof(size_t),
                          "all long integers are read as one");
            snprintf(out, size, fmt, va_arg(*args, long));
        } else {
            snprintf(out, size, fmt, va_arg(*args, int));
        }
        break;
    default: assert(false && "a conversion that log_event does not know");
    }
    size_t digits_at = out[0] == '-';
    return at == fmt && kind[1] == '\0' && strchr("diuefg", *kind) != NULL &&
           isdigit((unsigned char)out[digits_at]);
}
#pragma GCC diagnostic pop

static void put_head(struct line *l, enum log_level level, const char *message)
{
    static const char *const NAMES[] = { "debug", "info", "warn", "error" };
    static const char *const PRIORITIES[] = { "<7>", "<6>", "<4>", "<3>" };

    struct timespec now;
    struct tm tm;
    char day[32], ts[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ts, sizeof ts, "%s.%03ldZ", day, now.tv_nsec / 1000000);

    if (with_priority) put_text(l, PRIORITIES[level]);
    if (as_json) {
        put_text(l, "{\"ts\":\"");
        put_text(l, ts);
        put_text(l, "\",\"level\":\"");
        put_text(l, NAMES[level]);
        put_text(l, "\",\"msg\":");
        put_quoted(l, message);
    } else {
        char head[64];
        snprintf(head, sizeof head, "%s %-5s ", ts, NAMES[level]);
        put_text(l, head);
        put_text(l, message);
    }
}

static void write_out(const struct line *l)
{
    size_t done = 0;
    while (done < l->len) {
        ssize_t n = write(STDERR_FILENO, l->text + done, l->len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; /* nowhere is left to say that the log is gone */
        done += (size_t)n;
    }
}

void log_event(enum log_level level, const char *message, ...)
{
    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed)) return;
    int saved_errno = errno;

    struct line l;
    l.len = 0;
    l.full = false;
    put_head(&l, level, message);
    if (request_id[0] != '\0') put_fact(&l, "request_id", request_id, false);

    va_list args;
    va_start(args, message);
    const char *key;
    while ((key = va_arg(args, const char *)) != NULL) {
        const char *fmt = va_arg(args, const char *);
        char value[VALUE_MAX_BYTES];
        bool is_number = render(fmt, &args, value, sizeof value);
        put_fact(&l, key, value, is_number);
    }
    va_end(args);

    if (as_json) l.text[l.len++] = '}';
    l.text[l.len++] = '\n';
    write_out(&l);
    errno = saved_errno;
}
