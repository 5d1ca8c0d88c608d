/* db_fixture.h - connections for the tests of db.h: statements of their own instead of the
 * service's, and a log that can be looked at. Include after cmocka.h, in one file of a program. */
#ifndef TESTS_DB_DB_FIXTURE_H
#define TESTS_DB_DB_FIXTURE_H

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "database.h"
#include "db/db.h"
#include "db/statements.h"
#include "log.h"

#define CLAIM(f) cmocka_unit_test_setup(f, set_up)

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

static inline double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline struct db *connect_db(uint32_t statement_timeout_s)
{
    struct db *db = db_connect(&config, statement_timeout_s, true, NULL);
    if (db == NULL) fail_msg("no connection: %s", logged);
    return db;
}

static inline int64_t number(struct db *db, const struct db_stmt *stmt)
{
    struct db_result *r = NULL;
    assert_int_equal(db_exec(db, stmt, NULL, &r), DB_ONE);
    int64_t x = db_result_int(r, 0, 0);
    db_result_free(r);
    return x;
}

static inline int set_up(void **state)
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

/* Says where the database is; false where there is none. */
static inline bool fixture_begin(void)
{
    const char *url = database_url();
    if (url == NULL) return false;
    snprintf(config.database.url, sizeof config.database.url, "%s", url);
    snprintf(config.database.schema, sizeof config.database.schema, "segmentd");
    config.database.connect_timeout_s = 5;
    return true;
}

#endif
