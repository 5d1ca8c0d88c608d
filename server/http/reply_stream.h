/* reply_stream.h - a reply made piece by piece in constant memory: one buffer that a compute worker
 * fills while the connection is suspended, and that an I/O thread empties. Never both at once. */
#ifndef SERVER_HTTP_REPLY_STREAM_H
#define SERVER_HTTP_REPLY_STREAM_H

#include "http/request.h"

#define STREAM_BYTES ((size_t)256 << 10)

enum stream_state { STREAM_EMPTY, STREAM_READY, STREAM_ENDED, STREAM_BROKEN };

struct reply_stream;

/* NULL: no memory. ctx stays the caller's. */
struct reply_stream *reply_stream_new(reply_fill_fn fill, void *ctx);
void reply_stream_free(struct reply_stream *s);
/* From now on what fill writes is sent as gzip. False: no memory, and it is sent as it is. */
bool reply_stream_gzip(struct reply_stream *s);
enum stream_state reply_stream_state(const struct reply_stream *s);
/* When STREAM_EMPTY: calls fill, and compresses, until the buffer is full or the stream ended. */
void reply_stream_fill(struct reply_stream *s);
/* When STREAM_READY: moves up to size bytes into out. */
size_t reply_stream_take(struct reply_stream *s, char *out, size_t size);

#endif
