/* deep_joint.c - the second part of deep clustering: network and centres trained together. */
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "cluster/kmeans.h"
#include "neural/deep_clustering.h"
#include "neural/fit.h"
#include "neural/soft_clusters.h"

#define START_ITER_MAX 300u /* of k-means */
#define START_TOL      1e-4
#define RANGES         16u /* tasks of a pass over the rows, each with a scratch of its own */

void seg_deep_clusters_release(struct seg_deep_clusters *c)
{
    seg_matrix_release(&c->centres);
    seg_free(c->origins);
    seg_curve_release(&c->curve);
}

/* The second part at work. */
struct joint {
    const struct seg_deep *d;
    const struct seg_progress *progress;
    struct seg_network *net;
    struct seg_matrix centres;    /* (k, code) */
    struct seg_tiles q, smooth_q; /* (n, k); q holds the targets between refreshes */
    struct seg_tiles *codes;      /* (n, code) receives the codes of a pass; or NULL */
    uint32_t *label;              /* (n) at the pass before */
    double *share;                /* (k) */
    float *scratch;               /* (RANGES, stride) */
    size_t stride;
    size_t n_changed[RANGES];
    double dist2[RANGES]; /* summed squared distances to the nearest centre */
    uint32_t n_refreshes;
    bool converged;
};

static void joint_release(struct joint *j)
{
    seg_matrix_release(&j->centres);
    seg_tiles_release(&j->q);
    seg_tiles_release(&j->smooth_q);
    seg_free(j->label);
    seg_free(j->share);
    seg_free(j->scratch);
}

static uint32_t code_width(const struct seg_network *net)
{
    return (uint32_t)net->layers[net->n_layers / 2 - 1].weights.n_rows;
}

/* A tile's rows, from lanes that may hold more, to tile t of `to`. */
static void put_rows(struct seg_tiles *to, size_t t, const float *from)
{
    unsigned n = seg_tiles_rows(to, t);
    for (size_t c = 0; c < to->n_cols; c++)
        memcpy(seg_tiles_at(to, t) + c * SEG_TILE_ROWS, from + c * SEG_TILE_ROWS, n * sizeof *from);
}

/* Codes, degrees and clusters of a range of tiles. */
static void assign_range(void *ctx, size_t range)
{
    struct joint *j = ctx;
    const struct seg_tiles *x = j->d->x;
    const struct seg_kernels *kernels = seg_kernels_get();
    size_t n_tiles = seg_tiles_count(x), last = n_tiles * (range + 1) / RANGES;
    float *code = j->scratch + range * j->stride;
    float *q = code + (size_t)code_width(j->net) * SEG_TILE_ROWS;
    float *scratch = q + j->centres.n_rows * SEG_TILE_ROWS;
    uint32_t label[SEG_TILE_ROWS];
    float dist2[SEG_TILE_ROWS];
    j->n_changed[range] = 0;
    j->dist2[range] = 0.0;
    for (size_t t = n_tiles * range / RANGES; t < last; t++) {
        if (seg_progress_cancelled(j->progress)) return;
        seg_pool_give_way();
        seg_network_forward(j->net, 0, j->net->n_layers / 2, seg_tiles_at(x, t), code, scratch);
        seg_soft_assign(kernels, code, &j->centres, q, label, dist2);
        unsigned n = seg_tiles_rows(x, t);
        put_rows(&j->q, t, q);
        if (j->codes != NULL) put_rows(j->codes, t, code);
        uint32_t *before = j->label + t * SEG_TILE_ROWS;
        for (unsigned r = 0; r < n; r++) {
            j->n_changed[range] += before[r] != label[r];
            j->dist2[range] += (double)dist2[r];
            before[r] = label[r];
        }
    }
}

/* Brings q and label up to date; how many rows have changed cluster. */
static size_t assign(struct joint *j)
{
    size_t n_changed = 0;
    seg_pool_for(j->d->pool, SEG_PRIORITY_TRAINING, RANGES, assign_range, j);
    for (size_t i = 0; i < RANGES; i++)
        n_changed += j->n_changed[i];
    return n_changed;
}

/* Between two batches: the targets anew, unless the clusters have come to rest. */
static bool refresh(void *ctx)
{
    struct joint *j = ctx;
    size_t n_changed = assign(j);
    if (seg_progress_cancelled(j->progress)) return true; /* the training looks at it next */
    double limit = j->d->params->tolerance * (double)j->d->x->n_rows;
    j->converged = j->n_refreshes > 0 && (n_changed == 0 || (double)n_changed < limit);
    if (j->converged) return false;
    j->n_refreshes++;
    if (j->d->neighbours.n > 0) {
        seg_neighbours_mean(j->d->pool, &j->d->neighbours, &j->q, &j->smooth_q);
        struct seg_tiles swap = j->q;
        j->q = j->smooth_q;
        j->smooth_q = swap;
    }
    seg_soft_sharpen(j->d->pool, &j->q, j->share);
    return true;
}

