/* Statements of the registry. Documents are written by the database (json_build_object keeps the
 * order of keys). */
#include "db/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "db/number_text.h"
#include "db/labels.h"

enum {
    MODEL_ENSURE,
    MODEL_LIST,
    MODEL_GET,
    MODEL_VERSIONS,
    MODEL_VERSION,
    MODEL_VERSION_SHAPE,
    MODEL_PROJECTION,
    MODEL_ARTIFACT,
    MODEL_ARTIFACT_PART,
    MODEL_CHAMPIONS,
    MODEL_NAMES_HASH,
    MODEL_VERSION_ID,
    MODEL_ALIAS_LOCK,
    MODEL_ALIAS_PUT,
    MODEL_IN_USE,
    MODEL_DELETE,
    MODEL_VERSION_DELETE,
    MODEL_VERSION_ADD,
    MODEL_PROMOTE,
    MODEL_CHAMPION_METRIC,
    MODEL_NOTIFY,
    MODEL_N_STMTS
};

#define ARTIFACT_PART_BYTES 262144

#define RFC3339(column)     "to_char(" column ", 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
#define MODEL_JSON                                                                                 \
    " json_build_object('name', m.name, 'task', m.task"                                            \
    ", 'champion', (SELECT a.version FROM model_aliases a WHERE a.model_id = m.id AND a.alias = "  \
    "'champion')"                                                                                  \
    ", 'latest_version', (SELECT max(v.version) FROM model_versions v WHERE v.model_id = m.id)"    \
    ", 'aliases', (SELECT COALESCE(json_object_agg(a.alias, a.version ORDER BY a.alias), '{}') "   \
    "FROM model_aliases a"                                                                         \
    "              WHERE a.model_id = m.id)"                                                       \
    ", 'created_at', " RFC3339("m.created_at") ")::text"
#define VERSION_SHORT_JSON                                                                         \
    "'model', m.name, 'version', v.version, 'task', m.task, 'algorithm', v.algorithm, "            \
    "'feature_set', v.feature_set"                                                                 \
    ", 'created_at', " RFC3339(                                                                    \
        "v.created_at") ", 'job', v.job_id, 'artifact_sha256', v.artifact_sha256"                  \
                        ", 'artifact_bytes', octet_length(v.artifact)"                             \
                        ", 'aliases', (SELECT COALESCE(json_agg(a.alias ORDER BY a.alias), '[]') " \
                        "FROM model_aliases a"                                                     \
                        "              WHERE a.model_id = v.model_id AND a.version = v.version)"   \
                        ", 'data', v.data, 'duration_ms', v.duration_ms, 'metrics', v.metrics"
/* A version by number, or the champion when $2 is 0. */
#define VERSION_WHERE                                                                              \
    " FROM models m JOIN model_versions v ON v.model_id = m.id"                                    \
    " WHERE m.name = $1 AND v.version = CASE WHEN $2::int > 0 THEN $2::int ELSE"                   \
    " (SELECT a.version FROM model_aliases a WHERE a.model_id = m.id AND a.alias = 'champion') "   \
    "END"

/* Changes with the bytes of v and with the name of any segment of m. */
#define NAMES_HASH                                                                                 \
    "(SELECT md5(v.artifact_sha256 || COALESCE(string_agg(s.segment || ':' || s.name, ',' ORDER "  \
    "BY s.segment), '')) FROM segments s WHERE s.model_id = m.id)"

