/* gmm.c - mixture of Gaussians from the caller's side: check, run the starts, keep the best, put
 * the components in order. The iteration is in gmm_run.c, the fitted mixture in gmm_model.c. */
#include "cluster/gmm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "cluster/gmm_run.h"
#include "cluster/kmeans_run.h"

const char *seg_gmm_check(const struct seg_gmm_params *p, size_t n_rows)
{
    if (p->k < 1 || p->k > SEG_GMM_K_MAX) return "k must be from 1 to 1024";
    if (p->k > n_rows) return "k is larger than the number of rows";
    if (n_rows > UINT32_MAX) return "more rows than 4294967295";
    if (p->covariance > SEG_COVARIANCE_FULL) return "unknown kind of covariance";
    if (p->n_init < 1 || p->n_init > 100) return "n_init must be from 1 to 100";
    if (p->n_iter_max < 1 || p->n_iter_max > 10000) return "n_iter_max must be from 1 to 10000";
    if (!(p->tol >= 0) || isinf(p->tol)) return "tolerance must be a number of at least 0";
    if (!(p->regularisation >= 1e-12 && p->regularisation <= 1e12))
        return "regularisation must be from 1e-12 to 1e12";
    if (p->from != NULL && (p->from->k != p->k || p->from->covariance != p->covariance))
        return "the mixture to go on from has other components";
    if (p->start != NULL && (p->start->n_rows != p->k || p->start->data == NULL))
        return "the start means must be k rows";
    return NULL;
}

static enum seg_status check(const struct seg_tiles *x, const struct seg_gmm_params *p,
                             struct seg_error *err)
{
    const char *fault = seg_gmm_check(p, x->n_rows);
    if (fault != NULL) return seg_fail(err, SEG_EINVAL, "%s", fault);
    const size_t d = x->n_cols, width = p->covariance == SEG_COVARIANCE_FULL ? d : 1;
    if (d > SEG_GMM_FACTORS_MAX / p->k / width)
        return seg_fail(err, SEG_ELIMIT,
                        "%u components of %zu columns have too many factors "
                        "(limit %zu)",
                        p->k, d, SEG_GMM_FACTORS_MAX);
    if (p->from != NULL && p->from->d != d)
        return seg_fail(err, SEG_EINVAL, "the mixture to go on from has %u columns, the rows %zu",
                        p->from->d, d);
    if (p->start == NULL) return SEG_OK;
    if (p->start->n_cols != d)
        return seg_fail(err, SEG_EINVAL, "start means have %zu columns, the rows %zu",
                        p->start->n_cols, d);
    for (size_t i = 0; i < p->k * d; i++)
        if (!isfinite(p->start->data[i]))
            return seg_fail(err, SEG_EINVAL, "start mean %zu is not finite", i / d);
    return SEG_OK;
}

/* What all starts share. */
struct starts {
    const struct seg_gmm_params *p;
    const struct kmeans_data *data;
    struct gmm_run run;
    uint32_t *label; /* (n) */
    double *work;    /* (d, d) */
    double *curve;   /* (n_iter_max) */
};

/* Rows whole to the nearest of c into run->total, around c; g: round, as wide as the data. */
static enum seg_status begin(struct starts *s, const struct seg_matrix *c, struct seg_gmm *g)
{
    const size_t d = g->d;
    const bool is_full = g->covariance == SEG_COVARIANCE_FULL;
    const float factor = (float)(1 / sqrt(s->data->variance_mean + s->p->regularisation));
    memcpy(g->means.data, c->data, g->k * d * sizeof *c->data);
    memset(g->factors.data, 0, g->factors.n_rows * d * sizeof *g->factors.data);
    for (size_t row = 0; row < g->factors.n_rows; row++)
        for (size_t a = 0; a < d; a++)
            if (!is_full || a == row % d) seg_matrix_row(&g->factors, row)[a] = factor;
    kmeans_assign(s->run.pool, s->run.x, c, s->run.progress, s->label, NULL);
    if (seg_progress_cancelled(s->run.progress)) return SEG_ECANCELED;
    s->run.g = g;
    s->run.label = s->label;
    const enum seg_status st = gmm_run_sum(&s->run);
    s->run.label = NULL;
    if (st == SEG_OK) gmm_run_maximise(&s->run, s->p->regularisation, s->work, g);
    return st;
}

