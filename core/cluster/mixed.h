/* mixed.h - how far apart rows of numbers and categories are (Huang 1998).
 *
 * A squared distance is the sum of squared differences of the numbers plus `weight` for each
 * category that differs: simple matching. Its root is a metric, because it is the Euclidean
 * distance of an embedding: give each code a column of its own that holds sqrt(weight / 2) in the
 * rows that have it. seg_mixed_embed makes that space where something wants to be Euclidean.
 *
 * Rows are columns of floats as preprocessing makes them; a category is a whole number 0..n_codes -
 * 1, of which the last stands for all categories unseen in training. Unseen equals unseen. A
 * prototype is a row too: means for numbers, codes for categories. Pure functions over caller
 * memory: nothing is logged, any thread may call. A row's bits depend on that row alone. */
#ifndef SEG_CLUSTER_MIXED_H
#define SEG_CLUSTER_MIXED_H

#include "compute/matrix.h"
#include "compute/tiles.h"
#include "compute/worker_pool.h"

#define SEG_MIXED_WEIGHT_MAX 1e12

struct seg_mixed_kernels;

struct seg_mixed {
    const struct seg_mixed_kernels *kernels; /* of this machine */
    uint32_t n_cols;                         /* of a row; 0: there is no such space */
    uint32_t n_numbers, n_categories;
    uint32_t *numbers;    /* (n_numbers) their columns, ascending */
    uint32_t *categories; /* (n_categories) theirs */
    uint32_t *n_codes;    /* (n_categories) */
    uint32_t *first_code; /* (n_categories + 1) sums of n_codes: codes of all, one after another */
    float weight;         /* 0..SEG_MIXED_WEIGHT_MAX */
};

/* n_codes (n_cols): codes of each column, 0 for a number. The weight is 0 until it is set.
 * SEG_ENOMEM. */
enum seg_status seg_mixed_init(struct seg_mixed *m, const uint32_t *n_codes, uint32_t n_cols);
/* Frees the lists; zeroed afterwards. */
void seg_mixed_release(struct seg_mixed *m);

/* The weight at which one category that differs counts as much as two rows drawn at random are
 * expected to differ in one number: twice the mean variance of the numeric columns of x that vary;
 * 1 if none does. On standardised numbers that is 2, the squared distance that one-hot columns of 0
 * and 1 give to two different categories. Huang proposes half the mean standard deviation, which is
 * not a squared length: it changes its part in the sum when all numbers are scaled. Shares that
 * depend on how the categories are spread (equal scatter of both kinds) were rejected: a column
 * with one rare category would outweigh all numbers. SEG_ENOMEM. */
enum seg_status seg_mixed_weight(struct seg_pool *pool, const struct seg_tiles *x,
                                 const struct seg_mixed *m, float *ret_weight);

/* out (k, 64): squared distances of the rows of a tile x (n_cols, 64) to c (k, n_cols). */
void seg_mixed_squares(const struct seg_mixed *m, const float *x, const float *c, size_t k,
                       float *out);
/* The nearest of k, ties to the lower index, with the bits of seg_mixed_squares: label (64), dist2
 * (64), second2 (64) the distance to the next one (FLT_MAX if k = 1). */
void seg_mixed_nearest(const struct seg_mixed *m, const float *x, const float *c, size_t k,
                       uint32_t *label, float *dist2, float *second2);
/* Nearest prototype of every row of x: label (n), dist2 (n) or NULL. */
void seg_mixed_assign(struct seg_pool *pool, const struct seg_tiles *x, const struct seg_mixed *m,
                      const struct seg_matrix *c, uint32_t *label, float *dist2);

/* Columns of the embedding: the numbers, then one a code. */
uint32_t seg_mixed_width(const struct seg_mixed *m);
/* A tile x (n_cols, 64) to out (seg_mixed_width, 64), with `on` where a row has the code. */
void seg_mixed_embed(const struct seg_mixed *m, const float *x, float on, float *out);
/* All of x as a new tiles. SEG_ENOMEM. */
enum seg_status seg_mixed_embed_rows(struct seg_pool *pool, const struct seg_tiles *x,
                                     const struct seg_mixed *m, float on, struct seg_tiles *ret_x);

/* What is known of the numbers as a whole: variance (n) and the largest |x| of each of the
 * n_numbers columns. Sums are taken per chunk and put together in chunk order. SEG_ENOMEM. */
enum seg_status seg_mixed_survey(struct seg_pool *pool, const struct seg_tiles *x,
                                 const struct seg_mixed *m, double *variance, float *largest);

/* The loops, compiled once for each instruction set: mixed_kernels.c. */
struct seg_mixed_kernels {
    void (*squares)(const struct seg_mixed *m, const float *x, const float *c, size_t k,
                    float *out);
    void (*nearest)(const struct seg_mixed *m, const float *x, const float *c, size_t k,
                    uint32_t *label, float *dist2, float *second2);
};
/* The best that this machine runs. */
const struct seg_mixed_kernels *seg_mixed_kernels_get(void);
/* Those this machine can run, best first, NULL-terminated. For tests. */
const struct seg_mixed_kernels *const *seg_mixed_kernels_all(void);

#endif
