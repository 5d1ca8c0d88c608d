/* test_connection.c - a session is what db.h says, ends when its server does not answer, and does
 * not begin with a statement that is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include "db_fixture.h"

static void a_stopped_backend_costs_the_statement_timeout_plus_two_seconds(void **state)
{
    (void)state;
    struct db *db = connect_db(1);
    pid_t backend = (pid_t)number(db, &STMTS[T_PID]);
    double start = now_s();
    assert_int_equal(kill(backend, SIGSTOP), 0);
    enum db_status st = db_exec(db, &STMTS[T_COUNT], NULL, NULL);
    double took = now_s() - start;
    kill(backend, SIGCONT);
    assert_int_equal(st, DB_RETRY);
    assert_true(took > 2.5 && took < 4.0);
    assert_true(db_is_broken(db));
    assert_int_equal(db_exec(db, &STMTS[T_COUNT], NULL, NULL), DB_RETRY);
    db_close(db);
}

static void a_statement_with_a_typo_stops_the_connection(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    db_exec_sql(db, "DROP TABLE public.t", NULL, 0, NULL);
    db_close(db);
    logged[0] = '\0';
    assert_null(db_connect(&config, 5, true, NULL));
    assert_non_null(strstr(logged, "statement=t_insert sqlstate=42P01"));
}

static void the_session_is_as_the_header_says(void **state)
{
    (void)state;
    static const char *const WANT[][2] = {
        { "search_path", "segmentd, pg_catalog" },
        { "statement_timeout", "5s" },
        { "lock_timeout", "5s" },
        { "idle_in_transaction_session_timeout", "1min" },
        { "synchronize_seqscans", "off" },
        { "jit", "off" },
        { "client_encoding", "UTF8" },
        { "TimeZone", "UTC" },
        { "DateStyle", "ISO, YMD" },
        { "application_name", "segmentd" },
    };
    struct db *db = connect_db(5);
    for (size_t i = 0; i < sizeof WANT / sizeof WANT[0]; i++) {
        struct db_result *r = NULL;
        db_exec_sql(db, "SELECT current_setting($1)", &WANT[i][0], 1, &r);
        assert_string_equal(db_result_text(r, 0, 0), WANT[i][1]);
        db_result_free(r);
    }
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_stopped_backend_costs_the_statement_timeout_plus_two_seconds),
        CLAIM(a_statement_with_a_typo_stops_the_connection),
        CLAIM(the_session_is_as_the_header_says),
    };
    if (!fixture_begin()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
