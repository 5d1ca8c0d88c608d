/* test_db_result.c - bytes come back as they went, and identifiers are quoted and bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "db_fixture.h"

static void identifiers_are_quoted_and_bounded(void **state)
{
    (void)state;
    char out[2 * 63 + 3], name[65];
    assert_true(db_ident(NULL, "a\"b", out, sizeof out));
    assert_string_equal(out, "\"a\"\"b\"");
    assert_false(db_ident(NULL, "", out, sizeof out));
    memset(name, '"', 64);
    name[64] = '\0';
    assert_false(db_ident(NULL, name, out, sizeof out));
    name[63] = '\0';
    assert_true(db_ident(NULL, name, out, sizeof out));
    assert_int_equal(strlen(out), 2 * 63 + 2);
}

static void bytes_survive_the_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[256];
    size_t len = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    struct db *db = connect_db(5);
    struct db_result *r = NULL;
    char *text = db_bytea_text(bytes, sizeof bytes);
    db_exec_sql(db, "SELECT $1::bytea", (const char *[]){ text }, 1, &r);
    uint8_t *back = db_result_bytea(r, 0, 0, &len);
    assert_int_equal(len, sizeof bytes);
    assert_memory_equal(back, bytes, sizeof bytes);
    memset(back, 0, sizeof bytes);
    assert_int_equal(db_result_bytea_copy(r, 0, 0, back, sizeof bytes - 1), 0);
    assert_int_equal(db_result_bytea_copy(r, 0, 0, back, sizeof bytes), sizeof bytes);
    assert_memory_equal(back, bytes, sizeof bytes);
    seg_free(back);
    seg_free(text);
    db_result_free(r);
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(identifiers_are_quoted_and_bounded),
        CLAIM(bytes_survive_the_round_trip),
    };
    if (!fixture_begin()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
