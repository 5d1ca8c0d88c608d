/* optimizer.h - what a step does with a gradient: Adam (Kingma and Ba 2015, both moments with bias
 * correction), AdamW (Loshchilov and Hutter 2019), SGD with classical momentum.
 * seg_optimizer_step is called once a batch; after it any threads may update disjoint ranges. */
#ifndef SEG_NEURAL_OPTIMIZER_H
#define SEG_NEURAL_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "neural/layers.h"
#include "neural/train.h"

struct seg_optimizer_state {
    const struct seg_layer_kernels *kernels;
    const struct seg_train_params *params; /* borrowed */
    uint64_t epoch_steps;                  /* steps an epoch */
    uint64_t n_steps;                      /* begun */
    float *first, *second; /* (n_params) moments, zero at the start; second is NULL for SGD */
    double learning_rate;  /* of this step */
    float rate, unbias;    /* of this step, as the loops want them */
};

/* epoch_steps: batches of an epoch, which the schedule counts by. SEG_ENOMEM. */
enum seg_status seg_optimizer_init(struct seg_optimizer_state *o, const struct seg_train_params *p,
                                   size_t n_params, uint64_t epoch_steps);
void seg_optimizer_release(struct seg_optimizer_state *o);
/* Begins the next step. */
void seg_optimizer_step(struct seg_optimizer_state *o);
/* Updates n parameters w by grad; `at` is their place among all parameters. Biases (penalised
 * false) know no l2. */
void seg_optimizer_update(const struct seg_optimizer_state *o, size_t at, size_t n, bool penalised,
                          const float *grad, float *w);

#endif
