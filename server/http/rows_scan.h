/* rows_scan.h - the JSON grammar under rows_json.c: one reader that goes over the bytes once and
 * builds nothing. The bytes are valid UTF-8 without NUL (checked before), so a byte of 0x80 or more
 * can only stand in a string. Every function that returns bool returns false after it has said why
 * in *e. Private to the decoders of rows. */
#ifndef SERVER_HTTP_ROWS_SCAN_H
#define SERVER_HTTP_ROWS_SCAN_H

#include <endian.h>
#include "http/rows_private.h"

struct scan {
    struct rows *r;
    const char *at, *end, *start;
    struct rows_error *e;
    enum rows_status status; /* once something failed */
    unsigned depth;
    size_t line; /* of an NDJSON row, for its faults; 0 otherwise */
};

/* Refuses the body at s->at. */
__attribute__((cold)) bool scan_fail(struct scan *s, const char *code, const char *pointer,
                                     const char *detail);
__attribute__((cold)) bool scan_no_memory(struct scan *s);
/* Checks that the bytes are UTF-8. */
bool scan_is_text(struct scan *s);
/* Takes the word, or fails. */
bool scan_word(struct scan *s, const char *word, size_t len);
/* One level deeper; JSON_DEPTH_MAX of them. */
bool scan_descend(struct scan *s);
/* Takes any value, checked and left out. */
bool scan_skip_value(struct scan *s);
/* Takes the bracket that must begin the value; a value of another kind is wrong_type. */
bool scan_open(struct scan *s, char bracket, const char *pointer, const char *detail);
/* scan_string where the string, which begins at start, has an escape at s->at. */
bool scan_unescape(struct scan *s, const char *start, const char **ret, size_t *ret_len);
/* Nothing but blanks may follow. */
bool scan_finish(struct scan *s);

/* rows_values.c: {"user_id"?, "features"} as a new row; */
bool rows_json_named(struct scan *s);
/* [31, "app"] as a new row; */
bool rows_json_data(struct scan *s, const uint16_t *columns, uint32_t n_columns);
/* the last row's id: a string, or a whole number up to 2^53. */
bool rows_json_id(struct scan *s);

static inline bool scan_is(const char *text, size_t len, const char *wanted)
{
    return strlen(wanted) == len && memcmp(text, wanted, len) == 0;
}

/* p behind blanks. */
static inline const char *skip_blanks(const char *p, const char *end)
{
    for (; p < end && (unsigned char)*p <= ' '; p++) /* mostly there are none */
        if (*p != ' ' && *p != '\n' && *p != '\r' && *p != '\t') break;
    return p;
}

static inline bool scan_peek(struct scan *s, char c)
{
    s->at = skip_blanks(s->at, s->end);
    return s->at < s->end && *s->at == c;
}

/* Takes c, which must be next. */
static inline bool scan_expect(struct scan *s, char c, const char *detail)
{
    if (!scan_peek(s, c)) return scan_fail(s, "not_json", "", detail);
    s->at++;
    return true;
}

/* After an element: a comma (*ret_again) or the closing bracket. */
static inline bool scan_more(struct scan *s, char close, bool *ret_again)
{
    s->at = skip_blanks(s->at, s->end);
    if (s->at < s->end && (*s->at == ',' || *s->at == close)) {
        *ret_again = *s->at++ == ',';
        return true;
    }
    return scan_fail(s, "not_json", "", close == '}' ? "expected , or }" : "expected , or ]");
}

/* Behind an opening bracket: *ret_again when the container is not empty. Leave it by s->depth--. */
static inline bool scan_enter(struct scan *s, char close, bool *ret_again)
{
    if (!scan_descend(s)) return false;
    *ret_again = !scan_peek(s, close);
    s->at += !*ret_again;
    return true;
}

/* The first byte from p on that ends the plain part of a string: a quote, a backslash or a control
 * character; or end. Eight bytes at a time: in the differences below the lowest bit 7 that is set
 * belongs to such a byte, since what borrows can only spoil the bytes above it. */
static inline const char *plain_end(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
    for (; end - p >= 8; p += 8) {
        uint64_t v;
        memcpy(&v, p, sizeof(v));
        v = le64toh(v);
        uint64_t quote = v ^ ones * '"', slash = v ^ ones * '\\';
        uint64_t hit =
            ((v - ones * 0x20) & ~v) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash);
        if ((hit & high) != 0) return p + __builtin_ctzll(hit & high) / 8;
    }
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    return p;
}

/* Takes a string whose opening quote was taken. Borrowed from the body where it has no escapes. */
static inline bool scan_string(struct scan *s, const char **ret, size_t *ret_len)
{
    const char *start = s->at, *p = plain_end(start, s->end);
    s->at = p;
    if (p == s->end) return scan_fail(s, "not_json", "", "a string is not closed");
    if (*p == '\\') return scan_unescape(s, start, ret, ret_len);
    if (*p != '"')
        return scan_fail(s, "not_json", "", "a control character in a string must be escaped");
    *ret = start;
    *ret_len = (size_t)(p - start);
    s->at = p + 1;
    return true;
}

/* Takes a member's name and the colon. */
static inline bool scan_key(struct scan *s, const char **ret, size_t *ret_len)
{
    return scan_expect(s, '"', "expected a key in quotes") && scan_string(s, ret, ret_len) &&
           scan_expect(s, ':', "expected : after a key");
}

#endif
