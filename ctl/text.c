/* UTF-8 is decoded here and not by mbrtowc, so that bytes that are none cost one mark each and
 * never a state that sticks. */
#include "text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <wchar.h>

#define REPLACEMENT      0xfffdu
#define REPLACEMENT_UTF8 "\xef\xbf\xbd"

static bool is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x061c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* Decodes one character, safe or not; *ret is REPLACEMENT when the bytes are no UTF-8. */
static size_t decode(const char *s, size_t len, uint32_t *ret)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 }; /* by length, not overlong */
    if (len == 0) return 0;
    unsigned char lead = (unsigned char)s[0];
    size_t n = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    *ret = REPLACEMENT;
    if (n == 0 || lead > 0xf4) return 1;
    uint32_t c = n == 1 ? lead : lead & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (i == len) return 0;
        if (((unsigned char)s[i] & 0xc0) != 0x80) return 1;
        c = c << 6 | ((unsigned char)s[i] & 0x3fu);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 1;
    *ret = c;
    return n;
}

size_t text_next(const char *s, size_t len, uint32_t *ret)
{
    size_t n = decode(s, len, ret);
    if (n > 0 && is_unsafe(*ret)) *ret = REPLACEMENT;
    return n;
}

/* The next character of a whole text: an end inside a character is a fault and no wait. */
static size_t next_or_mark(const char *s, size_t len, uint32_t *ret)
{
    size_t n = text_next(s, len, ret);
    if (n == 0 && len > 0) {
        *ret = REPLACEMENT;
        n = 1;
    }
    return n;
}

static size_t width_of(uint32_t c)
{
    int w = wcwidth((wchar_t)c);
    return w < 0 ? 1 : (size_t)w;
}

size_t text_width(const char *s)
{
    size_t width = 0, len = strlen(s), n;
    uint32_t c;
    for (size_t at = 0; (n = next_or_mark(s + at, len - at, &c)) > 0; at += n)
        width += width_of(c);
    return width;
}

static void write_character(FILE *out, uint32_t c, const char *s, size_t n)
{
    if (c == REPLACEMENT)
        fputs(REPLACEMENT_UTF8, out);
    else
        fwrite(s, 1, n, out);
}

size_t text_write_within(FILE *out, const char *s, size_t n_columns)
{
    size_t width = 0, len = strlen(s), n;
    uint32_t c;
    for (size_t at = 0; (n = next_or_mark(s + at, len - at, &c)) > 0; at += n) {
        if (width + width_of(c) > n_columns) break;
        width += width_of(c);
        write_character(out, c, s + at, n);
    }
    return width;
}

void text_write(FILE *out, const char *s)
{
    text_write_within(out, s, SIZE_MAX);
}

void text_write_json(FILE *out, const char *json, size_t len)
{
    for (size_t at = 0, n; at < len; at += n) {
        uint32_t c = 0;
        n = decode(json + at, len - at, &c);
        if (n == 0) n = 1;
        /* Below U+0020 JSON itself allows but the white space between its tokens. */
        if (c >= 0x7f && is_unsafe(c))
            fprintf(out, "\\u%04x", (unsigned)c);
        else
            fwrite(json + at, 1, n, out);
    }
}

static void filter_character(FILE *out, uint32_t c, const char *s, size_t n)
{
    bool passes = n == 1 && (*s == '\n' || *s == '\r' || *s == '\t');
    write_character(out, passes ? (uint32_t)*s : c, s, n);
}

void text_filter_write(struct text_filter *f, FILE *out, const char *bytes, size_t len)
{
    uint32_t c;
    size_t n;
    while (f->n_held > 0 && len > 0) { /* at most three rounds: a character has four bytes */
        f->held[f->n_held++] = *bytes++;
        len--;
        n = text_next(f->held, f->n_held, &c);
        if (n == 0) continue;
        filter_character(out, c, f->held, n);
        f->n_held -= n;
        memmove(f->held, f->held + n, f->n_held);
        for (; f->n_held > 0 && (n = text_next(f->held, f->n_held, &c)) > 0; f->n_held -= n) {
            filter_character(out, c, f->held, n);
            memmove(f->held, f->held + n, f->n_held - n);
        }
    }
    for (; (n = text_next(bytes, len, &c)) > 0; bytes += n, len -= n)
        filter_character(out, c, bytes, n);
    if (len > 0) {
        memcpy(f->held, bytes, len);
        f->n_held = len;
    }
}

__attribute__((format(printf, 2, 0))) static void write_line(FILE *out, const char *fmt,
                                                             va_list args)
{
    char line[2048];
    vsnprintf(line, sizeof(line), fmt, args);
    text_write(out, line);
    fputc('\n', out);
}

void say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    write_line(stdout, fmt, args);
    va_end(args);
}

void complain(const char *fmt, ...)
{
    va_list args;
    fputs("segmentctl: ", stderr);
    va_start(args, fmt);
    write_line(stderr, fmt, args);
    va_end(args);
}
