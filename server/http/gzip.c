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

struct gzip_reader {
    z_stream z;
    bool started; /* inside a member */
    bool ended;   /* after at least one complete member */
};

struct gzip_reader *gzip_reader_new(void)
{
    struct gzip_reader *r = seg_calloc(1, sizeof(*r));
    if (r == NULL) return NULL;
    r->z.zalloc = z_alloc;
    r->z.zfree = z_free;
    if (inflateInit2(&r->z, MAX_WBITS + WINDOW_BITS_GZIP) != Z_OK) {
        seg_free(r);
        return NULL;
    }
    return r;
}

void gzip_reader_free(struct gzip_reader *r)
{
    if (r == NULL) return;
    inflateEnd(&r->z);
    seg_free(r);
}

void gzip_reader_feed(struct gzip_reader *r, const char *data, size_t len)
{
    r->z.next_in = (z_const Bytef *)data;
    r->z.avail_in = (uInt)len;
}

long gzip_reader_next(struct gzip_reader *r, char *out, size_t size)
{
    r->z.next_out = (Bytef *)out;
    r->z.avail_out = (uInt)size;
    for (;;) {
        if (r->z.avail_in > 0) r->started = true;
        int rc = inflate(&r->z, Z_NO_FLUSH);
        if (rc == Z_MEM_ERROR) return -2;
        if (rc == Z_STREAM_END) { /* RFC 1952: members may follow one another */
            r->started = false;
            r->ended = true;
            inflateReset(&r->z);
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return -1;
        }
        if (r->z.avail_out < size) return (long)(size - r->z.avail_out);
        if (r->z.avail_in == 0 || rc == Z_BUF_ERROR) return 0;
    }
}

bool gzip_reader_at_end(const struct gzip_reader *r)
{
    return r->ended && !r->started;
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
