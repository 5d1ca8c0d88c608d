/* feature_wire.c - tables are mostly runs of columns of one type without NULL: such a run is
 * measured and read as a whole, and looked at field by field only when something in it is strange.
 */
#include "db/feature_wire.h"

#include <float.h>
#include <math.h>

#include "features/calendar.h"

#define FIELD_FLOAT4 (4 + sizeof(float)) /* with its length */
#define FIELD_FLOAT8 (4 + sizeof(double))
#define RUN_MAX      32u /* columns: what is strange in one is looked for again after each field */

static const struct {
    const char *sql_type;
    struct wire_type type;
} NUMERIC_WIRES[] = {
    { "smallint", { "", WIRE_INT2 } },      { "integer", { "", WIRE_INT4 } },
    { "bigint", { "", WIRE_INT8 } },        { "real", { "", WIRE_FLOAT4 } },
    { "boolean", { "::int4", WIRE_INT4 } }, { "double precision", { "", WIRE_FLOAT8 } },
};

static const uint8_t WIRE_BYTES[] = {
    [WIRE_INT2] = 2, [WIRE_INT4] = 4,      [WIRE_INT8] = 8, [WIRE_FLOAT4] = 4, [WIRE_FLOAT8] = 8,
    [WIRE_BOOL] = 1, [WIRE_TIMESTAMP] = 8, [WIRE_TEXT] = 0, [WIRE_ARRAY] = 0
};

struct wire_type wire_of_column(const struct feature_column *c)
{
    switch (c->type) {
    case SEG_NUMERIC:
        for (size_t i = 0; i < sizeof(NUMERIC_WIRES) / sizeof(NUMERIC_WIRES[0]); i++)
            if (strcmp(c->sql_type, NUMERIC_WIRES[i].sql_type) == 0) return NUMERIC_WIRES[i].type;
        return (struct wire_type){ "::float8", WIRE_FLOAT8 }; /* numeric */
    case SEG_BOOLEAN: return (struct wire_type){ "", WIRE_BOOL };
    case SEG_TIMESTAMP: return (struct wire_type){ "::timestamp", WIRE_TIMESTAMP };
    case SEG_CATEGORICAL: return (struct wire_type){ "::text", WIRE_TEXT };
    case SEG_VECTOR: return (struct wire_type){ "::float4[]", WIRE_ARRAY };
    }
    return (struct wire_type){ "::text", WIRE_TEXT };
}

static bool is_integer(enum wire wire)
{
    return wire == WIRE_INT2 || wire == WIRE_INT4 || wire == WIRE_INT8;
}

struct wire_type wire_of_id(const char *sql_type)
{
    for (size_t i = 0; i < sizeof(NUMERIC_WIRES) / sizeof(NUMERIC_WIRES[0]); i++)
        if (strcmp(sql_type, NUMERIC_WIRES[i].sql_type) == 0 &&
            NUMERIC_WIRES[i].type.cast[0] == '\0' && is_integer(NUMERIC_WIRES[i].type.wire))
            return NUMERIC_WIRES[i].type;
    return (struct wire_type){ "::text", WIRE_TEXT };
}

void wire_lay_out(const struct feature_set *fs, const uint32_t *columns, uint32_t n,
                  struct wire_column *ret_columns)
{
    uint32_t cell = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct feature_column *c = &fs->columns[columns[i]];
        ret_columns[i] =
            (struct wire_column){ .wire = wire_of_column(c).wire, .cell = cell, .width = c->width };
        cell += seg_feature_cells(c->type, c->width);
    }
    for (uint32_t i = n; i-- > 0;) {
        struct wire_column *c = &ret_columns[i];
        if (c->wire == WIRE_FLOAT4 || c->wire == WIRE_FLOAT8)
            c->n_alike = 1 + (i + 1 < n && c[1].wire == c->wire ? c[1].n_alike : 0);
        if (c->n_alike > RUN_MAX) c->n_alike = RUN_MAX;
    }
}

static size_t field_bytes(enum wire wire)
{
    return wire == WIRE_FLOAT4 ? FIELD_FLOAT4 : FIELD_FLOAT8;
}

