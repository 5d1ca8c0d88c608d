/* feature_rows.h - rows into a managed feature set: COPY into a stage, then one upsert. Inside a
 * transaction that db_feature_rows_begin opened and the caller commits or rolls back. */
#ifndef SERVER_DB_FEATURE_ROWS_H
#define SERVER_DB_FEATURE_ROWS_H

#include "db/feature_sets.h"

#define DB_FEATURE_ROWS_WAIT_S 5u

/* Begins a transaction that waits for others of the same set DB_FEATURE_ROWS_WAIT_S at most: a
 * request that waits keeps a thread and a connection. */
enum db_status db_feature_rows_begin(struct db *db);
/* After a failure, rolled back or not: true when another import had the set for all of that time.
 */
bool db_feature_rows_busy(const struct db *db);
/* Makes the stage for the columns columns[0..n-1] of fs and starts a binary COPY of (line bigint,
 * user_id text, those columns) into it. */
enum db_status db_feature_rows_stage(struct db *db, const struct feature_set *fs,
                                     const uint32_t *columns, uint32_t n, struct seg_arena *arena);

struct duplicate_row {
    uint64_t line, first_line;
};
/* Rows whose id an earlier row has, at most limit of them; *ret_total counts all. */
enum db_status db_feature_rows_duplicates(struct db *db, unsigned limit, struct seg_arena *arena,
                                          struct duplicate_row **ret, size_t *ret_n,
                                          uint64_t *ret_total);
/* Takes them out of the stage. */
enum db_status db_feature_rows_drop_duplicates(struct db *db);
/* Upserts the stage. Columns that are not in it keep their value, or are missing in new rows. */
enum db_status db_feature_rows_merge(struct db *db, const struct feature_set *fs,
                                     const uint32_t *columns, uint32_t n, struct seg_arena *arena,
                                     uint64_t *ret_inserted, uint64_t *ret_updated);

#endif
