/* Row writers. The bytes a row can need at most are known before it is written, so that one check
 * a row guards all of its writes. */
#include "handlers/score.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "http/request.h"

#define NUMBER_BYTES  32u         /* of a float's or integer's text, at most */
#define USER_ID_BYTES (256u * 6u) /* every byte escaped */
#define FIXED_BYTES   512u        /* keys, brackets, statuses of a row */
#define ERROR_BYTES   8192u       /* of one fault of an invalid row; name and detail are cut */

struct piece {
    const char *text;
    size_t len;
};

struct score {
    const struct seg_model *model;
    const struct seg_schema *schema;
    enum score_format format;
    bool is_classification, has_probabilities;
    uint32_t n_results;
    struct piece *results;       /* (n_results) what names the result: keys and values, or fields */
    struct piece *probabilities; /* (n_results) the key before each probability */
    struct piece *features;      /* (n_features + n_derived) names as JSON strings */
    uint32_t *derived;           /* (n_derived) numbers of the derived columns that "imputed" names:
                                    all but parts of dates, which are missing with their column */
    uint32_t n_derived;
    size_t row_bytes_max; /* of a row that is not invalid */
};

void score_text_release(struct score_text *t)
{
    seg_free(t->data);
    *t = (struct score_text){ 0 };
}

bool score_text_reserve(struct score_text *t, size_t n)
{
    if (t->failed) return false;
    if (n <= t->cap - t->len) return true;
    size_t cap = t->cap < 4096 ? 4096 : t->cap * 2;
    while (cap - t->len < n)
        cap *= 2;
    char *grown = seg_realloc(t->data, cap, 1);
    t->failed = grown == NULL;
    if (t->failed) return false;
    t->data = grown;
    t->cap = cap;
    return true;
}

void score_text_printf(struct score_text *t, const char *fmt, ...)
{
    va_list args;
    char line[1024];
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(line)) t->failed = true;
    if (!score_text_reserve(t, (size_t)n)) return;
    memcpy(t->data + t->len, line, (size_t)n);
    t->len += (size_t)n;
}

/* ---- writing into reserved room ---- */

static inline char *put(char *p, const char *s, size_t n)
{
    memcpy(p, s, n);
    return p + n;
}
#define PUT(p, literal) put((p), (literal), sizeof(literal) - 1)

static char *put_json(char *p, const char *s, size_t len)
{
    *p++ = '"';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            *p++ = '\\';
            *p++ = (char)c;
        } else if (c < 0x20) {
            p += sprintf(p, "\\u%04x", c);
        } else {
            *p++ = (char)c;
        }
    }
    *p++ = '"';
    return p;
}

static char *put_csv(char *p, const char *s, size_t len)
{
    bool quote = false;
    for (size_t i = 0; i < len; i++)
        quote |= s[i] == '"' || s[i] == ',' || s[i] == '\n' || s[i] == '\r';
    if (!quote) return put(p, s, len);
    *p++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"') *p++ = '"';
        *p++ = s[i];
    }
    *p++ = '"';
    return p;
}

static char *put_float(char *p, float x, bool is_csv)
{
    if (isfinite(x)) return p + float_text(x, p);
    return is_csv ? p : PUT(p, "null");
}

/* ---- what is the same in every row ---- */

static bool piece_take(struct piece *ret, struct seg_arena *arena, const char *from,
                       const char *end)
{
    ret->len = (size_t)(end - from);
    ret->text = seg_arena_strndup(arena, from, ret->len);
    return ret->text != NULL;
}

static const char *result_name(const struct score *s, const struct served_model *served, uint32_t i)
{
    if (s->is_classification) return seg_model_class_name(s->model, i);
    return served->segment_names != NULL && served->segment_names[i] != NULL
               ? served->segment_names[i]
               : "";
}

