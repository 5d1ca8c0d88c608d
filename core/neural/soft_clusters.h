/* soft_clusters.h - to which degree codes belong to centres, and the loss that pulls them there:
 * the formulas of deep_clustering.h, tile by tile. Degrees are tiles of k columns. */
#ifndef SEG_NEURAL_SOFT_CLUSTERS_H
#define SEG_NEURAL_SOFT_CLUSTERS_H

#include "compute/kernels.h"
#include "compute/matrix.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"
#include "neural/batch.h"

/* z (m, 64), finite, centres (k, m) -> q (k, 64), each column of sum 1; label (64): the cluster of
 * the highest degree, ties to the lower. dist2 (64): squared distance to its centre. */
void seg_soft_assign(const struct seg_kernels *kernels, const float *z,
                     const struct seg_matrix *centres, float *q, uint32_t *label, float *dist2);

/* q (n, k) -> targets p in place. share (k) receives f, the sums over the rows. */
void seg_soft_sharpen(struct seg_pool *pool, struct seg_tiles *q, double *share);

/* gamma * KL(P || Q) as a code loss; its parameters are the centres. */
struct seg_soft_loss {
    const struct seg_kernels *kernels;
    const struct seg_tiles *targets; /* (n, k) p */
    struct seg_matrix *centres;      /* (k, m), trained */
    double gamma;                    /* of the gradient; the loss that is told is without it */
};
/* layer: whose outputs are the codes. s and what it points to are borrowed. */
struct seg_code_loss seg_soft_code_loss(const struct seg_soft_loss *s, uint32_t layer);

#endif
