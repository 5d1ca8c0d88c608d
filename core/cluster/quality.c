/* quality.c - what the shape of the clusters says, the silhouette of a sample, and the adjusted
 * Rand index. */
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "cluster/quality.h"
#include "cluster/silhouette.h"

/* The rows as they are measured: d columns, of the embedding if there is a space. */
struct view {
    const struct seg_tiles *x;
    const struct seg_mixed *space; /* NULL: every column is a number */
    float on;                      /* of the embedding */
    size_t d;
};

static struct view view_of(const struct seg_tiles *x, const struct seg_mixed *space)
{
    if (space == NULL) return (struct view){ .x = x, .d = x->n_cols };
    return (struct view){ x, space, sqrtf(space->weight / 2), seg_mixed_width(space) };
}

/* Per cluster: rows, means, and sums over the rows. */
struct shape {
    uint32_t k;
    size_t d;
    uint64_t *size;  /* (k) */
    double *mean;    /* (k, d) */
    double *spread;  /* (k) sum of distances to the mean */
    double *scatter; /* (k) sum of squared distances to the mean */
};

static enum seg_status shape_init(struct shape *s, uint32_t k, size_t d)
{
    *s = (struct shape){ .k = k, .d = d };
    s->size = seg_calloc(k, sizeof *s->size);
    s->mean = seg_calloc(k * d, sizeof *s->mean);
    s->spread = seg_calloc(k, sizeof *s->spread);
    s->scatter = seg_calloc(k, sizeof *s->scatter);
    return s->size && s->mean && s->spread && s->scatter ? SEG_OK : SEG_ENOMEM;
}

static void shape_release(struct shape *s)
{
    seg_free(s->size);
    seg_free(s->mean);
    seg_free(s->spread);
    seg_free(s->scatter);
}

/* One block of rows; blocks are fixed by the data and added in order. */
struct shape_pass {
    struct view view;
    const uint32_t *label;
    const struct seg_progress *progress;
    size_t n_tiles_block;
    float *embedded;    /* (blocks, d, 64) scratch, if the view has a space */
    const double *mean; /* (k, d); NULL in the first pass, which sums the rows up */
    struct shape *blocks;
};

static void shape_rows(struct shape *s, const double *mean, const float *tile,
                       const uint32_t *label, unsigned n)
{
    double dist2[SEG_TILE_ROWS] = { 0 };
    for (size_t c = 0; c < s->d; c++) {
        const float *v = tile + c * SEG_TILE_ROWS;
        for (unsigned i = 0; i < n; i++) {
            if (mean == NULL) {
                s->mean[label[i] * s->d + c] += (double)v[i];
            } else {
                double off = (double)v[i] - mean[label[i] * s->d + c];
                dist2[i] += off * off;
            }
        }
    }
    for (unsigned i = 0; i < n; i++) {
        if (mean == NULL) {
            s->size[label[i]]++;
        } else {
            s->scatter[label[i]] += dist2[i];
            s->spread[label[i]] += sqrt(dist2[i]);
        }
    }
}

static void shape_block(void *ctx, size_t block)
{
    const struct shape_pass *p = ctx;
    const struct seg_tiles *x = p->view.x;
    size_t first = block * p->n_tiles_block, n_tiles = seg_tiles_count(x);
    for (size_t t = first; t < first + p->n_tiles_block && t < n_tiles; t++) {
        const float *tile = seg_tiles_at(x, t);
        if (t % SEG_CHUNK_TILES == 0 && seg_progress_cancelled(p->progress)) return;
        seg_pool_give_way();
        if (p->embedded != NULL) {
            float *embedded = p->embedded + block * p->view.d * SEG_TILE_ROWS;
            seg_mixed_embed(p->view.space, tile, p->view.on, embedded);
            tile = embedded;
        }
        shape_rows(&p->blocks[block], p->mean, tile, p->label + t * SEG_TILE_ROWS,
                   seg_tiles_rows(x, t));
    }
}

