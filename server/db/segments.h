/* segments.h - what dashboards read: the profiles of a model's current labelling run, its members,
 * and the names of segments. */
#ifndef SERVER_DB_SEGMENTS_H
#define SERVER_DB_SEGMENTS_H

#include "db/document.h"
#include "db/statements.h"

extern const struct db_stmts DB_SEGMENTS_STMTS;

/* The run that readers see. key is its id. json: {"model", "version", "labelled_at", "n_users"}
 * without its closing brace, for the items to follow. version 0: the current run; else the newest
 * kept run of that version; run_id not NULL: that run, while it is kept. DB_NONE: there is none. */
enum db_status db_segments_run(struct db *db, const char *model, unsigned version,
                               const char *run_id, struct seg_arena *arena,
                               struct db_document *ret);
/* Its segments as documents, by id. run_id is the key of db_segments_run. segment 0: all. */
enum db_status db_segments_list(struct db *db, const char *run_id, unsigned segment,
                                struct seg_arena *arena, struct db_document **ret, size_t *ret_n);
/* Members {"user_id", "confidence", "distance"}, by user id or by distance; after: the key of the
 * last one of the page before. */
enum db_status db_segments_users(struct db *db, const char *run_id, unsigned segment,
                                 bool by_distance, const char *after, unsigned limit,
                                 struct seg_arena *arena, struct db_document **ret, size_t *ret_n);
/* {"model", "version", "segment" or "class", …} of every current run that has the user. */
enum db_status db_segments_of_user(struct db *db, const char *user_id, struct seg_arena *arena,
                                   struct db_document **ret, size_t *ret_n);
/* Names of segments 1..n of a model into names (arena; NULL where there is none). */
enum db_status db_segments_names(struct db *db, const char *model, struct seg_arena *arena,
                                 const char **names, unsigned n);
/* Writes a segment's automatic name and description; one that a person wrote stays. */
enum db_status db_segments_name_auto(struct db *db, int64_t model_id, unsigned segment,
                                     const char *name, const char *description);

#endif
