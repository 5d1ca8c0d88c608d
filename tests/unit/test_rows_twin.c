/* test_rows_twin.c - the streaming decoder of rows against a plain one that walks a tree: what it
 * refuses, which rows are invalid and what the others hold, over bodies made at random and damaged
 * at random. What a tree cannot tell (7 and 7.0 as a category) is left out of the comparison. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "features/calendar.h"
#include "http/request.h"
#include "json/json.h"
#include "rows_fixture.h"
#include "timestamp.h"

#define N_BODIES  200000
#define ROWS_MAX  100u
#define BODY_SIZE 8192

static struct seg_schema schema;

/* ---- the twin ---- */

enum verdict { TAKEN, REFUSED, UNTOLD };

struct twin_row {
    bool invalid;
    float cells[16];
    uint32_t channel;
    const char *id;
};

struct twin {
    struct twin_row rows[ROWS_MAX];
    uint32_t n_rows;
    bool untold;
};

static struct twin_row *twin_add(struct twin *t)
{
    struct twin_row *row = &t->rows[t->n_rows++];
    *row = (struct twin_row){ .channel = SEG_CODE_MISSING };
    for (size_t i = 0; i < 16; i++)
        row->cells[i] = NAN;
    return row;
}

static bool twin_vector(struct twin_row *row, const struct json *v)
{
    uint32_t n = 0;
    if (json_kind(v) != JSON_ARRAY || json_size(v) != TASTE_WIDTH) return false;
    for (const struct json *x = json_first(v); x != NULL; x = json_next(x), n++) {
        if (json_kind(x) != JSON_NUMBER || !isfinite((float)json_number(x))) return false;
        row->cells[schema.features[TASTE].cell + n] = (float)json_number(x);
    }
    return true;
}

/* False: the row is invalid. */
static bool twin_value(struct twin *t, struct twin_row *row, int feature, const struct json *v)
{
    const struct seg_feature *f = &schema.features[feature];
    float *to = &row->cells[f->cell];
    enum json_kind kind = json_kind(v);
    double x = kind == JSON_NUMBER ? json_number(v) : 0;
    int64_t micros;
    if (kind == JSON_NULL) return true;
    switch (f->type) {
    case SEG_NUMERIC: *to = (float)x; return kind == JSON_NUMBER && isfinite(*to);
    case SEG_BOOLEAN:
        *to = kind == JSON_BOOL ? json_bool(v) : (float)x;
        return kind == JSON_BOOL || (kind == JSON_NUMBER && (*to == 0 || *to == 1));
    case SEG_TIMESTAMP:
        if (kind != JSON_STRING) return false;
        const char *time = json_string(v);
        if (!timestamp_parse(time, strlen(time), &micros)) return false;
        seg_moment_cells(micros, to, to + 1);
        return true;
    case SEG_CATEGORICAL: {
        if (kind == JSON_NUMBER) t->untold = true;
        const char *text = kind == JSON_STRING ? json_string(v) : json_bool(v) ? "true" : "false";
        row->channel = seg_dictionary_find(&f->dictionary, text, strlen(text));
        return kind == JSON_STRING || kind == JSON_BOOL;
    }
    case SEG_VECTOR: return twin_vector(row, v);
    }
    return false;
}

static bool twin_id(struct twin *t, struct twin_row *row, const struct json *v)
{
    if (json_kind(v) == JSON_NULL) return true;
    if (json_kind(v) == JSON_NUMBER) t->untold = true;
    if (json_kind(v) != JSON_STRING) return false;
    row->id = json_string(v);
    return user_id_is_valid(row->id, strlen(row->id));
}

static bool twin_features(struct twin *t, struct twin_row *row, const struct json *v)
{
    bool good = json_kind(v) == JSON_OBJECT;
    for (const struct json *x = good ? json_first(v) : NULL; x != NULL; x = json_next(x)) {
        int feature = seg_schema_find(&schema, json_key(x), strlen(json_key(x)));
        good = feature >= 0 && twin_value(t, row, feature, x) && good;
    }
    return good;
}

