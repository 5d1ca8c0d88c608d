/* CSV as RFC 4180 has it, and as it is found: a byte order mark, CRLF or LF, quoted separators and
 * newlines, comma, semicolon or tab (whichever the header has most of). Fields are unquoted in
 * place. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "import/source.h"
#include "json/json.h"

struct csv {
    struct source source; /* first */
    struct window window;
    struct seg_arena arena; /* column names */
    const char **names;
    struct field *fields; /* of the current record */
    size_t fields_cap, n_fields;
    char separator;
    bool header_done;
    uint64_t data_offset; /* first byte after the header */
    size_t data_line, line;
};

/* Bytes of the record at p without its line end, *ret_used with it; false when its end is not in
 * len bytes. Quotes count only where a field begins, as elsewhere they are data. */
static bool record_bytes(const char *p, size_t len, bool eof, char separator, size_t *ret_len,
                         size_t *ret_used, size_t *ret_lines)
{
    bool quoted = false, at_start = true;
    size_t lines = 1;
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (quoted) {
            if (c == '\n') lines++;
            if (c == '"' && i + 1 < len && p[i + 1] == '"')
                i++;
            else if (c == '"' && i + 1 == len && !eof)
                return false;
            else if (c == '"')
                quoted = false;
            continue;
        }
        if (c == '\n') {
            *ret_len = i > 0 && p[i - 1] == '\r' ? i - 1 : i;
            *ret_used = i + 1;
            *ret_lines = lines;
            return true;
        }
        quoted = c == '"' && at_start;
        at_start = c == separator;
    }
    *ret_len = len > 0 && p[len - 1] == '\r' ? len - 1 : len;
    *ret_used = len;
    *ret_lines = lines;
    return eof;
}

static bool add_field(struct csv *c, struct field f)
{
    if (c->n_fields == c->fields_cap) {
        size_t cap = c->fields_cap ? 2 * c->fields_cap : 64;
        struct field *more = seg_realloc(c->fields, cap, sizeof(*more));
        if (more == NULL) return false;
        c->fields = more;
        c->fields_cap = cap;
    }
    c->fields[c->n_fields++] = f;
    return true;
}

static const char OUT_OF_MEMORY[] = "out of memory";

/* Splits a record into fields, unquoting in place. NULL when it is good, else what is wrong, at
 * *ret_column: OUT_OF_MEMORY itself when that is it. */
static const char *split(struct csv *c, char *p, size_t len, size_t *ret_column)
{
    char *end = p + len, *start = p;
    c->n_fields = 0;
    for (;;) {
        struct field f = { .kind = FIELD_TEXT };
        *ret_column = (size_t)(p - start) + 1;
        if (p < end && *p == '"') {
            char *out = ++p;
            f.text = out;
            for (;; p++) {
                if (p == end) return "a quoted field is not closed";
                if (*p == '"' && (p + 1 == end || p[1] != '"')) break;
                if (*p == '"') p++;
                *out++ = *p;
            }
            f.len = (size_t)(out - f.text);
            if (f.len == 0) f.kind = FIELD_MISSING;
            p++;
            if (p < end && *p != c->separator) return "a quoted field is followed by more text";
        } else {
            char *stop = memchr(p, c->separator, (size_t)(end - p));
            f.text = p;
            p = stop ? stop : end;
            f.len = (size_t)(p - f.text);
            if (field_is_missing_text(f.text, f.len)) f.kind = FIELD_MISSING;
        }
        if (!utf8_valid(f.text, f.len)) return "the text is not valid UTF-8";
        if (!add_field(c, f)) return OUT_OF_MEMORY;
        if (p == end) return NULL;
        p++;
    }
}

static enum source_status refuse(struct csv *c, const char *code, const char *detail)
{
    snprintf(c->source.refusal, sizeof(c->source.refusal), "%s", detail);
    c->source.refusal_code = code;
    c->source.refusal_line = c->line + 1;
    return SOURCE_REFUSED;
}

/* Makes the window hold one whole record. False at the end of the body or on failure (*status). */
static bool next_bytes(struct csv *c, size_t *len, size_t *used, size_t *lines,
                       enum source_status *status)
{
    struct window *w = &c->window;
    for (;;) {
        if (w->end > w->start && record_bytes(w->data + w->start, w->end - w->start, w->eof,
                                              c->separator, len, used, lines))
            return true;
        if (w->eof) {
            *status = SOURCE_END;
            return false;
        }
        if (!window_fill(w)) {
            *status = w->end > RECORD_BYTES_MAX
                          ? refuse(c, "record_too_long",
                                   "a record is longer than 16 MiB: is a quote not closed?")
                          : SOURCE_NO_MEMORY;
            return false;
        }
    }
}

