/* profile_json.h - what segments look like, as the API's JSON and in words. Pure functions. */
#ifndef SERVER_JOBS_PROFILE_JSON_H
#define SERVER_JOBS_PROFILE_JSON_H

#include "explain/profile.h"
#include "features/preprocess.h"
#include "json/json_out.h"

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
