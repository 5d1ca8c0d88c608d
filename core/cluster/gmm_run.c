/* gmm_run.c - one iteration of expectation maximisation: the sums of the rows by responsibility,
 * and the components that follow from them. Chunks are summed in waves of GMM_SLOTS, and the slots
 * added in chunk order after each wave: memory is bounded and the order fixed. */
#include "cluster/gmm_run.h"

#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "cluster/kmeans_run.h"

#define ROWS SEG_TILE_ROWS
/* Responsibilities below count as none: what they would add is lost in rounding, and tiles far
 * from a component cost nothing. */
#define SHARE_MIN 1e-20f
/* Rows a component must have to be taken afresh. */
#define COMPONENT_ROWS_MIN 1e-3

static double sum_lanes(const double *a)
{
    double part[8] = { 0 };
    for (size_t r = 0; r < ROWS; r += 8)
        for (size_t i = 0; i < 8; i++)
            part[i] += a[r + i];
    return ((part[0] + part[4]) + (part[1] + part[5])) +
           ((part[2] + part[6]) + (part[3] + part[7]));
}

static double dot_lanes(const double *a, const double *b)
{
    double part[8] = { 0 };
    for (size_t r = 0; r < ROWS; r += 8)
        for (size_t i = 0; i < 8; i++)
            part[i] += a[r + i] * b[r + i];
    return ((part[0] + part[4]) + (part[1] + part[5])) +
           ((part[2] + part[6]) + (part[3] + part[7]));
}

/* Adds a tile's rows to component j; share (64) are their responsibilities. */
static void add_component(const struct gmm_run *run, struct gmm_slot *slot, uint32_t j,
                          const float *x, const float *share)
{
    const size_t d = run->x->n_cols;
    const bool is_full = run->g->covariance == SEG_COVARIANCE_FULL;
    double *sums = slot->sums + j * run->stride, *products = sums + 1 + d;
    double *weighted = slot->wide + d * ROWS;
    float *diff = slot->scratch;
    float most = 0;
    double sum = 0;
    for (size_t r = 0; r < ROWS; r++) {
        most = share[r] > most ? share[r] : most;
        sum += (double)share[r];
    }
    if (most <= 0) return;
    sums[0] += sum;
    gmm_diff(run->g, j, x, diff);
    for (size_t i = 0; i < d * ROWS; i++)
        slot->wide[i] = (double)diff[i];
    for (size_t a = 0; a < d; a++) {
        const double *wide = slot->wide + a * ROWS;
        for (size_t r = 0; r < ROWS; r++)
            weighted[r] = (double)share[r] * wide[r];
        sums[1 + a] += sum_lanes(weighted);
        if (!is_full) products[a] += dot_lanes(weighted, wide);
        for (size_t b = 0; is_full && b <= a; b++)
            *products++ += dot_lanes(weighted, slot->wide + b * ROWS);
    }
}

/* Log joint densities (k, 64) of n rows to responsibilities, 0 for lanes that are not rows. */
static void share_out(const struct gmm_run *run, struct gmm_slot *slot, unsigned n)
{
    const uint32_t k = run->g->k;
    float *joint = slot->joint;
    float max[ROWS], sum[ROWS] = { 0 };
    uint32_t best[ROWS] = { 0 };
    memcpy(max, joint, sizeof max);
    for (uint32_t j = 1; j < k; j++)
        for (size_t r = 0; r < ROWS; r++)
            if (joint[j * ROWS + r] > max[r]) {
                max[r] = joint[j * ROWS + r];
                best[r] = j;
            }
    for (uint32_t j = 0; j < k; j++)
        for (size_t r = 0; r < ROWS; r++)
            joint[j * ROWS + r] -= max[r];
    run->kernels->exp(joint, (size_t)k * ROWS);
    for (uint32_t j = 0; j < k; j++)
        for (size_t r = 0; r < ROWS; r++)
            sum[r] += joint[j * ROWS + r];
    for (unsigned r = 0; r < n; r++) {
        slot->log_likelihood += (double)max[r] + log((double)sum[r]);
        slot->sizes[best[r]]++;
    }
    for (uint32_t j = 0; j < k; j++)
        for (size_t r = 0; r < ROWS; r++) {
            const float share = joint[j * ROWS + r] / sum[r];
            joint[j * ROWS + r] = r < n && share >= SHARE_MIN ? share : 0;
        }
}

