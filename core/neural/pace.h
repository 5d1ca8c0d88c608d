/* pace.h - whether rounds of small batches are faster with helpers than without.
 *
 * A batch of some microseconds is handed over twice, and what its parts tell each other crosses
 * from cache to cache. Whether that pays depends on how far the processors are from each other (on
 * one chip 30 ns, else 150 and more) and on who else wants them: nothing that a shape tells. So
 * rounds are timed, and now and then one goes the other way, lest the machine has changed. The
 * numbers that a training makes do not depend on the choice.
 * Pure: the caller has the clock. */
#ifndef SEG_NEURAL_PACE_H
#define SEG_NEURAL_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define SEG_PACE_FIRST  8u  /* rounds before the first trial of going alone */
#define SEG_PACE_ROUNDS 64u /* from trial to trial */

struct seg_pace {
    double cost[2];    /* seconds a unit of work, of late: alone, with helpers; 0: not known */
    uint32_t n_rounds; /* timed */
    bool together;     /* the way that is the faster one as far as is known */
};

/* Begins with helpers. */
void seg_pace_init(struct seg_pace *p);
/* Whether the next round is to have helpers. */
bool seg_pace_next(const struct seg_pace *p);
/* The round is over. work: in any unit, > 0. */
void seg_pace_learn(struct seg_pace *p, bool together, double seconds, double work);

#endif