static void twin_named(struct twin *t, const struct json *v)
{
    struct twin_row *row = twin_add(t);
    bool good = json_kind(v) == JSON_OBJECT && json_get(v, "features") != NULL;
    for (const struct json *x = good ? json_first(v) : NULL; x != NULL; x = json_next(x)) {
        bool is_id = strcmp(json_key(x), "user_id") == 0;
        bool is_own = strcmp(json_key(x), "features") == 0;
        bool fits = is_id ? twin_id(t, row, x) : is_own && twin_features(t, row, x);
        good = good && fits;
    }
    row->invalid = !good;
}

/* The features of the columns, or -1 for a body that is refused. */
static int twin_columns(const struct json *v, int *features)
{
    int n = 0;
    if (json_kind(v) != JSON_ARRAY) return -1;
    for (const struct json *x = json_first(v); x != NULL; x = json_next(x), n++) {
        if (json_kind(x) != JSON_STRING || n == N_FIXTURE) return -1;
        features[n] = seg_schema_find(&schema, json_string(x), strlen(json_string(x)));
        if (features[n] < 0) return -1;
        for (int i = 0; i < n; i++)
            if (features[i] == features[n]) return -1;
    }
    return n;
}

static bool twin_table(struct twin *t, const struct json *columns, const struct json *data,
                       const struct json *ids)
{
    int features[N_FIXTURE], n_columns = twin_columns(columns, features);
    if (n_columns < 0 || json_kind(data) != JSON_ARRAY) return false;
    for (const struct json *v = json_first(data); v != NULL; v = json_next(v)) {
        if (t->n_rows == ROWS_MAX) return false;
        struct twin_row *row = twin_add(t);
        int i = 0;
        row->invalid = json_kind(v) != JSON_ARRAY;
        for (const struct json *x = row->invalid ? NULL : json_first(v); x != NULL;
             x = json_next(x), i++)
            if (i < n_columns && !twin_value(t, row, features[i], x)) row->invalid = true;
        if (i != n_columns) row->invalid = true;
    }
    if (ids == NULL) return true;
    if (json_kind(ids) != JSON_ARRAY || json_size(ids) != t->n_rows) return false;
    uint32_t n = 0;
    for (const struct json *x = json_first(ids); x != NULL; x = json_next(x), n++)
        if (!twin_id(t, &t->rows[n], x)) t->rows[n].invalid = true;
    return true;
}

static bool twin_decode(struct twin *t, const struct json *doc)
{
    if (json_kind(doc) != JSON_OBJECT) return false;
    const struct json *named = json_get(doc, "rows"), *columns = json_get(doc, "columns"),
                      *data = json_get(doc, "data"), *ids = json_get(doc, "user_ids");
    size_t n_known = (named != NULL) + (columns != NULL) + (data != NULL) + (ids != NULL);
    if (json_size(doc) != n_known) return false;
    if (named == NULL) return columns != NULL && data != NULL && twin_table(t, columns, data, ids);
    if (n_known != 1 || json_kind(named) != JSON_ARRAY) return false;
    for (const struct json *v = json_first(named); v != NULL; v = json_next(v)) {
        if (t->n_rows == ROWS_MAX) return false;
        twin_named(t, v);
    }
    return true;
}

/* ---- bodies at random ---- */

struct text {
    struct seg_rng rng;
    char bytes[BODY_SIZE];
    size_t len;
};

static uint32_t below(struct text *t, uint32_t n)
{
    return (uint32_t)seg_rng_below(&t->rng, n);
}

static void put(struct text *t, const char *s)
{
    static const char *const BLANKS[] = { " ", "\n", "\t", "\r\n  " };
    size_t len = strlen(s);
    if (t->len + len + 8 > BODY_SIZE) return;
    memcpy(t->bytes + t->len, s, len);
    t->len += len;
    if (below(t, 12) == 0) put(t, BLANKS[below(t, 4)]);
}

#define PICK(t, list) list[below(t, (uint32_t)(sizeof(list) / sizeof(list[0])))]

