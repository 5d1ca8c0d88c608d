/* test_auth.c - what auth.h and db/tokens.h promise, against a real PostgreSQL (run under
 * tests/with_postgres). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "auth.h"
#include "base/alloc.h"
#include "database.h"
#include "db/tokens.h"

static struct config config;
static struct db *db;
static struct auth *auth;

static bool ok(enum db_status st)
{
    return st == DB_ONE || st == DB_NONE;
}

static void sql(const char *text)
{
    assert_true(ok(db_exec_sql(db, text, NULL, 0, NULL)));
}

static int set_up(void **state)
{
    (void)state;
    sql("TRUNCATE tokens");
    auth = auth_new(AUTH_TOKEN);
    return auth != NULL && ok(auth_refresh(auth, db)) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    auth_free(auth);
    return 0;
}

static struct new_token make(const char *scope, uint32_t expires_days)
{
    struct new_token t;
    auth_make_token(&t);
    assert_int_equal(db_tokens_create(db, t.id, t.sha256, "test", scope, expires_days), DB_ONE);
    return t;
}

static enum auth_result check(const char *scheme, const char *token, enum scope needed)
{
    char header[256];
    snprintf(header, sizeof header, "%s%s", scheme, token);
    return auth_check(auth, header, needed);
}

static void tokens_have_their_shape_and_none_is_like_another(void **state)
{
    (void)state;
    struct new_token a, b;
    auth_make_token(&a);
    auth_make_token(&b);
    assert_int_equal(strlen(a.text), TOKEN_CHARS);
    assert_memory_equal(a.text, "sgd_", 4);
    assert_memory_equal(a.text + 4, a.id, TOKEN_ID_CHARS);
    assert_int_equal(a.text[4 + TOKEN_ID_CHARS], '_');
    for (const char *at = a.text + 5 + TOKEN_ID_CHARS; *at != '\0'; at++) {
        assert_true(isalnum((unsigned char)*at) || *at == '-' || *at == '_');
    }
    assert_string_not_equal(a.text, b.text);
    assert_memory_not_equal(a.sha256, b.sha256, sizeof a.sha256);
}

static void a_scope_contains_the_smaller_ones(void **state)
{
    (void)state;
    static const char *const NAMES[] = { "read", "score", "train", "admin" };
    for (int has = 0; has < 4; has++) {
        struct new_token t = make(NAMES[has], 0);
        assert_true(ok(auth_refresh(auth, db)));
        assert_int_equal(scope_from_text(NAMES[has]), SCOPE_READ + has);
        assert_string_equal(scope_text(SCOPE_READ + has), NAMES[has]);
        for (int needs = 0; needs < 4; needs++) {
            enum auth_result expected = needs <= has ? AUTH_GRANTED : AUTH_FORBIDDEN;
            assert_int_equal(check("Bearer ", t.text, SCOPE_READ + (unsigned)needs), expected);
        }
    }
    assert_int_equal(scope_from_text("root"), SCOPE_NONE);
}

static void whatever_is_not_the_token_is_refused(void **state)
{
    (void)state;
    struct new_token t = make("admin", 0), other = make("admin", 0);
    assert_true(ok(auth_refresh(auth, db)));
    assert_int_equal(check("Bearer ", t.text, SCOPE_READ), AUTH_GRANTED);
    assert_int_equal(check("bEARER   ", t.text, SCOPE_READ), AUTH_GRANTED);
    assert_int_equal(auth_check(auth, NULL, SCOPE_READ), AUTH_UNAUTHENTICATED);
    assert_int_equal(check("", "", SCOPE_READ), AUTH_UNAUTHENTICATED);
    assert_int_equal(check("Bearer ", "", SCOPE_READ), AUTH_UNAUTHENTICATED);
    assert_int_equal(check("", t.text, SCOPE_READ), AUTH_UNAUTHENTICATED);
    assert_int_equal(check("Basic ", t.text, SCOPE_READ), AUTH_UNAUTHENTICATED);
    assert_int_equal(check("Bearer", t.text, SCOPE_READ), AUTH_UNAUTHENTICATED);

    char mixed[TOKEN_CHARS + 2]; /* the id of one, the secret of the other */
    memcpy(mixed, t.text, sizeof t.text);
    memcpy(mixed + 4, other.id, TOKEN_ID_CHARS);
    assert_int_equal(check("Bearer ", mixed, SCOPE_READ), AUTH_UNAUTHENTICATED);
    for (size_t i = 0; i < TOKEN_CHARS; i++) { /* any one character changed */
        memcpy(mixed, t.text, sizeof t.text);
        mixed[i] = mixed[i] == 'x' ? 'y' : 'x';
        assert_int_equal(check("Bearer ", mixed, SCOPE_READ), AUTH_UNAUTHENTICATED);
        memcpy(mixed, t.text, sizeof t.text);
        mixed[i] = '\0'; /* cut */
        assert_int_equal(check("Bearer ", mixed, SCOPE_READ), AUTH_UNAUTHENTICATED);
    }
    snprintf(mixed, sizeof mixed, "%sA", t.text);
    assert_int_equal(check("Bearer ", mixed, SCOPE_READ), AUTH_UNAUTHENTICATED);
}

