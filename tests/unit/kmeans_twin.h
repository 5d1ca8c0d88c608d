/* kmeans_twin.h - the assignment of k-means in float64. */
#ifndef TESTS_UNIT_KMEANS_TWIN_H
#define TESTS_UNIT_KMEANS_TWIN_H

#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include "compute/matrix.h"

static inline double dist2(const float *a, const float *b, size_t d)
{
    double sum = 0;
    for (size_t c = 0; c < d; c++)
        sum += ((double)a[c] - (double)b[c]) * ((double)a[c] - (double)b[c]);
    return sum;
}

/* The twin: nearest centroid of every row in float64, ties to the lower index. Returns the inertia.
 */
static inline double naive_assign(const float *x, size_t n, size_t d, const struct seg_matrix *c,
                                  uint32_t *label)
{
    double inertia = 0;
    for (size_t r = 0; r < n; r++) {
        double best = INFINITY;
        for (size_t j = 0; j < c->n_rows; j++) {
            double far = dist2(x + r * d, seg_matrix_row(c, j), d);
            if (far < best) {
                best = far;
                label[r] = (uint32_t)j;
            }
        }
        inertia += best;
    }
    return inertia;
}

#endif
