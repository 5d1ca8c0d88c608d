/* label_run.h - a whole feature set scored, from the database or from what training kept of it:
 * labels go out by COPY, and the profile is built from what passed.
 *
 * Labels are written in the transaction that the caller has begun on `write` and will commit;
 * features are read on `read`. The model's own code scores, so that a stored label and a predicted
 * one are the same bits. Memory: the raw features once, for the exact quantiles of the profile, and
 * less than a tile of rows (64) for each spool that training kept. */
#ifndef SERVER_JOBS_LABEL_RUN_H
#define SERVER_JOBS_LABEL_RUN_H

#include "db/feature_load.h"
#include "explain/profile.h"
#include "jobs/label_send.h"
#include "jobs/profile_json.h"

struct label_run {
    int64_t run_id;
    uint64_t n_users;
    uint64_t n_insufficient;
    uint64_t
        n_bad_ids; /* rows left out: their id is empty, over 256 bytes or has control characters */
    bool has_profile; /* segmentation with at least one labelled user */
    struct seg_profile profile;
    struct seg_schema schema; /* of the feature set's columns, with every category that was read */
    struct exemplar *exemplars;  /* (n_results, EXEMPLARS_MAX) nearest users, nearest first */
    double explain_ms, store_ms; /* building the profile; the rest of what label_run_write took */
};

/* sender NULL: all rows of fs are read from the database, scored and sent. Else it has begun to
 * send those of kept, and is ended, whatever comes; kept's table is taken, and read may be NULL.
 * Progress goes from progress_from to 1. */
enum job_outcome label_run_write(struct job_run *run, struct db *read, struct db *write,
                                 const struct feature_set *fs, const struct seg_model *m,
                                 const struct label_rows *kept, struct label_sender *sender,
                                 double progress_from, struct label_run *ret);
/* Publishes in the same transaction: the run, its profiles, the automatic names. silhouettes
 * (n_results) or NULL. */
enum db_status label_run_publish(struct db *write, const struct label_run *l,
                                 const struct seg_model *m, int64_t model_id, unsigned version,
                                 const char *job_id, const double *silhouettes);
/* The sentence for n_bad_ids into out (at least 120 bytes); false when there were none. */
bool label_run_warning(const struct label_run *l, char *out, size_t size);
void label_run_release(struct label_run *l);

#endif
