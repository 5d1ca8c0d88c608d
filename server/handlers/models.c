/* Models: training them, looking at their versions, moving aliases, labelling. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "db/models.h"
#include "handlers/handlers.h"
#include "handlers/jobs.h"
#include "handlers/list.h"
#include "handlers/version.h"
#include "json/json.h"
#include "model_cache.h"
#include "spec.h"

bool version_parse(const char *text, unsigned *ret)
{
    size_t len = strlen(text);
    if (len == 0 || len > 9 || strspn(text, "0123456789") != len || text[0] == '0') return false;
    *ret = (unsigned)strtoul(text, NULL, 10);
    return true;
}

bool version_query(struct http_request *rq, unsigned *ret)
{
    const char *text = request_query(rq, "version");
    *ret = 0;
    if (text == NULL || version_parse(text, ret)) return true;
    reply_error(rq, ERR_BAD_PARAMETER, "version must be a number of 1 or more");
    return false;
}

enum http_status version_not_found(struct http_request *rq, unsigned version)
{
    struct db_document doc;
    enum db_status st = db_models_get(rq->db, rq->path_args[0], &rq->arena, &doc);
    if (st == DB_NONE)
        return reply_error(rq, ERR_MODEL_NOT_FOUND, "no model is called %s", rq->path_args[0]);
    if (st != DB_ONE) return reply_db_error(rq, st);
    if (version == 0)
        return reply_error(rq, ERR_VERSION_NOT_FOUND, "model %s has no champion yet",
                           rq->path_args[0]);
    return reply_error(rq, ERR_VERSION_NOT_FOUND, "model %s has no version %u", rq->path_args[0],
                       version);
}

static void free_json(void *doc)
{
    json_free(doc);
}

/* The version that training goes on from, its version 0 when there is none to compare with. False
 * after a reply; an unknown version is a fault. */
static bool read_earlier(struct http_request *rq, const struct json *body, struct faults *f,
                         struct earlier_version *ret)
{
    const char *text;
    struct json_fault fault;
    struct earlier_version e = train_spec_earlier(body, rq->path_args[0], f);
    *ret = (struct earlier_version){ 0 };
    if (e.version == 0) return true;
    enum db_status st =
        db_models_version_shape(rq->db, e.model, e.version, &rq->arena, &text, &e.k);
    if (st == DB_NONE)
        faults_add(f, e.encoder_only ? "/encoder_from" : "/warm_start", "unknown_version",
                   "model %s has no version %u", e.model, e.version);
    if (st == DB_NONE) return true;
    if (st != DB_ONE) return reply_db_error(rq, st), false;
    struct json *spec = json_parse(text, strlen(text), &fault);
    if (spec == NULL || !request_defer(rq, free_json, spec))
        return reply_error(rq, ERR_INTERNAL, NULL), false;
    e.spec = spec;
    *ret = e;
    return true;
}

/* The complete spec as text (arena), or NULL after a reply. */
static const char *read_spec(struct http_request *rq, const struct json *body,
                             struct feature_set *fs, struct train_spec *ret)
{
    struct faults f;
    struct json_out o;
    struct earlier_version earlier;
    size_t len;
    faults_init(&f, &rq->arena);
    if (!read_earlier(rq, body, &f, &earlier)) return NULL;
    const char *name = train_spec_feature_set(body, &f);
    enum db_status st = name != NULL ? db_feature_sets_get(rq->db, name, &rq->arena, fs) : DB_ONE;
    if (st == DB_NONE)
        faults_add(&f, "/feature_set", "unknown_feature_set", "no feature set is called %s", name);
    if (st != DB_ONE && st != DB_NONE) {
        reply_db_error(rq, st);
        return NULL;
    }
    if (f.n_total > 0 ||
        !train_spec_parse(body, fs, earlier.version > 0 ? &earlier : NULL, &rq->arena, ret, &f)) {
        reply_faults(rq, ERR_INVALID, &f);
        return NULL;
    }
    json_out_init(&o);
    train_spec_write(ret, fs, &o);
    char *text = json_out_take(&o, &len);
    if (text == NULL || !request_defer(rq, seg_free, text)) {
        reply_error(rq, ERR_INTERNAL, NULL);
        return NULL;
    }
    return text;
}

