/* profile.h - what makes each segment different: per feature distribution against the population,
 * in original units. Built from a raw table and one segment number per row. Exact: quantiles come
 * from the values, not from a sketch. */
#ifndef SEG_EXPLAIN_PROFILE_H
#define SEG_EXPLAIN_PROFILE_H

#include "base/progress.h"
#include "compute/worker_pool.h"
#include "features/table.h"

struct seg_category_share {
    uint32_t code;           /* in the table's dictionary; SEG_CODE_MISSING = no value */
    double share;            /* of the segment's users */
    double population_share; /* of all users */
};

struct seg_feature_profile {
    uint32_t feature;   /* index in the schema */
    uint32_t dimension; /* of a vector; else 0 */
    size_t n_present;   /* users of the segment that have a value */
    /* numbers (NaN when nobody has a value): */
    double mean, median, p10, p90;
    double population_mean;
    double lift;   /* mean / population_mean; NaN when population_mean is 0 */
    double effect; /* numbers: (mean - population_mean) / population sd, 0 when sd is 0; categories:
                      Cohen's w = sqrt(sum (s - p)^2 / p) over values */
    /* categories: the 20 values with the largest share in segment or population, by population
     * share then string order */
    struct seg_category_share *categories;
    uint32_t n_categories;
};

struct seg_segment_profile {
    uint64_t size;
    double share;                         /* of all users labelled */
    struct seg_feature_profile *features; /* (n_profiled), schema order */
    uint32_t top[5];                      /* indices in features, by |effect|, largest first */
    uint32_t n_top;                       /* those with |effect| >= 0.1 */
};

struct seg_profile {
    uint64_t n_users;
    uint32_t n_segments;
    uint32_t n_profiled;                  /* numbers count one, a vector its width */
    struct seg_segment_profile *segments; /* (n_segments) */
};

/* segment (t->n_rows) in 0..n_segments-1, or UINT16_MAX for a row that has none (left out
 * everywhere). SEG_ENOMEM, SEG_ECANCELED. Same bits at any worker count. */
enum seg_status seg_profile_build(struct seg_pool *pool, const struct seg_table *t,
                                  const uint16_t *segment, uint32_t n_segments,
                                  const struct seg_progress *progress, struct seg_profile *ret_p);
void seg_profile_release(struct seg_profile *p);

#endif
