/* test_db.c - what db.h promises, against a real PostgreSQL (run under tests/with_postgres). The
 * test registers statements of its own instead of the service's, and stands in for the log, so that
 * what would be logged can be looked at. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "db/db.h"
#include "db/statements.h"
#include "log.h"

enum { T_ECHO, T_INSERT, T_COUNT, T_PID, T_CAST };
static const struct db_stmt STMTS[] = {
    [T_ECHO] = { "t_echo", 2, "SELECT $1::text, $2::text" },
    [T_INSERT] = { "t_insert", 1, "INSERT INTO public.t (id) VALUES ($1::integer)" },
    [T_COUNT] = { "t_count", 0, "SELECT count(*) FROM public.t" },
    [T_PID] = { "t_pid", 0, "SELECT pg_backend_pid()" },
    [T_CAST] = { "t_cast", 1, "SELECT $1::text::integer" },
};
static const struct db_stmts TEST_STMTS = { STMTS, sizeof STMTS / sizeof STMTS[0] };
const struct db_stmts *const DB_STATEMENTS[] = { &TEST_STMTS };
const size_t N_DB_STATEMENTS = 1;

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* a pool's keeper logs too */
static char logged[65536];

void log_event(enum log_level level, const char *message, ...)
{
    va_list args;
    pthread_mutex_lock(&log_lock);
    size_t len = strlen(logged);
    len += (size_t)snprintf(logged + len, sizeof logged - len, "%d %s", level, message);
    va_start(args, message);
    for (const char *key; (key = va_arg(args, const char *)) != NULL;) {
        assert_string_equal(va_arg(args, const char *), "%s"); /* db logs strings alone */
        len += (size_t)snprintf(logged + len, sizeof logged - len, " %s=%s", key,
                                va_arg(args, const char *));
    }
    va_end(args);
    snprintf(logged + len, sizeof logged - len, "\n");
    pthread_mutex_unlock(&log_lock);
}

void metrics_add(struct metrics *m, enum metric_counter which, uint64_t n)
{
    (void)m, (void)which, (void)n;
}

void metrics_set(struct metrics *m, enum metric_gauge which, double value)
{
    (void)m, (void)which, (void)value;
}

static struct config config;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct db *connect_db(uint32_t statement_timeout_s)
{
    struct db *db = db_connect(&config, statement_timeout_s, true, NULL);
    if (db == NULL) fail_msg("no connection: %s", logged);
    return db;
}

static int64_t number(struct db *db, const struct db_stmt *stmt)
{
    struct db_result *r = NULL;
    assert_int_equal(db_exec(db, stmt, NULL, &r), DB_ONE);
    int64_t x = db_result_int(r, 0, 0);
    db_result_free(r);
    return x;
}

static int set_up(void **state)
{
    (void)state;
    logged[0] = '\0';
    struct db *db = db_connect(&config, 5, false, NULL);
    if (db == NULL) return -1;
    enum db_status st = db_exec_sql(
        db, "DROP TABLE IF EXISTS public.t; CREATE TABLE public.t (id integer PRIMARY KEY)", NULL,
        0, NULL);
    db_close(db);
    return st == DB_ONE || st == DB_NONE ? 0 : -1;
}

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
    assert_int_equal(db_copy_out_begin(db, "COPY public.t TO STDOUT"), DB_ONE);
    while ((st = db_copy_out_read(db, &bytes, &len)) == DB_ONE)
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
    assert_int_equal(db_copy_out_begin(db, sql), DB_ONE);
    assert_int_equal(db_copy_out_read(db, &bytes, &len), DB_ONE);
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
    const char *url = getenv("SEGMENTD_TEST_DATABASE_URL");
    if (url == NULL) {
        fprintf(stderr, "test_db: run me under tests/with_postgres\n");
        return 1;
    }
    snprintf(config.database.url, sizeof config.database.url, "%s", url);
    snprintf(config.database.schema, sizeof config.database.schema, "segmentd");
    config.database.connect_timeout_s = 5;
#define CLAIM(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        CLAIM(exec_passes_nulls_and_text_through),
        CLAIM(exec_tells_rows_from_no_row),
        CLAIM(exec_maps_a_duplicate_to_conflict_and_keeps_the_sqlstate),
        CLAIM(a_failure_is_logged_once_without_the_parameter),
        CLAIM(the_servers_statement_timeout_is_retry_and_keeps_the_connection),
        CLAIM(a_stopped_backend_costs_the_statement_timeout_plus_two_seconds),
        CLAIM(a_terminated_backend_is_retry_and_the_pool_connects_again),
        CLAIM(the_pool_replaces_an_idle_connection_that_died),
        CLAIM(the_pool_rolls_back_what_was_left_open),
        CLAIM(a_pool_without_a_database_answers_null_in_time),
        CLAIM(a_pool_that_nobody_uses_notices_its_end_and_heals),
        CLAIM(a_transaction_survives_losing_its_connection_before_the_commit),
        CLAIM(a_transaction_gives_up_after_ten_attempts),
        CLAIM(a_transaction_that_does_not_end_well_leaves_nothing),
        CLAIM(commit_of_a_failed_transaction_is_not_success),
        CLAIM(a_commit_without_an_answer_is_unknown),
        CLAIM(copy_brings_a_million_rows_in_and_out_again),
        CLAIM(an_aborted_copy_leaves_the_connection_working),
        CLAIM(a_bad_row_fails_the_copy_and_not_the_connection),
        CLAIM(receiving_ends_when_it_is_cancelled_and_the_connection_works_on),
        CLAIM(a_notification_ends_the_wait),
        CLAIM(a_statement_with_a_typo_stops_the_connection),
        CLAIM(the_session_is_as_the_header_says),
        CLAIM(identifiers_are_quoted_and_bounded),
        CLAIM(bytes_survive_the_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
