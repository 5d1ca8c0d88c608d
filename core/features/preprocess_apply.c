/* preprocess_apply.c - one tile through a fitted plan, and back. The scoring path: no allocation,
 * and loops over 64 values that the compiler turns into vector code. */
#include "features/plan.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define N SEG_TILE_ROWS

/* codes (64) of n categories to out (n_values, 64). */
static void category_tile(const struct seg_plan *plan, uint32_t n, const float *restrict x,
                          float *restrict out)
{
    uint32_t codes[N];
    memcpy(codes, x, sizeof codes);
    for (unsigned r = 0; r < N; r++) {
        const uint32_t code = codes[r] == SEG_CODE_MISSING ? plan->impute_code : codes[r];
        codes[r] = code < n ? code : n; /* n: unseen */
    }
    switch (plan->encode) {
    case SEG_ENCODE_ONE_HOT:
        for (uint32_t j = 0; j < n; j++)
            for (unsigned r = 0; r < N; r++)
                out[(size_t)j * N + r] = codes[r] == j ? 1.0f : 0.0f;
        break;
    case SEG_ENCODE_HASH:
        memset(out, 0, (size_t)plan->n_values * N * sizeof *out);
        for (unsigned r = 0; r < N; r++)
            if (codes[r] < n) out[(size_t)plan->buckets[codes[r]] * N + r] = 1.0f;
        break;
    case SEG_ENCODE_CODE:
    case SEG_ENCODE_EMBEDDING:
        for (unsigned r = 0; r < N; r++)
            out[r] = (float)codes[r]; /* exact: SEG_CATEGORIES_MAX is below 2^24 */
        break;
    case SEG_ENCODE_ORDINAL:
    case SEG_ENCODE_TARGET:
        for (uint32_t j = 0; j < plan->n_values; j++) {
            const float *values = plan->values + (size_t)j * (n + 1);
            for (unsigned r = 0; r < N; r++)
                out[(size_t)j * N + r] = values[codes[r]];
        }
        break;
    }
}

/* 1 where every cell of the feature, width of them, is missing. */
static void indicator_tile(enum seg_type type, uint32_t width, const float *restrict x,
                           float *restrict out)
{
    if (type == SEG_CATEGORICAL) {
        uint32_t codes[N];
        memcpy(codes, x, sizeof codes);
        for (unsigned r = 0; r < N; r++)
            out[r] = codes[r] == SEG_CODE_MISSING ? 1.0f : 0.0f;
        return;
    }
    for (unsigned r = 0; r < N; r++)
        out[r] = 1.0f;
    for (uint32_t c = 0; c < width; c++)
        for (unsigned r = 0; r < N; r++)
            out[r] = fabsf(x[(size_t)c * N + r]) <= FLT_MAX ? 0.0f : out[r];
}

void seg_preprocess_derive(const struct seg_preprocess *p, const float *raw, float *cells)
{
    seg_derive_tile(&p->inputs, p->derived, p->n_derived, raw, cells);
}

size_t seg_preprocess_scratch(const struct seg_preprocess *p)
{
    return ((size_t)p->n_derived + (p->pca != NULL ? p->n_columns : 0)) * N;
}

void seg_preprocess_tile(const struct seg_preprocess *p, const float *raw, float *scratch,
                         float *out)
{
    float *columns = scratch + (size_t)p->n_derived * N; /* (n_columns, 64) */
    seg_preprocess_columns_tile(p, raw, scratch, p->pca != NULL ? columns : out);
    if (p->pca != NULL) seg_pca_tile(p->pca, columns, out);
}

void seg_preprocess_columns_tile(const struct seg_preprocess *p, const float *raw, float *scratch,
                                 float *out)
{
    /* raw (n_cells, 64), scratch (n_derived, 64), out (n_columns, 64) */
    const uint32_t n_features = p->inputs.n_features;
    seg_preprocess_derive(p, raw, scratch);
    for (uint32_t i = 0; i < n_features + p->n_derived; i++) {
        const struct seg_plan *plan = &p->plans[i];
        const struct seg_feature *f = i < n_features ? &p->inputs.features[i] : NULL;
        const float *x =
            f != NULL ? raw + (size_t)f->cell * N : scratch + (size_t)(i - n_features) * N;
        float *to = out + (size_t)plan->first_out * N;
        if (plan->numbers != NULL) {
            for (uint32_t c = 0; c < plan->n_values; c++)
                p->kernels->apply(&plan->numbers[c], x + (size_t)c * N, to + (size_t)c * N);
        } else if (plan->n_values > 0) {
            category_tile(plan, f->dictionary.n, x, to);
        }
        if (plan->indicator)
            indicator_tile(seg_plan_type(p, i), seg_plan_width(p, i), x,
                           to + (size_t)plan->n_values * N);
    }
}

/* The value in original units of a column's output. */
static float invert(const struct seg_number *s, float out)
{
    const double t = (s->inverse == 0 ? 0 : (double)out / s->inverse) + s->center;
    return (float)seg_number_inverse(s, t);
}

/* The category that the code in a row of output stands for. */
static uint32_t code_of(const struct seg_plan *plan, const struct seg_feature *f, const float *out)
{
    const float code = out[plan->first_out];
    return code >= 0 && code < (float)f->dictionary.n ? (uint32_t)code : SEG_CODE_UNSEEN;
}

void seg_preprocess_invert(const struct seg_preprocess *p, const float *out, float *raw)
{
    const uint32_t n_features = p->inputs.n_features;
    float columns[SEG_PCA_COLUMNS_MAX];
    if (p->pca != NULL) {
        seg_pca_invert(p->pca, out, columns);
        out = columns;
    }
    for (uint32_t c = 0; c < p->inputs.n_cells + p->n_derived; c++)
        raw[c] = NAN;
    for (uint32_t i = 0; i < n_features + p->n_derived; i++) {
        const struct seg_plan *plan = &p->plans[i];
        const bool is_category = seg_plan_type(p, i) == SEG_CATEGORICAL;
        float *to = raw + (i < n_features ? p->inputs.features[i].cell
                                          : p->inputs.n_cells + i - n_features);
        for (uint32_t c = 0; plan->numbers != NULL && c < plan->n_values; c++)
            to[c] = invert(&plan->numbers[c], out[plan->first_out + c]);
        if (is_category) {
            union seg_cell cell = { .code = SEG_CODE_MISSING };
            if (plan->encode == SEG_ENCODE_CODE && plan->n_values > 0)
                cell.code = code_of(plan, &p->inputs.features[i], out);
            memcpy(to, &cell, sizeof cell);
        }
    }
}
