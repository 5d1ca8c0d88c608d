/* minibatch.h - mini-batch k-means (Sculley 2010) on tiles: centroids move by batches of rows drawn
 * at random, each with a learning rate of its own, so that a fit reads a part of the rows only.
 *
 * The centroid of a cluster is the mean of all rows that batches have brought it: its rate is 1 /
 * their number. Centroids that have few rows beside the largest are set to rows of the batch now
 * and then, and the fit ends when the smoothed inertia of batches no longer falls; both as in
 * scikit-learn 1.2 (Bottou and Bengio 1995 for the smoothing).
 *
 * Pure functions over caller memory: nothing is logged, any thread may call. Same data, params and
 * seed give the same bits, whatever the worker count: row i of batch t is draw t * batch_size + i
 * of the seed's stream SEG_MINIBATCH_STREAM, with replacement, and sums are taken in that order. */
#ifndef SEG_CLUSTER_MINIBATCH_H
#define SEG_CLUSTER_MINIBATCH_H

#include "cluster/kmeans.h"

#define SEG_MINIBATCH_STREAM   UINT64_C(0x62617463)
#define SEG_MINIBATCH_SIZE_MAX 65536u

struct seg_minibatch_params {
    uint32_t k; /* clusters wanted, 1..SEG_K_MAX */
    enum seg_kmeans_init init;
    const struct seg_matrix
        *start;          /* SEG_INIT_GIVEN: (k, d) start centroids, borrowed; n_init is then 1 */
    uint32_t n_init;     /* starts, each drawn from 3 batches of rows; the one with the lowest
                            inertia on 3 other batches is gone on with. 1..100 */
    uint32_t batch_size; /* rows, 1..SEG_MINIBATCH_SIZE_MAX; at most the rows there are are used */
    uint32_t n_iter_max; /* batches, 1..1000000 */
    uint32_t patience;   /* stop after so many batches in which the smoothed inertia found no new
                            low; 0: never */
    double tol; /* stop when the squared movement of the centroids, summed, is <= tol * mean column
                   variance; 0: never */
    uint64_t seed;
};

/* NULL if the params suit n_rows rows, else a sentence for the user (static storage). */
const char *seg_minibatch_check(const struct seg_minibatch_params *p, size_t n_rows);
/* Fits to x (n, d), finite. Sizes and inertia are of all rows, which are assigned once at the end;
 * a cluster that no row is nearest to then takes the row farthest from its centroid, while there is
 * one off its centroid. n_iter counts batches, and the curve is the smoothed mean squared distance
 * of their rows before each moved the centroids, times n: it may rise. converged: it ended before
 * n_iter_max. SEG_EINVAL: bad params.  SEG_ENOMEM.  SEG_ECANCELED. */
enum seg_status seg_minibatch_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                  const struct seg_minibatch_params *p,
                                  const struct seg_progress *progress, struct seg_kmeans *ret_km,
                                  struct seg_error *err);

#endif
