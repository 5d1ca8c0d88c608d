/* Feature sets: what is there, with its summary, and the rows that come into it. */
#include "handlers/feature_sets.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "db/feature_summary.h"
#include "handlers/handlers.h"
#include "handlers/list.h"
#include "import/import.h"
#include "json/json.h"

bool feature_sets_name(struct http_request *rq, const char **ret)
{
    *ret = rq->path_args[0];
    if (name_is_valid(*ret)) return true;
    reply_error(rq, ERR_INVALID,
                "a feature set's name is a to z, then up to 62 of a to z, 0 to 9, _ and -");
    return false;
}

static void write_head(struct json_out *o, const struct feature_set *fs)
{
    json_out_member_string(o, "name", fs->name);
    json_out_member_string(o, "kind", fs->managed ? "managed" : "relation");
    if (!fs->managed) {
        char relation[160];
        snprintf(relation, sizeof(relation), "%s.%s", fs->relation_schema, fs->relation_name);
        json_out_member_string(o, "relation", relation);
    }
    json_out_member_string(o, "id_column", fs->managed ? fs->imported_id : fs->id_column);
    if (fs->left_out != NULL) json_out_member_raw(o, "left_out", fs->left_out);
    json_out_member_string(o, "created_at", fs->created_at);
    json_out_member_string(o, "updated_at", fs->updated_at);
}

static void write_schema(struct json_out *o, const struct feature_set *fs)
{
    json_out_key(o, "columns");
    json_out_array(o);
    for (uint32_t i = 0; i < fs->n_columns; i++) {
        json_out_object(o);
        json_out_member_string(o, "name", fs->columns[i].name);
        json_out_member_string(o, "type", seg_type_name(fs->columns[i].type));
        if (fs->columns[i].type == SEG_VECTOR)
            json_out_member_uint(o, "width", fs->columns[i].width);
        json_out_end_object(o);
    }
    json_out_end_array(o);
}

enum http_status feature_sets_list(struct http_request *rq)
{
    unsigned limit;
    const char *after;
    struct feature_set *sets = NULL;
    size_t n = 0;
    if (!list_page(rq, &limit, &after)) return HTTP_ERROR;
    enum db_status st = db_feature_sets_list(rq->db, after, limit + 1, &rq->arena, &sets, &n);
    if (st != DB_ONE && st != DB_NONE) return reply_db_error(rq, st);
    struct db_document *docs = seg_arena_alloc(&rq->arena, (n + 1) * sizeof(*docs));
    for (size_t i = 0; i < n && docs != NULL; i++) {
        struct json_out o;
        size_t len;
        json_out_init(&o);
        json_out_object(&o);
        write_head(&o, &sets[i]);
        write_schema(&o, &sets[i]);
        json_out_end_object(&o);
        docs[i] = (struct db_document){ sets[i].name, json_out_take(&o, &len) };
        if (docs[i].json == NULL || !request_defer(rq, seg_free, (void *)docs[i].json)) docs = NULL;
    }
    return docs ? list_reply(rq, "", docs, n, limit) : reply_error(rq, ERR_INTERNAL, NULL);
}

enum http_status feature_sets_reply(struct http_request *rq, enum http_status status)
{
    struct feature_set fs;
    struct json_out o;
    enum db_status st = db_feature_sets_get(rq->db, rq->path_args[0], &rq->arena, &fs);
    if (st == DB_NONE)
        return reply_error(rq, ERR_FEATURE_SET_NOT_FOUND, "no feature set is called %s",
                           rq->path_args[0]);
    if (st != DB_ONE) return reply_db_error(rq, st);
    json_out_init(&o);
    json_out_object(&o);
    write_head(&o, &fs);
    st =
        db_feature_summary(rq->db, &fs, rq->app->config->limits.summary_values_max, &rq->arena, &o);
    if (st == DB_ONE) {
        json_out_end_object(&o);
        return reply_json(rq, status, &o);
    }
    json_out_release(&o);
    if (!fs.managed && st == DB_FATAL)
        return reply_error(rq, ERR_CONFLICT,
                           "%s.%s cannot be read as it was registered: was it changed or dropped?",
                           fs.relation_schema, fs.relation_name);
    return reply_db_error(rq, st);
}

enum http_status feature_sets_get(struct http_request *rq)
{
    return feature_sets_reply(rq, HTTP_200);
}

enum http_status feature_sets_delete(struct http_request *rq)
{
    struct faults f;
    faults_init(&f, &rq->arena);
    bool force = request_flag(rq, "force", false, &f);
    if (f.n_total > 0) return reply_faults(rq, ERR_BAD_PARAMETER, &f);
    enum db_status st = db_feature_sets_delete(rq->db, rq->path_args[0], force);
    if (st == DB_NONE)
        return reply_error(rq, ERR_FEATURE_SET_NOT_FOUND, "no feature set is called %s",
                           rq->path_args[0]);
    if (st == DB_CONFLICT)
        return reply_error(
            rq, ERR_FEATURE_SET_IN_USE,
            "a model was trained on %s or a job waits for it; ?force=true deletes it all the same",
            rq->path_args[0]);
    return st == DB_ONE ? reply_empty(rq, HTTP_204) : reply_db_error(rq, st);
}

static void free_source(void *p)
{
    struct source *s = p;
    s->free(s);
}

/* The rows of a JSON body: an array, or {"rows": [...]}. NULL after a reply. */
static struct source *json_body_source(struct http_request *rq)
{
    if (rq->body.len > rq->app->config->limits.body_bytes_max) {
        reply_error(rq, ERR_TOO_LARGE,
                    "a JSON document may have %llu bytes; NDJSON and CSV may be larger",
                    (unsigned long long)rq->app->config->limits.body_bytes_max);
        return NULL;
    }
    const struct json *body = request_json(rq);
    if (body == NULL) return NULL;
    const struct json *rows = json_kind(body) == JSON_OBJECT ? json_get(body, "rows") : body;
    if (rows == NULL || json_kind(rows) != JSON_ARRAY) {
        reply_error(rq, ERR_INVALID,
                    "the body must be an array of rows, or an object with an array \"rows\"");
        return NULL;
    }
    struct source *s = json_source_new(rows);
    if (s == NULL) reply_error(rq, ERR_INTERNAL, NULL);
    return s;
}

enum http_status feature_sets_rows_post(struct http_request *rq)
{
    const char *name, *id_column = request_query(rq, "id_column"),
                      *on_error = request_query(rq, "on_error");
    struct source *s;
    if (!feature_sets_name(rq, &name)) return HTTP_ERROR;
    if (on_error != NULL && strcmp(on_error, "skip") != 0 && strcmp(on_error, "fail") != 0)
        return reply_error(rq, ERR_BAD_PARAMETER, "on_error must be fail or skip");
    if (request_is(rq, "text/csv"))
        s = csv_source_new(&rq->body);
    else if (request_is(rq, "application/x-ndjson"))
        s = ndjson_source_new(&rq->body);
    else if (request_is(rq, "application/json"))
        s = json_body_source(rq);
    else
        return reply_error(rq, ERR_UNSUPPORTED_MEDIA_TYPE,
                           "rows come as text/csv, application/x-ndjson or application/json");
    if (s == NULL) return HTTP_ERROR;
    if (!request_defer(rq, free_source, s)) return reply_error(rq, ERR_INTERNAL, NULL);
    return import_rows(rq, name, s, id_column, on_error != NULL && strcmp(on_error, "skip") == 0);
}
