/* POST …/label: scores the whole feature set that the version was trained on, or the one the job
 * names, and publishes the run. */
#include <string.h>

#include "base/alloc.h"
#include "db/labels.h"
#include "db/models.h"
#include "jobs/label_run.h"
#include "json/json.h"
#include "model_cache.h"

/* {"version": n} of a label job. */
static unsigned job_version(const struct db_job *job)
{
    struct json_fault fault;
    int64_t version = 0;
    struct json *doc = json_parse(job->spec, strlen(job->spec), &fault);
    const struct json *v = doc ? json_get(doc, "version") : NULL;
    if (v != NULL) json_integer(v, 1, INT32_MAX, &version);
    json_free(doc);
    return (unsigned)version;
}

static enum db_status publish(struct job_run *run, struct db *write, const struct label_run *l,
                              const struct served_model *s, int64_t model_id)
{
    char sentence[160];
    struct json_out o;
    size_t len;
    json_out_init(&o);
    json_out_array(&o);
    if (label_run_warning(l, sentence, sizeof(sentence))) json_out_string(&o, sentence);
    json_out_end_array(&o);
    char *warnings = json_out_take(&o, &len);
    enum db_status st = warnings == NULL ? DB_FATAL
                                         : label_run_publish(write, l, s->model, model_id,
                                                             s->version, run->job->id, NULL);
    if (st == DB_ONE)
        st = db_jobs_finish(write, run->job->id, run->job->attempt, "succeeded", (int)s->version,
                            warnings, NULL);
    seg_free(warnings);
    return st == DB_ONE ? db_commit(write) : st;
}

enum job_outcome label_job_run(struct job_run *run)
{
    struct app *app = run->app;
    struct feature_set fs;
    struct served_model *s = NULL;
    struct label_run l = { 0 };
    int64_t model_id = 0;
    struct db *write = job_connect(run, true);
    enum job_outcome outcome = JOB_AGAIN;
    if (write == NULL) return outcome;
    enum db_status st = db_feature_sets_get(run->db, run->job->feature_set, &run->arena, &fs);
    if (st == DB_NONE)
        outcome = job_fail(run, "feature_set_not_found", "no such feature set: %s",
                           run->job->feature_set);
    if (st != DB_ONE) goto out;
    st = model_cache_load(app->models, run->db, run->job->model, job_version(run->job), &s);
    if (st == DB_NONE)
        outcome = job_fail(run, "version_not_found", "version %u of model %s is gone",
                           job_version(run->job), run->job->model);
    if (st != DB_ONE) goto out;
    /* The version in memory may have been deleted a moment ago. */
    st = db_models_version_id(run->db, run->job->model, s->version, &model_id);
    if (st == DB_NONE)
        outcome = job_fail(run, "version_not_found", "version %u of model %s is gone", s->version,
                           run->job->model);
    if (st == DB_ONE) st = db_begin(write);
    if (st != DB_ONE) goto out;
    outcome = label_run_write(run, run->db, write, &fs, s->model, NULL, NULL, 0.0, &l);
    if (outcome != JOB_SUCCEEDED) {
        db_rollback(write);
        goto out;
    }
    st = publish(run, write, &l, s, model_id);
    if (st != DB_ONE) {
        db_rollback(write);
        outcome = st == DB_NONE || st == DB_CONFLICT
                      ? JOB_STOPPED
                      : job_db_failed(run, st, "publishing the labels");
        goto out;
    }
    db_labels_prune(write, model_id, app->config->jobs.label_runs_kept);
out:
    if (st == DB_FATAL && outcome == JOB_AGAIN) outcome = job_db_failed(run, st, "labelling");
    label_run_release(&l);
    served_model_unref(s);
    db_close(write);
    return outcome;
}
