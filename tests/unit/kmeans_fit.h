/* kmeans_fit.h - k-means that must succeed. Include after cmocka.h. */
#ifndef TESTS_UNIT_KMEANS_FIT_H
#define TESTS_UNIT_KMEANS_FIT_H

#include "cluster/kmeans.h"
#include "cluster_data.h"

static inline struct seg_kmeans fit(struct seg_pool *pool, const struct seg_tiles *x,
                                    const struct seg_kmeans_params *p)
{
    struct seg_kmeans km;
    struct seg_error err = { 0 };
    if (seg_kmeans_fit(pool, x, p, NULL, &km, &err) != SEG_OK) fail_msg("%s", err.text);
    return km;
}

#endif
