/* embedding_step.c - sparse sums over the rows of a batch; see the header. */
#include "neural/embedding_step.h"

#include <string.h>
#include "base/alloc.h"

enum seg_status seg_embedding_steps_init(struct seg_embedding_steps *s, struct seg_embeddings *e,
                                         size_t n_rows, size_t param_at)
{
    struct seg_embedding_steps made = { .e = e, .n = e->n, .param_at = param_at };
    made.steps = seg_calloc(e->n, sizeof *made.steps);
    if (made.steps == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < e->n; i++) {
        struct seg_embedding_step *step = &made.steps[i];
        const size_t n_codes = e->shapes[i].n_codes, n_max = n_codes < n_rows ? n_codes : n_rows;
        step->place = seg_calloc(n_codes, sizeof *step->place);
        step->touched = seg_alloc(n_max, sizeof *step->touched);
        step->grad = seg_alloc(n_max, e->shapes[i].size * sizeof *step->grad);
        if (step->place == NULL || step->touched == NULL || step->grad == NULL) {
            seg_embedding_steps_release(&made);
            return SEG_ENOMEM;
        }
    }
    *s = made;
    return SEG_OK;
}

void seg_embedding_steps_release(struct seg_embedding_steps *s)
{
    for (uint32_t i = 0; i < s->n; i++) { /* e may be gone */
        seg_free(s->steps[i].place);
        seg_free(s->steps[i].touched);
        seg_free(s->steps[i].grad);
    }
    seg_free(s->steps);
    *s = (struct seg_embedding_steps){ 0 };
}

void seg_embedding_steps_clear(struct seg_embedding_steps *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        struct seg_embedding_step *step = &s->steps[i];
        for (uint32_t t = 0; t < step->n_touched; t++)
            step->place[step->touched[t]] = 0;
        step->n_touched = 0;
    }
}

/* The gradient of a code's vector, zero at its first sight. */
static float *gradient_of(struct seg_embedding_step *step, uint32_t code, size_t size)
{
    if (step->place[code] == 0) {
        step->touched[step->n_touched++] = code;
        step->place[code] = step->n_touched;
        memset(step->grad + (step->n_touched - 1) * size, 0, size * sizeof *step->grad);
    }
    return step->grad + (step->place[code] - 1) * size;
}

void seg_embedding_step_add(struct seg_embedding_steps *s, uint32_t i, const float *x,
                            const float *delta, unsigned n)
{
    const struct seg_embeddings *e = s->e;
    const size_t size = e->shapes[i].size;
    const float *codes = x + (size_t)e->shapes[i].column * SEG_TILE_ROWS;
    size_t at = e->shapes[i].column; /* of its first column after */
    for (uint32_t before = 0; before < i; before++)
        at += e->shapes[before].size - 1;
    for (unsigned r = 0; r < n; r++) {
        float *grad = gradient_of(&s->steps[i], seg_embeddings_code(e, i, codes[r]), size);
        for (size_t j = 0; j < size; j++)
            grad[j] += delta[(at + j) * SEG_TILE_ROWS + r];
    }
}

void seg_embedding_step_measure(struct seg_embedding_steps *s, uint32_t i)
{
    struct seg_embedding_step *step = &s->steps[i];
    step->square_sum = 0.0;
    for (size_t j = 0; j < (size_t)step->n_touched * s->e->shapes[i].size; j++)
        step->square_sum += (double)step->grad[j] * (double)step->grad[j];
}

void seg_embedding_step_update(struct seg_embedding_steps *s, uint32_t i, float shrink,
                               const struct seg_optimizer_state *o)
{
    struct seg_embedding_step *step = &s->steps[i];
    const size_t size = s->e->shapes[i].size;
    for (uint32_t t = 0; t < step->n_touched; t++) {
        const size_t at = s->e->at[i] + step->touched[t] * size;
        float *grad = step->grad + t * size;
        for (size_t j = 0; shrink < 1.0f && j < size; j++)
            grad[j] *= shrink;
        seg_optimizer_update(o, s->param_at + at, size, false, grad, s->e->params + at);
    }
}

void seg_embedding_steps_gradient(const struct seg_embedding_steps *s, float *grad)
{
    memset(grad, 0, s->e->n_params * sizeof *grad);
    for (uint32_t i = 0; i < s->n; i++) {
        const struct seg_embedding_step *step = &s->steps[i];
        const size_t size = s->e->shapes[i].size;
        for (uint32_t t = 0; t < step->n_touched; t++)
            memcpy(grad + s->e->at[i] + step->touched[t] * size, step->grad + t * size,
                   size * sizeof *grad);
    }
}
