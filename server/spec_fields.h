/* spec_fields.h - members of JSON objects that stand in members of structs: a row of a table says
 * key, type, range and place, and reading, writing and the complaints about unknown keys all come
 * from the rows. Pure functions. */
#ifndef SERVER_SPEC_FIELDS_H
#define SERVER_SPEC_FIELDS_H

#include <stddef.h>

#include "base/arena.h"
#include "faults.h"
#include "json/json.h"
#include "json/json_out.h"

enum field_type { FIELD_U32, FIELD_F64, FIELD_BOOL, FIELD_ENUM };

struct field {
    const char *key;
    enum field_type type;
    size_t offset;            /* in the struct that the table is about */
    double min, max;          /* numbers */
    const char *const *names; /* enums: NULL-terminated, by value */
    bool above_min;           /* min itself is not allowed */
};

/* Rows of a table, for members m of struct s. */
#define U32(key, s, m, min, max)                                                                   \
    {                                                                                              \
        key, FIELD_U32, offsetof(struct s, m), min, max, NULL, false                               \
    }
#define F64(key, s, m, min, max)                                                                   \
    {                                                                                              \
        key, FIELD_F64, offsetof(struct s, m), min, max, NULL, false                               \
    }
#define ENUM(key, s, m, names)                                                                     \
    {                                                                                              \
        key, FIELD_ENUM, offsetof(struct s, m), 0, 0, names, false                                 \
    }
#define BOOL(key, s, m)                                                                            \
    {                                                                                              \
        key, FIELD_BOOL, offsetof(struct s, m), 0, 0, NULL, false                                  \
    }

/* What reading carries around: where the current object stands, and who hears of faults. */
struct field_reader {
    struct seg_arena *arena;
    struct faults *faults;
};

struct field_table {
    const struct field *fields;
    size_t n;
    void *base; /* NULL: the keys are known, but read elsewhere */
};

/* base + "/" + key, in the arena. */
const char *field_pointer(struct field_reader *r, const char *base, const char *key);
/* "a, b or c" for a message. names: NULL-terminated. */
const char *field_name_list(struct field_reader *r, const char *const *names);
/* Index of v in names, or -1 after a fault. */
int field_read_name(struct field_reader *r, const struct json *v, const char *pointer,
                    const char *const *names);
/* Reads v to its place in base, or adds a fault. */
void field_read(struct field_reader *r, const struct json *v, const struct field *f,
                const char *pointer, void *base);
/* False after a fault. */
bool field_is_object(struct field_reader *r, const struct json *v, const char *pointer);
/* Reads the members of v by the tables. Keys in `others` (NULL-terminated) are the caller's; any
 * further key is a fault. */
void fields_read(struct field_reader *r, const struct json *v, const char *pointer,
                 const struct field_table *tables, size_t n_tables, const char *const *others);
/* Writes all members of a table inside an open object. */
void fields_write(struct json_out *o, const struct field_table *table);

#endif
