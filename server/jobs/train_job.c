/* The life of a training job: spec, snapshot of the features by binary COPY, the core's pipeline,
 * and one commit that publishes version, labels, profiles and the job's end together. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "db/labels.h"
#include "db/models.h"
#include "digest.h"
#include "jobs/label_run.h"
#include "jobs/report_json.h"
#include "jobs/table_load.h"
#include "json/json.h"
#include "model/pipeline.h"
#include "spec.h"

#define LOAD_SHARE       0.2 /* of the progress bar */
#define FIT_SHARE        0.5

#define CONNECT_TRIES    20 /* once trained: what was learnt is worth a wait of ten seconds */
#define CONNECT_PAUSE_MS 500

struct training {
    struct job_run *run;
    struct feature_set fs;
    struct train_spec spec;
    int64_t model_id;
    struct table_load load;
    uint16_t *y;
    const char **class_names; /* sorted */
    uint32_t n_classes;
    size_t n_rows;
    char data_hash[65];
    double load_ms;
    struct seg_model *from; /* the earlier model that training goes on from; NULL: none */
    bool encoder_only;      /* with its encoder alone */
    struct seg_model *model;
    struct seg_report report;
    bool has_report;
    struct label_rows kept; /* what the sender sends */
    struct label_sender *sender;
    struct db *write;       /* in the transaction that publishes; NULL: not begun */
    enum job_outcome begun; /* how publishing began; not JOB_SUCCEEDED: it is over */
    uint8_t *artifact;
    size_t artifact_len;
    char artifact_sha256[65];
    bool model_gone;          /* deleted while it was trained */
    struct json_out warnings; /* an array, open until publishing */
};

/* The version that training goes on from: its spec to compare with, and the model. */
static enum job_outcome read_earlier(struct training *t, struct earlier_version *e,
                                     struct json **ret_spec)
{
    struct job_run *run = t->run;
    struct seg_error err = { "" };
    struct json_fault fault;
    const char *text;
    char sha256[65], found[DIGEST_HEX_SIZE];
    uint8_t *bytes = NULL;
    size_t len = 0;
    enum db_status st =
        db_models_version_shape(run->db, e->model, e->version, &run->arena, &text, &e->k);
    if (st == DB_ONE) st = db_models_artifact(run->db, e->model, e->version, &bytes, &len, sha256);
    if (st == DB_NONE)
        return job_fail(run, "version_not_found",
                        "version %u of %s, which training was to go on from, was deleted",
                        e->version, e->model);
    if (st != DB_ONE) return job_db_failed(run, st, "reading the earlier version");
    digest_sha256_hex(bytes, len, found);
    enum seg_status loaded = strcmp(found, sha256) == 0
                                 ? seg_model_load(bytes, len, &t->from, &err)
                                 : seg_fail(&err, SEG_EFORMAT, "its bytes have changed");
    seg_free(bytes);
    if (loaded != SEG_OK)
        return job_fail(run, "version_unreadable", "version %u cannot be gone on from: %s",
                        e->version, err.text);
    e->spec = *ret_spec = json_parse(text, strlen(text), &fault);
    if (*ret_spec == NULL)
        return job_fail(run, "version_unreadable", "the spec of version %u cannot be read: %s",
                        e->version, fault.detail);
    t->encoder_only = e->encoder_only;
    return JOB_SUCCEEDED;
}

/* The stored spec against the feature set as it is now. */
static enum job_outcome read_spec(struct training *t)
{
    struct job_run *run = t->run;
    struct json_fault fault;
    struct faults faults;
    struct json *earlier_spec = NULL;
    enum db_status st = db_feature_sets_get(run->db, run->job->feature_set, &run->arena, &t->fs);
    if (st == DB_NONE)
        return job_fail(run, "feature_set_not_found", "no such feature set: %s",
                        run->job->feature_set);
    if (st != DB_ONE) return job_db_failed(run, st, "reading the feature set");
    struct json *doc = json_parse(run->job->spec, strlen(run->job->spec), &fault);
    if (doc == NULL)
        return job_fail(run, "not_json", "the stored spec cannot be read: %s", fault.detail);
    faults_init(&faults, &run->arena);
    struct earlier_version earlier = train_spec_earlier(doc, run->job->model, &faults);
    bool has_earlier = earlier.version > 0;
    enum job_outcome outcome =
        has_earlier ? read_earlier(t, &earlier, &earlier_spec) : JOB_SUCCEEDED;
    if (outcome == JOB_SUCCEEDED && !train_spec_parse(doc, &t->fs, has_earlier ? &earlier : NULL,
                                                      &run->arena, &t->spec, &faults))
        outcome = job_fail(run, "invalid", "the spec does not fit feature set %s any more: %s: %s",
                           t->fs.name, faults.items[0].pointer, faults.items[0].detail);
    json_free(earlier_spec);
    json_free(doc);
    return outcome;
}