static void sum_chunk(void *ctx, size_t index)
{
    struct gmm_run *run = ctx;
    struct gmm_slot *slot = &run->slots[index];
    const size_t first = (run->wave + index) * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(run->x);
    const uint32_t k = run->g->k;
    memset(slot->sums, 0, k * run->stride * sizeof *slot->sums);
    memset(slot->sizes, 0, k * sizeof *slot->sizes);
    slot->log_likelihood = 0;
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        const float *x = seg_tiles_at(run->x, t);
        const unsigned n = seg_tiles_rows(run->x, t);
        if (seg_progress_cancelled(run->progress)) return;
        if (run->label != NULL) {
            memset(slot->joint, 0, (size_t)k * ROWS * sizeof *slot->joint);
            for (unsigned r = 0; r < n; r++)
                slot->joint[run->label[t * ROWS + r] * ROWS + r] = 1;
        } else {
            seg_gmm_score_tile(run->g, run->kernels, x, slot->scratch, slot->joint);
            share_out(run, slot, n);
        }
        for (uint32_t j = 0; j < k; j++)
            add_component(run, slot, j, x, slot->joint + j * ROWS);
        seg_pool_give_way();
    }
}

enum seg_status gmm_run_sum(struct gmm_run *run)
{
    const size_t n_chunks = run->x->n_chunks;
    const size_t n_sums = run->g->k * run->stride;
    struct gmm_slot *total = &run->total;
    memset(total->sums, 0, n_sums * sizeof *total->sums);
    memset(total->sizes, 0, run->g->k * sizeof *total->sizes);
    total->log_likelihood = 0;
    for (run->wave = 0; run->wave < n_chunks; run->wave += GMM_SLOTS) {
        const size_t left = n_chunks - run->wave, n = left < GMM_SLOTS ? left : GMM_SLOTS;
        seg_pool_for(run->pool, SEG_PRIORITY_TRAINING, n, sum_chunk, run);
        if (seg_progress_cancelled(run->progress)) return SEG_ECANCELED;
        for (size_t s = 0; s < n; s++) {
            const struct gmm_slot *slot = &run->slots[s];
            for (size_t i = 0; i < n_sums; i++)
                total->sums[i] += slot->sums[i];
            for (size_t j = 0; j < run->g->k; j++)
                total->sizes[j] += slot->sizes[j];
            total->log_likelihood += slot->log_likelihood;
        }
    }
    return SEG_OK;
}

/* a (d, d), its lower half, to its Cholesky factor, in place. False: not positive definite. */
static bool cholesky(double *a, size_t d)
{
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = a[i * d + j];
            for (size_t c = 0; c < j; c++)
                sum -= a[i * d + c] * a[j * d + c];
            if (i != j)
                a[i * d + j] = sum / a[j * d + j];
            else if (sum > 0)
                a[i * d + i] = sqrt(sum);
            else
                return false;
        }
    return true;
}

/* w = inverse of the lower triangular a (d, d), which is inverted in place, last column first. */
static void invert_lower(double *a, size_t d, float *w)
{
    for (size_t c = d; c-- > 0;) {
        const double pivot = 1 / a[c * d + c];
        for (size_t i = d; i-- > c + 1;) { /* to the right stands the inverse already */
            double sum = 0;
            for (size_t m = c + 1; m <= i; m++)
                sum -= a[i * d + m] * a[m * d + c];
            a[i * d + c] = sum * pivot;
        }
        a[c * d + c] = pivot;
    }
    for (size_t i = 0; i < d; i++)
        for (size_t c = 0; c < d; c++)
            w[i * d + c] = c <= i ? (float)a[i * d + c] : 0;
}

/* W of a component of n rows whose products around the old mean are given and whose mean moves by
 * shift (d). What rounding leaves indefinite gets a larger ridge, ten times until it holds. */
