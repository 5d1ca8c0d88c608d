/* Numbers are checked against the row's range; enums are stored as unsigned. */
#include "spec_fields.h"

#include <string.h>

enum any_enum { ANY_ENUM_VALUE };
_Static_assert(sizeof(enum any_enum) == sizeof(unsigned), "enums are read and written as unsigned");

const char *field_pointer(struct field_reader *r, const char *base, const char *key)
{
    char *p = seg_arena_printf(r->arena, "%s/%s", base, key);
    return p ? p : base;
}

const char *field_name_list(struct field_reader *r, const char *const *names)
{
    const char *s = names[0];
    for (size_t i = 1; names[i] != NULL && s != NULL; i++)
        s = seg_arena_printf(r->arena, "%s%s%s", s, names[i + 1] ? ", " : " or ", names[i]);
    return s ? s : names[0];
}

int field_read_name(struct field_reader *r, const struct json *v, const char *pointer,
                    const char *const *names)
{
    if (json_kind(v) != JSON_STRING) {
        faults_add(r->faults, pointer, "wrong_type", "must be %s, not %s",
                   field_name_list(r, names), json_kind_name(json_kind(v)));
        return -1;
    }
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], json_string(v)) == 0) return i;
    faults_add(r->faults, pointer, "unknown_value", "must be %s", field_name_list(r, names));
    return -1;
}

static void read_number(struct field_reader *r, const struct json *v, const struct field *f,
                        const char *pointer, void *place)
{
    int64_t integer = 0;
    if (json_kind(v) != JSON_NUMBER) {
        faults_add(r->faults, pointer, "wrong_type", "must be a number, not %s",
                   json_kind_name(json_kind(v)));
        return;
    }
    double x = json_number(v);
    if (x < f->min || x > f->max || (f->above_min && x <= f->min)) {
        faults_add(r->faults, pointer, "out_of_range", "must be %s %.6g and at most %.6g",
                   f->above_min ? "above" : "at least", f->min, f->max);
    } else if (f->type == FIELD_F64) {
        memcpy(place, &x, sizeof(x));
    } else if (json_integer(v, 0, UINT32_MAX, &integer)) {
        uint32_t u = (uint32_t)integer;
        memcpy(place, &u, sizeof(u));
    } else {
        faults_add(r->faults, pointer, "wrong_type", "must be a whole number");
    }
}

void field_read(struct field_reader *r, const struct json *v, const struct field *f,
                const char *pointer, void *base)
{
    void *place = (char *)base + f->offset;
    switch (f->type) {
    case FIELD_U32:
    case FIELD_F64: read_number(r, v, f, pointer, place); break;
    case FIELD_BOOL:
        if (json_kind(v) == JSON_BOOL)
            *(bool *)place = json_bool(v);
        else
            faults_add(r->faults, pointer, "wrong_type", "must be true or false, not %s",
                       json_kind_name(json_kind(v)));
        break;
    case FIELD_ENUM: {
        int i = field_read_name(r, v, pointer, f->names);
        if (i >= 0) memcpy(place, &(unsigned){ (unsigned)i }, sizeof(unsigned));
        break;
    }
    }
}
static const struct field *find_field(const struct field_table *tables, size_t n_tables,
                                      const char *key, void **ret_base)
{
    for (size_t t = 0; t < n_tables; t++)
        for (size_t i = 0; i < tables[t].n; i++)
            if (strcmp(tables[t].fields[i].key, key) == 0) {
                *ret_base = tables[t].base;
                return &tables[t].fields[i];
            }
    return NULL;
}

bool field_is_object(struct field_reader *r, const struct json *v, const char *pointer)
{
    if (json_kind(v) == JSON_OBJECT) return true;
    faults_add(r->faults, pointer, "wrong_type", "must be an object, not %s",
               json_kind_name(json_kind(v)));
    return false;
}

void fields_read(struct field_reader *r, const struct json *v, const char *pointer,
                 const struct field_table *tables, size_t n_tables, const char *const *others)
{
    if (!field_is_object(r, v, pointer)) return;
    for (const struct json *m = json_first(v); m != NULL; m = json_next(m)) {
        const char *key = json_key(m);
        void *base = NULL;
        const struct field *f = find_field(tables, n_tables, key, &base);
        bool known = f != NULL;
        for (size_t i = 0; others != NULL && others[i] != NULL; i++)
            known = known || strcmp(others[i], key) == 0;
        if (!known)
            faults_add(r->faults, field_pointer(r, pointer, key), "unknown_key",
                       "there is no such option here");
        else if (f != NULL)
            field_read(r, m, f, field_pointer(r, pointer, key), base);
    }
}

/* [64, 32]: layer sizes. */
void fields_write(struct json_out *o, const struct field_table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        const struct field *f = &table->fields[i];
        const void *place = (const char *)table->base + f->offset;
        json_out_key(o, f->key);
        switch (f->type) {
        case FIELD_U32: json_out_uint(o, *(const uint32_t *)place); break;
        case FIELD_F64: json_out_double(o, *(const double *)place); break;
        case FIELD_BOOL: json_out_bool(o, *(const bool *)place); break;
        case FIELD_ENUM: json_out_string(o, f->names[*(const unsigned *)place]); break;
        }
    }
}
