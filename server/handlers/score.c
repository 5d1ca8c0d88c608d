/* Row writers. The bytes a row can need at most are known before it is written, so that one check
 * a row guards all of its writes. */
#include "handlers/score_private.h"

#include <stdarg.h>

#include "base/alloc.h"
#include "compute/kernels.h"
#include "http/request.h"

#define ERROR_BYTES 8192u /* of one fault of an invalid row; name and detail are cut */

/* Texts of a tile's confidences, made before the rows that repeat them: read right after they were
 * written, bytes would be waited for. */
struct confidences {
    char text[SEG_TILE_ROWS][PART_SLACK];
    uint8_t len[SEG_TILE_ROWS];
};
_Static_assert(JSON_NUMBER_BYTES <= PART_SLACK, "a number is copied as one vector");

void score_text_release(struct score_text *t)
{
    seg_free(t->data);
    *t = (struct score_text){ 0 };
}

bool score_text_grow(struct score_text *t, size_t n)
{
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

void score_text_append(struct score_text *t, const void *bytes, size_t n)
{
    if (!score_text_reserve(t, n) || n == 0) return;
    memcpy(t->data + t->len, bytes, n);
    t->len += n;
}

void score_text_printf(struct score_text *t, const char *fmt, ...)
{
    va_list args;
    char line[1024];
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(line)) t->failed = true;
    score_text_append(t, line, (size_t)n);
}

/* ---- memory of a block ---- */

bool score_work_init(struct score_work *w, const struct seg_model *m)
{
    size_t n_features = seg_model_inputs(m)->n_features;
    size_t n_missing = n_features + seg_preprocess_n_derived(seg_model_preprocess(m));
    size_t n_scratch = (seg_model_scratch(m) + 15) / 16 * 16; /* 64 bytes */
    size_t n_probabilities =
        seg_model_has_probabilities(m) ? (size_t)seg_model_n_results(m) * SEG_TILE_ROWS : 0;
    bool is_small = n_scratch + n_probabilities <= SCORE_WORK_FLOATS &&
                    n_missing + n_features <= SCORE_WORK_LANES;
    w->floats = is_small ? NULL : seg_alloc_aligned(n_scratch + n_probabilities, sizeof(float));
    w->lanes = is_small ? NULL : seg_alloc(n_missing + n_features, sizeof(uint64_t));
    if (!is_small && (w->floats == NULL || w->lanes == NULL)) {
        score_work_release(w);
        return false;
    }
    w->scratch = is_small ? w->near_floats : w->floats;
    w->missing = is_small ? w->near_lanes : w->lanes;
    w->unseen = w->missing + n_missing;
    w->scores.probabilities = n_probabilities > 0 ? w->scratch + n_scratch : NULL;
    w->scores.missing = w->missing;
    return true;
}

void score_work_release(struct score_work *w)
{
    seg_free(w->floats);
    seg_free(w->lanes);
}

/* ---- one row ---- */

static char *put_float(char *p, float x, bool is_csv)
{
    size_t len = float_text(x, p);
    if (len > 0) return p + len;
    return is_csv ? p : PUT(p, "null");
}

/* What the rows of a tile, cells (n_cells, 64), lack beside the features that scoring looked for.
 */
static void find_missing(const struct score *s, const float *cells, struct score_work *w)
{
    uint32_t n_features = s->schema->n_features;
    seg_model_unseen(s->model, cells, w->unseen);
    if (s->n_derived > 0) {
        float *derived = w->scratch; /* (all derived columns, 64), which scoring needs no more */
        seg_preprocess_derive(seg_model_preprocess(s->model), cells, derived);
        for (uint32_t i = 0; i < s->n_derived; i++)
            seg_kernels_get()->nan_rows(derived + (size_t)s->derived[i] * SEG_TILE_ROWS, 1,
                                        &w->missing[n_features + i]);
    }
    w->any_missing = w->any_unseen = 0;
    for (uint32_t f = 0; f < n_features + s->n_derived; f++)
        w->any_missing |= w->missing[f];
    for (uint32_t f = 0; f < n_features; f++)
        w->any_unseen |= w->unseen[f];
}

/* Those of the first n_names that lanes has for row r. */
static char *put_names(char *p, const struct score *s, const uint64_t *lanes, uint32_t n_names,
                       unsigned r)
{
    *p++ = '[';
    bool first = true;
    for (uint32_t f = 0; f < n_names; f++) {
        if ((lanes[f] >> r & 1) == 0) continue;
        if (!first) *p++ = ',';
        first = false;
        p = put_part(p, &s->features[f]);
    }
    *p++ = ']';
    return p;
}

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

static char *put_confidence(char *p, const struct confidences *c, unsigned r)
{
    memcpy(p, c->text[r], PART_SLACK);
    return p + c->len[r];
}

