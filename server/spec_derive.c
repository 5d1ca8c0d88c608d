/* Derived columns may be listed in any order: they are sorted so that each follows what it needs,
 * and those that no order suits are the faults. */
#include "spec_derive.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "features/calendar.h"
#include "timestamp.h"

static const char *const OP_NAMES[] = { [SEG_DERIVE_RATIO] = "ratio",
                                        [SEG_DERIVE_DIFFERENCE] = "difference",
                                        [SEG_DERIVE_SUM] = "sum",
                                        [SEG_DERIVE_PRODUCT] = "product",
                                        NULL };

/* Parts of dates; of those on a circle the sine, whose cosine follows. */
static const struct part {
    const char *name;
    enum seg_derive_op op;
} PARTS[] = {
    { "year", SEG_DERIVE_YEAR },
    { "month", SEG_DERIVE_MONTH_SIN },
    { "day_of_month", SEG_DERIVE_DAY_OF_MONTH_SIN },
    { "day_of_year", SEG_DERIVE_DAY_OF_YEAR_SIN },
    { "day_of_week", SEG_DERIVE_DAY_OF_WEEK_SIN },
    { "hour", SEG_DERIVE_HOUR_SIN },
    { "is_weekend", SEG_DERIVE_IS_WEEKEND },
    { "days_since", SEG_DERIVE_DAYS_SINCE },
};
#define N_PARTS (sizeof(PARTS) / sizeof(PARTS[0]))

enum { NEEDS_NOTHING = -1, NEEDS_FAULTY = -2 };

/* A member of "derive" while it is read. */
struct entry {
    const char *pointer;
    struct seg_derived derived; /* name NULL: has a fault */
    const char *of_names[2];
    int needs[2]; /* index of another entry, or NEEDS_… */
    bool placed;
};

struct reading {
    struct field_reader *r;
    const struct feature_set *fs;
    struct train_spec *s;
    struct seg_derived *list; /* (SEG_DERIVED_MAX) what is complete, of s */
    struct entry *entries;
    uint32_t n_entries;
};

static int feature_position(const struct reading *d, const char *name)
{
    for (uint32_t i = 0; i < d->s->n_columns; i++)
        if (strcmp(d->fs->columns[d->s->columns[i]].name, name) == 0) return (int)i;
    return -1;
}

static enum seg_type feature_type(const struct reading *d, uint32_t position)
{
    return d->fs->columns[d->s->columns[position]].type;
}

static int entry_called(const struct reading *d, const char *name, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (d->entries[i].derived.name != NULL && strcmp(d->entries[i].derived.name, name) == 0)
            return (int)i;
    return -1;
}

/* Adds a fault and returns false if a new column cannot have that name. */
static bool name_is_free(const struct reading *d, const char *name, uint32_t n_entries,
                         const char *pointer)
{
    const size_t len = strlen(name);
    bool taken = entry_called(d, name, n_entries) >= 0;
    for (uint32_t i = 0; i < d->fs->n_columns; i++)
        taken = taken || strcmp(d->fs->columns[i].name, name) == 0;
    for (uint32_t i = 0; i < d->s->core.n_derived; i++)
        taken = taken || strcmp(d->list[i].name, name) == 0;
    if (len == 0 || len > SEG_NAME_BYTES_MAX)
        faults_add(d->r->faults, pointer, "out_of_range", "must be 1 to %u bytes long",
                   SEG_NAME_BYTES_MAX);
    else if (taken)
        faults_add(d->r->faults, pointer, "duplicate", "there is a column %s already", name);
    return len > 0 && len <= SEG_NAME_BYTES_MAX && !taken;
}

/* ---- derive ---- */

static const struct json *member(const struct reading *d, const struct json *v,
                                 const struct entry *e, const char *key, const char *wanted)
{
    const struct json *m = json_get(v, key);
    if (m == NULL)
        faults_add(d->r->faults, field_pointer(d->r, e->pointer, key), "missing",
                   "must be given: %s", wanted);
    return m;
}