/* Whether n fields of a float at p, which has their bytes, are there and none is NULL. */
static bool has_lengths(const char *p, uint32_t n, enum wire wire)
{
    const size_t step = field_bytes(wire);
    uint32_t other = 0;
    for (uint32_t i = 0; i < n; i++)
        other |= wire_u32(p + i * step) ^ WIRE_BYTES[wire];
    return other == 0;
}

size_t wire_tuple_bytes(const char *p, size_t len, uint32_t n_before,
                        const struct wire_column *columns, uint32_t n)
{
    if (len < 2) return 0;
    const uint16_t n_fields = wire_u16(p);
    size_t at = 2;
    if (n_fields == UINT16_MAX) return at;
    for (uint32_t i = 0; i < n_fields; i++) {
        const struct wire_column *c =
            i >= n_before && i - n_before < n ? &columns[i - n_before] : NULL;
        const size_t run = c != NULL ? c->n_alike * field_bytes(c->wire) : 0;
        if (run > 0 && len - at >= run && has_lengths(p + at, c->n_alike, c->wire)) {
            at += run;
            i += c->n_alike - 1;
            continue;
        }
        if (len - at < 4) return 0;
        const uint32_t field = wire_u32(p + at);
        at += 4;
        if (field == UINT32_MAX) continue;
        if (len - at < field) return 0;
        at += field;
    }
    return at;
}

static int64_t read_integer(enum wire wire, const char *p)
{
    switch (wire) {
    case WIRE_INT2: return (int16_t)wire_u16(p);
    case WIRE_INT4: return (int32_t)wire_u32(p);
    default: return (int64_t)wire_u64(p);
    }
}

const char *wire_id_text(enum wire wire, const char *p, size_t len, char *out, size_t *ret_len)
{
    *ret_len = len;
    if (!is_integer(wire)) return p;
    if (len != WIRE_BYTES[wire]) return NULL;
    const int64_t id = read_integer(wire, p);
    char *at = out + WIRE_ID_DIGITS; /* from the last digit on */
    for (uint64_t left = id < 0 ? -(uint64_t)id : (uint64_t)id;
         left > 0 || at == out + WIRE_ID_DIGITS; left /= 10)
        *--at = (char)('0' + left % 10);
    if (id < 0) *--at = '-';
    *ret_len = (size_t)(out + WIRE_ID_DIGITS - at);
    return at;
}

static float read_float4(const char *p)
{
    const uint32_t bits = wire_u32(p);
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}
static double read_float8(const char *p)
{
    const uint64_t bits = wire_u64(p);
    double d;
    memcpy(&d, &bits, sizeof(d));
    return d;
}

static float number_or_missing(struct wire_column *c, double x)
{
    if (fabs(x) <= FLT_MAX) return (float)x;
    c->n_not_finite++;
    return NAN;
}

/* n columns of float4 at p, none of them NULL, to cells (n), a tile's column apart. False when one
 * is not finite. */
static bool read_float4s(const char *p, uint32_t n, union seg_cell *cells)
{
    bool finite = true;
    for (uint32_t i = 0; i < n; i++) {
        const float f = read_float4(p + i * FIELD_FLOAT4 + 4);
        finite &= fabsf(f) <= FLT_MAX;
        cells[(size_t)i * SEG_TILE_ROWS].number = f;
    }
    return finite;
}

/* The same of float8; false also when one is too large. */
static bool read_float8s(const char *p, uint32_t n, union seg_cell *cells)
{
    bool finite = true;
    for (uint32_t i = 0; i < n; i++) {
        const double d = read_float8(p + i * FIELD_FLOAT8 + 4);
        finite &= fabs(d) <= FLT_MAX;
        cells[(size_t)i * SEG_TILE_ROWS].number = (float)d;
    }
    return finite;
}

/* The run that begins with c, in one go. False when its fields are to be looked at one by one. */
static bool read_run(const struct wire_column *c, const char *p, const char *end,
                     union seg_cell *cells)
{
    return (size_t)(end - p) >= c->n_alike * field_bytes(c->wire) &&
           has_lengths(p, c->n_alike, c->wire) &&
           (c->wire == WIRE_FLOAT4 ? read_float4s : read_float8s)(p, c->n_alike, cells);
}