/* A good row's confidence and probabilities, of which one is the confidence again. */
static char *put_numbers(char *p, const struct score *s, const struct score_work *w,
                         const struct confidences *c, unsigned r)
{
    bool is_csv = s->format == SCORE_CSV;
    float x = w->scores.confidence[r];
    p = put_confidence(p, c, r);
    if (!s->is_classification) {
        p = is_csv ? PUT(p, ",") : PUT(p, ",\"distance\":");
        p = put_float(p, w->scores.distance[r], is_csv);
    }
    if (!s->has_probabilities) return p;
    const float *probability = w->scores.probabilities + r;
    for (uint32_t i = 0; i < s->n_results; i++, probability += SEG_TILE_ROWS) {
        p = put_part(p, &s->probabilities[i]);
        p = i == w->scores.result[r] && *probability == x ? put_confidence(p, c, r)
                                                          : put_float(p, *probability, is_csv);
    }
    return is_csv ? p : PUT(p, "}");
}

/* A good row. */
static char *put_ok(char *p, const struct score *s, const struct score_work *w,
                    const struct confidences *c, const struct rows *r, uint32_t row)
{
    const unsigned lane = row % SEG_TILE_ROWS;
    struct part result = s->results[w->scores.result[lane]];
    if (r->user_id[row] != NULL) {
        p = put_user_id(p, s, r, row);
        result = (struct part){ result.text + 1, result.len - 1 };
    }
    p = put_numbers(put_part(p, &result), s, w, c, lane);
    if (s->format == SCORE_CSV) return PUT(p, ",\r\n"); /* no error */
    if ((w->any_missing >> lane & 1) == 0 && (w->any_unseen >> lane & 1) == 0)
        return PUT(p, ",\"imputed\":[],\"unseen\":[]}");
    uint32_t n_features = s->schema->n_features;
    p = put_names(PUT(p, ",\"imputed\":"), s, w->missing, n_features + s->n_derived, lane);
    p = put_names(PUT(p, ",\"unseen\":"), s, w->unseen, n_features, lane);
    return PUT(p, "}");
}

static char *put_nothing(char *p, const struct score *s, const char *status)
{
    p = put(PUT(p, "\"status\":\""), status, strlen(status));
    return s->is_classification ? PUT(p, "\",\"class\":null,\"errors\":[")
                                : PUT(p, "\",\"segment\":null,\"errors\":[");
}

static unsigned n_given(const struct score *s, const struct score_work *w, unsigned r)
{
    unsigned n = 0;
    for (uint32_t f = 0; f < s->schema->n_features; f++)
        n += (w->missing[f] >> r & 1) == 0;
    return n;
}

static void write_insufficient(const struct score *s, const struct score_work *w, unsigned r,
                               uint32_t row, struct score_text *out)
{
    out->len = (size_t)(put_nothing(out->data + out->len, s, "insufficient_data") - out->data);
    if (s->format == SCORE_JSON)
        score_text_printf(out, "{\"pointer\":\"/rows/%u/features\",", row);
    else
        score_text_printf(out, "{\"pointer\":\"/features\",");
    score_text_printf(
        out, "\"code\":\"insufficient_data\",\"detail\":\"%u of %u features are given\"}]}",
        n_given(s, w, r), s->schema->n_features);
}

/* Where the fault is: "line 3, column 7 (age)" of a text, without a column where it is about a
 * whole value of an NDJSON row, or a JSON pointer. Its length. */
static size_t place_of(const struct score *s, const struct row_fault *f,
                       char pointer[static SEG_NAME_BYTES_MAX * 2 + 80])
{
    char *p = pointer;
    const char *name = f->feature >= 0 ? s->schema->features[f->feature].name : f->name;
    const bool is_text = f->line > 0;
    if (is_text)
        p += sprintf(p, "line %zu", f->line);
    else
        p += sprintf(p, "/rows/%u", f->row);
    if (is_text && f->column > 0) p += sprintf(p, ", column %zu", f->column);
    if (!is_text && strcmp(f->code, "bad_user_id") == 0) p += sprintf(p, "/user_id");
    if (name == NULL) return (size_t)(p - pointer);
    p += sprintf(p, is_text ? " (" : "/features/");
    for (size_t n = 0; n < SEG_NAME_BYTES_MAX && name[n] != '\0'; n++) {
        bool escapes = !is_text && (name[n] == '~' || name[n] == '/'); /* RFC 6901 */
        if (escapes) *p++ = '~';
        *p++ = !escapes ? name[n] : name[n] == '~' ? '0' : '1';
    }
    while (!utf8_valid(pointer, (size_t)(p - pointer)))
        p--;
    if (is_text) *p++ = ')';
    return (size_t)(p - pointer);
}

static size_t detail_bytes(const struct row_fault *f)
{
    size_t len = strnlen(f->detail, 300);
    return utf8_prefix(f->detail, len);
}

