/* accept.h - what a client takes: lists of Accept and Accept-Encoding (RFC 9110, 12.5). Pure. */
#ifndef SERVER_HTTP_ACCEPT_H
#define SERVER_HTTP_ACCEPT_H

#include <stdbool.h>

/* names: ways to say the same thing, the most specific first, NULL behind the last, as in { "gzip",
 * "*", NULL }. The first that the list has decides: true unless its weight is 0. False when it has
 * none of them. Parameters other than q do not matter. */
bool accept_has(const char *list, const char *const *names);
/* Whether Accept allows a reply of this media type; type may have parameters of its own. */
bool accept_media_type(const char *list, const char *type);

#endif
