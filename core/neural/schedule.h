/* schedule.h - the learning rate of each step. Pure functions. */
#ifndef SEG_NEURAL_SCHEDULE_H
#define SEG_NEURAL_SCHEDULE_H

#include <stdint.h>
#include "neural/train.h"

/* The learning rate of step t (the first is 0) of a training with `steps` steps an epoch, with r =
 * p->learning_rate, W = p->warmup_epochs * steps and T = p->epochs * steps:
 *   t < W      r (t + 1) / W, whatever the schedule (Goyal et al. 2017, from nearly 0);
 *   constant   r;
 *   cosine     f + (r - f) (1 + cos(pi (t - W) / (T - W))) / 2 with f = p->cosine_floor * r: one
 *              half wave, no restarts (Loshchilov and Hutter 2017);
 *   step       r * p->step_factor ^ floor((t - W) / (p->step_epochs * steps)). */
double seg_schedule_rate(const struct seg_train_params *p, uint64_t t, uint64_t steps);

#endif
