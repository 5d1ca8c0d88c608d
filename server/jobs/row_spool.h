/* row_spool.h - the raw rows of a training load and their user ids, kept in an unlinked file while
 * the model is fitted, so that labelling need not read the table a second time and labels the very
 * rows that were learnt from.
 *
 * Training consumes its table, and profiles want the raw numbers: in memory they would stand twice.
 * The file costs disk as large as the features, most of it never written out when the fit is short.
 * It is no promise: when the disk is full nothing is kept, and the database is read again. One
 * thread at a time. */
#ifndef SERVER_JOBS_ROW_SPOOL_H
#define SERVER_JOBS_ROW_SPOOL_H

#include "compute/tiles.h"
#include "compute/worker_pool.h"
#include "db/user_ids.h"

struct row_spool {
    int fd; /* -1: nothing is kept */
    uint32_t n_cols;
    size_t n_kept; /* rows */
    size_t n_read; /* rows */
};
#define ROW_SPOOL_NONE ((struct row_spool){ .fd = -1 })

/* Starts to keep in a file in the folder dir. False: it cannot be made. */
bool row_spool_begin(struct row_spool *s, const char *dir);
/* Keeps rows s->n_kept .. cells->n_rows - 1 and ids, which has one for each. Every call but the
 * last ends at a multiple of SEG_CHUNK_ROWS. False: no space; nothing is kept any more. */
bool row_spool_add(struct row_spool *s, const struct seg_tiles *cells, const struct user_ids *ids);
/* Appends what one call of add kept to cells, whose first columns they are and which may end inside
 * a tile, and to ids, over the pool; the first reading ends the keeping. *ret_more: another would
 * bring more. SEG_ENOMEM; SEG_EFORMAT: the file cannot be read. */
enum seg_status row_spool_read(struct seg_pool *pool, struct row_spool *s, struct seg_tiles *cells,
                               struct user_ids *ids, bool *ret_more);
/* Reading begins again. */
void row_spool_rewind(struct row_spool *s);
/* row_spool_read without the cells. */
enum seg_status row_spool_read_ids(struct row_spool *s, struct user_ids *ids, bool *ret_more);
/* Gives the disk back. Keeps nothing afterwards. */
void row_spool_end(struct row_spool *s);

#endif