static enum seg_status joint_init(struct joint *j, const struct seg_deep *d, uint32_t k,
                                  const struct seg_progress *progress, struct seg_network *net)
{
    size_t n = d->x->n_rows, code = code_width(net);
    *j = (struct joint){ .d = d, .progress = progress, .net = net };
    j->stride = (code + k) * SEG_TILE_ROWS + seg_network_scratch(net);
    enum seg_status st = seg_matrix_init(&j->centres, k, code);
    if (st == SEG_OK) st = seg_tiles_zeros(&j->q, n, k);
    if (st == SEG_OK && d->neighbours.n > 0) st = seg_tiles_zeros(&j->smooth_q, n, k);
    if (st != SEG_OK) return st;
    j->label = seg_calloc(n, sizeof *j->label);
    j->share = seg_alloc(k, sizeof *j->share);
    j->scratch = seg_alloc_aligned(RANGES, j->stride * sizeof *j->scratch);
    bool ok = j->label != NULL && j->share != NULL && j->scratch != NULL;
    return ok ? SEG_OK : SEG_ENOMEM;
}

/* The centre of each cluster of j->label: the mean of its codes. */
static void average_codes(struct joint *j, const struct seg_tiles *codes)
{
    for (size_t c = 0; c < codes->n_cols; c++) {
        /* share: sums, a column at a time; the counts are taken once more for each */
        memset(j->share, 0, j->centres.n_rows * sizeof *j->share);
        for (size_t row = 0; row < codes->n_rows; row++) {
            if (row % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
            j->share[j->label[row]] += (double)*seg_tiles_cell(codes, row, (uint32_t)c);
        }
        for (size_t i = 0; i < j->centres.n_rows; i++)
            seg_matrix_row(&j->centres, i)[c] = (float)j->share[i];
    }
    memset(j->share, 0, j->centres.n_rows * sizeof *j->share);
    for (size_t row = 0; row < codes->n_rows; row++)
        j->share[j->label[row]] += 1.0;
    for (size_t i = 0; i < j->centres.n_rows; i++)
        for (size_t c = 0; c < codes->n_cols; c++)
            if (j->share[i] > 0.0) seg_matrix_row(&j->centres, i)[c] /= (float)j->share[i];
}

static void scale_floats(float *x, size_t n, float by)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= by;
}

/* Codes and centres times `by`, and what the decoder makes of them as it was. */
static void scale_code(struct joint *j, float by)
{
    struct seg_layer *code = &j->net->layers[j->net->n_layers / 2 - 1], *next = code + 1;
    scale_floats(code->weights.data, code->weights.n_rows * code->weights.n_cols, by);
    scale_floats(code->bias, code->weights.n_rows, by);
    scale_floats(next->weights.data, next->weights.n_rows * next->weights.n_cols, 1.0f / by);
    scale_floats(j->centres.data, j->centres.n_rows * j->centres.n_cols, by);
}

/* First clusters from k-means on the rows as their neighbours have smoothed them. */
static enum seg_status start_from_rows(struct joint *j, const struct seg_kmeans *km)
{
    struct seg_tiles codes = { 0 };
    enum seg_status st = seg_tiles_zeros(&codes, j->d->x->n_rows, code_width(j->net));
    if (st != SEG_OK) goto out;
    j->codes = &codes;
    assign(j);
    j->codes = NULL;
    seg_kmeans_assign(j->d->pool, j->d->target, &km->centroids, j->label, NULL);
    average_codes(j, &codes);
    assign(j);
    double sum = 0.0;
    for (size_t i = 0; i < RANGES; i++)
        sum += j->dist2[i];
    double length = sqrt(sum / (double)codes.n_rows);
    if (length > 1e-6 && length < 1e6) scale_code(j, (float)(1.0 / length));
out:
    seg_tiles_release(&codes);
    return st;
}

