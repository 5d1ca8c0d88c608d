/* feature_sets.h - the registry of feature sets: where user features stand in the database and of
 * what type they are. A feature set is a plain value in the caller's arena. Functions run on the
 * caller's connection. */
#ifndef SERVER_DB_FEATURE_SETS_H
#define SERVER_DB_FEATURE_SETS_H

#include "base/arena.h"
#include "db/db.h"
#include "db/statements.h"
#include "features/schema.h"
#include "json/json_out.h"

struct feature_column {
    const char *name; /* the feature's name: any UTF-8, at most SEG_NAME_BYTES_MAX bytes */
    enum seg_type type;
    const char *column;   /* SQL column that holds it */
    const char *sql_type; /* as PostgreSQL spells it, e.g. "double precision" */
    uint32_t width;       /* of a vector; 1 otherwise */
};

struct feature_set {
    int64_t id;
    const char *name;
    bool managed;
    const char *relation_schema,
        *relation_name;      /* the user's relation; managed: our schema and fs_<id> */
    const char *id_column;   /* SQL column of the user id; managed: "user_id" */
    const char *imported_id; /* managed: name of the imported column that became the id, NULL when
                                numbered */
    bool numbered;
    struct feature_column *columns;
    uint32_t n_columns;
    const char *left_out; /* relations: JSON, [{name, sql_type, detail}] of the columns that were
                             left out though nobody asked for that; NULL when not known */
    int64_t n_rows;       /* managed: as kept; relations: -1 */
    const char *created_at, *updated_at;
};

extern const struct db_stmts DB_FEATURE_SETS_STMTS;

/* DB_ONE and *ret, or DB_NONE. */
enum db_status db_feature_sets_get(struct db *db, const char *name, struct seg_arena *arena,
                                   struct feature_set *ret);
/* Up to limit sets with name > after (NULL: from the start), by name. */
enum db_status db_feature_sets_list(struct db *db, const char *after, unsigned limit,
                                    struct seg_arena *arena, struct feature_set **ret,
                                    size_t *ret_n);
/* Registers or replaces a set of that name over a user's relation. DB_CONFLICT: the name is a
 * managed set. */
enum db_status db_feature_sets_put_relation(struct db *db, const struct feature_set *fs,
                                            bool *ret_created);
/* Makes a managed set with its table, or, when it exists with the same columns, nothing.
 * DB_CONFLICT: the name is taken by a set that differs. *ret_id. Runs in the caller's transaction
 * when there is one. */
enum db_status db_feature_sets_put_managed(struct db *db, const struct feature_set *fs,
                                           int64_t *ret_id, bool *ret_created);
/* Deletes the set; a managed table is dropped, a user's relation is not touched. DB_CONFLICT: a
 * model version was trained on it or a job waits for it, unless force. */
enum db_status db_feature_sets_delete(struct db *db, const char *name, bool force);

/* "schema"."name", escaped, from the arena; NULL when a name is not an identifier. */
char *db_feature_sets_relation(struct db *db, const struct feature_set *fs,
                               struct seg_arena *arena);

#endif