static char guess_separator(const char *p, size_t len)
{
    static const char candidates[] = { ',', ';', '\t' };
    size_t counts[3] = { 0 }, best = 0;
    bool quoted = false;
    for (size_t i = 0; i < len && (quoted || p[i] != '\n'); i++) {
        if (p[i] == '"') quoted = !quoted;
        for (size_t k = 0; k < 3 && !quoted; k++)
            counts[k] += p[i] == candidates[k];
    }
    for (size_t k = 1; k < 3; k++)
        if (counts[k] > counts[best]) best = k;
    return candidates[best];
}

static enum source_status read_header(struct csv *c)
{
    struct window *w = &c->window;
    size_t len, used, lines, column;
    enum source_status status;
    if (!window_fill(w)) return SOURCE_NO_MEMORY;
    if (w->end >= 3 && memcmp(w->data, "\xEF\xBB\xBF", 3) == 0) w->start = 3;
    c->separator = guess_separator(w->data + w->start, w->end - w->start);
    if (!next_bytes(c, &len, &used, &lines, &status))
        return status == SOURCE_END ? refuse(c, "bad_header",
                                             "the body is empty: a header row with the names of "
                                             "the columns must come first")
                                    : status;
    const char *fault = split(c, w->data + w->start, len, &column);
    if (fault == OUT_OF_MEMORY) return SOURCE_NO_MEMORY;
    if (fault != NULL) return refuse(c, "bad_header", fault);
    if (c->n_fields > SEG_FEATURES_MAX)
        return refuse(c, "too_many_columns", "more than 1024 columns");
    c->names = seg_arena_alloc(&c->arena, c->n_fields * sizeof(*c->names));
    if (c->names == NULL) return SOURCE_NO_MEMORY;
    for (size_t i = 0; i < c->n_fields; i++) {
        if (c->fields[i].len == 0 || c->fields[i].len > SEG_NAME_BYTES_MAX)
            return refuse(c, "bad_header", "a column's name is empty or longer than 255 bytes");
        c->names[i] = seg_arena_strndup(&c->arena, c->fields[i].text, c->fields[i].len);
        if (c->names[i] == NULL) return SOURCE_NO_MEMORY;
        for (size_t k = 0; k < i; k++)
            if (strcmp(c->names[k], c->names[i]) == 0) {
                refuse(c, "bad_header", "");
                snprintf(c->source.refusal, sizeof(c->source.refusal), "two columns are called %s",
                         c->names[i]);
                return SOURCE_REFUSED;
            }
    }
    c->source.columns = c->names;
    c->source.n_columns = (uint32_t)c->n_fields;
    w->start += used;
    c->line = c->data_line = lines;
    c->data_offset = w->offset - (w->end - w->start);
    c->header_done = true;
    return SOURCE_RECORD;
}

static enum source_status csv_next(struct source *s, struct record *ret)
{
    struct csv *c = (struct csv *)s;
    size_t len, used, lines, column;
    enum source_status status;
    if (!c->header_done && (status = read_header(c)) != SOURCE_RECORD) return status;
    for (;;) { /* an empty line is no record */
        if (!next_bytes(c, &len, &used, &lines, &status)) return status;
        if (len > 0) break;
        c->window.start += used;
        c->line += lines;
    }
    *ret = (struct record){ .line = c->line + 1 };
    const char *fault = split(c, c->window.data + c->window.start, len, &column);
    c->window.start += used;
    c->line += lines;
    if (fault == OUT_OF_MEMORY) return SOURCE_NO_MEMORY;
    if (fault != NULL) {
        *ret = (struct record){
            .line = ret->line, .bad = true, .code = "bad_record", .column = column, .detail = fault
        };
    } else if (c->n_fields != s->n_columns) {
        *ret = (struct record){ .line = ret->line,
                                .bad = true,
                                .code = "ragged_row",
                                .detail = "the row has another number of fields than the header" };
    }
    ret->fields = c->fields;
    return SOURCE_RECORD;
}

static bool csv_rewind(struct source *s)
{
    struct csv *c = (struct csv *)s;
    c->window.start = c->window.end = 0;
    c->window.offset = c->data_offset;
    c->window.eof = false;
    c->line = c->data_line;
    return true;
}

static void csv_free(struct source *s)
{
    struct csv *c = (struct csv *)s;
    window_release(&c->window);
    seg_arena_release(&c->arena);
    seg_free(c->fields);
    seg_free(c);
}

struct source *csv_source_new(const struct http_body *body)
{
    struct csv *c = seg_calloc(1, sizeof(*c));
    if (c == NULL) return NULL;
    c->source.next = csv_next;
    c->source.rewind = csv_rewind;
    c->source.free = csv_free;
    seg_arena_init(&c->arena, 0);
    window_init(&c->window, body);
    return &c->source;
}
