/* import.h - rows of a body into a managed feature set: checked whole, then stored whole.
 * The first pass infers types (a new set) or checks against them and collects every fault; the
 * second writes. Runs on a database thread. */
#ifndef SERVER_IMPORT_IMPORT_H
#define SERVER_IMPORT_IMPORT_H

#include "import/source.h"

/* id_column NULL: rows are numbered 1, 2, … skip: bad rows are left out and reported instead of
 * refusing the body. Replies. */
enum http_status import_rows(struct http_request *rq, const char *name, struct source *source,
                             const char *id_column, bool skip);

#endif
