/* kmeans.h - k-means (Lloyd 1982) with greedy k-means++ seeding (Arthur and Vassilvitskii 2007) or
 * k-means|| (Bahmani and others 2012) on tiles. Pure functions over caller memory: nothing is
 * logged, any thread may call. Same data, params and seed give the same bits, whatever the worker
 * count: sums over clusters are exact (kmeans_run.h), the others are taken per chunk in float64 and
 * added in chunk order. */
#ifndef SEG_CLUSTER_KMEANS_H
#define SEG_CLUSTER_KMEANS_H

#include <stdbool.h>
#include "base/progress.h"
#include "compute/matrix.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

#define SEG_K_MAX 1024u

enum seg_kmeans_init {
    SEG_INIT_KMEANS_PP, /* greedy k-means++ */
    SEG_INIT_RANDOM,    /* different rows */
    SEG_INIT_PARALLEL,  /* k-means||: few passes over the rows, whatever k is */
    SEG_INIT_GIVEN
};

struct seg_kmeans_params {
    uint32_t k; /* clusters wanted, 1..SEG_K_MAX */
    enum seg_kmeans_init init;
    const struct seg_matrix
        *start;      /* SEG_INIT_GIVEN: (k, d) start centroids, borrowed; n_init is then 1 */
    uint32_t n_init; /* independent starts; the lowest inertia wins, ties to the earlier. 1..100 */
    uint32_t n_iter_max; /* 1..10000 */
    double tol; /* stop when the squared movement of the centroids, summed, is <= tol * mean column
                   variance; 0: when no row moves */
    double min_share; /* smallest share of rows a cluster may have, 0..1/k; 0 = no minimum */
    uint64_t seed;
};

struct seg_kmeans {
    struct seg_matrix
        centroids;   /* (k, d), ordered by size, largest first (ties: lexicographically) */
    double inertia;  /* sum of squared distances of the rows to their centroid */
    uint32_t n_iter; /* of the winning start */
    bool converged;
    double *curve; /* (n_iter) sum of squared distances of the rows to the mean of their cluster, at
                      each iteration of the winning start; never rises */
    uint64_t *sizes;     /* (k) rows of each cluster */
    uint32_t *origins;   /* (k) which of the start centroids each was */
    uint32_t n_distinct; /* < k when the data has fewer distinct rows; the spare clusters then have
                            size 0 and repeat the last centroid */
};

/* NULL if the params suit n_rows rows, else a sentence for the user (static storage). */
const char *seg_kmeans_check(const struct seg_kmeans_params *p, size_t n_rows);
/* Fits to x (n, d), finite. An empty cluster is reseeded from the row farthest from its centroid
 * (in row order on ties). A cluster under min_share takes the rows nearest to it from clusters that
 * can spare them, and the means are taken again, until the nearest assignment to the final
 * centroids keeps the share or 32 rounds are over (piles of equal rows can make it impossible). A
 * start ends when the centroids stand still as far as tol says, and at the latest when rounding
 * them to float would let the curve rise. SEG_EINVAL: bad params.  SEG_ENOMEM.  SEG_ECANCELED.
 * Distances never cancel: S1 with coordinates of 1e6 loses no digit that matters. */
enum seg_status seg_kmeans_fit(struct seg_pool *pool, const struct seg_tiles *x,
                               const struct seg_kmeans_params *p,
                               const struct seg_progress *progress, struct seg_kmeans *ret_km,
                               struct seg_error *err);
/* The same, bit by bit, and faster on many rows, for a caller to whom x belongs: while it runs the
 * cells of a tile change places, so nobody else may read x. Every cell is back where it was on
 * return, whatever the status. */
enum seg_status seg_kmeans_fit_own(struct seg_pool *pool, struct seg_tiles *x,
                                   const struct seg_kmeans_params *p,
                                   const struct seg_progress *progress, struct seg_kmeans *ret_km,
                                   struct seg_error *err);
void seg_kmeans_release(struct seg_kmeans *km);

/* Nearest centroid of every row: label (n), dist2 (n) or NULL. */
void seg_kmeans_assign(struct seg_pool *pool, const struct seg_tiles *x,
                       const struct seg_matrix *centroids, uint32_t *label, float *dist2);

#endif
