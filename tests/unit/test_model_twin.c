/* test_model_twin.c - whole models against float64: the numbers that scoring gives to preprocessed
 * rows are within 1e-5 of those that the same weights give in double precision. */
#include "compute/gemm.h"
#include "activation_twin.h"
#include "blobs.h"

#include "model/model_private.h"

#define WIDTH_MAX 128u
#define CLOSE     1e-5

/* x through the first n_layers, in place. */
static void forward(const struct seg_network *net, uint32_t n_layers, double x[WIDTH_MAX])
{
    double to[WIDTH_MAX];
    for (uint32_t i = 0; i < n_layers; i++) {
        const struct seg_layer *layer = &net->layers[i];
        assert_true(layer->weights.n_rows <= WIDTH_MAX);
        for (size_t j = 0; j < layer->weights.n_rows; j++) {
            double z = (double)layer->bias[j];
            for (size_t c = 0; c < layer->weights.n_cols; c++)
                z += (double)seg_matrix_row(&layer->weights, j)[c] * x[c];
            to[j] = twin_activation(layer->activation, z);
        }
        memcpy(x, to, layer->weights.n_rows * sizeof *to);
    }
}

/* log of weight times density of each component at z. */
static void log_joint(const struct seg_gmm *g, const double *z, double *ret)
{
    for (uint32_t j = 0; j < g->k; j++) {
        double sum = 0;
        for (uint32_t i = 0; i < g->d; i++) {
            double y = 0;
            if (g->covariance == SEG_COVARIANCE_DIAGONAL) {
                y = (double)seg_matrix_row(&g->factors, j)[i] *
                    (z[i] - (double)seg_matrix_row(&g->means, j)[i]);
            } else {
                for (uint32_t c = 0; c < g->d; c++)
                    y += (double)seg_matrix_row(&g->factors, (size_t)j * g->d + i)[c] *
                         (z[c] - (double)seg_matrix_row(&g->means, j)[c]);
            }
            sum += y * y;
        }
        ret[j] = (double)g->log_norm[j] - 0.5 * sum;
    }
}

static void softmax(double *x, uint32_t n)
{
    double most = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++)
        most = fmax(most, x[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += x[i] = exp(x[i] - most);
    for (uint32_t i = 0; i < n; i++)
        x[i] /= sum;
}

static double distance(const struct seg_matrix *centroids, uint32_t i, const double *z)
{
    double sum = 0;
    for (size_t c = 0; c < centroids->n_cols; c++) {
        double diff = z[c] - (double)seg_matrix_row(centroids, i)[c];
        sum += diff * diff;
    }
    return sqrt(sum);
}

static bool close_to(float got, double wanted)
{
    return fabs((double)got - wanted) <= CLOSE * fmax(1, fabs(wanted));
}

/* Row r of a preprocessed tile x (n_inputs, 64). */
static void check_row(const struct seg_model *m, const float *x, unsigned r,
                      const struct seg_scores *s, const char *name)
{
    double z[WIDTH_MAX], p[WIDTH_MAX];
    assert_true(m->n_inputs <= WIDTH_MAX);
    for (uint32_t c = 0; c < m->n_inputs; c++)
        z[c] = p[c] = (double)x[c * SEG_TILE_ROWS + r];
    if (m->n_encoder > 0) forward(&m->autoencoder, m->n_encoder, z);
    if (m->network.n_layers > 0)
        forward(&m->network, m->network.n_layers, p);
    else if (m->mixture.k > 0)
        log_joint(&m->mixture, z, p);
    if (seg_model_has_probabilities(m)) {
        softmax(p, m->n_results);
        for (uint32_t i = 0; i < m->n_results; i++)
            if (!close_to(s->probabilities[i * SEG_TILE_ROWS + r], p[i]))
                fail_msg("%s: probability %u of row %u: %.9g, not %.9g", name, i, r,
                         (double)s->probabilities[i * SEG_TILE_ROWS + r], p[i]);
    }
    if (seg_model_has_distance(m) &&
        !close_to(s->distance[r], distance(&m->centroids, s->result[r], z)))
        fail_msg("%s: distance of row %u: %.9g, not %.9g", name, r, (double)s->distance[r],
                 distance(&m->centroids, s->result[r], z));
}

static void models_score_as_float64_does(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        enum seg_algorithm algorithm = BLOB_KINDS[kind].algorithm;
        if (algorithm == SEG_K_PROTOTYPES || algorithm == SEG_DEEP_CLUSTERING)
            continue; /* spaces of their own, which their tests know */
        struct seg_model *m = blobs_model(algorithm, BLOB_KINDS[kind].has_head);
        struct blobs b;
        blobs_init(&b, algorithm, BLOB_KINDS[kind].has_head, SEG_TILE_ROWS, 1.5);
        const float *raw = seg_tiles_at(&b.table.cells, 0);
        float *x = seg_alloc_aligned((size_t)m->n_inputs * SEG_TILE_ROWS, sizeof(float));
        float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
        float *p = seg_alloc_aligned((size_t)m->n_results * SEG_TILE_ROWS, sizeof(float));
        assert_true(x != NULL && scratch != NULL && p != NULL);
        struct seg_scores s = { .probabilities = seg_model_has_probabilities(m) ? p : NULL };
        seg_preprocess_tile(m->preprocess, raw, scratch, x);
        seg_model_score_tile(m, raw, SEG_TILE_ROWS, scratch, &s);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
            check_row(m, x, r, &s, BLOB_KINDS[kind].name);
        blobs_release(&b);
        seg_free(p);
        seg_free(scratch);
        seg_free(x);
        seg_model_unref(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_score_as_float64_does),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
