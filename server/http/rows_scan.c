/* The rules that the hot paths do not need: escapes, values that are left out, faults. */
#include "http/rows_scan.h"

#include <stdio.h>

#include "json/json.h"

bool scan_fail(struct scan *s, const char *code, const char *pointer, const char *detail)
{
    struct rows_error *e = s->e;
    *e = (struct rows_error){ .code = code, .line = 1 };
    const char *line = s->start;
    for (const char *p = s->start; p < s->at; p++)
        if (*p == '\n') {
            e->line++;
            line = p + 1;
        }
    e->column = (size_t)(s->at - line) + 1;
    snprintf(e->pointer, sizeof(e->pointer), "%s", pointer);
    snprintf(e->detail, sizeof(e->detail), "%s", detail);
    s->status = ROWS_REFUSED;
    return false;
}

bool scan_no_memory(struct scan *s)
{
    scan_fail(s, "no_memory", "", "out of memory");
    s->status = ROWS_NO_MEMORY;
    return false;
}

bool scan_is_text(struct scan *s)
{
    const size_t len = (size_t)(s->end - s->start), valid = utf8_prefix(s->start, len);
    if (valid == len) return true;
    s->at = s->start + valid;
    return scan_fail(s, "not_utf8", "", "the body is not valid UTF-8 without NUL from here on");
}

bool scan_open(struct scan *s, char bracket, const char *pointer, const char *detail)
{
    if (scan_peek(s, bracket)) {
        s->at++;
        return true;
    }
    const char *at = s->at;
    if (!scan_skip_value(s)) return false; /* not even JSON */
    s->at = at;
    return scan_fail(s, "wrong_type", pointer, detail);
}

bool scan_word(struct scan *s, const char *word, size_t len)
{
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, word, len) != 0)
        return scan_fail(s, "not_json", "", "expected a value");
    s->at += len;
    return true;
}

bool scan_descend(struct scan *s)
{
    return ++s->depth <= JSON_DEPTH_MAX ||
           scan_fail(s, "too_deep", "", "the body is nested more than 32 deep");
}

bool scan_finish(struct scan *s)
{
    s->at = skip_blanks(s->at, s->end);
    return s->at == s->end ||
           scan_fail(s, "not_json", "", "there are bytes after the end of the document");
}

static int hex4(const char *p, const char *end)
{
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        v = v * 16 + digit;
    }
    return v;
}

static char *put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xC0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *out++ = (char)(0xE0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    } else {
        *out++ = (char)(0xF0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3F));
        *out++ = (char)(0x80 | (c >> 6 & 0x3F));
        *out++ = (char)(0x80 | (c & 0x3F));
    }
    return out;
}

/* One escape at p (after the backslash); NULL when it is none. */
static const char *escape(const char *p, const char *end, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p == end) return NULL;
    const char *simple = memchr(from, *p, sizeof(from) - 1);
    if (simple != NULL) {
        *(*out)++ = to[simple - from];
        return p + 1;
    }
    int high = *p == 'u' ? hex4(p + 1, end) : -1, low;
    if (high <= 0 || (high >= 0xDC00 && high <= 0xDFFF))
        return NULL; /* \u0000 has no place in text */
    p += 5;
    if (high < 0xD800 || high > 0xDFFF) {
        *out = put_utf8(*out, (unsigned)high);
        return p;
    }
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || (low = hex4(p + 2, end)) < 0xDC00 ||
        low > 0xDFFF)
        return NULL;
    *out = put_utf8(*out, 0x10000 + (((unsigned)high - 0xD800) << 10) + ((unsigned)low - 0xDC00));
    return p + 6;
}

/* Unescaped into the batch's arena. */
bool scan_unescape(struct scan *s, const char *start, const char **ret, size_t *ret_len)
{
    const char *close = s->at;
    while (close < s->end && *close != '"')
        close += *close == '\\' && s->end - close > 1 ? 2 : 1;
    if (close == s->end) return scan_fail(s, "not_json", "", "a string is not closed");
    char *text = seg_arena_alloc(&s->r->arena, (size_t)(close - start) + 1), *out = text;
    if (text == NULL) return scan_no_memory(s);
    for (const char *p = start; p < close;) {
        const char *stop = plain_end(p, close);
        memcpy(out, p, (size_t)(stop - p));
        out += stop - p;
        s->at = p = stop;
        if (p == close) break;
        if (*p != '\\')
            return scan_fail(s, "not_json", "", "a control character in a string must be escaped");
        if ((p = escape(p + 1, close, &out)) == NULL)
            return scan_fail(s, "not_json", "", "a bad escape in a string");
    }
    s->at = close + 1;
    *ret = text;
    *ret_len = (size_t)(out - text);
    return true;
}

/* Recursion is bounded by JSON_DEPTH_MAX. */
static bool skip_container(struct scan *s, char close)
{
    const char *text;
    size_t len;
    bool again;
    s->at++;
    if (!scan_enter(s, close, &again)) return false;
    while (again)
        if ((close == '}' && !scan_key(s, &text, &len)) || !scan_skip_value(s) ||
            !scan_more(s, close, &again))
            return false;
    s->depth--;
    return true;
}

bool scan_skip_value(struct scan *s)
{
    const char *text;
    size_t len;
    float x;
    s->at = skip_blanks(s->at, s->end);
    switch (s->at < s->end ? *s->at : '\0') {
    case '"': s->at++; return scan_string(s, &text, &len);
    case 't': return scan_word(s, "true", 4);
    case 'f': return scan_word(s, "false", 5);
    case 'n': return scan_word(s, "null", 4);
    case '[': return skip_container(s, ']');
    case '{': return skip_container(s, '}');
    default: break;
    }
    size_t used = number_parse(s->at, (size_t)(s->end - s->at), &x);
    if (used == 0) return scan_fail(s, "not_json", "", "expected a value");
    s->at += used;
    return true;
}
