/* json_scan.c - the grammar, one function a rule. Nesting is a bit stack and not recursion, so that
 * a bomb of brackets costs as many steps as it has bytes up to the limit, and no stack. */
#include "json/json_scan.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define ASCII_BLOCK 64 /* bytes checked at once */

struct scan {
    const unsigned char *start, *at, *end;
    struct json_fault *fault;
    size_t n_keys;     /* member names seen */
    size_t key_wanted; /* remember where this one stands */
    const unsigned char *key_place;
};

static void set_place(const struct scan *s, const unsigned char *place, struct json_fault *fault)
{
    fault->line = 1;
    const unsigned char *line_start = s->start;
    for (const unsigned char *p = s->start; p < place; p++) {
        if (*p == '\n') {
            fault->line++;
            line_start = p + 1;
        }
    }
    fault->column = (size_t)(place - line_start) + 1;
}

__attribute__((format(printf, 4, 5))) static bool fail(struct scan *s, const unsigned char *place,
                                                       const char *code, const char *fmt, ...)
{
    set_place(s, place, s->fault);
    s->fault->code = code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(s->fault->detail, sizeof s->fault->detail, fmt, args);
    va_end(args);
    return false;
}

static bool fail_unexpected(struct scan *s, const char *wanted)
{
    if (s->at == s->end)
        return fail(s, s->at, "not_json", "the text ends where %s must stand", wanted);
    if (*s->at >= 0x20 && *s->at < 0x7f) {
        return fail(s, s->at, "not_json", "'%c' where %s must stand", *s->at, wanted);
    }
    return fail(s, s->at, "not_json", "byte 0x%02x where %s must stand", *s->at, wanted);
}

/* True when the block is ASCII without NUL: no c and no c - 1 has its high bit. Compilers make
 * vectors of it. */
static bool is_ascii_block(const unsigned char *p)
{
    unsigned char high = 0;
    for (size_t i = 0; i < ASCII_BLOCK; i++)
        high |= p[i] | (unsigned char)(p[i] - 1);
    return high < 0x80;
}

size_t utf8_prefix(const char *s, size_t len)
{
    size_t at = 0, n;
    while (at < len) {
        if (len - at >= ASCII_BLOCK && is_ascii_block((const unsigned char *)s + at)) {
            at += ASCII_BLOCK;
            continue;
        }
        n = seg_utf8_char(s + at, len - at);
        if (n == 0 || s[at] == '\0') break;
        at += n;
    }
    return at;
}

static void skip_blanks(struct scan *s)
{
    while (s->at < s->end &&
           (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t')) {
        s->at++;
    }
}

/* The four digits after \u, or -1. */
static int hex4(const struct scan *s, const unsigned char *p)
{
    if (s->end - p < 4) return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* at stands on the backslash. */
static bool scan_escape(struct scan *s)
{
    const unsigned char *place = s->at;
    s->at++;
    if (s->at == s->end) return fail(s, place, "not_json", "the text ends in an escape");
    if (*s->at != 'u') {
        if (*s->at == '\0' || strchr("\"\\/bfnrt", *s->at) == NULL) {
            return fail(s, place, "not_json", "unknown escape in a string");
        }
        s->at++;
        return true;
    }
    int unit = hex4(s, s->at + 1);
    if (unit < 0) return fail(s, place, "not_json", "\\u without four hexadecimal digits");
    if (unit == 0) return fail(s, place, "not_json", "\\u0000 is not allowed in a string");
    s->at += 5;
    if (unit < 0xd800 || unit > 0xdfff) return true;
    bool paired = unit < 0xdc00 && s->end - s->at >= 6 && s->at[0] == '\\' && s->at[1] == 'u';
    int low = paired ? hex4(s, s->at + 2) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        return fail(s, place, "not_json", "\\u%04x is half of a surrogate pair", (unsigned)unit);
    }
    s->at += 6;
    return true;
}

/* at stands on the opening quote. */
static bool scan_string(struct scan *s)
{
    const unsigned char *place = s->at;
    s->at++;
    while (s->at < s->end) {
        unsigned char c = *s->at;
        if (c == '"') {
            s->at++;
            return true;
        }
        if (c == '\\') {
            if (!scan_escape(s)) return false;
        } else if (c < 0x20) {
            return fail(s, s->at, "not_json", "control character 0x%02x in a string", c);
        } else {
            size_t n = seg_utf8_char((const char *)s->at, (size_t)(s->end - s->at));
            if (n == 0) return fail(s, s->at, "not_utf8", "byte 0x%02x is not valid UTF-8 here", c);
            s->at += n;
        }
    }
    return fail(s, place, "not_json", "the string that begins here does not end");
}

static size_t scan_digits(struct scan *s)
{
    const unsigned char *first = s->at;
    while (s->at < s->end && *s->at >= '0' && *s->at <= '9')
        s->at++;
    return (size_t)(s->at - first);
}

static bool scan_number(struct scan *s)
{
    const unsigned char *place = s->at;
    if (*s->at == '-') s->at++;
    bool leading_zero = s->at < s->end && *s->at == '0';
    size_t n_digits = scan_digits(s);
    if (n_digits == 0) return fail_unexpected(s, "a digit");
    if (leading_zero && n_digits > 1) {
        return fail(s, place, "not_json", "a number begins with a needless zero");
    }
    if (s->at < s->end && *s->at == '.') {
        s->at++;
        if (scan_digits(s) == 0) return fail_unexpected(s, "a digit");
    }
    if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
        s->at++;
        if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
        if (scan_digits(s) == 0) return fail_unexpected(s, "a digit");
    }
    size_t n_chars = (size_t)(s->at - place);
    if (n_chars > JSON_NUMBER_CHARS_MAX) {
        return fail(s, place, "not_json", "a number of %zu characters (limit %d)", n_chars,
                    JSON_NUMBER_CHARS_MAX);
    }
    char text[JSON_NUMBER_CHARS_MAX + 1];
    memcpy(text, place, n_chars);
    text[n_chars] = '\0';
    if (!isfinite(strtod(text, NULL))) {
        return fail(s, place, "not_finite", "%s is out of the range of numbers", text);
    }
    return true;
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0) {
        return fail_unexpected(s, "a value");
    }
    s->at += n;
    return true;
}

