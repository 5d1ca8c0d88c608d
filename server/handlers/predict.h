/* predict.h - what predict.c and predict_stream.c share: one scoring request. */
#ifndef SERVER_HANDLERS_PREDICT_H
#define SERVER_HANDLERS_PREDICT_H

#include "handlers/score.h"
#include "http/request.h"

struct predict {
    struct served_model *served; /* a reference, dropped with the request */
};

/* Replies that the body as a whole is refused; NULL error means no memory. */
enum http_status predict_refuse(struct http_request *rq, const struct rows_error *e);
/* Adds what was scored to the metrics. */
void predict_count(struct http_request *rq, const struct score_tally *t);
/* NDJSON or CSV in, the same out, in constant memory. */
enum http_status predict_stream(struct http_request *rq, const struct predict *p,
                                enum score_format format);

#endif
