/* page.h - files that a browser loads: embedded in the binary, or from [http] web_root while
 * someone works on them. */
#ifndef SERVER_HANDLERS_PAGE_H
#define SERVER_HANDLERS_PAGE_H

#include "http/request.h"

/* The file called name, with its type, ETag and the headers of pages; 404 when there is none. Only
 * names that were embedded are ever opened. */
enum http_status page_reply(struct http_request *rq, const char *name);

#endif
