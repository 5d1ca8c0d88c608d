/* feature_summary.h - what stands in the columns of a feature set, in figures that the database
 * computes. */
#ifndef SERVER_DB_FEATURE_SUMMARY_H
#define SERVER_DB_FEATURE_SUMMARY_H

#include "db/feature_sets.h"

/* GET's summary: writes "rows": n and "columns": [{name, type, missing, min, mean, max, quantiles |
 * top}] members into o, computed in the database. */
enum db_status db_feature_summary(struct db *db, const struct feature_set *fs,
                                  struct seg_arena *arena, struct json_out *o);

#endif
