/* silhouette.h - how much nearer each row is to its own cluster than to the next one, of one
 * partition or of many of the same rows at once; private to core/cluster.
 * Pure functions: any thread may call. Sums are float64 in row order: the same bits at any worker
 * count, and for a partition alone as among others. */
#ifndef SEG_CLUSTER_SILHOUETTE_H
#define SEG_CLUSTER_SILHOUETTE_H

#include "base/progress.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

/* Silhouettes of the rows of x (n, d), finite, in n_parts partitions: label[p] (n) in 0..k[p]-1.
 * score (n_parts, n) receives (b - a) / max(a, b), where a is the mean distance to the other rows
 * of the own cluster and b the least mean distance to the rows of another one; 0 for a row alone in
 * its cluster or when a and b are 0, NaN where all rows are in one cluster. Time grows with n^2:
 * distances are measured once for partitions of some 512 clusters together. SEG_ENOMEM,
 * SEG_ECANCELED. */
enum seg_status silhouette_scores(struct seg_pool *pool, const struct seg_tiles *x,
                                  const uint32_t *const *label, const uint32_t *k, size_t n_parts,
                                  const struct seg_progress *progress, double *score);

#endif
