/* predict.h - what predict.c, predict_stream.c and infer.c share: one scoring request. */
#ifndef SERVER_HANDLERS_PREDICT_H
#define SERVER_HANDLERS_PREDICT_H

#include "handlers/score.h"
#include "http/request.h"

struct predict {
    struct served_model *served; /* a reference, dropped with the request */
};

/* The model that the path's first argument names, by version or for 0 its champion; dropped with
 * the request. HTTP_200: *ret is set; else what the handler returns. */
enum http_status predict_find_model(struct http_request *rq, uint32_t version,
                                    struct served_model **ret);
/* The same once a request, however often its handler is called: kept in rq->work. */
enum http_status predict_begin(struct http_request *rq, uint32_t version, struct predict **ret);
/* False: the batch is too large for this thread and goes to the compute pool. */
bool predict_runs_here(const struct http_request *rq);
/* Replies that the body as a whole is refused; NULL error means no memory. */
enum http_status predict_refuse(struct http_request *rq, const struct rows_error *e);
/* Adds what was scored to the metrics. */
void predict_count(struct http_request *rq, const struct score_tally *t);
/* NDJSON or CSV in, the same out, in constant memory. */
enum http_status predict_stream(struct http_request *rq, const struct predict *p,
                                enum score_format format);

#endif
