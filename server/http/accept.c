/* Lists are short, so each name is looked for from their beginning. */
#include "http/accept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* False when q=0 stands among the parameters p .. end. */
static bool has_weight(const char *p, const char *end)
{
    while (p < end) {
        p++; /* the semicolon */
        p += strspn(p, " \t");
        if ((*p == 'q' || *p == 'Q') && p[1] == '=') return strtod(p + 2, NULL) > 0;
        p += strcspn(p, ";,");
    }
    return true;
}

bool accept_has(const char *list, const char *const *names)
{
    for (; *names != NULL; names++) {
        for (const char *p = list; *p != '\0';) {
            p += strspn(p, " \t,");
            const size_t n = strcspn(p, ",; \t");
            const char *end = p + strcspn(p, ",");
            if (n == strlen(*names) && strncasecmp(p, *names, n) == 0)
                return has_weight(p + strcspn(p, ";,"), end);
            p = end;
        }
    }
    return false;
}

bool accept_media_type(const char *list, const char *type)
{
    char exact[80], family[80];
    const size_t len = strcspn(type, "; "), main_len = strcspn(type, "/");
    if (len >= sizeof(exact)) return true;
    snprintf(exact, sizeof(exact), "%.*s", (int)len, type);
    snprintf(family, sizeof(family), "%.*s/*", (int)main_len, type);
    return accept_has(list, (const char *const[]){ exact, family, "*/*", NULL });
}