/* Sizes, means and spreads of the clusters, in two passes. */
static enum seg_status measure_shape(struct seg_pool *pool, const struct view *view,
                                     const uint32_t *label, const struct seg_progress *progress,
                                     struct shape *s)
{
    enum { BLOCKS_MAX = 16 };
    struct shape blocks[BLOCKS_MAX] = { 0 };
    size_t n_chunks = view->x->n_chunks;
    size_t chunks_block = (n_chunks + BLOCKS_MAX - 1) / BLOCKS_MAX;
    size_t n_blocks = n_chunks > 0 ? (n_chunks + chunks_block - 1) / chunks_block : 0;
    struct shape_pass p = { *view, label, progress, chunks_block * SEG_CHUNK_TILES,
                            NULL,  NULL,  blocks };
    enum seg_status st = SEG_OK;
    if (view->space != NULL) {
        p.embedded = seg_alloc_aligned(n_blocks * view->d * SEG_TILE_ROWS, sizeof *p.embedded);
        if (p.embedded == NULL) st = SEG_ENOMEM;
    }
    for (size_t b = 0; b < n_blocks && st == SEG_OK; b++)
        st = shape_init(&blocks[b], s->k, s->d);
    if (st != SEG_OK) goto out;

    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_blocks, shape_block, &p);
    for (size_t b = 0; b < n_blocks; b++) {
        for (size_t j = 0; j < s->k; j++)
            s->size[j] += blocks[b].size[j];
        for (size_t i = 0; i < s->k * s->d; i++)
            s->mean[i] += blocks[b].mean[i];
    }
    for (size_t j = 0; j < s->k; j++)
        for (size_t c = 0; c < s->d && s->size[j] > 0; c++)
            s->mean[j * s->d + c] /= (double)s->size[j];
    p.mean = s->mean;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_blocks, shape_block, &p);
    for (size_t b = 0; b < n_blocks; b++)
        for (size_t j = 0; j < s->k; j++) {
            s->scatter[j] += blocks[b].scatter[j];
            s->spread[j] += blocks[b].spread[j];
        }
    if (seg_progress_cancelled(progress)) st = SEG_ECANCELED;
out:
    seg_free(p.embedded);
    for (size_t b = 0; b < n_blocks; b++)
        shape_release(&blocks[b]);
    return st;
}

static double square_distance(const double *a, const double *b, size_t d)
{
    double sum = 0;
    for (size_t c = 0; c < d; c++)
        sum += (a[c] - b[c]) * (a[c] - b[c]);
    return sum;
}

/* Mean over clusters of the largest (spread_i + spread_j) / distance of their means. */
static double davies_bouldin(const struct shape *s, uint32_t n_used)
{
    double sum = 0;
    for (size_t i = 0; i < s->k; i++) {
        double worst = 0;
        for (size_t j = 0; j < s->k; j++) {
            if (j == i || s->size[i] == 0 || s->size[j] == 0) continue;
            double way = sqrt(square_distance(s->mean + i * s->d, s->mean + j * s->d, s->d));
            double spread = s->spread[i] / (double)s->size[i] + s->spread[j] / (double)s->size[j];
            if (way > 0 && spread / way > worst) worst = spread / way;
        }
        sum += worst;
    }
    return sum / n_used;
}

/* Between-cluster over within-cluster variance; 1 when nothing varies inside the clusters. */
static double calinski_harabasz(const struct shape *s, uint32_t n_used, double inertia, size_t n)
{
    double between = 0;
    for (size_t c = 0; c < s->d; c++) {
        double center = 0;
        for (size_t j = 0; j < s->k; j++)
            center += s->mean[j * s->d + c] * (double)s->size[j] / (double)n;
        for (size_t j = 0; j < s->k; j++) {
            double off = s->mean[j * s->d + c] - center;
            between += (double)s->size[j] * off * off;
        }
    }
    if (inertia <= 0) return 1;
    return between * (double)(n - n_used) / (inertia * (double)(n_used - 1));
}

/* The rows of the silhouette, sorted by cluster: the sums of one stay in the first cache. */
struct sample {
    struct seg_tiles rows; /* (n, d) */
    uint32_t *label;       /* (n) ascending */
    size_t *first;         /* (k + 1) where each cluster starts */
    double *score;         /* (n) */
};