/* results[i] and probabilities[i]. */
static bool make_result(struct score *s, struct seg_arena *arena, const struct served_model *served,
                        uint32_t i)
{
    const char *name = result_name(s, served, i);
    size_t len = strlen(name);
    char *buf = seg_alloc(6 * len + 256, 1);
    if (buf == NULL) return false;
    char *p = buf;
    unsigned id = s->is_classification ? 0 : seg_model_segment_id(s->model, i);
    bool is_csv = s->format == SCORE_CSV;
    if (is_csv) {
        if (!s->is_classification) p += sprintf(p, "%u,", id);
        p = put_csv(p, name, len);
    } else if (s->is_classification) {
        p = put_json(PUT(p, "\"class\":"), name, len);
    } else {
        p += sprintf(p, "\"segment\":%u,\"segment_name\":", id);
        p = put_json(p, name, len);
    }
    bool ok = piece_take(&s->results[i], arena, buf, p);
    p = buf;
    if (is_csv) {
        p = PUT(p, "probability_");
        if (s->is_classification)
            p = put(p, name, len);
        else
            p += sprintf(p, "%u", id);
        size_t raw = (size_t)(p - buf);
        char *quoted = seg_arena_alloc(arena, 2 * raw + 2);
        ok = ok && quoted != NULL;
        if (ok)
            s->probabilities[i] =
                (struct piece){ quoted, (size_t)(put_csv(quoted, buf, raw) - quoted) };
    } else {
        if (s->is_classification)
            p = put_json(p, name, len);
        else
            p += sprintf(p, "\"%u\"", id);
        *p++ = ':';
        ok = ok && piece_take(&s->probabilities[i], arena, buf, p);
    }
    seg_free(buf);
    return ok;
}

/* features and derived. Adds what the names of a row take at most to *bytes. */
static bool make_names(struct score *s, struct seg_arena *arena, size_t *bytes)
{
    const struct seg_preprocess *pre = seg_model_preprocess(s->model);
    uint32_t n_features = s->schema->n_features, n_derived = seg_preprocess_n_derived(pre);
    s->features = seg_arena_alloc(arena, (n_features + n_derived) * sizeof(struct piece));
    s->derived = seg_arena_alloc(arena, (n_derived + 1) * sizeof(*s->derived));
    if (s->features == NULL || s->derived == NULL) return false;
    for (uint32_t i = 0; i < n_derived; i++)
        if (!seg_derive_is_part(seg_preprocess_derived(pre, i)->op)) s->derived[s->n_derived++] = i;
    for (uint32_t i = 0; i < n_features + s->n_derived; i++) {
        char buf[SEG_NAME_BYTES_MAX * 6 + 2];
        const char *name = i < n_features
                               ? s->schema->features[i].name
                               : seg_preprocess_derived(pre, s->derived[i - n_features])->name;
        if (!piece_take(&s->features[i], arena, buf, put_json(buf, name, strlen(name))))
            return false;
        *bytes += 2 * (s->features[i].len + 1); /* a feature may be imputed and unseen at most */
    }
    return true;
}

struct score *score_new(struct seg_arena *arena, const struct served_model *served,
                        enum score_format format)
{
    struct score *s = seg_arena_alloc(arena, sizeof(*s));
    if (s == NULL) return NULL;
    *s = (struct score){ .model = served->model, .format = format };
    s->schema = seg_model_inputs(served->model);
    s->is_classification = seg_model_task(served->model) == SEG_CLASSIFICATION;
    s->has_probabilities = seg_model_has_probabilities(served->model);
    s->n_results = seg_model_n_results(served->model);
    s->results = seg_arena_alloc(arena, s->n_results * sizeof(struct piece));
    s->probabilities = seg_arena_alloc(arena, s->n_results * sizeof(struct piece));
    if (s->results == NULL || s->probabilities == NULL) return NULL;
    size_t results_max = 0, others = 0;
    for (uint32_t i = 0; i < s->n_results; i++) {
        if (!make_result(s, arena, served, i)) return NULL;
        if (s->results[i].len > results_max) results_max = s->results[i].len;
        others += s->probabilities[i].len + NUMBER_BYTES;
    }
    if (!make_names(s, arena, &others)) return NULL;
    s->row_bytes_max = FIXED_BYTES + USER_ID_BYTES + results_max + others + 2 * NUMBER_BYTES;
    return s;
}