static void put_value(struct text *t, int feature)
{
    static const char *const OF[N_FIXTURE][6] = {
        [AGE] = { "31", "-0.5", "1e3", "2.5E-2", "0", "-12345678" },
        [ORDERS] = { "1", "0.001", "99999999", "1234.5678", "1e-40", "7" },
        [ACTIVE] = { "true", "false", "1", "0", "null", "true" },
        [JOINED] = { "\"2026-11-23\"", "\"2026-11-23T10:00:00Z\"", "\"yesterday\"", "null",
                     "\"1969-07-20T20:17:40+01:00\"", "\"2024-02-29\"" },
        [CHANNEL] = { "\"app\"", "\"w\\u0065b\"", "\"caf\xC3\xA9\"", "\"new\"", "true",
                      "\"a,\\\"b\\\"\\nc\"" },
        [TASTE] = { "[1,2,3]", "[ 0.5 ,-1e2, 3 ]", "[1,2]", "[1,2,3,4]", "[]", "[1,null,3]" },
    };
    static const char *const ANY[] = { "null",   "\"x\"", "1e39", "{}",    "[[1],{\"a\":[]}]",
                                       "-1.5e2", "false", "[]",   "2e308", "\"\\ud83d\\ude00\"" };
    put(t, below(t, 15) == 0 ? PICK(t, ANY) : OF[feature][below(t, 6)]);
}

static void put_id(struct text *t)
{
    static const char *const IDS[] = { "\"u1\"",       "\"\\u00fc\"", "null", "12", "\"\"",
                                       "\"a\\u0007\"", "\"u 2\"",     "{}",   "-1" };
    put(t, PICK(t, IDS));
}

static void put_named_row(struct text *t)
{
    static const char *const NAMES[N_FIXTURE] = { "\"age\"",    "\"orders\"",  "\"active\"",
                                                  "\"joined\"", "\"channel\"", "\"taste\"" };
    put(t, "{");
    if (below(t, 2) == 0) put(t, "\"user_id\":"), put_id(t), put(t, ",");
    if (below(t, 30) == 0) put(t, "\"other\":[1],");
    put(t, below(t, 30) == 0 ? "\"feature\\u0073\":{" : "\"features\":{");
    uint32_t first = below(t, N_FIXTURE), n = below(t, N_FIXTURE + 1);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t feature = (first + i) % N_FIXTURE;
        if (i > 0) put(t, ",");
        put(t, below(t, 40) == 0 ? "\"colour\"" : NAMES[feature]);
        put(t, ":");
        put_value(t, (int)feature);
    }
    put(t, "}}");
}

static void put_table(struct text *t)
{
    uint32_t n_rows = below(t, 6);
    bool ids_first = below(t, 3) == 0, ids_last = !ids_first && below(t, 2) == 0;
    for (int part = 0; part < 3; part++) {
        if (part == 1) {
            put(t, ids_first ? ",\"columns\":[\"orders\",\"channel\",\"taste\"]"
                             : "\"columns\":[\"orders\",\"channel\",\"taste\"]");
            put(t, ",\"data\":[");
            for (uint32_t i = 0; i < n_rows; i++) {
                put(t, i == 0 ? "[" : ",[");
                put_value(t, ORDERS), put(t, ","), put_value(t, CHANNEL);
                if (below(t, 20) > 0) put(t, ","), put_value(t, TASTE);
                put(t, "]");
            }
            put(t, "]");
        } else if (part == 0 ? ids_first : ids_last) {
            put(t, part == 0 ? "\"user_ids\":[" : ",\"user_ids\":[");
            for (uint32_t i = 0; i < n_rows; i++)
                put(t, i == 0 ? "" : ","), put_id(t);
            put(t, "]");
        }
    }
}

static void make_body(struct text *t)
{
    t->len = 0;
    put(t, "{");
    if (below(t, 2) == 0) {
        put_table(t);
    } else {
        put(t, "\"rows\":[");
        for (uint32_t i = 0, n = below(t, 5); i < n; i++)
            put(t, i == 0 ? "" : ","), put_named_row(t);
        put(t, "]");
    }
    put(t, "}");
}

