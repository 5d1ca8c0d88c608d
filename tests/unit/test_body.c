/* What body.h, inflate.h and gzip.h promise: a body comes out as it went in, whatever its size and
 * the pieces it came in, and no piece makes more of it than the limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <zstd.h>
#include "base/alloc.h"
#include "http/body.h"
#include "http/gzip.h"

#define N_BYTES ((size_t)3 << 20)

static char *sample(size_t len)
{
    char *bytes = seg_alloc(len + 1, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)("the quick brown fox "[i % 20] + (char)(i / 5000 % 7));
    return bytes;
}

#define PLAIN (-1) /* no coding */

/* Sends bytes in pieces and reads them back. coding: an enum coding, or PLAIN. */
static enum http_error through(const char *bytes, size_t len, size_t piece, uint64_t max,
                               int coding, struct http_body *ret)
{
    struct body_sink s;
    body_sink_init(&s, max, "/var/tmp");
    enum http_error e = coding != PLAIN ? body_sink_inflate(&s, (enum coding)coding) : BODY_TAKEN;
    for (size_t at = 0; at < len && e == BODY_TAKEN; at += piece)
        e = body_sink_write(&s, bytes + at, len - at < piece ? len - at : piece,
                            coding != PLAIN ? 0 : len);
    if (e == BODY_TAKEN) e = body_sink_end(&s, ret);
    body_sink_release(&s);
    return e;
}

/* bytes compressed, zstd with the checksum that gzip always has. */
static char *compress(const char *bytes, size_t len, int coding, size_t *ret_len)
{
    if (coding == CODING_GZIP) return gzip_compress(bytes, len, ret_len);
    size_t size = ZSTD_compressBound(len);
    char *out = seg_alloc(size, 1);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_true(out != NULL && c != NULL);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    *ret_len = ZSTD_compress2(c, out, size, bytes, len);
    ZSTD_freeCCtx(c);
    assert_false(ZSTD_isError(*ret_len));
    return out;
}

static void same(const struct http_body *b, const char *bytes, size_t len)
{
    char out[7777];
    assert_int_equal(b->len, len);
    for (uint64_t at = 0;;) {
        long n = body_read(b, at, out, sizeof(out));
        assert_true(n >= 0);
        if (n == 0) {
            assert_int_equal(at, len);
            return;
        }
        assert_memory_equal(out, bytes + at, (size_t)n);
        at += (uint64_t)n;
    }
}

static void body_sink_gives_back_what_it_took_at_every_size(void **state)
{
    (void)state;
    static const size_t SIZES[] = {
        0, 1, 1023, 1024, 1025, BODY_MEMORY_MAX - 1, BODY_MEMORY_MAX, BODY_MEMORY_MAX + 1, N_BYTES
    };
    char *bytes = sample(N_BYTES);
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++) {
        struct http_body b;
        assert_int_equal(through(bytes, SIZES[i], 40000, N_BYTES, PLAIN, &b), BODY_TAKEN);
        assert_true((b.data == NULL) == (SIZES[i] > BODY_MEMORY_MAX));
        same(&b, bytes, SIZES[i]);
        body_release(&b);
    }
    seg_free(bytes);
}

static void body_of_the_announced_length_is_allocated_once(void **state)
{
    (void)state;
    char *bytes = sample(14000);
    struct http_body b;
    seg_alloc_fail_at(2);
    enum http_error e = through(bytes, 14000, 1000, 14000, PLAIN, &b);
    seg_alloc_fail_at(0);
    assert_int_equal(e, BODY_TAKEN);
    same(&b, bytes, 14000);
    body_release(&b);
    seg_free(bytes);
}

static void body_sink_refuses_the_first_byte_over_the_limit(void **state)
{
    (void)state;
    char *bytes = sample(5000);
    struct http_body b;
    assert_int_equal(through(bytes, 5000, 7, 5000, PLAIN, &b), BODY_TAKEN);
    body_release(&b);
    assert_int_equal(through(bytes, 5000, 7, 4999, PLAIN, &b), ERR_TOO_LARGE);
    assert_int_equal(through(bytes, 5000, 5000, 4999, PLAIN, &b), ERR_TOO_LARGE);
    seg_free(bytes);
}

