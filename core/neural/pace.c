/* pace.c - the cheaper of two ways, with a margin so that equals do not alternate. */
#include "neural/pace.h"

#define FORGET 0.25 /* weight of the newest round */
#define MARGIN 0.95 /* the other way is taken when it costs less than this share */

void seg_pace_init(struct seg_pace *p)
{
    *p = (struct seg_pace){ .together = true };
}

bool seg_pace_next(const struct seg_pace *p)
{
    bool is_trial = p->n_rounds % SEG_PACE_ROUNDS == SEG_PACE_FIRST;
    return is_trial ? !p->together : p->together;
}

void seg_pace_learn(struct seg_pace *p, bool together, double seconds, double work)
{
    double *cost = &p->cost[together];
    double seen = seconds / work;
    bool is_trial = together != p->together;
    *cost = *cost == 0.0 || is_trial ? seen : *cost + FORGET * (seen - *cost);
    p->n_rounds++;
    double other = p->cost[!p->together];
    if (other > 0.0 && other < MARGIN * p->cost[p->together]) p->together = !p->together;
}