/* k-means, and the joint training from where it leads. */
static enum seg_status joint_from_kmeans(struct joint *j, const struct seg_deep *d, uint32_t k,
                                         const struct seg_progress *progress,
                                         struct seg_network *net, struct seg_error *err)
{
    const struct seg_kmeans_params params = { .k = k,
                                              .n_init = d->params->n_init,
                                              .n_iter_max = START_ITER_MAX,
                                              .tol = START_TOL,
                                              .seed = d->params->network.seed };
    const struct seg_progress silent = { .cancel = progress != NULL ? progress->cancel : NULL };
    struct seg_kmeans km = { 0 };
    enum seg_status st = seg_kmeans_fit(d->pool, d->target, &params, &silent, &km, err);
    if (st != SEG_OK) return st;
    uint32_t n_used = 0; /* clusters without rows stand last */
    while (n_used < k && km.sizes[n_used] > 0)
        n_used++;
    st = joint_init(j, d, n_used, progress, net);
    if (st == SEG_OK) st = start_from_rows(j, &km);
    seg_kmeans_release(&km);
    return st;
}

static enum seg_status joint_from_centres(struct joint *j, const struct seg_deep *d,
                                          const struct seg_matrix *start,
                                          const struct seg_progress *progress,
                                          struct seg_network *net)
{
    enum seg_status st = joint_init(j, d, (uint32_t)start->n_rows, progress, net);
    if (st == SEG_OK)
        memcpy(j->centres.data, start->data, start->n_rows * start->n_cols * sizeof(float));
    return st;
}

/* The clusters that have rows, by size. */
static enum seg_status take_clusters(struct joint *j, struct seg_deep_clusters *c)
{
    size_t k = j->centres.n_rows, n = 0;
    c->origins = seg_alloc(k, sizeof *c->origins);
    if (c->origins == NULL) return SEG_ENOMEM;
    memset(j->share, 0, k * sizeof *j->share);
    for (size_t row = 0; row < j->d->x->n_rows; row++)
        j->share[j->label[row]] += 1.0;
    for (uint32_t i = 0; i < k; i++) {
        if (!(j->share[i] > 0.0)) continue;
        size_t at = n++;
        for (; at > 0 && j->share[c->origins[at - 1]] < j->share[i]; at--)
            c->origins[at] = c->origins[at - 1];
        c->origins[at] = i;
    }
    enum seg_status st = seg_matrix_init(&c->centres, n, j->centres.n_cols);
    for (size_t i = 0; st == SEG_OK && i < n; i++)
        memcpy(seg_matrix_row(&c->centres, i), seg_matrix_row(&j->centres, c->origins[i]),
               j->centres.n_cols * sizeof(float));
    return st;
}

static enum seg_status train_jointly(struct joint *j, struct seg_deep_clusters *made,
                                     struct seg_error *err)
{
    const struct seg_deep *d = j->d;
    struct seg_train_params params = d->params->network;
    const struct seg_soft_loss loss = { seg_kernels_get(), &j->q, &j->centres, d->params->gamma };
    const struct seg_code_loss code_loss = seg_soft_code_loss(&loss, j->net->n_layers / 2 - 1);
    struct seg_fit fit = {
        .train = { .x = d->x, .target = d->target, .code_loss = &code_loss },
        .params = &params,
        .between = refresh,
        .between_ctx = j,
        .interval = d->params->update_interval,
    };
    params.patience = 0;
    for (uint32_t i = 0; i < j->net->n_layers; i++)
        fit.drops[i] = i + 1 != j->net->n_layers / 2 && i + 1 != j->net->n_layers;
    enum seg_status st = seg_fit(d->pool, &fit, j->progress, j->net, &made->curve, err);
    if (st != SEG_OK) return st;
    assign(j);
    if (seg_progress_cancelled(j->progress)) return SEG_ECANCELED;
    made->n_refreshes = j->n_refreshes;
    made->converged = j->converged;
    return take_clusters(j, made);
}

enum seg_status seg_deep_cluster(const struct seg_deep *d, uint32_t k,
                                 const struct seg_matrix *start,
                                 const struct seg_progress *progress, struct seg_network *net,
                                 struct seg_deep_clusters *ret_clusters, struct seg_error *err)
{
    struct joint j = { 0 };
    struct seg_deep_clusters made = { 0 };
    if (k < 1 || k > d->x->n_rows)
        return seg_fail(err, SEG_EINVAL, "k is %u for %zu rows", k, d->x->n_rows);
    enum seg_status st = start != NULL ? joint_from_centres(&j, d, start, progress, net)
                                       : joint_from_kmeans(&j, d, k, progress, net, err);
    if (st == SEG_OK) st = train_jointly(&j, &made, err);
    if (st == SEG_OK) {
        *ret_clusters = made;
        made = (struct seg_deep_clusters){ 0 };
    }
    if (st == SEG_ENOMEM) seg_fail(err, st, "out of memory for clustering codes");
    seg_deep_clusters_release(&made);
    joint_release(&j);
    return st;
}
