/* pipeline_deep.c - deep_clustering: pretraining, the number of clusters, and the joint training.
 */
#include <string.h>
#include "base/alloc.h"
#include "model/pipeline_private.h"

/* How the time divides, roughly. */
#define WEIGHT_NEIGHBOURS 0.5
#define WEIGHT_PRETRAIN   4.0
#define WEIGHT_CLUSTERS   (PIPELINE_DEEP_WEIGHT - WEIGHT_NEIGHBOURS - WEIGHT_PRETRAIN)

struct seg_deep_params pipeline_deep_params(const struct seg_spec *spec)
{
    struct seg_deep_params params = spec->deep;
    params.network = spec->autoencoder;
    params.n_encoder = spec->n_encoder;
    memcpy(params.encoder, spec->encoder, sizeof(params.encoder));
    return params;
}

/* A new autoencoder, or that of an earlier model. */
static enum seg_status pretrain(struct pipeline *p, const struct seg_deep *d,
                                const struct seg_progress *progress, struct seg_error *err)
{
    if (p->t->from != NULL)
        return seg_network_copy(&p->model->autoencoder, &p->t->from->autoencoder);
    return seg_deep_pretrain(d, progress, &p->model->autoencoder, &p->report.autoencoder_curve,
                             err);
}

/* By the codes of the autoencoder as it was pretrained. */
static enum seg_status choose_k(struct pipeline *p, struct stage *stage, uint32_t *k,
                                struct seg_error *err)
{
    if (!p->spec->k_auto) return SEG_OK;
    enum seg_status st = pipeline_encode_part(p, SEG_PART_TRAIN, false);
    p->space = p->codes;
    if (st == SEG_OK) st = pipeline_choose_k(p, stage, k, err);
    seg_tiles_release(&p->codes[SEG_PART_TRAIN]);
    p->space = p->x;
    return st;
}

static enum seg_status warn_of_clusters(struct pipeline *p, const struct seg_deep *d, uint32_t k,
                                        const struct seg_deep_clusters *c)
{
    enum seg_status st = SEG_OK;
    size_t n_rows = p->report.n_rows[SEG_PART_TRAIN], n = c->centres.n_rows;
    if (d->x->n_rows < n_rows)
        st = pipeline_warn(p, "network and segments were learnt from %zu of %zu users",
                           d->x->n_rows, n_rows);
    if (st == SEG_OK && n < k)
        st = pipeline_warn(p, "%zu of %u segments have users: the others are left out", n, k);
    if (st == SEG_OK && !c->converged)
        st =
            pipeline_warn(p, "the segments were still changing after %u epochs", c->curve.n_epochs);
    return st;
}

static enum seg_status take_clusters(struct pipeline *p, struct seg_deep_clusters *c)
{
    p->report.n_iter = c->n_refreshes;
    p->report.converged = c->converged;
    p->report.clustering_curve = c->curve;
    c->curve = (struct seg_curve){ 0 };
    return pipeline_take_centroids(p, &c->centres, (uint32_t)c->centres.n_rows, c->origins);
}

/* Of the training part, in the space of the codes. */
static enum seg_status measure_inertia(struct pipeline *p)
{
    const struct seg_tiles *codes = &p->codes[SEG_PART_TRAIN];
    uint32_t *label = seg_alloc(codes->n_rows, sizeof(*label));
    float *dist2 = seg_alloc(codes->n_rows, sizeof(*dist2));
    enum seg_status st = label != NULL && dist2 != NULL ? SEG_OK : SEG_ENOMEM;
    if (st == SEG_OK) {
        seg_kmeans_assign(p->pool, codes, &p->model->centroids, label, dist2);
        for (size_t row = 0; row < codes->n_rows; row++)
            p->report.inertia += (double)dist2[row];
    }
    seg_free(label);
    seg_free(dist2);
    return st;
}

enum seg_status pipeline_fit_deep(struct pipeline *p, struct steps *steps, struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    const struct seg_deep_params params = pipeline_deep_params(spec);
    const struct seg_matrix *start = pipeline_resumed(p) != NULL ? &p->t->from->centroids : NULL;
    uint32_t k = spec->kmeans.k, k_max = spec->k_auto ? spec->k_max : k;
    struct seg_deep d = { 0 };
    struct seg_deep_clusters clusters = { 0 };
    struct stage stage;

    step_begin(&stage, p, steps, WEIGHT_NEIGHBOURS);
    enum seg_status st =
        seg_deep_init(&d, p->pool, &p->x[SEG_PART_TRAIN], k_max, &params, &stage.as, err);
    if (st != SEG_OK) goto out;
    step_begin(&stage, p, steps, WEIGHT_PRETRAIN);
    st = pretrain(p, &d, &stage.as, err);
    if (st != SEG_OK) goto out;
    step_begin(&stage, p, steps, WEIGHT_CLUSTERS);
    st = choose_k(p, &stage, &k, err);
    if (st == SEG_OK)
        st = seg_deep_cluster(&d, k, start, &stage.as, &p->model->autoencoder, &clusters, err);
    if (st == SEG_OK) st = warn_of_clusters(p, &d, k, &clusters);
    if (st == SEG_OK) st = take_clusters(p, &clusters);
    if (st != SEG_OK) goto out;
    seg_deep_release(&d);
    st = pipeline_encode_parts(p);
    if (st == SEG_OK) st = measure_inertia(p);
out:
    seg_deep_release(&d);
    seg_deep_clusters_release(&clusters);
    return st;
}
