/* Both libraries with our allocator, so that the tests of failing memory reach them. */
#define ZSTD_STATIC_LINKING_ONLY /* for ZSTD_createDStream_advanced, which takes an allocator */
#include "http/inflate.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#include "base/alloc.h"

#define WINDOW_BITS_GZIP 16 /* added to the window bits: gzip framing, not zlib's */
#define ZSTD_WINDOW_LOG  23

struct inflate {
    enum coding coding;
    z_stream z;
    ZSTD_DStream *zstd;
    ZSTD_inBuffer in;
    bool started; /* inside a member or frame */
    bool ended;   /* after at least one complete one */
};

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

static void *zstd_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return seg_alloc(size, 1);
}

static void zstd_free(void *opaque, void *p)
{
    (void)opaque;
    seg_free(p);
}

struct inflate *inflate_new(enum coding coding)
{
    struct inflate *r = seg_calloc(1, sizeof(*r));
    bool ready = false;
    if (r == NULL) return NULL;
    r->coding = coding;
    if (coding == CODING_GZIP) {
        r->z.zalloc = z_alloc;
        r->z.zfree = z_free;
        ready = inflateInit2(&r->z, MAX_WBITS + WINDOW_BITS_GZIP) == Z_OK;
    } else {
        r->zstd = ZSTD_createDStream_advanced((ZSTD_customMem){ zstd_alloc, zstd_free, NULL });
        ready =
            r->zstd != NULL &&
            !ZSTD_isError(ZSTD_DCtx_setParameter(r->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG));
    }
    if (ready) return r;
    ZSTD_freeDStream(r->zstd);
    seg_free(r);
    return NULL;
}

void inflate_free(struct inflate *r)
{
    if (r == NULL) return;
    if (r->coding == CODING_GZIP)
        inflateEnd(&r->z);
    else
        ZSTD_freeDStream(r->zstd);
    seg_free(r);
}

void inflate_feed(struct inflate *r, const char *data, size_t len)
{
    r->z.next_in = (z_const Bytef *)data;
    r->z.avail_in = (uInt)len;
    r->in = (ZSTD_inBuffer){ data, len, 0 };
}

static long gzip_next(struct inflate *r, char *out, size_t size)
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

static long zstd_next(struct inflate *r, char *out, size_t size)
{
    ZSTD_outBuffer o = { out, size, 0 };
    while (o.pos == 0 && (r->started || r->in.pos < r->in.size)) {
        size_t before = r->in.pos;
        size_t rc = ZSTD_decompressStream(r->zstd, &o, &r->in);
        if (ZSTD_isError(rc))
            return ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation ? -2 : -1;
        r->started = rc != 0; /* frames may follow one another, too */
        r->ended = r->ended || rc == 0;
        if (r->in.pos == before && o.pos == 0) break;
    }
    return (long)o.pos;
}

long inflate_next(struct inflate *r, char *out, size_t size)
{
    return r->coding == CODING_GZIP ? gzip_next(r, out, size) : zstd_next(r, out, size);
}

bool inflate_at_end(const struct inflate *r)
{
    return r->ended && !r->started;
}
