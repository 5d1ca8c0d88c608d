/* migrate.h - the schema's history: numbered SQL files of migrations/, embedded in the binary, each
 * applied once in its own transaction with its SHA-256 remembered in <schema>.schema_migrations. */
#ifndef SERVER_DB_MIGRATE_H
#define SERVER_DB_MIGRATE_H

#include <stdio.h>
#include "config.h"

enum migrate_state {
    MIGRATE_CURRENT,
    MIGRATE_OLD,
    MIGRATE_NEWER,
    MIGRATE_EDITED,
    MIGRATE_UNREACHABLE
};

/* Applies what is missing, under an advisory lock, one line to out for each. Exit status 0 or 1. */
int migrate_up(const struct config *c, FILE *out);
/* A line for each migration: version, name, applied when or pending. */
int migrate_status(const struct config *c, FILE *out);
/* Exit status 0 when the database has exactly this binary's migrations, unedited; else 1 and a
 * sentence on what to do. */
int migrate_verify(const struct config *c, FILE *out);
/* The same for the server's start: state and one sentence (for anything but MIGRATE_CURRENT). */
enum migrate_state migrate_check(const struct config *c, char *sentence, size_t size);

#endif
