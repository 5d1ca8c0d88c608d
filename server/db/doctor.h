/* doctor.h - the auditor's questions to the database, each a read-only query that answers with one
 * sentence for each fault it finds. */
#ifndef SERVER_DB_DOCTOR_H
#define SERVER_DB_DOCTOR_H

#include "db/db.h"

struct doctor_check {
    const char *claim; /* what holds when there is no fault */
    const char *sql;   /* one text column */
};
extern const struct doctor_check DOCTOR_CHECKS[];
extern const size_t N_DOCTOR_CHECKS;

/* Sentences in column 0 of *ret. DB_NONE: the claim holds. */
enum db_status db_doctor_ask(struct db *db, const struct doctor_check *check,
                             struct db_result **ret);

#endif