static const struct db_stmt STMTS[MODEL_N_STMTS] = {
    [MODEL_ENSURE] = { "models_ensure", 2, /* $1 name, $2 task */
                       "INSERT INTO models AS m (name, task) VALUES ($1, $2)"
                       " ON CONFLICT (name) DO UPDATE SET name = excluded.name WHERE m.task = "
                       "excluded.task"
                       " RETURNING id" },
    [MODEL_LIST] = { "models_list", 2, /* $1 last name of the page before, $2 limit */
                     "SELECT" MODEL_JSON ", m.name FROM models m WHERE m.name > COALESCE($1, '') "
                     "ORDER BY m.name LIMIT $2::int" },
    [MODEL_GET] = { "models_get", 1,
                    "SELECT" MODEL_JSON ", m.name FROM models m WHERE m.name = $1" },
    [MODEL_VERSIONS] = { "models_versions",
                         3, /* $1 model, $2 last version of the page before, $3 limit */
                         "SELECT json_build_object(" VERSION_SHORT_JSON ")::text, v.version::text"
                         " FROM models m JOIN model_versions v ON v.model_id = m.id"
                         " WHERE m.name = $1 AND ($2::int IS NULL OR v.version < $2::int)"
                         " ORDER BY v.version DESC LIMIT $3::int" },
    [MODEL_VERSION] = { "models_version", 2, /* $1 model, $2 version */
                        "SELECT json_build_object(" VERSION_SHORT_JSON
                        ", 'curve', v.curve, 'spec', v.spec, 'k_search', v.k_search"
                        ", 'warnings', v.warnings)::text, v.version::text" VERSION_WHERE },
    [MODEL_VERSION_SHAPE] = { "models_version_shape", 2, /* $1 model, $2 version */
                              "SELECT v.spec::text, COALESCE(v.metrics ->> 'k', "
                              "'0')" VERSION_WHERE },
    [MODEL_PROJECTION] = { "models_projection", 2, /* $1 model, $2 version */
                           "SELECT v.projection::text, v.version::text" VERSION_WHERE },
    [MODEL_ARTIFACT] = { "models_artifact", 2, /* $1 model, $2 version */
                         "SELECT v.model_id, v.version, octet_length(v.artifact), "
                         "v.artifact_sha256" VERSION_WHERE },
    [MODEL_ARTIFACT_PART] = { "models_artifact_part",
                              4, /* $1 model id, $2 version, $3 first byte, from 1, $4 how many */
                              "SELECT substring(artifact FROM $3::int FOR $4::int) FROM "
                              "model_versions"
                              " WHERE model_id = $1::bigint AND version = $2::int" },
    [MODEL_CHAMPIONS] = { "models_champions", 0,
                          "SELECT m.name, a.version, " NAMES_HASH
                          " FROM models m JOIN model_aliases a ON a.model_id = m.id AND a.alias = "
                          "'champion'"
                          " JOIN model_versions v ON v.model_id = m.id AND v.version = a.version"
                          " ORDER BY m.name" },
    [MODEL_NAMES_HASH] = { "models_names_hash", 2, /* $1 model, $2 version */
                           "SELECT " NAMES_HASH
                           " FROM models m JOIN model_versions v ON v.model_id = m.id"
                           " WHERE m.name = $1 AND v.version = $2::int" },
    [MODEL_VERSION_ID] = { "models_version_id", 2, /* $1 model, $2 version */
                           "SELECT m.id FROM models m JOIN model_versions v ON v.model_id = m.id"
                           " WHERE m.name = $1 AND v.version = $2::int" },
    [MODEL_ALIAS_LOCK] = { "models_alias_lock", 2, /* $1 model, $2 alias */
                           "SELECT COALESCE((SELECT a.version FROM model_aliases a WHERE "
                           "a.model_id = m.id AND a.alias = $2), 0)"
                           " FROM models m WHERE m.name = $1 FOR UPDATE" },
    [MODEL_ALIAS_PUT] = { "models_alias_put", 3, /* $1 model, $2 alias, $3 version */
                          "INSERT INTO model_aliases (model_id, alias, version)"
                          " SELECT v.model_id, $2, v.version"
                          " FROM models m JOIN model_versions v ON v.model_id = m.id WHERE m.name "
                          "= $1 AND v.version = $3::int"
                          " ON CONFLICT (model_id, alias) DO UPDATE SET version = "
                          "excluded.version, updated_at = now()"
                          " RETURNING version" },
    [MODEL_IN_USE] = { "models_in_use", 2, /* $1 model, $2 version, 0: any */
                       "SELECT EXISTS (SELECT 1 FROM model_aliases a WHERE a.model_id = m.id AND "
                       "($2::int = 0 OR a.version = $2::int))"
                       ", ARRAY(SELECT r.id FROM label_runs r WHERE r.model_id = m.id AND ($2::int "
                       "= 0 OR r.version = $2::int))::text"
                       ", $2::int = 0 OR EXISTS (SELECT 1 FROM model_versions v WHERE v.model_id = "
                       "m.id AND v.version = $2::int)"
                       " FROM models m WHERE m.name = $1 FOR UPDATE" },
    [MODEL_DELETE] = { "models_delete", 1, "DELETE FROM models WHERE name = $1" },
    [MODEL_VERSION_DELETE] = { "models_version_delete", 2, /* $1 model, $2 version */
                               "DELETE FROM model_versions v USING models m"
                               " WHERE m.id = v.model_id AND m.name = $1 AND v.version = $2::int" },
    [MODEL_VERSION_ADD] = { "models_version_add", 13,
                            "WITH next AS (UPDATE models SET last_version = last_version + 1 WHERE "
                            "id = $1::bigint RETURNING id, last_version)"
                            " INSERT INTO model_versions (model_id, version, job_id, feature_set, "
                            "algorithm, spec, metrics, curve, data"
                            ", duration_ms, k_search, warnings, projection, artifact, "
                            "artifact_sha256)"
                            " SELECT id, last_version, $2::uuid, $3, $4, $5::json, $6::json, "
                            "$7::json, $8::json"
                            ", $9::json, $10::json, $11::json, $12::json, $13::bytea, "
                            "encode(sha256($13::bytea), 'hex') FROM next"
                            " RETURNING version, artifact_sha256" },
    [MODEL_PROMOTE] = { "models_promote",
                        3, /* $1 model id, $2 version, $3 also when there is a champion */
                        "INSERT INTO model_aliases AS a (model_id, alias, version) VALUES "
                        "($1::bigint, 'champion', $2::int)"
                        " ON CONFLICT (model_id, alias) DO UPDATE SET version = excluded.version, "
                        "updated_at = now()"
                        " WHERE $3::boolean" },
    [MODEL_CHAMPION_METRIC] = { "models_champion_metric", 2, /* $1 model id, $2 key */
                                "SELECT v.metrics ->> $2 FROM model_aliases a"
                                " JOIN model_versions v ON v.model_id = a.model_id AND v.version = "
                                "a.version"
                                " WHERE a.model_id = $1::bigint AND a.alias = 'champion' AND "
                                "v.metrics ->> $2 IS NOT NULL" },
    [MODEL_NOTIFY] = { "models_notify", 0, "SELECT pg_notify(current_schema() || '_models', '')" },
};
const struct db_stmts DB_MODELS_STMTS = { STMTS, MODEL_N_STMTS };

