/* rows.h - scoring bodies: named JSON rows, columnar JSON, NDJSON and CSV all fill one batch of raw
 * tiles, and keep no tree.
 *
 * Strict: RFC 8259 grammar, UTF-8, depth, duplicate keys, finite numbers, trailing bytes. A body
 * that cannot be parsed fails whole; a row that is wrong (wrong type, unknown feature, not finite,
 * bad user id) is invalid alone: its faults are kept, the others are scored. Null means missing. A
 * feature that a row does not name is missing. A string for a numeric feature, or a number for a
 * category: wrong_type; integers are taken for categories ("7"), true/false for booleans and
 * categories; timestamps are RFC 3339 strings (date alone allowed). Empty CSV fields and NA, NaN,
 * null (any case) are missing. One decoder belongs to one thread. User ids are borrowed from the
 * body where they need no unescaping, else from the batch's arena. */
#ifndef SERVER_HTTP_ROWS_H
#define SERVER_HTTP_ROWS_H

#include <stdbool.h>
#include "base/arena.h"
#include "compute/tiles.h"
#include "features/schema.h"

struct row_fault {
    uint32_t row;        /* index in the batch */
    int feature;         /* index in the schema, or -1 */
    const char *code;    /* "wrong_type", "not_finite", "unknown_feature", "bad_user_id",
                            "duplicate_key", "wrong_width", "bad_timestamp",
                            "ragged_row", "unknown_key", "not_json" */
    const char *name;    /* unknown feature's name; NULL otherwise (arena) */
    const char *detail;  /* sentence (arena or static) */
    size_t line, column; /* text bodies; 0 in JSON */
};

/* What the decoders ask of a feature for every value. rows.c's own. */
struct rows_key {
    const char *name;
    uint32_t plain_len; /* of the name; 0 when it would be escaped in JSON */
    uint32_t cell;
    uint32_t seen; /* row + 1 that last had the feature */
    bool is_numeric;
};

struct rows {
    const struct seg_schema *schema; /* of the model; borrowed */
    uint32_t n_rows;
    struct seg_tiles cells; /* (n_rows, schema->n_cells) raw */
    const char **user_id;   /* (n_rows) not NUL-terminated, NULL when not given */
    uint32_t *user_id_len;
    uint8_t *invalid;         /* (n_rows) 1: has a fault, is not scored */
    struct row_fault *faults; /* (n_faults) by row; the first ROW_FAULTS_MAX of n_faults_total */
    size_t n_faults, n_faults_total;
    struct seg_arena arena; /* of this batch */
    /* rows.c's own: */
    uint32_t rows_cap;
    size_t faults_cap, tiles_cap; /* tiles_cap: tiles that the last chunk has room for */
    union seg_cell *last;         /* first cell of the last row */
    uint16_t *key_order;          /* (n_features) feature that each key of the last row named */
    struct rows_key *keys;        /* (n_features) */
    struct seg_dictionary names;  /* of the features, made when there are many */
};
#define ROW_FAULTS_MAX 1000u

struct rows_error {      /* why a whole body was refused */
    const char *code;    /* "not_json", "duplicate_key", "too_deep", "not_utf8", "missing_rows",
                            "ragged_row", "too_many_rows", "bad_header", "no_memory" … static */
    char pointer[128];   /* JSON pointer, or "" */
    size_t line, column; /* 1-based */
    char detail[200];
};

enum rows_status { ROWS_OK, ROWS_REFUSED, ROWS_NO_MEMORY };

void rows_init(struct rows *r, const struct seg_schema *schema);
/* Forgets the rows, keeps the memory. */
void rows_clear(struct rows *r);
void rows_release(struct rows *r);

/* {"rows": [{"user_id"?, "features": {…}}]} or {"columns": […], "user_ids"?: […], "data": [[…]]}.
 * At most n_rows_max rows. */
enum rows_status rows_json_decode(struct rows *r, const char *body, size_t len, uint32_t n_rows_max,
                                  struct rows_error *e);

/* One line {"user_id"?, "features": {…}} without its line feed. A line that is not JSON is an
 * invalid row, not a refused body. line: its 1-based number. */
enum rows_status rows_ndjson_line(struct rows *r, const char *line_bytes, size_t len, size_t line);

/* CSV (RFC 4180, CRLF or LF, quoted newlines, byte order mark). The header names features, and
 * user_id; unknown columns refuse the body. */
struct rows_csv;
/* Reads the header record; *ret_used = bytes it took, 0 when it is not complete in len bytes (final
 * false). */
enum rows_status rows_csv_header(struct rows *r, const char *bytes, size_t len, int final,
                                 struct rows_csv **ret_csv, size_t *ret_used, struct rows_error *e);
/* Decodes whole records until n_rows_max are in r or bytes end; *ret_used as above. */
enum rows_status rows_csv_decode(struct rows_csv *csv, struct rows *r, const char *bytes,
                                 size_t len, int final, uint32_t n_rows_max, size_t *ret_used,
                                 struct rows_error *e);
void rows_csv_free(struct rows_csv *csv);

/* Correctly rounded float of a JSON or CSV number. Returns bytes used, 0 when it is not a number of
 * the JSON grammar; *ret is +-inf when out of range. */
size_t number_parse(const char *s, size_t len, float *ret);

#endif
