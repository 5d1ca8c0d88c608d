/* gmm.h - mixture of Gaussians by expectation maximisation (Dempster, Laird and Rubin 1977) on
 * tiles, started from k-means. Pure functions over caller memory; any thread may call. Same data,
 * params and seed give the same bits, whatever the worker count: sums are taken per chunk in
 * float64, around the means of the iteration before, and added in chunk order. */
#ifndef SEG_CLUSTER_GMM_H
#define SEG_CLUSTER_GMM_H

#include <stdbool.h>
#include "base/progress.h"
#include "base/safetensors.h"
#include "compute/kernels.h"
#include "compute/matrix.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

#define SEG_GMM_K_MAX       1024u
#define SEG_GMM_FACTORS_MAX ((size_t)1 << 22) /* values of all precision factors */
#define SEG_GMM_LOG_MIN     (-1e30f)          /* the least log joint density that is told */

enum seg_covariance { SEG_COVARIANCE_DIAGONAL, SEG_COVARIANCE_FULL };

struct seg_gmm;
struct seg_gmm_params {
    uint32_t k; /* components wanted, 1..SEG_GMM_K_MAX */
    enum seg_covariance covariance;
    uint32_t n_init;       /* starts; the highest likelihood wins, ties to the earlier. 1..100 */
    uint32_t n_iter_max;   /* 1..10000 */
    double tol;            /* stop when the mean log-likelihood changes by less, >= 0 */
    double regularisation; /* added to every variance, 1e-12..1e12 */
    uint64_t seed;
    const struct seg_gmm *from;     /* a mixture of the same k, d and covariance to go on from,
                                       borrowed; n_init is then 1 and start not used. NULL: none */
    const struct seg_matrix *start; /* (k, d) finite, borrowed: the first responsibilities are those
                                       of the nearest of these; n_init is then 1. NULL: k-means */
};

struct seg_gmm {
    uint32_t k, d;
    enum seg_covariance covariance;
    struct seg_matrix means; /* (k, d), components by size, largest first */
    struct seg_matrix
        factors;     /* W, W'W the precision. Diagonal: (k, d), 1 / sd. Full: (k * d, d),
                        lower triangular, the inverse of the covariance's Cholesky factor */
    double *weights; /* (k) > 0, sum 1 */
    float *log_norm; /* (k) log weight + log det W - d / 2 log 2 pi */
    /* What follows is about the fit; 0 and NULL after seg_gmm_load. */
    double log_likelihood; /* mean over the rows, natural logarithm */
    double aic, bic;       /* Akaike 1974, Schwarz 1978; lower is better */
    uint32_t n_iter;       /* of the winning start */
    bool converged;
    double *curve;     /* (n_iter) mean log-likelihood before each iteration */
    uint64_t *sizes;   /* (k) rows whose most probable component it is, ties to the lower index */
    uint32_t *origins; /* (k) which component of the mixture to go on from each was */
};

/* NULL if the params suit n_rows rows, else a sentence for the user (static storage). */
const char *seg_gmm_check(const struct seg_gmm_params *p, size_t n_rows);
/* Fits to x (n, d), finite. A component that has lost its rows keeps mean and shape and a weight of
 * next to nothing. SEG_EINVAL: bad params. SEG_ELIMIT: factors over SEG_GMM_FACTORS_MAX.
 * SEG_ENOMEM. SEG_ECANCELED. */
enum seg_status seg_gmm_fit(struct seg_pool *pool, const struct seg_tiles *x,
                            const struct seg_gmm_params *p, const struct seg_progress *progress,
                            struct seg_gmm *ret_g, struct seg_error *err);
void seg_gmm_release(struct seg_gmm *g);

/* Floats of scratch that scoring a tile needs, aligned to SEG_ALIGN. */
size_t seg_gmm_scratch(const struct seg_gmm *g);
/* x (d, 64), out (k, 64): log (weight_j * N_j(x)), at least SEG_GMM_LOG_MIN; never NaN for finite
 * x. A row's bits depend on that row alone. Allocates nothing. */
void seg_gmm_score_tile(const struct seg_gmm *g, const struct seg_kernels *kernels, const float *x,
                        float *scratch, float *out);

/* Tensors `<prefix>.means`, `.factors`, `.weights` and `.covariance`. SEG_EINVAL, SEG_ENOMEM. */
enum seg_status seg_gmm_save(const struct seg_gmm *g, const char *prefix, struct seg_tensors *ts);
/* Checks shapes, ranges and that the weights sum to 1. SEG_EFORMAT, SEG_ENOMEM. */
enum seg_status seg_gmm_load(const struct seg_tensors *ts, const char *prefix,
                             struct seg_gmm *ret_g, struct seg_error *err);

#endif
