/* optimizer.c - moments and step sizes; the loops over parameters are in layers.c. */
#include "neural/optimizer.h"

#include <math.h>
#include "base/alloc.h"
#include "neural/schedule.h"

#define BETA_1 0.9 /* as in layers.c */
#define BETA_2 0.999

enum seg_status seg_optimizer_init(struct seg_optimizer_state *o, const struct seg_train_params *p,
                                   size_t n_params, uint64_t epoch_steps)
{
    struct seg_optimizer_state made = {
        .kernels = seg_layer_kernels_get(),
        .params = p,
        .epoch_steps = epoch_steps,
    };
    bool adam = p->optimizer != SEG_SGD;
    made.first = seg_calloc(n_params, sizeof *made.first);
    if (adam) made.second = seg_calloc(n_params, sizeof *made.second);
    if (made.first == NULL || (adam && made.second == NULL)) {
        seg_optimizer_release(&made);
        return SEG_ENOMEM;
    }
    *o = made;
    return SEG_OK;
}

void seg_optimizer_release(struct seg_optimizer_state *o)
{
    seg_free(o->first);
    seg_free(o->second);
    *o = (struct seg_optimizer_state){ 0 };
}

void seg_optimizer_step(struct seg_optimizer_state *o)
{
    o->learning_rate = seg_schedule_rate(o->params, o->n_steps, o->epoch_steps);
    o->n_steps++;
    o->rate = (float)o->learning_rate;
    if (o->params->optimizer == SEG_SGD) return;
    o->rate = (float)(o->learning_rate / (1.0 - pow(BETA_1, (double)o->n_steps)));
    o->unbias = (float)(1.0 / sqrt(1.0 - pow(BETA_2, (double)o->n_steps)));
}

void seg_optimizer_update(const struct seg_optimizer_state *o, size_t at, size_t n, bool penalised,
                          const float *grad, float *w)
{
    double l2 = penalised ? o->params->l2 : 0.0;
    bool decoupled = o->params->optimizer == SEG_ADAMW;
    struct seg_update u = {
        .w = w,
        .grad = grad,
        .first = o->first + at,
        .second = o->second != NULL ? o->second + at : NULL,
        .n = n,
        .rate = o->rate,
        .l2 = decoupled ? 0.0f : (float)l2,
        .decay = decoupled ? (float)(o->learning_rate * l2) : 0.0f,
        .momentum = (float)o->params->momentum,
        .unbias = o->unbias,
    };
    if (o->params->optimizer == SEG_SGD)
        o->kernels->sgd(&u);
    else
        o->kernels->adam(&u);
}
