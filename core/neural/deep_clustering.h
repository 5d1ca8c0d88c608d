/* deep_clustering.h - an autoencoder and clusters of its codes, trained together.
 *
 * Two parts, after improved deep embedded clustering (IDEC; Guo, Gao, Liu and Yin 2017), which adds
 * the reconstruction to DEC (Xie, Girshick and Farhadi 2016):
 * 1. The autoencoder alone is trained.
 * 2. k-means gives the first clusters; a centre is the mean of its cluster's codes. Then the mean
 * of reconstruction error + gamma * KL(P || Q) falls over network and centres, where row i belongs
 * to cluster j to the degree q_ij = (1 + |z_i - m_j|^2)^-1 / sum_l (1 + |z_i - m_l|^2)^-1
 * (Student's t, 1 degree) and the targets P, taken anew every update_interval batches, are Q made
 * sharper: p_ij = (q_ij^2 / f_j) / sum_l (q_il^2 / f_l),  f_j = sum_i q_ij. It ends when fewer than
 * `tolerance` of the rows have changed cluster between two such refreshes. Before the second part
 * the code, which is linear, is scaled so that the mean squared distance of a code to its centre is
 * 1, the length that q counts in; the next layer makes up for it.
 *
 * Plain IDEC sharpens whatever k-means found in the codes of pixels or counts. With `neighbours`
 * the shape of the data has a say as well: rows are averaged with their nearest neighbours,
 * `smoothing` times over, and that is what the decoder has to return and what k-means starts from;
 * and Q is averaged over neighbours before it is sharpened. Rows that hang together through others
 * then get codes near each other even where they lie far apart. 0 neighbours is IDEC as published.
 *
 * What is learnt, is learnt from at most SEG_DEEP_ROWS rows (fewer when they are wide or clusters
 * many), drawn without replacement: the time does not grow with the table. Pure functions: any
 * thread may call, nothing is logged. Same data, params and seed give the same bits at any worker
 * count. */
#ifndef SEG_NEURAL_DEEP_CLUSTERING_H
#define SEG_NEURAL_DEEP_CLUSTERING_H

#include "cluster/neighbours.h"
#include "neural/train.h"

#define SEG_DEEP_ROWS  50000u
#define SEG_DEEP_CELLS ((size_t)1 << 25) /* rows * the larger of columns and clusters */

struct seg_deep_params {
    uint32_t encoder[SEG_LAYERS_MAX / 2]; /* layer sizes down to the code */
    uint32_t n_encoder;
    struct seg_train_params network; /* epochs: at most, of the second part. patience: of the first,
                                        on its training loss */
    uint32_t pretrain_epochs;        /* of the first part, 1..10000 */
    double gamma;                    /* weight of the clusters, above 0 to 1000 */
    uint32_t update_interval;        /* batches between two refreshes; 0: those of an epoch */
    double tolerance;                /* share of the rows, 0..1; 0: until no row changes */
    uint32_t n_init;                 /* starts of k-means, 1..100 */
    uint32_t neighbours;             /* 0..SEG_NEIGHBOURS_MAX */
    uint32_t smoothing;              /* rounds of means over neighbours, 0..1000 */
};

/* The rows learnt from, and what neighbours make of them. */
struct seg_deep {
    struct seg_pool *pool; /* borrowed, as are params and progress */
    const struct seg_deep_params *params;
    const struct seg_tiles *x;       /* (n, d): the caller's, or the sample */
    const struct seg_tiles *target;  /* (n, d): x, or smooth */
    struct seg_tiles sample, smooth; /* empty when they are not wanted */
    struct seg_neighbours neighbours;
};

struct seg_deep_clusters {
    struct seg_matrix centres; /* (k, code), ordered by size, largest first; those without rows are
                                  left out, so that k may be less than was wanted */
    uint32_t *origins;         /* (k) which of the start's centres, or of the k wanted, each was */
    struct seg_curve curve;    /* of the second part: train_loss is the reconstruction error,
                                  code_loss KL(P || Q) without gamma */
    uint32_t n_refreshes;      /* of the targets */
    bool converged;            /* tolerance ended it */
};
/* Frees what it holds, but not c; a zeroed one is fine. */
void seg_deep_clusters_release(struct seg_deep_clusters *c);

/* NULL if the params are in range, else a sentence (static storage). */
const char *seg_deep_check(const struct seg_deep_params *p);

/* x (n, d), finite, borrowed until the release; k_max: no more clusters will be wanted.
 * SEG_EINVAL: no rows, bad params. SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status seg_deep_init(struct seg_deep *d, struct seg_pool *pool, const struct seg_tiles *x,
                              uint32_t k_max, const struct seg_deep_params *p,
                              const struct seg_progress *progress, struct seg_error *err);
/* Frees sample, means and neighbours and leaves it zeroed; a zeroed one is fine. */
void seg_deep_release(struct seg_deep *d);

/* First part: a new autoencoder, as seg_autoencoder_fit makes them. Statuses as there. */
enum seg_status seg_deep_pretrain(const struct seg_deep *d, const struct seg_progress *progress,
                                  struct seg_network *ret_net, struct seg_curve *ret_curve,
                                  struct seg_error *err);

/* Second part: trains net, the autoencoder, in place (after a failure its weights mean nothing) and
 * finds k clusters. start (k, code): centres to go on from, with the code as it is; NULL: k-means.
 * Statuses as above. */
enum seg_status seg_deep_cluster(const struct seg_deep *d, uint32_t k,
                                 const struct seg_matrix *start,
                                 const struct seg_progress *progress, struct seg_network *net,
                                 struct seg_deep_clusters *ret_clusters, struct seg_error *err);

#endif
