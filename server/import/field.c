/* A number is what strtod reads wholly, without hex, infinities and NaN, and within float32. */
#include "import/field.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json/json_out.h"
#include "timestamp.h"

#define NUMBER_TEXT_MAX 400 /* longer text is no number */

static bool is_word(const char *s, size_t len, const char *word)
{
    return strlen(word) == len && strncasecmp(s, word, len) == 0;
}

bool field_is_missing_text(const char *s, size_t len)
{
    return len == 0 || is_word(s, len, "na") || is_word(s, len, "n/a") || is_word(s, len, "nan") ||
           is_word(s, len, "null");
}

static bool text_number(const char *s, size_t len, double *ret)
{
    char buffer[NUMBER_TEXT_MAX + 1];
    char *end;
    size_t sign = len > 0 && (s[0] == '-' || s[0] == '+');
    if (len <= sign || len > NUMBER_TEXT_MAX ||
        ((s[sign] < '0' || s[sign] > '9') && s[sign] != '.'))
        return false;
    memcpy(buffer, s, len);
    buffer[len] = '\0';
    if (strcspn(buffer, "xX") < len) return false;
    double x = strtod(buffer, &end);
    if (end != buffer + len || !(fabs(x) <= FLT_MAX)) return false;
    *ret = x;
    return true;
}

static bool text_boolean(const char *s, size_t len, double *ret)
{
    bool yes = is_word(s, len, "true"), no = is_word(s, len, "false");
    *ret = yes;
    return yes || no;
}

void field_types_init(struct field_types *types)
{
    *types = (struct field_types){ true, true, true, true, true, 0, 0 };
}

void field_narrow(struct field_types *types, const struct field *f)
{
    double number;
    int64_t micros;
    if (f->kind == FIELD_MISSING) return;
    types->n_present++;
    types->boolean = types->boolean && field_convert(f, SEG_BOOLEAN, 1, &number, &micros);
    types->numeric = types->numeric && field_convert(f, SEG_NUMERIC, 1, &number, &micros);
    types->timestamp = types->timestamp && field_convert(f, SEG_TIMESTAMP, 1, &number, &micros);
    types->vector = types->vector && f->kind == FIELD_ARRAY && f->n > 0 &&
                    (types->width == 0 || types->width == f->n);
    types->text = types->text && f->kind != FIELD_ARRAY;
    if (f->kind == FIELD_ARRAY) types->width = f->n;
}

int field_type(const struct field_types *types)
{
    if (types->n_present == 0) return SEG_NUMERIC;
    if (types->boolean) return SEG_BOOLEAN;
    if (types->numeric) return SEG_NUMERIC;
    if (types->timestamp) return SEG_TIMESTAMP;
    if (types->vector) return SEG_VECTOR;
    return types->text ? SEG_CATEGORICAL : -1;
}

bool field_convert(const struct field *f, enum seg_type type, uint32_t width, double *ret_number,
                   int64_t *ret_micros)
{
    switch (type) {
    case SEG_NUMERIC:
        if (f->kind == FIELD_TEXT) return text_number(f->text, f->len, ret_number);
        *ret_number = f->number;
        return f->kind == FIELD_NUMBER && fabs(f->number) <= FLT_MAX;
    case SEG_BOOLEAN:
        if (f->kind == FIELD_TEXT) return text_boolean(f->text, f->len, ret_number);
        *ret_number = f->number;
        return f->kind == FIELD_BOOL;
    case SEG_TIMESTAMP:
        return f->kind == FIELD_TEXT && timestamp_parse(f->text, f->len, ret_micros);
    case SEG_VECTOR: return f->kind == FIELD_ARRAY && f->n == width;
    case SEG_CATEGORICAL: return f->kind != FIELD_ARRAY;
    }
    return false;
}

void field_copy(const struct field *f, enum seg_type type, uint32_t width, struct copy_rows *out)
{
    double x = 0;
    int64_t micros = 0;
    char number[32];
    if (f->kind == FIELD_MISSING) {
        copy_rows_null(out);
        return;
    }
    field_convert(f, type, width, &x, &micros);
    switch (type) {
    case SEG_NUMERIC: copy_rows_float8(out, x); break;
    case SEG_BOOLEAN: copy_rows_text(out, x != 0 ? "\1" : "\0", 1); break;
    case SEG_TIMESTAMP: copy_rows_int8(out, micros); break;
    case SEG_CATEGORICAL:
        if (f->kind == FIELD_TEXT)
            copy_rows_text(out, f->text, f->len);
        else if (f->kind == FIELD_BOOL)
            copy_rows_text(out, f->number != 0 ? "true" : "false", f->number != 0 ? 4 : 5);
        else
            copy_rows_text(out, number, double_text(f->number, number));
        break;
    case SEG_VECTOR: copy_rows_float4_array(out, f->array, f->n); break;
    }
}