/* g, as wide as from, becomes it. */
static void resume(const struct seg_gmm *from, struct seg_gmm *g)
{
    memcpy(g->means.data, from->means.data, g->k * (size_t)g->d * sizeof(float));
    memcpy(g->factors.data, from->factors.data, g->factors.n_rows * (size_t)g->d * sizeof(float));
    memcpy(g->weights, from->weights, g->k * sizeof *g->weights);
    memcpy(g->log_norm, from->log_norm, g->k * sizeof *g->log_norm);
}

/* Start number `start` of n into g, whose n_iter, converged and log_likelihood are set; its sizes
 * end in run->total, its curve in s->curve. */
static enum seg_status run_start(struct starts *s, uint32_t start, uint32_t n, struct seg_gmm *g)
{
    const struct seg_gmm_params *p = s->p;
    struct seg_kmeans km = { 0 };
    enum seg_status st = SEG_OK;
    if (p->from == NULL && p->start == NULL) {
        const struct seg_kmeans_params kp = {
            .k = p->k, .n_init = 1, .n_iter_max = 300, .tol = 1e-4, .seed = p->seed + start
        };
        st = seg_kmeans_fit(s->run.pool, s->run.x, &kp, s->run.progress, &km, NULL);
    }
    if (p->from != NULL)
        resume(p->from, g);
    else if (st == SEG_OK)
        st = begin(s, p->start != NULL ? p->start : &km.centroids, g);
    s->run.g = g;
    double last = -INFINITY;
    g->converged = false;
    for (g->n_iter = 0; st == SEG_OK; g->n_iter++) {
        st = gmm_run_sum(&s->run);
        if (st != SEG_OK) break;
        g->log_likelihood = s->run.total.log_likelihood / (double)s->run.x->n_rows;
        if (g->n_iter == p->n_iter_max || g->converged) break;
        s->curve[g->n_iter] = g->log_likelihood;
        g->converged = fabs(g->log_likelihood - last) < p->tol || g->log_likelihood == last;
        last = g->log_likelihood;
        gmm_run_maximise(&s->run, p->regularisation, s->work, g);
        const double done = (double)(g->n_iter + 1) / p->n_iter_max;
        seg_progress_report(s->run.progress, (start + done) / n, "fitting the mixture");
    }
    seg_kmeans_release(&km);
    return st;
}

/* A component's place in the final order. */
struct place {
    const float *mean; /* (d) */
    size_t d, index;
    uint64_t size;
};

static int place_compare(const void *a, const void *b)
{
    const struct place *p = a, *q = b;
    if (p->size != q->size) return p->size > q->size ? -1 : 1;
    for (size_t i = 0; i < p->d; i++)
        if (p->mean[i] != q->mean[i]) return p->mean[i] < q->mean[i] ? -1 : 1;
    return p->index < q->index ? -1 : p->index > q->index;
}

/* Copies from, whose rows by component are sizes, to g, largest component first. */
static enum seg_status put_in_order(const struct seg_gmm *from, const uint64_t *sizes,
                                    struct seg_gmm *g)
{
    const size_t d = g->d, n_factors = g->covariance == SEG_COVARIANCE_FULL ? d * d : d;
    struct place *places = seg_alloc(g->k, sizeof *places);
    if (places == NULL) return SEG_ENOMEM;
    for (size_t j = 0; j < g->k; j++)
        places[j] = (struct place){ seg_matrix_row(&from->means, j), d, j, sizes[j] };
    qsort(places, g->k, sizeof *places, place_compare);
    for (size_t j = 0; j < g->k; j++) {
        const size_t i = places[j].index;
        memcpy(seg_matrix_row(&g->means, j), places[j].mean, d * sizeof(float));
        memcpy(g->factors.data + j * n_factors, from->factors.data + i * n_factors,
               n_factors * sizeof(float));
        g->weights[j] = from->weights[i];
        g->log_norm[j] = from->log_norm[i];
        g->sizes[j] = sizes[i];
        g->origins[j] = (uint32_t)i;
    }
    seg_free(places);
    return SEG_OK;
}

