/* What router.h promises, and that the table of routes and openapi.json say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "embedded.h"
#include "http/router.h"
#include "json/json.h"

static const char *const LOWER[] = { "get", "post", "put", "patch", "delete" };
static const char *const SCOPES[] = { NULL, "read", "score", "train", "admin" };

static void match(const char *path, const char *method, struct route_match *ret)
{
    struct seg_arena a;
    struct uri u;
    seg_arena_init(&a, 0);
    assert_null(uri_parse(path, &a, &u));
    router_match(&u, router_method(method), ret);
    seg_arena_release(&a);
}

static void router_check_finds_the_table_consistent(void **state)
{
    (void)state;
    assert_null(router_check());
}

static void router_match_finds_every_row_by_its_own_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROUTES; i++) {
        char path[256], *p = path;
        size_t n_args = 0;
        for (const char *t = ROUTES[i].path; *t != '\0'; t++) {
            if (*t == '{') {
                t = strchr(t, '}');
                *p++ = 'x';
                n_args++;
            } else {
                *p++ = *t;
            }
        }
        *p = '\0';
        struct route_match m;
        match(path, router_method_name(ROUTES[i].method), &m);
        assert_ptr_equal(m.route, &ROUTES[i]);
        assert_true(n_args == PATH_ARGS_MAX || m.args[n_args] == NULL);
    }
}

static void router_match_tells_404_from_405(void **state)
{
    (void)state;
    struct route_match m;
    match("/v1/nothing", "GET", &m);
    assert_int_equal(m.methods, 0);
    match("/v1/jobs", "DELETE", &m);
    assert_null(m.route);
    assert_int_equal(m.methods, 1u << HTTP_GET);
    match("/v1/jobs/", "GET", &m);
    assert_int_equal(m.methods, 0);
    match("/v1/jobs//cancel", "POST", &m);
    assert_int_equal(m.methods, 0);
}

static void router_match_prefers_literals_to_arguments(void **state)
{
    (void)state;
    struct route_match m;
    match("/docs", "GET", &m);
    assert_string_equal(m.route->path, "/docs");
    match("/app.js", "GET", &m);
    assert_string_equal(m.route->path, "/{file}");
    match("/livez", "PUT", &m);
    assert_int_equal(m.methods, 1u << HTTP_GET);
}

static void router_allow_lists_the_methods(void **state)
{
    (void)state;
    char allow[64];
    router_allow(~0u, allow, sizeof(allow));
    assert_string_equal(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    router_allow(0, allow, sizeof(allow));
    assert_string_equal(allow, "OPTIONS");
}

static void router_method_knows_names_by_their_case(void **state)
{
    (void)state;
    assert_int_equal(router_method("HEAD"), HTTP_GET);
    assert_int_equal(router_method("DELETE"), HTTP_DELETE);
    assert_int_equal(router_method("get"), -1);
    assert_int_equal(router_method("TRACE"), -1);
}

/* ---- openapi.json ---- */

static struct json *contract(void)
{
    for (size_t i = 0; i < N_EMBEDDED_WEB; i++)
        if (strcmp(EMBEDDED_WEB[i].name, "openapi.json") == 0) {
            struct json_fault fault;
            struct json *doc =
                json_parse((const char *)EMBEDDED_WEB[i].bytes, EMBEDDED_WEB[i].len, &fault);
            if (doc == NULL) fail_msg("line %zu: %s", fault.line, fault.detail);
            return doc;
        }
    fail_msg("openapi.json is not embedded");
    return NULL;
}

static const struct json *resolve(const struct json *doc, const struct json *v)
{
    const struct json *ref = json_get(v, "$ref");
    if (ref == NULL) return v;
    char path[128];
    snprintf(path, sizeof(path), "%s", json_string(ref) + 2);
    for (char *at = path, *name; (name = strsep(&at, "/")) != NULL;)
        doc = json_get(doc, name);
    return doc;
}

/* Counts the parameters of op that stand in `where`, and fails on those that names does not have.
 */
