/* Readers of labels name the run they read, so that pages of one answer never mix two runs. */
#include "db/segments.h"

#include <stdio.h>
#include <string.h>

enum {
    SEGMENT_RUN,
    SEGMENT_LIST,
    SEGMENT_USERS,
    SEGMENT_USERS_BY_DISTANCE,
    SEGMENT_OF_USER,
    SEGMENT_NAMES,
    SEGMENT_NAME_AUTO,
    SEGMENT_N_STMTS
};

#define RFC3339(column) "to_char(" column ", 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define LABEL_JSON                                                                                 \
    "json_build_object('user_id', l.user_id, 'confidence', NULLIF(l.confidence, 'NaN'::real)"      \
    ", 'distance', NULLIF(l.distance, 'NaN'::real))::text"

static const struct db_stmt STMTS[SEGMENT_N_STMTS] = {
    [SEGMENT_RUN] = { "segments_run",
                      3, /* $1 model, $2 version; 0: the current run; $3 that run, else NULL */
                      "SELECT rtrim(json_build_object('model', m.name, 'version', r.version, "
                      "'labelled_at', " RFC3339(
                          "r.published_at") ", 'n_users', r.n_users)::text, '}'), r.id::text"
                                            " FROM models m JOIN label_runs r ON r.model_id = m.id"
                                            " WHERE m.name = $1"
                                            " AND CASE WHEN $3::bigint IS NOT NULL THEN r.id = "
                                            "$3::bigint"
                                            " WHEN $2::int = 0 THEN r.id = (SELECT "
                                            "c.run_id FROM label_current c WHERE c.model_id = m.id)"
                                            " ELSE r.version = $2::int END"
                                            " ORDER BY r.id DESC LIMIT 1" },
    [SEGMENT_LIST] = { "segments_list", 2, /* $1 run, $2 segment; 0: all */
                       "SELECT rtrim(json_build_object('segment', p.segment, 'name', s.name, "
                       "'description', s.description"
                       ", 'size', p.size, 'share', p.share)::text, '}') || ', ' || "
                       "substr(p.profile::text, 2), p.segment::text"
                       " FROM segment_profiles p JOIN label_runs r ON r.id = p.run_id"
                       " LEFT JOIN segments s ON s.model_id = r.model_id AND s.segment = p.segment"
                       " WHERE p.run_id = $1::bigint AND ($2::int = 0 OR p.segment = $2::int)"
                       " ORDER BY p.segment" },
    [SEGMENT_USERS] = { "segments_users",
                        4, /* $1 run, $2 segment, $3 last user of the page before, $4 limit */
                        "SELECT " LABEL_JSON ", l.user_id FROM labels l"
                        " WHERE l.run_id = $1::bigint AND l.result = $2::int AND l.user_id > "
                        "COALESCE($3, '')"
                        " ORDER BY l.user_id LIMIT $4::int" },
    [SEGMENT_USERS_BY_DISTANCE] = { "segments_users_by_distance",
                                    5, /* $3 and $4: last distance and user of the page before */
                                    "SELECT " LABEL_JSON
                                    ", l.distance::text || ' ' || l.user_id FROM labels l"
                                    " WHERE l.run_id = $1::bigint AND l.result = $2::int"
                                    " AND ($3::real IS NULL OR (l.distance, l.user_id) > "
                                    "($3::real, $4))"
                                    " ORDER BY l.distance, l.user_id LIMIT $5::int" },
    [SEGMENT_OF_USER] = { "segments_of_user", 1, /* $1 user */
                          "SELECT json_build_object('model', m.name, 'version', r.version, 'task', "
                          "m.task"
                          ", 'status', CASE WHEN l.result < 0 THEN 'insufficient_data' ELSE 'ok' "
                          "END"
                          ", 'segment', CASE WHEN m.task = 'segmentation' AND l.result > 0 THEN "
                          "l.result END"
                          ", 'segment_name', s.name"
                          ", 'class', CASE WHEN m.task = 'classification' AND l.result >= 0"
                          "           THEN (v.metrics -> 'classes' -> l.result) ->> 'class' END"
                          ", 'confidence', NULLIF(l.confidence, 'NaN'::real), 'distance', "
                          "NULLIF(l.distance, 'NaN'::real)"
                          ", 'labelled_at', " RFC3339(
                              "r.published_at") ")::text, m.name"
                                                " FROM label_current c JOIN label_runs r ON r.id = "
                                                "c.run_id JOIN models m ON m.id = c.model_id"
                                                " JOIN model_versions v ON v.model_id = r.model_id "
                                                "AND v.version = r.version"
                                                " JOIN labels l ON l.run_id = c.run_id AND "
                                                "l.user_id = $1"
                                                " LEFT JOIN segments s ON s.model_id = m.id AND "
                                                "s.segment = l.result AND m.task = 'segmentation'"
                                                " ORDER BY m.name" },
    [SEGMENT_NAMES] = { "segments_names", 1, /* $1 model */
                        "SELECT s.segment, s.name FROM segments s JOIN models m ON m.id = "
                        "s.model_id WHERE m.name = $1" },
    [SEGMENT_NAME_AUTO] = { "segments_name_auto",
                            4, /* $1 model id, $2 segment, $3 name, $4 description */
                            "INSERT INTO segments AS s (model_id, segment, name, description) "
                            "VALUES ($1::bigint, $2::int, $3, $4)"
                            " ON CONFLICT (model_id, segment) DO UPDATE SET name = excluded.name, "
                            "description = excluded.description"
                            " WHERE s.named_by = 'system'" },
};
const struct db_stmts DB_SEGMENTS_STMTS = { STMTS, SEGMENT_N_STMTS };

