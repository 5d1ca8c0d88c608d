/* db_threads.h - the threads that run handlers which use the database.
 *
 * Properties: a fixed number, as many as connections; a bounded queue; a request that waited 5 s in
 * it is answered `busy` then and there, so that a database that hangs neither builds up work that
 * nobody waits for nor keeps anyone waiting for longer. Operation: push hands an exchange over;
 * `done` is called with it on the thread when its reply is ready or it asked to move on. Safety:
 * push from any thread; start and stop are the owner's. */
#ifndef SERVER_HTTP_DB_THREADS_H
#define SERVER_HTTP_DB_THREADS_H

#include "http/exchange.h"

struct db_threads;

/* NULL: no memory, no thread. */
struct db_threads *db_threads_start(struct app *app, unsigned n_threads, unsigned queue_max,
                                    void (*done)(struct exchange *x));
/* False when the queue is full or stopping: x is still the caller's. */
bool db_threads_push(struct db_threads *t, struct exchange *x);
/* Answers what is queued with `draining`, waits for what runs; from now on push is false. */
void db_threads_stop(struct db_threads *t);
/* Stops, unless that was done, and frees: nothing may push any more. NULL is fine. */
void db_threads_free(struct db_threads *t);

/* Runs the handler of x on this thread, then finishes the reply unless the handler moved on. */
void exchange_run(struct exchange *x);

#endif