static void set_missing(struct seg_table *t, uint32_t feature, size_t row)
{
    const struct seg_feature *f = &t->schema.features[feature];
    for (uint32_t i = 0; i < seg_feature_cells(f->type, f->width); i++) {
        union seg_cell *cell = seg_table_cell(t, row, f->cell + i);
        if (f->type == SEG_CATEGORICAL)
            cell->code = SEG_CODE_MISSING;
        else
            cell->number = NAN;
    }
}

/* A one-dimensional float4[]: dimensions, has-null flag, element type, (length, lower bound),
 * elements. Another length than the schema's is missing and counted: a vector is all there or not
 * at all. */
static void read_array(struct wire_column *c, const char *p, size_t len, struct seg_table *t,
                       uint32_t feature, size_t row)
{
    bool good = len >= 20 && wire_u32(p) == 1 && wire_u32(p + 12) == c->width;
    size_t at = 20;
    for (uint32_t i = 0; good && i < c->width; i++) {
        good = at + 8 <= len && wire_u32(p + at) == 4 && isfinite(read_float4(p + at + 4));
        at += 8;
    }
    if (!good) {
        c->n_not_finite++;
        set_missing(t, feature, row);
        return;
    }
    for (uint32_t i = 0; i < c->width; i++)
        seg_table_cell(t, row, c->cell + i)->number = read_float4(p + 24 + (size_t)i * 8);
}

static enum seg_status read_cell(struct wire_column *c, struct seg_table *t, uint32_t feature,
                                 size_t row, const char *p, size_t len)
{
    union seg_cell *cell = seg_table_cell(t, row, c->cell);
    switch (c->wire) {
    case WIRE_INT2:
    case WIRE_INT4:
    case WIRE_INT8: cell->number = (float)read_integer(c->wire, p); break;
    case WIRE_FLOAT4: cell->number = number_or_missing(c, read_float4(p)); break;
    case WIRE_FLOAT8: cell->number = number_or_missing(c, read_float8(p)); break;
    case WIRE_BOOL: cell->number = *p ? 1.0f : 0.0f; break;
    case WIRE_TIMESTAMP: {
        int64_t micros = (int64_t)wire_u64(p);
        if (micros == INT64_MAX || micros == INT64_MIN) { /* PostgreSQL's infinity */
            c->n_not_finite++;
            set_missing(t, feature, row);
            break;
        }
        seg_moment_cells(micros, &cell->number, &seg_table_cell(t, row, c->cell + 1)->number);
        break;
    }
    case WIRE_TEXT:
        return seg_dictionary_add(&t->schema.features[feature].dictionary, p, len, &cell->code);
    case WIRE_ARRAY: read_array(c, p, len, t, feature, row); break;
    }
    return SEG_OK;
}

enum seg_status wire_read_columns(struct wire_column *columns, uint32_t n, const char *p,
                                  const char *end, struct seg_table *t, size_t row,
                                  struct seg_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        struct wire_column *c = &columns[i];
        if (c->n_alike > 1 && read_run(c, p, end, seg_table_cell(t, row, c->cell))) {
            p += c->n_alike * field_bytes(c->wire);
            i += c->n_alike - 1;
            continue;
        }
        const uint32_t len = wire_u32(p);
        p += 4;
        if (len == UINT32_MAX) {
            set_missing(t, i, row);
            continue;
        }
        if (WIRE_BYTES[c->wire] != 0 && len != WIRE_BYTES[c->wire])
            return seg_fail(err, SEG_EFORMAT,
                            "the database sent feature %s in another type: was its table changed?",
                            t->schema.features[i].name);
        const enum seg_status st = read_cell(c, t, i, row, p, len);
        if (st == SEG_ELIMIT)
            return seg_fail(err, st, "feature %s has more than %u distinct values",
                            t->schema.features[i].name, SEG_CATEGORIES_MAX);
        if (st != SEG_OK) return st;
        p += len;
    }
    return SEG_OK;
}
