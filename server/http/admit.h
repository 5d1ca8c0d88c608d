/* admit.h - everything that is decided about a request when its head is in and its body is not:
 * framing, ids, method, route, token, query, size and encoding of the body. Free of sockets. */
#ifndef SERVER_HTTP_ADMIT_H
#define SERVER_HTTP_ADMIT_H

#include "http/exchange.h"

enum admission {
    ADMIT_TAKE,   /* read the body, then run the handler */
    ADMIT_REFUSE, /* a reply is ready; the connection can go on after the body */
    ADMIT_CLOSE,  /* a reply is ready; where this request ends is in doubt: close after it */
};

/* x has its raw URI and headers. Sets route, arguments, ids, body limits, is_head and has_body.
 * OPTIONS is a refusal with 204. */
enum admission admit(struct exchange *x, const char *method, const char *version);

#endif
