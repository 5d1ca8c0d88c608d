/* model_score.c - raw tiles to results.
 * Uses the tile kernels alone, never BLAS, whose sums depend on the shape of the batch: a row alone
 * and the same row in a batch get the same bits. Numbers that leave the range of a float on the way
 * are clamped, so that no input and no stored weight can bring a NaN out. */
#include "model/model_private.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "neural/soft_clusters.h"

/* Logits are clamped to this: differences of two stay finite, and exp of any is 0 or 1. */
#define LOGIT_MAX 1e30f
#define RUN_MAX   64u /* columns that are looked at in one call */

/* The first n_rows rows of x (n_cols, 64), at least. */
static void clamp_rows(float *x, size_t n_cols, unsigned n_rows, float max)
{
    const size_t n = seg_tile_lanes(n_rows);
    const struct seg_kernels *k = seg_kernels_brief();
    if (n > SEG_TILE_ROWS / 2) { /* all lanes in one call */
        k->clamp(x, n_cols * SEG_TILE_ROWS, max);
        return;
    }
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
    const struct seg_kernels *kernels = seg_kernels_get();
    uint32_t k = m->mixture.k;
    float *joint = scratch; /* (k, 64) */
    float largest[SEG_TILE_ROWS];
    seg_gmm_score_tile(&m->mixture, kernels, z, scratch + (size_t)k * SEG_TILE_ROWS, joint);
    kernels->argmax(joint, k, label, largest);
}

/* Logits decide, of a network or a mixture: logits (n_results, 64) to probabilities in place. */
static void score_by_logits(const struct seg_model *m, float *logits, unsigned n_rows,
                            struct seg_scores *out)
{
    clamp_rows(logits, m->n_results, n_rows, LOGIT_MAX);
    m->kernels->softmax(logits, m->n_results);
    if (out->probabilities != NULL)
        memcpy(out->probabilities, logits, m->n_results * SEG_TILE_ROWS * sizeof(float));
    m->kernels->argmax(logits, m->n_results, out->result, out->confidence);
    for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
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
    uint64_t rows, more;
    if (f->type == SEG_CATEGORICAL) return m->kernels->code_rows(cells, SEG_CODE_MISSING);
    m->kernels->nan_rows(cells, 1, &rows);
    for (uint32_t i = 1; i < f->width && rows != 0; i++) {
        m->kernels->nan_rows(cells + (size_t)i * SEG_TILE_ROWS, 1, &more);
        rows &= more;
    }
    return rows;
}

/* How many of the n features f, RUN_MAX at most, are one cell of a number each. */
static uint32_t run_of_numbers(const struct seg_feature *f, uint32_t n)
{
    uint32_t i = 0;
    while (i < n && i < RUN_MAX && f[i].type != SEG_CATEGORICAL &&
           seg_feature_cells(f[i].type, f[i].width) == 1)
        i++;
    return i;
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

/* How many features of each of the first n_rows rows of raw (n_cells, 64) have no value, and which,
 * where missing is not NULL. A category never seen before is a value. False: none of any row, and
 * nothing is counted. */
static bool count_missing(const struct seg_model *m, const float *raw, unsigned n_rows,
                          uint64_t *missing, uint32_t n_missing[SEG_TILE_ROWS])
{
    const struct seg_schema *s = seg_preprocess_inputs(m->preprocess);
    const uint64_t wanted = UINT64_MAX >> (SEG_TILE_ROWS - n_rows);
    uint64_t rows[RUN_MAX];
    bool any = false;
    for (uint32_t i = 0, n; i < s->n_features; i += n) {
        const struct seg_feature *f = &s->features[i];
        n = run_of_numbers(f, s->n_features - i);
        if (n > 0)
            m->kernels->nan_rows(raw + (size_t)f->cell * SEG_TILE_ROWS, n, rows);
        else
            rows[n++] = missing_rows(m, f, raw);
        if (missing != NULL) memcpy(missing + i, rows, n * sizeof(*rows));
        for (uint32_t j = 0; j < n; j++) {
            rows[j] &= wanted;
            if (rows[j] == 0) continue;
            if (!any) memset(n_missing, 0, SEG_TILE_ROWS * sizeof(*n_missing));
            any = true;
            for (; rows[j] != 0; rows[j] &= rows[j] - 1)
                n_missing[__builtin_ctzll(rows[j])]++;
        }
    }
    return any;
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
    memset(out->status, SEG_ROW_OK, n_rows);
    if (!count_missing(m, raw, n_rows, out->missing, n_missing)) return;
    for (unsigned r = 0; r < n_rows; r++) {
        if (n_features - n_missing[r] >= m->n_present_min) continue;
        out->status[r] = SEG_ROW_INSUFFICIENT;
        out->result[r] = UINT32_MAX;
        out->confidence[r] = NAN;
        out->distance[r] = NAN;
    }
}