static void body_sink_inflates_pieces_of_any_length(void **state)
{
    (void)state;
    static const size_t PIECES[] = { 1, 2, 17, 4096, N_BYTES };
    char *bytes = sample(N_BYTES);
    for (int coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
        size_t len = 0;
        char *small = compress(bytes, N_BYTES, coding, &len);
        assert_non_null(small);
        for (size_t i = 0; i < sizeof(PIECES) / sizeof(PIECES[0]); i++) {
            struct http_body b;
            enum http_error e = through(small, len, PIECES[i], N_BYTES, coding, &b);
            if (len < N_BYTES / BODY_RATIO_MAX) { /* zstd folds the sample too well */
                assert_int_equal(e, ERR_TOO_LARGE);
                continue;
            }
            assert_int_equal(e, BODY_TAKEN);
            same(&b, bytes, N_BYTES);
            body_release(&b);
            assert_int_equal(through(small, len, PIECES[i], N_BYTES - 1, coding, &b),
                             ERR_TOO_LARGE);
        }
        seg_free(small);
    }
    seg_free(bytes);
}

static void members_and_frames_may_follow_one_another(void **state)
{
    (void)state;
    char *bytes = sample(200000);
    for (int coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
        size_t n_first, n_second;
        char *first = compress(bytes, 150000, coding, &n_first);
        char *second = compress(bytes + 150000, 50000, coding, &n_second);
        char *both = seg_alloc(n_first + n_second, 1);
        assert_true(first != NULL && second != NULL && both != NULL);
        memcpy(both, first, n_first);
        memcpy(both + n_first, second, n_second);
        for (size_t piece = 1; piece < 1000; piece = piece * 3 + 1) {
            struct http_body b;
            assert_int_equal(through(both, n_first + n_second, piece, 200000, coding, &b),
                             BODY_TAKEN);
            same(&b, bytes, 200000);
            body_release(&b);
            assert_int_equal(through(both, n_first + n_second - 1, piece, 200000, coding, &b),
                             ERR_BAD_BODY);
        }
        seg_free(both);
        seg_free(second);
        seg_free(first);
    }
    seg_free(bytes);
}

static void body_sink_stops_what_inflates_beyond_reason(void **state)
{
    (void)state;
    size_t len, size = (size_t)64 << 20;
    char *zeros = seg_calloc(size, 1);
    assert_non_null(zeros);
    struct http_body b;
    char *small = compress(zeros, size, CODING_ZSTD, &len);
    assert_true(len < size / BODY_RATIO_MAX);
    assert_int_equal(through(small, len, 1000, size, CODING_ZSTD, &b), ERR_TOO_LARGE);
    seg_free(small);
    small = compress(zeros, BODY_MEMORY_MAX, CODING_ZSTD, &len); /* small enough for any ratio */
    assert_int_equal(through(small, len, 1000, size, CODING_ZSTD, &b), BODY_TAKEN);
    body_release(&b);
    seg_free(small);
    seg_free(zeros);
}

static void body_sink_refuses_what_is_damaged_anywhere(void **state)
{
    (void)state;
    char *bytes = sample(3000);
    for (int coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
        size_t len = 0;
        char *small = compress(bytes, 3000, coding, &len);
        assert_non_null(small);
        struct http_body b;
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(through(small, cut, 64, 10000, coding, &b), ERR_BAD_BODY);
        for (size_t i = 0; i < len; i++) {
            if (coding == CODING_GZIP && i >= 4 && i < 10)
                continue; /* time, flags of the compressor and system mean nothing */
            small[i] = (char)~small[i];
            enum http_error e = through(small, len, 64, 10000, coding, &b);
            if (e == BODY_TAKEN) { /* a damaged byte that inflates to the very same bytes is none */
                same(&b, bytes, 3000);
                body_release(&b);
            } else {
                assert_true(e == ERR_BAD_BODY || e == ERR_TOO_LARGE);
            }
            small[i] = (char)~small[i];
        }
        seg_free(small);
    }
    seg_free(bytes);
}

static void body_sink_says_so_when_the_spool_folder_is_not_there(void **state)
{
    (void)state;
    char *bytes = sample(N_BYTES);
    struct body_sink s;
    body_sink_init(&s, N_BYTES, "/nonexistent");
    assert_int_equal(body_sink_write(&s, bytes, BODY_MEMORY_MAX, N_BYTES), BODY_TAKEN);
    assert_int_equal(body_sink_write(&s, bytes, 1, N_BYTES), ERR_NO_SPACE);
    body_sink_release(&s);
    seg_free(bytes);
}

