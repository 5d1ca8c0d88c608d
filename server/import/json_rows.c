/* Rows as JSON objects: one a line (NDJSON), or the elements of an array. A row is flat,
 * {"user_id": "u1", "age": 31}, or has its features apart,
 * {"user_id": "u1", "features": {"age": 31}}. Columns are the keys in order of first sight. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "import/source.h"
#include "json/json.h"

struct json_rows {
    struct source source; /* first */
    struct window window; /* NDJSON */
    bool is_ndjson;
    const struct json *rows, *at; /* an array and its next element */
    struct json *doc;             /* NDJSON: the current line */
    size_t line;
    struct seg_arena arena; /* column names */
    const char **names;
    struct field *fields;
    size_t cap;              /* of names and fields */
    struct seg_arena values; /* arrays of the current record */
    char detail[SEG_NAME_BYTES_MAX + 100];
};

static enum source_status bad_row(struct json_rows *j, struct record *ret, const char *code,
                                  size_t column, const char *detail)
{
    snprintf(j->detail, sizeof(j->detail), "%s", detail);
    *ret = (struct record){
        .line = j->line, .bad = true, .code = code, .column = column, .detail = j->detail
    };
    return SOURCE_RECORD;
}

enum { NO_COLUMN = -1, NO_MEMORY = -2 };

/* Index of a column, added when new; NO_COLUMN: too many, or not a name. */
static int column_index(struct json_rows *j, const char *key)
{
    for (uint32_t i = 0; i < j->source.n_columns; i++)
        if (strcmp(j->names[i], key) == 0) return (int)i;
    if (j->source.n_columns == SEG_FEATURES_MAX || key[0] == '\0' ||
        strlen(key) > SEG_NAME_BYTES_MAX)
        return NO_COLUMN;
    if (j->source.n_columns == j->cap) {
        size_t cap = j->cap ? 2 * j->cap : 64;
        const char **names = seg_realloc(j->names, cap, sizeof(*names));
        if (names != NULL) j->source.columns = j->names = names;
        struct field *fields = names ? seg_realloc(j->fields, cap, sizeof(*fields)) : NULL;
        if (fields == NULL) return NO_MEMORY;
        j->fields = fields;
        j->cap = cap;
    }
    const char *name = seg_arena_strndup(&j->arena, key, strlen(key));
    if (name == NULL) return NO_MEMORY;
    j->names[j->source.n_columns] = name;
    j->fields[j->source.n_columns] = (struct field){ .kind = FIELD_MISSING };
    return (int)j->source.n_columns++;
}

/* An array of finite numbers, no longer than a vector may be. */
static enum source_status read_array(struct json_rows *j, const struct json *v, struct field *ret)
{
    size_t n = json_size(v), i = 0;
    if (n == 0 || n > SEG_VECTOR_WIDTH_MAX) return SOURCE_REFUSED;
    float *values = seg_arena_alloc(&j->values, n * sizeof(*values));
    if (values == NULL) return SOURCE_NO_MEMORY;
    for (const struct json *e = json_first(v); e != NULL; e = json_next(e)) {
        if (json_kind(e) != JSON_NUMBER || !(fabs(json_number(e)) <= FLT_MAX))
            return SOURCE_REFUSED;
        values[i++] = (float)json_number(e);
    }
    *ret = (struct field){ .kind = FIELD_ARRAY, .array = values, .n = (uint32_t)n };
    return SOURCE_RECORD;
}

/* SOURCE_RECORD and *ret, or SOURCE_REFUSED when v cannot be a feature's value. */
static enum source_status read_value(struct json_rows *j, const struct json *v, struct field *ret)
{
    switch (json_kind(v)) {
    case JSON_NULL: *ret = (struct field){ .kind = FIELD_MISSING }; return SOURCE_RECORD;
    case JSON_BOOL:
        *ret = (struct field){ .kind = FIELD_BOOL, .number = json_bool(v) };
        return SOURCE_RECORD;
    case JSON_NUMBER:
        *ret = (struct field){ .kind = FIELD_NUMBER, .number = json_number(v) };
        return SOURCE_RECORD;
    case JSON_STRING:
        *ret = (struct field){ .kind = FIELD_TEXT,
                               .text = json_string(v),
                               .len = strlen(json_string(v)) };
        return SOURCE_RECORD;
    case JSON_ARRAY: return read_array(j, v, ret);
    case JSON_OBJECT: break;
    }
    return SOURCE_REFUSED;
}

