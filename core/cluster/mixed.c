/* mixed.c - what mixed.h does with whole tables; the loops over a tile are in mixed_kernels.c. */
#include "cluster/mixed.h"

#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"

extern const struct seg_mixed_kernels seg_mixed_kernels_baseline;
#if defined(__x86_64__)
extern const struct seg_mixed_kernels seg_mixed_kernels_v3, seg_mixed_kernels_v4;
static const struct seg_mixed_kernels *const ALL[] = { &seg_mixed_kernels_v4, &seg_mixed_kernels_v3,
                                                       &seg_mixed_kernels_baseline, NULL };
#else
static const struct seg_mixed_kernels *const ALL[] = { &seg_mixed_kernels_baseline, NULL };
#endif

const struct seg_mixed_kernels *const *seg_mixed_kernels_all(void)
{
    return &ALL[seg_kernels_n_skipped()];
}

const struct seg_mixed_kernels *seg_mixed_kernels_get(void)
{
    return seg_mixed_kernels_all()[0];
}

enum seg_status seg_mixed_init(struct seg_mixed *m, const uint32_t *n_codes, uint32_t n_cols)
{
    *m = (struct seg_mixed){ .kernels = seg_mixed_kernels_get(), .n_cols = n_cols };
    m->numbers = seg_alloc(n_cols, sizeof *m->numbers);
    m->categories = seg_alloc(n_cols, sizeof *m->categories);
    m->n_codes = seg_alloc(n_cols, sizeof *m->n_codes);
    m->first_code = seg_alloc((size_t)n_cols + 1, sizeof *m->first_code);
    if (!m->numbers || !m->categories || !m->n_codes || !m->first_code) {
        seg_mixed_release(m);
        return SEG_ENOMEM;
    }
    m->first_code[0] = 0;
    for (uint32_t c = 0; c < n_cols; c++) {
        const uint32_t i = m->n_categories;
        if (n_codes[c] == 0) {
            m->numbers[m->n_numbers++] = c;
            continue;
        }
        m->categories[i] = c;
        m->n_codes[i] = n_codes[c];
        m->first_code[i + 1] = m->first_code[i] + n_codes[c];
        m->n_categories++;
    }
    return SEG_OK;
}

void seg_mixed_release(struct seg_mixed *m)
{
    seg_free(m->numbers);
    seg_free(m->categories);
    seg_free(m->n_codes);
    seg_free(m->first_code);
    *m = (struct seg_mixed){ 0 };
}

void seg_mixed_squares(const struct seg_mixed *m, const float *x, const float *c, size_t k,
                       float *out)
{
    m->kernels->squares(m, x, c, k, out);
}

void seg_mixed_nearest(const struct seg_mixed *m, const float *x, const float *c, size_t k,
                       uint32_t *label, float *dist2, float *second2)
{
    m->kernels->nearest(m, x, c, k, label, dist2, second2);
}

struct assignment {
    const struct seg_tiles *x;
    const struct seg_mixed *m;
    const struct seg_matrix *c;
    uint32_t *label;
    float *dist2;
};

static void assign_chunk(void *ctx, size_t chunk)
{
    const struct assignment *a = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(a->x);
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        uint32_t label[SEG_TILE_ROWS];
        float dist2[SEG_TILE_ROWS], second2[SEG_TILE_ROWS];
        const size_t row = t * SEG_TILE_ROWS, n = seg_tiles_rows(a->x, t);
        if (t % 8 == 7) seg_pool_give_way();
        seg_mixed_nearest(a->m, seg_tiles_at(a->x, t), a->c->data, a->c->n_rows, label, dist2,
                          second2);
        memcpy(a->label + row, label, n * sizeof *label);
        if (a->dist2 != NULL) memcpy(a->dist2 + row, dist2, n * sizeof *dist2);
    }
}

void seg_mixed_assign(struct seg_pool *pool, const struct seg_tiles *x, const struct seg_mixed *m,
                      const struct seg_matrix *c, uint32_t *label, float *dist2)
{
    struct assignment a = { x, m, c, label, dist2 };
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, x->n_chunks, assign_chunk, &a);
}

/* ---- the numbers as a whole ---- */

struct survey {
    const struct seg_tiles *x;
    const struct seg_mixed *m;
    double *mean;    /* (n_chunks, n_numbers) */
    double *scatter; /* (n_chunks, n_numbers) sum of (x - chunk mean)^2 */
    float *largest;  /* (n_chunks, n_numbers) */
};

