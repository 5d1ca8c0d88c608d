/* covariance.h - mean and covariance of the columns of a table, and the axes of a symmetric matrix.
 * All in float64. Rows are cut in blocks fixed by the data, whose sums are added in order: the same
 * bits at any worker count. Safe from any thread. */
#ifndef SEG_COMPUTE_COVARIANCE_H
#define SEG_COMPUTE_COVARIANCE_H

#include "base/progress.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

/* mean (d) and cov (d, d) of x (n >= 1, d): sums divided by n, of differences from the mean.
 * SEG_ENOMEM, SEG_ECANCELED. Needs 16 d^2 doubles, above 1,024 columns fewer. */
enum seg_status seg_covariance(struct seg_pool *pool, const struct seg_tiles *x,
                               const struct seg_progress *progress, double *ret_mean,
                               double *ret_cov);

/* Eigenvalues of the symmetric a (d, d), which are left on its diagonal, and unit eigenvectors as
 * the rows of ret_v (d, d), by cyclic Jacobi rotations (Golub and Van Loan, 8.5). In no order. Time
 * grows as d^3: 0.3 s at 256 columns, 10 s at 768. SEG_ECANCELED. */
enum seg_status seg_eigen_symmetric(double *a, size_t d, const struct seg_progress *progress,
                                    double *ret_v);
/* 1 or -1: what makes the largest component of v (d) positive, the first of those that tie. */
double seg_eigen_sign(const double *v, size_t d);

#endif
