/* label_score.c - a tile is copied before its codes are replaced: the profile wants it as it is. */
#include "jobs/label_score.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "http/request.h"

bool label_scorer_init(struct label_scorer *s, const struct seg_model *m, struct seg_pool *pool,
                       size_t n_tiles)
{
    *s = (struct label_scorer){ .model = m, .inputs = seg_model_inputs(m) };
    const size_t cells = (size_t)s->inputs->n_cells * SEG_TILE_ROWS;
    s->codes = seg_calloc(s->inputs->n_features, sizeof(*s->codes));
    s->n_codes = seg_calloc(s->inputs->n_features, sizeof(*s->n_codes));
    s->scores = seg_calloc(n_tiles, sizeof(*s->scores));
    return s->codes && s->n_codes && s->scores &&
           seg_scratch_init(&s->scratch, pool, (seg_model_scratch(m) + cells) * sizeof(float)) ==
               SEG_OK &&
           seg_scratch_make(&s->scratch) == SEG_OK;
}

void label_scorer_release(struct label_scorer *s)
{
    for (uint32_t i = 0; s->codes != NULL && i < s->inputs->n_features; i++)
        seg_free(s->codes[i]);
    seg_free(s->codes);
    seg_free(s->n_codes);
    seg_scratch_release(&s->scratch);
    seg_free(s->scores);
    *s = (struct label_scorer){ 0 };
}

bool label_scorer_map(struct label_scorer *s, const struct seg_schema *table)
{
    for (uint32_t i = 0; i < s->inputs->n_features; i++) {
        const struct seg_dictionary *d = &table->features[i].dictionary;
        if (s->inputs->features[i].type != SEG_CATEGORICAL) continue;
        if (s->codes[i] == NULL || s->n_codes[i] < d->n) {
            uint32_t *codes = seg_realloc(s->codes[i], d->n + 1, sizeof(*codes));
            if (codes == NULL) return false;
            s->codes[i] = codes;
        }
        for (; s->n_codes[i] < d->n; s->n_codes[i]++)
            s->codes[i][s->n_codes[i]] =
                seg_dictionary_find(&s->inputs->features[i].dictionary, d->strings[s->n_codes[i]],
                                    d->lengths[s->n_codes[i]]);
    }
    return true;
}

void label_scorer_tile(struct label_scorer *s, size_t index, const float *raw, unsigned n_rows)
{
    float *scratch = seg_scratch_take(&s->scratch);
    float *mapped = scratch + seg_model_scratch(s->model);
    memcpy(mapped, raw, (size_t)s->inputs->n_cells * SEG_TILE_ROWS * sizeof(*mapped));
    for (uint32_t i = 0; i < s->inputs->n_features; i++) {
        union seg_cell *cells =
            (union seg_cell *)(mapped + (size_t)s->inputs->features[i].cell * SEG_TILE_ROWS);
        for (unsigned r = 0; s->codes[i] != NULL && r < n_rows; r++)
            if (cells[r].code != SEG_CODE_MISSING) cells[r].code = s->codes[i][cells[r].code];
    }
    seg_model_score_tile(s->model, mapped, n_rows, scratch, &s->scores[index]);
    seg_scratch_give(&s->scratch, scratch);
}

bool label_scorer_label(const struct label_scorer *s, size_t index, unsigned lane, const char *id,
                        size_t id_len, struct label *ret_l)
{
    const struct seg_scores *scores = &s->scores[index];
    const bool ok = scores->status[lane] == SEG_ROW_OK;
    const bool segmentation = seg_model_task(s->model) == SEG_SEGMENTATION;
    const uint32_t result = scores->result[lane];
    *ret_l =
        (struct label){ .user_id = id,
                        .user_id_len = id_len,
                        .result = !ok            ? -1
                                  : segmentation ? (int32_t)seg_model_segment_id(s->model, result)
                                                 : (int32_t)result,
                        .confidence = ok ? scores->confidence[lane] : NAN,
                        .distance = ok && segmentation ? scores->distance[lane] : NAN };
    return user_id_is_valid(id, id_len);
}
