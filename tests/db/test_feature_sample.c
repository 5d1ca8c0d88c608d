/* test_feature_sample.c - what feature_sample.h and feature_summary.h promise of large sets,
 * against a real PostgreSQL (run under tests/with_postgres). The service tests look at the figures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "database.h"
#include "db/feature_sample.h"
#include "db/feature_summary.h"

#define N_ROWS 20000u

static struct config config;
static struct db *db;
static struct seg_arena arena;

/* All of public.users, a table of N_ROWS rows: a number and one of two words. */
static struct feature_column columns[] = {
    { .name = "x", .type = SEG_NUMERIC, .column = "x", .sql_type = "integer", .width = 1 },
    { .name = "word", .type = SEG_CATEGORICAL, .column = "word", .sql_type = "text", .width = 1 },
};
static const struct feature_set USERS = { .name = "users",
                                          .relation_schema = "public",
                                          .relation_name = "users",
                                          .id_column = "id",
                                          .columns = columns,
                                          .n_columns = 2,
                                          .n_rows = -1 };

static int set_up(void **state)
{
    (void)state;
    seg_arena_init(&arena, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    seg_arena_release(&arena);
    return 0;
}

static void as_many_values_as_the_limit_are_no_sample(void **state)
{
    (void)state;
    struct feature_sample s;
    assert_int_equal(db_feature_sample(db, &USERS, 2 * N_ROWS, &arena, &s), DB_ONE);
    assert_int_equal(s.method, SAMPLE_ALL);
    assert_string_equal(s.from, "\"public\".\"users\"");
    assert_true(s.n_rows == N_ROWS && !s.estimated);
    assert_int_equal(db_feature_sample(db, &USERS, 2 * N_ROWS - 1, &arena, &s), DB_ONE);
    assert_int_equal(s.method, SAMPLE_RANDOM_PAGES);
    assert_true(s.n_rows == N_ROWS && !s.estimated);
}

static void a_sample_is_the_same_rows_each_time(void **state)
{
    (void)state;
    struct feature_sample s;
    char text[2][64];
    for (int k = 0; k < 2; k++) {
        struct db_result *r = NULL;
        assert_int_equal(db_feature_sample(db, &USERS, N_ROWS, &arena, &s), DB_ONE);
        const char *sql =
            seg_arena_printf(&arena, "SELECT count(*) || ' ' || sum(id) FROM %s", s.from);
        assert_int_equal(db_exec_sql(db, sql, NULL, 0, &r), DB_ONE);
        snprintf(text[k], sizeof(text[k]), "%s", db_result_text(r, 0, 0));
        db_result_free(r);
    }
    assert_string_equal(text[0], text[1]);
    const unsigned long n = strtoul(text[0], NULL, 10); /* a twentieth of N_ROWS is wanted */
    assert_in_range(n, N_ROWS / 60, N_ROWS / 10);
}

static void rows_of_a_managed_set_are_known_without_counting(void **state)
{
    (void)state;
    struct feature_set managed = USERS;
    struct feature_sample s;
    managed.managed = true;
    managed.n_rows = 50;
    assert_int_equal(db_feature_sample(db, &managed, 100, &arena, &s), DB_ONE);
    assert_true(s.method == SAMPLE_ALL && s.n_rows == 50);
}

static void what_is_late_becomes_a_sample_and_then_nothing(void **state)
{
    (void)state;
    struct feature_sample s;
    assert_int_equal(db_feature_sample(db, &USERS, 10 * N_ROWS, &arena, &s), DB_ONE);
    assert_int_equal(s.method, SAMPLE_ALL);
    assert_int_equal(db_feature_sample_shrink(db, &USERS, 10 * N_ROWS, &arena, &s), DB_ONE);
    assert_int_equal(s.method, SAMPLE_RANDOM_PAGES);
    assert_int_equal(db_feature_sample_shrink(db, &USERS, 10 * N_ROWS, &arena, &s), DB_ONE);
    assert_int_equal(s.method, SAMPLE_NOTHING);
    assert_true(s.from == NULL && s.n_rows == N_ROWS && !s.estimated);

    assert_int_equal(db_feature_sample(db, &USERS, 20 * N_ROWS, &arena, &s), DB_ONE);
    assert_int_equal(db_feature_sample_shrink(db, &USERS, 20 * N_ROWS, &arena, &s), DB_ONE);
    assert_int_equal(s.method, SAMPLE_NOTHING); /* a sample would be all of them */
}

static void a_sample_without_rows_becomes_a_tenth_of_the_pages_or_more(void **state)
{
    (void)state;
    struct feature_sample s = { .method = SAMPLE_RANDOM_PAGES,
                                .n_rows = 1000u * N_ROWS,
                                .estimated = true };
    assert_int_equal(db_feature_sample_widen(db, &USERS, N_ROWS, &arena, &s), DB_ONE);
    assert_int_equal(s.method, SAMPLE_RANDOM_PAGES);
    assert_float_equal(s.share, 0.1, 1e-9);
    s.n_rows = N_ROWS; /* half of which would be read without sampling */
    assert_int_equal(db_feature_sample_widen(db, &USERS, N_ROWS, &arena, &s), DB_ONE);
    assert_float_equal(s.share, 0.5, 1e-9);
    s.n_rows = N_ROWS / 4;
    assert_int_equal(db_feature_sample_widen(db, &USERS, N_ROWS, &arena, &s), DB_ONE);
    assert_float_equal(s.share, 1, 0);
    s = (struct feature_sample){ .method = SAMPLE_RANDOM_PAGES, .n_rows = N_ROWS };
    assert_int_equal(db_feature_sample_widen(db, &USERS, N_ROWS, &arena, &s), DB_ONE);
    assert_true(s.share == 0 && s.n_rows == N_ROWS); /* counted rows stay what they are */
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct json_out o;
    size_t len;
    char *expected, *got;
    json_out_init(&o);
    json_out_object(&o);
    assert_int_equal(db_feature_summary(db, &USERS, N_ROWS, &arena, &o), DB_ONE);
    json_out_end_object(&o);
    assert_non_null(expected = json_out_take(&o, &len));
    uint64_t nth = 0;
    do {
        struct seg_arena fresh;
        seg_arena_init(&fresh, 0);
        json_out_init(&o);
        got = NULL;
        seg_alloc_fail_at(++nth);
        json_out_object(&o);
        enum db_status st = db_feature_summary(db, &USERS, N_ROWS, &fresh, &o);
        if (st == DB_ONE) {
            json_out_end_object(&o);
            got = json_out_take(&o, &len);
        }
        seg_alloc_fail_at(0);
        assert_true(st == DB_ONE || st == DB_FATAL);
        json_out_release(&o);
        seg_arena_release(&fresh);
    } while (got == NULL && nth < 1000);
    assert_in_range(nth, 5, 999);
    assert_string_equal(got, expected); /* never an answer that lacks something */
    seg_free(got);
    seg_free(expected);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(as_many_values_as_the_limit_are_no_sample),
        TEST(a_sample_is_the_same_rows_each_time),
        TEST(rows_of_a_managed_set_are_known_without_counting),
        TEST(what_is_late_becomes_a_sample_and_then_nothing),
        TEST(a_sample_without_rows_becomes_a_tenth_of_the_pages_or_more),
        TEST(every_allocation_may_fail),
    };
    if (!database_migrated(&config, "test_feature_sample")) return 1;
    db = db_connect(&config, 30, true, NULL);
    if (db == NULL) return 1;
    if (db_exec_sql(db,
                    "CREATE TABLE public.users AS SELECT i AS id, i * 617 % 1000 AS x,"
                    " CASE WHEN i % 10 < 7 THEN 'app' ELSE 'web' END AS word"
                    " FROM generate_series(1, 20000) i",
                    NULL, 0, NULL) > DB_NONE)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    db_close(db);
    return failed;
}
