/* label_run.c - blocks of rows: read, scored tile by tile on the pool, noted for the profile, and
 * written unless a sender writes them meanwhile, which scores them as well: that costs less than
 * remembering what was found. Behind the model's features stand the derived columns that a profile
 * can show. */
#include "jobs/label_run.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"

struct stream {
    struct job_run *run;
    const struct seg_schema *inputs;
    struct feature_load *load;       /* where rows come from: the database */
    const struct label_rows *kept;   /* or what training kept, when not NULL, */
    struct row_spool_reader kept_at; /* of which it reads spool number `spool` */
    unsigned spool;
    struct seg_table table;     /* everything read so far, and what is derived from it */
    struct label_scorer scorer; /* of the block */
    float *derived;             /* (LABEL_BLOCK_TILES, n_derived, 64) scratch */
    size_t first_tile;          /* of the block being scored */
    uint16_t *segment;          /* (n_rows so far) result, UINT16_MAX: none */
    size_t segment_cap;
    struct exemplar *exemplars;
    struct user_ids ids; /* of the block */
    struct label_writer *writer;
    uint64_t n_labelled, n_insufficient, n_bad_ids;
};

/* The columns of fs that the model reads, in the model's order. */
static enum job_outcome find_columns(struct job_run *run, const struct feature_set *fs,
                                     const struct seg_schema *inputs, uint32_t *columns)
{
    for (uint32_t i = 0; i < inputs->n_features; i++) {
        const struct seg_feature *f = &inputs->features[i];
        uint32_t c = 0;
        while (c < fs->n_columns && strcmp(fs->columns[c].name, f->name) != 0)
            c++;
        if (c == fs->n_columns)
            return job_fail(run, "feature_missing",
                            "feature set %s has no feature %s, which the model needs", fs->name,
                            f->name);
        if (fs->columns[c].type != f->type || fs->columns[c].width != f->width)
            return job_fail(run, "feature_changed",
                            "feature %s of %s is %s now, the model was trained on %s", f->name,
                            fs->name, seg_type_name(fs->columns[c].type), seg_type_name(f->type));
        columns[i] = c;
    }
    return JOB_SUCCEEDED;
}

/* Adds the derived columns that a profile can show to the schema of a table: all but points on a
 * circle, whose halves say nothing by themselves. */
static enum seg_status add_derived(const struct seg_preprocess *pre, struct seg_schema *schema,
                                   struct seg_error *err)
{
    enum seg_status st = SEG_OK;
    for (uint32_t i = 0; i < seg_preprocess_n_derived(pre) && st == SEG_OK; i++) {
        const struct seg_derived *d = seg_preprocess_derived(pre, i);
        if (!seg_derive_is_cyclic(d->op))
            st = seg_schema_add(schema, d->name, seg_derive_type(d->op), 1, err);
    }
    return st;
}

/* Fills those columns in tile `index` of the block. */
static void fill_derived(const struct stream *s, size_t index, float *raw)
{
    const struct seg_preprocess *pre = seg_model_preprocess(s->scorer.model);
    const uint32_t n_derived = seg_preprocess_n_derived(pre);
    float *derived = s->derived + index * n_derived * SEG_TILE_ROWS;
    uint32_t feature = s->inputs->n_features;
    if (n_derived == 0) return;
    seg_preprocess_derive(pre, raw, derived);
    for (uint32_t i = 0; i < n_derived; i++)
        if (!seg_derive_is_cyclic(seg_preprocess_derived(pre, i)->op))
            memcpy(raw + (size_t)s->table.schema.features[feature++].cell * SEG_TILE_ROWS,
                   derived + (size_t)i * SEG_TILE_ROWS, SEG_TILE_ROWS * sizeof(*raw));
}

static void score_tile(void *ctx, size_t index)
{
    struct stream *s = ctx;
    const size_t tile = s->first_tile + index;
    float *raw = seg_tiles_at(&s->table.cells, tile);
    fill_derived(s, index, raw);
    label_scorer_tile(&s->scorer, index, raw, seg_tiles_rows(&s->table.cells, tile));
}

/* Keeps the EXEMPLARS_MAX users nearest to each centroid; of equal distances the one read first. */
static void keep_exemplar(struct exemplar *nearest, const struct label *l)
{
    if (!(l->distance < nearest[EXEMPLARS_MAX - 1].distance) ||
        l->user_id_len >= sizeof(nearest[0].user_id))
        return;
    unsigned at = EXEMPLARS_MAX - 1;
    for (; at > 0 && l->distance < nearest[at - 1].distance; at--)
        nearest[at] = nearest[at - 1];
    memcpy(nearest[at].user_id, l->user_id, l->user_id_len);
    nearest[at].user_id[l->user_id_len] = '\0';
    nearest[at].distance = l->distance;
}