struct named_class {
    const char *name;
    uint32_t code;
};
static int compare_classes(const void *a, const void *b)
{
    return strcmp(((const struct named_class *)a)->name, ((const struct named_class *)b)->name);
}

/* Classes in the order of their names, so that they do not depend on the order of rows. */
static bool sort_classes(struct training *t, const uint16_t *y, size_t n,
                         const struct seg_dictionary *classes)
{
    struct named_class *sorted =
        seg_arena_alloc(&t->run->arena, (classes->n + 1) * sizeof(*sorted));
    uint16_t *rank = seg_arena_alloc(&t->run->arena, (classes->n + 1) * sizeof(*rank));
    t->class_names = seg_arena_alloc(&t->run->arena, (classes->n + 1) * sizeof(*t->class_names));
    t->y = seg_alloc(n + 1, sizeof(*t->y));
    if (sorted == NULL || rank == NULL || t->class_names == NULL || t->y == NULL) return false;
    for (uint32_t i = 0; i < classes->n; i++)
        sorted[i] = (struct named_class){ classes->strings[i], i };
    qsort(sorted, classes->n, sizeof(*sorted), compare_classes);
    for (uint32_t i = 0; i < classes->n; i++) {
        rank[sorted[i].code] = (uint16_t)i;
        t->class_names[i] =
            seg_arena_strndup(&t->run->arena, sorted[i].name, strlen(sorted[i].name));
        if (t->class_names[i] == NULL) return false;
    }
    for (size_t i = 0; i < n; i++)
        t->y[i] = rank[y[i]];
    t->n_classes = classes->n;
    return true;
}

static enum job_outcome load(struct training *t)
{
    struct job_run *run = t->run;
    const struct seg_dictionary *classes;
    size_t n_target;
    const double start = seg_clock_s();
    t->load.fs = &t->fs;
    t->load.columns = t->spec.columns;
    t->load.n_columns = t->spec.n_columns;
    t->load.target = t->spec.target;
    /* With a target the rows without it are left out here, and they are to be labelled too. */
    t->load.keep = t->spec.label && t->spec.target < 0;
    t->load.progress_share = LOAD_SHARE;
    enum job_outcome outcome = table_load_run(run, &t->load);
    if (outcome == JOB_SUCCEEDED) {
        if (table_load_hash(run->app->pool, &t->load, t->data_hash) != SEG_OK)
            outcome = job_fail(run, "out_of_memory", "out of memory after loading");
        t->n_rows = t->load.table.cells.n_rows;
        if (t->n_rows == 0 && t->spec.target >= 0)
            outcome = job_fail(run, "training_failed", "no user has a value of the target %s",
                               t->fs.columns[t->spec.target].name);
        for (uint32_t i = 0; i < t->spec.n_columns; i++) {
            uint64_t n = table_load_not_finite(&t->load, i);
            const struct feature_column *c = &t->fs.columns[t->spec.columns[i]];
            char *text =
                n == 0 ? NULL
                       : seg_arena_printf(&run->arena,
                                          "%llu value%s of %s %s not finite%s: taken as "
                                          "missing",
                                          (unsigned long long)n, n == 1 ? "" : "s", c->name,
                                          n == 1 ? "is" : "are",
                                          c->type == SEG_VECTOR ? ", too large or of another length"
                                                                : " or too large");
            if (text != NULL) json_out_string(&t->warnings, text);
        }
        const uint16_t *y = feature_load_target(t->load.loads[0], &n_target, &classes);
        if (outcome == JOB_SUCCEEDED && t->spec.target >= 0 &&
            !sort_classes(t, y, n_target, classes))
            outcome = job_fail(run, "out_of_memory", "out of memory after loading");
    }
    t->load_ms = 1e3 * (seg_clock_s() - start);
    return outcome;
}

