/* model.c - what a model says about itself, and scoring.
 * Scoring uses the tile kernels alone, never BLAS, whose sums depend on the shape of the batch: a
 * row alone and the same row in a batch get the same bits. Numbers that leave the range of a float
 * on the way are clamped, so that no input and no stored weight can bring a NaN out. */
#include "model/model_private.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/tiles.h"
#include "evaluate/classification.h"
#include "neural/soft_clusters.h"

/* Logits are clamped to this: differences of two stay finite, and exp of any is 0 or 1. */
#define LOGIT_MAX 1e30f

struct seg_model *model_new(void)
{
    struct seg_model *m = seg_calloc(1, sizeof(*m));
    if (m == NULL) return NULL;
    atomic_init(&m->n_refs, 1);
    return m;
}

struct seg_model *seg_model_ref(struct seg_model *m)
{
    atomic_fetch_add_explicit(&m->n_refs, 1, memory_order_relaxed);
    return m;
}

void seg_model_unref(struct seg_model *m)
{
    /* Release our reads before the count falls, acquire everybody's before the memory goes. */
    if (m == NULL || atomic_fetch_sub_explicit(&m->n_refs, 1, memory_order_acq_rel) != 1) return;
    seg_preprocess_free(m->preprocess);
    seg_network_release(&m->autoencoder);
    seg_matrix_release(&m->centroids);
    seg_gmm_release(&m->mixture);
    seg_mixed_release(&m->mixed);
    seg_free(m->segment_ids);
    seg_network_release(&m->network);
    for (uint32_t i = 0; m->class_names != NULL && i < m->n_classes; i++)
        seg_free(m->class_names[i]);
    seg_free(m->class_names);
    seg_free(m);
}

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

enum seg_status model_mixed_init(struct seg_model *m, double weight)
{
    const uint32_t n = seg_preprocess_n_out(m->preprocess);
    uint32_t *n_codes = seg_alloc(n, sizeof(*n_codes));
    if (n_codes == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        n_codes[i] = seg_preprocess_out_codes(m->preprocess, i);
    enum seg_status st = seg_mixed_init(&m->mixed, n_codes, n);
    m->mixed.weight = (float)weight;
    seg_free(n_codes);
    return st;
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
    m->kernels = seg_kernels_get();
    return SEG_OK;
}

enum seg_task seg_model_task(const struct seg_model *m)
{
    return m->task;
}

enum seg_algorithm seg_model_algorithm(const struct seg_model *m)
{
    return m->algorithm;
}

const struct seg_schema *seg_model_inputs(const struct seg_model *m)
{
    return seg_preprocess_inputs(m->preprocess);
}

const struct seg_preprocess *seg_model_preprocess(const struct seg_model *m)
{
    return m->preprocess;
}

double seg_model_min_features_share(const struct seg_model *m)
{
    return m->min_features_share;
}

uint32_t seg_model_n_results(const struct seg_model *m)
{
    return m->n_results;
}

uint32_t seg_model_segment_id(const struct seg_model *m, uint32_t result)
{
    assert(m->task == SEG_SEGMENTATION && result < m->n_results);
    return m->segment_ids[result];
}

const char *seg_model_class_name(const struct seg_model *m, uint32_t i)
{
    assert(i < m->n_results);
    return m->class_names != NULL ? m->class_names[i] : NULL;
}

double seg_model_category_weight(const struct seg_model *m)
{
    return m->mixed.n_cols > 0 ? (double)m->mixed.weight : (double)NAN;
}

uint32_t seg_model_n_pictured(const struct seg_model *m)
{
    return m->mixed.n_cols > 0 ? seg_mixed_width(&m->mixed) : m->n_inputs;
}

void seg_model_pictured_name(const struct seg_model *m, uint32_t i, char *out, size_t size)
{
    const struct seg_mixed *mixed = &m->mixed;
    uint32_t category = 0, column = i;
    if (mixed->n_cols > 0 && i < mixed->n_numbers) column = mixed->numbers[i];
    if (mixed->n_cols == 0 || i < mixed->n_numbers) {
        snprintf(out, size, "%s", seg_preprocess_out_name(m->preprocess, column));
        return;
    }
    i -= mixed->n_numbers;
    while (i >= mixed->first_code[category + 1])
        category++;
    i -= mixed->first_code[category];
    column = mixed->categories[category];
    const struct seg_dictionary *d =
        &seg_model_inputs(m)
             ->features[seg_preprocess_column_feature(m->preprocess, column)]
             .dictionary;
    snprintf(out, size, "%s=%s", seg_preprocess_out_name(m->preprocess, column),
             i < d->n ? d->strings[i] : "(other)");
}

bool seg_model_has_probabilities(const struct seg_model *m)
{
    return m->network.n_layers > 0 || m->mixture.k > 0 || m->soft;
}

bool seg_model_has_distance(const struct seg_model *m)
{
    return m->task == SEG_SEGMENTATION;
}

/* The first n_rows rows of x (n_cols, 64), at least. */
static void clamp_rows(float *x, size_t n_cols, unsigned n_rows, float max)
{
    const size_t n = seg_tile_lanes(n_rows);
    const struct seg_kernels *k = seg_kernels_get();
    for (size_t c = 0; c < n_cols; c++)
        k->clamp(x + c * SEG_TILE_ROWS, n, max);
}

/* c (k, n_code) -> ret (k, n_inputs) by the second half of the autoencoder. */
static enum seg_status decode(const struct seg_model *m, struct seg_matrix *ret_c)
{
    const struct seg_network *ae = &m->autoencoder;
    struct seg_tiles codes = { 0 };
    struct seg_tiles decoded;
    struct seg_matrix c = { 0 };
    float *scratch = NULL;

