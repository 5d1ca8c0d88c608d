/* Groups first, then what is derived, then each column over its group. Constants are checked at the
 * end, when it is known what each column does with its own. */
#include "spec_preprocess.h"

#include <math.h>
#include <string.h>

#include "features/calendar.h"
#include "spec_derive.h"
#include "spec_tables.h"
#include "timestamp.h"

/* What an embedding keeps unless told: the limit of max_categories. */
#define EMBEDDING_CATEGORIES 4096u

/* A number or a text, whichever it is; which of them suits is the column's business. */
static void read_constant(struct field_reader *r, const struct json *v, const char *pointer,
                          struct seg_column_spec *c)
{
    const enum json_kind kind = v != NULL ? json_kind(v) : JSON_NULL;
    if (v == NULL) return;
    c->constant = (double)NAN;
    c->constant_text[0] = '\0';
    if (kind == JSON_BOOL) {
        c->constant = json_bool(v);
    } else if (kind == JSON_NUMBER) {
        c->constant = json_number(v);
        if (fabs(c->constant) > 1e30)
            faults_add(r->faults, pointer, "out_of_range", "must be within -1e30 and 1e30");
    } else if (kind == JSON_STRING && json_string(v)[0] != '\0' &&
               strlen(json_string(v)) < sizeof(c->constant_text)) {
        strcpy(c->constant_text, json_string(v));
    } else {
        faults_add(r->faults, pointer, "wrong_type",
                   "must be a number, true, false, or a string of 1 to %zu bytes",
                   sizeof(c->constant_text) - 1);
        c->constant = 0; /* said once */
    }
}

/* "zscore", or {"method": "zscore", "threshold": 3}. */
static void read_outliers(struct field_reader *r, const struct json *v, const char *pointer,
                          struct seg_column_spec *c)
{
    const struct field_table table = field_table(&OUTLIER_FIELDS, c);
    const bool alone = json_kind(v) == JSON_STRING;
    const enum seg_outliers before = c->outliers;
    const struct json *method = alone ? v : NULL;
    if (json_kind(v) == JSON_OBJECT) method = json_get(v, "method");
    if (method != NULL)
        field_read(r, method, &OUTLIER_FIELDS.fields[0],
                   alone ? pointer : field_pointer(r, pointer, "method"), c);
    /* Another method starts from its own threshold. */
    if (c->outliers != before) c->threshold = c->outliers == SEG_OUTLIERS_ZSCORE ? 3.0 : 1.5;
    if (!alone) fields_read(r, v, pointer, &table, 1, NULL);
}

/* One group or column of preprocess. keys: those that are not plain and which the caller knows. */
static void read_column(struct field_reader *r, const struct json *v, const char *pointer,
                        struct seg_column_spec *c, const char *const *keys)
{
    const struct field_table table = field_table(&COLUMN_FIELDS, c);
    fields_read(r, v, pointer, &table, 1, keys);
    if (json_kind(v) != JSON_OBJECT) return;
    /* Vectors are for categories by the thousand. */
    if (json_get(v, "encode") != NULL && c->encode == SEG_ENCODE_EMBEDDING &&
        json_get(v, "max_categories") == NULL)
        c->max_categories = EMBEDDING_CATEGORIES;
    const struct json *outliers = json_get(v, "outliers");
    const char *at = field_pointer(r, pointer, "outliers");
    if (outliers != NULL) read_outliers(r, outliers, at, c);
    if (c->lower >= c->upper)
        faults_add(r->faults, at, "out_of_range", "lower must be below upper");
    read_constant(r, json_get(v, "constant"), field_pointer(r, pointer, "constant"), c);
}

/* A member of "columns": of a feature, or from n_columns on of a derived column. complete: nothing
 * that is derived had a fault. */
static void read_own_column(struct field_reader *r, const struct json *v, const char *pointer,
                            struct train_spec *s, uint32_t i, bool complete)
{
    static const char *const keys[] = { "outliers", "constant", "drop", "date_parts", NULL };
    static const char *const derived_keys[] = { "outliers", "constant", "drop", NULL };
    struct seg_column_spec *c = &s->core.columns[i];
    read_column(r, v, pointer, c, i < s->n_columns ? keys : derived_keys);
    const struct json *drop = json_kind(v) == JSON_OBJECT ? json_get(v, "drop") : NULL;
    const char *at = field_pointer(r, pointer, "drop");
    if (drop != NULL) field_read(r, drop, &DROP_FIELDS.fields[0], at, c);
    if (c->left_out && complete && !spec_derive_uses(s, i))
        faults_add(r->faults, at, "unknown_value",
                   "nothing is derived from it: leave it out of what is listed instead");
}

