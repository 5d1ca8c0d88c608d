/* gmm_fit.h - mixtures of both kinds of covariance that must be fitted. Include after cmocka.h. */
#ifndef TESTS_UNIT_GMM_FIT_H
#define TESTS_UNIT_GMM_FIT_H

#include "cluster/gmm.h"
#include "cluster_data.h"

static const enum seg_covariance KINDS[] = { SEG_COVARIANCE_DIAGONAL, SEG_COVARIANCE_FULL };
#define N_KINDS (sizeof KINDS / sizeof KINDS[0])

static inline struct seg_gmm_params params(uint32_t k, enum seg_covariance covariance)
{
    return (struct seg_gmm_params){ .k = k,
                                    .covariance = covariance,
                                    .n_init = 1,
                                    .n_iter_max = 100,
                                    .tol = 1e-5,
                                    .regularisation = 1e-6,
                                    .seed = 7 };
}

static inline struct seg_gmm fit(struct seg_pool *pool, const struct seg_tiles *x,
                                 const struct seg_gmm_params *p)
{
    struct seg_gmm g;
    struct seg_error err = { 0 };
    if (seg_gmm_fit(pool, x, p, NULL, &g, &err) != SEG_OK) fail_msg("%s", err.text);
    return g;
}

#endif