/* A byte changed, taken out or put in, or a piece doubled or cut. */
static void damage(struct text *t)
{
    static const char BYTES[] = "{}[]:,\"\\ntf0123456789-+.eEu \n\t\x01\x7f\xC3\xA9\xFF";
    size_t at = below(t, (uint32_t)t->len), n = 1 + below(t, 8);
    char byte = BYTES[below(t, sizeof(BYTES))]; /* the NUL too */
    if (n > t->len - at) n = t->len - at;
    switch (below(t, 5)) {
    case 0: t->bytes[at] = byte; break;
    case 1:
        memmove(t->bytes + at, t->bytes + at + n, t->len - at - n);
        t->len -= n;
        break;
    case 2:
        memmove(t->bytes + at + n, t->bytes + at, t->len - at);
        t->len += n;
        break;
    case 3:
        memmove(t->bytes + at + 1, t->bytes + at, t->len - at);
        t->bytes[at] = byte;
        t->len++;
        break;
    default: t->len = at + 1; break;
    }
}

/* ---- the comparison ---- */

static void same_row(const struct rows *r, uint32_t n, const struct twin_row *row, const char *body)
{
    if (r->invalid[n] != row->invalid) fail_msg("row %u is %d: %s", n, r->invalid[n], body);
    if (row->invalid) return;
    size_t id_len = row->id != NULL ? strlen(row->id) : 0;
    if (r->user_id_len[n] != id_len || (id_len > 0 && memcmp(r->user_id[n], row->id, id_len) != 0))
        fail_msg("id of row %u: %s", n, body);
    for (uint32_t i = 0; i < schema.n_cells; i++) {
        union seg_cell got = cell(r, n, i);
        float wanted = row->cells[i];
        bool same = i == schema.features[CHANNEL].cell
                        ? got.code == row->channel
                        : got.number == wanted || (isnan(got.number) && isnan(wanted));
        if (!same) fail_msg("cell %u of row %u: %s", i, n, body);
    }
}

static enum verdict twin_verdict(struct twin *twin, const struct json *doc,
                                 const struct json_fault *fault)
{
    static const char *const OTHER_RULES[] = { "duplicate_key", "too_deep", "not_finite" };
    twin->n_rows = 0;
    twin->untold = false;
    for (size_t i = 0; doc == NULL && i < 3; i++) /* the tree's alone, or of a row alone */
        if (strcmp(fault->code, OTHER_RULES[i]) == 0) return UNTOLD;
    if (doc == NULL || !twin_decode(twin, doc)) return REFUSED;
    return twin->untold ? UNTOLD : TAKEN;
}

static void rows_are_decoded_as_the_twin_decodes_them(void **state)
{
    (void)state;
    static struct text t;
    static struct twin twin;
    unsigned n_seen[3] = { 0 };
    struct rows rows;
    t.rng = seg_rng_make(31, 0);
    rows_init(&rows, &schema);
    for (int i = 0; i < N_BODIES; i++) {
        make_body(&t);
        for (uint32_t n = i % 2 == 0 ? 0 : 1 + below(&t, 2); n > 0 && t.len > 0; n--)
            damage(&t);
        struct json_fault fault = { 0 };
        struct rows_error e;
        char *body = exact(t.bytes, t.len);
        struct json *doc = json_parse(body, t.len, &fault);
        enum verdict wanted = twin_verdict(&twin, doc, &fault);
        rows_clear(&rows);
        enum rows_status got = rows_json_decode(&rows, body, t.len, ROWS_MAX, &e);
        assert_true(got != ROWS_NO_MEMORY);
        t.bytes[t.len] = '\0';
        n_seen[wanted]++;
        if (wanted != UNTOLD && (got == ROWS_OK) != (wanted == TAKEN))
            fail_msg("%s: %s", got == ROWS_OK ? "taken" : e.detail, t.bytes);
        if (wanted == TAKEN) {
            assert_int_equal(rows.n_rows, twin.n_rows);
            for (uint32_t n = 0; n < rows.n_rows; n++)
                same_row(&rows, n, &twin.rows[n], t.bytes);
        }
        json_free(doc);
        seg_free(body);
    }
    rows_release(&rows);
    assert_true(n_seen[TAKEN] > N_BODIES / 10 && n_seen[REFUSED] > N_BODIES / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_decoded_as_the_twin_decodes_them),
    };
    fixture_init(&schema);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    seg_schema_release(&schema);
    return failed;
}
