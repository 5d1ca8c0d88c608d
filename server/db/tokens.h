/* tokens.h - bearer tokens as the database knows them: the SHA-256 of each secret, never the
 * secret. Plain functions on the caller's connection. */
#ifndef SERVER_DB_TOKENS_H
#define SERVER_DB_TOKENS_H

#include "base/arena.h"
#include "db/db.h"
#include "db/statements.h"

struct db_token {
    const char *id; /* 8 of 0-9a-z */
    uint8_t sha256[32];
    const char *name;
    const char *scope;      /* read, score, train or admin */
    int64_t left_ms;        /* by the database's clock; -1: does not expire */
    const char *created_at; /* RFC 3339 */
    const char *expires_at; /* NULL: does not expire */
    const char *revoked_at; /* NULL: not revoked */
};

extern const struct db_stmts DB_TOKENS_STMTS;

/* expires_days 0: never. DB_CONFLICT: the id is taken. */
enum db_status db_tokens_create(struct db *db, const char *id, const uint8_t sha256[32],
                                const char *name, const char *scope, uint32_t expires_days);
/* DB_NONE: there is no such token, or it was revoked before. */
enum db_status db_tokens_revoke(struct db *db, const char *id);
/* All tokens, or those that are neither revoked nor expired, by id. Strings are of the arena. */
enum db_status db_tokens_list(struct db *db, bool alive_only, struct seg_arena *arena,
                              struct db_token **ret, size_t *ret_n);

#endif
