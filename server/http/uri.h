/* uri.h - the raw request target, taken apart: path segments and query parameters.
 * libmicrohttpd decodes %2F and %00 before it splits, so the raw bytes are parsed here: split
 * first, decode after. Pure functions; memory comes from the arena given. */
#ifndef SERVER_HTTP_URI_H
#define SERVER_HTTP_URI_H

#include <stddef.h>
#include "base/arena.h"

#define URI_BYTES_MAX    8192
#define URI_SEGMENTS_MAX 16
#define URI_PARAMS_MAX   32

struct uri_param {
    const char *name, *value; /* decoded, NUL-terminated UTF-8 without control characters */
};

struct uri {
    const char *segments[URI_SEGMENTS_MAX]; /* decoded; "/" has none, a trailing slash gives "" */
    size_t n_segments;
    unsigned opaque; /* bit i: segment i has an encoded slash or backslash, or is an encoded dot
                        segment; only a user id may be like that */
    struct uri_param params[URI_PARAMS_MAX];
    size_t n_params;
};

/* NULL and *ret filled, or a sentence (static) that says why the target is refused: not absolute,
 * a bad escape, an encoded NUL, a backslash, "..", control characters, bytes that are not UTF-8,
 * too many segments or parameters, no memory. raw may be in absolute form. */
const char *uri_parse(const char *raw, struct seg_arena *arena, struct uri *ret);

#endif
