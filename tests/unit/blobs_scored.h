/* blobs_scored.h - raw tiles for the models of blobs.h and the scores that they get. */
#ifndef TESTS_UNIT_BLOBS_SCORED_H
#define TESTS_UNIT_BLOBS_SCORED_H

#include <stdbool.h>
#include <float.h>
#include "blobs.h"

#define N_RESULTS_MAX 8u

/* A tile with the scores it got. */
struct scored {
    struct seg_scores scores;
    float probabilities[N_RESULTS_MAX * SEG_TILE_ROWS];
};

static inline void score(const struct seg_model *m, const float *raw, unsigned n_rows,
                         struct scored *out)
{
    float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
    assert_non_null(scratch);
    assert_true(seg_model_n_results(m) <= N_RESULTS_MAX);
    memset(out, 0, sizeof *out);
    out->scores.probabilities = seg_model_has_probabilities(m) ? out->probabilities : NULL;
    seg_model_score_tile(m, raw, n_rows, scratch, &out->scores);
    seg_free(scratch);
}

/* Same bits of row a of x and row b of y? */
static inline bool same_row(const struct seg_model *m, const struct scored *x, unsigned a,
                            const struct scored *y, unsigned b)
{
    const struct seg_scores *s = &x->scores, *t = &y->scores;
    if (s->status[a] != t->status[b] || s->result[a] != t->result[b] ||
        memcmp(&s->confidence[a], &t->confidence[b], sizeof(float)) != 0 ||
        memcmp(&s->distance[a], &t->distance[b], sizeof(float)) != 0)
        return false;
    for (uint32_t i = 0; seg_model_has_probabilities(m) && i < seg_model_n_results(m); i++)
        if (memcmp(&x->probabilities[i * SEG_TILE_ROWS + a],
                   &y->probabilities[i * SEG_TILE_ROWS + b], sizeof(float)) != 0)
            return false;
    return true;
}

/* A raw tile for models of blobs; rows start missing. */
struct raw {
    _Alignas(SEG_ALIGN) float cells[BLOB_CELLS * SEG_TILE_ROWS];
};

static inline void raw_init(const struct seg_model *m, struct raw *raw)
{
    assert_int_equal(seg_model_inputs(m)->n_cells, BLOB_CELLS);
    seg_table_clear_rows(seg_model_inputs(m), raw->cells, 0, SEG_TILE_ROWS);
}

static inline void raw_set(struct raw *raw, unsigned row, uint32_t cell, float number)
{
    raw->cells[cell * SEG_TILE_ROWS + row] = number;
}

static inline void raw_set_code(struct raw *raw, unsigned row, uint32_t cell, uint32_t code)
{
    memcpy(&raw->cells[cell * SEG_TILE_ROWS + row], &code, sizeof code);
}

static inline void raw_copy(struct raw *to, unsigned a, const struct raw *from, unsigned b)
{
    for (uint32_t c = 0; c < BLOB_CELLS; c++)
        memcpy(&to->cells[c * SEG_TILE_ROWS + a], &from->cells[c * SEG_TILE_ROWS + b],
               sizeof(float));
}

/* 64 rows of all sorts: usual ones, gaps, unseen categories, enormous numbers. */
static inline void raw_fill(const struct seg_model *m, struct raw *raw)
{
    struct seg_rng rng = seg_rng_make(3, 3);
    raw_init(m, raw);
    for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
        for (uint32_t c = 0; c < BLOB_CELLS; c++)
            if (c != 2 && seg_rng_below(&rng, 8) != 0)
                raw_set(raw, r, c, (float)(5 + 6 * seg_rng_normal(&rng)));
        if (r % 5 != 0) raw_set_code(raw, r, 2, r % 7 == 0 ? SEG_CODE_UNSEEN : r % 2);
    }
    raw_set(raw, 9, 0, FLT_MAX);
    raw_set(raw, 10, 1, -FLT_MAX);
    raw_set(raw, 11, 3, FLT_MIN);
}

/* Whatever was scored is a number in its range. */
static inline void check_finite(const struct seg_model *m, const struct scored *s, unsigned n_rows)
{
    for (unsigned r = 0; r < n_rows; r++) {
        if (s->scores.status[r] == SEG_ROW_INSUFFICIENT) continue;
        assert_true(s->scores.result[r] < seg_model_n_results(m));
        assert_true(s->scores.confidence[r] >= 0 && s->scores.confidence[r] <= 1.0001f);
        assert_int_equal(isfinite(s->scores.distance[r]), seg_model_has_distance(m));
        for (uint32_t i = 0; seg_model_has_probabilities(m) && i < seg_model_n_results(m); i++)
            assert_true(s->probabilities[i * SEG_TILE_ROWS + r] >= 0 &&
                        s->probabilities[i * SEG_TILE_ROWS + r] <= 1.0001f);
    }
}

#endif