static void core_progress(void *ctx, double fraction, const char *message)
{
    const char *colon = strchr(message, ':');
    char phase[32] = "training";
    if (colon != NULL && (size_t)(colon - message) < sizeof(phase)) {
        memcpy(phase, message, (size_t)(colon - message));
        phase[colon - message] = '\0';
        message = colon[1] == ' ' ? colon + 2 : colon + 1;
    }
    const struct training *t = ctx;
    job_progress(t->run, LOAD_SHARE + FIT_SHARE * fraction, phase, message);
}

/* NULL: none could be had, or the job is to stop. */
static struct db *connect_once_trained(const struct job_run *run)
{
    struct db *db = job_connect(run, true);
    for (int i = 1; i < CONNECT_TRIES && db == NULL && !atomic_load(run->cancel); i++) {
        nanosleep(&(struct timespec){ 0, CONNECT_PAUSE_MS * 1000000L }, NULL);
        db = job_connect(run, true);
    }
    return db;
}

/* Begins the one transaction that publishes, on a connection of its own. */
static enum job_outcome begin_publishing(struct training *t)
{
    struct job_run *run = t->run;
    if (t->write != NULL) return JOB_SUCCEEDED;
    t->write = connect_once_trained(run);
    enum db_status st = t->write != NULL ? db_begin(t->write) : DB_RETRY;
    return st == DB_ONE ? JOB_SUCCEEDED : job_db_failed(run, st, "beginning to publish");
}

/* While the model is evaluated, the server takes labels already. When it takes none, the job stops:
 * what evaluation finds would not be published. */
static void core_fitted(void *ctx, struct seg_model *m)
{
    struct training *t = ctx;
    if (!t->spec.label || !t->load.kept) return;
    t->kept = (struct label_rows){ &t->load.table, t->load.spools, t->load.n_parts };
    t->begun = begin_publishing(t);
    if (t->begun == JOB_SUCCEEDED)
        t->begun = label_sender_begin(t->run, t->write, m, &t->kept, &t->sender);
    if (t->begun != JOB_SUCCEEDED) atomic_store(t->run->cancel, true);
}

/* The model's bytes: everything in them follows from data, spec and seed. */
static enum job_outcome save_model(struct training *t)
{
    struct json_out o;
    size_t len;
    json_out_init(&o);
    train_spec_write(&t->spec, &t->fs, &o);
    char *spec = json_out_take(&o, &len);
    const char *meta[] = { "spec",           spec, "data_hash", t->data_hash, "segmentd",
                           SEGMENTD_VERSION, NULL };
    enum seg_status st =
        spec == NULL ? SEG_ENOMEM : seg_model_save(t->model, meta, &t->artifact, &t->artifact_len);
    seg_free(spec);
    if (st != SEG_OK)
        return job_fail(t->run, "out_of_memory", "out of memory while saving the model");
    digest_sha256_hex(t->artifact, t->artifact_len, t->artifact_sha256);
    return JOB_SUCCEEDED;
}

static enum job_outcome fit(struct training *t)
{
    struct seg_error err = { "" };
    struct seg_training training = {
        .spec = &t->spec.core,
        .table = &t->load.table,
        .y = t->y,
        .class_names = t->class_names,
        .n_classes = t->n_classes,
        .from = t->from,
        .encoder_only = t->encoder_only,
        .progress = { .cancel = t->run->cancel, .report = core_progress, .ctx = t },
        .fitted = core_fitted
    };
    enum seg_status st = seg_train(t->run->app->pool, &training, &t->model, &t->report, &err);
    t->has_report = st == SEG_OK;
    switch (st) {
    case SEG_OK: break;
    case SEG_ECANCELED: return t->begun == JOB_SUCCEEDED ? JOB_STOPPED : t->begun;
    case SEG_ENOMEM: return job_fail(t->run, "out_of_memory", "out of memory while training");
    default: return job_fail(t->run, "training_failed", "%s", err.text);
    }
    for (size_t i = 0; i < t->report.n_warnings; i++)
        json_out_string(&t->warnings, t->report.warnings[i]);
    /* Labelling takes the schema, and its memory. */
    if (t->sender == NULL) seg_tiles_release(&t->load.table.cells);
    return save_model(t);
}