/* The members of object into the fields; all but the member `apart`. SOURCE_END: all were good. */
static enum source_status read_members(struct json_rows *j, const struct json *object,
                                       const struct json *apart, struct record *ret)
{
    char detail[SEG_NAME_BYTES_MAX + 100];
    for (const struct json *m = json_first(object); m != NULL; m = json_next(m)) {
        if (m == apart) continue;
        int i = column_index(j, json_key(m));
        if (i == NO_MEMORY) return SOURCE_NO_MEMORY;
        if (i == NO_COLUMN)
            return bad_row(
                j, ret, "too_many_columns", 0,
                "more than 1024 columns, or a column's name is empty or longer than 255 bytes");
        if (j->fields[i].kind != FIELD_MISSING) {
            snprintf(detail, sizeof(detail), "%s stands in the row and in its features",
                     json_key(m));
            return bad_row(j, ret, "duplicate_key", 0, detail);
        }
        enum source_status status = read_value(j, m, &j->fields[i]);
        if (status == SOURCE_NO_MEMORY) return status;
        if (status == SOURCE_RECORD) continue;
        snprintf(detail, sizeof(detail),
                 "%s must be a number, a string, true, false, null or an array of numbers",
                 json_key(m));
        return bad_row(j, ret, "wrong_type", 0, detail);
    }
    return SOURCE_END;
}

static enum source_status read_row(struct json_rows *j, const struct json *row, struct record *ret)
{
    if (json_kind(row) != JSON_OBJECT)
        return bad_row(j, ret, "wrong_type", 0, "a row must be an object");
    for (uint32_t i = 0; i < j->source.n_columns; i++)
        j->fields[i] = (struct field){ .kind = FIELD_MISSING };
    seg_arena_release(&j->values);
    const struct json *features = json_get(row, "features");
    if (features != NULL && json_kind(features) != JSON_OBJECT) features = NULL;
    enum source_status status = read_members(j, row, features, ret);
    if (status == SOURCE_END && features != NULL) status = read_members(j, features, NULL, ret);
    if (status != SOURCE_END) return status;
    *ret = (struct record){ .line = j->line, .fields = j->fields };
    return SOURCE_RECORD;
}

/* The next line that is not blank. SOURCE_RECORD and its bytes, or the end. */
static enum source_status next_line(struct json_rows *j, const char **ret, size_t *ret_len)
{
    struct window *w = &j->window;
    for (;;) {
        const char *p = w->data + w->start;
        const char *nl = w->end > w->start ? memchr(p, '\n', w->end - w->start) : NULL;
        if (nl == NULL && !w->eof) {
            if (window_fill(w)) continue;
            if (w->end <= RECORD_BYTES_MAX) return SOURCE_NO_MEMORY;
            snprintf(j->source.refusal, sizeof(j->source.refusal), "a line is longer than 16 MiB");
            j->source.refusal_code = "record_too_long";
            j->source.refusal_line = j->line + 1;
            return SOURCE_REFUSED;
        }
        size_t len = nl ? (size_t)(nl - p) : w->end - w->start;
        if (nl == NULL && len == 0) return SOURCE_END;
        w->start += len + (nl != NULL);
        j->line++;
        while (len > 0 && strchr(" \t\r", p[len - 1]) != NULL)
            len--;
        if (len == 0) continue;
        *ret = p;
        *ret_len = len;
        return SOURCE_RECORD;
    }
}

static enum source_status json_next_row(struct source *s, struct record *ret)
{
    struct json_rows *j = (struct json_rows *)s;
    struct json_fault fault;
    const char *line;
    size_t len;
    if (!j->is_ndjson) {
        if (j->at == NULL) return SOURCE_END;
        const struct json *row = j->at;
        j->at = json_next(row);
        j->line++;
        return read_row(j, row, ret);
    }
    enum source_status status = next_line(j, &line, &len);
    if (status != SOURCE_RECORD) return status;
    json_free(j->doc);
    j->doc = json_parse(line, len, &fault);
    if (j->doc != NULL) return read_row(j, j->doc, ret);
    if (strcmp(fault.code, "out_of_memory") == 0) return SOURCE_NO_MEMORY;
    return bad_row(j, ret, fault.code, fault.column, fault.detail);
}

static bool json_rewind(struct source *s)
{
    struct json_rows *j = (struct json_rows *)s;
    j->at = j->rows ? json_first(j->rows) : NULL;
    j->line = 0;
    j->window.start = j->window.end = 0;
    j->window.offset = 0;
    j->window.eof = false;
    return true;
}

static void json_rows_free(struct source *s)
{
    struct json_rows *j = (struct json_rows *)s;
    window_release(&j->window);
    json_free(j->doc);
    seg_arena_release(&j->arena);
    seg_arena_release(&j->values);
    seg_free(j->names);
    seg_free(j->fields);
    seg_free(j);
}

static struct json_rows *rows_new(void)
{
    struct json_rows *j = seg_calloc(1, sizeof(*j));
    if (j == NULL) return NULL;
    j->source.next = json_next_row;
    j->source.rewind = json_rewind;
    j->source.free = json_rows_free;
    seg_arena_init(&j->arena, 0);
    seg_arena_init(&j->values, 0);
    return j;
}

struct source *ndjson_source_new(const struct http_body *body)
{
    struct json_rows *j = rows_new();
    if (j == NULL) return NULL;
    j->is_ndjson = true;
    window_init(&j->window, body);
    return &j->source;
}

struct source *json_source_new(const struct json *rows)
{
    struct json_rows *j = rows_new();
    if (j == NULL) return NULL;
    j->rows = rows;
    j->at = json_first(rows);
    return &j->source;
}
