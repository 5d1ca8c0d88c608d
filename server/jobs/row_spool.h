/* row_spool.h - the raw rows of a training load and their user ids, kept in an unlinked file while
 * the model is fitted, so that labelling need not read the table a second time and labels the very
 * rows that were learnt from.
 *
 * Training consumes its table, and profiles want the raw numbers: in memory they would stand twice.
 * The file costs disk as large as the features, most of it never written out when the fit is short.
 * It is no promise: when the disk is full nothing is kept, and the database is read again. One
 * thread at a time keeps. */
#ifndef SERVER_JOBS_ROW_SPOOL_H
#define SERVER_JOBS_ROW_SPOOL_H

#include <sys/types.h>

#include "compute/tiles.h"
#include "compute/worker_pool.h"
#include "db/user_ids.h"

#define ROW_SPOOL_BLOCK_ROWS 16384u /* at most so many are kept, and come back, in one call */

struct row_spool {
    int fd; /* -1: nothing is kept */
    uint32_t n_cols;
    size_t n_kept; /* rows */
    off_t end;     /* of the file */
};
#define ROW_SPOOL_NONE ((struct row_spool){ .fd = -1 })

/* Starts to keep in a file in the folder dir. False: it cannot be made. */
bool row_spool_begin(struct row_spool *s, const char *dir);
/* Keeps rows s->n_kept .. cells->n_rows - 1 and ids, which has one for each. Every call but the
 * last ends at a multiple of SEG_CHUNK_ROWS. False: no space; nothing is kept any more. */
bool row_spool_add(struct row_spool *s, const struct seg_tiles *cells, const struct user_ids *ids);
/* Gives the disk back. Keeps nothing afterwards. */
void row_spool_end(struct row_spool *s);

/* One reading of all that was kept; several may go on at once, each on a thread of its own, once
 * nothing is added any more. Starts as {spool}. */
struct row_spool_reader {
    const struct row_spool *spool;
    off_t at;
    size_t n_read; /* rows */
};

/* Appends what one call of add kept to cells, whose first columns they are, and to ids, over the
 * pool. They begin a tile: rows that the last one still has room for become rows of nobody. cells
 * grow in no other way. *ret_more: another call would bring more. SEG_ENOMEM; SEG_EFORMAT: the file
 * cannot be read. */
enum seg_status row_spool_read(struct seg_pool *pool, struct row_spool_reader *r,
                               struct seg_tiles *cells, struct user_ids *ids, bool *ret_more);
/* The same as tiles (ROW_SPOOL_BLOCK_ROWS / 64, n_cols, 64) of their own, of which the first row
 * begins the first; of the others nothing is kept. */
enum seg_status row_spool_read_block(struct row_spool_reader *r, float *tiles, struct user_ids *ids,
                                     bool *ret_more);

#endif
