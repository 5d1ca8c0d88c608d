/* projection.h - rows in the plane, for looking at them: the first two principal components
 * (Pearson 1901). Eigenvectors of the covariance (float64) by cyclic Jacobi; the sign makes the
 * largest loading positive. */
#ifndef SEG_EXPLAIN_PROJECTION_H
#define SEG_EXPLAIN_PROJECTION_H

#include "compute/matrix.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

struct seg_projection {
    struct seg_matrix axes; /* (2, d) unit vectors; the second is zero when d = 1 */
    float *mean;            /* (d) subtracted first */
    double explained[2];    /* share of the variance along each axis */
    size_t n_points;
    uint32_t *rows; /* (n_points) row numbers in x, ascending */
    float *points;  /* (n_points, 2) */
};
/* Fits the axes to all of x (above 256 columns: to at most 20,000 rows by power iteration) and
 * projects at most n_points_max rows drawn without replacement by seed. SEG_ENOMEM. Same bits at
 * any worker count. */
enum seg_status seg_projection_fit(struct seg_pool *pool, const struct seg_tiles *x,
                                   size_t n_points_max, uint64_t seed,
                                   struct seg_projection *ret_p);
void seg_projection_release(struct seg_projection *p);

#endif
