/* scratch.h - equal blocks of memory that the chunks of a computation borrow.
 *
 * Properties: as many blocks as chunks run at once; a block is made when it is first asked for and
 * serves the chunks that follow, so that its pages are touched for the first time once a worker and
 * not once a chunk. Operation: init, take and give inside chunks, release. Safety: take and give
 * from any thread; init and release are the owner's. */
#ifndef SEG_COMPUTE_SCRATCH_H
#define SEG_COMPUTE_SCRATCH_H

#include "compute/worker_pool.h"

struct seg_scratch_block;
struct seg_scratch {
    size_t bytes;
    size_t n_blocks;
    struct seg_scratch_block *blocks;
};

/* Blocks of `bytes`, for one computation over pool (NULL: on the caller's thread). SEG_ENOMEM: only
 * to be released. */
enum seg_status seg_scratch_init(struct seg_scratch *s, struct seg_pool *pool, size_t bytes);
/* Frees the blocks, none of which is taken; zeroed afterwards. */
void seg_scratch_release(struct seg_scratch *s);
/* Makes all blocks now, after which take never fails. SEG_ENOMEM. */
enum seg_status seg_scratch_make(struct seg_scratch *s);
/* A block, aligned as SEG_ALIGN says, that is the caller's until it is given back; what stands in
 * it is of no use. NULL: no memory. */
void *seg_scratch_take(struct seg_scratch *s);
/* Gives back what take gave. */
void seg_scratch_give(struct seg_scratch *s, void *block);

#endif
