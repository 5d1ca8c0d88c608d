/* prototypes_sums.c - what clusters hold, as integers, and the prototypes that follow from it. */
#include <string.h>
#include "base/alloc.h"
#include "cluster/prototypes_run.h"

static size_t n_codes_of(const struct prototype_sums *s)
{
    return s->m->first_code[s->m->n_categories];
}

enum seg_status prototype_sums_init(struct prototype_sums *s, size_t k, const struct seg_mixed *m,
                                    const float *scale)
{
    *s = (struct prototype_sums){ .k = k, .m = m, .scale = scale };
    s->sum = seg_calloc(k * m->n_numbers, sizeof *s->sum);
    s->count = seg_calloc(k * n_codes_of(s), sizeof *s->count);
    s->size = seg_calloc(k, sizeof *s->size);
    if (s->sum != NULL && s->count != NULL && s->size != NULL) return SEG_OK;
    prototype_sums_release(s);
    return SEG_ENOMEM;
}

void prototype_sums_release(struct prototype_sums *s)
{
    seg_free(s->sum);
    seg_free(s->count);
    seg_free(s->size);
    *s = (struct prototype_sums){ 0 };
}

void prototype_sums_clear(struct prototype_sums *s)
{
    memset(s->sum, 0, s->k * s->m->n_numbers * sizeof *s->sum);
    memset(s->count, 0, s->k * n_codes_of(s) * sizeof *s->count);
    memset(s->size, 0, s->k * sizeof *s->size);
}

/* Adds the row to cluster j `times` times: 1 or -1. */
static void add(struct prototype_sums *s, const float *cell, uint32_t j, int64_t times)
{
    const struct seg_mixed *m = s->m;
    int64_t *sum = s->sum + (size_t)j * m->n_numbers, *count = s->count + (size_t)j * n_codes_of(s);
    s->size[j] += times;
    for (size_t i = 0; i < m->n_numbers; i++)
        sum[i] += times * (int64_t)(cell[(size_t)m->numbers[i] * SEG_TILE_ROWS] * s->scale[i]);
    for (size_t i = 0; i < m->n_categories; i++)
        count[m->first_code[i] + (uint32_t)cell[(size_t)m->categories[i] * SEG_TILE_ROWS]] += times;
}

void prototype_sums_move(struct prototype_sums *s, const float *cell, uint32_t from, uint32_t to)
{
    add(s, cell, to, 1);
    if (from != s->k) add(s, cell, from, -1);
}

void prototype_sums_drain(struct prototype_sums *s, struct prototype_sums *other)
{
    for (size_t i = 0; i < s->k * s->m->n_numbers; i++)
        s->sum[i] += other->sum[i];
    for (size_t i = 0; i < s->k * n_codes_of(s); i++)
        s->count[i] += other->count[i];
    for (size_t j = 0; j < s->k; j++)
        s->size[j] += other->size[j];
    prototype_sums_clear(other);
}

/* The most frequent of n codes, ties to the lower. */
static uint32_t mode_of(const int64_t *count, uint32_t n)
{
    uint32_t mode = 0;
    for (uint32_t code = 1; code < n; code++)
        if (count[code] > count[mode]) mode = code;
    return mode;
}

double prototype_sums_take(const struct prototype_sums *s, struct seg_matrix *c)
{
    const struct seg_mixed *m = s->m;
    double moved2 = 0;
    for (size_t j = 0; j < s->k; j++) {
        float *row = seg_matrix_row(c, j);
        if (s->size[j] == 0) continue;
        for (size_t i = 0; i < m->n_numbers; i++) {
            float *number = &row[m->numbers[i]];
            const float was = *number;
            *number = (float)((double)s->sum[j * m->n_numbers + i] / (double)s->size[j] /
                              (double)s->scale[i]);
            moved2 += ((double)*number - (double)was) * ((double)*number - (double)was);
        }
        for (size_t i = 0; i < m->n_categories; i++) {
            float *code = &row[m->categories[i]];
            const float was = *code;
            *code = (float)mode_of(s->count + j * n_codes_of(s) + m->first_code[i], m->n_codes[i]);
            moved2 += *code != was ? (double)m->weight : 0;
        }
    }
    return moved2;
}
