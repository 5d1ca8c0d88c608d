/* inflate.h - compressed bodies piece by piece: gzip (RFC 1952) over zlib, zstd (RFC 8878) over
 * libzstd. What a piece inflates to comes in as many steps as the caller has room for, so that a
 * small body cannot take much memory at once; its window is at most 8 MiB (RFC 9659). One thread at
 * a time each. */
#ifndef SERVER_HTTP_INFLATE_H
#define SERVER_HTTP_INFLATE_H

#include <stdbool.h>
#include <stddef.h>

enum coding { CODING_GZIP, CODING_ZSTD };

struct inflate; /* a compressed body being read */

/* NULL: no memory. */
struct inflate *inflate_new(enum coding coding);
void inflate_free(struct inflate *r);
/* Gives the next piece of input. It is borrowed until inflate_next returned 0. */
void inflate_feed(struct inflate *r, const char *data, size_t len);
/* Up to size inflated bytes into out: the number, 0 when the piece is used up, -1 when the bytes
 * are not of the coding or their checksum is wrong, -2 when memory is short. */
long inflate_next(struct inflate *r, char *out, size_t size);
/* True when the last member or frame is complete. */
bool inflate_at_end(const struct inflate *r);

#endif
