/* handlers.h - every handler, by noun: handlers/<noun>.c. Each parses, acts and replies. */
#ifndef SERVER_HANDLERS_HANDLERS_H
#define SERVER_HANDLERS_HANDLERS_H

#include "http/request.h"

/* health.c */
enum http_status health_livez(struct http_request *rq);
enum http_status health_readyz(struct http_request *rq);
enum http_status health_metrics(struct http_request *rq);
/* docs.c */
enum http_status docs_openapi(struct http_request *rq);
enum http_status docs_page(struct http_request *rq);
/* page.c */
enum http_status page_get(struct http_request *rq);
/* feature_sets.c, and feature_sets_put.c */
enum http_status feature_sets_list(struct http_request *rq);
enum http_status feature_sets_put(struct http_request *rq);
enum http_status feature_sets_get(struct http_request *rq);
enum http_status feature_sets_delete(struct http_request *rq);
enum http_status feature_sets_rows_post(struct http_request *rq);
/* models.c */
enum http_status models_train_post(struct http_request *rq);
enum http_status models_list(struct http_request *rq);
enum http_status models_get(struct http_request *rq);
enum http_status models_delete(struct http_request *rq);
enum http_status models_versions(struct http_request *rq);
enum http_status models_version_get(struct http_request *rq);
enum http_status models_version_delete(struct http_request *rq);
enum http_status models_artifact_get(struct http_request *rq);
enum http_status models_alias_put(struct http_request *rq);
enum http_status models_label_post(struct http_request *rq);
/* jobs.c */
enum http_status jobs_list(struct http_request *rq);
enum http_status jobs_get(struct http_request *rq);
enum http_status jobs_cancel_post(struct http_request *rq);
enum http_status jobs_retry_post(struct http_request *rq);
/* predict.c */
enum http_status predict_post(struct http_request *rq);
/* infer.c */
enum http_status infer_live(struct http_request *rq);
enum http_status infer_ready(struct http_request *rq);
enum http_status infer_server_get(struct http_request *rq);
enum http_status infer_model_get(struct http_request *rq);
enum http_status infer_model_ready(struct http_request *rq);
enum http_status infer_post(struct http_request *rq);
/* segments.c */
enum http_status segments_list(struct http_request *rq);
enum http_status segments_get(struct http_request *rq);
enum http_status segments_users_get(struct http_request *rq);
enum http_status projection_get(struct http_request *rq);
/* users.c */
enum http_status users_segments_get(struct http_request *rq);

#endif