static void read_operand_names(const struct reading *d, const struct json *of, struct entry *e)
{
    const char *at = field_pointer(d->r, e->pointer, "of");
    if (json_kind(of) != JSON_ARRAY || json_size(of) != 2) {
        faults_add(d->r->faults, at, "wrong_type", "must be an array of two names");
        return;
    }
    unsigned k = 0;
    for (const struct json *name = json_first(of); name != NULL; name = json_next(name), k++) {
        if (json_kind(name) == JSON_STRING)
            e->of_names[k] = json_string(name);
        else
            faults_add(d->r->faults, field_pointer(d->r, at, k == 0 ? "0" : "1"), "wrong_type",
                       "must be the name of a column, not %s", json_kind_name(json_kind(name)));
    }
}

/* Everything but what the operands are. */
static void read_entry(const struct reading *d, const struct json *v, uint32_t index)
{
    static const char *const keys[] = { "name", "op", "of", NULL };
    struct entry *e = &d->entries[index];
    const size_t n_before = d->r->faults->n_total;
    fields_read(d->r, v, e->pointer, NULL, 0, keys);
    if (json_kind(v) != JSON_OBJECT) return;
    const struct json *name = member(d, v, e, "name", "what the new column is called");
    const struct json *op = member(d, v, e, "op", field_name_list(d->r, OP_NAMES));
    const struct json *of = member(d, v, e, "of", "the two columns that it is computed from");
    const char *at = field_pointer(d->r, e->pointer, "name");
    if (name != NULL && json_kind(name) != JSON_STRING)
        faults_add(d->r->faults, at, "wrong_type", "must be a string, not %s",
                   json_kind_name(json_kind(name)));
    else if (name != NULL)
        name_is_free(d, json_string(name), index, at);
    if (op != NULL) {
        int which = field_read_name(d->r, op, field_pointer(d->r, e->pointer, "op"), OP_NAMES);
        if (which >= 0) e->derived.op = (enum seg_derive_op)which;
    }
    if (of != NULL) read_operand_names(d, of, e);
    if (d->r->faults->n_total > n_before) return;
    e->derived.name = seg_arena_strndup(d->r->arena, json_string(name), strlen(json_string(name)));
}

/* Whether an entry that has faults and no name would be called that. */
static bool is_faulty_entry(const struct reading *d, const struct json *derive, const char *name)
{
    uint32_t i = 0;
    for (const struct json *v = json_first(derive); v != NULL; v = json_next(v), i++) {
        const struct json *have = json_kind(v) == JSON_OBJECT ? json_get(v, "name") : NULL;
        if (d->entries[i].derived.name == NULL && have != NULL && json_kind(have) == JSON_STRING &&
            strcmp(json_string(have), name) == 0)
            return true;
    }
    return false;
}

/* What the operands of an entry without faults are. */
static void resolve(const struct reading *d, const struct json *derive, struct entry *e)
{
    const size_t n_before = d->r->faults->n_total;
    bool timestamp[2] = { false, false };
    for (unsigned k = 0; k < 2; k++) {
        const char *at = field_pointer(d->r, field_pointer(d->r, e->pointer, "of"), k ? "1" : "0");
        const char *name = e->of_names[k];
        const int feature = feature_position(d, name);
        const int other = entry_called(d, name, d->n_entries);
        e->needs[k] = feature >= 0 ? NEEDS_NOTHING : other;
        if (feature >= 0) {
            const enum seg_type type = feature_type(d, (uint32_t)feature);
            e->derived.of[k] = (uint32_t)feature;
            timestamp[k] = type == SEG_TIMESTAMP;
            if (type != SEG_NUMERIC && type != SEG_TIMESTAMP)
                faults_add(d->r->faults, at, "wrong_type",
                           "must be numeric or a timestamp; %s is %s", name, seg_type_name(type));
            else if (timestamp[k] && e->derived.op != SEG_DERIVE_DIFFERENCE)
                faults_add(d->r->faults, at, "wrong_type", "a %s takes numbers; %s is a timestamp",
                           OP_NAMES[e->derived.op], name);
        } else if (other < 0 && is_faulty_entry(d, derive, name)) {
            e->needs[k] = NEEDS_FAULTY;
        } else if (other < 0) {
            faults_add(d->r->faults, at, "unknown_feature",
                       "%s is neither one of the features nor derived", name);
        }
    }
    if (d->r->faults->n_total == n_before && timestamp[0] != timestamp[1] &&
        e->needs[0] != NEEDS_FAULTY && e->needs[1] != NEEDS_FAULTY)
        faults_add(d->r->faults, field_pointer(d->r, e->pointer, "of"), "wrong_type",
                   "a difference takes two numbers or two timestamps");
    if (d->r->faults->n_total > n_before) e->needs[0] = e->needs[1] = NEEDS_FAULTY;
}

