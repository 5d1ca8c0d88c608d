/* test_label_send.c - what label_send.h promises of a sender that is alone with its thread, against
 * a real PostgreSQL (run under tests/with_postgres). */
#include "blobs.h"

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include "app.h"
#include "compute/gemm.h"
#include "database.h"
#include "jobs/label_send.h"

#define N_ROWS   ((size_t)8 * ROW_SPOOL_BLOCK_ROWS) /* in each spool */
#define N_SPOOLS TABLE_LOAD_PARTS

static struct config config;
static struct db *publishing, *other; /* connections: in a transaction, beside it */

struct sending {
    struct app app;
    struct db_job job;
    atomic_bool cancel;
    struct job_run run;
    struct blobs blobs;
    struct seg_model *model;
    struct row_spool spools[N_SPOOLS]; /* of one file, so that there is much to send */
    struct label_rows kept;
    struct label_sender *sender;
};

static void sql(struct db *db, const char *text)
{
    enum db_status st = db_exec_sql(db, text, NULL, 0, NULL);
    if (st != DB_ONE && st != DB_NONE) fail_msg("%s: %s", text, db_message(db));
}

/* Keeps the rows of t, whose ids are their numbers. */
static void keep(struct row_spool *spool, const struct seg_table *t)
{
    struct user_ids ids = { 0 };
    struct seg_tiles read = t->cells; /* so far */
    char id[24];
    assert_true(row_spool_begin(spool, config.limits.spool_dir));
    for (size_t first = 0; first < N_ROWS; first += ROW_SPOOL_BLOCK_ROWS) {
        read.n_rows = first + ROW_SPOOL_BLOCK_ROWS;
        user_ids_clear(&ids);
        for (size_t row = first; row < read.n_rows; row++)
            assert_true(user_ids_add(&ids, id, (size_t)snprintf(id, sizeof(id), "%zu", row)));
        assert_true(row_spool_add(spool, &read, &ids));
    }
    user_ids_release(&ids);
}

/* Opens the connection that publishes, and its transaction. */
static int connect_again(void)
{
    db_close(publishing);
    publishing = db_connect(&config, 0, true, NULL);
    return publishing != NULL && db_begin(publishing) == DB_ONE ? 0 : -1;
}

static int set_up(void **state)
{
    static struct sending s;
    s = (struct sending){ .app = { .config = &config } };
    s.run = (struct job_run){ .app = &s.app, .job = &s.job, .cancel = &s.cancel };
    blobs_init(&s.blobs, SEG_KMEANS, false, N_ROWS, 1.0);
    keep(&s.spools[0], &s.blobs.table);
    for (unsigned i = 1; i < N_SPOOLS; i++)
        s.spools[i] = s.spools[0];
    s.model = blobs_model(SEG_KMEANS, false);
    s.kept = (struct label_rows){ &s.blobs.table, s.spools, N_SPOOLS };
    *state = &s;
    return connect_again();
}

static int tear_down(void **state)
{
    struct sending *s = *state;
    db_close(publishing);
    publishing = NULL;
    row_spool_end(&s->spools[0]);
    seg_model_unref(s->model);
    blobs_release(&s->blobs);
    return 0;
}

static enum job_outcome begin(struct sending *s)
{
    return label_sender_begin(&s->run, publishing, s->model, &s->kept, &s->sender);
}

/* Ends the sender and what it has written. */
static enum job_outcome end(struct sending *s)
{
    struct label_writer *w = NULL;
    const enum job_outcome outcome = label_sender_end(s->sender, &w);
    assert_int_equal(w != NULL, outcome == JOB_SUCCEEDED);
    label_writer_abort(w);
    return outcome;
}

/* Within ten seconds. */
static bool is_cancelled(const struct sending *s)
{
    for (int i = 0; i < 1000 && !atomic_load(&s->cancel); i++)
        usleep(10000);
    return atomic_load(&s->cancel);
}

/* The transaction that was left can be rolled back, and the connection serves the next. */
static void assert_that_the_connection_works_on(void)
{
    db_rollback(publishing);
    sql(publishing, "SELECT 1");
}

