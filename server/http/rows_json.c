/* One pass over the bytes: grammar, names and values together. UTF-8 is checked first, for the
 * whole body. A scan that fails has said why in *e; what the model cannot use in a row is that
 * row's fault and goes on. */
#include <stdio.h>

#include "http/rows_private.h"
#include "json/json.h"

struct scan {
    struct rows *r;
    const char *at, *end, *start;
    struct rows_error *e;
    enum rows_status status;
    unsigned depth;
    size_t line; /* of an NDJSON row, for its faults; 0 otherwise */
};

static bool fail(struct scan *s, const char *code, const char *pointer, const char *detail)
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

static bool no_memory(struct scan *s)
{
    fail(s, "no_memory", "", "out of memory");
    s->status = ROWS_NO_MEMORY;
    return false;
}

static inline void skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\r' || *s->at == '\t'))
        s->at++;
}

static inline bool expect(struct scan *s, char c, const char *detail)
{
    skip_space(s);
    if (s->at < s->end && *s->at == c) {
        s->at++;
        return true;
    }
    return fail(s, "not_json", "", detail);
}

static inline bool peek(struct scan *s, char c)
{
    skip_space(s);
    return s->at < s->end && *s->at == c;
}

/* After an element: a comma (more) or the closing bracket. */
static inline bool more(struct scan *s, char close, bool *ret_more)
{
    skip_space(s);
    if (s->at < s->end && (*s->at == ',' || *s->at == close)) {
        *ret_more = *s->at++ == ',';
        return true;
    }
    return fail(s, "not_json", "", close == '}' ? "expected , or }" : "expected , or ]");
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

/* The rest of a string that has an escape, unescaped into the batch's arena. */
static bool unescape(struct scan *s, const char *start, const char **ret, size_t *ret_len)
{
    const char *p = start, *close = s->at;
    while (close < s->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= s->end) return fail(s, "not_json", "", "a string is not closed");
    char *text = seg_arena_alloc(&s->r->arena, (size_t)(close - start) + 1), *out = text;
    if (text == NULL) return no_memory(s);
    while (p < close) {
        s->at = p;
        if ((unsigned char)*p < 0x20)
            return fail(s, "not_json", "", "a control character in a string must be escaped");
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        if ((p = escape(p + 1, close, &out)) == NULL)
            return fail(s, "not_json", "", "a bad escape in a string");
    }
    s->at = close + 1;
    *ret = text;
    *ret_len = (size_t)(out - text);
    return true;
}

/* A string; s->at is behind its opening quote. Borrowed from the body where it has no escapes. */
static inline bool string(struct scan *s, const char **ret, size_t *ret_len)
{
    const char *start = s->at, *p = start;
    while (p < s->end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    s->at = p;
    if (p == s->end) return fail(s, "not_json", "", "a string is not closed");
    if (*p == '\\') return unescape(s, start, ret, ret_len);
    if (*p != '"')
        return fail(s, "not_json", "", "a control character in a string must be escaped");
    *ret = start;
    *ret_len = (size_t)(p - start);
    s->at = p + 1;
    return true;
}

static bool key(struct scan *s, const char **ret, size_t *ret_len)
{
    return expect(s, '"', "expected a key in quotes") && string(s, ret, ret_len) &&
           expect(s, ':', "expected : after a key");
}

static bool word(struct scan *s, const char *w, size_t len)
{
    if ((size_t)(s->end - s->at) < len || memcmp(s->at, w, len) != 0)
        return fail(s, "not_json", "", "expected a value");
    s->at += len;
    return true;
}

static bool descend(struct scan *s)
{
    return ++s->depth <= JSON_DEPTH_MAX ||
           fail(s, "too_deep", "", "the body is nested more than 32 deep");
}

/* Any value, checked and left out. */
static bool skip_value(struct scan *s)
{
    const char *text;
    size_t len;
    float x;
    bool again = true;
    skip_space(s);
    char c = s->at < s->end ? *s->at : '\0';
    switch (c) {
    case '"': s->at++; return string(s, &text, &len);
    case 't': return word(s, "true", 4);
    case 'f': return word(s, "false", 5);
    case 'n': return word(s, "null", 4);
    case '[':
    case '{': {
        char close = c == '[' ? ']' : '}';
        s->at++;
        if (!descend(s)) return false;
        if (peek(s, close)) {
            s->at++;
            again = false;
        }
        while (again)
            if ((c == '{' && !key(s, &text, &len)) || !skip_value(s) || !more(s, close, &again))
                return false;
        s->depth--;
        return true;
    }
    default: break;
    }
    size_t used = number_parse(s->at, (size_t)(s->end - s->at), &x);
    if (used == 0) return fail(s, "not_json", "", "expected a value");
    s->at += used;
    return true;
}

static bool wrong_type(struct scan *s, int feature)
{
    static const char *const wanted[] = { [SEG_NUMERIC] = "must be a number",
                                          [SEG_BOOLEAN] = "must be true or false",
                                          [SEG_TIMESTAMP] =
                                              "must be a time such as \"2026-11-23T10:00:00Z\"",
                                          [SEG_CATEGORICAL] = "must be a string",
                                          [SEG_VECTOR] = "must be an array of numbers" };
    rows_fault(s->r, feature, "wrong_type", NULL, wanted[s->r->schema->features[feature].type],
               s->line, 0);
    return true;
}

static bool vector(struct scan *s, int feature)
{
    const struct seg_feature *f = &s->r->schema->features[feature];
    uint32_t n = 0;
    bool again = true, numbers = true;
    s->at++;
    if (!descend(s)) return false;
    if (peek(s, ']')) {
        s->at++;
        again = false;
    }
    for (; again; n++) {
        float x = 0;
        skip_space(s);
        size_t used = number_parse(s->at, (size_t)(s->end - s->at), &x);
        s->at += used;
        if (used == 0) {
            numbers = false;
            if (!skip_value(s)) return false;
        }
        if (used > 0 && x - x != 0)
            rows_fault(s->r, feature, "not_finite", NULL, "a number is too large", s->line, 0);
        if (used > 0 && n < f->width) rows_cell(s->r, f->cell + n)->number = x;
        if (!more(s, ']', &again)) return false;
    }
    s->depth--;
    if (!numbers)
        wrong_type(s, feature);
    else if (n != f->width)
        rows_fault(s->r, feature, "wrong_width", NULL,
                   "the array has another length than the model was trained on", s->line, 0);
    return true;
}

/* The value of a feature into the last row. */
static bool value(struct scan *s, int feature)
{
    const struct seg_feature *f = &s->r->schema->features[feature];
    const char *start, *text;
    size_t len;
    float x;
    skip_space(s);
    start = s->at;
    size_t used = number_parse(s->at, (size_t)(s->end - s->at), &x);
    if (used > 0) {
        s->at += used;
        if (f->type == SEG_NUMERIC || (f->type == SEG_BOOLEAN && (x == 0 || x == 1)))
            rows_number(s->r, feature, x, s->line, 0);
        else if (f->type == SEG_CATEGORICAL)
            rows_category(s->r, f, start, used);
        else
            wrong_type(s, feature);
        return true;
    }
    switch (s->at < s->end ? *s->at : '\0') {
    case 'n': return word(s, "null", 4); /* missing, as it was */
    case '"':
        s->at++;
        if (!string(s, &text, &len)) return false;
        if (f->type == SEG_CATEGORICAL)
            rows_category(s->r, f, text, len);
        else if (f->type == SEG_TIMESTAMP)
            rows_timestamp(s->r, feature, text, len, s->line, 0);
        else
            wrong_type(s, feature);
        return true;
    case 't':
    case 'f':
        if (!(*start == 't' ? word(s, "true", 4) : word(s, "false", 5))) return false;
        if (f->type == SEG_BOOLEAN)
            rows_cell(s->r, f->cell)->number = *start == 't' ? 1.0f : 0.0f;
        else if (f->type == SEG_CATEGORICAL)
            rows_category(s->r, f, start, (size_t)(s->at - start));
        else
            wrong_type(s, feature);
        return true;
    case '[':
        if (f->type == SEG_VECTOR) return vector(s, feature);
        break;
    default: break;
    }
    return skip_value(s) && wrong_type(s, feature);
}

/* An id: a string, or a whole number up to 2^53. */
static bool user_id(struct scan *s)
{
    const char *start, *text;
    size_t len;
    float x;
    skip_space(s);
    start = s->at;
    if (peek(s, '"')) {
        s->at++;
        if (!string(s, &text, &len)) return false;
        rows_user_id(s->r, text, len, s->line, 0);
        return true;
    }
    if (peek(s, 'n')) return word(s, "null", 4);
    size_t used = number_parse(s->at, (size_t)(s->end - s->at), &x);
    if (used == 0) {
        if (!skip_value(s)) return false;
    } else {
        s->at += used;
    }
    bool whole = used > 0 && used <= 16;
    for (size_t i = 0; i < used && whole; i++)
        whole = start[i] >= '0' && start[i] <= '9';
    if (whole && (used < 16 || memcmp(start, "9007199254740992", 16) <= 0))
        rows_user_id(s->r, start, used, s->line, 0);
    else
        rows_fault(s->r, -1, "bad_user_id", NULL,
                   "a user id is a string, or a whole number up to 2^53", s->line, 0);
    return true;
}

/* Copies a key that is to be told to the user. */
static const char *keep(struct scan *s, const char *text, size_t len)
{
    return seg_arena_strndup(&s->r->arena, text, len);
}

/* {"age": 31, …} into the last row. */
static bool features(struct scan *s)
{
    bool again = true;
    if (!expect(s, '{', "\"features\" must be an object")) return false;
    if (!descend(s)) return false;
    if (peek(s, '}')) {
        s->at++;
        again = false;
    }
    for (uint32_t position = 0; again; position++) {
        const char *name;
        size_t len;
        if (!key(s, &name, &len)) return false;
        int feature = rows_feature(s->r, position, name, len);
        if (feature < 0) {
            rows_fault(s->r, -1, "unknown_feature", keep(s, name, len),
                       "the model has no such feature", s->line, 0);
            if (!skip_value(s)) return false;
        } else if (!rows_first(s->r, feature)) {
            rows_fault(s->r, feature, "duplicate_key", NULL, "is given twice", s->line, 0);
            if (!skip_value(s)) return false;
        } else if (!value(s, feature)) {
            return false;
        }
        if (!more(s, '}', &again)) return false;
    }
    s->depth--;
    return true;
}

static bool is(const char *text, size_t len, const char *wanted)
{
    return strlen(wanted) == len && memcmp(text, wanted, len) == 0;
}

/* {"user_id"?, "features"} as a new row. */
static bool named_row(struct scan *s)
{
    bool again = true, has_id = false, has_features = false;
    if (!rows_add(s->r)) return no_memory(s);
    if (!peek(s, '{')) {
        rows_fault(s->r, -1, "wrong_type", NULL, "a row must be an object", s->line, 0);
        return skip_value(s);
    }
    s->at++;
    if (!descend(s)) return false;
    if (peek(s, '}')) {
        s->at++;
        again = false;
    }
    while (again) {
        const char *name;
        size_t len;
        if (!key(s, &name, &len)) return false;
        bool id = is(name, len, "user_id"), own = is(name, len, "features");
        if ((id && has_id) || (own && has_features))
            return fail(s, "duplicate_key", "", "a key is given twice in one row");
        has_id = has_id || id;
        has_features = has_features || own;
        if (id) {
            if (!user_id(s)) return false;
        } else if (own && peek(s, '{')) {
            if (!features(s)) return false;
        } else {
            if (own)
                rows_fault(s->r, -1, "wrong_type", NULL, "\"features\" must be an object", s->line,
                           0);
            else
                rows_fault(s->r, -1, "unknown_key", keep(s, name, len),
                           "a row has user_id and features", s->line, 0);
            if (!skip_value(s)) return false;
        }
        if (!more(s, '}', &again)) return false;
    }
    s->depth--;
    if (!has_features)
        rows_fault(s->r, -1, "missing_features", NULL, "the row has no \"features\"", s->line, 0);
    return true;
}

static bool start_array(struct scan *s, bool *ret_again, const char *detail)
{
    if (!expect(s, '[', detail) || !descend(s)) return false;
    *ret_again = true;
    if (peek(s, ']')) {
        s->at++;
        *ret_again = false;
    }
    return true;
}

static bool too_many(struct scan *s, uint32_t n_rows_max)
{
    char detail[80];
    if (s->r->n_rows < n_rows_max) return false;
    snprintf(detail, sizeof(detail), "more than %u rows; NDJSON and CSV bodies may have more",
             n_rows_max);
    fail(s, "too_many_rows", "", detail);
    return true;
}

static bool named_rows(struct scan *s, uint32_t n_rows_max)
{
    bool again;
    if (!start_array(s, &again, "\"rows\" must be an array")) return false;
    while (again)
        if (too_many(s, n_rows_max) || !named_row(s) || !more(s, ']', &again)) return false;
    s->depth--;
    return true;
}

/* ["age", "channel"] -> feature of each column. */
static bool columns(struct scan *s, uint16_t *order, uint32_t *ret_n)
{
    char pointer[32], detail[160];
    bool again;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->r->schema->n_features; i++)
        s->r->seen[i] = 0;
    if (!start_array(s, &again, "\"columns\" must be an array of names")) return false;
    for (; again; n++) {
        const char *name;
        size_t len;
        if (!expect(s, '"', "\"columns\" must be an array of names") || !string(s, &name, &len))
            return false;
        int feature = rows_feature(s->r, n, name, len);
        bool twice = feature >= 0 && s->r->seen[feature] != 0;
        snprintf(pointer, sizeof(pointer), "/columns/%u", n);
        snprintf(detail, sizeof(detail), "%s: %.*s",
                 twice ? "is listed twice" : "the model has no such feature",
                 (int)(len < 100 ? len : 100), name);
        if (feature < 0 || twice)
            return fail(s, twice ? "duplicate_key" : "unknown_feature", pointer, detail);
        s->r->seen[feature] = 1;
        order[n] = (uint16_t)feature;
        if (!more(s, ']', &again)) return false;
    }
    s->depth--;
    for (uint32_t i = 0; i < s->r->schema->n_features; i++)
        s->r->seen[i] = 0;
    *ret_n = n;
    return true;
}

/* [[31, "app"], …]. */
static bool data(struct scan *s, const uint16_t *order, uint32_t n_columns, uint32_t n_rows_max)
{
    bool again;
    if (!start_array(s, &again, "\"data\" must be an array of rows")) return false;
    while (again) {
        bool inner;
        uint32_t n = 0;
        if (too_many(s, n_rows_max)) return false;
        if (!rows_add(s->r)) return no_memory(s);
        if (!start_array(s, &inner, "a row of \"data\" must be an array")) return false;
        for (; inner; n++) {
            if (n < n_columns ? !value(s, order[n]) : !skip_value(s)) return false;
            if (!more(s, ']', &inner)) return false;
        }
        s->depth--;
        if (n != n_columns)
            rows_fault(s->r, -1, "ragged_row", NULL,
                       "the row has another number of values than there are columns", 0, 0);
        if (!more(s, ']', &again)) return false;
    }
    s->depth--;
    return true;
}

static bool user_ids(struct scan *s)
{
    bool again;
    uint32_t n_rows = s->r->n_rows, n = 0;
    if (!start_array(s, &again, "\"user_ids\" must be an array")) return false;
    for (; again; n++) {
        if (n == n_rows)
            return fail(s, "ragged_row", "/user_ids", "there are more user_ids than rows");
        s->r->n_rows = n + 1; /* the helpers speak of the last row */
        if (!user_id(s) || !more(s, ']', &again)) return false;
    }
    s->r->n_rows = n_rows;
    s->depth--;
    return n == n_rows || fail(s, "ragged_row", "/user_ids", "there are fewer user_ids than rows");
}

/* The members of the body. Where they stand is remembered first: columns, data and user_ids come in
 * any order but are read in this one. */
struct members {
    const char *rows, *columns, *data, *user_ids;
};

static bool find_members(struct scan *s, struct members *m)
{
    bool again = true;
    if (!expect(s, '{',
                "the body must be an object with \"rows\", or with \"columns\" and \"data\"") ||
        !descend(s))
        return false;
    if (peek(s, '}')) {
        s->at++;
        again = false;
    }
    while (again) {
        const char *name;
        size_t len;
        if (!key(s, &name, &len)) return false;
        const char **place = is(name, len, "rows")       ? &m->rows
                             : is(name, len, "columns")  ? &m->columns
                             : is(name, len, "data")     ? &m->data
                             : is(name, len, "user_ids") ? &m->user_ids
                                                         : NULL;
        if (place == NULL)
            return fail(s, "unknown_key", "",
                        "the body has rows, or columns, data and user_ids; nothing else");
        if (*place != NULL) return fail(s, "duplicate_key", "", "a key is given twice");
        *place = s->at;
        if (!skip_value(s) || !more(s, '}', &again)) return false;
    }
    s->depth--;
    skip_space(s);
    return s->at == s->end ||
           fail(s, "not_json", "", "there are bytes after the end of the document");
}

static bool at_member(struct scan *s, const char *place)
{
    s->at = place;
    s->depth = 1;
    return true;
}

/* The usual bodies, in one pass: {"rows": […]} and {"columns": […], "data": […]}, with user_ids
 * between. *ret_done: the body ended as hoped. */
static bool decode(struct scan *s, uint32_t n_rows_max)
{
    struct members m = { 0 };
    uint16_t order[SEG_FEATURES_MAX];
    uint32_t n_columns = 0;
    if (!find_members(s, &m)) return false;
    if (m.rows != NULL && (m.columns != NULL || m.data != NULL || m.user_ids != NULL))
        return fail(s, "bad_body", "/rows", "the body has both named and columnar rows");
    if (m.rows != NULL) return at_member(s, m.rows) && named_rows(s, n_rows_max);
    if (m.columns == NULL || m.data == NULL)
        return fail(s, "missing_rows", "",
                    "the body must have \"rows\", or \"columns\" and \"data\"");
    if (!at_member(s, m.columns) || !columns(s, order, &n_columns)) return false;
    if (!at_member(s, m.data) || !data(s, order, n_columns, n_rows_max)) return false;
    return m.user_ids == NULL || (at_member(s, m.user_ids) && user_ids(s));
}

static bool is_text(struct scan *s)
{
    return utf8_valid(s->start, (size_t)(s->end - s->start)) ||
           fail(s, "not_utf8", "", "the body is not valid UTF-8 without NUL");
}

enum rows_status rows_json_decode(struct rows *r, const char *body, size_t len, uint32_t n_rows_max,
                                  struct rows_error *e)
{
    struct scan s = { .r = r, .at = body, .end = body + len, .start = body, .e = e };
    if (!rows_prepare(r)) return no_memory(&s), ROWS_NO_MEMORY;
    if (!is_text(&s) || !decode(&s, n_rows_max)) return s.status;
    return ROWS_OK;
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
    bool good = is_text(&s) && named_row(&s);
    skip_space(&s);
    if (good && s.at != s.end)
        good = fail(&s, "not_json", "", "there are bytes after the end of the document");
    if (good) return ROWS_OK;
    if (s.status == ROWS_NO_MEMORY || (r->n_rows == row && !rows_add(r))) return ROWS_NO_MEMORY;
    rows_fault(r, -1, e.code, NULL, seg_arena_strndup(&r->arena, e.detail, strlen(e.detail)), line,
               e.column);
    return ROWS_OK;
}