static void a_revoked_token_ends_at_the_next_refresh(void **state)
{
    (void)state;
    struct new_token t = make("read", 0);
    assert_true(ok(auth_refresh(auth, db)));
    assert_int_equal(db_tokens_revoke(db, t.id), DB_ONE);
    assert_int_equal(db_tokens_revoke(db, t.id), DB_NONE);
    assert_int_equal(db_tokens_revoke(db, "'; --"), DB_NONE);
    assert_true(ok(auth_refresh(auth, db)));
    assert_int_equal(check("Bearer ", t.text, SCOPE_READ), AUTH_UNAUTHENTICATED);
}

static void a_token_expires_in_memory_without_the_database(void **state)
{
    (void)state;
    struct new_token soon = make("read", 1), later = make("read", 1), gone = make("read", 1);
    char text[160];
    snprintf(text, sizeof text,
             "UPDATE tokens SET expires_at = now() + interval '300 ms' WHERE id = '%s'", soon.id);
    sql(text);
    snprintf(text, sizeof text,
             "UPDATE tokens SET expires_at = now() - interval '1 s' WHERE id = '%s'", gone.id);
    sql(text);
    assert_true(ok(auth_refresh(auth, db)));
    assert_int_equal(check("Bearer ", soon.text, SCOPE_READ), AUTH_GRANTED);
    assert_int_equal(check("Bearer ", gone.text, SCOPE_READ), AUTH_UNAUTHENTICATED);
    sql("SELECT pg_sleep(0.4)");
    assert_int_equal(check("Bearer ", soon.text, SCOPE_READ), AUTH_UNAUTHENTICATED);
    assert_int_equal(check("Bearer ", later.text, SCOPE_READ), AUTH_GRANTED);
}

static void before_the_first_refresh_nobody_is_called_a_stranger(void **state)
{
    (void)state;
    struct new_token t = make("read", 0);
    struct auth *fresh = auth_new(AUTH_TOKEN), *off = auth_new(AUTH_OFF);
    char header[256];
    snprintf(header, sizeof header, "Bearer %s", t.text);
    assert_int_equal(auth_check(fresh, header, SCOPE_READ), AUTH_UNAVAILABLE);
    assert_int_equal(auth_check(fresh, NULL, SCOPE_NONE), AUTH_GRANTED);
    assert_int_equal(auth_check(off, NULL, SCOPE_ADMIN), AUTH_GRANTED);
    auth_free(fresh);
    auth_free(off);
}