/* A training that fails while it evaluates frees its model at once; only ASan sees who uses it. */
static void the_model_lives_as_long_as_its_sender(void **state)
{
    struct sending *s = *state;
    s->kept.n_spools = 1;
    assert_int_equal(begin(s), JOB_SUCCEEDED);
    seg_model_unref(s->model);
    s->model = NULL;
    assert_int_equal(end(s), JOB_SUCCEEDED);
    assert_false(atomic_load(&s->cancel));
    assert_that_the_connection_works_on();
}

static void a_server_that_goes_away_stops_the_job(void **state)
{
    struct sending *s = *state;
    struct db_result *r = NULL;
    char kill[80];
    assert_int_equal(db_exec_sql(publishing, "SELECT pg_backend_pid()", NULL, 0, &r), DB_ONE);
    snprintf(kill, sizeof(kill), "SELECT pg_terminate_backend(%s)", db_result_text(r, 0, 0));
    db_result_free(r);
    assert_int_equal(begin(s), JOB_SUCCEEDED);
    sql(other, kill);
    assert_true(is_cancelled(s));
    assert_int_equal(label_sender_abort(s->sender, JOB_STOPPED), JOB_AGAIN);
}

/* A file that ends early: all is sent but the last rows. */
static void rows_that_cannot_be_read_back_stop_the_job(void **state)
{
    struct sending *s = *state;
    s->spools[0].n_kept++;
    s->kept.n_spools = 1;
    assert_int_equal(begin(s), JOB_SUCCEEDED);
    assert_true(is_cancelled(s));
    assert_int_equal(label_sender_abort(s->sender, JOB_STOPPED), JOB_FAILED);
    assert_string_equal(s->run.error_code, "spool_unreadable");
    assert_that_the_connection_works_on();
}

static void what_the_job_failed_by_itself_stays_its_error(void **state)
{
    struct sending *s = *state;
    s->spools[0].n_kept++;
    s->kept.n_spools = 1;
    assert_int_equal(begin(s), JOB_SUCCEEDED);
    assert_true(is_cancelled(s));
    job_fail(&s->run, "training_failed", "for a reason of its own");
    assert_int_equal(label_sender_abort(s->sender, JOB_FAILED), JOB_FAILED);
    assert_string_equal(s->run.error_code, "training_failed");
}

static void a_job_that_was_cancelled_before_sends_nothing(void **state)
{
    struct sending *s = *state;
    atomic_store(&s->cancel, true);
    assert_int_equal(begin(s), JOB_SUCCEEDED);
    assert_int_equal(end(s), JOB_STOPPED);
    assert_that_the_connection_works_on();
    assert_int_equal(db_begin(publishing), DB_ONE);
    assert_int_equal(begin(s), JOB_SUCCEEDED);
    assert_int_equal(label_sender_abort(s->sender, JOB_STOPPED), JOB_STOPPED);
    assert_that_the_connection_works_on();
}

static void every_allocation_may_fail(void **state)
{
    struct sending *s = *state;
    enum job_outcome outcome = JOB_FAILED;
    s->kept.n_spools = 1;
    uint64_t nth = 1;
    for (; outcome != JOB_SUCCEEDED; nth++) {
        atomic_store(&s->cancel, false);
        seg_alloc_fail_at(nth);
        outcome = begin(s);
        if (outcome == JOB_SUCCEEDED) outcome = end(s);
        seg_alloc_fail_at(0);
        assert_true(outcome == JOB_SUCCEEDED || outcome == JOB_FAILED);
        assert_int_equal(connect_again(), 0); /* it may be what there was no memory for */
    }
    assert_true(nth > 7);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_model_lives_as_long_as_its_sender),
        TEST(a_server_that_goes_away_stops_the_job),
        TEST(rows_that_cannot_be_read_back_stop_the_job),
        TEST(what_the_job_failed_by_itself_stays_its_error),
        TEST(a_job_that_was_cancelled_before_sends_nothing),
        TEST(every_allocation_may_fail),
    };
    if (!database_migrated(&config, "test_label_send")) return 1;
    other = db_connect(&config, 5, true, NULL);
    if (other == NULL || seg_gemm_init(NULL) != SEG_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    db_close(other);
    return failed;
}
