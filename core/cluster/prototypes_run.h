/* prototypes_run.h - the parts that prototypes.c puts together; private to core/cluster. */
#ifndef SEG_CLUSTER_PROTOTYPES_RUN_H
#define SEG_CLUSTER_PROTOTYPES_RUN_H

#include "base/rng.h"
#include "cluster/prototypes.h"

/* Sums over clusters, exact: see kmeans_run.h. */
struct prototype_sums {
    size_t k;
    const struct seg_mixed *m;
    const float *scale; /* (n_numbers) powers of two */
    int64_t *sum;       /* (k, n_numbers) of scaled numbers */
    int64_t *count;     /* (k, all codes) rows that have each code */
    int64_t *size;      /* (k) rows */
};
/* All zero; m and scale are borrowed. SEG_ENOMEM leaves it zeroed. */
enum seg_status prototype_sums_init(struct prototype_sums *s, size_t k, const struct seg_mixed *m,
                                    const float *scale);
/* Frees the sums; zeroed afterwards. */
void prototype_sums_release(struct prototype_sums *s);
/* All zero again. */
void prototype_sums_clear(struct prototype_sums *s);
/* Adds the row whose first cell is *cell (in a tile) to cluster `to` and takes it from cluster
 * `from`, which may be k for none. */
void prototype_sums_move(struct prototype_sums *s, const float *cell, uint32_t from, uint32_t to);
/* s += other; empties other. */
void prototype_sums_drain(struct prototype_sums *s, struct prototype_sums *other);
/* Prototypes of the clusters that have rows into c (k, n_cols); the others keep theirs. Returns the
 * sum of the squared distances that they moved. */
double prototype_sums_take(const struct prototype_sums *s, struct seg_matrix *c);

/* Start prototypes c (k, n_cols) drawn from the rows: greedy k-means++, or plain rows. closest:
 * scratch of one float a row, whole tiles. With fewer distinct rows than k the spare ones repeat
 * the last found. SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status prototypes_seed(struct seg_pool *pool, const struct seg_tiles *x,
                                const struct seg_mixed *m, enum seg_kmeans_init init,
                                struct seg_rng *rng, float *closest,
                                const struct seg_progress *progress, struct seg_matrix *c);

#endif
