/* Jobs: looking at them, stopping them, running them again. */
#include "handlers/jobs.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "digest.h"
#include "handlers/handlers.h"
#include "handlers/list.h"
#include "model_cache.h"

static void write_job(struct json_out *o, const struct db_job *j)
{
    json_out_object(o);
    json_out_member_string(o, "id", j->id);
    json_out_member_string(o, "kind", j->kind);
    json_out_member_string(o, "state", j->state);
    json_out_member_double(o, "progress", j->progress);
    json_out_member_string(o, "phase", j->phase);
    json_out_member_string(o, "message", j->message);
    json_out_member_string(o, "model", j->model);
    json_out_member_string(o, "feature_set", j->feature_set);
    json_out_key(o, "version");
    if (j->version > 0)
        json_out_int(o, j->version);
    else
        json_out_null(o);
    json_out_member_uint(o, "attempt", (uint64_t)j->attempt);
    json_out_member_string(o, "created_at", j->created_at);
    json_out_member_string(o, "started_at", j->started_at);
    json_out_member_string(o, "finished_at", j->finished_at);
    json_out_member_raw(o, "warnings", j->warnings);
    json_out_member_raw(o, "error", j->error);
    json_out_end_object(o);
}

/* Whoever reads here that a job has succeeded is served by what it published from then on. False
 * after a reply. */
static bool published_serves(struct http_request *rq, const struct db_job *jobs, size_t n)
{
    bool published = false;
    for (size_t i = 0; i < n; i++)
        published = published || strcmp(jobs[i].state, "succeeded") == 0;
    enum db_status st = published ? model_cache_catch_up(rq->app->models, rq->db) : DB_ONE;
    if (st != DB_ONE) reply_db_error(rq, st);
    return st == DB_ONE;
}

static enum http_status reply_job(struct http_request *rq, enum http_status status,
                                  const struct db_job *j)
{
    struct json_out o;
    if (!published_serves(rq, j, 1)) return HTTP_ERROR;
    json_out_init(&o);
    write_job(&o, j);
    return reply_json(rq, status, &o);
}

/* One to 255 printable ASCII characters. */
static bool key_is_valid(const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < len; i++)
        if (key[i] < 0x21 || key[i] > 0x7e) return false;
    return len >= 1 && len <= 255;
}

enum http_status jobs_reply_created(struct http_request *rq, const char *kind, const char *model,
                                    const char *feature_set, const char *spec)
{
    char sha256[DIGEST_HEX_SIZE];
    const char *key = request_header(rq, "Idempotency-Key");
    struct db_job job;
    bool existing = false;
    if (key != NULL && !key_is_valid(key))
        return reply_error(rq, ERR_BAD_PARAMETER,
                           "Idempotency-Key must be 1 to 255 printable ASCII characters");
    char *request = seg_arena_printf(&rq->arena, "%s %s %s %s", kind, model, feature_set, spec);
    if (request == NULL) return reply_error(rq, ERR_INTERNAL, NULL);
    digest_sha256_hex(request, strlen(request), sha256);
    const struct db_job_new new_job = { .kind = kind,
                                        .model = model,
                                        .feature_set = feature_set,
                                        .spec = spec,
                                        .idempotency_key = key,
                                        .request_sha256 = key ? sha256 : NULL,
                                        .attempts_max = rq->app->config->jobs.attempts_max };
    enum db_status st = db_jobs_create(rq->db, &new_job, &rq->arena, &job, &existing);
    if (st == DB_CONFLICT) return reply_error(rq, ERR_IDEMPOTENCY_MISMATCH, NULL);
    if (st != DB_ONE) return reply_db_error(rq, st);
    char *location = seg_arena_printf(&rq->arena, "/v1/jobs/%s", job.id);
    if (location != NULL) reply_header(rq, "Location", location);
    return reply_job(rq, HTTP_202, &job);
}

