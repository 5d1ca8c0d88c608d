/* database.h - the database that tests/with_postgres gives to a program of tests. */
#ifndef TESTS_DB_DATABASE_H
#define TESTS_DB_DATABASE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include "config.h"
#include "db/migrate.h"

/* NULL, having said so, where there is none. */
static inline const char *database_url(void)
{
    const char *url = getenv("SEGMENTD_TEST_DATABASE_URL");
    if (url == NULL)
        fprintf(stderr, "SEGMENTD_TEST_DATABASE_URL is not set: run under tests/with_postgres\n");
    return url;
}

/* A configuration for it, and a migrated schema of that name. */
static inline bool database_migrated(struct config *ret_config, const char *schema)
{
    const char *url = database_url();
    if (url == NULL) return false;
    setenv("DATABASE_URL", url, 1);
    setenv("SEGMENTD_DATABASE_SCHEMA", schema, 1);
    return config_load(ret_config, "/dev/null", stderr) <= 0 && migrate_up(ret_config, stderr) == 0;
}

#endif