void score_write_header(const struct score *s, struct score_text *out)
{
    size_t n = FIXED_BYTES;
    for (uint32_t i = 0; i < s->n_results; i++)
        n += s->probabilities[i].len + 1;
    if (!score_text_reserve(out, n)) return;
    char *p = out->data + out->len;
    p = s->is_classification ? PUT(p, "user_id,status,class,confidence")
                             : PUT(p, "user_id,status,segment,segment_name,confidence,distance");
    for (uint32_t i = 0; s->has_probabilities && i < s->n_results; i++) {
        *p++ = ',';
        p = put(p, s->probabilities[i].text, s->probabilities[i].len);
    }
    *p++ = '\r';
    *p++ = '\n';
    out->len = (size_t)(p - out->data);
}

/* ---- one tile ---- */

struct tile {
    const float *cells; /* (n_cells, 64) raw */
    struct seg_scores scores;
    uint64_t *missing; /* (n_features + n_derived) bit r: row r has no value */
    uint64_t *unseen;  /* (n_features) bit r: row r has a new category */
    uint64_t any_missing, any_unseen;
};

static uint64_t nan_lanes(const float *column, unsigned n)
{
    uint64_t lanes = 0;
    for (unsigned r = 0; r < n; r++)
        lanes |= (uint64_t)(column[r] != column[r]) << r;
    return lanes;
}

static uint64_t code_lanes(const float *column, unsigned n, uint32_t code)
{
    uint64_t lanes = 0;
    for (unsigned r = 0; r < n; r++) {
        uint32_t cell;
        memcpy(&cell, column + r, sizeof(cell));
        lanes |= (uint64_t)(cell == code) << r;
    }
    return lanes;
}

/* derived (all derived columns, 64) is scratch. */
static void find_missing(const struct score *s, struct tile *t, unsigned n, float *derived)
{
    t->any_missing = t->any_unseen = 0;
    for (uint32_t f = 0; f < s->schema->n_features; f++) {
        const struct seg_feature *feature = &s->schema->features[f];
        const float *column = t->cells + (size_t)feature->cell * SEG_TILE_ROWS;
        t->unseen[f] = 0;
        if (feature->type == SEG_CATEGORICAL) {
            t->missing[f] = code_lanes(column, n, SEG_CODE_MISSING);
            t->unseen[f] = code_lanes(column, n, SEG_CODE_UNSEEN);
        } else { /* a missing vector is NaN in every cell: its first one tells */
            t->missing[f] = nan_lanes(column, n);
        }
        t->any_missing |= t->missing[f];
        t->any_unseen |= t->unseen[f];
    }
    if (s->n_derived == 0) return;
    seg_preprocess_derive(seg_model_preprocess(s->model), t->cells, derived);
    for (uint32_t i = 0; i < s->n_derived; i++) {
        uint64_t lanes = nan_lanes(derived + (size_t)s->derived[i] * SEG_TILE_ROWS, n);
        t->missing[s->schema->n_features + i] = lanes;
        t->any_missing |= lanes;
    }
}

/* The first n_names of those that lanes has for row r. */
static char *put_names(char *p, const struct score *s, const uint64_t *lanes, uint32_t n_names,
                       unsigned r)
{
    *p++ = '[';
    bool first = true;
    for (uint32_t f = 0; f < n_names; f++) {
        if ((lanes[f] >> r & 1) == 0) continue;
        if (!first) *p++ = ',';
        first = false;
        p = put(p, s->features[f].text, s->features[f].len);
    }
    *p++ = ']';
    return p;
}

/* ---- one row ---- */

static char *put_user_id(char *p, const struct score *s, const struct rows *r, uint32_t row)
{
    const char *id = r->user_id[row];
    bool have = id != NULL && r->user_id_len[row] <= 256 &&
                (!r->invalid[row] || user_id_is_valid(id, r->user_id_len[row]));
    if (s->format == SCORE_CSV) {
        if (have) p = put_csv(p, id, r->user_id_len[row]);
        *p++ = ',';
        return p;
    }
    *p++ = '{';
    if (!have) return p;
    p = put_json(PUT(p, "\"user_id\":"), id, r->user_id_len[row]);
    *p++ = ',';
    return p;
}

