/* gzip.h - replies as gzip (RFC 1952) over zlib, at its quickest level. */
#ifndef SERVER_HTTP_GZIP_H
#define SERVER_HTTP_GZIP_H

#include <stdbool.h>
#include <stddef.h>

/* data as gzip in new bytes (seg_free). NULL: no memory, or it would not get smaller. */
char *gzip_compress(const void *data, size_t len, size_t *ret_len);

/* The same piece by piece, for what is made piece by piece; about 300 KiB while it lasts. */
struct gzip_writer;
/* Writes up to size bytes of what is to be compressed into out: the number, 0 at the end, -1 on
 * failure. */
typedef long (*gzip_source_fn)(void *ctx, char *out, size_t size);
/* NULL: no memory. ctx stays the caller's. */
struct gzip_writer *gzip_writer_new(gzip_source_fn source, void *ctx);
void gzip_writer_free(struct gzip_writer *w); /* NULL is fine */
/* A gzip_source_fn itself: compressed bytes. */
long gzip_writer_read(void *w, char *out, size_t size);

#endif
