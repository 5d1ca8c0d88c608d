/* feature_catalogue.h - what the columns of a user's relation can be as features, by PostgreSQL's
 * catalogue. Runs on the caller's connection. */
#ifndef SERVER_DB_FEATURE_CATALOGUE_H
#define SERVER_DB_FEATURE_CATALOGUE_H

#include "db/feature_sets.h"

/* A column of a relation that cannot be a feature. */
struct column_left_out {
    const char *name, *sql_type;
    const char *detail; /* why: a sentence for the user */
};

/* The columns of a relation, in its order. */
struct relation_columns {
    struct feature_column *columns; /* (n) */
    size_t n;
    struct column_left_out *left_out; /* (n_left_out) */
    size_t n_left_out;
};

extern const struct db_stmts DB_FEATURE_CATALOGUE_STMTS;

/* The columns of a relation, from the catalogue, and of arrays the length, from the first that has
 * a value. Left out are those of an SQL type that is no feature, arrays of no known or too great a
 * length, and from the first whose length takes longer than a statement may on, all arrays.
 * DB_NONE: there is no such table, view, materialised or foreign table that this role may read. */
enum db_status db_feature_catalogue(struct db *db, const char *schema, const char *name,
                                    struct seg_arena *arena, struct relation_columns *ret);

#endif