/* Scores rows first .. end - 1; first begins a tile. */
static bool score_rows(struct stream *s, size_t first, size_t end)
{
    assert(first % SEG_TILE_ROWS == 0);
    s->first_tile = first / SEG_TILE_ROWS;
    if (!label_scorer_map(&s->scorer, &s->table.schema)) return false;
    seg_pool_for(s->run->app->pool, SEG_PRIORITY_TRAINING,
                 (end + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS - s->first_tile, score_tile, s);
    return true;
}

/* What the block that begins with row `first` found for one of its rows. False: its id is none that
 * a route could name. */
static bool label_at(const struct stream *s, size_t row, size_t first, struct label *ret_l)
{
    const unsigned lane = (unsigned)(row % SEG_TILE_ROWS);
    size_t id_len;
    const char *id = user_ids_at(&s->ids, row - first, &id_len);
    if (lane == 0) seg_pool_give_way();
    return label_scorer_label(&s->scorer, row / SEG_TILE_ROWS - s->first_tile, lane, id, id_len,
                              ret_l);
}

/* Counts the scored rows first .. end - 1 and keeps what the profile needs of them. */
static bool note_rows(struct stream *s, size_t first, size_t end)
{
    if (s->segment_cap < end) {
        size_t cap = s->segment_cap * 2 > end ? s->segment_cap * 2 : end;
        uint16_t *more = seg_realloc(s->segment, cap, sizeof(*more));
        if (more == NULL) return false;
        memset(more + s->segment_cap, 0xff, (cap - s->segment_cap) * sizeof(*more)); /* none */
        s->segment = more;
        s->segment_cap = cap;
    }
    for (size_t row = first; row < end; row++) {
        struct label l;
        const bool named = label_at(s, row, first, &l), ok = l.result >= 0;
        const uint32_t result =
            s->scorer.scores[row / SEG_TILE_ROWS - s->first_tile].result[row % SEG_TILE_ROWS];
        s->segment[row] = named && ok ? (uint16_t)result : UINT16_MAX;
        s->n_bad_ids += !named;
        s->n_labelled += named;
        s->n_insufficient += named && !ok;
        if (named && ok && seg_model_task(s->scorer.model) == SEG_SEGMENTATION)
            keep_exemplar(s->exemplars + (size_t)result * EXEMPLARS_MAX, &l);
    }
    return true;
}

static enum db_status write_rows(struct stream *s, size_t first, size_t end)
{
    enum db_status st = DB_ONE;
    for (size_t row = first; row < end && st == DB_ONE; row++) {
        struct label l;
        if (label_at(s, row, first, &l)) st = label_writer_add(s->writer, &l);
    }
    return st;
}

static bool stream_init(struct stream *s, struct job_run *run, const struct seg_model *m)
{
    *s = (struct stream){ .run = run, .inputs = seg_model_inputs(m) };
    const size_t n_derived = seg_preprocess_n_derived(seg_model_preprocess(m));
    const size_t n_exemplars = (size_t)seg_model_n_results(m) * EXEMPLARS_MAX;
    s->exemplars = seg_calloc(n_exemplars, sizeof(*s->exemplars));
    s->derived =
        seg_alloc_aligned(LABEL_BLOCK_TILES * n_derived * SEG_TILE_ROWS, sizeof(*s->derived));
    for (size_t i = 0; s->exemplars != NULL && i < n_exemplars; i++)
        s->exemplars[i].distance = INFINITY;
    return label_scorer_init(&s->scorer, m, run->app->pool, LABEL_BLOCK_TILES) && s->exemplars &&
           s->derived;
}

static void stream_release(struct stream *s)
{
    label_scorer_release(&s->scorer);
    seg_free(s->derived);
    seg_free(s->segment);
    seg_free(s->exemplars);
    feature_load_free(s->load);
    user_ids_release(&s->ids);
    seg_table_release(&s->table);
    label_writer_abort(s->writer);
}

/* The table of the stream: the features of schema, which is taken, and what is derived from them.
 */
static enum job_outcome open_table(struct stream *s, struct seg_schema *schema)
{
    seg_table_init(&s->table, schema);
    if (add_derived(seg_model_preprocess(s->scorer.model), &s->table.schema, NULL) != SEG_OK)
        return job_fail(s->run, "out_of_memory", "out of memory while labelling");
    seg_tiles_init(&s->table.cells, s->table.schema.n_cells);
    return JOB_SUCCEEDED;
}

/* Takes the rows that training kept, and the memory of the table that it consumed. */
static enum job_outcome open_kept(struct stream *s, const struct label_rows *kept)
{
    s->kept = kept;
    s->kept_at.spool = &kept->spools[0];
    enum job_outcome outcome = open_table(s, &kept->table->schema);
    seg_tiles_recycle(&kept->table->cells, &s->table.cells);
    return outcome;
}

/* Opens the load of the model's columns from the database. */
static enum job_outcome open_load(struct stream *s, struct db *read, const struct feature_set *fs)
{
    struct seg_error err = { "" };
    struct seg_schema schema;
    enum job_outcome outcome;
    uint32_t *columns = seg_calloc(s->inputs->n_features, sizeof(*columns));
    if (columns == NULL) return job_fail(s->run, "out_of_memory", "out of memory while labelling");
    outcome = find_columns(s->run, fs, s->inputs, columns);
    if (outcome != JOB_SUCCEEDED) goto out;
    if (feature_load_schema(fs, columns, s->inputs->n_features, &schema, &err) != SEG_OK) {
        outcome = job_fail(s->run, "out_of_memory", "out of memory while labelling");
        goto out;
    }
    outcome = open_table(s, &schema);
    if (outcome != JOB_SUCCEEDED) goto out;
    enum db_status st = feature_load_begin(read, fs, columns, s->inputs->n_features, -1, true, NULL,
                                           s->run->cancel, &s->load, &err);
    if (st != DB_ONE)
        outcome = st == DB_RETRY ? job_interrupted(s->run)
                                 : job_fail(s->run, "features_unreadable", "%s", err.text);
out:
    seg_free(columns);
    return outcome;
}

/* The next block of what training kept. Each spool begins a tile: rows before it that are nobody's
 * have no segment. */
static enum job_outcome next_kept(struct stream *s, bool *ret_more)
{
    bool more = false;
    enum seg_status st =
        row_spool_read(s->run->app->pool, &s->kept_at, &s->table.cells, &s->ids, &more);
    if (!more && ++s->spool < s->kept->n_spools) {
        s->kept_at = (struct row_spool_reader){ .spool = &s->kept->spools[s->spool] };
        more = true;
    }
    *ret_more = more;
    if (st == SEG_OK) return JOB_SUCCEEDED;
    return st == SEG_ENOMEM ? job_fail(s->run, "out_of_memory", "out of memory while labelling")
                            : job_fail(s->run, "spool_unreadable",
                                       "the rows that were kept for labelling cannot be read back");
}

/* Appends the next block to the table and its ids. */
static enum job_outcome next_block(struct stream *s, bool *ret_more)
{
    struct seg_error err = { "" };
    user_ids_clear(&s->ids);
    if (s->kept != NULL) return next_kept(s, ret_more);
    enum db_status st = feature_load_rows(s->load, LABEL_BLOCK_ROWS, &s->table, &s->ids, &err);
    *ret_more = st == DB_ONE;
    if (st == DB_RETRY) return job_interrupted(s->run);
    if (st != DB_ONE && st != DB_NONE)
        return job_fail(s->run, "features_unreadable", "%s", err.text);
    return JOB_SUCCEEDED;
}

/* Reads, scores and notes everything, and writes it when there is a writer. */
static enum job_outcome stream_rows(struct stream *s, const struct feature_set *fs, double from)
{
    const double expected = fs->n_rows > 0 ? (double)fs->n_rows : 1e6;
    for (bool more = true; more;) {
        char message[80];
        if (atomic_load(s->run->cancel)) return JOB_STOPPED;
        enum job_outcome outcome = next_block(s, &more);
        if (outcome != JOB_SUCCEEDED) return outcome;
        if (seg_tiles_bytes(&s->table.cells) > s->run->app->config->jobs.memory_bytes_max)
            return job_fail(s->run, "too_large",
                            "the features take more than %llu bytes ([jobs] memory_bytes_max)",
                            (unsigned long long)s->run->app->config->jobs.memory_bytes_max);
        const size_t end = s->table.cells.n_rows, first = end - s->ids.n;
        if (end > first && (!score_rows(s, first, end) || !note_rows(s, first, end)))
            return job_fail(s->run, "out_of_memory", "out of memory while labelling");
        enum db_status st = s->writer != NULL ? write_rows(s, first, end) : DB_ONE;
        if (st != DB_ONE) return job_db_failed(s->run, st, "writing labels");
        if (s->writer == NULL) continue; /* the sender tells where it is */
        snprintf(message, sizeof(message), "%zu users labelled", end);
        const double share = (double)end / expected;
        job_progress(s->run, from + (0.9 - from) * (share < 1 ? share : 1), "storing", message);
    }
    return JOB_SUCCEEDED;
}

/* Scores and sends the users of the database, for whom there is no sender; the server has then
 * begun with the index. */
static enum job_outcome write_loaded(struct stream *s, struct db *read, struct db *write,
                                     const struct feature_set *fs, double from)
{
    enum job_outcome outcome = open_load(s, read, fs);
    if (outcome != JOB_SUCCEEDED) return outcome;
    s->writer = label_writer_begin(write);
    if (s->writer == NULL)
        return job_db_failed(s->run, db_is_broken(write) ? DB_RETRY : DB_FATAL, "writing labels");
    outcome = stream_rows(s, fs, from);
    if (outcome != JOB_SUCCEEDED) return outcome;
    enum db_status st = label_writer_end(s->writer);
    if (st != DB_ONE) return job_db_failed(s->run, st, "writing labels");
    job_progress(s->run, 0.92, "explaining", "profiling segments");
    return JOB_SUCCEEDED;
}

/* The profile of what the stream has noted, while the server takes labels or makes the index. */
static enum job_outcome explain(struct stream *s, struct label_run *l)
{
    const double start = seg_clock_s();
    const struct seg_progress progress = { .cancel = s->run->cancel };
    l->n_insufficient = s->n_insufficient;
    l->n_bad_ids = s->n_bad_ids;
    if (seg_model_task(s->scorer.model) != SEG_SEGMENTATION || s->n_labelled == s->n_insufficient)
        return JOB_SUCCEEDED;
    enum seg_status st =
        seg_profile_build(s->run->app->pool, &s->table, s->segment,
                          seg_model_n_results(s->scorer.model), &progress, &l->profile);
    if (st == SEG_ECANCELED) return JOB_STOPPED;
    if (st != SEG_OK) return job_fail(s->run, "out_of_memory", "out of memory while labelling");
    l->has_profile = true;
    seg_tiles_release(&s->table.cells);
    l->explain_ms = 1e3 * (seg_clock_s() - start);
    return JOB_SUCCEEDED;
}

/* Waits for the index, and hands over what was found. */
static enum job_outcome finish(struct stream *s, const struct feature_set *fs, struct label_run *l)
{
    job_progress(s->run, 0.96, "storing", "indexing labels");
    enum db_status st = label_writer_finish(s->writer, s->run->cancel, &l->run_id, &l->n_users);
    s->writer = NULL;
    if (st != DB_ONE && atomic_load(s->run->cancel)) return JOB_STOPPED;
    if (st == DB_CONFLICT)
        return job_fail(s->run, "duplicate_id", "two rows of feature set %s have the same id",
                        fs->name);
    if (st != DB_ONE) return job_db_failed(s->run, st, "indexing labels");
    l->exemplars = s->exemplars;
    s->exemplars = NULL;
    l->schema = s->table.schema;
    seg_schema_init(&s->table.schema);
    return JOB_SUCCEEDED;
}

enum job_outcome label_run_write(struct job_run *run, struct db *read, struct db *write,
                                 const struct feature_set *fs, const struct seg_model *m,
                                 const struct label_rows *kept, struct label_sender *sender,
                                 double progress_from, struct label_run *ret)
{
    struct stream s;
    struct label_run l = { 0 };
    enum job_outcome outcome = JOB_SUCCEEDED;
    const double start = seg_clock_s();
    if (!stream_init(&s, run, m))
        outcome = job_fail(run, "out_of_memory", "out of memory while labelling");
    if (outcome == JOB_SUCCEEDED && sender == NULL)
        outcome = write_loaded(&s, read, write, fs, progress_from);
    if (outcome == JOB_SUCCEEDED && sender != NULL) {
        label_sender_report(sender, progress_from, fs->n_rows);
        outcome = open_kept(&s, kept);
        if (outcome == JOB_SUCCEEDED) outcome = stream_rows(&s, fs, progress_from);
    }
    if (outcome == JOB_SUCCEEDED) outcome = explain(&s, &l);
    if (outcome == JOB_SUCCEEDED && sender != NULL) {
        outcome = label_sender_end(sender, &s.writer);
        sender = NULL;
    }
    if (outcome == JOB_SUCCEEDED) outcome = finish(&s, fs, &l);
    if (outcome == JOB_SUCCEEDED) {
        l.store_ms = 1e3 * (seg_clock_s() - start) - l.explain_ms;
        *ret = l;
        l = (struct label_run){ 0 };
    }
    outcome = label_sender_abort(sender, outcome);
    label_run_release(&l);
    stream_release(&s);
    return outcome;
}