static size_t parameters(const struct json *doc, const struct json *op, const char *where,
                         const char *names)
{
    size_t n = 0;
    const struct json *list = json_get(op, "parameters");
    for (const struct json *p = list != NULL ? json_first(list) : NULL; p != NULL;
         p = json_next(p)) {
        const struct json *parameter = resolve(doc, p);
        if (strcmp(json_string(json_get(parameter, "in")), where) != 0) continue;
        const char *name = json_string(json_get(parameter, "name"));
        char padded[80], all[256];
        snprintf(padded, sizeof(padded), " %s ", name);
        snprintf(all, sizeof(all), " %s ", names);
        if (strstr(all, padded) == NULL) fail_msg("%s is not in \"%s\"", name, names);
        n++;
    }
    return n;
}

static size_t count_words(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s += strspn(s, " ")) {
        n++;
        s += strcspn(s, " ");
    }
    return n;
}

static void the_contract_has_every_route_with_its_scope_parameters_and_body(void **state)
{
    (void)state;
    struct json *doc = contract();
    for (size_t i = 0; i < N_ROUTES; i++) {
        const struct route *r = &ROUTES[i];
        const struct json *item = json_get(json_get(doc, "paths"), r->path);
        if (item == NULL) fail_msg("%s is missing", r->path);
        const struct json *op = json_get(item, LOWER[r->method]);
        if (op == NULL) fail_msg("%s %s is missing", LOWER[r->method], r->path);
        if (parameters(doc, op, "query", r->query) != count_words(r->query))
            fail_msg("%s %s: not every query parameter is described", LOWER[r->method], r->path);
        if ((json_get(op, "requestBody") != NULL) != (r->body != BODY_NONE))
            fail_msg("%s %s: body", LOWER[r->method], r->path);
        const struct json *security = json_first(json_get(op, "security"));
        assert_true((security != NULL) == (r->scope != SCOPE_NONE));
        if (security != NULL)
            assert_string_equal(json_string(json_first(json_get(security, "bearer"))),
                                SCOPES[r->scope]);
    }
    json_free(doc);
}

static void every_operation_of_the_contract_is_a_route(void **state)
{
    (void)state;
    struct json *doc = contract();
    size_t n = 0;
    const struct json *paths = json_get(doc, "paths");
    for (const struct json *item = json_first(paths); item != NULL; item = json_next(item))
        for (const struct json *op = json_first(item); op != NULL; op = json_next(op), n++) {
            bool found = false;
            for (size_t i = 0; i < N_ROUTES; i++)
                found |= strcmp(ROUTES[i].path, json_key(item)) == 0 &&
                         strcmp(LOWER[ROUTES[i].method], json_key(op)) == 0;
            if (!found) fail_msg("%s %s is not a route", json_key(op), json_key(item));
        }
    assert_int_equal(n, N_ROUTES);
    json_free(doc);
}

static void the_contract_explains_every_problem_code(void **state)
{
    (void)state;
    struct json *doc = contract();
    const struct json *codes = json_get(doc, "x-problem-codes");
    assert_int_equal(json_size(codes), HTTP_N_ERRORS);
    for (size_t i = 0; i < HTTP_N_ERRORS; i++) {
        const struct json *text = json_get(codes, HTTP_ERROR_INFO[i].code);
        char expected[256];
        if (text == NULL) fail_msg("%s is missing", HTTP_ERROR_INFO[i].code);
        snprintf(expected, sizeof(expected), "%u: %s", HTTP_ERROR_INFO[i].status,
                 HTTP_ERROR_INFO[i].title);
        assert_string_equal(json_string(text), expected);
    }
    json_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(router_check_finds_the_table_consistent),
        cmocka_unit_test(router_match_finds_every_row_by_its_own_path),
        cmocka_unit_test(router_match_tells_404_from_405),
        cmocka_unit_test(router_match_prefers_literals_to_arguments),
        cmocka_unit_test(router_allow_lists_the_methods),
        cmocka_unit_test(router_method_knows_names_by_their_case),
        cmocka_unit_test(the_contract_has_every_route_with_its_scope_parameters_and_body),
        cmocka_unit_test(every_operation_of_the_contract_is_a_route),
        cmocka_unit_test(the_contract_explains_every_problem_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
