/* pca.c - the mean comes off before the product and not in a bias after it: a column at 1e6 would
 * lose its digits there. */
#include "features/pca.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/covariance.h"
#include "features/number.h"

#define N SEG_TILE_ROWS

void seg_pca_free(struct seg_pca *pca)
{
    if (pca == NULL) return;
    seg_free(pca->mean);
    seg_free(pca->high);
    seg_free(pca->low);
    seg_free(pca->axes);
    seg_free(pca->explained);
    seg_free(pca->names);
    seg_free(pca);
}

static struct seg_pca *pca_new(size_t n_in, size_t n_out)
{
    struct seg_pca *pca = seg_calloc(1, sizeof *pca);
    if (pca == NULL) return NULL;
    pca->kernels = seg_kernels_get();
    pca->n_in = (uint32_t)n_in;
    pca->n_out = (uint32_t)n_out;
    pca->mean = seg_alloc(n_in, sizeof *pca->mean);
    pca->high = seg_alloc(n_in, sizeof *pca->high);
    pca->low = seg_alloc(n_in, sizeof *pca->low);
    pca->axes = seg_alloc(n_in * n_out, sizeof *pca->axes);
    pca->explained = seg_alloc(n_out, sizeof *pca->explained);
    pca->names = seg_alloc(n_out, sizeof *pca->names);
    if (pca->mean == NULL || pca->high == NULL || pca->low == NULL || pca->axes == NULL ||
        pca->explained == NULL || pca->names == NULL) {
        seg_pca_free(pca);
        return NULL;
    }
    for (uint32_t i = 0; i < pca->n_out; i++)
        snprintf(pca->names[i], sizeof pca->names[i], "pca_%u", i + 1);
    return pca;
}

static void split_mean(struct seg_pca *pca)
{
    for (uint32_t c = 0; c < pca->n_in; c++) {
        pca->high[c] = (float)pca->mean[c];
        pca->low[c] = (float)(pca->mean[c] - (double)pca->high[c]);
    }
}

/* ---- fitting ---- */

struct axis {
    double variance;
    uint32_t index;
};

static int by_variance(const void *a, const void *b)
{
    const struct axis *x = a, *y = b;
    if (x->variance != y->variance) return x->variance < y->variance ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

/* How many of the n axes, sorted, the spec wants. */
static uint32_t count_wanted(const struct seg_pca_spec *spec, const struct axis *axes, uint32_t n,
                             double total)
{
    if (spec->n_components > 0) return spec->n_components;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += axes[i].variance;
        if (spec->variance < 1 && sum >= spec->variance * total) return i + 1;
    }
    return n;
}

/* n, or as many as have variance, at least one. */
static uint32_t count_kept(const struct axis *axes, uint32_t n_in, uint32_t n)
{
    uint32_t kept = 1;
    while (kept < n_in && kept < n && axes[kept].variance > SEG_PCA_VARIANCE_MIN * axes[0].variance)
        kept++;
    return kept;
}

static void fill(struct seg_pca *pca, const struct axis *axes, const double *vectors, double total,
                 size_t n_rows)
{
    const size_t d = pca->n_in;
    /* Whitened components have variance 1 with n - 1, as in scikit-learn. */
    const double unbiased = n_rows > 1 ? (double)n_rows / (double)(n_rows - 1) : 1;
    for (uint32_t i = 0; i < pca->n_out; i++) {
        const double *v = vectors + axes[i].index * d;
        const double sd = sqrt(axes[i].variance * unbiased);
        double scale = seg_eigen_sign(v, d);
        if (pca->whiten) scale = sd > FLT_MIN ? scale / sd : 0;
        for (size_t c = 0; c < d; c++)
            pca->axes[i * d + c] = (float)(v[c] * scale);
        pca->explained[i] = total > 0 ? axes[i].variance / total : 0;
    }
    split_mean(pca);
}

