/* feature_load.h - user features out of the database into columnar tiles, by binary COPY: never row
 * by row. One load belongs to one thread and uses its connection until it ends or is freed. */
#ifndef SERVER_DB_FEATURE_LOAD_H
#define SERVER_DB_FEATURE_LOAD_H

#include "base/status.h"
#include "db/feature_sets.h"
#include "db/user_ids.h"
#include "features/table.h"

struct feature_load;

/* Pages first .. end - 1 of a table; end UINT32_MAX: to its end, wherever that is. */
struct feature_pages {
    uint32_t first, end;
};
/* How many pages fs has. DB_NONE: its rows are not read in physical order, or the server has no
 * cheap way to read a part of them (before PostgreSQL 14). */
enum db_status feature_load_pages(struct db *db, const struct feature_set *fs,
                                  uint32_t *ret_n_pages);

/* Opens a load of the features columns[0..n-1] (indices in fs->columns), in that order. Rows come
 * ordered by id when fs is a view or has fewer than 200,000 rows as the planner knows, else in
 * physical order; the order of unchanged data never changes. target: index in fs->columns of the
 * classification target, -1 for none; its values come through feature_load_target. ids: user ids
 * are wanted too. pages: only rows that stand there; NULL: all. Once *cancel is set, neither this
 * nor feature_load_rows waits for the server: DB_RETRY. */
enum db_status feature_load_begin(struct db *db, const struct feature_set *fs,
                                  const uint32_t *columns, uint32_t n_columns, int target, bool ids,
                                  const struct feature_pages *pages, const atomic_bool *cancel,
                                  struct feature_load **ret, struct seg_error *err);
/* A schema with these features and empty dictionaries. */
enum seg_status feature_load_schema(const struct feature_set *fs, const uint32_t *columns,
                                    uint32_t n_columns, struct seg_schema *ret_s,
                                    struct seg_error *err);
/* Appends up to n_rows_max rows to t (whose dictionaries grow) and their ids to ids (NULL: not
 * wanted). DB_ONE: n_rows_max rows came, there may be more; DB_NONE: the end (fewer rows, or none,
 * were appended); else the load is over, err has a sentence. Values that are not finite, or too
 * large for float32, become missing and are counted. */
enum db_status feature_load_rows(struct feature_load *l, size_t n_rows_max, struct seg_table *t,
                                 struct user_ids *ids, struct seg_error *err);
/* Classification: class of every row so far (n); classes are numbered in order of first sight. Rows
 * without target are not loaded. */
const uint16_t *feature_load_target(const struct feature_load *l, size_t *ret_n,
                                    const struct seg_dictionary **ret_classes);
/* Cells of feature i (of columns) that were not finite or out of range. */
uint64_t feature_load_not_finite(const struct feature_load *l, uint32_t i);
void feature_load_free(struct feature_load *l);

#endif
