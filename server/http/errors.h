/* errors.h - the table of problem codes: enum, stable code, HTTP status, title. Add a row, never
 * change a code. */
#ifndef SERVER_HTTP_ERRORS_H
#define SERVER_HTTP_ERRORS_H

#define HTTP_ERRORS(X)                                                                             \
    X(ERR_NOT_JSON, 400, "not_json", "the body is not valid JSON")                                 \
    X(ERR_BAD_BODY, 400, "bad_body", "the body cannot be parsed")                                  \
    X(ERR_BAD_REQUEST, 400, "bad_request", "the request is malformed")                             \
    X(ERR_BAD_PARAMETER, 400, "bad_parameter", "a query parameter or header is wrong")             \
    X(ERR_UNAUTHENTICATED, 401, "unauthenticated", "a valid bearer token is needed")               \
    X(ERR_FORBIDDEN, 403, "forbidden", "the token's scope does not allow this")                    \
    X(ERR_NO_SUCH_ROUTE, 404, "no_such_route", "no such route")                                    \
    X(ERR_FEATURE_SET_NOT_FOUND, 404, "feature_set_not_found", "no such feature set")              \
    X(ERR_MODEL_NOT_FOUND, 404, "model_not_found", "no such model")                                \
    X(ERR_VERSION_NOT_FOUND, 404, "version_not_found", "no such version of the model")             \
    X(ERR_ALIAS_NOT_FOUND, 404, "alias_not_found", "the model has no such alias")                  \
    X(ERR_JOB_NOT_FOUND, 404, "job_not_found", "no such job")                                      \
    X(ERR_SEGMENT_NOT_FOUND, 404, "segment_not_found", "no such segment")                          \
    X(ERR_USER_NOT_FOUND, 404, "user_not_found", "no such user")                                   \
    X(ERR_NOT_LABELLED, 404, "not_labelled", "the model has no published labels yet")              \
    X(ERR_METHOD_NOT_ALLOWED, 405, "method_not_allowed", "the route does not know this method")    \
    X(ERR_NOT_ACCEPTABLE, 406, "not_acceptable", "none of the accepted media types can be served") \
    X(ERR_CONFLICT, 409, "conflict", "the resource is in another state")                           \
    X(ERR_FEATURE_SET_IN_USE, 409, "feature_set_in_use", "a model uses the feature set")           \
    X(ERR_VERSION_IN_USE, 409, "version_in_use", "an alias points to the version")                 \
    X(ERR_JOB_STATE, 409, "job_state", "the job's state does not allow this")                      \
    X(ERR_PRECONDITION_FAILED, 412, "precondition_failed", "If-Match does not match")              \
    X(ERR_TOO_LARGE, 413, "too_large", "the body is over the limit")                               \
    X(ERR_URI_TOO_LONG, 414, "uri_too_long", "the URI is over the limit")                          \
    X(ERR_UNSUPPORTED_MEDIA_TYPE, 415, "unsupported_media_type",                                   \
      "the body's type or encoding is not supported")                                              \
    X(ERR_INVALID, 422, "invalid", "the request is well-formed but wrong")                         \
    X(ERR_IDEMPOTENCY_MISMATCH, 422, "idempotency_mismatch",                                       \
      "the idempotency key was used with another request")                                         \
    X(ERR_INTERNAL, 500, "internal", "an internal error; the log has the details")                 \
    X(ERR_NOT_IMPLEMENTED, 501, "not_implemented", "the method or transfer coding is not known")   \
    X(ERR_BUSY, 503, "busy", "too much work is queued; try again")                                 \
    X(ERR_FEATURE_SET_BUSY, 503, "feature_set_busy",                                               \
      "another import into the feature set runs; try again")                                       \
    X(ERR_DB_UNAVAILABLE, 503, "db_unavailable", "the database does not answer; try again")        \
    X(ERR_NO_MEMORY, 503, "no_memory", "the server is short of memory; try again")                 \
    X(ERR_NO_SPACE, 503, "no_space", "the server has no disk space for the body; try again")       \
    X(ERR_DRAINING, 503, "draining", "the server is stopping")                                     \
    X(ERR_NOT_READY, 503, "not_ready", "the model is not loaded yet; try again")

enum http_error {
#define X(name, status, code, title) name,
    HTTP_ERRORS(X)
#undef X
        HTTP_N_ERRORS
};

struct http_error_info {
    unsigned status;
    const char *code;
    const char *title;
};
extern const struct http_error_info HTTP_ERROR_INFO[HTTP_N_ERRORS];

#endif