static void survey_chunk(void *ctx, size_t chunk)
{
    struct survey *s = ctx;
    const size_t n = seg_tiles_chunk_rows(s->x, chunk), n_numbers = s->m->n_numbers;
    const size_t n_tiles = (n + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
    for (size_t i = 0; i < n_numbers; i++) {
        double sum = 0, scatter = 0;
        float largest = 0;
        seg_pool_give_way();
        for (int pass = 0; pass < 2; pass++) {
            const double mean = sum / (double)n;
            for (size_t t = 0; t < n_tiles; t++) {
                const float *v = seg_tiles_at(s->x, chunk * SEG_CHUNK_TILES + t) +
                                 (size_t)s->m->numbers[i] * SEG_TILE_ROWS;
                const unsigned rows = seg_tiles_rows(s->x, chunk * SEG_CHUNK_TILES + t);
                for (unsigned r = 0; r < rows && pass == 0; r++) {
                    sum += (double)v[r];
                    largest = fmaxf(largest, fabsf(v[r]));
                }
                for (unsigned r = 0; r < rows && pass == 1; r++)
                    scatter += ((double)v[r] - mean) * ((double)v[r] - mean);
            }
        }
        s->mean[chunk * n_numbers + i] = sum / (double)n;
        s->scatter[chunk * n_numbers + i] = scatter;
        s->largest[chunk * n_numbers + i] = largest;
    }
}

enum seg_status seg_mixed_survey(struct seg_pool *pool, const struct seg_tiles *x,
                                 const struct seg_mixed *m, double *variance, float *largest)
{
    const size_t n_chunks = x->n_chunks, n_numbers = m->n_numbers;
    enum seg_status st = SEG_ENOMEM;
    struct survey s = { .x = x, .m = m };
    s.mean = seg_alloc(n_chunks * n_numbers, sizeof *s.mean);
    s.scatter = seg_alloc(n_chunks * n_numbers, sizeof *s.scatter);
    s.largest = seg_alloc(n_chunks * n_numbers, sizeof *s.largest);
    if (!s.mean || !s.scatter || !s.largest) goto out;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, n_chunks, survey_chunk, &s);
    for (size_t i = 0; i < n_numbers; i++) {
        double n = 0, mean = 0, scatter = 0; /* merged in chunk order (Chan, Golub and LeVeque) */
        largest[i] = 0;
        for (size_t chunk = 0; chunk < n_chunks; chunk++) {
            const size_t at = chunk * n_numbers + i;
            const double n_chunk = (double)seg_tiles_chunk_rows(x, chunk), off = s.mean[at] - mean;
            scatter += s.scatter[at] + off * off * n * n_chunk / (n + n_chunk);
            n += n_chunk;
            mean += off * n_chunk / n;
            largest[i] = fmaxf(largest[i], s.largest[at]);
        }
        variance[i] = scatter / n;
    }
    st = SEG_OK;
out:
    seg_free(s.mean);
    seg_free(s.scatter);
    seg_free(s.largest);
    return st;
}

enum seg_status seg_mixed_weight(struct seg_pool *pool, const struct seg_tiles *x,
                                 const struct seg_mixed *m, float *ret_weight)
{
    double *variance = seg_alloc(m->n_numbers, sizeof *variance);
    float *largest = seg_alloc(m->n_numbers, sizeof *largest);
    enum seg_status st = variance == NULL || largest == NULL
                             ? SEG_ENOMEM
                             : seg_mixed_survey(pool, x, m, variance, largest);
    if (st == SEG_OK) {
        double sum = 0, n = 0;
        for (size_t i = 0; i < m->n_numbers; i++) {
            sum += variance[i];
            n += variance[i] > 0;
        }
        const double weight = n > 0 ? 2 * sum / n : 1;
        *ret_weight = (float)fmin(weight, SEG_MIXED_WEIGHT_MAX);
    }
    seg_free(variance);
    seg_free(largest);
    return st;
}

/* ---- the embedding ---- */

uint32_t seg_mixed_width(const struct seg_mixed *m)
{
    return m->n_numbers + m->first_code[m->n_categories];
}

void seg_mixed_embed(const struct seg_mixed *m, const float *x, float on, float *out)
{
    for (uint32_t i = 0; i < m->n_numbers; i++)
        memcpy(out + (size_t)i * SEG_TILE_ROWS, x + (size_t)m->numbers[i] * SEG_TILE_ROWS,
               SEG_TILE_ROWS * sizeof *out);
    float *to = out + (size_t)m->n_numbers * SEG_TILE_ROWS;
    for (uint32_t i = 0; i < m->n_categories; i++) {
        const float *codes = x + (size_t)m->categories[i] * SEG_TILE_ROWS;
        for (uint32_t code = 0; code < m->n_codes[i]; code++, to += SEG_TILE_ROWS)
            for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
                to[r] = codes[r] == (float)code ? on : 0.0f;
    }
}

struct embedding {
    const struct seg_tiles *x;
    const struct seg_mixed *m;
    float on;
    struct seg_tiles *out;
};

static void embed_chunk(void *ctx, size_t chunk)
{
    const struct embedding *e = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(e->x);
    for (size_t t = first; t < first + SEG_CHUNK_TILES && t < n_tiles; t++) {
        seg_pool_give_way();
        seg_mixed_embed(e->m, seg_tiles_at(e->x, t), e->on, seg_tiles_at(e->out, t));
        seg_tiles_clear_lanes(e->out, t);
    }
}

enum seg_status seg_mixed_embed_rows(struct seg_pool *pool, const struct seg_tiles *x,
                                     const struct seg_mixed *m, float on, struct seg_tiles *ret_x)
{
    struct seg_tiles out;
    struct embedding e = { x, m, on, &out };
    seg_tiles_init(&out, seg_mixed_width(m));
    enum seg_status st = seg_tiles_grow(&out, x->n_rows);
    if (st != SEG_OK) {
        seg_tiles_release(&out);
        return st;
    }
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, x->n_chunks, embed_chunk, &e);
    *ret_x = out;
    return SEG_OK;
}
