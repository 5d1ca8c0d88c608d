/* test_db_pool.c - a pool hands out connections that live and hold nothing, and answers in time
 * when there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <unistd.h>
#include "db_fixture.h"

static void a_terminated_backend_is_retry_and_the_pool_connects_again(void **state)
{
    (void)state;
    struct db_pool *pool = db_pool_new(&config, 1, 5, NULL);
    struct db *db = db_pool_get(pool, 5000);
    assert_non_null(db);
    assert_null(db_pool_get(pool, 50)); /* one connection at most */
    kill((pid_t)number(db, &STMTS[T_PID]), SIGTERM);
    usleep(200000);
    assert_int_equal(db_exec(db, &STMTS[T_COUNT], NULL, NULL), DB_RETRY);
    assert_true(db_is_broken(db));
    db_pool_put(pool, db);
    db = db_pool_get(pool, 5000);
    assert_non_null(db);
    assert_int_equal(number(db, &STMTS[T_COUNT]), 0);
    db_pool_put(pool, db);
    assert_true(db_pool_is_up(pool));
    db_pool_free(pool);
}

static void the_pool_replaces_an_idle_connection_that_died(void **state)
{
    (void)state;
    struct db_pool *pool = db_pool_new(&config, 1, 5, NULL);
    struct db *db = db_pool_get(pool, 5000);
    pid_t backend = (pid_t)number(db, &STMTS[T_PID]);
    db_pool_put(pool, db);
    kill(backend, SIGTERM);
    usleep(100000);
    db = db_pool_get(pool, 5000);
    assert_non_null(db);
    assert_true(number(db, &STMTS[T_PID]) != backend);
    db_pool_put(pool, db);
    db_pool_free(pool);
}

static void the_pool_rolls_back_what_was_left_open(void **state)
{
    (void)state;
    struct db_pool *pool = db_pool_new(&config, 1, 5, NULL);
    struct db *db = db_pool_get(pool, 5000);
    db_begin(db);
    assert_int_equal(db_exec(db, &STMTS[T_INSERT], (const char *[]){ "1" }, NULL), DB_ONE);
    db_pool_put(pool, db);
    db = db_pool_get(pool, 5000);
    assert_int_equal(number(db, &STMTS[T_COUNT]), 0);
    db_pool_put(pool, db);
    db_pool_free(pool);
}

static void a_pool_without_a_database_answers_null_in_time(void **state)
{
    (void)state;
    struct config nowhere = config;
    snprintf(nowhere.database.url, sizeof nowhere.database.url, "host=/nonexistent dbname=x");
    struct db_pool *pool = db_pool_new(&nowhere, 2, 5, NULL);
    double start = now_s();
    assert_null(db_pool_get(pool, 500));
    assert_true(now_s() - start < 1.0);
    assert_false(db_pool_is_up(pool));
    start = now_s();
    db_pool_free(pool);
    assert_true(now_s() - start < 1.0);
}

/* How often that line was logged. */
static unsigned count_logged(const char *line)
{
    unsigned n = 0;
    pthread_mutex_lock(&log_lock);
    for (const char *p = logged; (p = strstr(p, line)) != NULL; p++)
        n++;
    pthread_mutex_unlock(&log_lock);
    return n;
}

static void a_pool_that_nobody_uses_notices_its_end_and_heals(void **state)
{
    (void)state;
    struct db *other = connect_db(5);
    struct db_pool *pool = db_pool_new(&config, 1, 5, NULL);
    for (int i = 0; i < 300 && count_logged("database is up") < 1; i++)
        usleep(10000);
    assert_true(db_pool_is_up(pool));
    db_exec_sql(other,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'segmentd' AND pid <> pg_backend_pid()",
                NULL, 0, NULL);
    for (int i = 0; i < 300 && count_logged("database is up") < 2; i++)
        usleep(10000);
    assert_int_equal(count_logged("database is down"), 1);
    assert_int_equal(count_logged("database is up"), 2);
    assert_true(db_pool_is_up(pool));
    db_pool_free(pool);
    db_close(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_terminated_backend_is_retry_and_the_pool_connects_again),
        CLAIM(the_pool_replaces_an_idle_connection_that_died),
        CLAIM(the_pool_rolls_back_what_was_left_open),
        CLAIM(a_pool_without_a_database_answers_null_in_time),
        CLAIM(a_pool_that_nobody_uses_notices_its_end_and_heals),
    };
    if (!fixture_begin()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
