/* pipeline_from.c - whether an earlier model can be gone on from. */
#include <string.h>
#include "model/pipeline_private.h"

/* sizes (n): layers that are to be those of the earlier encoder, all of them if exact. */
static enum seg_status check_encoder(const uint32_t *sizes, uint32_t n, bool exact,
                                     const struct seg_model *from, struct seg_error *err)
{
    bool same = exact ? n == from->n_encoder : n >= from->n_encoder;
    for (uint32_t i = 0; i < from->n_encoder && same; i++)
        same = sizes[i] == from->autoencoder.layers[i].weights.n_rows;
    return same ? SEG_OK
                : seg_fail(err, SEG_EINVAL, "the earlier encoder has layers of other sizes");
}

/* With the earlier encoder alone. */
static enum seg_status check_beginning(const struct seg_spec *spec, const struct seg_model *from,
                                       struct seg_error *err)
{
    const struct seg_algorithm_info *algorithm = seg_algorithm_info(spec->algorithm);
    if (!seg_algorithm_takes_encoder(spec->algorithm))
        return seg_fail(err, SEG_EINVAL, "%s has no encoder", algorithm->name);
    if (!seg_algorithm_info(from->algorithm)->encoder)
        return seg_fail(err, SEG_EINVAL, "the earlier model has no encoder");
    if (algorithm->encoder) return check_encoder(spec->encoder, spec->n_encoder, true, from, err);
    if (spec->search_trials > 0)
        return seg_fail(err, SEG_EINVAL,
                        "a search draws layers and cannot begin with an earlier encoder");
    return check_encoder(spec->mlp.hidden, spec->mlp.n_hidden, false, from, err);
}

static enum seg_status check_segments(const struct pipeline *p, const struct seg_model *from,
                                      struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    if (spec->k_auto)
        return seg_fail(err, SEG_EINVAL,
                        "a warm start has the segments of the earlier model: k "
                        "cannot be chosen");
    if (spec->kmeans.k != from->n_results)
        return seg_fail(err, SEG_EINVAL, "k is %u but the earlier model has %u segments",
                        spec->kmeans.k, from->n_results);
    if (spec->algorithm == SEG_GMM && spec->gmm.covariance != from->mixture.covariance)
        return seg_fail(err, SEG_EINVAL, "the earlier mixture has another kind of covariance");
    return seg_algorithm_info(spec->algorithm)->encoder
               ? check_encoder(spec->encoder, spec->n_encoder, true, from, err)
               : SEG_OK;
}

static enum seg_status check_class_names(const struct pipeline *p, const struct seg_model *from,
                                         struct seg_error *err)
{
    const struct seg_training *t = p->t;
    if (p->spec->search_trials > 0 || p->spec->cv_folds > 0)
        return seg_fail(err, SEG_EINVAL,
                        "a search or cross-validation cannot go on from an earlier model");
    if (t->n_classes != from->n_classes)
        return seg_fail(err, SEG_EINVAL, "the target has %u classes but the earlier model %u",
                        t->n_classes, from->n_classes);
    for (uint32_t i = 0; i < t->n_classes; i++)
        if (strcmp(t->class_names[i], from->class_names[i]) != 0)
            return seg_fail(err, SEG_EINVAL, "the earlier model does not know class \"%s\"",
                            t->class_names[i]);
    return SEG_OK;
}

enum seg_status pipeline_check_from(const struct pipeline *p, struct seg_error *err)
{
    const struct seg_model *from = p->t->from;
    const struct seg_algorithm_info *algorithm = seg_algorithm_info(p->spec->algorithm);
    if (from == NULL) return SEG_OK;
    if (p->t->encoder_only) return check_beginning(p->spec, from, err);
    if (from->algorithm != p->spec->algorithm)
        return seg_fail(err, SEG_EINVAL, "the earlier model is a %s, not a %s",
                        seg_algorithm_info(from->algorithm)->name, algorithm->name);
    if (!algorithm->resumes)
        return seg_fail(err, SEG_EINVAL, "%s cannot go on from an earlier model", algorithm->name);
    return from->task == SEG_CLASSIFICATION ? check_class_names(p, from, err)
                                            : check_segments(p, from, err);
}
