/* version.h - version numbers in paths and queries, as several nouns read them. */
#ifndef SERVER_HANDLERS_VERSION_H
#define SERVER_HANDLERS_VERSION_H

#include "http/request.h"

/* "3" -> 3; false for anything but a number of 1 to 999999999 without leading zero. */
bool version_parse(const char *text, unsigned *ret);
/* ?version=; 0 when absent: the champion. False after a 400 was replied. */
bool version_query(struct http_request *rq, unsigned *ret);
/* The 404 that fits: no such model (path argument 0), no champion, or no such version. */
enum http_status version_not_found(struct http_request *rq, unsigned version);

#endif