enum db_status db_models_notify(struct db *db)
{
    return db_exec(db, &STMTS[MODEL_NOTIFY], NULL, NULL);
}

enum db_status db_models_ensure(struct db *db, const char *name, const char *task, int64_t *ret_id)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[MODEL_ENSURE], (const char *[]){ name, task }, &r);
    if (st == DB_ONE) *ret_id = db_result_int(r, 0, 0);
    db_result_free(r);
    return st == DB_NONE ? DB_CONFLICT : st;
}

enum db_status db_models_list(struct db *db, const char *after, unsigned limit,
                              struct seg_arena *arena, struct db_document **ret, size_t *ret_n)
{
    return db_documents(db, &STMTS[MODEL_LIST], (const char *[]){ after, number(limit).text },
                        arena, ret, ret_n);
}

enum db_status db_models_get(struct db *db, const char *name, struct seg_arena *arena,
                             struct db_document *ret)
{
    return db_document(db, &STMTS[MODEL_GET], (const char *[]){ name }, arena, ret);
}

enum db_status db_models_versions(struct db *db, const char *name, const char *after,
                                  unsigned limit, struct seg_arena *arena, struct db_document **ret,
                                  size_t *ret_n)
{
    return db_documents(db, &STMTS[MODEL_VERSIONS],
                        (const char *[]){ name, after, number(limit).text }, arena, ret, ret_n);
}

enum db_status db_models_version(struct db *db, const char *name, unsigned version,
                                 struct seg_arena *arena, struct db_document *ret)
{
    return db_document(db, &STMTS[MODEL_VERSION], (const char *[]){ name, number(version).text },
                       arena, ret);
}

enum db_status db_models_version_shape(struct db *db, const char *name, unsigned version,
                                       struct seg_arena *arena, const char **ret_spec,
                                       unsigned *ret_k)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[MODEL_VERSION_SHAPE],
                                (const char *[]){ name, number(version).text }, &r);
    if (st == DB_ONE) {
        const char *spec = db_result_text(r, 0, 0);
        *ret_spec = seg_arena_strndup(arena, spec, strlen(spec));
        *ret_k = (unsigned)db_result_int(r, 0, 1);
        if (*ret_spec == NULL) st = DB_FATAL;
    }
    db_result_free(r);
    return st;
}

