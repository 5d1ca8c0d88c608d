/* k_search_run.h - the parts that k_search.c puts together; private to core/cluster. */
#ifndef SEG_CLUSTER_K_SEARCH_RUN_H
#define SEG_CLUSTER_K_SEARCH_RUN_H

#include "cluster/k_search.h"

/* Streams of random numbers under params->seed. */
#define K_STREAM_SAMPLE    ((uint64_t)1 << 60)
#define K_STREAM_RESAMPLE  ((uint64_t)2 << 60) /* plus its number */
#define K_STREAM_REFERENCE ((uint64_t)3 << 60) /* plus its number */

/* How much of a partition (base, of n rows) a fit on rows drawn again finds back. */
struct k_agreement {
    double ari, jaccard;
};
/* Fits p to n_draw rows of x drawn with replacement from stream `number`, assigns every row of x
 * and compares. */
enum seg_status k_search_resample(const struct seg_tiles *x, const uint32_t *base, size_t n_draw,
                                  const struct seg_kmeans_params *p, uint64_t number,
                                  const struct seg_progress *progress, struct k_agreement *ret_a);

/* The centroids of km but for one: the pair whose union raises the inertia least is its mean.
 * SEG_ENOMEM. */
enum seg_status k_search_merge(const struct seg_kmeans *km, struct seg_matrix *ret_c);

/* The smallest and largest value of each column. */
struct k_box {
    float *low, *high; /* (d) */
};
enum seg_status k_search_box_init(struct k_box *box, const struct seg_tiles *x);
void k_search_box_release(struct k_box *box);
/* Log of the inertia per row of p fitted to n_draw rows of d columns, uniform in the box, from
 * stream `number`; -INFINITY when it is 0. */
enum seg_status k_search_reference(const struct k_box *box, uint32_t d, size_t n_draw,
                                   const struct seg_kmeans_params *p, uint64_t number,
                                   const struct seg_progress *progress, double *ret_log);

#endif
