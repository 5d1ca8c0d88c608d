/* label_publish.c - what a finished label run leaves in the publishing transaction. */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "db/labels.h"
#include "db/models.h"
#include "db/segments.h"
#include "jobs/label_run.h"

/* Numbers of a centroid in original units: the cells of a row, and what is derived from it. */
static size_t centroid_width(const struct seg_model *m)
{
    return (size_t)seg_model_inputs(m)->n_cells + seg_preprocess_n_derived(seg_model_preprocess(m));
}

/* Centroids in original units, (k, centroid_width); NULL when they have none or memory is short.
 * seg_free it. */
static float *raw_centroids(const struct seg_model *m)
{
    struct seg_matrix c = { 0 };
    size_t n_cells = centroid_width(m);
    if (seg_model_centroids(m, &c) != SEG_OK) return NULL;
    float *raw = seg_calloc(c.n_rows * n_cells, sizeof(*raw));
    for (size_t i = 0; raw != NULL && i < c.n_rows; i++)
        seg_preprocess_invert(seg_model_preprocess(m), seg_matrix_row(&c, i), raw + i * n_cells);
    seg_matrix_release(&c);
    return raw;
}

static enum db_status publish_segment(struct db *write, const struct label_run *l,
                                      const struct seg_model *m, int64_t model_id, uint32_t segment,
                                      const float *centroids, const double *silhouettes)
{
    char name[200], description[600];
    struct json_out o;
    size_t len;
    unsigned id = seg_model_segment_id(m, segment);
    json_out_init(&o);
    profile_json(&l->profile, segment, &l->schema,
                 centroids ? centroids + (size_t)segment * centroid_width(m) : NULL,
                 seg_model_preprocess(m), l->exemplars + (size_t)segment * EXEMPLARS_MAX,
                 silhouettes ? silhouettes[segment] : (double)NAN, &o);
    char *text = json_out_take(&o, &len);
    if (text == NULL) return DB_FATAL;
    profile_name(&l->profile, segment, &l->schema, name, sizeof(name), description,
                 sizeof(description));
    enum db_status st =
        db_labels_profile_add(write, l->run_id, id, l->profile.segments[segment].size,
                              l->profile.segments[segment].share, text);
    if (st == DB_ONE) st = db_segments_name_auto(write, model_id, id, name, description);
    seg_free(text);
    return st == DB_NONE ? DB_ONE : st; /* a person has named it */
}

enum db_status label_run_publish(struct db *write, const struct label_run *l,
                                 const struct seg_model *m, int64_t model_id, unsigned version,
                                 const char *job_id, const double *silhouettes)
{
    enum db_status st = db_labels_publish(write, l->run_id, model_id, version, job_id, l->n_users);
    float *centroids = l->has_profile ? raw_centroids(m) : NULL;
    for (uint32_t i = 0; st == DB_ONE && l->has_profile && i < l->profile.n_segments; i++)
        st = publish_segment(write, l, m, model_id, i, centroids, silhouettes);
    seg_free(centroids);
    if (st == DB_ONE && l->has_profile) st = db_models_notify(write); /* names are in answers */
    return st;
}

bool label_run_warning(const struct label_run *l, char *out, size_t size)
{
    snprintf(out, size,
             "%llu rows are not labelled: their id is not 1 to 256 bytes of UTF-8 without control "
             "characters",
             (unsigned long long)l->n_bad_ids);
    return l->n_bad_ids > 0;
}

void label_run_release(struct label_run *l)
{
    if (l->has_profile) seg_profile_release(&l->profile);
    seg_schema_release(&l->schema);
    seg_free(l->exemplars);
    *l = (struct label_run){ 0 };
}
