/* list.h - a page of a list: {"items": […], "next_cursor": "…" | null} and Link: rel="next". */
#ifndef SERVER_HANDLERS_LIST_H
#define SERVER_HANDLERS_LIST_H

#include "db/document.h"
#include "http/request.h"

/* limit and cursor of the request, read together. False after a 400 was replied. */
bool list_page(struct http_request *rq, unsigned *ret_limit, const char **ret_after);
/* Replies the first limit of n documents; one more than limit means that there is another page.
 * head: members that come before "items", without braces ("" when none). */
enum http_status list_reply(struct http_request *rq, const char *head,
                            const struct db_document *docs, size_t n, unsigned limit);
/* Sets the strong tag of what head and the n documents say. True when the client has it: reply 304.
 */
bool list_etag(struct http_request *rq, const struct db_document *head,
               const struct db_document *docs, size_t n);

#endif