static char *put_ok_json(char *p, const struct score *s, const struct tile *t, unsigned r)
{
    const struct piece *result = &s->results[t->scores.result[r]];
    p = put(PUT(p, "\"status\":\"ok\","), result->text, result->len);
    p = put_float(PUT(p, ",\"confidence\":"), t->scores.confidence[r], false);
    if (!s->is_classification)
        p = put_float(PUT(p, ",\"distance\":"), t->scores.distance[r], false);
    if (s->has_probabilities) {
        p = PUT(p, ",\"probabilities\":{");
        for (uint32_t i = 0; i < s->n_results; i++) {
            if (i > 0) *p++ = ',';
            p = put(p, s->probabilities[i].text, s->probabilities[i].len);
            p = put_float(p, t->scores.probabilities[i * SEG_TILE_ROWS + r], false);
        }
        *p++ = '}';
    }
    uint32_t n_features = s->schema->n_features, n_names = n_features + s->n_derived;
    p = put_names(PUT(p, ",\"imputed\":"), s, t->missing, t->any_missing >> r & 1 ? n_names : 0, r);
    p = put_names(PUT(p, ",\"unseen\":"), s, t->unseen, t->any_unseen >> r & 1 ? n_features : 0, r);
    *p++ = '}';
    return p;
}

static char *put_csv_record(char *p, const struct score *s, const struct tile *t, unsigned r,
                            const char *status)
{
    bool ok = strcmp(status, "ok") == 0;
    p = put(p, status, strlen(status));
    *p++ = ',';
    if (ok) {
        const struct piece *result = &s->results[t->scores.result[r]];
        p = put(p, result->text, result->len);
    } else if (!s->is_classification) {
        *p++ = ',';
    }
    *p++ = ',';
    if (ok) p = put_float(p, t->scores.confidence[r], true);
    if (!s->is_classification) {
        *p++ = ',';
        if (ok) p = put_float(p, t->scores.distance[r], true);
    }
    for (uint32_t i = 0; s->has_probabilities && i < s->n_results; i++) {
        *p++ = ',';
        if (ok) p = put_float(p, t->scores.probabilities[i * SEG_TILE_ROWS + r], true);
    }
    *p++ = '\r';
    *p++ = '\n';
    return p;
}

static char *put_nothing(char *p, const struct score *s, const char *status)
{
    p = put(PUT(p, "\"status\":\""), status, strlen(status));
    return s->is_classification ? PUT(p, "\",\"class\":null,\"errors\":[")
                                : PUT(p, "\",\"segment\":null,\"errors\":[");
}

static void write_insufficient(const struct score *s, const struct tile *t, unsigned r,
                               uint32_t row, struct score_text *out)
{
    unsigned n_given = 0;
    for (uint32_t f = 0; f < s->schema->n_features; f++)
        n_given += (t->missing[f] >> r & 1) == 0;
    out->len = (size_t)(put_nothing(out->data + out->len, s, "insufficient_data") - out->data);
    if (s->format == SCORE_JSON)
        score_text_printf(out, "{\"pointer\":\"/rows/%u/features\",", row);
    else
        score_text_printf(out, "{\"pointer\":\"/features\",");
    score_text_printf(
        out, "\"code\":\"insufficient_data\",\"detail\":\"%u of %u features are given\"}]}",
        n_given, s->schema->n_features);
}

/* The fault as a member of errors. Its name and detail come from the body: cut to what fits. */
static void write_fault(const struct score *s, const struct row_fault *f, bool first,
                        struct score_text *out)
{
    char pointer[640], *p = pointer;
    const char *name = f->feature >= 0 ? s->schema->features[f->feature].name : f->name;
    if (f->line > 0) {
        p += sprintf(p, "line %zu, column %zu", f->line, f->column);
    } else {
        p += sprintf(p, "/rows/%u%s", f->row,
                     strcmp(f->code, "bad_user_id") == 0 ? "/user_id"
                     : name != NULL                      ? "/features/"
                                                         : "");
        size_t n = 0;
        for (; name != NULL && name[n] != '\0' && n < SEG_NAME_BYTES_MAX; n++) {
            if (name[n] == '~' || name[n] == '/') *p++ = '~'; /* RFC 6901 */
            *p++ = name[n] == '~' ? '0' : name[n] == '/' ? '1' : name[n];
        }
        while (!utf8_valid(pointer, (size_t)(p - pointer)))
            p--;
    }
    if (!score_text_reserve(out, ERROR_BYTES)) return;
    char *q = out->data + out->len;
    size_t detail_len = strnlen(f->detail, 300);
    while (!utf8_valid(f->detail, detail_len))
        detail_len--;
    if (!first) *q++ = ',';
    q = put_json(PUT(q, "{\"pointer\":"), pointer, (size_t)(p - pointer));
    q = put_json(PUT(q, ",\"code\":"), f->code, strlen(f->code));
    q = put_json(PUT(q, ",\"detail\":"), f->detail, detail_len);
    *q++ = '}';
    out->len = (size_t)(q - out->data);
}