/* The fault as a member of errors. Its name and detail come from the body: cut to what fits. */
static void write_fault(const struct score *s, const struct row_fault *f, bool first,
                        struct score_text *out)
{
    char pointer[SEG_NAME_BYTES_MAX * 2 + 80];
    const size_t pointer_len = place_of(s, f, pointer);
    const size_t detail_len = detail_bytes(f);
    if (!score_text_reserve(out, ERROR_BYTES)) return;
    char *q = out->data + out->len;
    if (!first) *q++ = ',';
    q = put_json(PUT(q, "{\"pointer\":"), pointer, pointer_len);
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

/* The faults as the last field of a record. */
static void write_error_field(const struct score *s, const struct rows *r, uint32_t row,
                              struct score_text *out)
{
    char place[SEG_NAME_BYTES_MAX * 2 + 80];
    size_t first = first_fault(r, row);
    score_text_append(out, "\"", 1);
    for (size_t i = first; i < r->n_faults && r->faults[i].row == row; i++) {
        const struct row_fault *f = &r->faults[i];
        if (!score_text_reserve(out, ERROR_BYTES)) return;
        char *p = out->data + out->len;
        if (i > first) p = PUT(p, "; ");
        p = PUT(put_csv_quoted(p, place, place_of(s, f, place)), ": ");
        p = put_csv_quoted(p, f->detail, detail_bytes(f));
        out->len = (size_t)(p - out->data);
    }
    score_text_append(out, "\"", 1);
}

/* The record of a row without a result: nothing stands between its status and its error. */
static void write_empty_record(const struct score *s, const struct rows *r,
                               const struct score_work *w, uint32_t row, struct score_text *out)
{
    size_t n_empty = (s->is_classification ? 2 : 4) + (s->has_probabilities ? s->n_results : 0);
    const char *status = r->invalid[row] ? "invalid" : "insufficient_data";
    char *p = out->data + out->len;
    p = put(p, status, strlen(status));
    memset(p, ',', n_empty + 1);
    out->len = (size_t)(p + n_empty + 1 - out->data);
    if (r->invalid[row])
        write_error_field(s, r, row, out);
    else
        score_text_printf(out, "%u of %u features are given", n_given(s, w, row % SEG_TILE_ROWS),
                          s->schema->n_features);
    score_text_append(out, "\r\n", 2);
}

static void write_row(const struct score *s, const struct rows *r, const struct score_work *w,
                      const struct confidences *c, uint32_t row, struct score_text *out,
                      struct score_tally *tally)
{
    unsigned lane = row % SEG_TILE_ROWS;
    bool invalid = r->invalid[row] != 0;
    bool ok = !invalid && w->scores.status[lane] == SEG_ROW_OK;
    tally->n_ok += ok;
    tally->n_invalid += invalid;
    tally->n_insufficient += !ok && !invalid;
    if (!score_text_reserve(out, s->row_bytes_max)) return;
    char *p = out->data + out->len;
    if (s->format == SCORE_JSON && row > 0) *p++ = ',';
    p = ok ? put_ok(p, s, w, c, r, row) : put_user_id(p, s, r, row);
    out->len = (size_t)(p - out->data);
    if (s->format == SCORE_CSV) {
        if (!ok) write_empty_record(s, r, w, row, out);
        return;
    }
    if (invalid)
        write_invalid(s, r, row, out);
    else if (!ok)
        write_insufficient(s, w, lane, row, out);
    if (s->format == SCORE_NDJSON) score_text_append(out, "\n", 1);
}

static void make_confidences(const struct score *s, const struct score_work *w, unsigned n,
                             struct confidences *ret)
{
    for (unsigned i = 0; i < n; i++) {
        char *text = ret->text[i];
        const char *end = put_float(text, w->scores.confidence[i], s->format == SCORE_CSV);
        ret->len[i] = (uint8_t)(end - text);
    }
}

void score_write_block(const struct score *s, const struct rows *r, uint32_t first,
                       struct score_text *out, struct score_tally *tally)
{
    struct score_work w;
    struct confidences c;
    uint32_t n_rows = r->n_rows - first < SCORE_BLOCK_ROWS ? r->n_rows - first : SCORE_BLOCK_ROWS;
    if (!score_work_init(&w, s->model)) {
        out->failed = true;
        return;
    }
    score_text_reserve(out, score_block_bytes(s, n_rows));
    for (uint32_t at = first; at < first + n_rows; at += SEG_TILE_ROWS) {
        unsigned n = first + n_rows - at < SEG_TILE_ROWS ? first + n_rows - at : SEG_TILE_ROWS;
        const float *cells = seg_tiles_at(&r->cells, at / SEG_TILE_ROWS);
        seg_model_score_tile(s->model, cells, n, w.scratch, &w.scores);
        find_missing(s, cells, &w);
        make_confidences(s, &w, n, &c);
        for (unsigned i = 0; i < n; i++)
            write_row(s, r, &w, &c, at + i, out, tally);
    }
    score_work_release(&w);
}
