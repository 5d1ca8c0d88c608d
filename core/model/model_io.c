/* model_io.c - a model as safetensors, and back.
 * Metadata: format "segmentd-model-1", or -2 where a reader of 1 would misread it; kind, the
 * algorithm's name; and what the caller adds. Tensors, beside those of the preprocessing
 * ("preprocess.…"):
 *   min_features_share  F64 (1)     share of the features that a row must have
 *   segments.ids        U32 (k)     segmentation: id of each result
 *   segments.centroids  F32 (k, d)  segmentation: d columns of the preprocessing or of the code
 *   segments.category_weight  F64 (1)  k_prototypes: what a category that differs counts
 *   mixture.…           mixture     gmm: .covariance, .means (the centroids), .factors, .weights
 *   autoencoder.…       network     with an encoder: first half encodes, second half decodes
 *   head.…              network     segmentation with a head: preprocessed columns to k logits
 *   classes.names       strings     classification
 *   classifier.…        network     classification: preprocessed columns to logits of the classes
 * A network is <prefix>.sizes, .activations, .<layer>.weights and .<layer>.bias. */
#include "model/model_private.h"

#include <string.h>
#include "base/alloc.h"

static const char FORMAT_1[] = "segmentd-model-1", FORMAT_2[] = "segmentd-model-2";

static enum seg_status save_segments(const struct seg_model *m, struct seg_tensors *ts)
{
    const size_t shape[] = { m->centroids.n_rows, m->centroids.n_cols };
    enum seg_status st =
        seg_tensors_add_vector(ts, "segments.ids", SEG_U32, m->n_results, m->segment_ids);
    if (st == SEG_OK)
        st = seg_tensors_add(ts, "segments.centroids", SEG_F32, 2, shape, m->centroids.data);
    const double weight = seg_model_category_weight(m);
    if (st == SEG_OK && m->mixed.n_cols > 0)
        st = seg_tensors_add_vector(ts, "segments.category_weight", SEG_F64, 1, &weight);
    if (st == SEG_OK && m->mixture.k > 0) st = seg_gmm_save(&m->mixture, "mixture", ts);
    if (st == SEG_OK && m->n_encoder > 0) st = seg_network_save(&m->autoencoder, "autoencoder", ts);
    if (st == SEG_OK && m->network.n_layers > 0) st = seg_network_save(&m->network, "head", ts);
    return st;
}

static enum seg_status save_classifier(const struct seg_model *m, struct seg_tensors *ts)
{
    enum seg_status st = seg_tensors_add_strings(ts, "classes.names",
                                                 (const char *const *)m->class_names, m->n_classes);
    return st == SEG_OK ? seg_network_save(&m->network, "classifier", ts) : st;
}

enum seg_status seg_model_save(const struct seg_model *m, const char *const *meta,
                               uint8_t **ret_bytes, size_t *ret_len)
{
    struct seg_tensors ts;
    enum seg_status st = SEG_OK;

    seg_tensors_init(&ts);
    for (; st == SEG_OK && meta != NULL && meta[0] != NULL; meta += 2)
        st = seg_tensors_set_meta(&ts, meta[0], meta[1]);
    if (st == SEG_OK)
        st = seg_tensors_set_meta(
            &ts, "format", seg_preprocess_needs_format_2(m->preprocess) ? FORMAT_2 : FORMAT_1);
    if (st == SEG_OK)
        st = seg_tensors_set_meta(&ts, "kind", seg_algorithm_info(m->algorithm)->name);
    if (st == SEG_OK) st = seg_preprocess_save(m->preprocess, &ts);
    if (st == SEG_OK)
        st = seg_tensors_add_vector(&ts, "min_features_share", SEG_F64, 1, &m->min_features_share);
    if (st == SEG_OK)
        st = m->task == SEG_CLASSIFICATION ? save_classifier(m, &ts) : save_segments(m, &ts);
    if (st == SEG_OK) st = seg_tensors_write(&ts, ret_bytes, ret_len);
    seg_tensors_release(&ts);
    return st;
}

static enum seg_status load_segments(const struct seg_tensors *ts, struct seg_model *m,
                                     struct seg_error *err)
{
    const struct seg_tensor *c = seg_tensors_find(ts, "segments.centroids");
    const void *ids;

    if (c == NULL || c->dtype != SEG_F32 || c->n_dims != 2 || c->shape[0] == 0 ||
        c->shape[0] > SEG_K_MAX || c->shape[1] == 0)
        return seg_fail(err, SEG_EFORMAT, "segments.centroids is not a matrix of 1 to %u rows",
                        SEG_K_MAX);
    enum seg_status st = seg_tensors_expect(ts, "segments.ids", SEG_U32, c->shape[0], &ids, err);
    if (st == SEG_OK) st = seg_matrix_init(&m->centroids, c->shape[0], c->shape[1]);
    if (st != SEG_OK) return st;
    memcpy(m->centroids.data, c->data, c->n_bytes);