/* Whether champion is to move. The figure that compares: silhouette, or ROC-AUC. */
static enum db_status should_promote(const struct training *t, struct db *db, bool *ret)
{
    bool segmentation = t->spec.core.task == SEG_SEGMENTATION;
    double mine = segmentation ? t->report.quality.silhouette : t->report.classification.roc_auc,
           theirs;
    *ret = t->spec.promote == PROMOTE_ALWAYS;
    if (t->spec.promote != PROMOTE_IF_BETTER) return DB_ONE;
    enum db_status st = db_models_champion_metric(db, t->model_id,
                                                  segmentation ? "silhouette" : "roc_auc", &theirs);
    *ret = st == DB_NONE || (st == DB_ONE && mine > theirs);
    return st == DB_NONE ? DB_ONE : st;
}

enum {
    DOC_SPEC,
    DOC_METRICS,
    DOC_CURVE,
    DOC_DATA,
    DOC_DURATION,
    DOC_K_SEARCH,
    DOC_PROJECTION,
    DOC_N
};

static void write_document(const struct training *t, const struct label_run *l, int which,
                           struct json_out *o)
{
    const double *phases = t->report.duration_ms;
    switch (which) {
    case DOC_SPEC: train_spec_write(&t->spec, &t->fs, o); break;
    case DOC_METRICS: report_metrics_json(&t->report, t->model, o); break;
    case DOC_CURVE: report_curve_json(&t->report, o); break;
    case DOC_K_SEARCH: report_k_search_json(&t->report, o); break;
    case DOC_PROJECTION: report_projection_json(&t->report, t->model, o); break;
    case DOC_DATA:
        json_out_object(o);
        json_out_member_uint(o, "rows", t->n_rows);
        json_out_member_uint(o, "columns", t->spec.n_columns);
        json_out_member_string(o, "hash", t->data_hash);
        json_out_end_object(o);
        break;
    case DOC_DURATION:
        json_out_object(o);
        json_out_member_double(o, "load", t->load_ms);
        json_out_member_double(o, "preprocess", phases[SEG_PHASE_PREPROCESS]);
        json_out_member_double(o, "fit", phases[SEG_PHASE_FIT]);
        json_out_member_double(o, "evaluate", phases[SEG_PHASE_EVALUATE]);
        json_out_member_double(o, "explain", l->explain_ms);
        json_out_member_double(o, "store", l->store_ms);
        json_out_end_object(o);
        break;
    default: break;
    }
}

/* Adds the version inside the transaction. */
static enum db_status add_version(struct training *t, struct db *write, const struct label_run *l,
                                  const char *warnings, unsigned *ret_version)
{
    enum db_status st = DB_FATAL;
    char *docs[DOC_N] = { 0 };
    bool good = true;
    for (int i = 0; i < DOC_N; i++) {
        struct json_out o;
        size_t len;
        json_out_init(&o);
        write_document(t, l, i, &o);
        docs[i] = json_out_take(&o, &len);
        good = good && docs[i] != NULL;
    }
    if (good) {
        const struct db_version_new v = {
            .model_id = t->model_id,
            .job_id = t->run->job->id,
            .feature_set = t->fs.name,
            .algorithm = seg_algorithm_info(t->spec.core.algorithm)->name,
            .spec = docs[DOC_SPEC],
            .metrics = docs[DOC_METRICS],
            .curve = docs[DOC_CURVE],
            .data = docs[DOC_DATA],
            .duration_ms = docs[DOC_DURATION],
            .k_search = t->report.k_search.n_candidates > 0 ? docs[DOC_K_SEARCH] : NULL,
            .warnings = warnings,
            .projection = docs[DOC_PROJECTION],
            .artifact = t->artifact,
            .artifact_len = t->artifact_len,
            .artifact_sha256 = t->artifact_sha256
        };
        st = db_models_version_add(write, &v, ret_version);
    }
    for (int i = 0; i < DOC_N; i++)
        seg_free(docs[i]);
    return st;
}

