/* pipeline_segmentation.c - finding segments: an autoencoder where the algorithm has one, clusters
 * of its codes or of the preprocessed columns, and a head that learns the segments found. */
#include "model/pipeline_private.h"

#include <string.h>
#include "base/alloc.h"

/* How the time of fitting divides, roughly; steps that a spec leaves out count nothing. */
#define WEIGHT_AUTOENCODER 5.0
#define WEIGHT_KMEANS      2.0
#define WEIGHT_HEAD        3.0

/* The same numbers as a new array of classes. NULL: no memory. */
static uint16_t *classes_of(const uint32_t *label, size_t n)
{
    uint16_t *y = seg_alloc(n, sizeof(*y));
    for (size_t i = 0; y != NULL && i < n; i++)
        y[i] = (uint16_t)label[i];
    return y;
}

/* The truth that the head learns: the nearest segment of the rows of a part, as p->y[part]. */
static enum seg_status label_for_head(struct pipeline *p, enum seg_part part)
{
    uint32_t *label = pipeline_label_part(p, part);
    if (label == NULL) return SEG_ENOMEM;
    p->y[part] = classes_of(label, p->space[part].n_rows);
    seg_free(label);
    return p->y[part] != NULL ? SEG_OK : SEG_ENOMEM;
}

/* What the head reads of a part: its rows, or a new tiles of them in `embedded`. */
static enum seg_status head_rows(struct pipeline *p, enum seg_part part, struct seg_tiles *embedded,
                                 const struct seg_tiles **ret_x)
{
    *ret_x = &p->x[part];
    if (p->model->mixed.n_cols == 0) return SEG_OK;
    *ret_x = embedded;
    return seg_mixed_embed_rows(p->pool, &p->x[part], &p->model->mixed, MODEL_NETWORK_ON, embedded);
}

static enum seg_status fit_head(struct pipeline *p, const struct seg_progress *progress,
                                struct seg_error *err)
{
    uint32_t k = (uint32_t)p->model->centroids.n_rows;
    struct seg_train_params params = p->spec->mlp;
    struct seg_tiles embedded[2] = { 0 };
    const struct seg_tiles *x, *x_validation;
    if (k < 2) return pipeline_warn(p, "no head was trained: there is only one segment");

    if (pipeline_resumed(p) != NULL && p->t->from->network.n_layers > 0)
        params.start = &p->t->from->network;
    enum seg_status st = label_for_head(p, SEG_PART_TRAIN);
    if (st == SEG_OK) st = label_for_head(p, SEG_PART_VALIDATION);
    if (st != SEG_OK) return st;
    seg_tiles_release(&p->codes[SEG_PART_VALIDATION]);
    if (pipeline_evaluated_part(p) != SEG_PART_TRAIN) seg_tiles_release(&p->codes[SEG_PART_TRAIN]);
    st = head_rows(p, SEG_PART_TRAIN, &embedded[0], &x);
    if (st == SEG_OK) st = head_rows(p, SEG_PART_VALIDATION, &embedded[1], &x_validation);
    if (st == SEG_OK)
        st = seg_classifier_fit(p->pool, x, p->y[SEG_PART_TRAIN], x_validation,
                                p->y[SEG_PART_VALIDATION], k, &params, progress, &p->model->network,
                                &p->report.network_curve, err);
    seg_tiles_release(&embedded[0]);
    seg_tiles_release(&embedded[1]);
    return st;
}

/* The autoencoder, if there is one, and then the clusters in its codes. */
static enum seg_status fit_clusters(struct pipeline *p, struct steps *steps, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    struct seg_train_params network = spec->autoencoder;
    struct stage stage;

    if (seg_algorithm_info(spec->algorithm)->encoder) {
        if (p->t->from != NULL) network.start = &p->t->from->autoencoder;
        step_begin(&stage, p, steps, WEIGHT_AUTOENCODER);
        enum seg_status st =
            seg_autoencoder_fit(p->pool, &p->x[SEG_PART_TRAIN], &p->x[SEG_PART_VALIDATION],
                                spec->encoder, spec->n_encoder, &network, &stage.as,
                                &p->model->autoencoder, &p->report.autoencoder_curve, err);
        if (st == SEG_OK) st = pipeline_encode_parts(p);
        if (st != SEG_OK) return st;
    }
    step_begin(&stage, p, steps, WEIGHT_KMEANS);
    return pipeline_cluster(p, &stage, err);
}

enum seg_status pipeline_fit_segments(struct pipeline *p, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    bool has_encoder = seg_algorithm_info(spec->algorithm)->encoder;
    bool deep = spec->algorithm == SEG_DEEP_CLUSTERING;
    struct steps steps = { .sum = deep ? PIPELINE_DEEP_WEIGHT : WEIGHT_KMEANS };
    struct stage stage;

    steps.sum += has_encoder && !deep ? WEIGHT_AUTOENCODER : 0.0;
    steps.sum += spec->has_head ? WEIGHT_HEAD : 0.0;
    p->space = p->x;
    enum seg_status st = deep ? pipeline_fit_deep(p, &steps, err) : fit_clusters(p, &steps, err);
    if (st != SEG_OK || !spec->has_head) return st;
    step_begin(&stage, p, &steps, WEIGHT_HEAD);
    return fit_head(p, &stage.as, err);
}

enum seg_status pipeline_evaluate_segments(struct pipeline *p, struct seg_error *err)
{
    enum seg_part part = pipeline_evaluated_part(p);
    size_t n = p->space[part].n_rows;
    uint16_t *truth = NULL; /* (n) nearest segment, for the head */
    struct stage stage;

    uint32_t *label = pipeline_label_part(p, part);
    if (label == NULL) return SEG_ENOMEM;
    stage_begin(&stage, p, FRACTION_FITTED, 0.8 * (1.0 - FRACTION_FITTED), "evaluating");
    seg_progress_report(&stage.as, 0.0, "quality of the segments");
    const struct seg_model *m = p->model;
    enum seg_status st =
        m->mixed.n_cols > 0
            ? seg_cluster_quality_mixed(p->pool, &p->space[part], &m->mixed, label, m->n_results,
                                        SEG_SILHOUETTE_EXACT_MAX, p->spec->seed, &stage.as,
                                        &p->report.quality)
            : seg_cluster_quality(p->pool, &p->space[part], label, m->n_results,
                                  SEG_SILHOUETTE_EXACT_MAX, p->spec->seed, &stage.as,
                                  &p->report.quality);
    if (st != SEG_OK || p->model->network.n_layers == 0) goto out;

    truth = classes_of(label, n);
    seg_free(label);
    label = NULL;
    if (truth == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    seg_tiles_release(&p->codes[part]);
    stage_begin(&stage, p, FRACTION_FITTED + stage.span, 0.2 * (1.0 - FRACTION_FITTED),
                "evaluating");
    seg_progress_report(&stage.as, 0.0, "the head");
    st = pipeline_evaluate_probabilities(p, part, truth, err);
out:
    seg_free(truth);
    seg_free(label);
    return st;
}
