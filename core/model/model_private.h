/* model_private.h - the inside of a model, for the files of core/model alone.
 * Filled by one thread (the pipeline or the loader), then sealed: model_seal checks how the parts
 * fit together and derives the rest. After that nothing changes but the reference count. */
#ifndef SEG_MODEL_PRIVATE_H
#define SEG_MODEL_PRIVATE_H

#include <stdatomic.h>
#include "cluster/mixed.h"
#include "compute/kernels.h"
#include "model/model.h"

/* Coordinates of rows, codes and centroids are kept within this, so that a sum of 4,096 squared
 * differences stays a finite float. Far beyond anything that scaled features can be. */
#define MODEL_VALUE_MAX 1e17f

struct seg_model {
    atomic_uint n_refs;
    enum seg_task task; /* that of the algorithm; derived */
    enum seg_algorithm algorithm;
    double min_features_share;
    struct seg_preprocess *preprocess;
    struct seg_network autoencoder; /* its first half encodes; n_layers 0 = none */
    struct seg_matrix centroids;    /* (n_results, code or n_out); empty for classification */
    struct seg_gmm mixture;         /* whose means are the centroids; k 0 = none */
    struct seg_mixed mixed;         /* the distance to centroids that hold codes; n_cols 0 = none */
    uint32_t *segment_ids;          /* (n_results); NULL for classification */
    struct seg_network network; /* (n_network -> n_results) head or classifier; n_layers 0 = none */
    char **class_names;         /* (n_classes); NULL for segmentation */
    uint32_t n_classes;
    /* derived by model_seal: */
    uint32_t n_results;
    uint32_t n_inputs;  /* columns that preprocessing makes */
    uint32_t n_encoder; /* layers that encode; 0 = none */
    uint32_t n_space;   /* columns of the space of the centroids */
    uint32_t n_network; /* columns that the network reads: n_inputs, or those of the embedding */
    bool soft;          /* degrees of deep_clustering */
    uint32_t n_present_min; /* features a row must have */
    size_t n_network_scratch, n_mixture_scratch;
    const struct seg_kernels *kernels;
};

/* An empty model with one reference, or NULL. */
struct seg_model *model_new(void);
/* Checks all parts against each other and derives the rest. `fault` is the status of a fault:
 * SEG_EFORMAT for a loader, SEG_EINVAL for training, where data can only go out of range. */
enum seg_status model_seal(struct seg_model *m, enum seg_status fault, struct seg_error *err);

/* Makes m->mixed of the preprocessing, with that weight. SEG_ENOMEM. */
enum seg_status model_mixed_init(struct seg_model *m, double weight);
/* What a network reads where a row has a category; elsewhere 0. */
#define MODEL_NETWORK_ON 1.0f

/* Floats of scratch for model_score_prepared, aligned to 64 bytes. */
size_t model_prepared_scratch(const struct seg_model *m);
/* The most probable component of each row of a tile z (n_space, 64), ties to the lower. scratch:
 * seg_gmm_scratch + k * 64 floats. Used before the model is sealed too. */
void model_mixture_tile(const struct seg_model *m, const float *z, float *scratch,
                        uint32_t label[SEG_TILE_ROWS]);
/* Scores a tile (n_inputs, 64) that is preprocessed already; fills everything but status. x is
 * clamped in place. */
void model_score_prepared(const struct seg_model *m, float *x, unsigned n_rows, float *scratch,
                          struct seg_scores *out);
/* x (n_in, 64) -> code (n_code, 64) by the first half of an autoencoder; finite and clamped.
 * scratch: seg_network_scratch floats. Used before the model is sealed too. */
void model_encode_tile(const struct seg_network *autoencoder, const float *x, float *code,
                       float *scratch);

#endif
