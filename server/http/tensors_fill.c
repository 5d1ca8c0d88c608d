/* Values of tensors into the cells of a batch, tensor by tensor. A tensor of float32 that holds
 * whole rows is copied tile by tile; everything else goes value by value. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "compute/kernels.h"
#include "http/number.h"
#include "http/tensors_private.h"
#include "timestamp.h"

#define COLS_AT_ONCE 64u /* turned from rows to columns: 16 KiB */

const struct tensor_type_info TENSOR_TYPE[TENSOR_TYPES] = {
    [TENSOR_FP32] = { "FP32", TENSOR_FLOAT, 4 },
    [TENSOR_FP64] = { "FP64", TENSOR_FLOAT, 8 },
    [TENSOR_FP16] = { "FP16", TENSOR_FLOAT, 2 },
    [TENSOR_BF16] = { "BF16", TENSOR_FLOAT, 2 },
    [TENSOR_BOOL] = { "BOOL", TENSOR_UNSIGNED, 1 },
    [TENSOR_INT8] = { "INT8", TENSOR_INTEGER, 1 },
    [TENSOR_INT16] = { "INT16", TENSOR_INTEGER, 2 },
    [TENSOR_INT32] = { "INT32", TENSOR_INTEGER, 4 },
    [TENSOR_INT64] = { "INT64", TENSOR_INTEGER, 8 },
    [TENSOR_UINT8] = { "UINT8", TENSOR_UNSIGNED, 1 },
    [TENSOR_UINT16] = { "UINT16", TENSOR_UNSIGNED, 2 },
    [TENSOR_UINT32] = { "UINT32", TENSOR_UNSIGNED, 4 },
    [TENSOR_UINT64] = { "UINT64", TENSOR_UNSIGNED, 8 },
    [TENSOR_STRINGS] = { "BYTES", TENSOR_BYTES, 0 },
};

/* The value being read: where it belongs. */
struct place {
    struct reading *d;
    const struct tensor *t;
    uint64_t n; /* values read before */
};

/* The feature and cell of value n of the tensor; the batch's last row is set to its row, as the
 * helpers of rows speak of the last one. */
static uint32_t place_cell(const struct place *p, int *ret_feature)
{
    struct rows *r = p->d->s.r;
    const struct seg_schema *schema = r->schema;
    uint32_t row = (uint32_t)(p->n / p->t->width), i = (uint32_t)(p->n % p->t->width);
    uint32_t cell = i, feature = 0;
    if (p->t->feature >= 0) {
        feature = (uint32_t)p->t->feature;
        cell = schema->features[feature].cell + i;
    } else {
        while (feature + 1 < schema->n_features && schema->features[feature + 1].cell <= cell)
            feature++;
    }
    r->n_rows = row + 1;
    r->last = (union seg_cell *)seg_tiles_cell(&r->cells, row, 0);
    *ret_feature = (int)feature;
    return cell;
}

static void wrong_value(const struct place *p, int feature, const char *detail)
{
    rows_fault(p->d->s.r, feature, "wrong_type", NULL, detail, 0, 0);
}

/* NaN is missing, as the cell says already. */
static void put_number(const struct place *p, double x)
{
    int feature;
    uint32_t cell = place_cell(p, &feature);
    struct rows *r = p->d->s.r;
    const struct seg_feature *f = &r->schema->features[feature];
    if (f->type == SEG_CATEGORICAL) { /* true and false in JSON: numbers came as their text */
        rows_category(r, f, x != 0 ? "true" : "false", x != 0 ? 4 : 5);
    } else if (isnan(x)) {
        return;
    } else if (f->type == SEG_BOOLEAN && x != 0 && x != 1) {
        wrong_value(p, feature, "must be true or false");
    } else if (!isfinite((float)x)) {
        rows_fault(r, feature, "not_finite", NULL, "the number is too large", 0, 0);
    } else {
        rows_cell(r, cell)->number = (float)x;
    }
}

