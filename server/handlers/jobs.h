/* jobs.h - the API's form of a job, which other nouns reply with too. */
#ifndef SERVER_HANDLERS_JOBS_H
#define SERVER_HANDLERS_JOBS_H

#include "db/jobs.h"
#include "http/request.h"

/* Creates the job under the request's Idempotency-Key and replies 202 with Location, or the job
 * that the same key and request made before. spec is JSON. */
enum http_status jobs_reply_created(struct http_request *rq, const char *kind, const char *model,
                                    const char *feature_set, const char *spec);

#endif
