/* quality.h - how good a partition of rows in clusters is. Definitions are those of
 * scikit-learn 1.2, from the papers named. Pure functions. All sums in float64, in row order: same
 * bits at any worker count. Clusters without rows are left out. */
#ifndef SEG_CLUSTER_QUALITY_H
#define SEG_CLUSTER_QUALITY_H

#include <stdbool.h>
#include "base/progress.h"
#include "cluster/mixed.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

#define SEG_SILHOUETTE_EXACT_MAX 10000u /* rows; the usual silhouette_rows_max */

struct seg_cluster_quality {
    double inertia;    /* sum of squared distances to the mean of the cluster's own rows */
    double silhouette; /* mean over rows of (b - a) / max(a, b), Rousseeuw 1987; 0 for a row alone;
                          NaN if fewer than 2 clusters */
    bool silhouette_sampled;
    size_t silhouette_rows;        /* rows it was computed on, against each other */
    double *silhouette_by_cluster; /* (k) mean of each cluster's rows; NaN without rows. Owned */
    double
        davies_bouldin; /* Davies and Bouldin 1979, lower is better; NaN if fewer than 2 clusters */
    double
        calinski_harabasz; /* Calinski and Harabasz 1974; NaN if fewer than 2 clusters or n <= k */
};
/* x (n, d), label (n) in 0..k-1. The silhouette is of all rows, or of silhouette_rows_max of them,
 * drawn without replacement by seed; 0: NaN. SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status seg_cluster_quality(struct seg_pool *pool, const struct seg_tiles *x,
                                    const uint32_t *label, uint32_t k, size_t silhouette_rows_max,
                                    uint64_t seed, const struct seg_progress *progress,
                                    struct seg_cluster_quality *ret_q);
/* The same of rows with categories (mixed.h): all figures are those of the embedding, where the
 * distance is Euclidean and the middle of a cluster has the shares of its categories. */
enum seg_status seg_cluster_quality_mixed(struct seg_pool *pool, const struct seg_tiles *x,
                                          const struct seg_mixed *space, const uint32_t *label,
                                          uint32_t k, size_t silhouette_rows_max, uint64_t seed,
                                          const struct seg_progress *progress,
                                          struct seg_cluster_quality *ret_q);
void seg_cluster_quality_release(struct seg_cluster_quality *q);

/* Adjusted Rand index of two partitions of n rows (Hubert and Arabie 1985), -0.5..1. NaN on lack of
 * memory. */
double seg_adjusted_rand(const uint32_t *a, uint32_t n_a, const uint32_t *b, uint32_t n_b,
                         size_t n);

#endif
