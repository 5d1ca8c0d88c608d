/* statements.h - every prepared statement of the service. Each db/<noun>.c keeps its table STMTS at
 * its top and exports it as DB_<NOUN>_STMTS; statements.c lists them, and a connection prepares the
 * whole list when it opens, so that a typo stops the start and not a customer. Constant data: safe
 * from any thread. */
#ifndef SERVER_DB_STATEMENTS_H
#define SERVER_DB_STATEMENTS_H

#include "db/db.h"

struct db_stmts {
    const struct db_stmt *stmts; /* (n) slots with a NULL sql are skipped */
    size_t n;
};

extern const struct db_stmts *const DB_STATEMENTS[];
extern const size_t N_DB_STATEMENTS;

#endif
