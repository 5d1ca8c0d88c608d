/* source.h - a body of rows as records, whatever its format: CSV, NDJSON or JSON. Read twice: once
 * to check and infer, once to store. One thread. Constant memory for CSV and NDJSON: a window that
 * grows to the longest record. */
#ifndef SERVER_IMPORT_SOURCE_H
#define SERVER_IMPORT_SOURCE_H

#include "base/arena.h"
#include "http/request.h"
#include "import/field.h"

#define RECORD_BYTES_MAX ((size_t)16 << 20)

struct record {
    size_t line;          /* 1-based line on which it starts; a JSON body: row number, from 1 */
    struct field *fields; /* (source.n_columns): by column */
    bool bad;             /* broken: code, column and detail say how; fields mean nothing */
    const char *code;
    size_t column; /* 1-based byte in the line, 0: unknown */
    const char *detail;
};

enum source_status { SOURCE_RECORD, SOURCE_END, SOURCE_REFUSED, SOURCE_NO_MEMORY };

struct source {
    const char *const *columns; /* names, in order of appearance; JSON: grows while it is read */
    uint32_t n_columns;
    /* SOURCE_RECORD fills *ret, valid until the next call. SOURCE_REFUSED: the body as a whole
     * cannot be read; `refusal` says why. */
    enum source_status (*next)(struct source *s, struct record *ret);
    /* Back to the first record; columns stay. */
    bool (*rewind)(struct source *s);
    void (*free)(struct source *s);
    char refusal[200];
    const char *refusal_code;
    size_t refusal_line;
};

/* Open a source over body, which must outlive it. NULL: no memory. A bad header shows at the first
 * next. */
struct source *csv_source_new(const struct http_body *body);
struct source *ndjson_source_new(const struct http_body *body);
/* rows: an array of objects of a parsed document, borrowed. */
struct source *json_source_new(const struct json *rows);

/* Lines and records out of a body through one growing window. */
struct window {
    const struct http_body *body;
    uint64_t offset; /* of what is read next */
    char *data;
    size_t start, end, cap; /* data[start..end) has not been used */
    bool eof;
};
void window_init(struct window *w, const struct http_body *body);
void window_release(struct window *w);
/* Reads more behind what is there. False: memory, an I/O error, or a record over RECORD_BYTES_MAX.
 */
bool window_fill(struct window *w);

#endif