static void body_sink_survives_every_failed_allocation(void **state)
{
    (void)state;
    char *bytes = sample(200000);
    for (int coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
        size_t len = 0;
        char *small = compress(bytes, 200000, coding, &len);
        assert_non_null(small);
        enum http_error e = ERR_NO_MEMORY;
        uint64_t nth = 1;
        for (; e != BODY_TAKEN; nth++) {
            struct http_body b;
            seg_alloc_fail_at(nth);
            e = through(small, len, 1000, 200000, coding, &b);
            seg_alloc_fail_at(0);
            if (e != BODY_TAKEN)
                assert_int_equal(e, ERR_NO_MEMORY);
            else
                body_release(&b);
            assert_true(nth < 100);
        }
        assert_true(nth > 5);
        seg_free(small);
    }
    seg_free(bytes);
}

static void gzip_compress_leaves_alone_what_would_not_shrink(void **state)
{
    (void)state;
    char noise[2000];
    uint32_t r = 7;
    for (size_t i = 0; i < sizeof(noise); i++) {
        r = r * 1664525u + 1013904223u;
        noise[i] = (char)(r >> 24);
    }
    size_t len = 0;
    assert_null(gzip_compress(noise, sizeof(noise), &len));
    assert_null(gzip_compress("", 0, &len));
}

struct source {
    const char *bytes;
    size_t len, at, piece;
    bool breaks; /* at its end */
};

static long source_read(void *ctx, char *out, size_t size)
{
    struct source *s = ctx;
    size_t n = s->len - s->at < s->piece ? s->len - s->at : s->piece;
    if (n == 0) return s->breaks ? -1 : 0;
    if (n > size) n = size;
    memcpy(out, s->bytes + s->at, n);
    s->at += n;
    return (long)n;
}

/* All that a writer gives in pieces, into out; -1 when it fails, -2 when it cannot begin. */
static long write_all(struct source *from, char *out, size_t size, size_t piece)
{
    struct gzip_writer *w = gzip_writer_new(source_read, from);
    long n = w != NULL ? 1 : -2;
    size_t len = 0;
    while (n > 0 && len < size) {
        n = gzip_writer_read(w, out + len, size - len < piece ? size - len : piece);
        if (n > 0) len += (size_t)n;
    }
    gzip_writer_free(w);
    return n < 0 ? n : (long)len;
}

static void gzip_writer_packs_what_its_source_gives(void **state)
{
    (void)state;
    static const size_t SIZES[] = { 0, 1, 1000, N_BYTES };
    char *bytes = sample(N_BYTES), *out = seg_alloc(N_BYTES, 1);
    assert_non_null(out);
    for (size_t i = 0; i < sizeof(SIZES) / sizeof(SIZES[0]); i++)
        for (size_t piece = 1; piece < 1000000; piece = piece * 30 + 1) {
            struct source from = { bytes, SIZES[i], 0, piece + 5, false };
            struct http_body b;
            long len = write_all(&from, out, N_BYTES, piece);
            assert_true(len > 0);
            assert_int_equal(through(out, (size_t)len, 4096, N_BYTES, CODING_GZIP, &b), BODY_TAKEN);
            same(&b, bytes, SIZES[i]);
            body_release(&b);
            from = (struct source){ bytes, SIZES[i], 0, piece + 5, true };
            assert_int_equal(write_all(&from, out, N_BYTES, piece), -1);
        }
    long len = -2;
    for (uint64_t nth = 1; len == -2; nth++) {
        struct source from = { bytes, 1000, 0, 100, false };
        seg_alloc_fail_at(nth);
        len = write_all(&from, out, N_BYTES, 500);
        seg_alloc_fail_at(0);
        assert_true(nth < 100);
    }
    assert_true(len > 0);
    seg_free(out);
    seg_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(body_sink_gives_back_what_it_took_at_every_size),
        cmocka_unit_test(body_of_the_announced_length_is_allocated_once),
        cmocka_unit_test(body_sink_refuses_the_first_byte_over_the_limit),
        cmocka_unit_test(body_sink_inflates_pieces_of_any_length),
        cmocka_unit_test(members_and_frames_may_follow_one_another),
        cmocka_unit_test(body_sink_stops_what_inflates_beyond_reason),
        cmocka_unit_test(body_sink_refuses_what_is_damaged_anywhere),
        cmocka_unit_test(body_sink_says_so_when_the_spool_folder_is_not_there),
        cmocka_unit_test(body_sink_survives_every_failed_allocation),
        cmocka_unit_test(gzip_compress_leaves_alone_what_would_not_shrink),
        cmocka_unit_test(gzip_writer_packs_what_its_source_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
