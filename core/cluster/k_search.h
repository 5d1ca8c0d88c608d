/* k_search.h - choosing the number of clusters for k-means.
 *
 * Every k of a range is fitted and measured. Stable are the k whose partition comes back when the
 * rows are drawn again: adjusted Rand index of 0.8 or more on average (after Hennig 2007), and
 * whose clusters each hold a share of rows that is more than a handful of outliers: at least
 * SEG_K_SEARCH_SHARE_MIN, for large k at least a quarter of 1 / k. A k is stable as well when a
 * larger one comes back whose clusters are its own with some of a handful of outliers beside them:
 * where those lie far out, they take a cluster from the groups in one resample and not in the
 * next. Of the
 * stable k whose silhouette is within 0.03 of the best among them, the one with the largest gap is
 * chosen: silhouettes of a few far groups and of the groups inside them are often level. The
 * smallest k is chosen when none is stable, or when no k beats a single cluster by the gap
 * statistic (Tibshirani, Walther and Hastie 2001), each with a sentence that says so.
 *
 * All is measured on at most SEG_K_SEARCH_ROWS rows (fewer when they are wide), drawn without
 * replacement; silhouettes and agreements on half of them, at most SEG_K_SEARCH_FEW_ROWS; resamples
 * and reference sets have half of them, at most 10 for each coordinate of k_max centroids, which is
 * taken as no less than SEG_K_SEARCH_FEW_ROWS and no more than SEG_K_SEARCH_DRAW_ROWS. Samples have
 * at least 25 rows for each of k_max clusters where there are as many. So the time does not grow
 * with the table, and from 1,000 rows on a search takes less than three fits of k_max with 10
 * starts (docs/PERFORMANCE.md). Rows, resamples and reference sets are each fitted from drawn
 * starts for k_max alone: every smaller k begins with the clusters of the next larger one, of which
 * the two are merged that lie closest (Ward 1963).
 *
 * Pure functions: any thread may call, nothing is logged. Same data, params and seed give the same
 * bits, whatever the worker count: every task has a random stream of its own, and tasks are put
 * together in order. */
#ifndef SEG_CLUSTER_K_SEARCH_H
#define SEG_CLUSTER_K_SEARCH_H

#include <stdbool.h>
#include "cluster/kmeans.h"

#define SEG_K_SEARCH_ROWS            20000u
#define SEG_K_SEARCH_DRAW_ROWS       4000u
#define SEG_K_SEARCH_FEW_ROWS        1000u
#define SEG_K_SEARCH_CELLS           (1u << 24) /* rows * columns measured on, when that is fewer rows */
#define SEG_K_SEARCH_CANDIDATES      100u
#define SEG_K_SEARCH_RESAMPLES       8u
#define SEG_K_SEARCH_REFERENCES      5u
#define SEG_K_SEARCH_STABLE_ARI      0.8
#define SEG_K_SEARCH_SHARE_MIN       0.005
#define SEG_K_SEARCH_SILHOUETTE_NEAR 0.03

struct seg_k_search_params {
    uint32_t k_min, k_max; /* 2 <= k_min <= k_max, at most SEG_K_SEARCH_CANDIDATES values */
    const bool *columns;   /* (d) those to look at, at least one; NULL: all. A column of two values
                              cuts every cluster in two clean halves: each index finds twice as many
                              clusters as there are. Callers leave such columns out */
    struct seg_kmeans_params kmeans; /* of each fit; k and seed are not used, init not GIVEN. Of
                                        the n_init starts at most 3 are made for
                                        k_max; every other k begins with the
                                        clusters of the next larger one */
    uint64_t seed;
};

struct seg_k_candidate {
    uint32_t k;
    double inertia;        /* mean squared distance of a row to its centroid, times n_rows_used */
    double silhouette;     /* quality.h has the definitions of these three; NaN with fewer than 2 */
    double davies_bouldin; /* distinct rows */
    double calinski_harabasz; /* NaN also where k is the number of rows */
    double gap;               /* mean log inertia of uniform rows in the bounding box, less that of
                                 the rows, both per row; NaN when an inertia is 0 */
    double gap_error;         /* sd over the reference sets * sqrt(1 + 1 / their number) */
    double stability_ari;     /* mean over resamples: adjusted Rand index of the sample's rows, by
                                 the resample's centroids against by its own */
    double stability_jaccard; /* the same rows: mean over clusters of the best match's Jaccard
                                 index, mean over resamples */
    double share_min;         /* share of the rows in the smallest cluster that has any */
    uint32_t n_tiny;          /* clusters that hold no more than a handful of outliers */
    uint32_t stable_beside;   /* the larger k that comes back and is this one with n_tiny of them
                                 beside it; 0: none */
};

struct seg_k_search {
    uint32_t k; /* the choice */
    char reason[320];
    struct seg_k_candidate *candidates; /* (n_candidates) k_min, k_min + 1 … k_max. Owned */
    size_t n_candidates;
    size_t n_rows_used;
    size_t n_rows_few;   /* of them: silhouettes and agreements are of these */
    size_t n_rows_drawn; /* of each resample and reference set */
    bool sampled;        /* n_rows_used is less than the rows there are */
};

/* Rows of n_cols columns that all is measured on, at most. */
size_t seg_k_search_rows_max(uint32_t n_cols, uint32_t k_max);
/* NULL if the params suit n_rows rows, else a sentence for the user (static storage). */
const char *seg_k_search_check(const struct seg_k_search_params *p, size_t n_rows);
/* x (n, d), finite. SEG_EINVAL: bad params.  SEG_ENOMEM.  SEG_ECANCELED. */
enum seg_status seg_k_search(struct seg_pool *pool, const struct seg_tiles *x,
                             const struct seg_k_search_params *p,
                             const struct seg_progress *progress, struct seg_k_search *ret_s,
                             struct seg_error *err);
void seg_k_search_release(struct seg_k_search *s);

#endif
