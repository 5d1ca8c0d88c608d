/* Segments by what tells them from the population. What is not known is null, never 0. */
#include "jobs/profile_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "json/json.h"

/* "embedding[3]" for one number of a vector, else the feature's name. */
static const char *feature_label(const struct seg_feature_profile *f,
                                 const struct seg_schema *schema, char *buffer, size_t size)
{
    const struct seg_feature *feature = &schema->features[f->feature];
    if (feature->type != SEG_VECTOR) return feature->name;
    snprintf(buffer, size, "%s[%u]", feature->name, f->dimension);
    return buffer;
}

static void write_feature(const struct seg_feature_profile *f, const struct seg_schema *schema,
                          struct json_out *o)
{
    char buffer[SEG_NAME_BYTES_MAX + 16];
    const struct seg_feature *feature = &schema->features[f->feature];
    json_out_object(o);
    json_out_member_string(o, "name", feature_label(f, schema, buffer, sizeof(buffer)));
    json_out_member_string(o, "type", seg_type_name(feature->type));
    json_out_member_uint(o, "present", f->n_present);
    if (feature->type == SEG_CATEGORICAL) {
        json_out_key(o, "categories");
        json_out_array(o);
        for (uint32_t i = 0; i < f->n_categories; i++) {
            const struct seg_category_share *c = &f->categories[i];
            json_out_object(o);
            json_out_member_string(
                o, "value",
                c->code == SEG_CODE_MISSING ? NULL : feature->dictionary.strings[c->code]);
            json_out_member_double(o, "share", c->share);
            json_out_member_double(o, "population_share", c->population_share);
            json_out_end_object(o);
        }
        json_out_end_array(o);
    } else {
        json_out_member_double(o, "mean", f->mean);
        json_out_member_double(o, "median", f->median);
        json_out_member_double(o, "p10", f->p10);
        json_out_member_double(o, "p90", f->p90);
        json_out_member_double(o, "population_mean", f->population_mean);
        json_out_member_double(o, "lift", f->lift);
    }
    json_out_member_double(o, "effect", f->effect);
    json_out_end_object(o);
}

/* The category in a centroid; null stands for those that training did not see or keep. */
static void write_center_category(struct json_out *o, const struct seg_feature *f,
                                  const float *number)
{
    union seg_cell cell;
    memcpy(&cell, number, sizeof(cell));
    if (cell.code == SEG_CODE_MISSING) return; /* its encoding has none */
    json_out_member_string(o, f->name,
                           cell.code < f->dictionary.n ? f->dictionary.strings[cell.code] : NULL);
}

void profile_json(const struct seg_profile *p, uint32_t segment, const struct seg_schema *schema,
                  const float *centroid, const struct seg_preprocess *pre,
                  const struct exemplar *exemplars, double silhouette, struct json_out *o)
{
    const struct seg_schema *inputs = seg_preprocess_inputs(pre);
    char buffer[SEG_NAME_BYTES_MAX + 16];
    const struct seg_segment_profile *s = &p->segments[segment];
    json_out_object(o);
    json_out_member_string(o, "state", "new");
    json_out_key(o, "features");
    json_out_array(o);
    for (uint32_t i = 0; i < p->n_profiled; i++)
        write_feature(&s->features[i], schema, o);
    json_out_end_array(o);
    json_out_key(o, "centroid");
    json_out_object(o);
    for (uint32_t i = 0; i < inputs->n_features && centroid != NULL; i++) {
        const struct seg_feature *f = &inputs->features[i];
        if (f->type == SEG_CATEGORICAL) {
            write_center_category(o, f, centroid + f->cell);
            continue;
        }
        json_out_key(o, f->name);
        if (f->type == SEG_VECTOR) json_out_array(o);
        for (uint32_t k = 0; k < f->width; k++)
            json_out_float(o, centroid[f->cell + k]);
        if (f->type == SEG_VECTOR) json_out_end_array(o);
    }
    for (uint32_t i = 0; i < seg_preprocess_n_derived(pre) && centroid != NULL; i++) {
        const struct seg_derived *d = seg_preprocess_derived(pre, i);
        if (seg_derive_is_cyclic(d->op)) continue;
        json_out_key(o, d->name);
        json_out_float(o, centroid[inputs->n_cells + i]);
    }
    json_out_end_object(o);
    json_out_key(o, "top_features");
    json_out_array(o);
    for (uint32_t i = 0; i < s->n_top; i++)
        json_out_string(o, feature_label(&s->features[s->top[i]], schema, buffer, sizeof(buffer)));
    json_out_end_array(o);
    json_out_key(o, "exemplars");
    json_out_array(o);
    for (unsigned i = 0; i < EXEMPLARS_MAX && exemplars != NULL; i++)
        if (isfinite(exemplars[i].distance)) json_out_string(o, exemplars[i].user_id);
    json_out_end_array(o);
    json_out_key(o, "quality");
    json_out_object(o);
    json_out_member_double(o, "silhouette", silhouette);
    json_out_end_object(o);
    json_out_end_object(o);
}

/* The value whose share differs most from the population's. */
static const struct seg_category_share *telling_category(const struct seg_feature_profile *f)
{
    const struct seg_category_share *best = NULL;
    for (uint32_t i = 0; i < f->n_categories; i++)
        if (f->categories[i].code != SEG_CODE_MISSING &&
            (best == NULL || f->categories[i].share - f->categories[i].population_share >
                                 best->share - best->population_share))
            best = &f->categories[i];
    return best;
}

void profile_name(const struct seg_profile *p, uint32_t segment, const struct seg_schema *schema,
                  char *name, size_t name_size, char *description, size_t description_size)
{
    char buffer[SEG_NAME_BYTES_MAX + 16];
    const struct seg_segment_profile *s = &p->segments[segment];
    size_t n = 0, d = 0;
    name[0] = '\0';
    d += (size_t)snprintf(description, description_size, "%llu users, %.1f %% of all",
                          (unsigned long long)s->size, 100 * s->share);
    for (uint32_t i = 0; i < s->n_top && i < 3; i++) {
        const struct seg_feature_profile *f = &s->features[s->top[i]];
        const struct seg_feature *feature = &schema->features[f->feature];
        const char *label = feature_label(f, schema, buffer, sizeof(buffer));
        const struct seg_category_share *c =
            feature->type == SEG_CATEGORICAL ? telling_category(f) : NULL;
        if (feature->type == SEG_CATEGORICAL && c == NULL) continue;
        if (n < name_size && i < 2) {
            if (c != NULL)
                n += (size_t)snprintf(name + n, name_size - n, "%s%s %s", n ? ", " : "", label,
                                      feature->dictionary.strings[c->code]);
            else
                n += (size_t)snprintf(name + n, name_size - n, "%s%s %s", n ? ", " : "",
                                      f->effect > 0 ? "high" : "low", label);
        }
        if (d < description_size && c != NULL)
            d += (size_t)snprintf(
                description + d, description_size - d, "; %s %s: %.0f %% against %.0f %%", label,
                feature->dictionary.strings[c->code], 100 * c->share, 100 * c->population_share);
        else if (d < description_size)
            d += (size_t)snprintf(description + d, description_size - d,
                                  "; %s %.4g against %.4g on average", label, f->mean,
                                  f->population_mean);
    }
    if (n == 0) snprintf(name, name_size, "average users");
    name[utf8_prefix(name, strlen(name))] = '\0'; /* either may be cut inside a character */
    description[utf8_prefix(description, strlen(description))] = '\0';
}