static bool scan_scalar(struct scan *s)
{
    if (s->at == s->end) return fail_unexpected(s, "a value");
    switch (*s->at) {
    case '"': return scan_string(s);
    case 't': return scan_word(s, "true");
    case 'f': return scan_word(s, "false");
    case 'n': return scan_word(s, "null");
    default:
        if (*s->at == '-' || (*s->at >= '0' && *s->at <= '9')) return scan_number(s);
        return fail_unexpected(s, "a value");
    }
}

/* "name" : and the blanks up to the value. */
static bool scan_key(struct scan *s)
{
    skip_blanks(s);
    if (s->at == s->end || *s->at != '"') return fail_unexpected(s, "a name in quotes");
    if (s->n_keys++ == s->key_wanted) s->key_place = s->at;
    if (!scan_string(s)) return false;
    skip_blanks(s);
    if (s->at == s->end || *s->at != ':') return fail_unexpected(s, "':'");
    s->at++;
    skip_blanks(s);
    return true;
}

static bool scan_document(struct scan *s)
{
    bool is_object[JSON_DEPTH_MAX]; /* of each open bracket */
    size_t depth = 0;

    skip_blanks(s);
    for (;;) {
        /* at a value */
        if (s->at < s->end && (*s->at == '{' || *s->at == '[')) {
            if (depth == JSON_DEPTH_MAX) {
                return fail(s, s->at, "too_deep", "nested deeper than %d", JSON_DEPTH_MAX);
            }
            is_object[depth] = *s->at == '{';
            s->at++;
            skip_blanks(s);
            bool empty = s->at < s->end && *s->at == (is_object[depth] ? '}' : ']');
            depth++;
            if (!empty) {
                if (is_object[depth - 1] && !scan_key(s)) return false;
                continue;
            }
        } else if (!scan_scalar(s)) {
            return false;
        }
        /* after a value, or at the end of an empty container */
        for (;;) {
            skip_blanks(s);
            if (depth == 0) {
                return s->at == s->end || fail(s, s->at, "not_json", "bytes follow the document");
            }
            char close = is_object[depth - 1] ? '}' : ']';
            if (s->at == s->end || (*s->at != ',' && *s->at != close)) {
                return fail_unexpected(s, is_object[depth - 1] ? "',' or '}'" : "',' or ']'");
            }
            bool more = *s->at == ',';
            s->at++;
            if (more) break;
            depth--;
        }
        skip_blanks(s);
        if (is_object[depth - 1] && !scan_key(s)) return false;
    }
}

bool json_scan(const char *bytes, size_t len, struct json_fault *fault)
{
    const unsigned char *start = (const unsigned char *)bytes;
    struct scan s = { start, start, start + len, fault, 0, SIZE_MAX, NULL };
    if (len >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        return fail(&s, start, "not_json", "the text begins with a byte order mark");
    }
    return scan_document(&s);
}

void json_scan_key_place(const char *bytes, size_t len, size_t nth, struct json_fault *fault)
{
    const unsigned char *start = (const unsigned char *)bytes;
    struct json_fault ignored;
    struct scan s = { start, start, start + len, &ignored, 0, nth, start };
    scan_document(&s);
    set_place(&s, s.key_place, fault);
}
