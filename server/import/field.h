/* field.h - one value of an imported row, whatever format it came in, and what type a column of
 * them is. Pure functions but for field_copy; text is borrowed from the record. */
#ifndef SERVER_IMPORT_FIELD_H
#define SERVER_IMPORT_FIELD_H

#include <stdbool.h>
#include "db/copy_rows.h"
#include "features/schema.h"

enum field_kind { FIELD_MISSING, FIELD_TEXT, FIELD_NUMBER, FIELD_BOOL, FIELD_ARRAY };

struct field {
    enum field_kind kind;
    const char *text; /* FIELD_TEXT: not NUL-terminated */
    size_t len;
    double number;      /* FIELD_NUMBER, FIELD_BOOL */
    const float *array; /* FIELD_ARRAY */
    uint32_t n;
};

/* What the values seen so far may be. */
struct field_types {
    bool numeric, boolean, timestamp, vector, text;
    uint32_t width; /* of vectors; 0: none seen */
    uint64_t n_present;
};

void field_types_init(struct field_types *types);
/* Narrows types by one value. */
void field_narrow(struct field_types *types, const struct field *f);
/* The type of a column: boolean, numeric, timestamp or vector if every value is, else categorical;
 * without any value numeric. -1: no type fits (arrays of different lengths, or mixed with other
 * values). */
int field_type(const struct field_types *types);

/* True when f, which is not missing, is a value of that type; numbers and booleans are put in
 * *ret_number, times in *ret_micros (since 2000-01-01). */
bool field_convert(const struct field *f, enum seg_type type, uint32_t width, double *ret_number,
                   int64_t *ret_micros);
/* Writes f, which is missing or a value of that type, as the next field of a row. */
void field_copy(const struct field *f, enum seg_type type, uint32_t width, struct copy_rows *out);
/* True for the texts that mean "no value": "", NA, N/A, NaN, null, in any case. */
bool field_is_missing_text(const char *s, size_t len);

#endif