    seg_tiles_init(&decoded, m->n_inputs);
    enum seg_status st =
        seg_tiles_from_rows(&codes, m->centroids.data, m->centroids.n_rows, m->n_space);
    if (st == SEG_OK) st = seg_tiles_grow(&decoded, codes.n_rows);
    if (st == SEG_OK) st = seg_matrix_init(&c, codes.n_rows, m->n_inputs);
    if (st != SEG_OK) goto out;
    scratch = seg_alloc_aligned(seg_network_scratch(ae), sizeof(float));
    if (scratch == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    for (size_t i = 0; i < seg_tiles_count(&codes); i++) {
        float *tile = seg_tiles_at(&decoded, i);
        seg_network_forward(ae, m->n_encoder, ae->n_layers, seg_tiles_at(&codes, i), tile, scratch);
        clamp_rows(tile, m->n_inputs, SEG_TILE_ROWS, MODEL_VALUE_MAX);
    }
    for (size_t row = 0; row < c.n_rows; row++)
        seg_tiles_get_row(&decoded, row, seg_matrix_row(&c, row));
    *ret_c = c;
    c = (struct seg_matrix){ 0 };
out:
    seg_free(scratch);
    seg_matrix_release(&c);
    seg_tiles_release(&decoded);
    seg_tiles_release(&codes);
    return st;
}

enum seg_status seg_model_centroids(const struct seg_model *m, struct seg_matrix *ret_c)
{
    if (m->task != SEG_SEGMENTATION) return SEG_EINVAL;
    return m->n_encoder > 0 ? decode(m, ret_c) : seg_matrix_copy(ret_c, &m->centroids);
}

void model_encode_tile(const struct seg_network *autoencoder, const float *x, float *code,
                       float *scratch)
{
    uint32_t n_encoder = autoencoder->n_layers / 2;
    seg_network_forward(autoencoder, 0, n_encoder, x, code, scratch);
    clamp_rows(code, autoencoder->layers[n_encoder - 1].weights.n_rows, SEG_TILE_ROWS,
               MODEL_VALUE_MAX);
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

size_t model_prepared_scratch(const struct seg_model *m)
{
    size_t code = m->n_encoder > 0 ? m->n_space : 0;
    size_t logits = seg_model_has_probabilities(m) ? m->n_results : 0;
    size_t embedded = m->network.n_layers > 0 && m->mixed.n_cols > 0 ? m->n_network : 0;
    return (code + logits + embedded) * SEG_TILE_ROWS +
           max_size(max_size(m->n_network_scratch, m->n_mixture_scratch), SEG_TILE_ROWS);
}

size_t seg_model_scratch(const struct seg_model *m)
{
    return (size_t)m->n_inputs * SEG_TILE_ROWS +
           max_size(model_prepared_scratch(m), seg_preprocess_scratch(m->preprocess));
}

/* The nearest centroid decides. z (n_space, 64) */
static void score_by_distance(const struct seg_model *m, const float *z, unsigned n_rows,
                              struct seg_scores *out)
{
    uint32_t label[SEG_TILE_ROWS];
    float dist2[SEG_TILE_ROWS], second2[SEG_TILE_ROWS];

    if (m->mixed.n_cols > 0)
        seg_mixed_nearest(&m->mixed, z, m->centroids.data, m->n_results, label, dist2, second2);
    else
        m->kernels->nearest(z, m->n_space, m->centroids.data, m->n_results, label, dist2, second2);
    for (unsigned r = 0; r < n_rows; r++) {
        out->result[r] = label[r];
        out->distance[r] = sqrtf(dist2[r]);
        bool alone = m->n_results == 1 || second2[r] == 0.0f;
        out->confidence[r] = alone ? 1.0f : 1.0f - out->distance[r] / sqrtf(second2[r]);
    }
}

/* The nearest centroid decides here too; q (n_results, 64) is to which degree. */
static void score_by_degrees(const struct seg_model *m, const float *z, unsigned n_rows, float *q,
                             struct seg_scores *out)
{
    uint32_t label[SEG_TILE_ROWS];
    float dist2[SEG_TILE_ROWS];

    seg_soft_assign(m->kernels, z, &m->centroids, q, label, dist2);
    if (out->probabilities != NULL)
        memcpy(out->probabilities, q, (size_t)m->n_results * SEG_TILE_ROWS * sizeof(float));
    for (unsigned r = 0; r < n_rows; r++) {
        out->result[r] = label[r];
        out->confidence[r] = q[label[r] * SEG_TILE_ROWS + r];
        out->distance[r] = sqrtf(dist2[r]);
    }
}

void model_mixture_tile(const struct seg_model *m, const float *z, float *scratch,
                        uint32_t label[SEG_TILE_ROWS])
{
    uint32_t k = m->mixture.k;
    float *joint = scratch; /* (k, 64) */
    seg_gmm_score_tile(&m->mixture, seg_kernels_get(), z, scratch + (size_t)k * SEG_TILE_ROWS,
                       joint);
    for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
        label[r] = 0;
        for (uint32_t i = 1; i < k; i++)
            if (joint[i * SEG_TILE_ROWS + r] > joint[label[r] * SEG_TILE_ROWS + r]) label[r] = i;
    }
}

/* Logits decide, of a network or a mixture: logits (n_results, 64) to probabilities in place. */
static void score_by_logits(const struct seg_model *m, float *logits, unsigned n_rows,
                            struct seg_scores *out)
{
    clamp_rows(logits, m->n_results, n_rows, LOGIT_MAX);
    m->kernels->softmax(logits, m->n_results);
    if (out->probabilities != NULL)
        memcpy(out->probabilities, logits, m->n_results * SEG_TILE_ROWS * sizeof(float));
    memset(out->result, 0, n_rows * sizeof(*out->result));
    memcpy(out->confidence, logits, n_rows * sizeof(float));
    for (uint32_t i = 1; i < m->n_results; i++) {
        const float *p = logits + (size_t)i * SEG_TILE_ROWS;
        for (unsigned r = 0; r < n_rows; r++) {
            bool better = p[r] > out->confidence[r];
            out->result[r] = better ? i : out->result[r];
            out->confidence[r] = better ? p[r] : out->confidence[r];
        }
    }
    for (unsigned r = 0; r < n_rows; r++)
        out->distance[r] = NAN;
}

/* Distances to the centroids of results that the head chose. z (n_space, 64) */
static void measure_results(const struct seg_model *m, const float *z, unsigned n_rows,
                            struct seg_scores *out)
{
    const struct seg_mixed *mixed = m->mixed.n_cols > 0 ? &m->mixed : NULL;
    float sum[SEG_TILE_ROWS] = { 0 };
    for (uint32_t i = 0; mixed != NULL && i < mixed->n_categories; i++)
        for (unsigned r = 0; r < n_rows; r++) {
            const float *centroid = m->centroids.data + (size_t)out->result[r] * m->n_space;
            const uint32_t c = mixed->categories[i];
            sum[r] += z[(size_t)c * SEG_TILE_ROWS + r] != centroid[c] ? mixed->weight : 0.0f;
        }
    const uint32_t n_numbers = mixed != NULL ? mixed->n_numbers : m->n_space;
    for (uint32_t i = 0; i < n_numbers; i++)
        for (unsigned r = 0; r < n_rows; r++) {
            const float *centroid = m->centroids.data + (size_t)out->result[r] * m->n_space;
            const uint32_t c = mixed != NULL ? mixed->numbers[i] : i;
            float diff = z[(size_t)c * SEG_TILE_ROWS + r] - centroid[c];
            sum[r] += diff * diff;
        }
    for (unsigned r = 0; r < n_rows; r++)
        out->distance[r] = sqrtf(sum[r]);
}

void model_score_prepared(const struct seg_model *m, float *x, unsigned n_rows, float *scratch,
                          struct seg_scores *out)
{
    const float *z = x; /* (n_space, 64): the row where the centroids are */

