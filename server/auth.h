/* auth.h - who may call what. All live tokens are in memory, so that checking one touches no
 * database.
 *
 * Properties: a check costs one SHA-256 and a lock held for a few instructions; a token's life ends
 * on the monotonic clock, whatever happens to the wall clock. Operation: auth_refresh replaces the
 * set by what the database has; run at start and every 5 s, so that a revoked token stops working
 * within that time. While the database is away the last set stays. Safety: auth_check and
 * auth_refresh from any thread. */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include "config.h"
#include "db/db.h"
#include "http/route.h"

#define TOKEN_ID_CHARS     8
#define TOKEN_SECRET_CHARS 43 /* base64url of 32 random bytes */
#define TOKEN_CHARS        (4 + TOKEN_ID_CHARS + 1 + TOKEN_SECRET_CHARS)

enum auth_result {
    AUTH_GRANTED,
    AUTH_UNAUTHENTICATED, /* no token, or none that is alive */
    AUTH_FORBIDDEN,       /* a live token whose scope is too small */
    AUTH_UNAVAILABLE,     /* no set was ever loaded */
};

struct auth;
/* With mode off every check is granted. NULL: no memory. */
struct auth *auth_new(enum auth_mode mode);
void auth_free(struct auth *a);
/* authorization: the value of the Authorization header, NULL when there was none. */
enum auth_result auth_check(struct auth *a, const char *authorization, enum scope needed);
/* DB_ONE or DB_NONE when the set was replaced; else the old one stays. */
enum db_status auth_refresh(struct auth *a, struct db *db);

struct new_token {
    char id[TOKEN_ID_CHARS + 1];
    char text[TOKEN_CHARS + 1]; /* sgd_<id>_<secret>: shown once, kept nowhere */
    uint8_t sha256[32];         /* of the secret: what is stored */
};
void auth_make_token(struct new_token *ret);
/* "read", "score", "train" or "admin"; SCOPE_NONE when it is none of them. */
enum scope scope_from_text(const char *text);
const char *scope_text(enum scope s); /* "" for SCOPE_NONE */

#endif