/* text is borrowed from the body or the arena. */
static void put_text(const struct place *p, const char *text, size_t len)
{
    int feature;
    place_cell(p, &feature);
    struct rows *r = p->d->s.r;
    const struct seg_feature *f = &r->schema->features[feature];
    if (f->type == SEG_CATEGORICAL)
        rows_category(r, f, text, len);
    else if (len > 0)
        rows_timestamp(r, feature, text, len, 0, 0);
}

/* ---- JSON ---- */

/* Whether the number's text is a whole number that values of an integer type can be. */
static bool is_of_integers(int type, const char *text, size_t len)
{
    const unsigned unused = 64 - 8 * (unsigned)TENSOR_TYPE[type].size;
    const bool negative = *text == '-';
    uint64_t max = UINT64_MAX >> unused, v = 0;
    if (TENSOR_TYPE[type].kind == TENSOR_INTEGER)
        max = max / 2 + negative;
    else if (negative)
        max = 0;
    for (size_t i = negative; i < len; i++) {
        const uint64_t digit = (uint64_t)text[i] - '0';
        if (digit > 9 || digit > max || v > (max - digit) / 10) return false;
        v = v * 10 + digit;
    }
    return true;
}

/* One value that is not an array, at s->at. */
static bool json_value(struct place *p)
{
    struct scan *s = &p->d->s;
    const char *start = s->at, *text;
    size_t len;
    float x;
    int feature;
    bool is_text = TENSOR_TYPE[p->t->type].kind == TENSOR_BYTES;
    switch (*start) {
    case 'n': return scan_word(s, "null", 4);
    case '"':
        s->at++;
        if (!scan_string(s, &text, &len)) return false;
        if (is_text) {
            put_text(p, text, len);
        } else {
            place_cell(p, &feature);
            wrong_value(p, feature, "a string stands where the datatype says a number");
        }
        return true;
    case 't':
    case 'f':
        if (!(*start == 't' ? scan_word(s, "true", 4) : scan_word(s, "false", 5))) return false;
        if (p->t->type == TENSOR_BOOL) {
            put_number(p, *start == 't');
        } else {
            place_cell(p, &feature);
            wrong_value(p, feature, "true or false stands where the datatype says otherwise");
        }
        return true;
    default: break;
    }
    size_t used = number_read(s->at, (size_t)(s->end - s->at), &x);
    if (used == 0) return scan_fail(s, "not_json", "", "expected a value");
    s->at += used;
    int category;
    place_cell(p, &category);
    const bool is_float = TENSOR_TYPE[p->t->type].kind == TENSOR_FLOAT;
    if (is_text)
        wrong_value(p, category, "a number stands where the datatype says a string");
    else if (!is_float && !is_of_integers(p->t->type, start, used))
        rows_fault(p->d->s.r, category, "out_of_range", NULL, "no value of the datatype", 0, 0);
    else if (p->d->s.r->schema->features[category].type == SEG_CATEGORICAL)
        rows_category(p->d->s.r, &p->d->s.r->schema->features[category], start, used);
    else
        put_number(p, (double)x);
    return true;
}

/* Values of an array, flat or nested as the shape is; the bracket is next. */
static bool json_values(struct place *p, uint64_t n_wanted, unsigned level)
{
    struct scan *s = &p->d->s;
    bool again;
    if (!scan_expect(s, '[', "expected [") || !scan_enter(s, ']', &again)) return false;
    while (again) {
        s->at = skip_blanks(s->at, s->end);
        if (*s->at == '[' && level < TENSOR_DIMS_MAX) {
            if (!json_values(p, n_wanted, level + 1)) return false;
        } else if (*s->at == '[' || *s->at == '{') {
            return scan_fail(s, "wrong_type", "",
                             "a value must be a number, a string or a boolean");
        } else if (p->n == n_wanted) {
            p->n++; /* one more than the shape says: enough to know */
            if (!scan_skip_value(s)) return false;
        } else if (p->n > n_wanted) {
            if (!scan_skip_value(s)) return false;
        } else {
            if (!json_value(p)) return false;
            p->n++;
        }
        if (!scan_more(s, ']', &again)) return false;
    }
    s->depth--;
    return true;
}

