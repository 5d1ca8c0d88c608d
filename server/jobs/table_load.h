/* table_load.h - the rows of a training out of the database into one table.
 *
 * Properties: a large plain table of numbers is read over two connections that share a snapshot,
 * part by part of its pages, because one server process turns rows into bytes more slowly than we
 * take them; the rows stand in the order of a single reading, so that the model's bytes do not
 * depend on how they came. Everything else, and whenever the second connection cannot be had, is
 * read over the job's own. Operation: run, then use the fields, then release. Safety: the calling
 * thread's; the second reader is a thread of its own that is joined before run returns. */
#ifndef SERVER_JOBS_TABLE_LOAD_H
#define SERVER_JOBS_TABLE_LOAD_H

#include "db/feature_load.h"
#include "digest.h"
#include "jobs/row_spool.h"
#include "jobs/runner.h"

#define TABLE_LOAD_PARTS 10

struct table_load {
    /* What is wanted, set by the caller: */
    const struct feature_set *fs;
    const uint32_t *columns; /* (n_columns) indices in fs->columns */
    uint32_t n_columns;
    int target;            /* index in fs->columns, or -1 */
    bool keep;             /* rows and ids are to be labelled: target is -1 */
    double progress_share; /* of the job's progress */
    /* What came: */
    struct seg_table table;
    unsigned n_parts;                          /* that the rows came in, one after the other */
    struct row_spool spools[TABLE_LOAD_PARTS]; /* (n_parts); kept says if they count */
    bool kept; /* false also when the disk was full, which was logged: no spool keeps anything */
    struct feature_load *loads[TABLE_LOAD_PARTS]; /* (n_parts) target, classes and counts */
};

/* Fills the rest of l. */
enum job_outcome table_load_run(struct job_run *run, struct table_load *l);
/* Cells of column i that were not finite or too large. */
uint64_t table_load_not_finite(const struct table_load *l, uint32_t i);
/* SHA-256 (hex) over the table, its categories and the targets: equal data in equal order gives
 * equal hashes. Takes the table as run left it. */
enum seg_status table_load_hash(struct seg_pool *pool, const struct table_load *l,
                                char out[DIGEST_HEX_SIZE]);
/* Also one that is all zeros, which was never run. */
void table_load_release(struct table_load *l);

#endif