static void criteria(struct seg_gmm *g, size_t n_rows)
{
    const double d = g->d, n = (double)n_rows;
    const double n_shape = g->covariance == SEG_COVARIANCE_FULL ? d * (d + 1) / 2 : d;
    const double n_params = g->k - 1 + g->k * (d + n_shape);
    g->aic = -2 * g->log_likelihood * n + 2 * n_params;
    g->bic = -2 * g->log_likelihood * n + log(n) * n_params;
}

/* Runs all starts in `now`; the best one ends in g. */
static enum seg_status run_starts(struct starts *s, struct seg_gmm *now, struct seg_gmm *g)
{
    const uint32_t n = s->p->start != NULL || s->p->from != NULL ? 1 : s->p->n_init;
    for (uint32_t start = 0; start < n; start++) {
        enum seg_status st = run_start(s, start, n, now);
        if (st != SEG_OK) return st;
        if (start > 0 && now->log_likelihood <= g->log_likelihood) continue;
        st = put_in_order(now, s->run.total.sizes, g);
        if (st != SEG_OK) return st;
        g->log_likelihood = now->log_likelihood;
        g->n_iter = now->n_iter;
        g->converged = now->converged;
        memcpy(g->curve, s->curve, now->n_iter * sizeof *g->curve);
    }
    return SEG_OK;
}

enum seg_status seg_gmm_fit(struct seg_pool *pool, const struct seg_tiles *x,
                            const struct seg_gmm_params *p, const struct seg_progress *progress,
                            struct seg_gmm *ret_g, struct seg_error *err)
{
    struct kmeans_data data = { 0 };
    struct seg_gmm g = { 0 }, now = { 0 };
    struct starts s = { .p = p, .data = &data };
    const size_t d = x->n_cols;
    enum seg_status st = check(x, p, err);
    if (st != SEG_OK) return st;

    st = kmeans_data_init(&data, pool, x);
    if (st == SEG_OK) st = gmm_init(&g, p->k, x->n_cols, p->covariance);
    if (st == SEG_OK) st = gmm_init(&now, p->k, x->n_cols, p->covariance);
    if (st == SEG_OK) st = gmm_run_init(&s.run, pool, x, &now, progress);
    if (st != SEG_OK) goto out;
    st = SEG_ENOMEM;
    g.curve = seg_alloc(p->n_iter_max, sizeof *g.curve);
    g.sizes = seg_alloc(p->k, sizeof *g.sizes);
    g.origins = seg_alloc(p->k, sizeof *g.origins);
    s.curve = seg_alloc(p->n_iter_max, sizeof *s.curve);
    s.label = seg_alloc(x->n_rows, sizeof *s.label);
    s.work = seg_alloc(p->covariance == SEG_COVARIANCE_FULL ? d * d : 1, sizeof *s.work);
    if (g.curve == NULL || g.sizes == NULL || g.origins == NULL || s.curve == NULL ||
        s.label == NULL || s.work == NULL)
        goto out;
    st = run_starts(&s, &now, &g);
    if (st != SEG_OK) goto out;
    criteria(&g, x->n_rows);
    *ret_g = g;
    g = (struct seg_gmm){ 0 };
out:
    seg_gmm_release(&g);
    seg_gmm_release(&now);
    gmm_run_release(&s.run);
    kmeans_data_release(&data);
    seg_free(s.curve);
    seg_free(s.label);
    seg_free(s.work);
    if (st == SEG_ENOMEM)
        seg_fail(err, st, "not enough memory for a mixture on %zu rows", x->n_rows);
    return st;
}
