/* gzip.h - replies as gzip (RFC 1952) over zlib, at its quickest level. */
#ifndef SERVER_HTTP_GZIP_H
#define SERVER_HTTP_GZIP_H

#include <stdbool.h>
#include <stddef.h>

/* data as gzip in new bytes (seg_free). NULL: no memory, or it would not get smaller. */
char *gzip_compress(const void *data, size_t len, size_t *ret_len);

#endif
