/* config_private.h - the table of options and their values, shared by config.c, which finds and
 * prints values, and config_options.c, which knows what each may be. */
#ifndef SERVER_CONFIG_PRIVATE_H
#define SERVER_CONFIG_PRIVATE_H

#include <stddef.h>
#include "config.h"

enum option_type { OPTION_TEXT, OPTION_NUMBER, OPTION_BYTES, OPTION_WORD };

struct option_row {
    const char *section, *key;
    enum option_type type;
    size_t offset, size;                /* of the member of struct config */
    const char *initial;                /* as one would write it */
    uint64_t min, max;                  /* numbers and bytes */
    const char *const *words;           /* OPTION_WORD: names of 0, 1 …, NULL-terminated */
    const char *(*check)(const char *); /* text: a sentence when it is wrong, or NULL */
    bool secret;
    const char *variable; /* SEGMENTD_SECTION_KEY */
    const char *help;
};
extern const struct option_row OPTIONS[];
extern const size_t N_OPTIONS;

/* Stores the value in c, or says in sentence what is wrong with it. */
bool option_set(const struct option_row *o, struct config *c, const char *value, char *sentence,
                size_t size);
/* The value as one would write it. */
void option_format(const struct option_row *o, const struct config *c, char *out, size_t size);
/* min or max of a number, in its unit. */
void option_format_limit(const struct option_row *o, uint64_t n, char *out, size_t size);

#endif
