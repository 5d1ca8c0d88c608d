/* pipeline_cluster.c - the step of a segmentation that finds the clusters, one function an
 * algorithm, and the cluster of every row of a part. */
#include "model/pipeline_private.h"

#include <string.h>
#include "base/alloc.h"

/* What the time of choosing k is to that of the fit at the chosen k, roughly. */
#define SEARCH_SHARE 0.6

/* Takes the clusters that have rows of the k wanted; their order by size gives the ids 1, 2, 3 … */
static enum seg_status take_segments(struct pipeline *p, const struct seg_kmeans *km, uint32_t k)
{
    struct seg_model *m = p->model;
    uint32_t n = 0;

    while (n < k && km->sizes[n] > 0)
        n++;
    enum seg_status st = seg_matrix_init(&m->centroids, n, km->centroids.n_cols);
    if (st != SEG_OK) return st;
    memcpy(m->centroids.data, km->centroids.data, n * km->centroids.n_cols * sizeof(float));
    m->segment_ids = seg_alloc(n, sizeof(*m->segment_ids));
    if (m->segment_ids == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        m->segment_ids[i] = i + 1;
    if (n < k)
        st = pipeline_warn(p, "%u distinct row%s for k = %u: %u segment%s empty and left out", n,
                           n == 1 ? "" : "s", k, k - n, k - n == 1 ? " is" : "s are");
    if (st == SEG_OK && !km->converged)
        st = pipeline_warn(p, "k-means did not converge in %u iterations", km->n_iter);
    return st;
}

/* Sets params->k where the spec leaves it open. */
static enum seg_status choose_k(struct pipeline *p, struct stage *stage,
                                struct seg_kmeans_params *params, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    const struct seg_k_search_params search = {
        .k_min = spec->k_min, .k_max = spec->k_max, .kmeans = spec->kmeans, .seed = spec->seed
    };
    double base = stage->base, span = stage->span;
    stage->span = span * SEARCH_SHARE;
    enum seg_status st = seg_k_search(p->pool, &p->space[SEG_PART_TRAIN], &search, &stage->as,
                                      &p->report.k_search, err);
    stage->base = base + stage->span;
    stage->span = span - stage->span;
    if (st != SEG_OK) return st;
    params->k = p->report.k_search.k;
    if (params->min_share * params->k > 1)
        return seg_fail(err, SEG_EINVAL, "k = %u was chosen, but not all can hold a share of %.3g",
                        params->k, params->min_share);
    return SEG_OK;
}

enum seg_status pipeline_cluster(struct pipeline *p, struct stage *stage, struct seg_error *err)
{
    struct seg_kmeans_params params = p->spec->kmeans;
    struct seg_kmeans km = { 0 };
    enum seg_status st = p->spec->k_auto ? choose_k(p, stage, &params, err) : SEG_OK;
    if (st != SEG_OK) return st;
    st = seg_kmeans_fit(p->pool, &p->space[SEG_PART_TRAIN], &params, &stage->as, &km, err);
    if (st != SEG_OK) return st;
    st = take_segments(p, &km, params.k);
    p->report.n_iter = km.n_iter;
    p->report.converged = km.converged;
    p->report.inertia = km.inertia;
    p->report.kmeans_curve = km.curve;
    km.curve = NULL;
    seg_kmeans_release(&km);
    return st;
}

uint32_t *pipeline_label_part(const struct pipeline *p, enum seg_part part)
{
    const struct seg_tiles *z = &p->space[part];
    uint32_t *label = seg_alloc(z->n_rows, sizeof(*label));
    if (label != NULL) seg_kmeans_assign(p->pool, z, &p->model->centroids, label, NULL);
    return label;
}
