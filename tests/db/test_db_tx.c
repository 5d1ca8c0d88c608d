/* test_db_tx.c - a transaction runs again when that may help, leaves nothing when it fails, and
 * says when nobody knows how it ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <unistd.h>
#include "db_fixture.h"

struct tx_test {
    unsigned calls, failures;
    pid_t backend;
};

static enum db_status insert_after_losses(struct db *db, void *arg)
{
    struct tx_test *t = arg;
    t->calls++;
    enum db_status st = db_exec(db, &STMTS[T_INSERT], (const char *[]){ "1" }, NULL);
    if (st != DB_ONE) return st;
    if (t->calls > t->failures) return DB_ONE;
    kill((pid_t)number(db, &STMTS[T_PID]), SIGTERM);
    usleep(100000);
    return db_exec(db, &STMTS[T_COUNT], NULL, NULL);
}

static void a_transaction_survives_losing_its_connection_before_the_commit(void **state)
{
    (void)state;
    struct db *db = connect_db(10);
    struct tx_test t = { .failures = 2 };
    assert_int_equal(db_tx_run(db, "test", insert_after_losses, &t), DB_ONE);
    assert_int_equal(t.calls, 3);
    assert_int_equal(number(db, &STMTS[T_COUNT]), 1);
    db_close(db);
}

static enum db_status serialisation_failure(struct db *db, void *arg)
{
    ++*(unsigned *)arg;
    return db_exec_sql(
        db, "DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = 'serialization_failure'; END $$",
        NULL, 0, NULL);
}

static void a_transaction_gives_up_after_ten_attempts(void **state)
{
    (void)state;
    struct db *db = connect_db(10);
    unsigned calls = 0;
    assert_int_equal(db_tx_run(db, "test", serialisation_failure, &calls), DB_RETRY);
    assert_int_equal(calls, 10);
    db_close(db);
}

static enum db_status conflict_after_insert(struct db *db, void *arg)
{
    ++*(unsigned *)arg;
    enum db_status st = db_exec(db, &STMTS[T_INSERT], (const char *[]){ "1" }, NULL);
    return st == DB_ONE ? DB_CONFLICT : st;
}

static void a_transaction_that_does_not_end_well_leaves_nothing(void **state)
{
    (void)state;
    struct db *db = connect_db(10);
    unsigned calls = 0;
    assert_int_equal(db_tx_run(db, "test", conflict_after_insert, &calls), DB_CONFLICT);
    assert_int_equal(calls, 1);
    assert_int_equal(number(db, &STMTS[T_COUNT]), 0);
    db_close(db);
}

static void commit_of_a_failed_transaction_is_not_success(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    db_begin(db);
    assert_int_equal(db_exec(db, &STMTS[T_CAST], (const char *[]){ "x" }, NULL), DB_FATAL);
    assert_int_equal(db_commit(db), DB_FATAL);
    assert_int_equal(number(db, &STMTS[T_COUNT]), 0);
    db_close(db);
}

static void a_commit_without_an_answer_is_unknown(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    pid_t backend = (pid_t)number(db, &STMTS[T_PID]);
    db_begin(db);
    assert_int_equal(db_exec(db, &STMTS[T_INSERT], (const char *[]){ "1" }, NULL), DB_ONE);
    kill(backend, SIGTERM);
    usleep(100000);
    assert_int_equal(db_commit(db), DB_UNKNOWN);
    assert_true(db_is_broken(db));
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(a_transaction_survives_losing_its_connection_before_the_commit),
        CLAIM(a_transaction_gives_up_after_ten_attempts),
        CLAIM(a_transaction_that_does_not_end_well_leaves_nothing),
        CLAIM(commit_of_a_failed_transaction_is_not_success),
        CLAIM(a_commit_without_an_answer_is_unknown),
    };
    if (!fixture_begin()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
