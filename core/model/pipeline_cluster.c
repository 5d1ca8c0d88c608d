/* pipeline_cluster.c - the step of a segmentation that finds the clusters, one function an
 * algorithm, and the cluster of every row of a part. */
#include "model/pipeline_private.h"

#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"

/* What the time of choosing k is to that of the fit at the chosen k, roughly. */
#define SEARCH_SHARE    0.6

#define STREAM_EMBEDDED UINT64_C(0x656d6265) /* of the generator that draws the rows to embed */

enum seg_status pipeline_take_centroids(struct pipeline *p, const struct seg_matrix *centroids,
                                        uint32_t n, const uint32_t *origins)
{
    const struct seg_model *from = pipeline_resumed(p);
    struct seg_model *m = p->model;
    enum seg_status st = seg_matrix_init(&m->centroids, n, centroids->n_cols);
    if (st != SEG_OK) return st;
    memcpy(m->centroids.data, centroids->data, n * centroids->n_cols * sizeof(float));
    m->segment_ids = seg_alloc(n, sizeof(*m->segment_ids));
    if (m->segment_ids == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        m->segment_ids[i] = from != NULL ? from->segment_ids[origins[i]] : i + 1;
    return SEG_OK;
}

/* Takes the clusters that have rows of the k wanted; they are ordered by size. */
static enum seg_status take_segments(struct pipeline *p, const struct seg_kmeans *km, uint32_t k)
{
    uint32_t n = 0;

    while (n < k && km->sizes[n] > 0)
        n++;
    enum seg_status st = pipeline_take_centroids(p, &km->centroids, n, km->origins);
    if (st == SEG_OK && n < k)
        st = pipeline_warn(p, "%u distinct row%s for k = %u: %u segment%s empty and left out", n,
                           n == 1 ? "" : "s", k, k - n, k - n == 1 ? " is" : "s are");
    if (st == SEG_OK && !km->converged)
        st = pipeline_warn(p, "%s did not converge in %u iterations",
                           seg_algorithm_info(p->spec->algorithm)->name, km->n_iter);
    return st;
}

enum seg_status pipeline_embed_sample(const struct pipeline *p, size_t n_max,
                                      struct seg_tiles *ret_x, uint32_t **ret_rows)
{
    const struct seg_tiles *x = &p->x[SEG_PART_TRAIN];
    const struct seg_mixed *m = &p->model->mixed;
    const float on = sqrtf(m->weight / 2);
    struct seg_tiles taken = { 0 };
    if (x->n_rows <= n_max) {
        *ret_rows = NULL;
        return seg_mixed_embed_rows(p->pool, x, m, on, ret_x);
    }
    struct seg_rng rng = seg_rng_make(p->spec->seed, STREAM_EMBEDDED);
    uint32_t *rows = seg_alloc(n_max, sizeof(*rows));
    if (rows == NULL) return SEG_ENOMEM;
    seg_rng_sample(&rng, x->n_rows, n_max, rows);
    enum seg_status st = seg_tiles_gather(x, rows, n_max, &taken);
    if (st == SEG_OK) st = seg_mixed_embed_rows(p->pool, &taken, m, on, ret_x);
    seg_tiles_release(&taken);
    if (st == SEG_OK) {
        *ret_rows = rows;
        rows = NULL;
    }
    seg_free(rows);
    return st;
}

/* The search of a k for rows with categories is k-means on their embedding: the same distances
 * between rows, with middles that are shares instead of modes. */
static enum seg_status search_embedded(struct pipeline *p, const struct seg_k_search_params *search,
                                       const struct seg_progress *progress, struct seg_error *err)
{
    const size_t n = seg_k_search_rows_max(seg_mixed_width(&p->model->mixed), search->k_max);
    struct seg_tiles embedded = { 0 };
    uint32_t *rows = NULL;
    enum seg_status st = pipeline_embed_sample(p, n, &embedded, &rows);
    if (st == SEG_OK)
        st = seg_k_search(p->pool, &embedded, search, progress, &p->report.k_search, err);
    if (st == SEG_OK && rows != NULL) p->report.k_search.sampled = true;
    seg_free(rows);
    seg_tiles_release(&embedded);
    return st;
}

static bool has_three_values(const struct seg_tiles *x, uint32_t column)
{
    float a = *seg_tiles_cell(x, 0, column), b = a;
    for (size_t i = 0; i < seg_tiles_count(x); i++) {
        const float *cells = seg_tiles_at(x, i) + (size_t)column * SEG_TILE_ROWS;
        if (i % SEG_CHUNK_TILES == 0) seg_pool_give_way();
        for (unsigned r = 0; r < seg_tiles_rows(x, i); r++) {
            if (cells[r] == a || cells[r] == b) continue;
            if (a != b) return true;
            b = cells[r];
        }
    }
    return false;
}

/* A new array (columns of the space): those in which clusters can be counted. Not those made of
 * categories, and none of two values: see k_search.h. NULL in *ret_columns when that leaves all or
 * none. */
static enum seg_status countable_columns(const struct pipeline *p, bool **ret_columns)
{
    const struct seg_preprocess *pre = p->model->preprocess;
    const struct seg_schema *schema = seg_preprocess_inputs(pre);
    const struct seg_tiles *x = &p->x[SEG_PART_TRAIN];
    uint32_t n = 0;
    *ret_columns = NULL;
    if (p->space != p->x || p->spec->pca.wanted) return SEG_OK; /* codes, components */
    bool *columns = seg_alloc(x->n_cols, sizeof(*columns));
    if (columns == NULL) return SEG_ENOMEM;
    for (uint32_t c = 0; c < x->n_cols; c++) {
        uint32_t f = seg_preprocess_column_feature(pre, c); /* from n_features on, a derived one */
        enum seg_type type = f < schema->n_features ? schema->features[f].type : SEG_NUMERIC;
        columns[c] = type != SEG_CATEGORICAL && type != SEG_BOOLEAN && has_three_values(x, c);
        n += columns[c];
    }
    if (n > 0 && n < x->n_cols)
        *ret_columns = columns;
    else
        seg_free(columns);
    return SEG_OK;
}

static enum seg_status search_numbers(struct pipeline *p, const struct seg_k_search_params *search,
                                      const struct seg_progress *progress, struct seg_error *err)
{
    struct seg_k_search_params params = *search;
    bool *columns;
    enum seg_status st = countable_columns(p, &columns);
    if (st != SEG_OK) return st;
    params.columns = columns;
    st = seg_k_search(p->pool, &p->space[SEG_PART_TRAIN], &params, progress, &p->report.k_search,
                      err);
    if (st == SEG_OK && columns != NULL)
        st =
            pipeline_warn(p, "k was chosen by the columns that are numbers: categories and columns "
                             "of two values cut every group in clean parts, and were left out");
    seg_free(columns);
    return st;
}

/* Sets params->k where the spec leaves it open. */
enum seg_status pipeline_choose_k(struct pipeline *p, struct stage *stage, uint32_t *k,
                                  struct seg_error *err)
{
    const struct seg_spec *spec = p->spec;
    if (!spec->k_auto) return SEG_OK;
    const struct seg_k_search_params search = {
        .k_min = spec->k_min, .k_max = spec->k_max, .kmeans = spec->kmeans, .seed = spec->seed
    };
    double base = stage->base, span = stage->span;
    stage->span = span * SEARCH_SHARE;
    enum seg_status st = p->model->mixed.n_cols > 0 ? search_embedded(p, &search, &stage->as, err)
                                                    : search_numbers(p, &search, &stage->as, err);
    stage->base = base + stage->span;
    stage->span = span - stage->span;
    if (st != SEG_OK) return st;
    *k = p->report.k_search.k;
    if (spec->kmeans.min_share * *k > 1)
        return seg_fail(err, SEG_EINVAL, "k = %u was chosen, but not all can hold a share of %.3g",
                        *k, spec->kmeans.min_share);
    return SEG_OK;
}

/* Takes what a fit found, and releases it. */
static enum seg_status take_kmeans(struct pipeline *p, struct seg_kmeans *km, uint32_t k)
{
    enum seg_status st = take_segments(p, km, k);
    p->report.n_iter = km->n_iter;
    p->report.converged = km->converged;
    p->report.inertia = km->inertia;
    p->report.kmeans_curve = km->curve;
    km->curve = NULL;
    seg_kmeans_release(km);
    return st;
}

static enum seg_status fit_kmeans(struct pipeline *p, const struct seg_kmeans_params *params,
                                  const struct seg_progress *progress, struct seg_error *err)
{
    struct seg_kmeans km = { 0 };
    enum seg_status st =
        seg_kmeans_fit_own(p->pool, &p->space[SEG_PART_TRAIN], params, progress, &km, err);
    return st == SEG_OK ? take_kmeans(p, &km, params->k) : st;
}

static enum seg_status fit_minibatch(struct pipeline *p, const struct seg_kmeans_params *params,
                                     const struct seg_progress *progress, struct seg_error *err)
{
    struct seg_minibatch_params minibatch = p->spec->minibatch;
    struct seg_kmeans km = { 0 };
    minibatch.k = params->k;
    minibatch.seed = params->seed;
    if (params->start != NULL) {
        minibatch.init = SEG_INIT_GIVEN;
        minibatch.start = params->start;
    }
    enum seg_status st =
        seg_minibatch_fit(p->pool, &p->space[SEG_PART_TRAIN], &minibatch, progress, &km, err);
    return st == SEG_OK ? take_kmeans(p, &km, params->k) : st;
}

static enum seg_status fit_prototypes(struct pipeline *p, const struct seg_kmeans_params *params,
                                      const struct seg_progress *progress, struct seg_error *err)
{
    struct seg_prototypes_params prototypes = p->spec->prototypes;
    struct seg_kmeans km = { 0 };
    prototypes.k = params->k;
    prototypes.seed = params->seed;
    enum seg_status st = seg_prototypes_fit(p->pool, &p->space[SEG_PART_TRAIN], &p->model->mixed,
                                            &prototypes, progress, &km, err);
    return st == SEG_OK ? take_kmeans(p, &km, params->k) : st;
}

/* Every component is a segment: one that few rows prefer still takes part in the degrees. */
static enum seg_status fit_mixture(struct pipeline *p, const struct seg_kmeans_params *params,
                                   const struct seg_progress *progress, struct seg_error *err)
{
    struct seg_gmm_params mixture = p->spec->gmm;
    struct seg_gmm *g = &p->model->mixture;
    mixture.k = params->k;
    mixture.seed = params->seed;
    mixture.start = NULL;
    mixture.from = pipeline_resumed(p) != NULL ? &p->t->from->mixture : NULL;
    enum seg_status st =
        seg_gmm_fit(p->pool, &p->space[SEG_PART_TRAIN], &mixture, progress, g, err);
    if (st != SEG_OK) return st;
    p->report.n_iter = g->n_iter;
    p->report.converged = g->converged;
    p->report.has_likelihood = true;
    p->report.log_likelihood = g->log_likelihood;
    p->report.aic = g->aic;
    p->report.bic = g->bic;
    p->report.likelihood_curve = g->curve;
    g->curve = NULL;
    if (!g->converged)
        st = pipeline_warn(p, "the mixture did not converge in %u iterations", g->n_iter);
    return st == SEG_OK ? pipeline_take_centroids(p, &g->means, g->k, g->origins) : st;
}

enum seg_status pipeline_cluster(struct pipeline *p, struct stage *stage, struct seg_error *err)
{
    struct seg_kmeans_params params = p->spec->kmeans;
    if (pipeline_resumed(p) != NULL) {
        params.init = SEG_INIT_GIVEN;
        params.start = &p->t->from->centroids;
    }
    enum seg_status st = pipeline_choose_k(p, stage, &params.k, err);
    if (st != SEG_OK) return st;
    switch (p->spec->algorithm) {
    case SEG_GMM: return fit_mixture(p, &params, &stage->as, err);
    case SEG_MINIBATCH_KMEANS: return fit_minibatch(p, &params, &stage->as, err);
    case SEG_K_PROTOTYPES: return fit_prototypes(p, &params, &stage->as, err);
    default: return fit_kmeans(p, &params, &stage->as, err);
    }
}

struct labelling {
    const struct seg_model *model;
    const struct seg_tiles *z;
    uint32_t *label;
    atomic_bool no_memory;
};

static void label_chunk(void *ctx, size_t chunk)
{
    struct labelling *l = ctx;
    const struct seg_gmm *g = &l->model->mixture;
    uint32_t label[SEG_TILE_ROWS];
    size_t n_tiles = seg_tiles_count(l->z), first = chunk * SEG_CHUNK_TILES;
    float *scratch =
        seg_alloc_aligned(seg_gmm_scratch(g) + (size_t)g->k * SEG_TILE_ROWS, sizeof(*scratch));
    if (scratch == NULL) {
        atomic_store(&l->no_memory, true);
        return;
    }
    for (size_t i = first; i < n_tiles && i < first + SEG_CHUNK_TILES; i++) {
        seg_pool_give_way();
        model_mixture_tile(l->model, seg_tiles_at(l->z, i), scratch, label);
        memcpy(l->label + i * SEG_TILE_ROWS, label, seg_tiles_rows(l->z, i) * sizeof(*label));
    }
    seg_free(scratch);
}

uint32_t *pipeline_label_part(const struct pipeline *p, enum seg_part part)
{
    struct labelling l = { .model = p->model, .z = &p->space[part] };
    l.label = seg_alloc(l.z->n_rows, sizeof(*l.label));
    if (l.label == NULL) return NULL;
    if (p->model->mixed.n_cols > 0) {
        seg_mixed_assign(p->pool, l.z, &p->model->mixed, &p->model->centroids, l.label, NULL);
        return l.label;
    }
    if (p->model->mixture.k == 0) {
        seg_kmeans_assign(p->pool, l.z, &p->model->centroids, l.label, NULL);
        return l.label;
    }
    seg_pool_for(p->pool, SEG_PRIORITY_TRAINING, l.z->n_chunks, label_chunk, &l);
    if (!atomic_load(&l.no_memory)) return l.label;
    seg_free(l.label);
    return NULL;
}
