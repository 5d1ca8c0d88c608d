/* zlib with our allocator, so that the tests of failing memory reach it. */
#include "http/gzip.h"

#include <zlib.h>
#include "base/alloc.h"

#define WINDOW_BITS_GZIP 16 /* added to the window bits: gzip framing, not zlib's */
#define SOURCE_BYTES     32768

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

struct gzip_writer {
    z_stream z;
    gzip_source_fn source;
    void *ctx;
    bool source_ended, ended;
    char in[SOURCE_BYTES];
};

struct gzip_writer *gzip_writer_new(gzip_source_fn source, void *ctx)
{
    struct gzip_writer *w = seg_alloc(1, sizeof(*w));
    if (w == NULL) return NULL;
    w->z = (z_stream){ .zalloc = z_alloc, .zfree = z_free };
    w->source = source;
    w->ctx = ctx;
    w->source_ended = w->ended = false;
    if (deflateInit2(&w->z, 1, Z_DEFLATED, MAX_WBITS + WINDOW_BITS_GZIP, 8, Z_DEFAULT_STRATEGY) ==
        Z_OK)
        return w;
    seg_free(w);
    return NULL;
}

void gzip_writer_free(struct gzip_writer *w)
{
    if (w == NULL) return;
    deflateEnd(&w->z);
    seg_free(w);
}

long gzip_writer_read(void *writer, char *out, size_t size)
{
    struct gzip_writer *w = writer;
    w->z.next_out = (Bytef *)out;
    w->z.avail_out = (uInt)size;
    while (!w->ended && w->z.avail_out > 0) {
        if (w->z.avail_in == 0 && !w->source_ended) {
            long n = w->source(w->ctx, w->in, sizeof(w->in));
            if (n < 0) return -1;
            w->source_ended = n == 0;
            w->z.next_in = (z_const Bytef *)w->in;
            w->z.avail_in = (uInt)n;
        }
        int rc = deflate(&w->z, w->source_ended ? Z_FINISH : Z_NO_FLUSH);
        w->ended = rc == Z_STREAM_END;
        if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) return -1;
    }
    return (long)(size - w->z.avail_out);
}
