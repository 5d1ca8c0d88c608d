/* report_json.h - what training measured and what segments look like, as the API's JSON. Pure
 * functions. */
#ifndef SERVER_JOBS_REPORT_JSON_H
#define SERVER_JOBS_REPORT_JSON_H

#include "explain/profile.h"
#include "json/json_out.h"
#include "model/pipeline.h"

/* "metrics" of a version. Definitions: docs/METRICS.md. */
void report_metrics_json(const struct seg_report *r, const struct seg_model *m, struct json_out *o);
/* "k_search" of a version: a row for each k that was tried; an empty array when k was given. */
void report_k_search_json(const struct seg_report *r, struct json_out *o);
/* "curve": {"kmeans": [inertia…], "network": {"train_loss", "validation_loss", …}, "autoencoder":
 * {…}, "clustering": {…, "clustering_loss"}}. */
void report_curve_json(const struct seg_report *r, struct json_out *o);
/* {"axes", "explained", "points": [{"x", "y", "segment" or "class"}]}. */
void report_projection_json(const struct seg_report *r, const struct seg_model *m,
                            struct json_out *o);

/* A user near a segment's centroid. */
struct exemplar {
    char user_id[257];
    float distance; /* INFINITY: free */
};
#define EXEMPLARS_MAX 5

/* One segment of the API without segment, name, description, size and share: an object that starts
 * with "state". centroid: as seg_preprocess_invert gives it, or NULL; silhouette NaN: not
 * known. */
void profile_json(const struct seg_profile *p, uint32_t segment, const struct seg_schema *schema,
                  const float *centroid, const struct seg_preprocess *pre,
                  const struct exemplar *exemplars, double silhouette, struct json_out *o);
/* An automatic name, such as "high orders, low age", and a sentence. */
void profile_name(const struct seg_profile *p, uint32_t segment, const struct seg_schema *schema,
                  char *name, size_t name_size, char *description, size_t description_size);

#endif
