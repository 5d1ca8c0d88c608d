/* Rows of JSON: names and values in one pass with the grammar. What the model cannot use in a row
 * is that row's fault and goes on. The hot path, numbers in the order of the row before, keeps its
 * place in a local p. */
#include "http/number.h"
#include "http/rows_scan.h"

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

/* s->at is on the opening bracket. One fault at most. */
static bool vector(struct scan *s, int feature)
{
    const struct seg_feature *f = &s->r->schema->features[feature];
    uint32_t n = 0;
    bool again, numbers = true, finite = true;
    s->at++;
    if (!scan_enter(s, ']', &again)) return false;
    for (; again; n++) {
        float x;
        s->at = skip_blanks(s->at, s->end);
        size_t used = number_parse(s->at, (size_t)(s->end - s->at), &x);
        s->at += used;
        if (used == 0) {
            numbers = false;
            if (!scan_skip_value(s)) return false;
        } else if (x - x != 0) {
            finite = false;
        } else if (n < f->width) {
            rows_cell(s->r, f->cell + n)->number = x;
        }
        if (!scan_more(s, ']', &again)) return false;
    }
    s->depth--;
    if (!numbers)
        wrong_type(s, feature);
    else if (n != f->width)
        rows_fault(s->r, feature, "wrong_width", NULL,
                   "the array has another length than the model was trained on", s->line, 0);
    else if (!finite)
        rows_fault(s->r, feature, "not_finite", NULL, "a number is too large", s->line, 0);
    return true;
}

/* Digits alone, but for a minus. */
static bool is_whole(const char *text, size_t len)
{
    size_t i = len > 0 && text[0] == '-';
    while (i < len && text[i] >= '0' && text[i] <= '9')
        i++;
    return i == len;
}

static bool number(struct scan *s, int feature)
{
    const struct seg_feature *f = &s->r->schema->features[feature];
    const char *start = s->at;
    float x;
    size_t used = number_parse(start, (size_t)(s->end - start), &x);
    if (used == 0) return scan_fail(s, "not_json", "", "expected a value");
    s->at += used;
    if (f->type == SEG_NUMERIC || (f->type == SEG_BOOLEAN && (x == 0 || x == 1)))
        rows_number(s->r, feature, x, s->line, 0);
    else if (f->type == SEG_CATEGORICAL && is_whole(start, used))
        rows_category(s->r, f, start, used);
    else
        wrong_type(s, feature);
    return true;
}

static bool text_value(struct scan *s, int feature)
{
    const struct seg_feature *f = &s->r->schema->features[feature];
    const char *text;
    size_t len;
    s->at++;
    if (!scan_string(s, &text, &len)) return false;
    if (f->type == SEG_CATEGORICAL)
        rows_category(s->r, f, text, len);
    else if (f->type == SEG_TIMESTAMP)
        rows_timestamp(s->r, feature, text, len, s->line, 0);
    else
        wrong_type(s, feature);
    return true;
}

/* The value of a feature, at s->at, into the last row. */
static bool value(struct scan *s, int feature)
{
    const struct seg_feature *f = &s->r->schema->features[feature];
    const char *start = s->at;
    switch (start < s->end ? *start : '\0') {
    case 'n': return scan_word(s, "null", 4); /* missing, as it was */
    case '"': return text_value(s, feature);
    case 't':
    case 'f':
        if (!(*start == 't' ? scan_word(s, "true", 4) : scan_word(s, "false", 5))) return false;
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
    case '{': break;
    default: return number(s, feature);
    }
    return scan_skip_value(s) && wrong_type(s, feature);
}

/* The same from p on: its end, or NULL. Numbers for numbers are not sent through s. keys, row: the
 * batch's and the cells of its last row, which the loops hold in registers. */
static inline __attribute__((always_inline)) const char *value_at(struct scan *s, const char *p,
                                                                  const struct rows_key *keys,
                                                                  union seg_cell *row, int feature)
{
    const struct rows_key *key = &keys[feature];
    p = skip_blanks(p, s->end);
    if (key->is_numeric) {
        float x = 0;
        size_t used = number_read_short(p, s->end, &x); /* which are finite */
        if (used == 0) {
            used = number_read_any(p, (size_t)(s->end - p), &x);
            if (x - x != 0) used = 0; /* too large: a fault */
        }
        if (used > 0) {
            row[(size_t)key->cell * SEG_TILE_ROWS].number = x;
            return p + used;
        }
    }
    s->at = p;
    return value(s, feature) ? s->at : NULL;
}

/* scan_more from p on. */
static inline const char *more_at(struct scan *s, const char *p, char close, bool *ret_again)
{
    if (p < s->end && *p == ',') { /* mostly */
        *ret_again = true;
        return p + 1;
    }
    s->at = p;
    return scan_more(s, close, ret_again) ? s->at : NULL;
}