static void read_columns(struct field_reader *r, const struct json *columns,
                         const struct feature_set *fs, struct train_spec *s, bool complete)
{
    for (const struct json *m = json_first(columns); m != NULL; m = json_next(m)) {
        const char *at = field_pointer(r, "/preprocess/columns", json_key(m));
        const uint32_t n = s->n_columns + s->core.n_derived;
        uint32_t i = 0;
        while (i < n && strcmp(i < s->n_columns ? fs->columns[s->columns[i]].name
                                                : s->core.derived[i - s->n_columns].name,
                               json_key(m)) != 0)
            i++;
        if (i == n)
            faults_add(r->faults, at, "unknown_feature", "is neither a feature nor derived");
        else
            read_own_column(r, m, at, s, i, complete);
    }
}

/* "pca": {"components": 5} or {"variance": 0.95}, either with "whiten"; all components without. */
static void read_pca(struct field_reader *r, const struct json *v, struct seg_pca_spec *pca)
{
    const struct field_table table = field_table(&PCA_FIELDS, pca);
    if (v == NULL || json_kind(v) == JSON_NULL) return;
    pca->wanted = true;
    pca->variance = 1;
    fields_read(r, v, "/preprocess/pca", &table, 1, NULL);
    if (json_kind(v) == JSON_OBJECT && json_get(v, "components") != NULL &&
        json_get(v, "variance") != NULL)
        faults_add(r->faults, "/preprocess/pca", "unknown_key",
                   "takes components or variance, not both");
}

/* What impute constant wants of a column: a string for a category, a time for a timestamp, else a
 * number. */
static void check_constant(struct field_reader *r, enum seg_type type, const char *pointer,
                           struct seg_column_spec *c)
{
    const char *text = c->constant_text;
    const bool number_given = !isnan(c->constant), text_given = text[0] != '\0';
    int64_t micros;
    if (c->impute != SEG_IMPUTE_CONSTANT || c->left_out) return;
    if (!number_given && !text_given) {
        faults_add(r->faults, pointer, "missing", "must be given: what stands for a missing value");
    } else if (type == SEG_CATEGORICAL) {
        if (!text_given)
            faults_add(r->faults, pointer, "wrong_type", "must be a string, the category");
    } else if (type == SEG_TIMESTAMP && text_given) {
        if (timestamp_parse(text, strlen(text), &micros))
            c->constant = (double)micros / (double)SEG_DAY_MICROS;
        else
            faults_add(r->faults, pointer, "bad_timestamp",
                       "must be a time such as 2026-11-23T10:00:00Z");
    } else if (text_given) {
        faults_add(r->faults, pointer, "wrong_type", "must be a number");
    }
}

static void check_constants(struct field_reader *r, const struct feature_set *fs,
                            struct train_spec *s)
{
    for (uint32_t i = 0; i < s->n_columns + s->core.n_derived; i++) {
        const bool own = i < s->n_columns;
        const struct seg_derived *d = own ? NULL : &s->core.derived[i - s->n_columns];
        const enum seg_type type = own ? fs->columns[s->columns[i]].type : seg_derive_type(d->op);
        const char *at = field_pointer(r, "/preprocess/columns",
                                       own ? fs->columns[s->columns[i]].name : d->name);
        check_constant(r, type, field_pointer(r, at, "constant"), &s->core.columns[i]);
    }
}

void spec_preprocess_read(struct field_reader *r, const struct json *v,
                          const struct feature_set *fs, struct train_spec *s,
                          struct seg_column_spec groups[2])
{
    static const char *const keys[] = {
        "default", "categorical", "columns", "derive", "pca", NULL
    };
    static const char *const group_keys[] = { "outliers", "constant", NULL };
    if (v != NULL) {
        fields_read(r, v, "/preprocess", NULL, 0, keys);
        if (json_kind(v) != JSON_OBJECT) v = NULL;
    }
    for (int g = 0; g < 2 && v != NULL; g++)
        if (json_get(v, keys[g]) != NULL)
            read_column(r, json_get(v, keys[g]), field_pointer(r, "/preprocess", keys[g]),
                        &groups[g], group_keys);
    const struct json *columns = v != NULL ? json_get(v, "columns") : NULL;
    if (columns != NULL && !field_is_object(r, columns, "/preprocess/columns")) columns = NULL;
    const size_t n_before = r->faults->n_total;
    spec_derive_read(r, v != NULL ? json_get(v, "derive") : NULL, columns, fs, s);
    for (uint32_t i = 0; i < s->n_columns; i++)
        s->core.columns[i] = groups[fs->columns[s->columns[i]].type == SEG_CATEGORICAL];
    for (uint32_t i = 0; i < s->core.n_derived; i++)
        s->core.columns[s->n_columns + i] = groups[0];
    if (v != NULL) read_pca(r, json_get(v, "pca"), &s->core.pca);
    if (columns != NULL) read_columns(r, columns, fs, s, r->faults->n_total == n_before);
    check_constants(r, fs, s);
}