static void sample_release(struct sample *s)
{
    seg_tiles_release(&s->rows);
    seg_free(s->label);
    seg_free(s->first);
    seg_free(s->score);
}

/* Row r of the view to the row of a tile that starts at out: (d), SEG_TILE_ROWS apart. */
static void view_row(const struct view *view, size_t r, float *out)
{
    const struct seg_mixed *m = view->space;
    if (m == NULL) {
        for (uint32_t c = 0; c < view->d; c++)
            out[(size_t)c * SEG_TILE_ROWS] = *seg_tiles_cell(view->x, r, c);
        return;
    }
    for (uint32_t i = 0; i < m->n_numbers; i++)
        out[(size_t)i * SEG_TILE_ROWS] = *seg_tiles_cell(view->x, r, m->numbers[i]);
    for (uint32_t i = 0; i < m->n_categories; i++) {
        const uint32_t code = (uint32_t)*seg_tiles_cell(view->x, r, m->categories[i]);
        out[((size_t)m->n_numbers + m->first_code[i] + code) * SEG_TILE_ROWS] = view->on;
    }
}

/* Draws n rows. */
static enum seg_status sample_init(struct sample *s, const struct view *view, const uint32_t *label,
                                   uint32_t k, size_t n, uint64_t seed)
{
    struct seg_rng rng = seg_rng_make(seed, 0);
    enum seg_status st = SEG_ENOMEM;
    size_t *place = seg_alloc(k, sizeof *place);
    uint32_t *drawn = seg_alloc(n, sizeof *drawn);
    s->label = seg_alloc(n, sizeof *s->label);
    s->first = seg_calloc(k + 1u, sizeof *s->first);
    s->score = seg_alloc(n, sizeof *s->score);
    if (!place || !drawn || !s->label || !s->first || !s->score) goto out;
    st = seg_tiles_zeros(&s->rows, n, (uint32_t)view->d);
    if (st != SEG_OK) goto out;

    seg_rng_sample(&rng, view->x->n_rows, n, drawn);
    for (size_t i = 0; i < n; i++)
        s->first[label[drawn[i]] + 1]++;
    for (uint32_t j = 0; j < k; j++) {
        place[j] = s->first[j];
        s->first[j + 1] += s->first[j];
    }
    for (size_t i = 0; i < n; i++) {
        const size_t to = place[label[drawn[i]]]++;
        s->label[to] = label[drawn[i]];
        view_row(view, drawn[i], seg_tiles_cell(&s->rows, to, 0));
    }
out:
    seg_free(place);
    seg_free(drawn);
    return st;
}

/* Fills the silhouette of q, whose array by cluster is there. */
static enum seg_status silhouette(struct seg_pool *pool, const struct view *view,
                                  const uint32_t *label, uint32_t k, size_t n_max, uint64_t seed,
                                  const struct seg_progress *progress,
                                  struct seg_cluster_quality *q)
{
    const size_t n = view->x->n_rows < n_max ? view->x->n_rows : n_max;
    struct sample s = { 0 };
    double sum = 0;
    uint32_t n_used = 0;
    enum seg_status st = sample_init(&s, view, label, k, n, seed);
    if (st != SEG_OK) goto out;

    q->silhouette_rows = n;
    q->silhouette_sampled = n < view->x->n_rows;
    for (uint32_t j = 0; j < k; j++)
        n_used += s.first[j + 1] > s.first[j];
    if (n_used < 2) goto out;
    const uint32_t *labels = s.label;
    st = silhouette_scores(pool, &s.rows, &labels, &k, 1, progress, s.score);
    if (st != SEG_OK) goto out;
    for (uint32_t j = 0; j < k; j++) {
        double sum_cluster = 0;
        for (size_t r = s.first[j]; r < s.first[j + 1]; r++)
            sum_cluster += s.score[r];
        if (s.first[j + 1] > s.first[j])
            q->silhouette_by_cluster[j] = sum_cluster / (double)(s.first[j + 1] - s.first[j]);
        sum += sum_cluster;
    }
    q->silhouette = sum / (double)n;
out:
    sample_release(&s);
    return st;
}