static void factorise(const double *products, const double *shift, double n, size_t d,
                      double regularisation, double *work, float *w)
{
    for (double ridge = regularisation;; ridge *= 10) {
        const double *product = products;
        for (size_t a = 0; a < d; a++) {
            for (size_t b = 0; b <= a; b++)
                work[a * d + b] = *product++ / n - shift[a] * shift[b];
            if (work[a * d + a] < 0) work[a * d + a] = 0;
            work[a * d + a] += ridge;
        }
        if (!cholesky(work, d)) continue;
        invert_lower(work, d, w);
        return;
    }
}

void gmm_run_maximise(const struct gmm_run *run, double regularisation, double *work,
                      struct seg_gmm *g)
{
    const size_t d = g->d;
    double weights = 0;
    for (uint32_t j = 0; j < g->k; j++) {
        double *sums = run->total.sums + j * run->stride, *shift = sums + 1;
        const double n = sums[0];
        g->weights[j] = fmax(n, COMPONENT_ROWS_MIN * 1e-3) / (double)run->x->n_rows;
        weights += g->weights[j];
        if (n < COMPONENT_ROWS_MIN) continue;
        float *mean = seg_matrix_row(&g->means, j);
        for (size_t a = 0; a < d; a++) {
            shift[a] /= n;
            mean[a] = (float)((double)mean[a] + shift[a]);
        }
        if (g->covariance == SEG_COVARIANCE_FULL) {
            factorise(shift + d, shift, n, d, regularisation, work, g->factors.data + j * d * d);
            continue;
        }
        for (size_t a = 0; a < d; a++) {
            const double variance = fmax(0, shift[d + a] / n - shift[a] * shift[a]);
            seg_matrix_row(&g->factors, j)[a] = (float)(1 / sqrt(variance + regularisation));
        }
    }
    for (uint32_t j = 0; j < g->k; j++)
        g->weights[j] /= weights;
    gmm_set_log_norm(g);
}

static bool slot_init(struct gmm_slot *slot, size_t k, size_t stride)
{
    slot->sums = seg_alloc(k * stride, sizeof *slot->sums);
    slot->sizes = seg_alloc(k, sizeof *slot->sizes);
    return slot->sums != NULL && slot->sizes != NULL;
}

enum seg_status gmm_run_init(struct gmm_run *run, struct seg_pool *pool, const struct seg_tiles *x,
                             const struct seg_gmm *g, const struct seg_progress *progress)
{
    const size_t d = g->d;
    *run = (struct gmm_run){ .pool = pool, .x = x, .progress = progress, .g = g };
    run->kernels = seg_kernels_get();
    run->stride = 1 + d + (g->covariance == SEG_COVARIANCE_FULL ? d * (d + 1) / 2 : d);
    if (!slot_init(&run->total, g->k, run->stride)) return SEG_ENOMEM;
    for (size_t s = 0; s < GMM_SLOTS; s++) {
        struct gmm_slot *slot = &run->slots[s];
        if (!slot_init(slot, g->k, run->stride)) return SEG_ENOMEM;
        slot->joint = seg_alloc_aligned((size_t)g->k * ROWS, sizeof *slot->joint);
        slot->scratch = seg_alloc_aligned(seg_gmm_scratch(g), sizeof *slot->scratch);
        slot->wide = seg_alloc_aligned((d + 1) * ROWS, sizeof *slot->wide);
        if (slot->joint == NULL || slot->scratch == NULL || slot->wide == NULL) return SEG_ENOMEM;
    }
    return SEG_OK;
}

static void slot_release(struct gmm_slot *slot)
{
    seg_free(slot->sums);
    seg_free(slot->sizes);
    seg_free(slot->joint);
    seg_free(slot->scratch);
    seg_free(slot->wide);
}

void gmm_run_release(struct gmm_run *run)
{
    for (size_t s = 0; s < GMM_SLOTS; s++)
        slot_release(&run->slots[s]);
    slot_release(&run->total);
    *run = (struct gmm_run){ 0 };
}
