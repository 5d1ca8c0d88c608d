/* Segments: what dashboards read of a model's current labelling run. */
#include <stdio.h>
#include <string.h>

#include "db/models.h"
#include "db/segments.h"
#include "handlers/handlers.h"
#include "handlers/list.h"
#include "handlers/version.h"
#include "http/route.h"

/* Replies why there is no run of the version, 0: the champion. */
static enum http_status no_run(struct http_request *rq, unsigned version)
{
    struct db_document doc;
    enum db_status st = db_models_version(rq->db, rq->path_args[0], version, &rq->arena, &doc);
    if (st == DB_NONE) return version_not_found(rq, version);
    if (st != DB_ONE) return reply_db_error(rq, st);
    return reply_error(rq, ERR_NOT_LABELLED, "POST /v1/models/%s/label first", rq->path_args[0]);
}

/* Replies why the run of a cursor is there no more. */
static enum http_status run_is_gone(struct http_request *rq)
{
    struct db_document doc;
    enum db_status st = db_models_get(rq->db, rq->path_args[0], &rq->arena, &doc);
    if (st == DB_NONE) return version_not_found(rq, 0);
    if (st != DB_ONE) return reply_db_error(rq, st);
    return reply_error(
        rq, ERR_CONFLICT,
        "the labels that the page before was read from are kept no more: begin again "
        "without cursor");
}

/* The run of the request. False after a reply. */
static bool read_run(struct http_request *rq, struct db_document *ret, enum http_status *status)
{
    unsigned version = 0;
    *status = HTTP_ERROR;
    bool has_version = strstr(rq->route->query, "version") != NULL;
    if (has_version && !version_query(rq, &version)) return false;
    enum db_status st = db_segments_run(rq->db, rq->path_args[0], version, NULL, &rq->arena, ret);
    if (st != DB_ONE) *status = st == DB_NONE ? no_run(rq, version) : reply_db_error(rq, st);
    return st == DB_ONE;
}

enum http_status segments_list(struct http_request *rq)
{
    struct db_document run, *docs = NULL;
    size_t n = 0;
    enum http_status status;
    if (!read_run(rq, &run, &status)) return status;
    enum db_status st = db_segments_list(rq->db, run.key, 0, &rq->arena, &docs, &n);
    if (st != DB_ONE && st != DB_NONE) return reply_db_error(rq, st);
    if (list_etag(rq, &run, docs, n)) return reply_empty(rq, HTTP_304);
    return list_reply(rq, run.json + 1, docs, n, (unsigned)n);
}

/* The path's segment number; 0 after a reply. */
static unsigned segment_arg(struct http_request *rq)
{
    unsigned segment = 0;
    if (!version_parse(rq->path_args[1], &segment))
        reply_error(rq, ERR_SEGMENT_NOT_FOUND, "segments are numbers: 1, 2, 3");
    return segment;
}

enum http_status segments_get(struct http_request *rq)
{
    struct db_document run, *docs;
    size_t n;
    enum http_status status;
    unsigned segment = segment_arg(rq);
    if (segment == 0) return HTTP_ERROR;
    if (!read_run(rq, &run, &status)) return status;
    enum db_status st = db_segments_list(rq->db, run.key, segment, &rq->arena, &docs, &n);
    if (st == DB_NONE)
        return reply_error(rq, ERR_SEGMENT_NOT_FOUND, "model %s has no segment %u",
                           rq->path_args[0], segment);
    if (st != DB_ONE) return reply_db_error(rq, st);
    if (list_etag(rq, &run, docs, 1)) return reply_empty(rq, HTTP_304);
    char *json = seg_arena_printf(&rq->arena, "%s, %s", run.json, docs[0].json + 1);
    if (json == NULL) return reply_error(rq, ERR_INTERNAL, NULL);
    return reply_bytes(rq, HTTP_200, "application/json", json, strlen(json), true);
}

/* The run whose page before ended with that cursor, and *after cut to its key there: a list that is
 * read in pages stays with its run. False after a reply. */
static bool read_run_of_cursor(struct http_request *rq, const char **after, struct db_document *ret,
                               enum http_status *status)
{
    enum { DIGITS_MAX = 18 };
    const size_t n_digits = strspn(*after, "0123456789");
    *status = HTTP_ERROR;
    if (n_digits == 0 || n_digits > DIGITS_MAX || (*after)[n_digits] != ' ') {
        *status = reply_error(rq, ERR_BAD_PARAMETER, "cursor is not a next_cursor of this list");
        return false;
    }
    const char *run_id = seg_arena_strndup(&rq->arena, *after, n_digits);
    if (run_id == NULL) {
        *status = reply_error(rq, ERR_INTERNAL, NULL);
        return false;
    }
    enum db_status st = db_segments_run(rq->db, rq->path_args[0], 0, run_id, &rq->arena, ret);
    if (st != DB_ONE) *status = st == DB_NONE ? run_is_gone(rq) : reply_db_error(rq, st);
    *after += n_digits + 1;
    return st == DB_ONE;
}

enum http_status segments_users_get(struct http_request *rq)
{
    struct db_document run, *docs = NULL;
    size_t n = 0;
    unsigned limit, segment = segment_arg(rq);
    const char *after, *order = request_query(rq, "order");
    enum http_status status;
    if (segment == 0) return HTTP_ERROR;
    if (order != NULL && strcmp(order, "distance") != 0 && strcmp(order, "user_id") != 0)
        return reply_error(rq, ERR_BAD_PARAMETER, "order must be user_id or distance");
    if (!list_page(rq, &limit, &after)) return HTTP_ERROR;
    if (!(after != NULL ? read_run_of_cursor(rq, &after, &run, &status)
                        : read_run(rq, &run, &status)))
        return status;
    bool by_distance = order != NULL && strcmp(order, "distance") == 0;
    enum db_status st = db_segments_users(rq->db, run.key, segment, by_distance, after, limit + 1,
                                          &rq->arena, &docs, &n);
    if (st == DB_NONE && after == NULL) {
        struct db_document *profile;
        size_t n_profiles;
        st = db_segments_list(rq->db, run.key, segment, &rq->arena, &profile, &n_profiles);
        if (st == DB_NONE)
            return reply_error(rq, ERR_SEGMENT_NOT_FOUND, "model %s has no segment %u",
                               rq->path_args[0], segment);
    }
    if (st != DB_ONE && st != DB_NONE) return reply_db_error(rq, st);
    if (n > limit) {
        docs[limit - 1].key = seg_arena_printf(&rq->arena, "%s %s", run.key, docs[limit - 1].key);
        if (docs[limit - 1].key == NULL) return reply_error(rq, ERR_INTERNAL, NULL);
    }
    return list_reply(rq, run.json + 1, docs, n, limit);
}

enum http_status projection_get(struct http_request *rq)
{
    struct db_document doc;
    unsigned version;
    if (!version_query(rq, &version)) return HTTP_ERROR;
    enum db_status st = db_models_projection(rq->db, rq->path_args[0], version, &rq->arena, &doc);
    if (st == DB_NONE) return version_not_found(rq, version);
    if (st != DB_ONE) return reply_db_error(rq, st);
    char *json = seg_arena_printf(&rq->arena, "{\"model\": \"%s\", \"version\": %s, %s",
                                  rq->path_args[0], doc.key, doc.json + 1);
    if (json == NULL) return reply_error(rq, ERR_INTERNAL, NULL);
    if (list_etag(rq, &(struct db_document){ doc.key, json }, NULL, 0))
        return reply_empty(rq, HTTP_304);
    return reply_bytes(rq, HTTP_200, "application/json", json, strlen(json), true);
}
