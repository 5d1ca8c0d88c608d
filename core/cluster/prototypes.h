/* prototypes.h - k-prototypes (Huang 1998): clusters of rows of numbers and categories.
 *
 * The centre of a cluster is a prototype: the mean of each number, the most frequent code of each
 * category (ties to the lower code). Rows go to the nearest prototype by the distance of mixed.h,
 * prototypes are taken again, until nothing moves; the sum of the rows' distances never rises.
 *
 * Pure functions over caller memory: nothing is logged, any thread may call. Same data, params and
 * seed give the same bits, whatever the worker count: sums over clusters are integers, which add in
 * any order (kmeans_run.h says why that is exact enough), the others are taken per chunk in float64
 * and added in chunk order. */
#ifndef SEG_CLUSTER_PROTOTYPES_H
#define SEG_CLUSTER_PROTOTYPES_H

#include "cluster/kmeans.h"
#include "cluster/mixed.h"

struct seg_prototypes_params {
    uint32_t k;                /* clusters wanted, 1..SEG_K_MAX */
    enum seg_kmeans_init init; /* SEG_INIT_KMEANS_PP, SEG_INIT_RANDOM */
    uint32_t n_init;     /* independent starts; the lowest cost wins, ties to the earlier. 1..100 */
    uint32_t n_iter_max; /* 1..10000 */
    double tol; /* stop when the squared distances that the prototypes moved, summed, are <= tol *
                   mean column variance of the numbers (the weight, if there are none); 0: when no
                   row moves */
    bool weight_auto; /* the caller takes seg_mixed_weight */
    double weight;    /* of a category, 0..SEG_MIXED_WEIGHT_MAX, unless weight_auto */
    uint64_t seed;
};

/* NULL if the params suit n_rows rows, else a sentence for the user (static storage). */
const char *seg_prototypes_check(const struct seg_prototypes_params *p, size_t n_rows);
/* Fits to x (n, m->n_cols), numbers finite and codes in range, in the space m, whose weight counts.
 * Fills ret_km: centroids are the prototypes, inertia and curve sums of the rows' distances, the
 * curve's when each iteration has assigned the rows. An empty cluster takes the row farthest from
 * its prototype. Start prototypes are rows, drawn as kmeans.h draws them but by this distance.
 * SEG_EINVAL: bad params.  SEG_ENOMEM.  SEG_ECANCELED. */
enum seg_status seg_prototypes_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                   const struct seg_mixed *m, const struct seg_prototypes_params *p,
                                   const struct seg_progress *progress, struct seg_kmeans *ret_km,
                                   struct seg_error *err);

#endif
