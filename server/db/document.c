/* Copies rows out of the result, so that handlers hold nothing of libpq. */
#include "db/document.h"

#include <string.h>

static const char *copy(const struct db_result *r, size_t row, unsigned col,
                        struct seg_arena *arena)
{
    const char *s = db_result_text(r, row, col);
    return seg_arena_strndup(arena, s ? s : "", s ? db_result_len(r, row, col) : 0);
}

enum db_status db_documents(struct db *db, const struct db_stmt *stmt, const char *const *params,
                            struct seg_arena *arena, struct db_document **ret, size_t *ret_n)
{
    struct db_result *r = NULL;
    enum db_status st = db_exec(db, stmt, params, &r);
    if (st == DB_ONE) {
        size_t n = db_result_rows(r);
        struct db_document *docs = seg_arena_alloc(arena, n * sizeof(*docs));
        for (size_t i = 0; docs != NULL && i < n; i++) {
            docs[i] = (struct db_document){ copy(r, i, 1, arena), copy(r, i, 0, arena) };
            if (docs[i].key == NULL || docs[i].json == NULL) docs = NULL;
        }
        if (docs == NULL) st = DB_FATAL;
        *ret = docs;
        *ret_n = n;
    }
    db_result_free(r);
    return st;
}

enum db_status db_document(struct db *db, const struct db_stmt *stmt, const char *const *params,
                           struct seg_arena *arena, struct db_document *ret)
{
    struct db_document *docs = NULL;
    size_t n = 0;
    enum db_status st = db_documents(db, stmt, params, arena, &docs, &n);
    if (st == DB_ONE) *ret = docs[0];
    return st;
}
