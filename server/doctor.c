/* doctor.c - asks every question of db/doctor.c in one read-only snapshot, so that a job which
 * publishes meanwhile is seen whole or not at all. */
#include "doctor.h"

#include "db/db.h"
#include "db/doctor.h"
#include "db/migrate.h"

static enum db_status begin_snapshot(struct db *db)
{
    enum db_status st = db_begin(db);
    if (st != DB_ONE && st != DB_NONE) return st;
    return db_exec_sql(db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, 0,
                       NULL);
}

/* Number of faults found, or -1 when it could not be asked. */
static long check(struct db *db, const struct doctor_check *c, FILE *out)
{
    struct db_result *r = NULL;
    enum db_status st = db_doctor_ask(db, c, &r);
    long n = -1;
    if (st == DB_ONE || st == DB_NONE) n = (long)db_result_rows(r);
    fprintf(out, "%-5s %s\n", n == 0 ? "ok" : n > 0 ? "FAULT" : "ERROR", c->claim);
    for (long i = 0; i < n; i++)
        fprintf(out, "      %s\n", db_result_text(r, (size_t)i, 0));
    if (n < 0) fprintf(out, "      could not be checked: %s\n", db_message(db));
    db_result_free(r);
    return n;
}

int doctor_run(const struct config *c, FILE *out)
{
    char sentence[512];
    if (migrate_check(c, sentence, sizeof sentence) != MIGRATE_CURRENT) {
        fprintf(out, "FAULT the schema is this program's\n      %s\n", sentence);
        return 1;
    }
    fprintf(out, "%-5s the schema is this program's\n", "ok");

    int status = 1;
    struct db *db = db_connect(c, 0, false, NULL);
    if (db == NULL) {
        fprintf(out, "ERROR the database cannot be reached\n");
        return 1;
    }
    enum db_status st = begin_snapshot(db);
    if (st != DB_ONE && st != DB_NONE) {
        fprintf(out, "ERROR no snapshot could be taken: %s\n", db_message(db));
        goto out;
    }
    status = 0;
    for (size_t i = 0; i < N_DOCTOR_CHECKS; i++) {
        long n = check(db, &DOCTOR_CHECKS[i], out);
        if (n != 0) status = 1;
        if (n < 0) break; /* the snapshot is gone */
    }
    db_rollback(db);
out:
    db_close(db);
    return status;
}