    m->segment_ids = seg_alloc(c->shape[0], sizeof(*m->segment_ids));
    if (m->segment_ids == NULL) return SEG_ENOMEM;
    memcpy(m->segment_ids, ids, c->shape[0] * sizeof(*m->segment_ids));

    if (seg_algorithm_info(m->algorithm)->categories) {
        const void *weight;
        double value;
        st = seg_tensors_expect(ts, "segments.category_weight", SEG_F64, 1, &weight, err);
        if (st != SEG_OK) return st;
        memcpy(&value, weight, sizeof(value));
        if (!(value >= 0 && value <= SEG_MIXED_WEIGHT_MAX))
            return seg_fail(err, SEG_EFORMAT, "segments.category_weight is %g (limit 0..%g)", value,
                            SEG_MIXED_WEIGHT_MAX);
        st = model_mixed_init(m, value);
        if (st != SEG_OK) return st;
    }
    if (m->algorithm == SEG_GMM) st = seg_gmm_load(ts, "mixture", &m->mixture, err);
    if (st == SEG_OK && seg_algorithm_info(m->algorithm)->encoder)
        st = seg_network_load(ts, "autoencoder", &m->autoencoder, err);
    if (st == SEG_OK && seg_tensors_find(ts, "head.sizes") != NULL)
        st = seg_network_load(ts, "head", &m->network, err);
    return st;
}

static enum seg_status load_classifier(const struct seg_tensors *ts, struct seg_model *m,
                                       struct seg_error *err)
{
    const char **names = NULL; /* borrowed from ts */
    size_t n = 0;

    enum seg_status st = seg_tensors_strings(ts, "classes.names", &names, &n, err);
    if (st != SEG_OK) return st;
    if (n > UINT32_MAX) {
        st = seg_fail(err, SEG_EFORMAT, "too many classes: %zu", n);
        goto out;
    }
    m->class_names = seg_calloc(n, sizeof(*m->class_names));
    if (m->class_names == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    m->n_classes = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        m->class_names[i] = seg_strdup(names[i]);
        if (m->class_names[i] == NULL) {
            st = SEG_ENOMEM;
            goto out;
        }
    }
    st = seg_network_load(ts, "classifier", &m->network, err);
out:
    seg_free(names);
    return st;
}

enum seg_status seg_model_load(const uint8_t *bytes, size_t len, struct seg_model **ret_m,
                               struct seg_error *err)
{
    struct seg_tensors ts;
    struct seg_model *m = NULL;

    seg_tensors_init(&ts);
    enum seg_status st = seg_tensors_read(bytes, len, &ts, err);
    if (st != SEG_OK) goto out;

    const char *format = seg_tensors_meta(&ts, "format");
    const char *kind = seg_tensors_meta(&ts, "kind");
    if (format == NULL || (strcmp(format, FORMAT_1) != 0 && strcmp(format, FORMAT_2) != 0)) {
        st = seg_fail(err, SEG_EFORMAT, "format is \"%.40s\" instead of \"%s\" or \"%s\"",
                      format != NULL ? format : "", FORMAT_1, FORMAT_2);
        goto out;
    }
    int algorithm = kind != NULL ? seg_algorithm_from_name(kind) : -1;
    if (algorithm < 0) {
        st = seg_fail(err, SEG_EFORMAT, "unknown kind of model: \"%.40s\"",
                      kind != NULL ? kind : "");
        goto out;
    }
    m = model_new();
    if (m == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    m->algorithm = (enum seg_algorithm)algorithm;
    const void *share;
    st = seg_tensors_expect(&ts, "min_features_share", SEG_F64, 1, &share, err);
    if (st != SEG_OK) goto out;
    memcpy(&m->min_features_share, share, sizeof(m->min_features_share));
    st = seg_preprocess_load(&ts, &m->preprocess, err);
    if (st == SEG_OK)
        st = seg_algorithm_info(m->algorithm)->task == SEG_CLASSIFICATION
                 ? load_classifier(&ts, m, err)
                 : load_segments(&ts, m, err);
    if (st == SEG_OK) st = model_seal(m, SEG_EFORMAT, err);
    if (st != SEG_OK) goto out;
    *ret_m = m;
    m = NULL;
out:
    seg_model_unref(m);
    seg_tensors_release(&ts);
    return st;
}
