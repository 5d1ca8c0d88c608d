/* gzip.h - gzip both ways (RFC 1952) over zlib: bodies piece by piece with a cap, replies at once.
 * One thread at a time each. */
#ifndef SERVER_HTTP_GZIP_H
#define SERVER_HTTP_GZIP_H

#include <stdbool.h>
#include <stddef.h>

struct gzip_reader; /* a compressed body being read */

/* NULL: no memory. */
struct gzip_reader *gzip_reader_new(void);
void gzip_reader_free(struct gzip_reader *r);
/* Gives the next piece of input. It is borrowed until gzip_reader_next returned 0. */
void gzip_reader_feed(struct gzip_reader *r, const char *data, size_t len);
/* Up to size inflated bytes into out: the number, 0 when the piece is used up, -1 when the bytes
 * are not gzip or their checksum is wrong, -2 when memory is short. */
long gzip_reader_next(struct gzip_reader *r, char *out, size_t size);
/* True when the last member is complete. */
bool gzip_reader_at_end(const struct gzip_reader *r);

/* data as gzip in new bytes (seg_free). NULL: no memory, or it would not get smaller. */
char *gzip_compress(const void *data, size_t len, size_t *ret_len);

#endif