enum db_status db_models_projection(struct db *db, const char *name, unsigned version,
                                    struct seg_arena *arena, struct db_document *ret)
{
    return db_document(db, &STMTS[MODEL_PROJECTION], (const char *[]){ name, number(version).text },
                       arena, ret);
}

/* In parts, since a connection keeps the memory of the largest row that it ever received. */
static enum db_status read_artifact(struct db *db, const char *model_id, const char *version,
                                    uint8_t *bytes, size_t len)
{
    enum db_status st = DB_ONE;
    for (size_t at = 0, n; st == DB_ONE && at < len; at += n) {
        struct db_result *r = NULL;
        const struct number_text from = number((int64_t)at + 1), most = number(ARTIFACT_PART_BYTES);
        st = db_exec(db, &STMTS[MODEL_ARTIFACT_PART],
                     (const char *[]){ model_id, version, from.text, most.text }, &r);
        n = st == DB_ONE ? db_result_bytea_copy(r, 0, 0, bytes + at, len - at) : 0;
        if (st == DB_ONE && n == 0) st = DB_FATAL;
        db_result_free(r);
    }
    return st;
}

enum db_status db_models_artifact(struct db *db, const char *name, unsigned version,
                                  uint8_t **ret_bytes, size_t *ret_len, char ret_sha256[65])
{
    struct db_result *r = NULL;
    uint8_t *bytes = NULL;
    enum db_status st =
        db_exec(db, &STMTS[MODEL_ARTIFACT], (const char *[]){ name, number(version).text }, &r);
    if (st != DB_ONE) goto out;
    size_t len = (size_t)db_result_int(r, 0, 2);
    bytes = seg_alloc(len, 1);
    st = bytes != NULL
             ? read_artifact(db, db_result_text(r, 0, 0), db_result_text(r, 0, 1), bytes, len)
             : DB_FATAL;
    if (st != DB_ONE) goto out;
    snprintf(ret_sha256, 65, "%s", db_result_text(r, 0, 3));
    *ret_len = len;
    *ret_bytes = bytes;
    bytes = NULL;
out:
    seg_free(bytes);
    db_result_free(r);
    return st;
}

enum db_status db_models_version_id(struct db *db, const char *name, unsigned version,
                                    int64_t *ret_model_id)
{
    struct db_result *r = NULL;
    enum db_status st =
        db_exec(db, &STMTS[MODEL_VERSION_ID], (const char *[]){ name, number(version).text }, &r);
    if (st == DB_ONE) *ret_model_id = db_result_int(r, 0, 0);
    db_result_free(r);
    return st;
}

enum db_status db_models_names_hash(struct db *db, const char *name, unsigned version,
                                    char ret_hash[DB_NAMES_HASH_SIZE])
{
    struct db_result *r = NULL;
    enum db_status st =
        db_exec(db, &STMTS[MODEL_NAMES_HASH], (const char *[]){ name, number(version).text }, &r);
    if (st == DB_ONE) snprintf(ret_hash, DB_NAMES_HASH_SIZE, "%s", db_result_text(r, 0, 0));
    db_result_free(r);
    return st;
}

enum db_status db_models_champions(struct db *db, struct seg_arena *arena, struct db_champion **ret,
                                   size_t *ret_n)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[MODEL_CHAMPIONS], NULL, &r);
    if (st == DB_ONE) {
        size_t n = db_result_rows(r);
        struct db_champion *c = seg_arena_alloc(arena, n * sizeof(*c));
        for (size_t i = 0; c != NULL && i < n; i++) {
            c[i].name = seg_arena_strndup(arena, db_result_text(r, i, 0), db_result_len(r, i, 0));
            c[i].version = (unsigned)db_result_int(r, i, 1);
            c[i].names_hash =
                seg_arena_strndup(arena, db_result_text(r, i, 2), db_result_len(r, i, 2));
            if (c[i].name == NULL || c[i].names_hash == NULL) c = NULL;
        }
        if (c == NULL) st = DB_FATAL;
        *ret = c;
        *ret_n = n;
    }
    db_result_free(r);
    return st;
}

struct alias_args {
    const char *name, *alias;
    unsigned version, if_version;
    bool model_exists;
};

