/* model_seal.c - do the parts of a model fit together? Whatever a file or a training run has put
 * into it, nothing that passes here can make scoring read out of bounds or give NaN. */
#include "model/model_private.h"

#include <math.h>
#include <string.h>
#include "evaluate/classification.h"

/* What is wrong with a network that should read n_in columns and make n_out; NULL if nothing. */
static const char *network_fault(const struct seg_network *net, size_t n_in, size_t n_out)
{
    if (net->n_in != n_in) return "its inputs are not the columns it should read";
    if (net->n_out != n_out) return "its outputs are not the results";
    for (uint32_t l = 0; l < net->n_layers; l++) {
        const struct seg_matrix *w = &net->layers[l].weights;
        size_t n_first = net->embeddings.n > 0 ? net->embeddings.n_out : n_in;
        if (w->n_cols != (l == 0 ? n_first : net->layers[l - 1].weights.n_rows))
            return "its layers do not fit together";
        for (size_t i = 0; i < w->n_rows * w->n_cols; i++)
            if (!isfinite(w->data[i])) return "a weight is not finite";
        for (size_t i = 0; i < w->n_rows; i++)
            if (!isfinite(net->layers[l].bias[i])) return "a bias is not finite";
        for (size_t i = 0; net->layers[l].gain != NULL && i < w->n_rows; i++)
            if (!isfinite(net->layers[l].gain[i]) || !isfinite(net->layers[l].shift[i]))
                return "a gain or shift is not finite";
    }
    return NULL;
}

/* The columns that hold codes, and those alone, have an embedding with a vector for each code. */
static const char *embeddings_fault(const struct seg_model *m)
{
    const struct seg_embeddings *e = &m->network.embeddings;
    uint32_t n = 0;
    for (uint32_t c = 0; c < m->n_inputs; c++) {
        const uint32_t n_codes = seg_preprocess_out_codes(m->preprocess, c);
        if (n_codes == 0) continue;
        if (n == e->n || e->shapes[n].column != c || e->shapes[n].n_codes != n_codes)
            return "its embeddings are not of the columns that hold codes";
        n++;
    }
    if (n != e->n) return "its embeddings are not of the columns that hold codes";
    for (size_t i = 0; i < e->n_params; i++)
        if (!isfinite(e->params[i])) return "an embedding is not finite";
    return NULL;
}

static enum seg_status seal_classifier(struct seg_model *m, enum seg_status fault,
                                       struct seg_error *err)
{
    if (m->n_classes < 2 || m->n_classes > SEG_CLASSES_MAX)
        return seg_fail(err, fault, "a classifier has 2 to %u classes, not %u", SEG_CLASSES_MAX,
                        m->n_classes);
    for (uint32_t i = 1; i < m->n_classes; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(m->class_names[i], m->class_names[j]) == 0)
                return seg_fail(err, fault, "two classes are called \"%s\"", m->class_names[i]);
    if (m->network.n_layers == 0) return seg_fail(err, fault, "the classifier has no network");
    const char *wrong = network_fault(&m->network, m->n_inputs, m->n_classes);
    if (wrong == NULL) wrong = embeddings_fault(m);
    if (wrong != NULL) return seg_fail(err, fault, "classifier: %s", wrong);
    m->n_results = m->n_classes;
    return SEG_OK;
}

/* Whether every category of every centroid is one that there is. */
static enum seg_status seal_categories(const struct seg_model *m, enum seg_status fault,
                                       struct seg_error *err)
{
    const struct seg_mixed *space = &m->mixed;
    if (space->n_cols == 0 || space->n_categories == 0)
        return seg_fail(err, fault, "there is no category to compare");
    if (!((double)space->weight >= 0 && (double)space->weight <= SEG_MIXED_WEIGHT_MAX))
        return seg_fail(err, fault, "the weight of categories is %g (limit 0..%g)",
                        (double)space->weight, SEG_MIXED_WEIGHT_MAX);
    for (uint32_t j = 0; j < m->n_results; j++)
        for (uint32_t i = 0; i < space->n_categories; i++) {
            float code = seg_matrix_row(&m->centroids, j)[space->categories[i]];
            if (!(code >= 0 && code < (float)space->n_codes[i] && code == floorf(code)))
                return seg_fail(err, fault, "a centroid's category is %g (limit 0..%u)",
                                (double)code, space->n_codes[i] - 1);
        }
    return SEG_OK;
}