/* Whether entry `from` needs entry `to`, directly or not. seen (n_entries) is false everywhere. */
static bool needs(const struct reading *d, uint32_t from, uint32_t to, bool *seen)
{
    for (unsigned k = 0; k < 2; k++) {
        const int next = d->entries[from].needs[k];
        if (next < 0 || seen[next]) continue;
        seen[next] = true;
        if ((uint32_t)next == to || needs(d, (uint32_t)next, to, seen)) return true;
    }
    return false;
}

/* Moves an entry to the list once what it needs is there; false when it is not. */
static bool place(const struct reading *d, struct entry *e, uint32_t *positions)
{
    if (e->placed || e->derived.name == NULL) return false;
    for (unsigned k = 0; k < 2; k++) {
        if (e->needs[k] == NEEDS_FAULTY) return false;
        if (e->needs[k] == NEEDS_NOTHING) continue;
        if (!d->entries[e->needs[k]].placed) return false;
        e->derived.of[k] = d->s->n_columns + positions[e->needs[k]];
    }
    positions[e - d->entries] = d->s->core.n_derived;
    d->list[d->s->core.n_derived++] = e->derived;
    e->placed = true;
    return true;
}

static void sort_entries(const struct reading *d)
{
    uint32_t positions[SEG_DERIVED_MAX] = { 0 };
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < d->n_entries && !more; i++)
            more = place(d, &d->entries[i], positions);
    }
    for (uint32_t i = 0; i < d->n_entries; i++) {
        bool seen[SEG_DERIVED_MAX] = { false };
        if (d->entries[i].derived.name != NULL && !d->entries[i].placed && needs(d, i, i, seen))
            faults_add(d->r->faults, field_pointer(d->r, d->entries[i].pointer, "of"), "cycle",
                       "%s would be computed from itself", d->entries[i].derived.name);
    }
}

static void read_derive(struct reading *d, const struct json *derive)
{
    if (json_kind(derive) != JSON_ARRAY || json_size(derive) > SEG_DERIVED_MAX) {
        faults_add(d->r->faults, "/preprocess/derive", "wrong_type",
                   "must be an array of at most %u objects", SEG_DERIVED_MAX);
        return;
    }
    d->n_entries = (uint32_t)json_size(derive);
    d->entries = seg_arena_alloc(d->r->arena, (d->n_entries + 1) * sizeof(*d->entries));
    if (d->entries == NULL) {
        faults_add(d->r->faults, "", "out_of_memory", "out of memory");
        d->n_entries = 0;
        return;
    }
    memset(d->entries, 0, d->n_entries * sizeof(*d->entries));
    uint32_t i = 0;
    for (const struct json *v = json_first(derive); v != NULL; v = json_next(v), i++) {
        char key[16];
        snprintf(key, sizeof(key), "%u", i);
        d->entries[i].pointer = field_pointer(d->r, "/preprocess/derive", key);
        read_entry(d, v, i);
    }
    for (i = 0; i < d->n_entries; i++)
        if (d->entries[i].derived.name != NULL) resolve(d, derive, &d->entries[i]);
    sort_entries(d);
}

