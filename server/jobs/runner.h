/* runner.h - claims jobs from the database and runs them.
 *
 * Properties: a job that is killed anywhere is claimed again when its lease has run out, and ends
 * once: everything it makes appears in one commit that also ends the job, guarded by its attempt
 * number. Operation: each runner is a thread with its own connections and a heartbeat thread beside
 * it, which renews the lease, writes progress and learns of cancellation. Safety: new and free are
 * the owner's; job functions run on the runner's thread. */
#ifndef SERVER_JOBS_RUNNER_H
#define SERVER_JOBS_RUNNER_H

#include <stdatomic.h>
#include "app.h"
#include "db/jobs.h"

struct job_runner;
/* Starts config jobs.runners threads. NULL: no memory. */
struct job_runner *job_runner_new(struct app *app);
/* Hands running jobs back to the queue, joins the threads. NULL is fine. */
void job_runner_free(struct job_runner *r);

enum job_outcome {
    JOB_SUCCEEDED, /* the commit that published it also ended it */
    JOB_FAILED,    /* error_code and error_detail say why */
    JOB_STOPPED, /* the cancel flag was seen: cancelled, lost or handed back, the runner knows which
                  */
    JOB_AGAIN,   /* the database went away: back to the queue */
};

struct job_monitor; /* runner.c: what the heartbeat thread shares */

/* What a job function works with. */
struct job_run {
    struct app *app;
    struct db *db; /* the job's connection: reads; broken when it was lost while the job computed */
    const struct db_job *job;
    struct seg_arena arena; /* freed after the job */
    atomic_bool *cancel;    /* set: the job is to stop. By the heartbeat, and by a thread of the job
                               that has failed beside the others, which keeps why */
    struct job_monitor *monitor;
    char error_code[48]; /* JOB_FAILED */
    char error_detail[400];
};
/* A connection beside run->db, without a statement timeout; once the job is to stop, no wait on it
 * lasts. NULL: none could be had. */
struct db *job_connect(const struct job_run *run, bool prepare);
/* Where it is: fraction 0..1 of the whole, phase of the API, a sentence. */
void job_progress(struct job_run *run, double fraction, const char *phase, const char *message);
/* Fills error_code and error_detail. */
__attribute__((format(printf, 3, 4))) enum job_outcome job_fail(struct job_run *run,
                                                                const char *code, const char *fmt,
                                                                ...);
/* The outcome of a wait that the cancel flag ends, when it ended without success: that, or the
 * database went away. */
enum job_outcome job_interrupted(const struct job_run *run);
/* The outcome of a database call that did not succeed. */
enum job_outcome job_db_failed(struct job_run *run, enum db_status st, const char *what);

enum job_outcome train_job_run(struct job_run *run);
enum job_outcome label_job_run(struct job_run *run);

#endif