static enum db_status alias_put_in_tx(struct db *db, void *ctx)
{
    struct alias_args *a = ctx;
    struct db_result *r = NULL;
    enum db_status st =
        db_exec(db, &STMTS[MODEL_ALIAS_LOCK], (const char *[]){ a->name, a->alias }, &r);
    a->model_exists = st == DB_ONE;
    bool matches =
        st == DB_ONE && (a->if_version == 0 || (int64_t)a->if_version == db_result_int(r, 0, 0));
    db_result_free(r);
    if (st != DB_ONE) return st;
    if (!matches) return DB_CONFLICT;
    st = db_exec(db, &STMTS[MODEL_ALIAS_PUT],
                 (const char *[]){ a->name, a->alias, number(a->version).text }, NULL);
    return st == DB_ONE ? db_models_notify(db) : st;
}

enum db_status db_models_alias_put(struct db *db, const char *name, const char *alias,
                                   unsigned version, unsigned if_version, bool *ret_model_exists)
{
    struct alias_args a = { name, alias, version, if_version, false };
    enum db_status st = db_tx_run(db, "models_alias_put", alias_put_in_tx, &a);
    *ret_model_exists = a.model_exists;
    return st;
}

struct delete_args {
    const char *name;
    unsigned version; /* 0: the whole model */
    bool force;       /* also while aliases point there */
};

static enum db_status delete_in_tx(struct db *db, void *ctx)
{
    const struct delete_args *a = ctx;
    struct db_result *r = NULL;
    enum db_status st =
        db_exec(db, &STMTS[MODEL_IN_USE], (const char *[]){ a->name, number(a->version).text }, &r);
    if (st == DB_ONE && !db_result_bool(r, 0, 2)) st = DB_NONE;
    if (st == DB_ONE && db_result_bool(r, 0, 0) && !a->force) st = DB_CONFLICT;
    if (st == DB_ONE) st = db_labels_drop(db, db_result_text(r, 0, 1));
    db_result_free(r);
    if (st != DB_ONE) return st;
    st = a->version == 0 ? db_exec(db, &STMTS[MODEL_DELETE], (const char *[]){ a->name }, NULL)
                         : db_exec(db, &STMTS[MODEL_VERSION_DELETE],
                                   (const char *[]){ a->name, number(a->version).text }, NULL);
    return st == DB_ONE ? db_models_notify(db) : st;
}

enum db_status db_models_delete(struct db *db, const char *name, bool force)
{
    return db_tx_run(db, "models_delete", delete_in_tx, &(struct delete_args){ name, 0, force });
}

enum db_status db_models_version_delete(struct db *db, const char *name, unsigned version)
{
    return db_tx_run(db, "models_version_delete", delete_in_tx,
                     &(struct delete_args){ name, version, false });
}

enum db_status db_models_version_add(struct db *db, const struct db_version_new *v,
                                     unsigned *ret_version)
{
    struct db_result *r = NULL;
    char *artifact = db_bytea_text(v->artifact, v->artifact_len);
    if (artifact == NULL) return DB_FATAL;
    const struct number_text id = number(v->model_id);
    const char *params[] = { id.text,        v->job_id,   v->feature_set, v->algorithm,
                             v->spec,        v->metrics,  v->curve,       v->data,
                             v->duration_ms, v->k_search, v->warnings,    v->projection,
                             artifact };
    enum db_status st = db_exec(db, &STMTS[MODEL_VERSION_ADD], params, &r);
    if (st == DB_ONE) *ret_version = (unsigned)db_result_int(r, 0, 0);
    if (st == DB_ONE && strcmp(db_result_text(r, 0, 1), v->artifact_sha256) != 0) st = DB_FATAL;
    db_result_free(r);
    seg_free(artifact);
    return st;
}

enum db_status db_models_promote(struct db *db, int64_t model_id, unsigned version, bool promote)
{
    enum db_status st = db_exec(
        db, &STMTS[MODEL_PROMOTE],
        (const char *[]){ number(model_id).text, number(version).text, promote ? "true" : "false" },
        NULL);
    return st == DB_ONE || st == DB_NONE ? db_models_notify(db) : st;
}

enum db_status db_models_champion_metric(struct db *db, int64_t model_id, const char *key,
                                         double *ret)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, &STMTS[MODEL_CHAMPION_METRIC],
                                (const char *[]){ number(model_id).text, key }, &r);
    if (st == DB_ONE) *ret = strtod(db_result_text(r, 0, 0), NULL);
    db_result_free(r);
    return st;
}
