/* k_search_run.h - the parts that k_search.c puts together; private to core/cluster. */
#ifndef SEG_CLUSTER_K_SEARCH_RUN_H
#define SEG_CLUSTER_K_SEARCH_RUN_H

#include "cluster/k_search.h"

/* Streams of random numbers under params->seed. */
#define K_STREAM_SAMPLE    ((uint64_t)1 << 60)
#define K_STREAM_FEW       (K_STREAM_SAMPLE | 1)
#define K_STREAM_RESAMPLE  ((uint64_t)2 << 60) /* plus its number */
#define K_STREAM_REFERENCE ((uint64_t)3 << 60) /* plus its number */

/* How much of a partition (base, of n rows) a fit on rows drawn again finds back. */
struct k_agreement {
    double ari, jaccard;
};
/* Fits to n_draw rows of x, drawn with replacement from stream `number`, every k from p->k down to
 * k_min: p->k as p says, each other from the clusters of the one before, less one (k_search_merge).
 * ret_a[i] (p->k - k_min + 1): how the fit of k_min + i cuts the rows of `few`, against base[i].
 * SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status k_search_resample(const struct seg_tiles *x, const struct seg_tiles *few,
                                  const uint32_t *const *base, size_t n_draw,
                                  const struct seg_kmeans_params *p, uint32_t k_min,
                                  uint64_t number, const struct seg_progress *progress,
                                  struct k_agreement *ret_a);

/* The centroids of km but for one: the pair whose union raises the inertia least is its mean.
 * SEG_ENOMEM. */
enum seg_status k_search_merge(const struct seg_kmeans *km, struct seg_matrix *ret_c);

/* The smallest and largest value of each column. */
struct k_box {
    float *low, *high; /* (d) */
};
enum seg_status k_search_box_init(struct k_box *box, const struct seg_tiles *x);
void k_search_box_release(struct k_box *box);
/* The same fits to n_draw rows of d columns, uniform in the box, from stream `number`, and k = 1.
 * Log of the inertia per row, -INFINITY when it is 0: ret_log[0] of k = 1, ret_log[1 + i] (p->k -
 * k_min + 2) of k_min + i. Statuses as above. */
enum seg_status k_search_reference(const struct k_box *box, uint32_t d, size_t n_draw,
                                   const struct seg_kmeans_params *p, uint32_t k_min,
                                   uint64_t number, const struct seg_progress *progress,
                                   double *ret_log);

#endif
