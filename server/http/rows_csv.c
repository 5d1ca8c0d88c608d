/* CSV bodies for scoring. Records are split where they lie: a field is borrowed from the bytes, or
 * unquoted into the batch's arena when it has a doubled quote. */
#include <stdio.h>
#include <strings.h>

#include "base/alloc.h"
#include "http/number.h"
#include "http/rows_private.h"
#include "json/json.h"

#define COLUMN_USER_ID (-2)

struct rows_csv {
    uint32_t n_columns;
    size_t line;   /* of the next record, 1-based */
    int columns[]; /* feature of each column, or COLUMN_USER_ID */
};

struct field_text {
    const char *text;
    size_t len;
    bool quoted;
};

/* Bytes up to the end of the record at p, without its line end; *ret_used with it. 0 used: the end
 * is not there. Quotes count where a field begins. */
static size_t record_len(const char *p, size_t len, bool final, size_t *ret_used, size_t *ret_lines)
{
    bool quoted = false, at_start = true;
    const char *feed = memchr(p, '\n', len);
    *ret_lines = 1;
    if (feed != NULL && memchr(p, '"', (size_t)(feed - p)) == NULL) { /* mostly */
        *ret_used = (size_t)(feed - p) + 1;
        return feed > p && feed[-1] == '\r' ? *ret_used - 2 : *ret_used - 1;
    }
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (quoted) {
            if (c == '\n') ++*ret_lines;
            if (c != '"') continue;
            if (i + 1 == len && !final) break;
            if (i + 1 < len && p[i + 1] == '"')
                i++;
            else
                quoted = false;
            continue;
        }
        if (c == '\n') {
            *ret_used = i + 1;
            return i > 0 && p[i - 1] == '\r' ? i - 1 : i;
        }
        quoted = c == '"' && at_start;
        at_start = c == ',';
    }
    *ret_used = final ? len : 0;
    return len > 0 && p[len - 1] == '\r' ? len - 1 : len;
}

static const char OUT_OF_MEMORY[] = "out of memory";

/* The next field of p..end; *p moves behind it and its comma, *ret_last when there was none. NULL,
 * or what is wrong: OUT_OF_MEMORY itself when that is it. */
static const char *next_field(struct rows *r, const char **p, const char *end,
                              struct field_text *ret, bool *ret_last)
{
    const char *start = *p;
    if (start < end && *start == '"') {
        const char *q = ++start;
        bool doubled = false;
        for (; q < end && (*q != '"' || (q + 1 < end && q[1] == '"')); q++)
            if (*q == '"') {
                doubled = true;
                q++;
            }
        if (q >= end) return "a quoted field is not closed";
        *ret = (struct field_text){ start, (size_t)(q - start), true };
        *p = q + 1;
        if (*p < end && **p != ',') return "a quoted field is followed by more text";
        if (doubled) {
            char *out = seg_arena_alloc(&r->arena, ret->len);
            if (out == NULL) return OUT_OF_MEMORY;
            size_t n = 0;
            for (const char *s = start; s < q; s++) {
                out[n++] = *s;
                s += *s == '"';
            }
            *ret = (struct field_text){ out, n, true };
        }
    } else {
        const char *comma = memchr(start, ',', (size_t)(end - start));
        *p = comma ? comma : end;
        *ret = (struct field_text){ start, (size_t)(*p - start), false };
    }
    *ret_last = *p == end;
    if (!*ret_last) ++*p;
    return NULL;
}

static enum rows_status refuse(struct rows_error *e, size_t line, const char *code,
                               const char *detail, const char *name)
{
    *e = (struct rows_error){ .code = code, .line = line, .column = 1 };
    snprintf(e->detail, sizeof(e->detail), "%s%s%.100s", detail, *name ? ": " : "", name);
    return ROWS_REFUSED;
}

static enum rows_status no_memory(struct rows_error *e, size_t line)
{
    refuse(e, line, "no_memory", OUT_OF_MEMORY, "");
    return ROWS_NO_MEMORY;
}

enum rows_status rows_csv_header(struct rows *r, const char *bytes, size_t len, int final,
                                 struct rows_csv **ret_csv, size_t *ret_used, struct rows_error *e)
{
    size_t bom = len >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0, used, lines;
    size_t n_columns = 1;
    *ret_used = 0;
    const char *p = bytes + bom;
    size_t record = record_len(p, len - bom, final, &used, &lines);
    if (used == 0 && !final) return ROWS_OK;
    if (record == 0)
        return refuse(e, 1, "bad_header",
                      "a header row with the names of the columns must come first", "");
    if (!utf8_valid(p, record))
        return refuse(e, 1, "not_utf8", "the header is not valid UTF-8", "");
    for (size_t i = 0; i < record; i++)
        n_columns += p[i] == ',';
    if (n_columns > SEG_FEATURES_MAX + 1)
        return refuse(e, 1, "bad_header", "more than 1024 columns", "");
    struct rows_csv *csv = seg_calloc(1, sizeof(*csv) + n_columns * sizeof(csv->columns[0]));
    if (csv == NULL || !rows_prepare(r)) {
        seg_free(csv);
        return no_memory(e, 1);
    }
    const char *end = p + record, *fault = NULL;
    char name[SEG_NAME_BYTES_MAX + 1] = "";
    for (bool last = false; !last && fault == NULL;) {
        struct field_text f;
        fault = next_field(r, &p, end, &f, &last);
        if (fault != NULL) break;
        snprintf(name, sizeof(name), "%.*s",
                 (int)(f.len < SEG_NAME_BYTES_MAX ? f.len : SEG_NAME_BYTES_MAX), f.text);
        int column = f.len == 7 && memcmp(f.text, "user_id", 7) == 0
                         ? COLUMN_USER_ID
                         : seg_schema_find(r->schema, f.text, f.len);
        if (column == -1) fault = "the model has no such feature";
        for (uint32_t i = 0; i < csv->n_columns && fault == NULL; i++)
            if (csv->columns[i] == column) fault = "a column is named twice";
        if (column >= 0 && r->schema->features[column].type == SEG_VECTOR)
            fault = "vectors do not fit in CSV; use JSON";
        csv->columns[csv->n_columns++] = column;
    }
    if (fault != NULL) {
        seg_free(csv);
        if (fault == OUT_OF_MEMORY) return no_memory(e, 1);
        return refuse(e, 1, "bad_header", fault, name);
    }
    csv->line = 1 + lines;
    *ret_used = bom + used;
    *ret_csv = csv;
    return ROWS_OK;
}

