/* schedule.c - learning rates as functions of the step; see the header for the formulas. */
#include "neural/schedule.h"

#include <math.h>

#define PI 3.14159265358979323846

double seg_schedule_rate(const struct seg_train_params *p, uint64_t t, uint64_t steps)
{
    const double rate = p->learning_rate;
    const uint64_t warmup = p->warmup_epochs * steps, total = p->epochs * steps;
    if (t < warmup) return rate * (double)(t + 1) / (double)warmup;
    t -= warmup;
    switch (p->schedule) {
    case SEG_SCHEDULE_CONSTANT: break;
    case SEG_SCHEDULE_COSINE: {
        const double floor = p->cosine_floor * rate;
        const double share = (double)t / (double)(total - warmup);
        return floor + (rate - floor) * (1.0 + cos(PI * share)) / 2.0;
    }
    case SEG_SCHEDULE_STEP:
        return rate * pow(p->step_factor, (double)(t / (p->step_epochs * steps)));
    }
    return rate;
}
