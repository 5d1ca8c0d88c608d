/* spec.h - everything that decides what a training run computes. Complete: every default is already
 * filled in. Same spec, data and seed: same model bytes. The JSON form is server/spec.h's business.
 */
#ifndef SEG_MODEL_SPEC_H
#define SEG_MODEL_SPEC_H

#include "cluster/gmm.h"
#include "cluster/kmeans.h"
#include "cluster/minibatch.h"
#include "cluster/prototypes.h"
#include "features/preprocess.h"
#include "neural/deep_clustering.h"

/* Options that a search of an MLP draws; see model/mlp_search.h. */
enum seg_mlp_space { SEG_SPACE_BASIC, SEG_SPACE_WIDE };

enum seg_task { SEG_SEGMENTATION, SEG_CLASSIFICATION };

/* The algorithms; core/model/algorithms.c has one row for each. */
enum seg_algorithm {
    SEG_KMEANS,
    SEG_MINIBATCH_KMEANS,
    SEG_GMM,
    SEG_AUTOENCODER_KMEANS,
    SEG_K_PROTOTYPES,
    SEG_DEEP_CLUSTERING,
    SEG_MLP,
    SEG_N_ALGORITHMS
};

struct seg_spec {
    enum seg_task task;
    enum seg_algorithm algorithm;
    struct seg_kmeans_params
        kmeans; /* kmeans, autoencoder_kmeans. start is set by the caller of warm starts */
    struct seg_gmm_params gmm; /* gmm; its k, seed and start are not used: those of kmeans are */
    struct seg_minibatch_params
        minibatch; /* minibatch_kmeans; its k, seed and start are not used: those of kmeans are */
    struct seg_prototypes_params
        prototypes;        /* k_prototypes; its k and seed are not used: those of kmeans are */
    bool k_auto;           /* kmeans.k is chosen from k_min..k_max; see cluster/k_search.h */
    uint32_t k_min, k_max; /* of k_auto */
    uint32_t encoder[SEG_LAYERS_MAX / 2]; /* algorithms with an encoder: sizes down to the code */
    uint32_t n_encoder;
    struct seg_train_params autoencoder; /* the same */
    struct seg_deep_params deep;     /* deep_clustering; its encoder and network are not used: those
                                        above are */
    bool has_head;                   /* segmentation: an MLP trained on the segments found */
    struct seg_train_params mlp;     /* the head, or the classifier */
    uint32_t search_trials;          /* classification: mlp is where a search of so many trials
                                        begins; 0: none. See model/mlp_search.h */
    double search_seconds;           /* limit of the search; 0: none */
    enum seg_mlp_space search_space; /* what its trials differ in */
    uint32_t cv_folds;               /* classification: cross-validation; 0: none */
    double test, validation;         /* shares of the rows */
    double min_features_share;       /* scoring: below it a row is insufficient_data */
    uint64_t seed;
    struct seg_column_spec *columns;   /* (n_columns + n_derived), owned: of the table's features,
                                          then of what is derived from them */
    uint32_t n_columns;                /* features of the table's schema */
    const struct seg_derived *derived; /* (n_derived) borrowed */
    uint32_t n_derived;
    struct seg_pca_spec pca; /* of the preprocessing */
};
/* Frees the columns; derived stays its owner's. A zeroed one is fine. */
void seg_spec_release(struct seg_spec *s);

/* One row of the table of algorithms. */
struct seg_algorithm_info {
    const char *name; /* as in the API: "kmeans" */
    enum seg_task task;
    const char *summary;
    bool clusters;   /* uses spec.kmeans, if only k and seed */
    bool encoder;    /* uses spec.encoder, spec.autoencoder */
    bool categories; /* compares categories: wants them encoded as SEG_ENCODE_CODE, others never */
    bool resumes;    /* can go on from an earlier model: seg_training.from */
};
/* The row of an algorithm, in static storage. */
const struct seg_algorithm_info *seg_algorithm_info(enum seg_algorithm a);
/* Whether it can begin with the encoder of another model: as its own, or as the first hidden layers
 * of a classifier. */
static inline bool seg_algorithm_takes_encoder(enum seg_algorithm a)
{
    return seg_algorithm_info(a)->encoder || seg_algorithm_info(a)->task == SEG_CLASSIFICATION;
}
/* The enum seg_algorithm of that name; -1 when unknown. */
int seg_algorithm_from_name(const char *name);

#endif
