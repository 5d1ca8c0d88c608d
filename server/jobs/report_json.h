/* report_json.h - what training measured, as the API's JSON. Pure functions. */
#ifndef SERVER_JOBS_REPORT_JSON_H
#define SERVER_JOBS_REPORT_JSON_H

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

#endif