/* ---- binary ---- */

static uint64_t load_bits(const char *p, int type)
{
    uint64_t v = 0;
    memcpy(&v, p, TENSOR_TYPE[type].size);
    return le64toh(v);
}

/* With the sign of a type shorter than 64 bits. */
static int64_t signed_of(uint64_t v, int type)
{
    const unsigned shift = 64 - 8 * (unsigned)TENSOR_TYPE[type].size;
    return (int64_t)(v << shift) >> shift;
}

static double float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return (double)f;
}

/* IEEE 754 binary16: a sign, 5 bits of exponent, 10 of fraction. */
static double half_of(uint32_t bits)
{
    const uint32_t exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    double x = exponent == 0    ? ldexp(fraction, -24)
               : exponent == 31 ? (fraction != 0 ? NAN : INFINITY)
                                : ldexp(fraction + 1024, (int)exponent - 25);
    return (bits & 0x8000) != 0 ? -x : x;
}

static double load_value(const char *p, int type)
{
    double d;
    const uint64_t v = load_bits(p, type);
    switch (type) {
    case TENSOR_FP32: return float_of((uint32_t)v);
    case TENSOR_BF16: return float_of((uint32_t)v << 16);
    case TENSOR_FP16: return half_of((uint32_t)v);
    case TENSOR_FP64: memcpy(&d, &v, sizeof(d)); return d;
    default: break;
    }
    return TENSOR_TYPE[type].kind == TENSOR_UNSIGNED ? (double)v : (double)signed_of(v, type);
}

/* Whole numbers that are categories: every digit counts. */
static void put_integers(struct place *p, uint64_t n_wanted)
{
    const int type = p->t->type;
    struct rows *r = p->d->s.r;
    for (; p->n < n_wanted; p->n++) {
        char text[24];
        int feature, len;
        const uint64_t v = load_bits(p->t->bytes + p->n * TENSOR_TYPE[type].size, type);
        place_cell(p, &feature);
        if (type == TENSOR_BOOL)
            len = snprintf(text, sizeof(text), "%s", v != 0 ? "true" : "false");
        else if (TENSOR_TYPE[type].kind == TENSOR_UNSIGNED)
            len = snprintf(text, sizeof(text), "%" PRIu64, v);
        else
            len = snprintf(text, sizeof(text), "%" PRId64, signed_of(v, type));
        rows_category(r, &r->schema->features[feature], text, (size_t)len);
    }
}

/* A length of four bytes, then the text, n_wanted times. */
static void strings(struct place *p, uint64_t n_wanted)
{
    const char *at = p->t->bytes, *end = at + p->t->n_bytes;
    for (; p->n < n_wanted && end - at >= 4; p->n++) {
        uint32_t len;
        memcpy(&len, at, sizeof(len));
        len = le32toh(len);
        at += 4;
        if (len > (size_t)(end - at)) break;
        put_text(p, at, len);
        at += len;
    }
    if (p->n < n_wanted || at != end)
        faults_add(p->d->faults, "/inputs", "wrong_shape",
                   "the strings of %s are not as many as its shape says", p->t->name);
}

/* The cells c .. c + n_cols - 1 of n rows of the tensor, from row on, to columns of a tile; n_cols
 * is COLS_AT_ONCE at most. Lanes past the rows stay missing. */
static void copy_columns(const struct tensor *t, uint64_t row, uint64_t n, uint32_t c,
                         uint32_t n_cols, float *to)
{
    _Alignas(SEG_ALIGN) float rows[SEG_TILE_ROWS * COLS_AT_ONCE]; /* a body has no alignment */
    const char *from = t->bytes + (row * t->width + c) * sizeof(float);
    if (n_cols == t->width) {
        memcpy(rows, from, n * n_cols * sizeof(float));
    } else {
        for (uint64_t i = 0; i < n; i++)
            memcpy(rows + i * n_cols, from + i * t->width * sizeof(float), n_cols * sizeof(float));
    }
    for (uint64_t i = n * n_cols; i < SEG_TILE_ROWS * n_cols; i++)
        rows[i] = NAN;
    seg_kernels_get()->from_rows(rows, n_cols, to);
}