enum seg_status seg_pca_fit(struct seg_pool *pool, const struct seg_tiles *x,
                            const struct seg_pca_spec *spec, const struct seg_progress *progress,
                            struct seg_pca **ret_pca, uint32_t *ret_n_wanted, struct seg_error *err)
{
    const uint32_t d = x->n_cols;
    struct seg_pca *pca = NULL;
    double *mean = NULL, *cov = NULL, *vectors = NULL, total = 0;
    struct axis *axes = NULL;
    enum seg_status st = SEG_ENOMEM;
    if (d > SEG_PCA_COLUMNS_MAX)
        return seg_fail(err, SEG_EINVAL, "pca over %u columns (limit %u)", d, SEG_PCA_COLUMNS_MAX);
    mean = seg_alloc(d, sizeof *mean);
    cov = seg_alloc((size_t)d * d, sizeof *cov);
    vectors = seg_alloc((size_t)d * d, sizeof *vectors);
    axes = seg_alloc(d, sizeof *axes);
    if (mean == NULL || cov == NULL || vectors == NULL || axes == NULL) goto out;
    seg_progress_report(progress, 0, "principal components");
    st = seg_covariance(pool, x, progress, mean, cov);
    if (st == SEG_OK) st = seg_eigen_symmetric(cov, d, progress, vectors);
    if (st != SEG_OK) goto out;
    for (uint32_t i = 0; i < d; i++) {
        axes[i] = (struct axis){ fmax(cov[(size_t)i * d + i], 0), i };
        total += axes[i].variance;
    }
    qsort(axes, d, sizeof *axes, by_variance);
    if (!isfinite(total)) {
        st = seg_fail(err, SEG_EINVAL, "pca: the columns are too large, scale them");
        goto out;
    }
    const uint32_t n_wanted = count_wanted(spec, axes, d, total);
    st = SEG_ENOMEM;
    pca = pca_new(d, count_kept(axes, d, n_wanted));
    if (pca == NULL) goto out;
    memcpy(pca->mean, mean, d * sizeof *mean);
    pca->whiten = spec->whiten;
    fill(pca, axes, vectors, total, x->n_rows);
    *ret_pca = pca;
    *ret_n_wanted = spec->n_components > 0 ? n_wanted : pca->n_out;
    st = SEG_OK;
out:
    seg_free(mean);
    seg_free(cov);
    seg_free(vectors);
    seg_free(axes);
    return st;
}

/* ---- applying ---- */

void seg_pca_tile(const struct seg_pca *pca, float *x, float *out)
{
    for (uint32_t c = 0; c < pca->n_in; c++) {
        const float high = pca->high[c], low = pca->low[c];
        for (unsigned r = 0; r < N; r++)
            x[(size_t)c * N + r] = (x[(size_t)c * N + r] - high) - low;
    }
    pca->kernels->affine(x, pca->n_in, pca->axes, NULL, pca->n_out, out);
    for (size_t i = 0; i < (size_t)pca->n_out * N; i++) {
        float v = out[i] == out[i] ? out[i] : 0.0f; /* sums of 1e30 may overflow */
        v = v < -SEG_VALUE_MAX ? -SEG_VALUE_MAX : v;
        out[i] = v > SEG_VALUE_MAX ? SEG_VALUE_MAX : v;
    }
}

void seg_pca_invert(const struct seg_pca *pca, const float *out, float *x)
{
    double columns[SEG_PCA_COLUMNS_MAX];
    const double max = (double)SEG_VALUE_MAX;
    memcpy(columns, pca->mean, pca->n_in * sizeof *columns);
    for (uint32_t i = 0; i < pca->n_out; i++) {
        const float *axis = pca->axes + (size_t)i * pca->n_in;
        double square = 0;
        for (uint32_t c = 0; c < pca->n_in; c++)
            square += (double)axis[c] * (double)axis[c];
        if (square == 0) continue;
        for (uint32_t c = 0; c < pca->n_in; c++)
            columns[c] += (double)out[i] * ((double)axis[c] / square);
    }
    for (uint32_t c = 0; c < pca->n_in; c++)
        x[c] = (float)fmin(fmax(columns[c], -max), max);
}

