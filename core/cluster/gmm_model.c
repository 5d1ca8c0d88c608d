/* gmm_model.c - a fitted mixture: scoring a tile, storing and loading. Differences to a mean are
 * taken before they are multiplied, so that rows far from the origin lose no digit. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "cluster/gmm_run.h"

#define ROWS       SEG_TILE_ROWS
#define NAME_BYTES (SEG_TENSOR_NAME_BYTES_MAX + 16)
/* Neither a sum of SEG_GMM_FACTORS_MAX products of the two overflows. */
#define DIFF_MAX   1e15f
#define FACTOR_MAX 1e15f

static size_t factor_rows(uint32_t k, uint32_t d, enum seg_covariance covariance)
{
    return covariance == SEG_COVARIANCE_FULL ? (size_t)k * d : k;
}

enum seg_status gmm_init(struct seg_gmm *g, uint32_t k, uint32_t d, enum seg_covariance covariance)
{
    *g = (struct seg_gmm){ .k = k, .d = d, .covariance = covariance };
    enum seg_status st = seg_matrix_init(&g->means, k, d);
    if (st == SEG_OK) st = seg_matrix_init(&g->factors, factor_rows(k, d, covariance), d);
    if (st != SEG_OK) return st;
    g->weights = seg_alloc(k, sizeof *g->weights);
    g->log_norm = seg_alloc(k, sizeof *g->log_norm);
    return g->weights != NULL && g->log_norm != NULL ? SEG_OK : SEG_ENOMEM;
}

void seg_gmm_release(struct seg_gmm *g)
{
    seg_matrix_release(&g->means);
    seg_matrix_release(&g->factors);
    seg_free(g->weights);
    seg_free(g->log_norm);
    seg_free(g->curve);
    seg_free(g->sizes);
    seg_free(g->origins);
    *g = (struct seg_gmm){ 0 };
}

void gmm_set_log_norm(struct seg_gmm *g)
{
    const size_t d = g->d, step = g->covariance == SEG_COVARIANCE_FULL ? d + 1 : 1;
    const size_t n_factors = g->covariance == SEG_COVARIANCE_FULL ? d * d : d;
    for (uint32_t j = 0; j < g->k; j++) {
        double sum = log(g->weights[j]) - 0.918938533204672742 * (double)d;
        for (size_t a = 0; a < d; a++)
            sum += log((double)g->factors.data[j * n_factors + a * step]);
        g->log_norm[j] = (float)sum;
    }
}

void gmm_diff(const struct seg_gmm *g, uint32_t j, const float *x, float *diff)
{
    const float *mean = seg_matrix_row(&g->means, j);
    for (size_t a = 0; a < g->d; a++)
        for (size_t r = 0; r < ROWS; r++) {
            const float v = x[a * ROWS + r] - mean[a];
            const float above = v < -DIFF_MAX ? -DIFF_MAX : v;
            diff[a * ROWS + r] = above > DIFF_MAX ? DIFF_MAX : above;
        }
}

size_t seg_gmm_scratch(const struct seg_gmm *g)
{
    return 2 * (size_t)g->d * ROWS;
}

void seg_gmm_score_tile(const struct seg_gmm *g, const struct seg_kernels *kernels, const float *x,
                        float *scratch, float *out)
{
    const size_t d = g->d;
    float *diff = scratch, *y = scratch + d * ROWS;
    for (uint32_t j = 0; j < g->k; j++) {
        float square[ROWS] = { 0 }, *log_joint = out + j * ROWS;
        gmm_diff(g, j, x, diff);
        if (g->covariance == SEG_COVARIANCE_FULL) {
            kernels->affine(diff, d, g->factors.data + j * d * d, NULL, d, y);
        } else {
            const float *factor = seg_matrix_row(&g->factors, j);
            for (size_t a = 0; a < d; a++)
                for (size_t r = 0; r < ROWS; r++)
                    y[a * ROWS + r] = diff[a * ROWS + r] * factor[a];
        }
        for (size_t a = 0; a < d; a++)
            for (size_t r = 0; r < ROWS; r++)
                square[r] += y[a * ROWS + r] * y[a * ROWS + r];
        for (size_t r = 0; r < ROWS; r++) {
            const float v = g->log_norm[j] - 0.5f * square[r];
            log_joint[r] = v > SEG_GMM_LOG_MIN ? v : SEG_GMM_LOG_MIN;
        }
    }
}

/* False when the name is too long. */
static bool tensor_name(char name[NAME_BYTES], const char *prefix, const char *part)
{
    const int n = snprintf(name, NAME_BYTES, "%s.%s", prefix, part);
    return n > 0 && n <= SEG_TENSOR_NAME_BYTES_MAX;
}

enum seg_status seg_gmm_save(const struct seg_gmm *g, const char *prefix, struct seg_tensors *ts)
{
    const bool is_full = g->covariance == SEG_COVARIANCE_FULL;
    const size_t shape[] = { g->k, g->d, g->d };
    const uint8_t covariance = (uint8_t)g->covariance;
    char name[NAME_BYTES];
    if (!tensor_name(name, prefix, "covariance")) return SEG_EINVAL;
    enum seg_status st = seg_tensors_add_vector(ts, name, SEG_U8, 1, &covariance);
    if (st != SEG_OK) return st;
    tensor_name(name, prefix, "means");
    st = seg_tensors_add(ts, name, SEG_F32, 2, shape, g->means.data);
    if (st != SEG_OK) return st;
    tensor_name(name, prefix, "factors");
    st = seg_tensors_add(ts, name, SEG_F32, is_full ? 3 : 2, shape, g->factors.data);
    if (st != SEG_OK) return st;
    tensor_name(name, prefix, "weights");
    return seg_tensors_add_vector(ts, name, SEG_F64, g->k, g->weights);
}

