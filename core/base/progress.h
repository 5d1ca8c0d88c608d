/* progress.h - how long work says where it is, and is told to stop.
 * `report` is called from the thread that called the long function, never from a worker, and must
 * not block. `cancel` is read between chunks: a set flag makes the function return SEG_ECANCELED
 * within 0.2 s. */
#ifndef SEG_BASE_PROGRESS_H
#define SEG_BASE_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct seg_progress {
    const atomic_bool *cancel; /* NULL: cannot be cancelled */
    /* fraction 0..1 of the current phase, and a sentence such as "epoch 21 of 50, validation loss
     * 0.31". NULL: silent. */
    void (*report)(void *ctx, double fraction, const char *message);
    void *ctx;
};

static inline bool seg_progress_cancelled(const struct seg_progress *p)
{
    return p != NULL && p->cancel != NULL && atomic_load_explicit(p->cancel, memory_order_relaxed);
}
static inline void seg_progress_report(const struct seg_progress *p, double fraction,
                                       const char *message)
{
    if (p != NULL && p->report != NULL) p->report(p->ctx, fraction, message);
}

#endif
