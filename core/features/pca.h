/* pca.h - the last step of preprocessing: principal components of the columns (Pearson 1901), and
 * whitening. Private to core/features. Immutable once fitted or loaded; every number in it is
 * finite. */
#ifndef SEG_FEATURES_PCA_H
#define SEG_FEATURES_PCA_H

#include "compute/kernels.h"
#include "features/preprocess.h"

/* Directions with less than this share of the largest one's variance are rounding, not data. */
#define SEG_PCA_VARIANCE_MIN 1e-12

struct seg_pca {
    const struct seg_kernels *kernels; /* of this machine */
    uint32_t n_in, n_out;              /* columns, components: 1..n_in */
    double *mean;                      /* (n_in) of the training part */
    float *high, *low; /* (n_in) mean as a sum: x - high is exact near it, as in number.h */
    float *axes; /* (n_out, n_in) unit vectors; to whiten, divided by the deviation along it */
    double *explained; /* (n_out) share of the variance, descending */
    char (*names)[16]; /* (n_out) "pca_1" … */
    bool whiten;
};

/* Fits to x (n >= 1, n_in), the training part. *ret_n_wanted: components that the spec asks for,
 * more than n_out where fewer directions have variance. SEG_EINVAL: more than SEG_PCA_COLUMNS_MAX
 * columns, or a variance that is no number. SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status seg_pca_fit(struct seg_pool *pool, const struct seg_tiles *x,
                            const struct seg_pca_spec *spec, const struct seg_progress *progress,
                            struct seg_pca **ret_pca, uint32_t *ret_n_wanted,
                            struct seg_error *err);
void seg_pca_free(struct seg_pca *pca);
/* One tile: x (n_in, 64), which is used up, to out (n_out, 64), finite. */
void seg_pca_tile(const struct seg_pca *pca, float *x, float *out);
/* The columns that out (n_out) stands for, x (n_in): those of the nearest point in the span of the
 * axes. */
void seg_pca_invert(const struct seg_pca *pca, const float *out, float *x);

/* Tensors preprocess.pca.…; see preprocess_io.h. Loading: *ret_pca NULL when there are none. */
enum seg_status seg_pca_save(const struct seg_pca *pca, struct seg_tensors *ts);
enum seg_status seg_pca_load(const struct seg_tensors *ts, uint32_t n_in, struct seg_pca **ret_pca,
                             struct seg_error *err);

#endif
