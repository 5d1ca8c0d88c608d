/* test_db_copy.c - rows go in and out by COPY, and a copy that ends early costs no connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "db_fixture.h"

static void copy_brings_a_million_rows_in_and_out_again(void **state)
{
    (void)state;
    enum { N = 1000000 };
    struct db *db = connect_db(60);
    char line[16];
    uint64_t rows = 0;
    assert_int_equal(db_copy_in_begin(db, "COPY public.t FROM STDIN (FORMAT csv)"), DB_ONE);
    for (unsigned i = 0; i < N; i++) {
        int len = snprintf(line, sizeof line, "%u\n", i);
        assert_int_equal(db_copy_in_write(db, line, (size_t)len), DB_ONE);
    }
    assert_int_equal(db_copy_in_end(db, &rows), DB_ONE);
    assert_int_equal(rows, N);

    const char *bytes = NULL;
    size_t len = 0, lines = 0;
    enum db_status st;
    assert_int_equal(db_copy_out_begin(db, NULL, "COPY public.t TO STDOUT"), DB_ONE);
    while ((st = db_copy_out_read(db, NULL, &bytes, &len)) == DB_ONE)
        for (size_t i = 0; i < len; i++)
            lines += bytes[i] == '\n';
    assert_int_equal(st, DB_NONE);
    assert_int_equal(lines, N);
    db_close(db);
}

static void an_aborted_copy_leaves_the_connection_working(void **state)
{
    (void)state;
    struct db *db = connect_db(30);
    const char *bytes = NULL;
    size_t len = 0;
    pid_t backend = (pid_t)number(db, &STMTS[T_PID]);
    const char *sql = "COPY (SELECT repeat('x', 1000), generate_series(1, 100000000)) TO STDOUT";
    double start = now_s();
    assert_int_equal(db_copy_out_begin(db, NULL, sql), DB_ONE);
    assert_int_equal(db_copy_out_read(db, NULL, &bytes, &len), DB_ONE);
    db_copy_out_abort(db);
    assert_true(now_s() - start < 5.0);
    assert_int_equal(number(db, &STMTS[T_PID]), backend);

    assert_int_equal(db_copy_in_begin(db, "COPY public.t FROM STDIN (FORMAT csv)"), DB_ONE);
    assert_int_equal(db_copy_in_write(db, "1\n2\n", 4), DB_ONE);
    db_copy_in_abort(db);
    assert_int_equal(number(db, &STMTS[T_COUNT]), 0);
    assert_int_equal(number(db, &STMTS[T_PID]), backend);
    db_close(db);
}

static void a_bad_row_fails_the_copy_and_not_the_connection(void **state)
{
    (void)state;
    struct db *db = connect_db(5);
    uint64_t rows = 99;
    assert_int_equal(db_copy_in_begin(db, "COPY public.t FROM STDIN (FORMAT csv)"), DB_ONE);
    assert_int_equal(db_copy_in_write(db, "1\ncanary\n", 9), DB_ONE);
    assert_int_equal(db_copy_in_end(db, &rows), DB_FATAL);
    assert_string_equal(db_sqlstate(db), "22P02");
    assert_int_equal(rows, 99);
    assert_null(strstr(logged, "canary"));
    assert_int_equal(number(db, &STMTS[T_COUNT]), 0);
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLAIM(copy_brings_a_million_rows_in_and_out_again),
        CLAIM(an_aborted_copy_leaves_the_connection_working),
        CLAIM(a_bad_row_fails_the_copy_and_not_the_connection),
    };
    if (!fixture_begin()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
