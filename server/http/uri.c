/* Splitting and decoding of request targets: RFC 3986 with everything refused that a file system,
 * a log or a proxy in front might read in another way than we do. */
#include "http/uri.h"

#include <stdbool.h>
#include <string.h>
#include "json/json.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Decodes len bytes of s into out (at least len + 1 bytes). */
static const char *decode(const char *s, size_t len, bool plus_is_space, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '%') {
            if (len - i < 3) return "a percent escape is cut short";
            int high = hex_digit(s[i + 1]), low = hex_digit(s[i + 2]);
            if (high < 0 || low < 0) return "a percent escape is not two hex digits";
            c = (unsigned char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f) return "the URI has a control character";
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return utf8_valid(out, n) ? NULL : "the URI is not valid UTF-8";
}

/* What splits a path, or climbs it, and is no part of a plain name. */
static bool is_dot_segment(const char *text)
{
    return strcmp(text, ".") == 0 || strcmp(text, "..") == 0;
}

static const char *segment_check(const char *raw, size_t raw_len, const char *decoded,
                                 bool *ret_opaque)
{
    bool is_plain = memchr(raw, '%', raw_len) == NULL;
    if (memchr(raw, '\\', raw_len) != NULL) return "a path segment has a backslash";
    if (is_plain && is_dot_segment(decoded)) return "a path segment is a dot segment";
    *ret_opaque = !is_plain && (strpbrk(decoded, "/\\") != NULL || is_dot_segment(decoded));
    return NULL;
}

static const char *parse_path(const char *path, size_t len, char **buf, struct uri *u)
{
    size_t at = 1; /* after the leading slash */
    if (len == 1) return NULL;
    for (;;) {
        const char *slash = memchr(path + at, '/', len - at);
        size_t n = slash != NULL ? (size_t)(slash - path) - at : len - at;
        if (u->n_segments == URI_SEGMENTS_MAX) return "the path has too many segments";
        bool opaque = false;
        const char *why = decode(path + at, n, false, *buf);
        if (why == NULL) why = segment_check(path + at, n, *buf, &opaque);
        if (why != NULL) return why;
        u->opaque |= (unsigned)opaque << u->n_segments;
        u->segments[u->n_segments++] = *buf;
        *buf += strlen(*buf) + 1;
        if (slash == NULL) return NULL;
        at += n + 1;
    }
}

static const char *parse_query(const char *q, size_t len, char **buf, struct uri *u)
{
    for (size_t at = 0; at < len;) {
        const char *amp = memchr(q + at, '&', len - at);
        size_t n = amp != NULL ? (size_t)(amp - q) - at : len - at;
        if (n > 0) {
            const char *eq = memchr(q + at, '=', n);
            size_t name_len = eq != NULL ? (size_t)(eq - q) - at : n;
            if (u->n_params == URI_PARAMS_MAX) return "the query has too many parameters";
            struct uri_param *p = &u->params[u->n_params++];
            p->name = *buf;
            const char *why = decode(q + at, name_len, true, *buf);
            if (why != NULL) return why;
            *buf += strlen(*buf) + 1;
            p->value = *buf;
            if (eq != NULL)
                why = decode(eq + 1, n - name_len - 1, true, *buf);
            else
                **buf = '\0';
            if (why != NULL) return why;
            *buf += strlen(*buf) + 1;
        }
        at += n + 1;
    }
    return NULL;
}

/* The path of http://host:port/path, or raw itself. */
static const char *skip_authority(const char *raw)
{
    size_t scheme = strncmp(raw, "http://", 7) == 0 ? 7 : strncmp(raw, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0) return raw;
    const char *end = raw + scheme + strcspn(raw + scheme, "/?");
    return *end == '/' ? end : "/";
}

const char *uri_parse(const char *raw, struct seg_arena *arena, struct uri *ret)
{
    const char *path = skip_authority(raw);
    if (path[0] != '/') return "the URI is not a path";
    size_t path_len = strcspn(path, "?");
    size_t len = path_len + strlen(path + path_len);
    /* Decoding never grows; each segment and parameter adds at most two terminators. */
    char *buf = seg_arena_alloc(arena, len + URI_SEGMENTS_MAX + 2 * URI_PARAMS_MAX + 2);
    if (buf == NULL) return "out of memory";
    ret->n_segments = ret->n_params = 0;
    ret->opaque = 0;
    if (memchr(path, '#', len) != NULL) return "the URI has a fragment";
    const char *why = parse_path(path, path_len, &buf, ret);
    if (why == NULL && path[path_len] == '?')
        why = parse_query(path + path_len + 1, len - path_len - 1, &buf, ret);
    return why;
}
