/* label_send.h - labels of the rows that training kept, on their way to the server while the job
 * goes on: the server takes longer over a million of them than we over evaluating and explaining a
 * model.
 *
 * Operation: begin as soon as the model is sealed; end waits until the server has all labels and
 * has begun with the index by user. Safety: the connection is the sender's thread's from begin to
 * end or abort; everything else is the caller's thread's. */
#ifndef SERVER_JOBS_LABEL_SEND_H
#define SERVER_JOBS_LABEL_SEND_H

#include "jobs/label_score.h"
#include "jobs/runner.h"
#include "jobs/table_load.h"

/* The rows that the model was trained on, to be labelled instead of those in the database. */
struct label_rows {
    struct seg_table *table;        /* they were kept from: its schema is the model's inputs */
    const struct row_spool *spools; /* (n_spools <= TABLE_LOAD_PARTS) one after the other */
    unsigned n_spools;
};

struct label_sender;
/* Inside the transaction that publishes, begun on `write`: a thread scores the rows and sends their
 * labels; where it fails it sets run->cancel, since nothing that the job goes on to find would be
 * published. Takes a reference to m; kept is read during the call, its spools until the end. Not
 * JOB_SUCCEEDED: roll back. */
enum job_outcome label_sender_begin(struct job_run *run, struct db *write, struct seg_model *m,
                                    const struct label_rows *kept, struct label_sender **ret_s);
/* From now on the job's progress is the sender's, who has n_rows to send: from `from` to 0.9. */
void label_sender_report(struct label_sender *s, double from, uint64_t n_rows);
/* Waits and frees s, whatever comes. *ret_w is to be finished or aborted when it is not NULL. */
enum job_outcome label_sender_end(struct label_sender *s, struct label_writer **ret_w);
/* Stops and frees s; the transaction must be rolled back. Returns how the job has ended: as
 * `outcome` says, or when that is JOB_STOPPED because s had failed, as s did. NULL is fine. */
enum job_outcome label_sender_abort(struct label_sender *s, enum job_outcome outcome);

#endif
