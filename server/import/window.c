/* Unused bytes move to the front before more are read: records are contiguous. */
#include "import/source.h"

#include <string.h>

#include "base/alloc.h"

#define WINDOW_BYTES ((size_t)256 << 10)

void window_init(struct window *w, const struct http_body *body)
{
    *w = (struct window){ .body = body };
}

void window_release(struct window *w)
{
    seg_free(w->data);
    *w = (struct window){ 0 };
}

bool window_fill(struct window *w)
{
    if (w->start > 0) {
        memmove(w->data, w->data + w->start, w->end - w->start);
        w->end -= w->start;
        w->start = 0;
    }
    if (w->cap - w->end < WINDOW_BYTES) {
        size_t cap = w->cap < WINDOW_BYTES ? 2 * WINDOW_BYTES : 2 * w->cap;
        if (w->end > RECORD_BYTES_MAX) return false;
        char *data = seg_realloc(w->data, cap, 1);
        if (data == NULL) return false;
        w->data = data;
        w->cap = cap;
    }
    long n = body_read(w->body, w->offset, w->data + w->end, w->cap - w->end);
    if (n < 0) return false;
    w->offset += (uint64_t)n;
    w->end += (size_t)n;
    w->eof = n == 0;
    return true;
}
