/* Statements of bearer tokens. What is left of a token's life is reckoned by the database, whose
 * clock all instances share. */
#include "db/tokens.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "log.h"

enum { TOKEN_CREATE, TOKEN_REVOKE, TOKEN_LIST, TOKEN_N_STMTS };

#define RFC3339(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

/* clang-format off */
static const struct db_stmt STMTS[TOKEN_N_STMTS] = {
    [TOKEN_CREATE] = { "token_create", 5, /* $5 days of life, NULL for ever */
        "INSERT INTO tokens (id, sha256, name, scope, expires_at)"
        " VALUES ($1, $2::bytea, $3, $4, now() + make_interval(days => $5::int))" },
    [TOKEN_REVOKE] = { "token_revoke", 1,
        "UPDATE tokens SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL" },
    [TOKEN_LIST] = { "token_list", 1, /* $1 only those alive */
        "SELECT id"
        "     , sha256"
        "     , name"
        "     , scope"
        "     , (extract(epoch FROM expires_at - now()) * 1000)::bigint"
        "     , " RFC3339("created_at")
        "     , " RFC3339("expires_at")
        "     , " RFC3339("revoked_at")
        "  FROM tokens"
        " WHERE NOT $1::boolean"
        "    OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))"
        " ORDER BY id COLLATE \"C\"" },
};
/* clang-format on */
const struct db_stmts DB_TOKENS_STMTS = { STMTS, TOKEN_N_STMTS };

enum db_status db_tokens_create(struct db *db, const char *id, const uint8_t sha256[32],
                                const char *name, const char *scope, uint32_t expires_days)
{
    char days[16];
    char *hash = db_bytea_text(sha256, 32);
    if (hash == NULL) return DB_FATAL;
    snprintf(days, sizeof days, "%" PRIu32, expires_days);
    const char *params[] = { id, hash, name, scope, expires_days > 0 ? days : NULL };
    enum db_status st = db_exec(db, &STMTS[TOKEN_CREATE], params, NULL);
    seg_free(hash);
    return st;
}

enum db_status db_tokens_revoke(struct db *db, const char *id)
{
    return db_exec(db, &STMTS[TOKEN_REVOKE], (const char *const[]){ id }, NULL);
}

/* A copy that lives in the arena, *ok false when it could not be made. SQL NULL gives NULL. */
static const char *keep(struct seg_arena *arena, const struct db_result *r, size_t row,
                        unsigned col, bool *ok)
{
    const char *text = db_result_text(r, row, col);
    if (text == NULL) return NULL;
    char *copy = seg_arena_strndup(arena, text, db_result_len(r, row, col));
    if (copy == NULL) *ok = false;
    return copy;
}

static bool read_token(const struct db_result *r, size_t row, struct seg_arena *arena,
                       struct db_token *ret)
{
    bool ok = true;
    size_t len = 0;
    uint8_t *sha256 = db_result_bytea(r, row, 1, &len);
    if (sha256 == NULL) return false;
    ret->id = keep(arena, r, row, 0, &ok);
    memcpy(ret->sha256, sha256, sizeof ret->sha256); /* the table's CHECK: 32 bytes */
    seg_free(sha256);
    ret->name = keep(arena, r, row, 2, &ok);
    ret->scope = keep(arena, r, row, 3, &ok);
    ret->left_ms = db_result_text(r, row, 4) != NULL ? db_result_int(r, row, 4) : -1;
    ret->created_at = keep(arena, r, row, 5, &ok);
    ret->expires_at = keep(arena, r, row, 6, &ok);
    ret->revoked_at = keep(arena, r, row, 7, &ok);
    return ok;
}

enum db_status db_tokens_list(struct db *db, bool alive_only, struct seg_arena *arena,
                              struct db_token **ret, size_t *ret_n)
{
    struct db_result *r = NULL;
    enum db_status st =
        db_exec(db, &STMTS[TOKEN_LIST], (const char *const[]){ alive_only ? "true" : "false" }, &r);
    if (st != DB_ONE && st != DB_NONE) goto out;

    size_t n = db_result_rows(r);
    struct db_token *tokens = seg_arena_alloc(arena, n * sizeof *tokens);
    bool ok = tokens != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = read_token(r, i, arena, &tokens[i]);
    if (!ok) {
        log_event(LOG_ERROR, "tokens not read", "reason", "out of memory", NULL);
        st = DB_FATAL;
        goto out;
    }
    *ret = tokens;
    *ret_n = n;
out:
    db_result_free(r);
    return st;
}
