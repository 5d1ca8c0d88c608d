/* Bodies of JSON in one pass over the bytes, after a check of the UTF-8 of the whole body. Only
 * what needs a member that comes later is passed over first and read in the end: data before
 * columns, ids before data. A scan that fails has said why in *e. */
#include <stdio.h>

#include "http/rows_scan.h"

#define SEEN_IN_COLUMNS UINT32_MAX /* no row's number */

/* A columnar body. */
struct table {
    uint16_t columns[SEG_FEATURES_MAX]; /* feature of each */
    uint32_t n_columns;
    const char *data, *user_ids; /* where they stand when they could not be read at once */
};

static bool start_array(struct scan *s, bool *ret_again, const char *pointer, const char *detail)
{
    return scan_open(s, '[', pointer, detail) && scan_enter(s, ']', ret_again);
}

static bool too_many(struct scan *s, uint32_t n_rows_max)
{
    char detail[80];
    if (s->r->n_rows < n_rows_max) return false;
    snprintf(detail, sizeof(detail), "more than %u rows; NDJSON and CSV bodies may have more",
             n_rows_max);
    scan_fail(s, "too_many_rows", "", detail);
    return true;
}

static bool named_rows(struct scan *s, uint32_t n_rows_max)
{
    bool again;
    if (!start_array(s, &again, "/rows", "\"rows\" must be an array")) return false;
    while (again)
        if (too_many(s, n_rows_max) || !rows_json_named(s) || !scan_more(s, ']', &again))
            return false;
    s->depth--;
    return true;
}

/* A column that the model does not have, or has had. */
static bool refuse_column(struct scan *s, bool twice, uint32_t n, const char *name, size_t len)
{
    char pointer[32], detail[160];
    snprintf(pointer, sizeof(pointer), "/columns/%u", n);
    snprintf(detail, sizeof(detail), "%s: %.*s",
             twice ? "is listed twice" : "the model has no such feature",
             (int)(len < 100 ? len : 100), name);
    return scan_fail(s, twice ? "duplicate_key" : "unknown_feature", pointer, detail);
}

/* ["age", "channel"] -> feature of each column. */
static bool columns(struct scan *s, struct table *t)
{
    static const char wanted[] = "\"columns\" must be an array of names";
    bool again;
    for (uint32_t i = 0; i < s->r->schema->n_features; i++)
        s->r->keys[i].seen = 0;
    if (!start_array(s, &again, "/columns", wanted)) return false;
    for (t->n_columns = 0; again; t->n_columns++) {
        const char *name;
        size_t len;
        if (!scan_open(s, '"', "/columns", wanted) || !scan_string(s, &name, &len)) return false;
        int feature = rows_feature(s->r, t->n_columns, name, len);
        bool twice = feature >= 0 && s->r->keys[feature].seen == SEEN_IN_COLUMNS;
        if (feature < 0 || twice) return refuse_column(s, twice, t->n_columns, name, len);
        s->r->keys[feature].seen = SEEN_IN_COLUMNS;
        t->columns[t->n_columns] = (uint16_t)feature;
        if (!scan_more(s, ']', &again)) return false;
    }
    s->depth--;
    return true;
}

/* [[31, "app"], …]. */
static bool data(struct scan *s, const struct table *t, uint32_t n_rows_max)
{
    bool again;
    if (!start_array(s, &again, "/data", "\"data\" must be an array of rows")) return false;
    while (again)
        if (too_many(s, n_rows_max) || !rows_json_data(s, t->columns, t->n_columns) ||
            !scan_more(s, ']', &again))
            return false;
    s->depth--;
    return true;
}

static bool user_ids(struct scan *s)
{
    bool again;
    uint32_t n_rows = s->r->n_rows, n = 0;
    size_t n_faults = s->r->n_faults;
    if (!start_array(s, &again, "/user_ids", "\"user_ids\" must be an array")) return false;
    for (; again; n++) {
        if (n == n_rows)
            return scan_fail(s, "ragged_row", "/user_ids", "there are more user_ids than rows");
        s->r->n_rows = n + 1; /* the helpers speak of the last row */
        if (!rows_json_id(s) || !scan_more(s, ']', &again)) return false;
    }
    s->r->n_rows = n_rows;
    s->depth--;
    if (n < n_rows)
        return scan_fail(s, "ragged_row", "/user_ids", "there are fewer user_ids than rows");
    rows_merge_faults(s->r, n_faults);
    return true;
}

