/* statements.c - the nouns whose statements a connection prepares. A new noun is one declaration
 * and one row. */
#include "db/statements.h"

extern const struct db_stmts DB_FEATURE_CATALOGUE_STMTS;
extern const struct db_stmts DB_FEATURE_SAMPLE_STMTS;
extern const struct db_stmts DB_FEATURE_SETS_STMTS;
extern const struct db_stmts DB_JOBS_STMTS;
extern const struct db_stmts DB_LABELS_STMTS;
extern const struct db_stmts DB_MODELS_STMTS;
extern const struct db_stmts DB_SEGMENTS_STMTS;
extern const struct db_stmts DB_TOKENS_STMTS;

const struct db_stmts *const DB_STATEMENTS[] = {
    &DB_FEATURE_CATALOGUE_STMTS,
    &DB_FEATURE_SAMPLE_STMTS,
    &DB_FEATURE_SETS_STMTS,
    &DB_JOBS_STMTS,
    &DB_LABELS_STMTS,
    &DB_MODELS_STMTS,
    &DB_SEGMENTS_STMTS,
    &DB_TOKENS_STMTS,
};
const size_t N_DB_STATEMENTS = sizeof DB_STATEMENTS / sizeof DB_STATEMENTS[0];
