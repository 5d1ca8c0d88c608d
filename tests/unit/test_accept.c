/* What accept.h promises: lists of preferences, weights, and the more specific before the general.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "http/accept.h"

static void a_coding_is_taken_unless_its_weight_is_nothing(void **state)
{
    (void)state;
    static const char *const GZIP[] = { "gzip", "*", NULL };
    static const struct {
        const char *list;
        bool is_taken;
    } cases[] = {
        { "", false },
        { "gzip", true },
        { "GZip", true },
        { "deflate, gzip", true },
        { "deflate,gzip;q=0.5", true },
        { "gzip;q=0", false },
        { "gzip; q=0.000, *", false },
        { "gzip;Q=0", false },
        { "gzip;x=1;q=0", false },
        { "*", true },
        { "*;q=0", false },
        { "*;q=0, gzip", true },
        { "identity", false },
        { "gzipp, xgzip", false },
        { ",,  ,gzip", true },
        { "br;q=0,gzip", true },
        { "gzip;", true },
        { ";q=0", false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (accept_has(cases[i].list, GZIP) != cases[i].is_taken) fail_msg("%s", cases[i].list);
}

static void the_most_specific_range_of_media_decides(void **state)
{
    (void)state;
    static const struct {
        const char *list, *type;
        bool is_taken;
    } cases[] = {
        { "*/*", "application/json", true },
        { "application/json", "application/json", true },
        { "Application/JSON; charset=utf-8", "application/json", true },
        { "application/*", "application/json", true },
        { "text/html, */*;q=0.1", "application/json", true },
        { "text/csv", "text/csv; charset=utf-8", true },
        { "text/html", "application/json", false },
        { "application/json;q=0, */*", "application/json", false },
        { "application/*;q=0, application/json", "application/json", true },
        { "*/*;q=0", "application/json", false },
        { "application", "application/json", false },
        { "", "application/json", false },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (accept_media_type(cases[i].list, cases[i].type) != cases[i].is_taken)
            fail_msg("%s for %s", cases[i].list, cases[i].type);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_coding_is_taken_unless_its_weight_is_nothing),
        cmocka_unit_test(the_most_specific_range_of_media_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
