/* models.h - the registry of models, versions and aliases. Documents come as the API serves them.
 */
#ifndef SERVER_DB_MODELS_H
#define SERVER_DB_MODELS_H

#include "db/document.h"
#include "db/statements.h"

#define CHAMPION "champion"

extern const struct db_stmts DB_MODELS_STMTS;

/* Registers the name. DB_CONFLICT: it is a model of another task. */
enum db_status db_models_ensure(struct db *db, const char *name, const char *task, int64_t *ret_id);
enum db_status db_models_list(struct db *db, const char *after, unsigned limit,
                              struct seg_arena *arena, struct db_document **ret, size_t *ret_n);
enum db_status db_models_get(struct db *db, const char *name, struct seg_arena *arena,
                             struct db_document *ret);
/* Newest first; after is the last version number of the page before. */
enum db_status db_models_versions(struct db *db, const char *name, const char *after,
                                  unsigned limit, struct seg_arena *arena, struct db_document **ret,
                                  size_t *ret_n);
/* version 0: the champion. key is the version number. */
enum db_status db_models_version(struct db *db, const char *name, unsigned version,
                                 struct seg_arena *arena, struct db_document *ret);
/* What a warm start compares with: the spec as JSON text (arena) and the number of segments, 0 for
 * a classification. */
enum db_status db_models_version_shape(struct db *db, const char *name, unsigned version,
                                       struct seg_arena *arena, const char **ret_spec,
                                       unsigned *ret_k);
enum db_status db_models_projection(struct db *db, const char *name, unsigned version,
                                    struct seg_arena *arena, struct db_document *ret);
/* The artefact: new bytes (seg_free) and its SHA-256 in hex. */
enum db_status db_models_artifact(struct db *db, const char *name, unsigned version,
                                  uint8_t **ret_bytes, size_t *ret_len, char ret_sha256[65]);

/* A champion, for the cache. */
struct db_champion {
    const char *name;
    unsigned version;
    const char *names_hash; /* changes with the bytes and when a segment was renamed */
};
/* The id of the model that has this version. */
enum db_status db_models_version_id(struct db *db, const char *name, unsigned version,
                                    int64_t *ret_model_id);
#define DB_NAMES_HASH_SIZE 33
/* names_hash of a version that need not be a champion. */
enum db_status db_models_names_hash(struct db *db, const char *name, unsigned version,
                                    char ret_hash[DB_NAMES_HASH_SIZE]);
enum db_status db_models_champions(struct db *db, struct seg_arena *arena, struct db_champion **ret,
                                   size_t *ret_n);

/* Points the alias to the version. if_version: 0 any, else the version it must point to now.
 * DB_NONE: no such model or version (*ret_model_exists tells which); DB_CONFLICT: if_version does
 * not hold. Tells all instances. */
enum db_status db_models_alias_put(struct db *db, const char *name, const char *alias,
                                   unsigned version, unsigned if_version, bool *ret_model_exists);
/* DB_CONFLICT: an alias points there (a whole model: unless force, as a model in use always has its
 * champion). Labels go with it. */
enum db_status db_models_delete(struct db *db, const char *name, bool force);
enum db_status db_models_version_delete(struct db *db, const char *name, unsigned version);

/* What training made. */
struct db_version_new {
    int64_t model_id;
    const char *job_id, *feature_set, *algorithm, *spec, *metrics, *curve, *data, *duration_ms,
        *k_search, *warnings, *projection; /* JSON from spec on; k_search NULL: k was given */
    const uint8_t *artifact;
    size_t artifact_len;
    const char *artifact_sha256;
};
/* Inside the caller's transaction: the next version of the model, which stays locked until the
 * commit. */
enum db_status db_models_version_add(struct db *db, const struct db_version_new *v,
                                     unsigned *ret_version);
/* Inside the caller's transaction: moves champion to version, when `promote` says so or there is
 * none. Tells all instances at commit. */
enum db_status db_models_promote(struct db *db, int64_t model_id, unsigned version, bool promote);
/* Inside the caller's transaction: at its commit all instances look what has changed about models
 * and names. */
enum db_status db_models_notify(struct db *db);
/* The figure by which versions compare: metrics ->> key of the champion; DB_NONE: no champion, or
 * it has no such figure. */
enum db_status db_models_champion_metric(struct db *db, int64_t model_id, const char *key,
                                         double *ret);

#endif
