/* router.h - which row of ROUTES a path and method mean. Pure; safe from any thread. */
#ifndef SERVER_HTTP_ROUTER_H
#define SERVER_HTTP_ROUTER_H

#include <stdbool.h>
#include "http/route.h"
#include "http/uri.h"

struct route_match {
    const struct route *route; /* NULL: no row has the path with this method */
    unsigned methods;          /* bit (1 << enum http_method) for each method of the path; 0: 404 */
    const char *args[PATH_ARGS_MAX];
};

/* Literal segments win over arguments. An empty segment never matches an argument. */
void router_match(const struct uri *u, int method, struct route_match *ret);
/* Whether every segment of u that is opaque stands for the {user} of r (NULL: no row). */
bool router_takes_opaque(const struct uri *u, const struct route *r);
/* "GET, HEAD, POST, OPTIONS" for a 405 or OPTIONS, into out (at least 64 bytes). */
void router_allow(unsigned methods, char *out, size_t size);
/* The enum of a method's name; HEAD is GET; -1 when no route can have it. */
int router_method(const char *name);
const char *router_method_name(enum http_method m);
/* NULL when ROUTES is consistent (no two rows alike, paths well formed, a handler in each row, a
 * body only where the method has one), else a sentence. Checked at start. */
const char *router_check(void);

#endif
