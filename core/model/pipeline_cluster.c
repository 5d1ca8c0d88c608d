/* pipeline_cluster.c - the step of a segmentation that finds the clusters, one function an
 * algorithm, and the cluster of every row of a part. */
#include "model/pipeline_private.h"

#include <string.h>
#include "base/alloc.h"

/* Takes the clusters that have rows; their order by size gives the ids 1, 2, 3 … */
static enum seg_status take_segments(struct pipeline *p, const struct seg_kmeans *km)
{
    struct seg_model *m = p->model;
    uint32_t k = p->spec->kmeans.k, n = 0;

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

enum seg_status pipeline_cluster(struct pipeline *p, const struct seg_progress *progress,
                                 struct seg_error *err)
{
    struct seg_kmeans km = { 0 };
    enum seg_status st =
        seg_kmeans_fit(p->pool, &p->space[SEG_PART_TRAIN], &p->spec->kmeans, progress, &km, err);
    if (st != SEG_OK) return st;
    st = take_segments(p, &km);
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
