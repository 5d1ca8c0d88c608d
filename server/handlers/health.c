/* Is it alive, can it score, what does it measure. Never the database: a PostgreSQL that hangs must
 * not make an orchestrator kill a process that scores. */
#include "handlers/handlers.h"

#include "model_cache.h"

enum http_status health_livez(struct http_request *rq)
{
    struct json_out o;
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "status", "alive");
    json_out_end_object(&o);
    return reply_json(rq, HTTP_200, &o);
}

enum http_status health_readyz(struct http_request *rq)
{
    struct app *app = rq->app;
    struct faults f;
    faults_init(&f, &rq->arena);
    const char *given = request_query(rq, "verbose"); /* "?verbose" alone is yes */
    bool verbose = given != NULL && (*given == '\0' || request_flag(rq, "verbose", true, &f));
    if (f.n_total > 0) return reply_faults(rq, ERR_BAD_PARAMETER, &f);
    if (atomic_load(&app->draining)) return reply_error(rq, ERR_DRAINING, NULL);
    if (app->models == NULL || !model_cache_ready(app->models))
        return reply_error(rq, ERR_NOT_READY, "the models were never loaded");

    bool db_is_up = app->db != NULL && db_pool_is_up(app->db);
    struct json_out o;
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "status", db_is_up ? "ready" : "degraded");
    json_out_member_string(&o, "database", db_is_up ? "up" : "down");
    if (verbose) {
        json_out_member_uint(&o, "models", model_cache_count(app->models));
        json_out_member_uint(&o, "workers", seg_pool_size(app->pool));
        json_out_member_uint(&o, "compute_queue", seg_pool_queued(app->pool));
        json_out_member_string(&o, "version", SEGMENTD_VERSION);
    }
    json_out_end_object(&o);
    return reply_json(rq, HTTP_200, &o);
}

enum http_status health_metrics(struct http_request *rq)
{
    struct app *app = rq->app;
    size_t len = 0;
    metrics_set(app->metrics, METRIC_DB_UP, app->db != NULL && db_pool_is_up(app->db));
    metrics_set(app->metrics, METRIC_POOL_QUEUED, (double)seg_pool_queued(app->pool));
    if (app->models != NULL)
        metrics_set(app->metrics, METRIC_MODELS_LOADED, (double)model_cache_count(app->models));
    char *text = metrics_text(app->metrics, &len);
    if (text == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
    return reply_take(rq, HTTP_200, "text/plain; version=0.0.4; charset=utf-8", text, len);
}