    clamp_rows(x, m->n_inputs, n_rows, MODEL_VALUE_MAX);
    if (m->n_encoder > 0) {
        float *code = scratch;
        scratch += (size_t)m->n_space * SEG_TILE_ROWS;
        model_encode_tile(&m->autoencoder, x, code, scratch);
        z = code;
    }
    if (!seg_model_has_probabilities(m)) {
        score_by_distance(m, z, n_rows, out);
        return;
    }
    float *logits = scratch;
    scratch += (size_t)m->n_results * SEG_TILE_ROWS;
    if (m->network.n_layers == 0 && m->soft) {
        score_by_degrees(m, z, n_rows, logits, out);
        return;
    }
    if (m->network.n_layers > 0) {
        const float *read = x;
        if (m->mixed.n_cols > 0) {
            float *embedded = scratch;
            scratch += (size_t)m->n_network * SEG_TILE_ROWS;
            seg_mixed_embed(&m->mixed, x, MODEL_NETWORK_ON, embedded);
            read = embedded;
        }
        seg_network_forward_few(&m->network, 0, m->network.n_layers, n_rows, read, logits, scratch);
    } else
        seg_gmm_score_tile(&m->mixture, m->kernels, z, scratch, logits);
    score_by_logits(m, logits, n_rows, out);
    if (m->task == SEG_SEGMENTATION) measure_results(m, z, n_rows, out);
}

/* Bit r: row r of raw (n_cells, 64) has no value for the feature. */
static uint64_t missing_rows(const struct seg_model *m, const struct seg_feature *f,
                             const float *raw)
{
    const float *cells = raw + (size_t)f->cell * SEG_TILE_ROWS;
    if (f->type == SEG_CATEGORICAL) return m->kernels->code_rows(cells, SEG_CODE_MISSING);
    uint64_t rows = m->kernels->nan_rows(cells);
    for (uint32_t i = 1; i < f->width && rows != 0; i++)
        rows &= m->kernels->nan_rows(cells + (size_t)i * SEG_TILE_ROWS);
    return rows;
}

void seg_model_unseen(const struct seg_model *m, const float *raw, uint64_t *ret_unseen)
{
    const struct seg_schema *s = seg_preprocess_inputs(m->preprocess);
    for (uint32_t i = 0; i < s->n_features; i++) {
        const struct seg_feature *f = &s->features[i];
        const float *cells = raw + (size_t)f->cell * SEG_TILE_ROWS;
        ret_unseen[i] =
            f->type == SEG_CATEGORICAL ? m->kernels->code_rows(cells, SEG_CODE_UNSEEN) : 0;
    }
}

/* How many features of each row of raw (n_cells, 64) have no value, and which, where missing is not
 * NULL. A category never seen before is a value. */
static void count_missing(const struct seg_model *m, const float *raw, uint64_t *missing,
                          uint32_t n_missing[SEG_TILE_ROWS])
{
    const struct seg_schema *s = seg_preprocess_inputs(m->preprocess);
    memset(n_missing, 0, SEG_TILE_ROWS * sizeof(*n_missing));
    for (uint32_t i = 0; i < s->n_features; i++) {
        uint64_t rows = missing_rows(m, &s->features[i], raw);
        if (missing != NULL) missing[i] = rows;
        for (; rows != 0; rows &= rows - 1)
            n_missing[__builtin_ctzll(rows)]++;
    }
}

void seg_model_score_tile(const struct seg_model *m, const float *raw, unsigned n_rows,
                          float *scratch, struct seg_scores *out)
{
    uint32_t n_missing[SEG_TILE_ROWS];
    uint32_t n_features = seg_preprocess_inputs(m->preprocess)->n_features;
    float *x = scratch; /* (n_inputs, 64) */

    assert(n_rows >= 1 && n_rows <= SEG_TILE_ROWS);
    scratch += (size_t)m->n_inputs * SEG_TILE_ROWS;
    seg_preprocess_tile(m->preprocess, raw, scratch, x);
    model_score_prepared(m, x, n_rows, scratch, out);
    count_missing(m, raw, out->missing, n_missing);
    for (unsigned r = 0; r < n_rows; r++) {
        bool enough = n_features - n_missing[r] >= m->n_present_min;
        out->status[r] = enough ? SEG_ROW_OK : SEG_ROW_INSUFFICIENT;
        if (enough) continue;
        out->result[r] = UINT32_MAX;
        out->confidence[r] = NAN;
        out->distance[r] = NAN;
    }
}
