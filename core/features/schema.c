/* schema.c - the list of features. Short (at most 1,024), so names are found by walking it. */
#include "features/schema.h"

#include <string.h>
#include "base/alloc.h"

static const char *const TYPE_NAMES[] = {
    [SEG_NUMERIC] = "numeric",         [SEG_BOOLEAN] = "boolean", [SEG_TIMESTAMP] = "timestamp",
    [SEG_CATEGORICAL] = "categorical", [SEG_VECTOR] = "vector",
};
#define N_TYPES ((int)(sizeof TYPE_NAMES / sizeof TYPE_NAMES[0]))

void seg_schema_init(struct seg_schema *s)
{
    *s = (struct seg_schema){ 0 };
}

void seg_schema_release(struct seg_schema *s)
{
    for (uint32_t i = 0; i < s->n_features; i++) {
        seg_free(s->features[i].name);
        seg_dictionary_release(&s->features[i].dictionary);
    }
    seg_free(s->features);
    seg_schema_init(s);
}

static enum seg_status check_feature(const struct seg_schema *s, const char *name,
                                     enum seg_type type, uint32_t width, struct seg_error *err)
{
    const size_t len = strlen(name);
    if (len == 0) return seg_fail(err, SEG_EINVAL, "feature %u has no name", s->n_features);
    if (len > SEG_NAME_BYTES_MAX)
        return seg_fail(err, SEG_EINVAL, "name of a feature too long: %zu bytes (limit %u)", len,
                        SEG_NAME_BYTES_MAX);
    if (seg_schema_find(s, name, len) >= 0)
        return seg_fail(err, SEG_EINVAL, "two features are called %s", name);
    if ((int)type < 0 || (int)type >= N_TYPES)
        return seg_fail(err, SEG_EINVAL, "feature %s has unknown type %d", name, (int)type);
    if (width == 0 || (type != SEG_VECTOR && width != 1))
        return seg_fail(err, SEG_EINVAL, "feature %s: a %s cannot be %u wide", name,
                        TYPE_NAMES[type], width);
    if (s->n_features >= SEG_FEATURES_MAX)
        return seg_fail(err, SEG_ELIMIT, "too many features (limit %u)", SEG_FEATURES_MAX);
    if (width > SEG_VECTOR_WIDTH_MAX)
        return seg_fail(err, SEG_ELIMIT, "vector %s too wide: %u (limit %u)", name, width,
                        SEG_VECTOR_WIDTH_MAX);
    const uint32_t n_cells = s->n_cells + seg_feature_cells(type, width);
    if (n_cells > SEG_CELLS_MAX)
        return seg_fail(err, SEG_ELIMIT, "too many numbers a row with %s: %u (limit %u)", name,
                        n_cells, SEG_CELLS_MAX);
    return SEG_OK;
}

enum seg_status seg_schema_add(struct seg_schema *s, const char *name, enum seg_type type,
                               uint32_t width, struct seg_error *err)
{
    enum seg_status st = check_feature(s, name, type, width, err);
    if (st != SEG_OK) return st;
    struct seg_feature *features =
        seg_realloc(s->features, (size_t)s->n_features + 1, sizeof *features);
    if (features == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    s->features = features;
    struct seg_feature f = { .type = type, .width = width, .cell = s->n_cells };
    f.name = seg_strdup(name);
    if (f.name == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    seg_dictionary_init(&f.dictionary);
    s->features[s->n_features++] = f;
    s->n_cells += seg_feature_cells(type, width);
    return SEG_OK;
}

enum seg_status seg_schema_copy(struct seg_schema *ret_s, const struct seg_schema *from)
{
    struct seg_schema s;
    seg_schema_init(&s);
    enum seg_status st = SEG_OK;
    for (uint32_t i = 0; i < from->n_features && st == SEG_OK; i++) {
        const struct seg_feature *f = &from->features[i];
        st = seg_schema_add(&s, f->name, f->type, f->width, NULL);
        if (st == SEG_OK) st = seg_dictionary_copy(&s.features[i].dictionary, &f->dictionary);
    }
    if (st != SEG_OK) {
        seg_schema_release(&s);
        return st;
    }
    *ret_s = s;
    return SEG_OK;
}

int seg_schema_find(const struct seg_schema *s, const char *name, size_t len)
{
    for (uint32_t i = 0; i < s->n_features; i++) {
        const char *have = s->features[i].name;
        if (strlen(have) == len && memcmp(have, name, len) == 0) return (int)i;
    }
    return -1;
}

const char *seg_type_name(enum seg_type type)
{
    return TYPE_NAMES[type];
}

int seg_type_from_name(const char *name)
{
    for (int i = 0; i < N_TYPES; i++)
        if (strcmp(name, TYPE_NAMES[i]) == 0) return i;
    return -1;
}