static size_t first_fault(const struct rows *r, uint32_t row)
{
    size_t low = 0, high = r->n_faults;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->faults[middle].row < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void write_invalid(const struct score *s, const struct rows *r, uint32_t row,
                          struct score_text *out)
{
    out->len = (size_t)(put_nothing(out->data + out->len, s, "invalid") - out->data);
    size_t first = first_fault(r, row);
    for (size_t i = first; i < r->n_faults && r->faults[i].row == row; i++)
        write_fault(s, &r->faults[i], i == first, out);
    score_text_printf(out, "]}");
}

static void write_row(const struct score *s, const struct rows *r, const struct tile *t,
                      uint32_t row, struct score_text *out, struct score_tally *tally)
{
    unsigned lane = row % SEG_TILE_ROWS;
    bool invalid = r->invalid[row] != 0;
    bool ok = !invalid && t->scores.status[lane] == SEG_ROW_OK;
    tally->n_ok += ok;
    tally->n_invalid += invalid;
    tally->n_insufficient += !ok && !invalid;
    if (!score_text_reserve(out, s->row_bytes_max)) return;
    char *p = out->data + out->len;
    if (s->format == SCORE_JSON && row > 0) *p++ = ',';
    p = put_user_id(p, s, r, row);
    if (s->format == SCORE_CSV) {
        p = put_csv_record(p, s, t, lane, ok ? "ok" : invalid ? "invalid" : "insufficient_data");
        out->len = (size_t)(p - out->data);
        return;
    }
    if (ok) p = put_ok_json(p, s, t, lane);
    out->len = (size_t)(p - out->data);
    if (invalid)
        write_invalid(s, r, row, out);
    else if (!ok)
        write_insufficient(s, t, lane, row, out);
    if (s->format == SCORE_NDJSON) score_text_printf(out, "\n");
}

void score_write_block(const struct score *s, const struct rows *r, uint32_t first,
                       struct score_text *out, struct score_tally *tally)
{
    size_t n_scratch = seg_model_scratch(s->model);
    size_t n_probabilities = s->has_probabilities ? (size_t)s->n_results * SEG_TILE_ROWS : 0;
    float *scratch = seg_alloc_aligned(n_scratch + n_probabilities + SEG_TILE_ROWS, sizeof(float));
    size_t n_features = s->schema->n_features;
    uint64_t *lanes = seg_alloc(2 * n_features + s->n_derived, sizeof(uint64_t));
    if (scratch == NULL || lanes == NULL) {
        out->failed = true;
        goto out;
    }
    struct tile t = { .missing = lanes, .unseen = lanes + n_features + s->n_derived };
    size_t aligned = (n_scratch + 15) / 16 * 16; /* 64 bytes */
    t.scores.probabilities = s->has_probabilities ? scratch + aligned : NULL;
    for (uint32_t at = first; at < r->n_rows && at < first + SCORE_BLOCK_ROWS;
         at += SEG_TILE_ROWS) {
        unsigned n = r->n_rows - at < SEG_TILE_ROWS ? r->n_rows - at : SEG_TILE_ROWS;
        t.cells = seg_tiles_at(&r->cells, at / SEG_TILE_ROWS);
        seg_model_score_tile(s->model, t.cells, n, scratch, &t.scores);
        find_missing(s, &t, n, scratch); /* which scoring needs no more */
        for (unsigned i = 0; i < n; i++)
            write_row(s, r, &t, at + i, out, tally);
    }
out:
    seg_free(lanes);
    seg_free(scratch);
}