enum http_status jobs_list(struct http_request *rq)
{
    static const char *const states[] = { "queued",    "running",   "cancelling",
                                          "cancelled", "succeeded", "failed" };
    unsigned limit;
    const char *after, *state = request_query(rq, "state"), *model = request_query(rq, "model");
    struct db_job *jobs = NULL;
    size_t n = 0;
    bool known = state == NULL;
    for (size_t i = 0; !known && i < sizeof(states) / sizeof(states[0]); i++)
        known = strcmp(state, states[i]) == 0;
    if (!known)
        return reply_error(
            rq, ERR_BAD_PARAMETER,
            "state must be queued, running, cancelling, cancelled, succeeded or failed");
    if (model != NULL && !name_is_valid(model))
        return reply_error(rq, ERR_BAD_PARAMETER, "model is not a name");
    if (!list_page(rq, &limit, &after)) return HTTP_ERROR;
    enum db_status st = db_jobs_list(rq->db, state, model, after, limit + 1, &rq->arena, &jobs, &n);
    if (st != DB_ONE && st != DB_NONE) return reply_db_error(rq, st);
    if (!published_serves(rq, jobs, n)) return HTTP_ERROR;
    struct db_document *docs = seg_arena_alloc(&rq->arena, (n + 1) * sizeof(*docs));
    for (size_t i = 0; i < n && docs != NULL; i++) {
        struct json_out o;
        size_t len;
        json_out_init(&o);
        write_job(&o, &jobs[i]);
        char *text = json_out_take(&o, &len);
        docs[i] = (struct db_document){ jobs[i].key, text };
        if (text == NULL || !request_defer(rq, seg_free, text)) docs = NULL;
    }
    return docs ? list_reply(rq, "", docs, n, limit) : reply_error(rq, ERR_INTERNAL, NULL);
}

enum http_status jobs_get(struct http_request *rq)
{
    struct db_job job;
    enum db_status st = db_jobs_get(rq->db, rq->path_args[0], &rq->arena, &job);
    if (st == DB_NONE) return reply_error(rq, ERR_JOB_NOT_FOUND, NULL);
    return st == DB_ONE ? reply_job(rq, HTTP_200, &job) : reply_db_error(rq, st);
}

enum http_status jobs_cancel_post(struct http_request *rq)
{
    struct db_job job;
    if (!request_has_no_options(rq)) return HTTP_ERROR;
    enum db_status st = db_jobs_cancel(rq->db, rq->path_args[0], &rq->arena, &job);
    if (st == DB_NONE) return reply_error(rq, ERR_JOB_NOT_FOUND, NULL);
    if (st == DB_CONFLICT && strcmp(job.state, "cancelled") == 0)
        return reply_job(rq, HTTP_200, &job); /* asked twice */
    if (st == DB_CONFLICT && !published_serves(rq, &job, 1)) return HTTP_ERROR;
    if (st == DB_CONFLICT)
        return reply_error(rq, ERR_JOB_STATE, "the job has %s already", job.state);
    return st == DB_ONE ? reply_job(rq, HTTP_202, &job) : reply_db_error(rq, st);
}

enum http_status jobs_retry_post(struct http_request *rq)
{
    struct db_job job;
    if (!request_has_no_options(rq)) return HTTP_ERROR;
    enum db_status st = db_jobs_retry(rq->db, rq->path_args[0], rq->app->config->jobs.attempts_max,
                                      &rq->arena, &job);
    if (st == DB_NONE) return reply_error(rq, ERR_JOB_NOT_FOUND, NULL);
    if (st == DB_CONFLICT && !published_serves(rq, &job, 1)) return HTTP_ERROR;
    if (st == DB_CONFLICT)
        return reply_error(rq, ERR_JOB_STATE,
                           "the job is %s; only a failed or cancelled one can be retried",
                           job.state);
    return st == DB_ONE ? reply_job(rq, HTTP_202, &job) : reply_db_error(rq, st);
}
