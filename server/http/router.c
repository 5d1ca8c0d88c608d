/* Matching is a walk over the few rows that have as many segments as the request: each compares the
 * first literal ones and gives up early, which costs less than a hash of the path would. */
#include "http/router.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "metrics.h"

static const char *const METHODS[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
#define N_METHODS (sizeof(METHODS) / sizeof(METHODS[0]))

int router_method(const char *name)
{
    if (strcmp(name, "HEAD") == 0) return HTTP_GET;
    for (size_t i = 0; i < N_METHODS; i++)
        if (strcmp(name, METHODS[i]) == 0) return (int)i;
    return -1;
}

const char *router_method_name(enum http_method m)
{
    return METHODS[m];
}

static unsigned char route_segments[METRICS_ROUTES_MAX]; /* (N_ROUTES) of each row's path */
static pthread_once_t counted_once = PTHREAD_ONCE_INIT;

static void count_segments(void)
{
    for (size_t i = 0; i < N_ROUTES; i++)
        for (const char *p = ROUTES[i].path; p[0] != '\0' && p[1] != '\0'; p++)
            if (*p == '/') route_segments[i]++;
}

/* t behind the literal segment that it begins with, when that is s; else NULL. */
static const char *literal_matches(const char *t, const char *s)
{
    if (*s == '\0') return NULL;
    while (*t == *s && *s != '\0') /* a decoded segment has no slash */
        t++, s++;
    return *s == '\0' && (*t == '/' || *t == '\0') ? t : NULL;
}

/* True when the template, which has as many segments as u, has those of u. args gets those at {…};
 * *ret_literals counts the others. */
static bool path_matches(const char *template, const struct uri *u, const char **args,
                         unsigned *ret_literals)
{
    size_t n_args = 0;
    unsigned literals = 0;
    const char *t = template + 1;
    for (size_t i = 0; i < u->n_segments; i++) {
        const char *s = u->segments[i];
        if (*t == '{') {
            if (*s == '\0') return false;
            args[n_args++] = s;
            while (*t != '/' && *t != '\0') /* strcspn, which costs more than it finds here */
                t++;
        } else {
            t = (u->opaque >> i & 1) == 0 ? literal_matches(t, s) : NULL;
            if (t == NULL) return false;
            literals++;
        }
        if (*t == '/') t++;
    }
    *ret_literals = literals;
    return true;
}

bool router_takes_opaque(const struct uri *u, const struct route *r)
{
    const char *t = r != NULL ? r->path + 1 : "";
    for (unsigned left = u->opaque; left != 0; left >>= 1) {
        size_t n = strcspn(t, "/");
        bool is_user = n == strlen("{user}") && strncmp(t, "{user}", n) == 0;
        if ((left & 1) != 0 && !is_user) return false;
        t += n + (t[n] == '/');
    }
    return true;
}

void router_match(const struct uri *u, int method, struct route_match *ret)
{
    *ret = (struct route_match){ 0 };
    unsigned best = 0; /* literals + 1 of the best path so far */
    pthread_once(&counted_once, count_segments);
    for (size_t i = 0; i < N_ROUTES; i++) {
        if (route_segments[i] != u->n_segments) continue;
        const char *args[PATH_ARGS_MAX] = { NULL };
        unsigned literals = 0;
        if (!path_matches(ROUTES[i].path, u, args, &literals)) continue;
        if (literals + 1 < best) continue;
        if (literals + 1 > best) { /* a more literal path hides the others, all methods of it */
            *ret = (struct route_match){ 0 };
            best = literals + 1;
        }
        ret->methods |= 1u << ROUTES[i].method;
        if ((int)ROUTES[i].method != method) continue;
        ret->route = &ROUTES[i];
        memcpy(ret->args, args, sizeof(args));
    }
}

void router_allow(unsigned methods, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < N_METHODS; i++)
        if ((methods & (1u << i)) != 0)
            n += (size_t)snprintf(out + n, size - n, "%s%s, ", METHODS[i],
                                  i == HTTP_GET ? ", HEAD" : "");
    snprintf(out + n, size - n, "OPTIONS");
}

static const char *row_check(const struct route *r)
{
    if (r->handler == NULL || r->summary == NULL || r->query == NULL) return "a row is incomplete";
    if (r->path[0] != '/') return "a path does not start with a slash";
    size_t n_args = 0;
    for (const char *p = r->path; *p != '\0'; p++) {
        if (*p != '{') continue;
        if (p[-1] != '/' || strchr(p, '}') == NULL) return "an argument is not a whole segment";
        n_args++;
    }
    if (n_args > PATH_ARGS_MAX) return "a path has too many arguments";
    if (r->method == HTTP_GET && r->body != BODY_NONE) return "a GET has a body";
    return NULL;
}

const char *router_check(void)
{
    for (size_t i = 0; i < N_ROUTES; i++) {
        const char *why = row_check(&ROUTES[i]);
        if (why != NULL) return why;
        for (size_t j = 0; j < i; j++)
            if (ROUTES[i].method == ROUTES[j].method && strcmp(ROUTES[i].path, ROUTES[j].path) == 0)
                return "a method and path stand twice";
    }
    return NULL;
}
