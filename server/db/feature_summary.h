/* feature_summary.h - what stands in the columns of a feature set, in figures that the database
 * computes. */
#ifndef SERVER_DB_FEATURE_SUMMARY_H
#define SERVER_DB_FEATURE_SUMMARY_H

#include "db/feature_sets.h"

/* GET's summary: writes into o the members "rows": n, "rows_estimated": bool, "based_on": {rows,
 * sample, method, detail} and "columns": [{name, type, missing, min, mean, max, quantiles | top}].
 * The database computes them, of more than values_max values from a sample (feature_sample.h); then
 * missing and the counts in top are projected to all rows, the other figures are the sample's. A
 * sample of pages without a row is taken once more from more pages. When even that takes longer
 * than a statement may, columns have no figures. */
enum db_status db_feature_summary(struct db *db, const struct feature_set *fs, uint64_t values_max,
                                  struct seg_arena *arena, struct json_out *o);

#endif
