/* pipeline_project.c - the picture of the training part: some of its rows, and what the model says
 * about them. */
#include <string.h>
#include "base/alloc.h"
#include "model/pipeline_private.h"

enum seg_status pipeline_project(struct pipeline *p)
{
    struct seg_projection *projection = &p->report.projection;
    const struct seg_tiles *x = &p->x[SEG_PART_TRAIN];
    if (projection->n_points > 0) return SEG_OK;

    struct seg_tiles embedded = { 0 };
    uint32_t *rows = NULL; /* of the embedded ones */
    bool has_categories = p->model->mixed.n_cols > 0;
    enum seg_status st = SEG_OK;
    if (has_categories) st = pipeline_embed_sample(p, SEG_K_SEARCH_ROWS, &embedded, &rows);
    if (st == SEG_OK)
        st = seg_projection_fit(p->pool, has_categories ? &embedded : x, SEG_PROJECTION_POINTS_MAX,
                                p->spec->seed, projection);
    for (size_t i = 0; st == SEG_OK && rows != NULL && i < projection->n_points; i++)
        projection->rows[i] = rows[projection->rows[i]];
    seg_free(rows);
    seg_tiles_release(&embedded);
    if (st != SEG_OK) return st;
    seg_tiles_init(&p->points, x->n_cols);
    st = seg_tiles_grow(&p->points, projection->n_points);
    if (st != SEG_OK) return st;
    for (size_t i = 0; i < projection->n_points; i++)
        for (uint32_t c = 0; c < x->n_cols; c++)
            *seg_tiles_cell(&p->points, i, c) = *seg_tiles_cell(x, projection->rows[i], c);
    return SEG_OK;
}

enum seg_status pipeline_score_points(struct pipeline *p)
{
    struct seg_scores scores = { .probabilities = NULL };
    size_t n = p->points.n_rows;
    float *scratch = seg_alloc_aligned(model_prepared_scratch(p->model), sizeof(float));
    uint32_t *result = seg_alloc(n, sizeof(*result));

    if (scratch == NULL || result == NULL) {
        seg_free(scratch);
        seg_free(result);
        return SEG_ENOMEM;
    }
    for (size_t i = 0; i < seg_tiles_count(&p->points); i++) {
        unsigned n_rows = seg_tiles_rows(&p->points, i);
        model_score_prepared(p->model, seg_tiles_at(&p->points, i), n_rows, scratch, &scores);
        memcpy(result + i * SEG_TILE_ROWS, scores.result, n_rows * sizeof(*result));
    }
    seg_free(scratch);
    p->report.projection_result = result;
    return SEG_OK;
}
