/* Writes a training spec complete, so that it can be read again. */
#include "spec.h"

#include <string.h>

#include "spec_derive.h"
#include "spec_tables.h"

/* The tables of a spec are made for readers too, which change what they point at; writing does
 * not. */
static void write_list(struct json_out *o, const struct field_list *list, const void *base)
{
    const struct field_table table = field_table(list, (void *)(uintptr_t)base);
    fields_write(o, &table);
}

static void write_sizes(struct json_out *o, const char *key, const uint32_t *sizes, uint32_t n)
{
    json_out_key(o, key);
    json_out_array(o);
    for (uint32_t i = 0; i < n; i++)
        json_out_uint(o, sizes[i]);
    json_out_end_array(o);
}

/* Feature i, or from n_columns on a derived column. */
static void write_column(struct json_out *o, const struct train_spec *s, uint32_t i)
{
    const struct seg_column_spec *c = &s->core.columns[i];
    json_out_object(o);
    write_list(o, &COLUMN_FIELDS, c);
    if (c->left_out) write_list(o, &DROP_FIELDS, c);
    if (i < s->n_columns) spec_derive_write_parts(s, i, o);
    json_out_key(o, "outliers");
    json_out_object(o);
    write_list(o, &OUTLIER_FIELDS, c);
    json_out_end_object(o);
    if (c->impute == SEG_IMPUTE_CONSTANT && c->constant_text[0] != '\0')
        json_out_member_string(o, "constant", c->constant_text);
    else if (c->impute == SEG_IMPUTE_CONSTANT)
        json_out_member_double(o, "constant", c->constant);
    json_out_end_object(o);
}

static void write_pca(struct json_out *o, const struct seg_pca_spec *pca)
{
    json_out_key(o, "pca");
    json_out_object(o);
    if (pca->n_components > 0)
        json_out_member_uint(o, "components", pca->n_components);
    else
        json_out_member_double(o, "variance", pca->variance);
    json_out_member_bool(o, "whiten", pca->whiten);
    json_out_end_object(o);
}

void train_spec_write_mlp(const struct seg_train_params *p, struct json_out *o)
{
    struct seg_train_params copy = *p;
    struct field_table tables[SPEC_TABLES_MAX];
    size_t n = spec_mlp_tables(&copy, tables);
    write_sizes(o, "hidden", p->hidden, p->n_hidden);
    for (size_t i = 0; i < n; i++)
        fields_write(o, &tables[i]);
}

static void write_algorithm(struct json_out *o, const struct seg_spec *s)
{
    const struct seg_algorithm_info *info = seg_algorithm_info(s->algorithm);
    struct seg_spec copy = *s;
    struct field_table tables[SPEC_TABLES_MAX];
    json_out_object(o);
    json_out_member_string(o, "type", info->name);
    if (s->task == SEG_CLASSIFICATION) {
        train_spec_write_mlp(&s->mlp, o);
        if (s->cv_folds > 0) write_list(o, &CV_FIELDS, s);
        if (s->search_trials > 0) {
            json_out_key(o, "search");
            json_out_object(o);
            write_list(o, &SEARCH_FIELDS, s);
            json_out_end_object(o);
        }
    } else {
        if (s->k_auto) {
            json_out_member_string(o, "k", "auto");
            write_list(o, &K_RANGE_FIELDS, s);
        } else {
            json_out_member_uint(o, "k", s->kmeans.k);
        }
        size_t n = spec_algorithm_tables(&copy, tables);
        for (size_t i = 0; i < n; i++)
            fields_write(o, &tables[i]);
    }
    if (info->categories && s->prototypes.weight_auto)
        json_out_member_string(o, "category_weight", "auto");
    else if (info->categories)
        write_list(o, &CATEGORY_WEIGHT_FIELDS, &s->prototypes);
    if (info->encoder) write_sizes(o, "encoder", s->encoder, s->n_encoder);
    if (s->has_head) {
        json_out_key(o, "head");
        json_out_object(o);
        json_out_member_string(o, "type", "mlp");
        train_spec_write_mlp(&s->mlp, o);
        json_out_end_object(o);
    }
    json_out_end_object(o);
}

void train_spec_write(const struct train_spec *s, const struct feature_set *fs, struct json_out *o)
{
    json_out_object(o);
    json_out_member_string(o, "feature_set", s->feature_set);
    json_out_member_string(o, "task", TASK_NAMES[s->core.task]);
    if (s->target >= 0) json_out_member_string(o, "target", fs->columns[s->target].name);
    json_out_key(o, "features");
    json_out_array(o);
    for (uint32_t i = 0; i < s->n_columns; i++)
        json_out_string(o, fs->columns[s->columns[i]].name);
    json_out_end_array(o);
    json_out_key(o, "preprocess");
    json_out_object(o);
    json_out_key(o, "columns");
    json_out_object(o);
    for (uint32_t i = 0; i < s->n_columns; i++) {
        json_out_key(o, fs->columns[s->columns[i]].name);
        write_column(o, s, i);
    }
    for (uint32_t i = 0; i < s->core.n_derived; i++) {
        json_out_key(o, s->core.derived[i].name);
        write_column(o, s, s->n_columns + i);
    }
    json_out_end_object(o);
    spec_derive_write(s, fs, o);
    if (s->core.pca.wanted) write_pca(o, &s->core.pca);
    json_out_end_object(o);
    json_out_key(o, "algorithm");
    write_algorithm(o, &s->core);
    json_out_key(o, "split");
    json_out_object(o);
    write_list(o, &SPLIT_FIELDS, &s->core);
    json_out_end_object(o);
    write_list(o, &SPEC_FIELDS, &s->core);
    json_out_member_uint(o, "seed", s->core.seed);
    if (s->warm_start > 0) json_out_member_uint(o, "warm_start", s->warm_start);
    if (s->encoder_model != NULL) {
        json_out_key(o, "encoder_from");
        json_out_object(o);
        json_out_member_string(o, "model", s->encoder_model);
        json_out_member_uint(o, "version", s->encoder_version);
        json_out_end_object(o);
    }
    write_list(o, &OUTCOME_FIELDS, s);
    json_out_end_object(o);
}