/* Rows of float32 that have no infinity among them. */
static void copy_floats(struct place *p, uint64_t n_rows)
{
    struct rows *r = p->d->s.r;
    const struct tensor *t = p->t;
    uint32_t first = t->feature >= 0 ? r->schema->features[t->feature].cell : 0;
    for (uint64_t row = 0; row < n_rows; row += SEG_TILE_ROWS) {
        float *tile = seg_tiles_at(&r->cells, row / SEG_TILE_ROWS);
        uint64_t n = n_rows - row < SEG_TILE_ROWS ? n_rows - row : SEG_TILE_ROWS;
        for (uint32_t c = 0; c < t->width; c += COLS_AT_ONCE) {
            uint32_t n_cols = t->width - c < COLS_AT_ONCE ? t->width - c : COLS_AT_ONCE;
            copy_columns(t, row, n, c, n_cols, tile + (size_t)(first + c) * SEG_TILE_ROWS);
        }
    }
}

/* True when the floats can be copied as they are. */
static bool are_plain_floats(const struct reading *d, const struct tensor *t)
{
    const struct seg_schema *s = d->s.r->schema;
    uint32_t infinite = 0;
    if (t->type != TENSOR_FP32 || __BYTE_ORDER != __LITTLE_ENDIAN) return false;
    for (uint32_t i = 0; i < s->n_features; i++)
        if ((t->feature < 0 || t->feature == (int)i) && s->features[i].type == SEG_BOOLEAN)
            return false;
    for (uint64_t i = 0; i < t->n_bytes; i += sizeof(uint32_t)) {
        uint32_t bits;
        memcpy(&bits, t->bytes + i, sizeof(bits));
        infinite |= (bits & 0x7fffffff) == 0x7f800000;
    }
    return infinite == 0;
}

static bool is_category(const struct reading *d, const struct tensor *t)
{
    return t->feature >= 0 && d->s.r->schema->features[t->feature].type == SEG_CATEGORICAL;
}

static bool fill(struct reading *d, const struct tensor *t)
{
    struct place p = { .d = d, .t = t };
    uint64_t n_wanted = t->dims[0] * t->width;
    if (t->is_binary && t->type == TENSOR_STRINGS) {
        strings(&p, n_wanted);
    } else if (t->is_binary && are_plain_floats(d, t)) {
        copy_floats(&p, t->dims[0]);
    } else if (t->is_binary && is_category(d, t)) {
        put_integers(&p, n_wanted);
    } else if (t->is_binary) {
        size_t size = TENSOR_TYPE[t->type].size;
        for (; p.n < n_wanted; p.n++)
            put_number(&p, load_value(t->bytes + p.n * size, t->type));
    } else {
        d->s.at = t->json;
        d->s.depth = 3;
        if (!json_values(&p, n_wanted, 1)) return false;
        if (p.n != n_wanted)
            faults_add(d->faults, "/inputs", "wrong_shape", "%s has %s values than its shape says",
                       t->name, p.n < n_wanted ? "fewer" : "more");
    }
    return true;
}

bool tensors_fill(struct reading *d)
{
    struct rows *r = d->s.r;
    uint32_t n_rows = (uint32_t)d->tensors[0].dims[0];
    if (!rows_add_many(r, n_rows)) return scan_no_memory(&d->s);
    for (uint32_t i = 0; i < d->n_tensors; i++) {
        size_t n_faults = r->n_faults;
        bool ok = fill(d, &d->tensors[i]);
        r->n_rows = n_rows;
        if (!ok) return false;
        rows_merge_faults(r, n_faults);
    }
    return true;
}
