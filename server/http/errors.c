/* The rows of errors.h as an array. */
#include "http/errors.h"

const struct http_error_info HTTP_ERROR_INFO[HTTP_N_ERRORS] = {
#define X(name, status, code, title) [name] = { status, code, title },
    HTTP_ERRORS(X)
#undef X
};
