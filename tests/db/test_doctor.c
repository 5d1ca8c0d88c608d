/* test_doctor.c - the auditor is silent on a sound database, and names each fault planted in it,
 * against a real PostgreSQL (run under tests/with_postgres). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "database.h"
#include "db/db.h"
#include "doctor.h"

static struct config config;
static struct db *db;
static char report[16384];

static void sql(const char *text)
{
    enum db_status st = db_exec_sql(db, text, NULL, 0, NULL);
    if (st != DB_ONE && st != DB_NONE) fail_msg("%s: %s", text, db_message(db));
}

static int examine(void)
{
    FILE *out = tmpfile();
    int status = doctor_run(&config, out);
    rewind(out);
    report[fread(report, 1, sizeof report - 1, out)] = '\0';
    fclose(out);
    return status;
}

/* One model, one version, one published run of three users: two in segment 1, one in none. */
#define JOB "'00000000-0000-0000-0000-000000000001'"
static int set_up(void **state)
{
    (void)state;
    sql("DROP TABLE IF EXISTS labels_1, labels_9;"
        "TRUNCATE models, jobs, label_runs RESTART IDENTITY CASCADE;"
        "TRUNCATE labels, segment_profiles");
    sql("INSERT INTO jobs (id, kind, state, model, feature_set, spec, version, attempt_limit)"
        " VALUES (" JOB ", 'train', 'succeeded', 'm', 'f', '{}', 1, 5);"
        "INSERT INTO models (name, task, last_version) VALUES ('m', 'segmentation', 1);"
        "INSERT INTO model_versions (model_id, version, job_id, feature_set, algorithm, spec, "
        "metrics, curve, data"
        "     , duration_ms, projection, artifact, artifact_sha256)"
        " VALUES (1, 1, " JOB ", 'f', 'kmeans', '{}', '{}', '[]', '{}', '{}', '{}', '\\x616263'"
        "     , 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');"
        "INSERT INTO label_runs (model_id, version, job_id, n_users) VALUES (1, 1, " JOB ", 3);"
        "INSERT INTO label_current VALUES (1, 1);"
        "CREATE TABLE labels_1 PARTITION OF labels FOR VALUES IN (1);"
        "INSERT INTO labels VALUES (1, 'a', 1, 1, 0), (1, 'b', 1, 1, 0), (1, 'c', -1, 0, 'NaN');"
        "INSERT INTO segment_profiles VALUES (1, 1, 2, 1, '{}')");
    return 0;
}

static void a_sound_database_has_no_fault(void **state)
{
    (void)state;
    if (examine() != 0) fail_msg("%s", report);
    assert_null(strstr(report, "FAULT"));
}

static void each_planted_fault_is_named(void **state)
{
    static const struct {
        const char *plant, *sentence;
    } FAULTS[] = {
        { "DELETE FROM labels WHERE user_id = 'c'",
          "label run 1 of model m has 2 rows and says 3" },
        { "INSERT INTO labels VALUES (1, 'd', -1, 0, 0)",
          "label run 1 of model m has 4 rows and says 3" },
        { "UPDATE labels SET user_id = 'a' WHERE user_id = 'b'", "label run 1 has a user 2 times" },
        { "UPDATE segment_profiles SET size = 3",
          "label run 1, segment 1: the profile says 3 users, the labels 2" },
        { "DELETE FROM segment_profiles",
          "label run 1, segment 1: the profile says 0 users, the labels 2" },
        { "UPDATE labels SET result = 2 WHERE user_id = 'a'",
          "label run 1, segment 2: the profile says 0 users, the labels 1" },
        { "ALTER TABLE labels DETACH PARTITION labels_1",
          "label run 1 of model m: its table is missing or not attached" },
        { "DROP TABLE labels_1", "label run 1 of model m: its table is missing or not attached" },
        { "CREATE TABLE labels_9 (LIKE labels)", "table labels_9 belongs to no label run" },
        { "UPDATE model_versions SET artifact = '\\x616264'",
          "model m version 1: the stored bytes were changed" },
        { "UPDATE models SET last_version = 0", "model m: version 1 is above the last given, 0" },
        { "UPDATE jobs SET state = 'failed'", "made model m version 1 and is failed" },
        { "UPDATE jobs SET version = 2", "made model m version 1 and is succeeded" },
        { "INSERT INTO jobs (kind, state, model, feature_set, spec, attempt_limit, lease_until)"
          " VALUES ('train', 'running', 'm', 'f', '{}', 5, now())",
          "is running, held by nobody" },
        { "INSERT INTO models (name, task) VALUES ('n', 'segmentation');"
          "UPDATE label_current SET model_id = 2",
          "model n: its current label run 1 is another model's" },
    };
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
        set_up(state);
        sql(FAULTS[i].plant);
        if (examine() != 1 || strstr(report, FAULTS[i].sentence) == NULL) {
            fail_msg("%s\ngave\n%s", FAULTS[i].plant, report);
        }
    }
}

static void the_doctor_changes_nothing_and_says_when_it_cannot_ask(void **state)
{
    (void)state;
    sql("ALTER TABLE label_runs RENAME TO label_runs_away");
    assert_int_equal(examine(), 1);
    assert_non_null(strstr(report, "could not be checked"));
    sql("ALTER TABLE label_runs_away RENAME TO label_runs");
    struct config elsewhere = config;
    snprintf(elsewhere.database.schema, sizeof elsewhere.database.schema, "test_doctor_empty");
    FILE *out = tmpfile();
    assert_int_equal(doctor_run(&elsewhere, out), 1);
    rewind(out);
    report[fread(report, 1, sizeof report - 1, out)] = '\0';
    fclose(out);
    assert_non_null(strstr(report, "migrate up"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_sound_database_has_no_fault, set_up),
        cmocka_unit_test(each_planted_fault_is_named),
        cmocka_unit_test_setup(the_doctor_changes_nothing_and_says_when_it_cannot_ask, set_up),
    };
    if (!database_migrated(&config, "test_doctor")) return 1;
    db = db_connect(&config, 5, true, NULL);
    if (db == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    db_close(db);
    return failed;
}