enum db_status db_segments_run(struct db *db, const char *model, unsigned version,
                               const char *run_id, struct seg_arena *arena, struct db_document *ret)
{
    char version_text[16];
    snprintf(version_text, sizeof(version_text), "%u", version);
    return db_document(db, &STMTS[SEGMENT_RUN], (const char *[]){ model, version_text, run_id },
                       arena, ret);
}

enum db_status db_segments_list(struct db *db, const char *run_id, unsigned segment,
                                struct seg_arena *arena, struct db_document **ret, size_t *ret_n)
{
    char segment_text[16];
    snprintf(segment_text, sizeof(segment_text), "%u", segment);
    return db_documents(db, &STMTS[SEGMENT_LIST], (const char *[]){ run_id, segment_text }, arena,
                        ret, ret_n);
}

enum db_status db_segments_users(struct db *db, const char *run_id, unsigned segment,
                                 bool by_distance, const char *after, unsigned limit,
                                 struct seg_arena *arena, struct db_document **ret, size_t *ret_n)
{
    char segment_text[16], limit_text[16], distance[32] = "";
    snprintf(segment_text, sizeof(segment_text), "%u", segment);
    snprintf(limit_text, sizeof(limit_text), "%u", limit);
    if (!by_distance)
        return db_documents(db, &STMTS[SEGMENT_USERS],
                            (const char *[]){ run_id, segment_text, after, limit_text }, arena, ret,
                            ret_n);
    const char *blank = after ? strchr(after, ' ') : NULL;
    if (after != NULL &&
        (blank == NULL || blank == after || (size_t)(blank - after) >= sizeof(distance) ||
         strspn(after, "0123456789.eE+-") != (size_t)(blank - after)))
        return DB_NONE; /* no cursor of ours */
    if (after != NULL) memcpy(distance, after, (size_t)(blank - after));
    return db_documents(db, &STMTS[SEGMENT_USERS_BY_DISTANCE],
                        (const char *[]){ run_id, segment_text, after ? distance : NULL,
                                          after ? blank + 1 : NULL, limit_text },
                        arena, ret, ret_n);
}

enum db_status db_segments_of_user(struct db *db, const char *user_id, struct seg_arena *arena,
                                   struct db_document **ret, size_t *ret_n)
{
    return db_documents(db, &STMTS[SEGMENT_OF_USER], (const char *[]){ user_id }, arena, ret,
                        ret_n);
}

enum db_status db_segments_names(struct db *db, const char *model, struct seg_arena *arena,
                                 const char **names, unsigned n)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[SEGMENT_NAMES], (const char *[]){ model }, &r);
    for (size_t i = 0; st == DB_ONE && i < db_result_rows(r); i++) {
        int64_t segment = db_result_int(r, i, 0);
        if (segment < 1 || segment > n) continue;
        names[segment - 1] =
            seg_arena_strndup(arena, db_result_text(r, i, 1), db_result_len(r, i, 1));
    }
    db_result_free(r);
    return st;
}

enum db_status db_segments_name_auto(struct db *db, int64_t model_id, unsigned segment,
                                     const char *name, const char *description)
{
    char model_text[24], segment_text[16];
    snprintf(model_text, sizeof(model_text), "%lld", (long long)model_id);
    snprintf(segment_text, sizeof(segment_text), "%u", segment);
    return db_exec(db, &STMTS[SEGMENT_NAME_AUTO],
                   (const char *[]){ model_text, segment_text, name, description }, NULL);
}