enum http_status models_train_post(struct http_request *rq)
{
    struct feature_set fs;
    struct train_spec spec;
    struct faults f;
    int64_t model_id;
    const char *model = rq->path_args[0];
    faults_init(&f, &rq->arena);
    bool dry_run = request_flag(rq, "dry_run", false, &f);
    if (f.n_total > 0) return reply_faults(rq, ERR_BAD_PARAMETER, &f);
    if (!name_is_valid(model))
        return reply_error(rq, ERR_INVALID,
                           "a model's name is a to z, then up to 62 of a to z, 0 to 9, _ and -");
    const struct json *body = request_json(rq);
    if (body == NULL) return HTTP_ERROR;
    const char *text = read_spec(rq, body, &fs, &spec);
    if (text == NULL) return HTTP_ERROR;
    if (dry_run) return reply_bytes(rq, HTTP_200, "application/json", text, strlen(text), true);
    const char *task = spec.core.task == SEG_SEGMENTATION ? "segmentation" : "classification";
    enum db_status st = db_models_ensure(rq->db, model, task, &model_id);
    if (st == DB_CONFLICT)
        return reply_error(rq, ERR_CONFLICT, "model %s is of another task than %s", model, task);
    if (st != DB_ONE) return reply_db_error(rq, st);
    return jobs_reply_created(rq, "train", model, fs.name, text);
}

enum http_status models_label_post(struct http_request *rq)
{
    struct db_document doc;
    char spec[48];
    unsigned version;
    const char *model = rq->path_args[0];
    if (!version_query(rq, &version) || !request_has_no_options(rq)) return HTTP_ERROR;
    enum db_status st = db_models_version(rq->db, model, version, &rq->arena, &doc);
    if (st == DB_NONE) return version_not_found(rq, version);
    if (st != DB_ONE) return reply_db_error(rq, st);
    struct json_fault fault;
    struct json *v = json_parse(doc.json, strlen(doc.json), &fault);
    const struct json *set = v ? json_get(v, "feature_set") : NULL;
    const char *feature_set =
        set ? seg_arena_strndup(&rq->arena, json_string(set), strlen(json_string(set))) : NULL;
    json_free(v);
    if (feature_set == NULL) return reply_error(rq, ERR_INTERNAL, NULL);
    snprintf(spec, sizeof(spec), "{\"version\": %s}", doc.key);
    return jobs_reply_created(rq, "label", model, feature_set, spec);
}

enum http_status models_list(struct http_request *rq)
{
    unsigned limit;
    const char *after;
    struct db_document *docs = NULL;
    size_t n = 0;
    if (!list_page(rq, &limit, &after)) return HTTP_ERROR;
    enum db_status st = db_models_list(rq->db, after, limit + 1, &rq->arena, &docs, &n);
    if (st == DB_ONE) st = model_cache_catch_up(rq->app->models, rq->db);
    return st == DB_ONE || st == DB_NONE ? list_reply(rq, "", docs, n, limit)
                                         : reply_db_error(rq, st);
}

static enum http_status reply_document(struct http_request *rq, const struct db_document *doc)
{
    if (list_etag(rq, doc, NULL, 0)) return reply_empty(rq, HTTP_304);
    return reply_bytes(rq, HTTP_200, "application/json", doc->json, strlen(doc->json), true);
}