/* Reads and checks what gives the shape, before memory is taken on the word of a file. */
static enum seg_status load_shape(const struct seg_tensors *ts, const char *prefix,
                                  struct seg_gmm *shape, struct seg_error *err)
{
    char name[NAME_BYTES];
    const void *data;
    if (!tensor_name(name, prefix, "covariance"))
        return seg_fail(err, SEG_EFORMAT, "the name of a mixture is too long");
    enum seg_status st = seg_tensors_expect(ts, name, SEG_U8, 1, &data, err);
    if (st != SEG_OK) return st;
    const uint8_t covariance = *(const uint8_t *)data;
    if (covariance > SEG_COVARIANCE_FULL)
        return seg_fail(err, SEG_EFORMAT, "%s: unknown covariance %u", name, covariance);
    tensor_name(name, prefix, "means");
    const struct seg_tensor *t = seg_tensors_find(ts, name);
    if (t == NULL || t->dtype != SEG_F32 || t->n_dims != 2 || t->shape[0] < 1 ||
        t->shape[0] > SEG_GMM_K_MAX || t->shape[1] < 1 || t->shape[1] > SEG_GMM_FACTORS_MAX)
        return seg_fail(err, SEG_EFORMAT, "%s is no matrix of at most %u means", name,
                        SEG_GMM_K_MAX);
    shape->k = (uint32_t)t->shape[0];
    shape->d = (uint32_t)t->shape[1];
    shape->covariance = (enum seg_covariance)covariance;
    if (factor_rows(shape->k, shape->d, shape->covariance) > SEG_GMM_FACTORS_MAX / shape->d)
        return seg_fail(err, SEG_EFORMAT, "%s: more than %zu factors", prefix, SEG_GMM_FACTORS_MAX);
    return SEG_OK;
}

/* Finite means, factors in range, positive and lower triangular, weights > 0 that sum to 1. */
static const char *fault_of(const struct seg_gmm *g)
{
    const bool is_full = g->covariance == SEG_COVARIANCE_FULL;
    const size_t d = g->d;
    double sum = 0;
    for (size_t i = 0; i < g->k * d; i++)
        if (!isfinite(g->means.data[i])) return "a mean is not finite";
    for (size_t row = 0; row < g->factors.n_rows; row++)
        for (size_t c = 0; c < d; c++) {
            const float v = seg_matrix_row(&g->factors, row)[c];
            if (!(fabsf(v) <= FACTOR_MAX)) return "a factor is out of range";
            if ((!is_full || c == row % d) && !(v >= FLT_MIN)) return "a factor is not positive";
            if (is_full && c > row % d && v != 0) return "the factors are not triangular";
        }
    for (uint32_t j = 0; j < g->k; j++) {
        if (!(g->weights[j] >= DBL_MIN && g->weights[j] <= 1)) return "a weight is out of range";
        sum += g->weights[j];
    }
    return fabs(sum - 1) <= 1e-6 ? NULL : "the weights do not sum to 1";
}

enum seg_status seg_gmm_load(const struct seg_tensors *ts, const char *prefix,
                             struct seg_gmm *ret_g, struct seg_error *err)
{
    struct seg_gmm g = { 0 };
    char name[NAME_BYTES];
    const void *factors, *means, *weights;
    enum seg_status st = load_shape(ts, prefix, &g, err);
    if (st != SEG_OK) return st;
    const size_t n_means = (size_t)g.k * g.d;
    const size_t n_factors = factor_rows(g.k, g.d, g.covariance) * g.d;
    tensor_name(name, prefix, "means");
    st = seg_tensors_expect(ts, name, SEG_F32, n_means, &means, err);
    tensor_name(name, prefix, "factors");
    if (st == SEG_OK) st = seg_tensors_expect(ts, name, SEG_F32, n_factors, &factors, err);
    tensor_name(name, prefix, "weights");
    if (st == SEG_OK) st = seg_tensors_expect(ts, name, SEG_F64, g.k, &weights, err);
    if (st != SEG_OK) return st;
    st = gmm_init(&g, g.k, g.d, g.covariance);
    if (st != SEG_OK) goto out;
    memcpy(g.means.data, means, n_means * sizeof *g.means.data);
    memcpy(g.factors.data, factors, n_factors * sizeof *g.factors.data);
    memcpy(g.weights, weights, g.k * sizeof *g.weights);
    const char *fault = fault_of(&g);
    if (fault != NULL) {
        st = seg_fail(err, SEG_EFORMAT, "%s: %s", prefix, fault);
        goto out;
    }
    gmm_set_log_norm(&g);
    *ret_g = g;
    g = (struct seg_gmm){ 0 };
out:
    seg_gmm_release(&g);
    return st;
}
