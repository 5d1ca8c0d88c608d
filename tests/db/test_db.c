/* test_db.c - what db.h promises of statements, waits and their ends, against a real PostgreSQL
 * (run under tests/with_postgres). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>
#include "db_fixture.h"

static void exec_passes_nulls_and_text_through(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    const char *params[] = { NULL, "a'; DROP TABLE t; -- \xc3\xa9" };
    struct db_result *r = NULL;
    assert_int_equal(db_exec(db, &STMTS[T_ECHO], params, &r), DB_ONE);
    assert_null(db_result_text(r, 0, 0));
    assert_string_equal(db_result_text(r, 0, 1), params[1]);
    assert_int_equal(db_result_columns(r), 2);
    db_result_free(r);
    db_close(db);
}

static void exec_tells_rows_from_no_row(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    struct db_result *r = NULL;
    assert_int_equal(db_exec_sql(db, "SELECT id FROM public.t", NULL, 0, &r), DB_NONE);
    assert_int_equal(db_result_rows(r), 0);
    db_result_free(r);
    assert_int_equal(db_exec_sql(db, "DELETE FROM public.t", NULL, 0, NULL), DB_NONE);
    assert_int_equal(db_exec(db, &STMTS[T_INSERT], (const char *[]){ "1" }, NULL), DB_ONE);
    assert_int_equal(db_exec_sql(db, "DELETE FROM public.t", NULL, 0, NULL), DB_ONE);
    db_close(db);
}

static void exec_maps_a_duplicate_to_conflict_and_keeps_the_sqlstate(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    const char *params[] = { "7" };
    assert_int_equal(db_exec(db, &STMTS[T_INSERT], params, NULL), DB_ONE);
    assert_int_equal(db_exec(db, &STMTS[T_INSERT], params, NULL), DB_CONFLICT);
    assert_string_equal(db_sqlstate(db), "23505");
    assert_false(db_is_broken(db));
    assert_int_equal(number(db, &STMTS[T_COUNT]), 1);
    db_close(db);
}

static void a_failure_is_logged_once_without_the_parameter(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    struct db_result *r = NULL;
    logged[0] = '\0';
    assert_int_equal(db_exec(db, &STMTS[T_CAST], (const char *[]){ "canary" }, &r), DB_FATAL);
    assert_null(r);
    assert_non_null(strstr(logged, "statement=t_cast sqlstate=22P02"));
    assert_null(strstr(logged, "canary"));
    assert_ptr_equal(strchr(logged, '\n'), logged + strlen(logged) - 1);
    db_close(db);
}

static void the_servers_statement_timeout_is_retry_and_keeps_the_connection(void **state)
{
    (void)state;
    struct db *db = connect_db(1);
    assert_int_equal(db_exec_sql(db, "SELECT pg_sleep(20)", NULL, 0, NULL), DB_RETRY);
    assert_string_equal(db_sqlstate(db), "57014");
    assert_false(db_is_broken(db));
    assert_int_equal(number(db, &STMTS[T_COUNT]), 0);
    db_close(db);
}

static void a_notification_ends_the_wait(void **state)
{
    (void)state;
    struct db *db = connect_db(5), *other = connect_db(5);
    enum db_status st = db_listen(db, "t_channel");
    assert_true(st == DB_ONE || st == DB_NONE);
    double start = now_s();
    assert_false(db_wait_notify(db, 200));
    assert_true(now_s() - start >= 0.19);
    assert_false(db_is_broken(db));
    db_exec_sql(other, "NOTIFY t_channel", NULL, 0, NULL);
    assert_true(db_wait_notify(db, 5000));
    assert_false(db_wait_notify(db, 0));
    db_close(other);
    db_close(db);
}

static void *set_soon(void *flag)
{
    usleep(200000);
    atomic_store((atomic_bool *)flag, true);
    return NULL;
}

static void receiving_ends_when_it_is_cancelled_and_the_connection_works_on(void **state)
{
    (void)state;
    struct db *db = connect_db(0);
    atomic_bool cancel = false;
    pthread_t thread;
    const double start = now_s();
    assert_int_equal(db_send_sql(db, "SELECT pg_sleep(60)"), DB_ONE);
    assert_int_equal(pthread_create(&thread, NULL, set_soon, &cancel), 0);
    assert_int_not_equal(db_receive(db, &cancel), DB_ONE);
    assert_true(now_s() - start < 10);
    pthread_join(thread, NULL);
    assert_true(number(db, &STMTS[T_COUNT]) == 0);
    atomic_store(&cancel, false);
    assert_int_equal(db_send_sql(db, "SELECT pg_sleep(0.3)"), DB_ONE);
    assert_int_equal(db_receive(db, &cancel), DB_ONE);
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(exec_passes_nulls_and_text_through),
        CLAIM(exec_tells_rows_from_no_row),
        CLAIM(exec_maps_a_duplicate_to_conflict_and_keeps_the_sqlstate),
        CLAIM(a_failure_is_logged_once_without_the_parameter),
        CLAIM(the_servers_statement_timeout_is_retry_and_keeps_the_connection),
        CLAIM(receiving_ends_when_it_is_cancelled_and_the_connection_works_on),
        CLAIM(a_notification_ends_the_wait),
    };
    if (!fixture_begin()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