enum http_status models_get(struct http_request *rq)
{
    struct db_document doc;
    enum db_status st = db_models_get(rq->db, rq->path_args[0], &rq->arena, &doc);
    if (st == DB_NONE)
        return reply_error(rq, ERR_MODEL_NOT_FOUND, "no model is called %s", rq->path_args[0]);
    if (st == DB_ONE) st = model_cache_catch_up(rq->app->models, rq->db);
    return st == DB_ONE ? reply_document(rq, &doc) : reply_db_error(rq, st);
}

enum http_status models_delete(struct http_request *rq)
{
    struct faults f;
    faults_init(&f, &rq->arena);
    bool force = request_flag(rq, "force", false, &f);
    if (f.n_total > 0) return reply_faults(rq, ERR_BAD_PARAMETER, &f);
    enum db_status st = db_models_delete(rq->db, rq->path_args[0], force);
    if (st == DB_NONE)
        return reply_error(rq, ERR_MODEL_NOT_FOUND, "no model is called %s", rq->path_args[0]);
    if (st == DB_CONFLICT)
        return reply_error(
            rq, ERR_VERSION_IN_USE,
            "an alias of model %s points to a version; ?force=true deletes all the same",
            rq->path_args[0]);
    if (st != DB_ONE) return reply_db_error(rq, st);
    model_cache_refresh(rq->app->models, rq->db);
    return reply_empty(rq, HTTP_204);
}

enum http_status models_versions(struct http_request *rq)
{
    unsigned limit, number;
    const char *after;
    struct db_document *docs = NULL;
    size_t n = 0;
    if (!list_page(rq, &limit, &after)) return HTTP_ERROR;
    if (after != NULL && !version_parse(after, &number))
        return reply_error(rq, ERR_BAD_PARAMETER, "the cursor is not one of this list");
    enum db_status st =
        db_models_versions(rq->db, rq->path_args[0], after, limit + 1, &rq->arena, &docs, &n);
    if (st == DB_NONE && after == NULL) {
        struct db_document model;
        st = db_models_get(rq->db, rq->path_args[0], &rq->arena, &model);
        if (st == DB_NONE)
            return reply_error(rq, ERR_MODEL_NOT_FOUND, "no model is called %s", rq->path_args[0]);
    }
    return st == DB_ONE || st == DB_NONE ? list_reply(rq, "", docs, n, limit)
                                         : reply_db_error(rq, st);
}

/* The version number of the path, or 0 after a reply. */
static unsigned version_arg(struct http_request *rq)
{
    unsigned version = 0;
    if (!version_parse(rq->path_args[1], &version))
        reply_error(rq, ERR_VERSION_NOT_FOUND, "versions are numbers: 1, 2, 3");
    return version;
}

enum http_status models_version_get(struct http_request *rq)
{
    struct db_document doc;
    unsigned version = version_arg(rq);
    if (version == 0) return HTTP_ERROR;
    enum db_status st = db_models_version(rq->db, rq->path_args[0], version, &rq->arena, &doc);
    if (st == DB_NONE) return version_not_found(rq, version);
    return st == DB_ONE ? reply_document(rq, &doc) : reply_db_error(rq, st);
}

enum http_status models_version_delete(struct http_request *rq)
{
    unsigned version = version_arg(rq);
    if (version == 0) return HTTP_ERROR;
    enum db_status st = db_models_version_delete(rq->db, rq->path_args[0], version);
    if (st == DB_NONE) return version_not_found(rq, version);
    if (st == DB_CONFLICT)
        return reply_error(rq, ERR_VERSION_IN_USE, "an alias points to version %u of model %s",
                           version, rq->path_args[0]);
    if (st != DB_ONE) return reply_db_error(rq, st);
    model_cache_refresh(rq->app->models, rq->db);
    return reply_empty(rq, HTTP_204);
}