static bool is_word(const struct field_text *f, const char *word)
{
    return strlen(word) == f->len && strncasecmp(f->text, word, f->len) == 0;
}

/* NA, N/A, NaN and null, in any case and without quotes, and empty fields. */
static bool is_missing(const struct field_text *f)
{
    if (f->len == 0) return true;
    if (f->quoted || f->len > 4 || (*f->text | 0x20) != 'n') return false;
    return is_word(f, "na") || is_word(f, "nan") || is_word(f, "n/a") || is_word(f, "null");
}

static void read_value(struct rows *r, int feature, const struct field_text *f, size_t line,
                       size_t column)
{
    const struct seg_feature *own = &r->schema->features[feature];
    float x;
    if (is_missing(f)) return;
    switch (own->type) {
    case SEG_NUMERIC:
        if (number_read(f->text, f->len, &x) == f->len)
            rows_number(r, feature, x, line, column);
        else
            rows_fault(r, feature, "wrong_type", NULL, "must be a number", line, column);
        break;
    case SEG_BOOLEAN: {
        bool yes = is_word(f, "true") || is_word(f, "1"),
             no = is_word(f, "false") || is_word(f, "0");
        if (yes || no)
            rows_cell(r, own->cell)->number = yes ? 1.0f : 0.0f;
        else
            rows_fault(r, feature, "wrong_type", NULL, "must be true or false", line, column);
        break;
    }
    case SEG_TIMESTAMP: rows_timestamp(r, feature, f->text, f->len, line, column); break;
    case SEG_CATEGORICAL: rows_category(r, own, f->text, f->len); break;
    case SEG_VECTOR: break; /* refused in the header */
    }
}

/* A number for a number, at p: behind it and its comma, or p when the field is anything else. *last
 * when there was no comma. Mostly this spares looking for the field's end first. */
static inline const char *read_number(struct rows *r, int feature, const char *p, const char *end,
                                      bool *last)
{
    const struct rows_key *key = &r->keys[feature];
    float x;
    if (!key->is_numeric) return p;
    size_t used = number_read(p, (size_t)(end - p), &x);
    if (used == 0 || x - x != 0 || (p + used < end && p[used] != ',')) return p;
    rows_cell(r, key->cell)->number = x;
    *last = p + used == end;
    return p + used + !*last;
}

/* One record into a new row. False: no memory. */
static bool read_record(struct rows_csv *csv, struct rows *r, const char *p, size_t len)
{
    const char *end = p + len, *start = p;
    uint32_t n = 0;
    if (!rows_add(r)) return false;
    if (!utf8_valid(p, len)) {
        rows_fault(r, -1, "not_utf8", NULL, "the row is not valid UTF-8", csv->line, 1);
        return true;
    }
    for (bool last = false; !last; n++) {
        struct field_text f;
        size_t column = (size_t)(p - start) + 1;
        if (n < csv->n_columns && csv->columns[n] >= 0) {
            const char *behind = read_number(r, csv->columns[n], p, end, &last);
            if (behind > p) {
                p = behind;
                continue;
            }
        }
        const char *fault = next_field(r, &p, end, &f, &last);
        if (fault == OUT_OF_MEMORY) return false;
        if (fault != NULL) {
            rows_fault(r, -1, "bad_record", NULL, fault, csv->line, column);
            return true;
        }
        if (n >= csv->n_columns) continue;
        if (csv->columns[n] != COLUMN_USER_ID)
            read_value(r, csv->columns[n], &f, csv->line, column);
        else if (f.len > 0)
            rows_user_id(r, f.text, f.len, csv->line, column);
    }
    if (n != csv->n_columns)
        rows_fault(r, -1, "ragged_row", NULL,
                   "the row has another number of fields than the header", csv->line, 1);
    return true;
}

enum rows_status rows_csv_decode(struct rows_csv *csv, struct rows *r, const char *bytes,
                                 size_t len, int final, uint32_t n_rows_max, size_t *ret_used,
                                 struct rows_error *e)
{
    size_t at = 0;
    *ret_used = 0;
    while (at < len && r->n_rows < n_rows_max) {
        size_t used, lines;
        size_t record = record_len(bytes + at, len - at, final, &used, &lines);
        if (used == 0) break;
        if (record > 0 && !read_record(csv, r, bytes + at, record)) return no_memory(e, csv->line);
        csv->line += lines;
        at += used;
        *ret_used = at;
    }
    return ROWS_OK;
}

void rows_csv_free(struct rows_csv *csv)
{
    seg_free(csv);
}
