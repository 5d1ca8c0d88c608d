/* worker_pool.h - the process's only compute threads.
 *
 * Properties: a fixed number of workers for each of two priorities; bounded queues; training
 * workers run at the system's idle priority and offer the processor every 50 microseconds, so that
 * scoring and whatever else the machine does go first; no result depends on the number of workers,
 * because work is cut in chunks that the caller fixed and combined by the caller in chunk order.
 * Operation: seg_pool_for cuts one computation over the workers of a priority and waits;
 * seg_pool_submit hands over a task and returns. A worker that itself calls seg_pool_for takes part
 * in the work instead of waiting, so that nesting cannot deadlock.
 * Safety: every function may be called from any thread, except free, which is the owner's last
 * call. */
#ifndef SEG_COMPUTE_WORKER_POOL_H
#define SEG_COMPUTE_WORKER_POOL_H

#include <stddef.h>
#include "base/status.h"

#define SEG_WORKERS_MAX 64

struct seg_pool;

enum seg_priority {
    SEG_PRIORITY_SCORING = 0,  /* a page view waits for it */
    SEG_PRIORITY_TRAINING = 1, /* runs when nobody else wants the processor */
};

/* Chunk `index` of 0..n-1. ctx is the caller's. Runs on any worker. */
typedef void (*seg_chunk_fn)(void *ctx, size_t index);
/* A submitted task. It owns ctx unless caller and task agree otherwise. */
typedef void (*seg_task_fn)(void *ctx);

/* Starts n_workers threads (1..SEG_WORKERS_MAX) for each priority, whose queue holds at most
 * queue_max submitted tasks. Each worker makes one warm-up BLAS call before the function returns,
 * so that BLAS never allocates later. SEG_EINVAL, SEG_ENOMEM (also when a thread cannot be made).
 */
enum seg_status seg_pool_new(unsigned n_workers, size_t queue_max, struct seg_pool **ret_pool,
                             struct seg_error *err);
/* Runs what is queued to its end, joins the workers, frees the pool. NULL is fine. */
void seg_pool_free(struct seg_pool *pool);

/* Workers of each priority. */
unsigned seg_pool_size(const struct seg_pool *pool);

/* Calls fn(ctx, i) once for every i in 0..n_chunks-1 and returns when all have returned. Order and
 * thread are unspecified; chunks that write must write disjoint memory. pool NULL: in order, here.
 */
void seg_pool_for(struct seg_pool *pool, enum seg_priority priority, size_t n_chunks,
                  seg_chunk_fn fn, void *ctx);

/* A chunk of training that takes longer than some 50 microseconds calls it now and then: offers the
 * processor to whoever wants it. Costs a few nanoseconds when an offer was made lately, and nothing
 * on a thread that is not one of training. */
void seg_pool_give_way(void);
/* The calling thread, which is none of the pool's, does a training's serial work from now on: it
 * keeps its priority, and gives way where it calls the above. */
void seg_pool_thread_gives_way(void);

/* Queues fn(ctx). SEG_EBUSY at once when queue_max tasks of the priority wait already or the pool
 * is draining. */
enum seg_status seg_pool_submit(struct seg_pool *pool, enum seg_priority priority, seg_task_fn fn,
                                void *ctx);

/* From now on refuses submitted tasks; returns when the queue is empty and every worker is idle. */
void seg_pool_drain(struct seg_pool *pool);

/* Tasks submitted and not yet taken. For metrics. */
size_t seg_pool_queued(struct seg_pool *pool);

#endif
