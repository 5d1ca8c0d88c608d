/* route.h - the table of routes: metrics labels, 405 answers, scopes, body limits and the OpenAPI
 * check all come from it. */
#ifndef SERVER_HTTP_ROUTE_H
#define SERVER_HTTP_ROUTE_H

#include <stddef.h>
#include "http/request.h"

enum http_method { HTTP_GET, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE };
enum scope { SCOPE_NONE, SCOPE_READ, SCOPE_SCORE, SCOPE_TRAIN, SCOPE_ADMIN };
enum runs {
    RUNS_INLINE,  /* on the I/O thread: never blocks, never touches the database */
    RUNS_ON_DB,   /* on a database thread, with a connection */
    RUNS_SCORING, /* on the I/O thread when the batch is small, else on the compute pool at scoring
                     priority */
};
enum body_limit {
    BODY_NONE,
    BODY_DOCUMENT,
    BODY_SCORE,
    BODY_IMPORT
}; /* BODY_NONE: a body is refused; the others are [limits] options */

struct route {
    enum http_method method;
    const char
        *path; /* template: "/v1/models/{model}/predict"; a segment is literal or one {argument} */
    enum http_status (*handler)(struct http_request *rq);
    enum scope scope;
    enum runs runs;
    enum body_limit body;
    const char
        *query; /* names of the query parameters it knows, blank separated; others are refused */
    const char *summary;
};
extern const struct route ROUTES[];
extern const size_t N_ROUTES;

#endif
