/* feature_sets.h - what the handlers of a feature set share. */
#ifndef SERVER_HANDLERS_FEATURE_SETS_H
#define SERVER_HANDLERS_FEATURE_SETS_H

#include "http/request.h"

/* The set's name from the path. False after a 422. */
bool feature_sets_name(struct http_request *rq, const char **ret);
/* The set that the path names, with its summary. */
enum http_status feature_sets_reply(struct http_request *rq, enum http_status status);

#endif
