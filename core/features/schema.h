/* schema.h - the names and types of the features that a model or a table has.
 * A vector feature is `width` numbers wide, every other feature is one value. A value is a cell; a
 * timestamp has its clock in a second one. A schema is built by one thread and then read by many.
 */
#ifndef SEG_FEATURES_SCHEMA_H
#define SEG_FEATURES_SCHEMA_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"
#include "features/dictionary.h"

#define SEG_FEATURES_MAX     1024u /* columns of a feature set */
#define SEG_VECTOR_WIDTH_MAX 4096u
#define SEG_CELLS_MAX        16384u /* cells of a row, vectors included */
#define SEG_NAME_BYTES_MAX   255u   /* of a feature's name */

enum seg_type {
    SEG_NUMERIC,     /* float32; NaN = missing */
    SEG_BOOLEAN,     /* 0 or 1; NaN = missing */
    SEG_TIMESTAMP,   /* days since 2000-01-01 00:00 UTC as float32 (resolution 84 s in 2026); NaN =
                        missing. Then the clock, see features/calendar.h */
    SEG_CATEGORICAL, /* code in the feature's dictionary */
    SEG_VECTOR,      /* width numbers; missing = all NaN */
};

struct seg_feature {
    char *name;
    enum seg_type type;
    uint32_t width;                   /* values: 1, or the length of a vector */
    uint32_t cell;                    /* index of its first cell in a row */
    struct seg_dictionary dictionary; /* categorical only */
};

struct seg_schema {
    struct seg_feature *features;
    uint32_t n_features;
    uint32_t n_cells; /* sum of seg_feature_cells */
};

/* Cells of a feature of that type and width. */
static inline uint32_t seg_feature_cells(enum seg_type type, uint32_t width)
{
    return type == SEG_TIMESTAMP ? 2 : width;
}

/* Without features. */
void seg_schema_init(struct seg_schema *s);
/* Frees the features, dictionaries included, and leaves it as new; a zeroed one is fine. */
void seg_schema_release(struct seg_schema *s);
/* Appends a feature. SEG_EINVAL: name empty, too long or taken, width 0 or not 1 for a scalar.
 * SEG_ELIMIT. */
enum seg_status seg_schema_add(struct seg_schema *s, const char *name, enum seg_type type,
                               uint32_t width, struct seg_error *err);
/* A new schema, dictionaries included. SEG_ENOMEM. */
enum seg_status seg_schema_copy(struct seg_schema *ret_s, const struct seg_schema *from);
/* Index of the feature called name (len bytes), or -1. Hashing is the caller's business: this is a
 * linear search. */
int seg_schema_find(const struct seg_schema *s, const char *name, size_t len);

/* "numeric", "boolean", "timestamp", "categorical", "vector". */
const char *seg_type_name(enum seg_type type);
/* -1 when the name is none of them. */
int seg_type_from_name(const char *name);

#endif