/* ---- date_parts ---- */

static const char *part_names(struct reading *d)
{
    const char *names[N_PARTS + 1] = { 0 };
    for (size_t i = 0; i < N_PARTS; i++)
        names[i] = PARTS[i].name;
    return field_name_list(d->r, names);
}

/* {"days_since": "2026-01-01"}: the date, to the second; NaN after a fault. */
static double read_reference(struct reading *d, const struct json *v, const char *pointer)
{
    const struct json *date = json_get(v, "days_since");
    int64_t micros = 0;
    fields_read(d->r, v, pointer, NULL, 0, (const char *const[]){ "days_since", NULL });
    if (date == NULL || json_kind(date) != JSON_STRING ||
        !timestamp_parse(json_string(date), strlen(json_string(date)), &micros)) {
        faults_add(d->r->faults, field_pointer(d->r, pointer, "days_since"),
                   date == NULL ? "missing" : "bad_timestamp",
                   "must be a time such as 2026-11-23T10:00:00Z");
        return (double)NAN;
    }
    return (double)(micros / 1000000) / SEG_DAY_SECONDS;
}

static void add_part(struct reading *d, uint32_t feature, const struct part *part, double reference,
                     const char *pointer)
{
    const char *column = d->fs->columns[d->s->columns[feature]].name;
    const bool cyclic = seg_derive_is_cyclic(part->op);
    for (unsigned k = 0; k < (cyclic ? 2u : 1u); k++) {
        const char *suffix = !cyclic ? "" : k == 0 ? ".sin" : ".cos";
        char *name = seg_arena_printf(d->r->arena, "%s.%s%s", column, part->name, suffix);
        if (name == NULL || !name_is_free(d, name, d->n_entries, pointer)) return;
        if (d->s->core.n_derived == SEG_DERIVED_MAX) {
            faults_add(d->r->faults, pointer, "out_of_range",
                       "at most %u columns can be derived; a part on a circle is two",
                       SEG_DERIVED_MAX);
            return;
        }
        d->list[d->s->core.n_derived++] =
            (struct seg_derived){ .name = name,
                                  .op = (enum seg_derive_op)(part->op + k),
                                  .of = { feature, 0 },
                                  .reference = reference };
    }
}

static void read_parts(struct reading *d, const struct json *v, uint32_t feature,
                       const char *pointer)
{
    bool seen[N_PARTS] = { false };
    if (feature_type(d, feature) != SEG_TIMESTAMP) {
        faults_add(d->r->faults, pointer, "wrong_type", "goes with timestamps only");
        return;
    }
    if (json_kind(v) != JSON_ARRAY) {
        faults_add(d->r->faults, pointer, "wrong_type", "must be an array of %s", part_names(d));
        return;
    }
    unsigned index = 0;
    for (const struct json *e = json_first(v); e != NULL; e = json_next(e), index++) {
        char key[16];
        snprintf(key, sizeof(key), "%u", index);
        const char *at = field_pointer(d->r, pointer, key);
        const bool dated = json_kind(e) == JSON_OBJECT;
        const char *name = dated ? "days_since" : json_kind(e) == JSON_STRING ? json_string(e) : "";
        size_t which = 0;
        while (which < N_PARTS && strcmp(PARTS[which].name, name) != 0)
            which++;
        const double reference = dated                             ? read_reference(d, e, at)
                                 : strcmp(name, "days_since") == 0 ? (double)NAN
                                                                   : 0;
        if (which == N_PARTS)
            faults_add(d->r->faults, at,
                       json_kind(e) == JSON_STRING ? "unknown_value" : "wrong_type",
                       "must be %s, or {\"days_since\": a date}", part_names(d));
        else if (seen[which])
            faults_add(d->r->faults, at, "duplicate", "is listed twice");
        else
            add_part(d, feature, &PARTS[which], reference, at);
        if (which < N_PARTS) seen[which] = true;
    }
}

