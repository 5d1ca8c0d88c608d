/* auth.c - the set of live tokens is an array sorted by id. A check hashes outside the lock, finds
 * the id (which is no secret) by bisection and compares hashes in constant time. */
#include "auth.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "base/alloc.h"
#include "db/tokens.h"
#include "digest.h"

struct token {
    char id[TOKEN_ID_CHARS + 1];
    uint8_t sha256[DIGEST_BYTES];
    enum scope scope;
    int64_t ends_ms; /* on the monotonic clock; INT64_MAX: never */
};

struct auth {
    enum auth_mode mode;
    pthread_rwlock_t lock; /* guards tokens, n_tokens, loaded */
    struct token *tokens;  /* by id */
    size_t n_tokens;
    bool loaded;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now); /* goes on while the machine sleeps */
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct auth *auth_new(enum auth_mode mode)
{
    struct auth *a = seg_calloc(1, sizeof *a);
    if (a == NULL) return NULL;
    a->mode = mode;
    pthread_rwlock_init(&a->lock, NULL);
    return a;
}

void auth_free(struct auth *a)
{
    if (a == NULL) return;
    pthread_rwlock_destroy(&a->lock);
    seg_free(a->tokens);
    seg_free(a);
}

static const char *const SCOPE_NAMES[] = {
    [SCOPE_NONE] = "",       [SCOPE_READ] = "read",   [SCOPE_SCORE] = "score",
    [SCOPE_TRAIN] = "train", [SCOPE_ADMIN] = "admin",
};

const char *scope_text(enum scope s)
{
    return SCOPE_NAMES[s];
}

enum scope scope_from_text(const char *text)
{
    for (enum scope s = SCOPE_READ; s <= SCOPE_ADMIN; s++) {
        if (strcmp(text, SCOPE_NAMES[s]) == 0) return s;
    }
    return SCOPE_NONE;
}

/* "Bearer sgd_<id>_<secret>": id and the hash of the secret. */
static bool parse_authorization(const char *text, char id[TOKEN_ID_CHARS + 1],
                                uint8_t sha256[DIGEST_BYTES])
{
    if (text == NULL || strncasecmp(text, "Bearer ", 7) != 0) return false;
    text += 7;
    text += strspn(text, " ");
    if (strlen(text) != TOKEN_CHARS || memcmp(text, "sgd_", 4) != 0) return false;
    if (text[4 + TOKEN_ID_CHARS] != '_') return false;
    memcpy(id, text + 4, TOKEN_ID_CHARS);
    id[TOKEN_ID_CHARS] = '\0';
    digest_sha256(text + TOKEN_CHARS - TOKEN_SECRET_CHARS, TOKEN_SECRET_CHARS, sha256);
    return true;
}

static int by_id(const void *id, const void *token)
{
    return strcmp(id, ((const struct token *)token)->id);
}

enum auth_result auth_check(struct auth *a, const char *authorization, enum scope needed)
{
    char id[TOKEN_ID_CHARS + 1];
    uint8_t sha256[DIGEST_BYTES];
    if (a->mode == AUTH_OFF || needed == SCOPE_NONE) return AUTH_GRANTED;
    if (!parse_authorization(authorization, id, sha256)) return AUTH_UNAUTHENTICATED;

    enum auth_result result = AUTH_UNAUTHENTICATED;
    pthread_rwlock_rdlock(&a->lock);
    const struct token *t =
        a->n_tokens > 0 ? bsearch(id, a->tokens, a->n_tokens, sizeof *a->tokens, by_id) : NULL;
    if (!a->loaded) {
        result = AUTH_UNAVAILABLE;
    } else if (t != NULL && secret_equal(t->sha256, sha256, sizeof sha256) &&
               now_ms() < t->ends_ms) {
        result = t->scope >= needed ? AUTH_GRANTED : AUTH_FORBIDDEN; /* scopes contain each other */
    }
    pthread_rwlock_unlock(&a->lock);
    return result;
}

enum db_status auth_refresh(struct auth *a, struct db *db)
{
    if (a->mode == AUTH_OFF) return DB_NONE;
    struct seg_arena arena;
    struct db_token *rows = NULL;
    struct token *tokens = NULL;
    size_t n = 0;
    seg_arena_init(&arena, 0);
    int64_t asked_ms = now_ms(); /* before, so that no token lives longer than it should */
    enum db_status st = db_tokens_list(db, true, &arena, &rows, &n);
    if (st != DB_ONE && st != DB_NONE) goto out;
    tokens = seg_calloc(n, sizeof *tokens);
    if (tokens == NULL) {
        st = DB_FATAL;
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(tokens[i].id, rows[i].id, TOKEN_ID_CHARS); /* the table's CHECK: 8 bytes */
        memcpy(tokens[i].sha256, rows[i].sha256, sizeof tokens[i].sha256);
        tokens[i].scope = scope_from_text(rows[i].scope);
        tokens[i].ends_ms = rows[i].left_ms < 0 ? INT64_MAX : asked_ms + rows[i].left_ms;
    }
    pthread_rwlock_wrlock(&a->lock);
    struct token *old = a->tokens;
    a->tokens = tokens;
    a->n_tokens = n;
    a->loaded = true;
    pthread_rwlock_unlock(&a->lock);
    tokens = old;
out:
    seg_free(tokens);
    seg_arena_release(&arena);
    return st;
}

/* 32 bytes as 43 characters, without padding. */
static void base64url(const uint8_t bytes[32], char out[TOKEN_SECRET_CHARS + 1])
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < TOKEN_SECRET_CHARS; i++) {
        size_t bit = 6 * i;
        unsigned pair = (unsigned)bytes[bit / 8] << 8;
        if (bit / 8 + 1 < 32) pair |= bytes[bit / 8 + 1];
        out[i] = DIGITS[pair >> (10 - bit % 8) & 63];
    }
    out[TOKEN_SECRET_CHARS] = '\0';
}

void auth_make_token(struct new_token *ret)
{
    static const char DIGITS[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint8_t bytes[32];
    char secret[TOKEN_SECRET_CHARS + 1];
    for (size_t i = 0; i < TOKEN_ID_CHARS;) {
        uint8_t byte;
        random_bytes(&byte, 1);
        if (byte < 252) ret->id[i++] = DIGITS[byte % 36]; /* 252 = 7 * 36: no digit is likelier */
    }
    ret->id[TOKEN_ID_CHARS] = '\0';
    random_bytes(bytes, sizeof bytes);
    base64url(bytes, secret);
    memcpy(ret->text, "sgd_", 4);
    memcpy(ret->text + 4, ret->id, TOKEN_ID_CHARS);
    ret->text[4 + TOKEN_ID_CHARS] = '_';
    memcpy(ret->text + TOKEN_CHARS - TOKEN_SECRET_CHARS, secret, sizeof secret);
    digest_sha256(secret, TOKEN_SECRET_CHARS, ret->sha256);
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(secret, sizeof secret);
}
