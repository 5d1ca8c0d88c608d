/* gmm_run.h - the parts that gmm.c puts together; private to core/cluster. */
#ifndef SEG_CLUSTER_GMM_RUN_H
#define SEG_CLUSTER_GMM_RUN_H

#include "cluster/gmm.h"

/* Means, factors, weights and log_norm of that shape, unset. SEG_ENOMEM. */
enum seg_status gmm_init(struct seg_gmm *g, uint32_t k, uint32_t d, enum seg_covariance covariance);
/* log_norm from weights and factors. */
void gmm_set_log_norm(struct seg_gmm *g);
/* diff (d, 64) = x - mean of component j, cut off so far out that products stay finite. */
void gmm_diff(const struct seg_gmm *g, uint32_t j, const float *x, float *diff);

/* The sums of one chunk. Of component j in sums + j * stride: its responsibilities' sum, that of
 * them times x - mean (d), and that of their squares (d) or products (d (d + 1) / 2 by row). */
struct gmm_slot {
    double *sums;    /* (k, stride) */
    uint64_t *sizes; /* (k) rows by most probable component */
    double log_likelihood;
    float *joint;   /* (k, 64) */
    float *scratch; /* seg_gmm_scratch; its first (d, 64) are the differences */
    double *wide;   /* (d + 1, 64) differences, then one column of them weighted */
};

#define GMM_SLOTS 8u /* chunks under way at once; fixed, so that sums do not depend on workers */

struct gmm_run {
    struct seg_pool *pool;
    const struct seg_tiles *x;
    const struct seg_kernels *kernels;
    const struct seg_progress *progress;
    const struct seg_gmm *g; /* whose responsibilities, or, with label, around whose means */
    const uint32_t *label;   /* (n) the component that has the row whole; NULL: by g */
    size_t stride;
    size_t wave; /* first chunk under way */
    struct gmm_slot slots[GMM_SLOTS];
    struct gmm_slot total; /* sums, sizes and log_likelihood alone */
};
/* For x (n, d) and g, whose shape stays; both are borrowed. Wants the release after a failure too.
 * SEG_ENOMEM. */
enum seg_status gmm_run_init(struct gmm_run *run, struct seg_pool *pool, const struct seg_tiles *x,
                             const struct seg_gmm *g, const struct seg_progress *progress);
void gmm_run_release(struct gmm_run *run);
/* Sums over all rows into run->total. SEG_ECANCELED. */
enum seg_status gmm_run_sum(struct gmm_run *run);
/* New means, factors, weights of g from run->total. work: (d, d) doubles. */
void gmm_run_maximise(const struct gmm_run *run, double regularisation, double *work,
                      struct seg_gmm *g);

#endif