enum http_status models_artifact_get(struct http_request *rq)
{
    uint8_t *bytes;
    size_t len;
    char sha256[65];
    unsigned version = version_arg(rq);
    if (version == 0) return HTTP_ERROR;
    enum db_status st = db_models_artifact(rq->db, rq->path_args[0], version, &bytes, &len, sha256);
    if (st == DB_NONE) return version_not_found(rq, version);
    if (st != DB_ONE) return reply_db_error(rq, st);
    if (reply_etag(rq, sha256)) {
        seg_free(bytes);
        return reply_empty(rq, HTTP_304);
    }
    char *disposition = seg_arena_printf(&rq->arena, "attachment; filename=\"%s-%u.safetensors\"",
                                         rq->path_args[0], version);
    if (disposition != NULL) reply_header(rq, "Content-Disposition", disposition);
    return reply_take(rq, HTTP_200, "application/octet-stream", (char *)bytes, len);
}

/* If-Match: "3" means that the alias must point to version 3 now. 0: no condition. False after a
 * reply. */
static bool read_if_match(struct http_request *rq, unsigned *ret)
{
    const char *text = request_header(rq, "If-Match");
    char number[16] = "";
    *ret = 0;
    if (text == NULL || strcmp(text, "*") == 0) return true;
    size_t len = strlen(text);
    if (len >= 3 && len < sizeof(number) && text[0] == '"' && text[len - 1] == '"')
        memcpy(number, text + 1, len - 2);
    if (version_parse(number, ret)) return true;
    reply_error(rq, ERR_PRECONDITION_FAILED,
                "If-Match must be the version that the alias points to, in quotes");
    return false;
}

enum http_status models_alias_put(struct http_request *rq)
{
    struct faults f;
    struct json_out o;
    int64_t version = 0;
    unsigned if_version;
    bool model_exists = false;
    const char *model = rq->path_args[0], *alias = rq->path_args[1];
    if (!name_is_valid(alias))
        return reply_error(rq, ERR_INVALID,
                           "an alias is a to z, then up to 62 of a to z, 0 to 9, _ and -");
    const struct json *body = request_json(rq);
    if (body == NULL || !read_if_match(rq, &if_version)) return HTTP_ERROR;
    faults_init(&f, &rq->arena);
    if (json_kind(body) != JSON_OBJECT) {
        faults_add(&f, "", "wrong_type", "must be an object: {\"version\": 3}");
    } else {
        for (const struct json *m = json_first(body); m != NULL; m = json_next(m)) {
            char *at = seg_arena_printf(&rq->arena, "/%s", json_key(m));
            if (strcmp(json_key(m), "version") != 0)
                faults_add(&f, at ? at : "", "unknown_key", "there is no such option here");
            else if (!json_integer(m, 1, INT_MAX, &version))
                faults_add(&f, "/version", "wrong_type", "must be a version's number");
        }
        if (json_get(body, "version") == NULL)
            faults_add(&f, "/version", "missing", "must be a version's number");
    }
    if (f.n_total > 0) return reply_faults(rq, ERR_INVALID, &f);
    enum db_status st =
        db_models_alias_put(rq->db, model, alias, (unsigned)version, if_version, &model_exists);
    if (st == DB_NONE && !model_exists)
        return reply_error(rq, ERR_MODEL_NOT_FOUND, "no model is called %s", model);
    if (st == DB_NONE)
        return reply_error(rq, ERR_VERSION_NOT_FOUND, "model %s has no version %lld", model,
                           (long long)version);
    if (st == DB_CONFLICT)
        return reply_error(rq, ERR_PRECONDITION_FAILED, "alias %s does not point to version %u",
                           alias, if_version);
    if (st != DB_ONE) return reply_db_error(rq, st);
    model_cache_refresh(rq->app->models, rq->db);
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "model", model);
    json_out_member_string(&o, "alias", alias);
    json_out_member_uint(&o, "version", (uint64_t)version);
    json_out_end_object(&o);
    char etag[16];
    snprintf(etag, sizeof(etag), "%lld", (long long)version);
    reply_etag(rq, etag);
    return reply_json(rq, HTTP_200, &o);
}
