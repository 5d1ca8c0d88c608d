/* pipeline.h - from a raw table to a model with its evaluation: check, split, preprocess, fit,
 * evaluate. One call, on the caller's thread and the pool's workers. Same table, spec and seeds
 * give the same model bytes at any worker count. */
#ifndef SEG_MODEL_PIPELINE_H
#define SEG_MODEL_PIPELINE_H

#include "cluster/k_search.h"
#include "cluster/quality.h"
#include "evaluate/classification.h"
#include "explain/projection.h"
#include "model/mlp_search.h"
#include "model/model.h"

#define SEG_PROJECTION_POINTS_MAX 2000u

enum seg_phase { SEG_PHASE_PREPROCESS, SEG_PHASE_FIT, SEG_PHASE_EVALUATE, SEG_N_PHASES };

/* What training measured. Owned by the caller; release with seg_report_release. */
struct seg_report {
    size_t n_rows[SEG_PARTS]; /* training, validation, test */
    bool evaluated_on_test;   /* false: the test part is empty, figures are of the training part */
    uint32_t n_iter;          /* k-means iterations of the winning start; deep_clustering: refreshes
                                 of its targets */
    bool converged;
    double inertia;      /* of the training part, in the space of the centroids; not of a mixture */
    bool has_likelihood; /* a mixture: */
    double log_likelihood, aic, bic;
    struct seg_k_search k_search;     /* n_candidates 0: k was given */
    struct seg_mlp_search mlp_search; /* n_trials 0: there was none */
    bool has_cv;
    struct seg_mlp_cv cv;
    struct seg_cluster_quality quality; /* segmentation, on the evaluated rows */
    bool has_classification; /* classification, or a head (truth = the nearest centroid) */
    struct seg_classification classification;
    double *kmeans_curve;           /* (n_iter) or NULL */
    double *likelihood_curve;       /* (n_iter) or NULL */
    struct seg_curve network_curve; /* head or classifier; n_epochs 0 if none */
    struct seg_curve autoencoder_curve;
    struct seg_curve clustering_curve; /* deep_clustering, once network and clusters learn together:
                                          its code_loss is that of the clusters */
    struct seg_projection projection;  /* of the training part in preprocessed space */
    uint32_t *projection_result;       /* (projection.n_points) the model's result for each point */
    double duration_ms[SEG_N_PHASES];
    char **warnings; /* sentences, e.g. "3 distinct rows for k = 5: 2 segments are empty" */
    size_t n_warnings;
};
void seg_report_release(struct seg_report *r);

/* What to train on. progress is told the fraction of the whole, which never falls, and the phase.
 */
struct seg_training {
    const struct seg_spec *spec;
    struct seg_table *table;        /* features only; consumed: its cells are freed on the way, or
                                       left as room to grow into */
    const uint16_t *y;              /* classification: class of every row, else NULL */
    const char *const *class_names; /* classification: (n_classes) */
    uint32_t n_classes;
    const struct seg_model *from; /* warm start: an earlier model to go on from, borrowed; NULL:
                                     none. Its preprocessing is taken over as it is, so that weights
                                     and centroids keep their meaning; of the spec's columns only
                                     the number counts then. Segments keep their ids */
    bool encoder_only; /* of from, its preprocessing and encoder alone: a model of its own begins
                          there, with any k and segments that are new */
    /* Told on the caller's thread, with progress.ctx, that the model is sealed and only evaluated
     * from now on: it may be scored by then, or kept by a reference. NULL: not told. */
    void (*fitted)(void *ctx, struct seg_model *m);
    struct seg_progress
        progress; /* message starts with the phase's name: "training: epoch 3 of 50 …" */
};
/* SEG_EINVAL: a sentence for the user (fewer rows than k, fewer than two classes with rows, a
 * feature without any value …). SEG_ENOMEM, SEG_ECANCELED. Outputs are untouched on failure; the
 * table is then partly consumed. Peak memory: the features once, plus one chunk a worker, plus what
 * the algorithm's state needs (12 bytes a row), plus at most 64 MB while probabilities are
 * evaluated. Codes of an autoencoder come on top when a head still needs the features. */
enum seg_status seg_train(struct seg_pool *pool, const struct seg_training *t,
                          struct seg_model **ret_model, struct seg_report *ret_report,
                          struct seg_error *err);

#endif