bool rows_json_id(struct scan *s)
{
    const char *start, *text;
    size_t len;
    float x;
    if (scan_peek(s, '"')) {
        s->at++;
        if (!scan_string(s, &text, &len)) return false;
        rows_user_id(s->r, text, len, s->line, 0);
        return true;
    }
    start = s->at;
    if (start < s->end && *start == 'n') return scan_word(s, "null", 4);
    size_t used = number_parse(s->at, (size_t)(s->end - s->at), &x);
    if (used == 0) {
        if (!scan_skip_value(s)) return false;
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

/* A member's name that the last row did not have in this place: *ret is its feature, or -1 when the
 * value, which is taken too, belongs to none. Its end, or NULL. */
static const char *unusual_key(struct scan *s, const char *p, uint32_t position, int *ret)
{
    const char *name;
    size_t len;
    s->at = p;
    if (!scan_key(s, &name, &len)) return NULL;
    *ret = rows_feature(s->r, position, name, len);
    if (*ret >= 0) return s->at;
    rows_fault(s->r, -1, "unknown_feature", keep(s, name, len), "the model has no such feature",
               s->line, 0);
    return scan_skip_value(s) ? s->at : NULL;
}

/* The name at p, with its colon, when it is the one that the last row had in this place; else p. */
static inline const char *usual_key(struct scan *s, const char *p, uint32_t position, int *ret)
{
    if (position >= s->r->schema->n_features) return p;
    int feature = s->r->key_order[position];
    const struct rows_key *key = &s->r->keys[feature];
    size_t len = key->plain_len;
    if (len == 0 || (size_t)(s->end - p) < len + 3 || p[0] != '"' || p[len + 1] != '"' ||
        p[len + 2] != ':' || memcmp(p + 1, key->name, len) != 0)
        return p;
    *ret = feature;
    return p + len + 3;
}

/* {"age": 31, …} into the last row; the brace was taken. */
static bool features(struct scan *s)
{
    bool again;
    if (!scan_enter(s, '}', &again)) return false;
    const struct rows_key *keys = s->r->keys;
    union seg_cell *row = s->r->last;
    const char *p = s->at;
    for (uint32_t position = 0; again; position++) {
        int feature;
        p = skip_blanks(p, s->end);
        const char *behind = usual_key(s, p, position, &feature);
        if (behind == p) behind = unusual_key(s, p, position, &feature);
        if (behind == NULL) return false;
        p = behind;
        if (feature >= 0 && rows_first(s->r, feature)) {
            p = value_at(s, p, keys, row, feature);
        } else if (feature >= 0) {
            rows_fault(s->r, feature, "duplicate_key", NULL, "is given twice", s->line, 0);
            s->at = p;
            p = scan_skip_value(s) ? s->at : NULL;
        }
        if (p == NULL || (p = more_at(s, p, '}', &again)) == NULL) return false;
    }
    s->at = p;
    s->depth--;
    return true;
}

/* A member of a row that is neither an id nor an object of features. */
static bool odd_member(struct scan *s, bool is_features, const char *name, size_t len)
{
    if (is_features)
        rows_fault(s->r, -1, "wrong_type", NULL, "\"features\" must be an object", s->line, 0);
    else
        rows_fault(s->r, -1, "unknown_key", keep(s, name, len), "a row has user_id and features",
                   s->line, 0);
    return scan_skip_value(s);
}

bool rows_json_named(struct scan *s)
{
    bool again, has_id = false, has_features = false;
    if (!rows_add(s->r)) return scan_no_memory(s);
    if (!scan_peek(s, '{')) {
        rows_fault(s->r, -1, "wrong_type", NULL, "a row must be an object", s->line, 0);
        return scan_skip_value(s);
    }
    s->at++;
    if (!scan_enter(s, '}', &again)) return false;
    while (again) {
        const char *name;
        size_t len;
        if (!scan_key(s, &name, &len)) return false;
        bool id = scan_is(name, len, "user_id"), own = scan_is(name, len, "features");
        if ((id && has_id) || (own && has_features))
            return scan_fail(s, "duplicate_key", "", "a key is given twice in one row");
        has_id = has_id || id;
        has_features = has_features || own;
        if (id) {
            if (!rows_json_id(s)) return false;
        } else if (own && scan_peek(s, '{')) {
            s->at++;
            if (!features(s)) return false;
        } else if (!odd_member(s, own, name, len)) {
            return false;
        }
        if (!scan_more(s, '}', &again)) return false;
    }
    s->depth--;
    if (!has_features)
        rows_fault(s->r, -1, "missing_features", NULL, "the row has no \"features\"", s->line, 0);
    return true;
}

bool rows_json_data(struct scan *s, const uint16_t *columns, uint32_t n_columns)
{
    bool again;
    uint32_t n = 0;
    if (!rows_add(s->r)) return scan_no_memory(s);
    if (!scan_peek(s, '[')) {
        rows_fault(s->r, -1, "wrong_type", NULL, "a row of \"data\" must be an array", 0, 0);
        return scan_skip_value(s);
    }
    s->at++;
    if (!scan_enter(s, ']', &again)) return false;
    const struct rows_key *keys = s->r->keys;
    union seg_cell *row = s->r->last;
    const char *p = s->at;
    for (; again; n++) {
        if (n < n_columns) {
            p = value_at(s, p, keys, row, columns[n]);
        } else {
            s->at = p;
            p = scan_skip_value(s) ? s->at : NULL;
        }
        if (p == NULL || (p = more_at(s, p, ']', &again)) == NULL) return false;
    }
    s->at = p;
    s->depth--;
    if (n != n_columns)
        rows_fault(s->r, -1, "ragged_row", NULL,
                   "the row has another number of values than there are columns", 0, 0);
    return true;
}