static void a_failed_refresh_leaves_the_last_set(void **state)
{
    (void)state;
    struct new_token t = make("read", 0);
    assert_true(ok(auth_refresh(auth, db)));
    sql("ALTER TABLE tokens RENAME TO tokens_away");
    assert_false(ok(auth_refresh(auth, db)));
    sql("ALTER TABLE tokens_away RENAME TO tokens");
    assert_int_equal(check("Bearer ", t.text, SCOPE_READ), AUTH_GRANTED);

    unsigned n = 0;
    do {
        seg_alloc_fail_at(++n);
        bool refreshed = ok(auth_refresh(auth, db));
        seg_alloc_fail_at(0);
        assert_int_equal(check("Bearer ", t.text, SCOPE_READ), AUTH_GRANTED);
        if (refreshed) break;
    } while (n < 1000);
    assert_in_range(n, 4, 999);
}

static void the_list_shows_all_and_no_secret(void **state)
{
    (void)state;
    struct new_token live = make("read", 0), revoked = make("admin", 7);
    assert_int_equal(db_tokens_revoke(db, revoked.id), DB_ONE);
    struct seg_arena arena;
    struct db_token *tokens;
    size_t n;
    seg_arena_init(&arena, 0);
    assert_int_equal(db_tokens_list(db, false, &arena, &tokens, &n), DB_ONE);
    assert_int_equal(n, 2);
    const struct db_token *t = strcmp(tokens[0].id, revoked.id) == 0 ? &tokens[0] : &tokens[1];
    assert_string_equal(t->scope, "admin");
    assert_non_null(t->revoked_at);
    assert_int_equal(strlen(t->expires_at), strlen("2026-01-01T00:00:00Z"));
    assert_in_range(t->left_ms, 6 * 86400000LL, 7 * 86400000LL + 3600000);
    assert_memory_equal(t->sha256, revoked.sha256, 32);
    assert_int_equal(db_tokens_list(db, true, &arena, &tokens, &n), DB_ONE);
    assert_int_equal(n, 1);
    assert_string_equal(tokens[0].id, live.id);
    assert_int_equal(tokens[0].left_ms, -1);
    assert_null(tokens[0].expires_at);
    seg_arena_release(&arena);
}

static void an_id_is_given_once(void **state)
{
    (void)state;
    struct new_token t = make("read", 0);
    assert_int_equal(db_tokens_create(db, t.id, t.sha256, "again", "read", 0), DB_CONFLICT);
}

struct hammer {
    char header[TOKEN_CHARS + 8];
    atomic_bool stop;
    atomic_ulong refused;
};

static void *hammer_checks(void *arg)
{
    struct hammer *h = arg;
    while (!atomic_load(&h->stop)) {
        if (auth_check(auth, h->header, SCOPE_READ) != AUTH_GRANTED) h->refused++;
    }
    return NULL;
}

static void checks_never_see_half_a_set(void **state)
{
    (void)state;
    struct new_token t = make("read", 0);
    struct hammer h = { .stop = false };
    pthread_t threads[2];
    snprintf(h.header, sizeof h.header, "Bearer %s", t.text);
    assert_true(ok(auth_refresh(auth, db)));
    for (int i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, hammer_checks, &h);
    for (int i = 0; i < 100; i++) {
        make("score", 0);
        assert_true(ok(auth_refresh(auth, db)));
    }
    atomic_store(&h.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(h.refused, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(tokens_have_their_shape_and_none_is_like_another),
        TEST(a_scope_contains_the_smaller_ones),
        TEST(whatever_is_not_the_token_is_refused),
        TEST(a_revoked_token_ends_at_the_next_refresh),
        TEST(a_token_expires_in_memory_without_the_database),
        TEST(before_the_first_refresh_nobody_is_called_a_stranger),
        TEST(a_failed_refresh_leaves_the_last_set),
        TEST(the_list_shows_all_and_no_secret),
        TEST(an_id_is_given_once),
        TEST(checks_never_see_half_a_set),
    };
    if (!database_migrated(&config, "test_auth")) return 1;
    db = db_connect(&config, 5, true, NULL);
    if (db == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    db_close(db);
    return failed;
}
