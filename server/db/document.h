/* document.h - a row that the database has already written as the JSON that the API serves, and the
 * key it is paged by. */
#ifndef SERVER_DB_DOCUMENT_H
#define SERVER_DB_DOCUMENT_H

#include "base/arena.h"
#include "db/db.h"

struct db_document {
    const char *key;  /* for the next page's cursor */
    const char *json; /* one JSON object */
};

/* Runs stmt, whose first column is the JSON text and whose second the key, into documents in the
 * arena. DB_NONE: no row. */
enum db_status db_documents(struct db *db, const struct db_stmt *stmt, const char *const *params,
                            struct seg_arena *arena, struct db_document **ret, size_t *ret_n);
/* The same for a statement of at most one row. */
enum db_status db_document(struct db *db, const struct db_stmt *stmt, const char *const *params,
                           struct seg_arena *arena, struct db_document *ret);

#endif
