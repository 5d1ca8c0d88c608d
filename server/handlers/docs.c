/* The contract, for programs and for people. */
#include "handlers/handlers.h"
#include "handlers/page.h"

enum http_status docs_openapi(struct http_request *rq)
{
    return page_reply(rq, "openapi.json");
}

enum http_status docs_page(struct http_request *rq)
{
    return page_reply(rq, "docs.html");
}