/* ---- storage ---- */

enum seg_status seg_pca_save(const struct seg_pca *pca, struct seg_tensors *ts)
{
    const size_t shape[2] = { pca->n_out, pca->n_in };
    const uint32_t whiten = pca->whiten;
    enum seg_status st =
        seg_tensors_add_vector(ts, "preprocess.pca.mean", SEG_F64, pca->n_in, pca->mean);
    if (st == SEG_OK) st = seg_tensors_add(ts, "preprocess.pca.axes", SEG_F32, 2, shape, pca->axes);
    if (st == SEG_OK)
        st = seg_tensors_add_vector(ts, "preprocess.pca.explained", SEG_F64, pca->n_out,
                                    pca->explained);
    if (st == SEG_OK) st = seg_tensors_add_vector(ts, "preprocess.pca.whiten", SEG_U32, 1, &whiten);
    return st;
}

/* Whether all that was read makes sense. */
static bool is_sound(const struct seg_pca *pca)
{
    bool good = true;
    for (uint32_t c = 0; c < pca->n_in; c++)
        good = good && fabs(pca->mean[c]) <= (double)SEG_VALUE_MAX;
    for (size_t i = 0; i < (size_t)pca->n_in * pca->n_out; i++)
        good = good && isfinite(pca->axes[i]);
    for (uint32_t i = 0; i < pca->n_out; i++)
        good = good && pca->explained[i] >= 0 && pca->explained[i] <= 1 + 1e-9;
    return good;
}

enum seg_status seg_pca_load(const struct seg_tensors *ts, uint32_t n_in, struct seg_pca **ret_pca,
                             struct seg_error *err)
{
    static const char *const NAMES[] = { "preprocess.pca.axes", "preprocess.pca.mean",
                                         "preprocess.pca.explained", "preprocess.pca.whiten" };
    const void *mean, *axes, *explained, *whiten;
    bool any = false;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        any = any || seg_tensors_find(ts, NAMES[i]) != NULL;
    *ret_pca = NULL;
    if (!any) return SEG_OK;
    const struct seg_tensor *matrix = seg_tensors_find(ts, NAMES[0]);
    if (matrix == NULL || matrix->n_dims != 2 || matrix->shape[1] != n_in ||
        n_in > SEG_PCA_COLUMNS_MAX || matrix->shape[0] < 1 || matrix->shape[0] > n_in)
        return seg_fail(err, SEG_EFORMAT, "%s is not a matrix of 1 to %u rows of %u", NAMES[0],
                        n_in, n_in);
    const size_t n_out = matrix->shape[0];
    enum seg_status st = seg_tensors_expect(ts, NAMES[0], SEG_F32, n_out * n_in, &axes, err);
    if (st == SEG_OK) st = seg_tensors_expect(ts, NAMES[1], SEG_F64, n_in, &mean, err);
    if (st == SEG_OK) st = seg_tensors_expect(ts, NAMES[2], SEG_F64, n_out, &explained, err);
    if (st == SEG_OK) st = seg_tensors_expect(ts, NAMES[3], SEG_U32, 1, &whiten, err);
    if (st != SEG_OK) return st;
    struct seg_pca *pca = pca_new(n_in, n_out);
    if (pca == NULL) return seg_fail(err, SEG_ENOMEM, "out of memory");
    memcpy(pca->axes, axes, n_out * n_in * sizeof *pca->axes);
    memcpy(pca->mean, mean, n_in * sizeof *pca->mean);
    memcpy(pca->explained, explained, n_out * sizeof *pca->explained);
    pca->whiten = *(const uint32_t *)whiten == 1;
    split_mean(pca);
    if (*(const uint32_t *)whiten > 1 || !is_sound(pca)) {
        seg_pca_free(pca);
        return seg_fail(err, SEG_EFORMAT, "the principal components do not make sense");
    }
    *ret_pca = pca;
    return SEG_OK;
}