static enum seg_status seal_segments(struct seg_model *m, enum seg_status fault,
                                     struct seg_error *err)
{
    const struct seg_matrix *c = &m->centroids;
    const char *wrong = NULL;

    m->n_space = m->n_inputs;
    if (seg_algorithm_info(m->algorithm)->encoder) {
        const struct seg_network *ae = &m->autoencoder;
        if (ae->n_layers < 2 || ae->n_layers % 2 != 0)
            return seg_fail(err, fault, "the autoencoder has %u layers, not an even number >= 2",
                            ae->n_layers);
        wrong = network_fault(ae, m->n_inputs, m->n_inputs);
        if (wrong != NULL) return seg_fail(err, fault, "autoencoder: %s", wrong);
        m->n_encoder = ae->n_layers / 2;
        m->n_space = (uint32_t)ae->layers[m->n_encoder - 1].weights.n_rows;
        m->soft = m->algorithm == SEG_DEEP_CLUSTERING;
    }
    if (c->n_rows < 1 || c->n_rows > SEG_K_MAX)
        return seg_fail(err, fault, "a segmentation has 1 to %u segments, not %zu", SEG_K_MAX,
                        c->n_rows);
    if (c->n_cols != m->n_space)
        return seg_fail(err, fault, "centroids have %zu columns instead of %u", c->n_cols,
                        m->n_space);
    m->n_results = (uint32_t)c->n_rows;
    for (size_t i = 0; i < c->n_rows * c->n_cols; i++)
        if (!(fabsf(c->data[i]) <= MODEL_VALUE_MAX))
            return seg_fail(err, fault, "a centroid's coordinate is %g (limit %g): scale features",
                            (double)c->data[i], (double)MODEL_VALUE_MAX);
    for (uint32_t i = 0; i < m->n_results; i++) {
        if (m->segment_ids[i] == 0) return seg_fail(err, fault, "a segment's id is 0");
        for (uint32_t j = 0; j < i; j++)
            if (m->segment_ids[i] == m->segment_ids[j])
                return seg_fail(err, fault, "two segments have the id %u", m->segment_ids[i]);
    }
    if (m->mixture.k > 0 && (m->mixture.k != m->n_results || m->mixture.d != m->n_space))
        return seg_fail(err, fault,
                        "the mixture has %u components of %u columns instead of %u of %u",
                        m->mixture.k, m->mixture.d, m->n_results, m->n_space);
    if (seg_algorithm_info(m->algorithm)->categories) {
        enum seg_status st = seal_categories(m, fault, err);
        if (st != SEG_OK) return st;
        m->n_network = seg_mixed_width(&m->mixed);
    }
    if (m->autoencoder.embeddings.n > 0 || m->network.embeddings.n > 0)
        return seg_fail(err, fault, "only a classifier has embeddings");
    if (m->network.n_layers > 0) wrong = network_fault(&m->network, m->n_network, m->n_results);
    if (wrong != NULL) return seg_fail(err, fault, "head: %s", wrong);
    return SEG_OK;
}

enum seg_status model_seal(struct seg_model *m, enum seg_status fault, struct seg_error *err)
{
    m->task = seg_algorithm_info(m->algorithm)->task;
    m->n_inputs = m->n_network = seg_preprocess_n_out(m->preprocess);
    if (m->n_inputs == 0) return seg_fail(err, fault, "preprocessing makes no column");
    if (!(m->min_features_share >= 0 && m->min_features_share <= 1))
        return seg_fail(err, fault, "min_features_share is %g, not 0..1", m->min_features_share);

    enum seg_status st = m->task == SEG_CLASSIFICATION ? seal_classifier(m, fault, err)
                                                       : seal_segments(m, fault, err);
    if (st != SEG_OK) return st;

    /* By division as the rule is written: rounding then favours nobody (1 of 10 is a share of 0.1).
     */
    uint32_t n_features = seg_preprocess_inputs(m->preprocess)->n_features;
    while (m->n_present_min < n_features &&
           (double)m->n_present_min / n_features < m->min_features_share)
        m->n_present_min++;
    if (m->network.n_layers > 0) m->n_network_scratch = seg_network_scratch(&m->network);
    if (m->n_encoder > 0) {
        size_t n = seg_network_scratch(&m->autoencoder);
        if (n > m->n_network_scratch) m->n_network_scratch = n;
    }
    if (m->mixture.k > 0) m->n_mixture_scratch = seg_gmm_scratch(&m->mixture);
    m->kernels = seg_kernels_brief();
    return SEG_OK;
}