/* The members of a body, as bits of what was seen. */
enum { ROWS = 1, COLUMNS = 2, DATA = 4, USER_IDS = 8 };

static unsigned member_of(const char *name, size_t len)
{
    return scan_is(name, len, "rows")       ? ROWS
           : scan_is(name, len, "columns")  ? COLUMNS
           : scan_is(name, len, "data")     ? DATA
           : scan_is(name, len, "user_ids") ? USER_IDS
                                            : 0;
}

/* Reads the value of a member, or for one that needs another first remembers its place. */
static bool member(struct scan *s, unsigned m, unsigned seen, struct table *t, uint32_t n_rows_max)
{
    if (m == ROWS) return named_rows(s, n_rows_max);
    if (m == COLUMNS) return columns(s, t);
    if (m == DATA && (seen & COLUMNS) != 0) return data(s, t, n_rows_max);
    if (m == USER_IDS && (seen & DATA) != 0 && t->data == NULL) return user_ids(s);
    *(m == DATA ? &t->data : &t->user_ids) = s->at;
    return scan_skip_value(s);
}

static bool members(struct scan *s, unsigned *ret_seen, struct table *t, uint32_t n_rows_max)
{
    bool again;
    unsigned seen = 0;
    if (!scan_open(s, '{', "",
                   "the body must be an object with \"rows\", or with \"columns\" and \"data\"") ||
        !scan_enter(s, '}', &again))
        return false;
    while (again) {
        const char *name;
        size_t len;
        if (!scan_key(s, &name, &len)) return false;
        unsigned m = member_of(name, len);
        if (m == 0)
            return scan_fail(s, "unknown_key", "",
                             "the body has rows, or columns, data and user_ids; nothing else");
        if ((seen & m) != 0) return scan_fail(s, "duplicate_key", "", "a key is given twice");
        seen |= m;
        if ((seen & ROWS) != 0 && seen != ROWS)
            return scan_fail(s, "bad_body", "/rows", "the body has both named and columnar rows");
        if (!member(s, m, seen, t, n_rows_max) || !scan_more(s, '}', &again)) return false;
    }
    s->depth--;
    *ret_seen = seen;
    return scan_finish(s);
}

static bool decode(struct scan *s, uint32_t n_rows_max)
{
    struct table t;
    unsigned seen = 0;
    t.data = t.user_ids = NULL;
    if (!members(s, &seen, &t, n_rows_max)) return false;
    if (seen != ROWS && (seen & (COLUMNS | DATA)) != (COLUMNS | DATA))
        return scan_fail(s, "missing_rows", "",
                         "the body must have \"rows\", or \"columns\" and \"data\"");
    s->depth = 1;
    if (t.data != NULL) {
        s->at = t.data;
        if (!data(s, &t, n_rows_max)) return false;
    }
    if (t.user_ids == NULL) return true;
    s->at = t.user_ids;
    return user_ids(s);
}

enum rows_status rows_json_decode(struct rows *r, const char *body, size_t len, uint32_t n_rows_max,
                                  struct rows_error *e)
{
    struct scan s = { .r = r, .at = body, .end = body + len, .start = body, .e = e };
    if (!rows_prepare(r)) return scan_no_memory(&s), ROWS_NO_MEMORY;
    return scan_is_text(&s) && decode(&s, n_rows_max) ? ROWS_OK : s.status;
}

enum rows_status rows_ndjson_line(struct rows *r, const char *line_bytes, size_t len, size_t line)
{
    struct rows_error e;
    struct scan s = { .r = r,
                      .at = line_bytes,
                      .end = line_bytes + len,
                      .start = line_bytes,
                      .e = &e,
                      .line = line };
    uint32_t row = r->n_rows;
    if (!rows_prepare(r)) return ROWS_NO_MEMORY;
    if (scan_is_text(&s) && rows_json_named(&s) && scan_finish(&s)) return ROWS_OK;
    if (s.status == ROWS_NO_MEMORY || (r->n_rows == row && !rows_add(r))) return ROWS_NO_MEMORY;
    const char *detail = seg_arena_strndup(&r->arena, e.detail, strlen(e.detail));
    if (detail == NULL) return ROWS_NO_MEMORY;
    rows_fault(r, -1, e.code, NULL, detail, line, e.column);
    return ROWS_OK;
}
