/* team.h - many short parallel phases without waking a thread for each.
 *
 * Properties: a batch of training takes microseconds; a trip through the pool's queue would cost as
 * much. So one seg_pool_for calls the team together for a round of many batches: whichever thread
 * arrives first leads and runs the whole round, the others help with its phases and spin between
 * them. Nobody waits for a helper to arrive, only for tasks that one has begun: a pool of one
 * worker, or one that is busy, merely makes the leader do all the tasks.
 * Operation: seg_team_run(pool, lead, ctx) calls lead(team, ctx) once; lead calls seg_team_phase,
 * which runs fn(ctx, i) for every i in 0..n-1, n <= SEG_TEAM_TASKS_MAX, and returns when all are
 * done. What each task writes is seen by all tasks of later phases. The leader takes tasks from the
 * front and helpers from the back, so that phase after phase most tasks find what they work on in
 * the cache of the core where they ran before.
 * Leader and helpers run with subnormal numbers flushed to zero, on every thread alike.
 * Safety: a team belongs to one seg_team_run at a time. Tasks of a phase write disjoint memory.
 * A round should take a few milliseconds, since it holds the workers: other trainings go between.
 */
#ifndef SEG_NEURAL_TEAM_H
#define SEG_NEURAL_TEAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/alloc.h"
#include "compute/worker_pool.h"

#define SEG_TEAM_TASKS_MAX 0xffffu

struct seg_team;
typedef void (*seg_lead_fn)(struct seg_team *team, void *ctx);

struct seg_team {
    seg_lead_fn lead;
    void *ctx;
    unsigned n_members; /* at most, the leader included */
    atomic_bool led;    /* somebody leads */
    /* The phase as one word, so that a claim can never mix two phases: phase number (32 bits),
     * end of the tasks that are left (16), first of them (16). */
    _Alignas(SEG_ALIGN) _Atomic uint64_t phase;
    seg_chunk_fn fn; /* of this phase; written before `phase` is published */
    void *fn_ctx;
    atomic_bool finished; /* the round is over */
    /* Tasks of this phase: the leader watches it while the others claim, each on a line. */
    _Alignas(SEG_ALIGN) atomic_uint n_done;
};

/* n_members: at most so many workers of the pool, >= 1. pool NULL: the caller alone. */
void seg_team_run(struct seg_pool *pool, unsigned n_members, seg_lead_fn lead, void *ctx);
void seg_team_phase(struct seg_team *team, size_t n, seg_chunk_fn fn, void *ctx);

#endif
