/* feature_sample.h - which rows of a feature set its summary is taken from: all of them, or of a
 * large set a part, so that the time of a summary has a bound whatever the size of the relation:
 * the deadline of a statement, a few times over, and once for each categorical feature. Runs on the
 * caller's connection. */
#ifndef SERVER_DB_FEATURE_SAMPLE_H
#define SERVER_DB_FEATURE_SAMPLE_H

#include "db/feature_sets.h"

/* A value is a row's value of one feature. Of a set with more than values_max of them the sample is
 * about this share of values_max. */
#define FEATURE_SAMPLE_SHARE 10u

enum sample_method {
    SAMPLE_ALL,          /* every row */
    SAMPLE_RANDOM_PAGES, /* the rows of pages that a fixed seed draws: the same rows until the table
                            changes */
    SAMPLE_FIRST_ROWS,   /* those that the database returns first: views and foreign tables have no
                            pages to draw */
    SAMPLE_NOTHING,      /* none: reading them took longer than a statement may */
};

struct feature_sample {
    enum sample_method method;
    const char *from; /* SQL that stands behind FROM; NULL with SAMPLE_NOTHING */
    uint64_t n_rows;  /* rows of the whole set that have an id */
    bool estimated;   /* n_rows is what PostgreSQL's planner expects, against counted */
    double share;     /* of the pages, when the planner's n_rows proved wrong, so that the rows in
                         these pages tell how many there are; else 0 */
};

extern const struct db_stmts DB_FEATURE_SAMPLE_STMTS;

/* Chooses the rows: all when the set has at most values_max values, which is counted and not
 * estimated unless counting so many takes too long. *ret's text is in the arena. */
enum db_status db_feature_sample(struct db *db, const struct feature_set *fs, uint64_t values_max,
                                 struct seg_arena *arena, struct feature_sample *ret);
/* Replaces *s, which could not be read in time: all rows by a sample, a sample, or fewer rows than
 * one would have, by nothing. */
enum db_status db_feature_sample_shrink(struct db *db, const struct feature_set *fs,
                                        uint64_t values_max, struct seg_arena *arena,
                                        struct feature_sample *s);
/* Replaces *s, random pages that have no row, by more: as many as values_max values would fill, at
 * least a tenth of all. */
enum db_status db_feature_sample_widen(struct db *db, const struct feature_set *fs,
                                       uint64_t values_max, struct seg_arena *arena,
                                       struct feature_sample *s);

#endif