static enum seg_status measure(struct seg_pool *pool, const struct view *view,
                               const uint32_t *label, uint32_t k, size_t n_max, uint64_t seed,
                               const struct seg_progress *progress,
                               struct seg_cluster_quality *ret_q)
{
    struct seg_cluster_quality q = { .silhouette = NAN,
                                     .davies_bouldin = NAN,
                                     .calinski_harabasz = NAN };
    struct shape shape;
    uint32_t n_used = 0;
    enum seg_status st = shape_init(&shape, k, view->d);
    if (st != SEG_OK) goto out;
    st = SEG_ENOMEM;
    q.silhouette_by_cluster = seg_alloc(k, sizeof *q.silhouette_by_cluster);
    if (q.silhouette_by_cluster == NULL) goto out;
    for (uint32_t j = 0; j < k; j++)
        q.silhouette_by_cluster[j] = NAN;

    st = measure_shape(pool, view, label, progress, &shape);
    if (st != SEG_OK) goto out;
    for (uint32_t j = 0; j < k; j++) {
        q.inertia += shape.scatter[j];
        n_used += shape.size[j] > 0;
    }
    if (n_used >= 2) {
        q.davies_bouldin = davies_bouldin(&shape, n_used);
        if (view->x->n_rows > n_used)
            q.calinski_harabasz = calinski_harabasz(&shape, n_used, q.inertia, view->x->n_rows);
    }
    if (n_max > 0) st = silhouette(pool, view, label, k, n_max, seed, progress, &q);
    if (st != SEG_OK) goto out;
    *ret_q = q;
    q.silhouette_by_cluster = NULL;
out:
    shape_release(&shape);
    seg_cluster_quality_release(&q);
    return st;
}

enum seg_status seg_cluster_quality(struct seg_pool *pool, const struct seg_tiles *x,
                                    const uint32_t *label, uint32_t k, size_t silhouette_rows_max,
                                    uint64_t seed, const struct seg_progress *progress,
                                    struct seg_cluster_quality *ret_q)
{
    const struct view view = view_of(x, NULL);
    return measure(pool, &view, label, k, silhouette_rows_max, seed, progress, ret_q);
}

enum seg_status seg_cluster_quality_mixed(struct seg_pool *pool, const struct seg_tiles *x,
                                          const struct seg_mixed *space, const uint32_t *label,
                                          uint32_t k, size_t silhouette_rows_max, uint64_t seed,
                                          const struct seg_progress *progress,
                                          struct seg_cluster_quality *ret_q)
{
    const struct view view = view_of(x, space);
    return measure(pool, &view, label, k, silhouette_rows_max, seed, progress, ret_q);
}

void seg_cluster_quality_release(struct seg_cluster_quality *q)
{
    seg_free(q->silhouette_by_cluster);
    q->silhouette_by_cluster = NULL;
}

static double pairs(double n)
{
    return n * (n - 1) / 2;
}

double seg_adjusted_rand(const uint32_t *a, uint32_t n_a, const uint32_t *b, uint32_t n_b, size_t n)
{
    uint64_t *both = seg_calloc((size_t)n_a * n_b, sizeof *both); /* contingency (n_a, n_b) */
    uint64_t *in_b = seg_calloc(n_b, sizeof *in_b);
    double together = 0, pairs_a = 0, pairs_b = 0, rand = NAN;
    if (both == NULL || in_b == NULL) goto out;
    for (size_t r = 0; r < n; r++)
        both[(size_t)a[r] * n_b + b[r]]++;
    for (size_t i = 0; i < n_a; i++) {
        uint64_t in_a = 0;
        for (size_t j = 0; j < n_b; j++) {
            uint64_t cell = both[i * n_b + j];
            in_a += cell;
            in_b[j] += cell;
            together += pairs((double)cell);
        }
        pairs_a += pairs((double)in_a);
    }
    for (size_t j = 0; j < n_b; j++)
        pairs_b += pairs((double)in_b[j]);
    double expected = n > 1 ? pairs_a * pairs_b / pairs((double)n) : 0;
    double most = (pairs_a + pairs_b) / 2;
    rand = most == expected ? 1 : (together - expected) / (most - expected);
out:
    seg_free(both);
    seg_free(in_b);
    return rand;
}