/* Everything that the job made becomes visible here, or nothing does. */
static enum db_status publish(struct training *t, struct db *write, const struct label_run *l)
{
    unsigned version = 0;
    bool promote = false;
    size_t len;
    char sentence[160];
    if (t->spec.label && label_run_warning(l, sentence, sizeof(sentence)))
        json_out_string(&t->warnings, sentence);
    json_out_end_array(&t->warnings);
    char *warnings = json_out_take(&t->warnings, &len);
    enum db_status st = warnings == NULL ? DB_FATAL : add_version(t, write, l, warnings, &version);
    t->model_gone = st == DB_NONE;
    if (st == DB_ONE) st = should_promote(t, write, &promote);
    if (st == DB_ONE && t->spec.promote != PROMOTE_NEVER)
        st = db_models_promote(write, t->model_id, version, promote);
    if (st == DB_ONE && t->spec.label)
        st = label_run_publish(write, l, t->model, t->model_id, version, t->run->job->id,
                               t->report.quality.silhouette_by_cluster);
    if (st == DB_ONE)
        st = db_jobs_finish(write, t->run->job->id, t->run->job->attempt, "succeeded", (int)version,
                            warnings, NULL);
    if (st == DB_ONE) st = db_commit(write);
    seg_free(warnings);
    return st;
}

/* Users that were not kept are read over a new connection: the job's may have been lost while it
 * computed, which nobody notices. */
static enum job_outcome write_labels(struct training *t, struct label_run *ret)
{
    struct label_sender *sender = t->sender;
    struct db *read = sender == NULL ? connect_once_trained(t->run) : NULL;
    if (sender == NULL && read == NULL)
        return job_db_failed(t->run, DB_RETRY, "reading the users to be labelled");
    t->sender = NULL;
    enum job_outcome outcome = label_run_write(t->run, read, t->write, &t->fs, t->model, &t->kept,
                                               sender, LOAD_SHARE + FIT_SHARE, ret);
    db_close(read);
    return outcome;
}

static enum job_outcome store(struct training *t)
{
    struct job_run *run = t->run;
    struct label_run l = { 0 };
    enum job_outcome outcome = begin_publishing(t);
    if (outcome == JOB_SUCCEEDED && t->spec.label) outcome = write_labels(t, &l);
    if (outcome != JOB_SUCCEEDED) return outcome;
    job_progress(run, 0.98, "storing", "publishing");
    enum db_status st = publish(t, t->write, &l);
    label_run_release(&l);
    if (st == DB_ONE) {
        db_labels_prune(t->write, t->model_id, run->app->config->jobs.label_runs_kept);
        return JOB_SUCCEEDED;
    }
    if (t->model_gone)
        return job_fail(run, "model_not_found", "model %s was deleted while it was trained",
                        run->job->model);
    /* No row: the job is cancelled or another runner's by now. */
    return st == DB_NONE || st == DB_CONFLICT ? JOB_STOPPED
                                              : job_db_failed(run, st, "publishing the model");
}

enum job_outcome train_job_run(struct job_run *run)
{
    struct training t = { .run = run };
    json_out_init(&t.warnings);
    json_out_array(&t.warnings);
    enum job_outcome outcome = read_spec(&t);
    if (outcome == JOB_SUCCEEDED) {
        enum db_status st = db_models_ensure(
            run->db, run->job->model,
            t.spec.core.task == SEG_SEGMENTATION ? "segmentation" : "classification", &t.model_id);
        if (st == DB_CONFLICT)
            outcome = job_fail(run, "conflict", "model %s is of another task", run->job->model);
        else if (st != DB_ONE)
            outcome = job_db_failed(run, st, "registering the model");
    }
    if (outcome == JOB_SUCCEEDED) outcome = load(&t);
    if (outcome == JOB_SUCCEEDED) outcome = fit(&t);
    if (outcome == JOB_SUCCEEDED) outcome = store(&t);
    outcome = label_sender_abort(t.sender, outcome);
    if (t.write != NULL && outcome != JOB_SUCCEEDED) db_rollback(t.write);
    db_close(t.write);
    if (t.has_report) seg_report_release(&t.report);
    table_load_release(&t.load);
    seg_model_unref(t.model);
    seg_model_unref(t.from);
    seg_free(t.artifact);
    seg_free(t.y);
    json_out_release(&t.warnings);
    return outcome;
}