void spec_derive_read(struct field_reader *r, const struct json *derive, const struct json *columns,
                      const struct feature_set *fs, struct train_spec *s)
{
    struct reading d = { .r = r, .fs = fs, .s = s };
    d.list = seg_arena_alloc(r->arena, SEG_DERIVED_MAX * sizeof(*d.list));
    if (d.list == NULL) {
        faults_add(r->faults, "", "out_of_memory", "out of memory");
        return;
    }
    s->core.derived = d.list;
    if (derive != NULL) read_derive(&d, derive);
    for (uint32_t i = 0; i < s->n_columns && columns != NULL; i++) {
        const char *name = fs->columns[s->columns[i]].name;
        const struct json *column = json_get(columns, name);
        const struct json *parts = column != NULL && json_kind(column) == JSON_OBJECT
                                       ? json_get(column, "date_parts")
                                       : NULL;
        const char *at = field_pointer(r, "/preprocess/columns", name);
        if (parts != NULL) read_parts(&d, parts, i, field_pointer(r, at, "date_parts"));
    }
    if (s->n_columns + s->core.n_derived > SEG_FEATURES_MAX)
        faults_add(r->faults, "/preprocess", "out_of_range",
                   "%u features and %u derived columns are too many (limit %u)", s->n_columns,
                   s->core.n_derived, SEG_FEATURES_MAX);
}

bool spec_derive_uses(const struct train_spec *s, uint32_t i)
{
    bool used = false;
    for (uint32_t j = 0; j < s->core.n_derived; j++) {
        const struct seg_derived *d = &s->core.derived[j];
        used = used || d->of[0] == i || (!seg_derive_is_part(d->op) && d->of[1] == i);
    }
    return used;
}

/* ---- writing ---- */

static const char *operand_name(const struct train_spec *s, const struct feature_set *fs,
                                uint32_t i)
{
    return i < s->n_columns ? fs->columns[s->columns[i]].name
                            : s->core.derived[i - s->n_columns].name;
}

void spec_derive_write(const struct train_spec *s, const struct feature_set *fs, struct json_out *o)
{
    if (s->core.n_derived == 0 || seg_derive_is_part(s->core.derived[0].op)) return;
    json_out_key(o, "derive");
    json_out_array(o);
    for (uint32_t i = 0; i < s->core.n_derived; i++) {
        const struct seg_derived *d = &s->core.derived[i];
        if (seg_derive_is_part(d->op)) continue;
        json_out_object(o);
        json_out_member_string(o, "name", d->name);
        json_out_member_string(o, "op", OP_NAMES[d->op]);
        json_out_key(o, "of");
        json_out_array(o);
        json_out_string(o, operand_name(s, fs, d->of[0]));
        json_out_string(o, operand_name(s, fs, d->of[1]));
        json_out_end_array(o);
        json_out_end_object(o);
    }
    json_out_end_array(o);
}

static void write_part(const struct seg_derived *d, struct json_out *o)
{
    char date[TIMESTAMP_TEXT_SIZE];
    if (d->op == SEG_DERIVE_DAYS_SINCE && !isnan(d->reference)) {
        timestamp_text((int64_t)llround(d->reference * SEG_DAY_SECONDS), date);
        json_out_object(o);
        json_out_member_string(o, "days_since", date);
        json_out_end_object(o);
        return;
    }
    for (size_t k = 0; k < N_PARTS; k++)
        if (PARTS[k].op == d->op) json_out_string(o, PARTS[k].name); /* a cosine is none */
}

void spec_derive_write_parts(const struct train_spec *s, uint32_t i, struct json_out *o)
{
    bool open = false;
    for (uint32_t j = 0; j < s->core.n_derived; j++) {
        const struct seg_derived *d = &s->core.derived[j];
        if (!seg_derive_is_part(d->op) || d->of[0] != i) continue;
        if (!open) {
            json_out_key(o, "date_parts");
            json_out_array(o);
        }
        open = true;
        write_part(d, o);
    }
    if (open) json_out_end_array(o);
}
