/* Blocks of 16,384 rows: read, scored tile by tile on the pool, written. Rows that training kept
 * are all scored before the first is written: the profile is then built while the server takes
 * labels, which keeps one processor busy and not two. Writing reads their ids a second time and
 * scores them again, which costs less than remembering what was found. Categories are numbered by
 * the table as they come; a map for each categorical feature turns those numbers into the model's.
 * Behind the model's features stand the derived columns that a profile can show. */
#include "jobs/label_run.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "db/labels.h"
#include "http/request.h"

#define BLOCK_ROWS  16384u
#define BLOCK_TILES (BLOCK_ROWS / SEG_TILE_ROWS + 1) /* a block may start inside a tile */

struct stream {
    struct job_run *run;
    const struct seg_model *model;
    const struct seg_schema *inputs;
    struct feature_load *load;     /* where rows come from: the database */
    const struct label_rows *kept; /* or what training kept, when not NULL, */
    unsigned spool;                /* from which of its spools on */
    bool scored;                   /* all of it; written meanwhile */
    struct seg_table table;        /* everything read so far, and what is derived from it */
    uint32_t **codes;              /* (n_features) table's code -> model's code; NULL for numbers */
    uint32_t *n_codes;
    size_t first_tile; /* of the block being scored */
    size_t n_tiles;
    float *scratch;            /* (BLOCK_TILES, scratch_floats) */
    size_t scratch_floats;     /* a tile's model scratch, mapped cells and derived columns */
    struct seg_scores *scores; /* (BLOCK_TILES) */
    uint16_t *segment;         /* (n_rows so far) result, UINT16_MAX: none */
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

/* Fills those columns in a tile of the table; derived (n_derived, 64) is scratch. */
static void fill_derived(const struct stream *s, float *raw, float *derived)
{
    const struct seg_preprocess *pre = seg_model_preprocess(s->model);
    uint32_t feature = s->inputs->n_features;
    if (seg_preprocess_n_derived(pre) == 0) return;
    seg_preprocess_derive(pre, raw, derived);
    for (uint32_t i = 0; i < seg_preprocess_n_derived(pre); i++)
        if (!seg_derive_is_cyclic(seg_preprocess_derived(pre, i)->op))
            memcpy(raw + (size_t)s->table.schema.features[feature++].cell * SEG_TILE_ROWS,
                   derived + (size_t)i * SEG_TILE_ROWS, SEG_TILE_ROWS * sizeof(*raw));
}

static void score_tile(void *ctx, size_t index)
{
    struct stream *s = ctx;
    size_t tile = s->first_tile + index;
    float *raw = seg_tiles_at(&s->table.cells, tile);
    float *scratch = s->scratch + index * s->scratch_floats;
    float *mapped = scratch + seg_model_scratch(s->model);
    memcpy(mapped, raw, (size_t)s->inputs->n_cells * SEG_TILE_ROWS * sizeof(*mapped));
    unsigned n_rows = seg_tiles_rows(&s->table.cells, tile);
    for (uint32_t i = 0; i < s->inputs->n_features; i++) {
        union seg_cell *cells =
            (union seg_cell *)(mapped + (size_t)s->inputs->features[i].cell * SEG_TILE_ROWS);
        for (unsigned r = 0; s->codes[i] != NULL && r < n_rows; r++)
            if (cells[r].code != SEG_CODE_MISSING) cells[r].code = s->codes[i][cells[r].code];
    }
    if (!s->scored) fill_derived(s, raw, mapped + (size_t)s->inputs->n_cells * SEG_TILE_ROWS);
    seg_model_score_tile(s->model, mapped, n_rows, scratch, &s->scores[index]);
}

/* Extends the maps to the categories that the last block brought. */
static bool map_categories(struct stream *s)
{
    for (uint32_t i = 0; i < s->inputs->n_features; i++) {
        const struct seg_dictionary *d = &s->table.schema.features[i].dictionary;
        if (s->inputs->features[i].type != SEG_CATEGORICAL) continue;
        if (s->codes[i] == NULL || s->n_codes[i] < d->n) {
            uint32_t *codes = seg_realloc(s->codes[i], d->n + 1, sizeof(*codes));
            if (codes == NULL) return false;
            s->codes[i] = codes;
        }
        for (; s->n_codes[i] < d->n; s->n_codes[i]++)
            s->codes[i][s->n_codes[i]] =
                seg_dictionary_find(&s->inputs->features[i].dictionary, d->strings[s->n_codes[i]],
                                    d->lengths[s->n_codes[i]]);
    }
    return true;
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

/* Scores rows first .. end - 1. When first is inside a tile, because the second of two spools goes
 * on where the first ended, the rows of that tile are scored again. */
static bool score_rows(struct stream *s, size_t first, size_t end)
{
    s->first_tile = first / SEG_TILE_ROWS;
    s->n_tiles = (end + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS - s->first_tile;
    if (!map_categories(s)) return false;
    if (!s->scored) {
        seg_pool_for(s->run->app->pool, SEG_PRIORITY_TRAINING, s->n_tiles, score_tile, s);
        return true;
    }
    for (size_t i = 0; i < s->n_tiles; i++) { /* the pool is at the profile */
        score_tile(s, i);
        seg_pool_give_way();
    }
    return true;
}

/* What the block that begins with row `first` found for one of its rows. False: its id is none that
 * a route could name. */
static bool label_at(const struct stream *s, size_t row, size_t first, struct label *ret_l)
{
    const struct seg_scores *scores = &s->scores[row / SEG_TILE_ROWS - s->first_tile];
    const unsigned lane = (unsigned)(row % SEG_TILE_ROWS);
    const bool ok = scores->status[lane] == SEG_ROW_OK;
    const bool segmentation = seg_model_task(s->model) == SEG_SEGMENTATION;
    const uint32_t result = scores->result[lane];
    *ret_l =
        (struct label){ .result = !ok            ? -1
                                  : segmentation ? (int32_t)seg_model_segment_id(s->model, result)
                                                 : (int32_t)result,
                        .confidence = ok ? scores->confidence[lane] : NAN,
                        .distance = ok && segmentation ? scores->distance[lane] : NAN };
    ret_l->user_id = user_ids_at(&s->ids, row - first, &ret_l->user_id_len);
    if (lane == 0) seg_pool_give_way();
    return user_id_is_valid(ret_l->user_id, ret_l->user_id_len);
}

/* Counts the scored rows first .. end - 1 and keeps what the profile needs of them. */
static bool note_rows(struct stream *s, size_t first, size_t end)
{
    if (s->segment_cap < end) {
        size_t cap = s->segment_cap * 2 > end ? s->segment_cap * 2 : end;
        uint16_t *more = seg_realloc(s->segment, cap, sizeof(*more));
        if (more == NULL) return false;
        s->segment = more;
        s->segment_cap = cap;
    }
    for (size_t row = first; row < end; row++) {
        struct label l;
        const bool named = label_at(s, row, first, &l), ok = l.result >= 0;
        const uint32_t result =
            s->scores[row / SEG_TILE_ROWS - s->first_tile].result[row % SEG_TILE_ROWS];
        s->segment[row] = named && ok ? (uint16_t)result : UINT16_MAX;
        s->n_bad_ids += !named;
        s->n_labelled += named;
        s->n_insufficient += named && !ok;
        if (named && ok && seg_model_task(s->model) == SEG_SEGMENTATION)
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
    *s = (struct stream){ .run = run, .model = m, .inputs = seg_model_inputs(m) };
    uint32_t n_derived = seg_preprocess_n_derived(seg_model_preprocess(m));
    size_t cells = ((size_t)s->inputs->n_cells + n_derived) * SEG_TILE_ROWS;
    size_t n_exemplars = (size_t)seg_model_n_results(m) * EXEMPLARS_MAX;
    s->scratch_floats = (seg_model_scratch(m) + cells + 15) / 16 * 16;
    s->codes = seg_calloc(s->inputs->n_features, sizeof(*s->codes));
    s->n_codes = seg_calloc(s->inputs->n_features, sizeof(*s->n_codes));
    s->scratch = seg_alloc_aligned(BLOCK_TILES * s->scratch_floats, sizeof(*s->scratch));
    s->scores = seg_calloc(BLOCK_TILES, sizeof(*s->scores));
    s->exemplars = seg_calloc(n_exemplars, sizeof(*s->exemplars));
    for (size_t i = 0; s->exemplars != NULL && i < n_exemplars; i++)
        s->exemplars[i].distance = INFINITY;
    return s->codes && s->n_codes && s->scratch && s->scores && s->exemplars;
}

static void stream_release(struct stream *s)
{
    for (uint32_t i = 0; s->codes != NULL && i < s->inputs->n_features; i++)
        seg_free(s->codes[i]);
    seg_free(s->codes);
    seg_free(s->n_codes);
    seg_free(s->scratch);
    seg_free(s->scores);
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
    if (add_derived(seg_model_preprocess(s->model), &s->table.schema, NULL) != SEG_OK)
        return job_fail(s->run, "out_of_memory", "out of memory while labelling");
    seg_tiles_init(&s->table.cells, s->table.schema.n_cells);
    return JOB_SUCCEEDED;
}

/* Takes the rows that training kept. */
static enum job_outcome open_kept(struct stream *s, const struct label_rows *kept)
{
    s->kept = kept;
    return open_table(s, kept->schema);
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
                                           &s->load, &err);
    if (st != DB_ONE)
        outcome =
            st == DB_RETRY ? JOB_AGAIN : job_fail(s->run, "features_unreadable", "%s", err.text);
out:
    seg_free(columns);
    return outcome;
}

/* The next block of what training kept: ids, and cells unless they have been scored. */
static enum job_outcome next_kept(struct stream *s, bool *ret_more)
{
    bool more;
    struct row_spool *spool = &s->kept->spools[s->spool];
    enum seg_status st =
        s->scored ? row_spool_read_ids(spool, &s->ids, &more)
                  : row_spool_read(s->run->app->pool, spool, &s->table.cells, &s->ids, &more);
    if (!more) {
        row_spool_rewind(spool);
        s->spool++;
    }
    *ret_more = s->spool < s->kept->n_spools;
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
    enum db_status st = feature_load_rows(s->load, BLOCK_ROWS, &s->table, &s->ids, &err);
    *ret_more = st == DB_ONE;
    if (st == DB_RETRY) return JOB_AGAIN;
    if (st != DB_ONE && st != DB_NONE)
        return job_fail(s->run, "features_unreadable", "%s", err.text);
    return JOB_SUCCEEDED;
}

/* Reads, scores and notes everything that has not been, and writes it when there is a writer. */
static enum job_outcome stream_rows(struct stream *s, const struct feature_set *fs, double from)
{
    const double expected = fs->n_rows > 0 ? (double)fs->n_rows : 1e6;
    size_t first = 0;
    for (bool more = true; more;) {
        char message[80];
        if (atomic_load(s->run->cancel)) return JOB_STOPPED;
        enum job_outcome outcome = next_block(s, &more);
        if (outcome != JOB_SUCCEEDED) return outcome;
        if (seg_tiles_bytes(&s->table.cells) > s->run->app->config->jobs.memory_bytes_max)
            return job_fail(s->run, "too_large",
                            "the features take more than %llu bytes ([jobs] memory_bytes_max)",
                            (unsigned long long)s->run->app->config->jobs.memory_bytes_max);
        const size_t end = s->scored ? first + s->ids.n : s->table.cells.n_rows;
        if (end > first &&
            (!score_rows(s, first, end) || (!s->scored && !note_rows(s, first, end))))
            return job_fail(s->run, "out_of_memory", "out of memory while labelling");
        enum db_status st = s->writer != NULL ? write_rows(s, first, end) : DB_ONE;
        if (st != DB_ONE) return job_db_failed(s->run, st, "writing labels");
        first = end;
        if (s->writer == NULL) continue;
        snprintf(message, sizeof(message), "%zu users labelled", end);
        const double share = (double)end / expected;
        job_progress(s->run, from + (0.9 - from) * (share < 1 ? share : 1), "storing", message);
    }
    return JOB_SUCCEEDED;
}

/* The profile of what a stream has noted. */
struct profiling {
    const struct stream *stream;
    bool wanted, started;
    pthread_t thread; /* builds it, once started */
    struct seg_profile profile;
    enum seg_status status;
    double ms;
};

static void *profiling_main(void *arg)
{
    struct profiling *p = arg;
    const struct stream *s = p->stream;
    const double start = seg_clock_s();
    p->status = seg_profile_build(s->run->app->pool, &s->table, s->segment,
                                  seg_model_n_results(s->model), NULL, &p->profile);
    p->ms = 1e3 * (seg_clock_s() - start);
    return NULL;
}

/* All rows are noted: a thread may begin. */
static void profiling_start(struct profiling *p, const struct stream *s)
{
    p->stream = s;
    p->wanted = seg_model_task(s->model) == SEG_SEGMENTATION && s->n_labelled > s->n_insufficient;
    p->started = p->wanted && pthread_create(&p->thread, NULL, profiling_main, p) == 0;
}

/* Waits for what was started. */
static void profiling_end(struct profiling *p)
{
    if (p->started) pthread_join(p->thread, NULL);
    p->started = false;
}

/* Writes what the stream has, and builds the profile meanwhile or, where rows come from the
 * database, while the server makes the index. */
static enum job_outcome write_labels(struct stream *s, struct profiling *p, struct db *write,
                                     const struct feature_set *fs, double from)
{
    if (s->kept != NULL) {
        enum job_outcome outcome = stream_rows(s, fs, from);
        if (outcome != JOB_SUCCEEDED) return outcome;
        s->scored = true;
        s->spool = 0;
        profiling_start(p, s);
    }
    s->writer = label_writer_begin(write);
    if (s->writer == NULL)
        return job_db_failed(s->run, db_is_broken(write) ? DB_RETRY : DB_FATAL, "writing labels");
    enum job_outcome outcome = stream_rows(s, fs, from);
    if (outcome != JOB_SUCCEEDED) return outcome;
    enum db_status st = label_writer_end(s->writer);
    if (st != DB_ONE) return job_db_failed(s->run, st, "writing labels");
    if (s->kept == NULL) profiling_start(p, s);
    return JOB_SUCCEEDED;
}

/* The transaction stands idle while we score and make the profile, which takes as long as it takes:
 * it holds nothing that others wait for. */
static enum job_outcome wait_for_us(struct job_run *run, struct db *write)
{
    enum db_status st =
        db_exec_sql(write, "SET LOCAL idle_in_transaction_session_timeout = 0", NULL, 0, NULL);
    return st == DB_ONE || st == DB_NONE ? JOB_SUCCEEDED : job_db_failed(run, st, "writing labels");
}

enum job_outcome label_run_write(struct job_run *run, struct db *read, struct db *write,
                                 const struct feature_set *fs, const struct seg_model *m,
                                 const struct label_rows *kept, double progress_from,
                                 struct label_run *ret)
{
    struct stream s;
    struct label_run l = { 0 };
    struct profiling profiling = { 0 };
    enum job_outcome outcome;
    const double start = seg_clock_s();
    if (!stream_init(&s, run, m)) goto no_memory;
    outcome = kept != NULL ? open_kept(&s, kept) : open_load(&s, read, fs);
    if (outcome == JOB_SUCCEEDED) outcome = wait_for_us(run, write);
    if (outcome == JOB_SUCCEEDED) outcome = write_labels(&s, &profiling, write, fs, progress_from);
    if (outcome != JOB_SUCCEEDED) goto out;
    const double written = seg_clock_s();
    if (profiling.wanted) job_progress(run, 0.92, "explaining", "profiling segments");
    if (profiling.wanted && !profiling.started) profiling_main(&profiling);
    profiling_end(&profiling);
    const double waited = seg_clock_s() - written; /* for the profile */
    if (profiling.status != SEG_OK) goto no_memory;
    l.n_insufficient = s.n_insufficient;
    l.n_bad_ids = s.n_bad_ids;
    l.profile = profiling.profile;
    l.has_profile = profiling.wanted;
    l.explain_ms = profiling.ms;
    profiling.profile = (struct seg_profile){ 0 };
    job_progress(run, 0.96, "storing", "indexing labels");
    enum db_status st = label_writer_finish(s.writer, &l.run_id, &l.n_users);
    s.writer = NULL;
    if (st != DB_ONE) {
        outcome = st == DB_CONFLICT
                      ? job_fail(run, "duplicate_id", "two rows of feature set %s have the same id",
                                 fs->name)
                      : job_db_failed(run, st, "indexing labels");
        goto out;
    }
    l.store_ms = 1e3 * (seg_clock_s() - start - waited);
    l.exemplars = s.exemplars;
    s.exemplars = NULL;
    l.schema = s.table.schema;
    seg_schema_init(&s.table.schema);
    *ret = l;
    l = (struct label_run){ 0 };
    goto out;
no_memory:
    outcome = job_fail(run, "out_of_memory", "out of memory while labelling");
out:
    profiling_end(&profiling);
    seg_profile_release(&profiling.profile);
    label_run_release(&l);
    stream_release(&s);
    return outcome;
}
