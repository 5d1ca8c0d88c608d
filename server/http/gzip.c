/* zlib with our allocator, so that the tests of failing memory reach it. */
#include "http/gzip.h"

#include <zlib.h>
#include "base/alloc.h"

#define WINDOW_BITS_GZIP 16 /* added to the window bits: gzip framing, not zlib's */

static voidpf z_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return seg_calloc(items, size);
}

static void z_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    seg_free(p);
}

char *gzip_compress(const void *data, size_t len, size_t *ret_len)
{
    /* A window no larger than the data keeps the allocation small for small replies. */
    int window_bits = 9;
    while (window_bits < MAX_WBITS && ((size_t)1 << window_bits) < len)
        window_bits++;
    z_stream z = { .zalloc = z_alloc, .zfree = z_free };
    char *out = NULL;
    if (len < 64 || len > (size_t)1 << 30) return NULL;
    if (deflateInit2(&z, 1, Z_DEFLATED, window_bits + WINDOW_BITS_GZIP, 8, Z_DEFAULT_STRATEGY) !=
        Z_OK)
        return NULL;
    out = seg_alloc(len, 1);
    if (out == NULL) goto fail;
    z.next_in = (z_const Bytef *)data;
    z.avail_in = (uInt)len;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)len;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) goto fail;
    *ret_len = len - z.avail_out;
    deflateEnd(&z);
    return out;
fail:
    deflateEnd(&z);
    seg_free(out);
    return NULL;
}
