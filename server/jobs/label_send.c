/* label_send.c - block by block on one thread: read, scored, written. */
#include "jobs/label_send.h"

#include <pthread.h>
#include <stdio.h>

#include "base/alloc.h"

struct label_sender {
    struct job_run *run;
    struct seg_model *model; /* ours as well: a training that fails lets go of its own at once */
    struct label_scorer scorer;
    struct row_spool_reader readers[TABLE_LOAD_PARTS];
    unsigned n_readers;
    float *tiles; /* (LABEL_BLOCK_TILES, n_cells, 64) of the block */
    struct user_ids ids;
    struct label_writer *writer;
    pthread_t thread;
    bool started;            /* false: it ran on the caller's thread */
    atomic_bool stop;        /* nobody wants the labels any more */
    _Atomic double from;     /* of the job's progress; below 0: it is not told */
    atomic_uint_least64_t n; /* rows there are, for the progress */
    uint64_t n_sent;
    enum seg_status read;   /* how reading ended, */
    enum db_status written; /* and writing */
    bool stopped;
};

static enum db_status send_block(struct label_sender *s)
{
    const size_t tile_floats = (size_t)s->scorer.inputs->n_cells * SEG_TILE_ROWS;
    enum db_status st = DB_ONE;
    for (size_t row = 0; row < s->ids.n && st == DB_ONE; row++) {
        const size_t tile = row / SEG_TILE_ROWS, left = s->ids.n - row;
        const unsigned lane = row % SEG_TILE_ROWS;
        struct label l;
        size_t id_len;
        if (lane == 0) {
            label_scorer_tile(&s->scorer, 0, s->tiles + tile * tile_floats,
                              left < SEG_TILE_ROWS ? (unsigned)left : SEG_TILE_ROWS);
            seg_pool_give_way();
        }
        const char *id = user_ids_at(&s->ids, row, &id_len);
        if (label_scorer_label(&s->scorer, 0, lane, id, id_len, &l))
            st = label_writer_add(s->writer, &l);
    }
    return st;
}

static void tell_progress(const struct label_sender *s)
{
    char message[80];
    const double from = atomic_load(&s->from), n = (double)atomic_load(&s->n);
    if (from < 0) return;
    const double share = n > 0 && (double)s->n_sent < n ? (double)s->n_sent / n : 1;
    snprintf(message, sizeof(message), "%llu users labelled", (unsigned long long)s->n_sent);
    job_progress(s->run, from + (0.9 - from) * share, "storing", message);
}

static void send_all(struct label_sender *s)
{
    for (unsigned i = 0; i < s->n_readers; i++)
        for (bool more = true; more;) {
            s->stopped = atomic_load(s->run->cancel) || atomic_load(&s->stop);
            if (s->stopped) return;
            user_ids_clear(&s->ids);
            s->read = row_spool_read_block(&s->readers[i], s->tiles, &s->ids, &more);
            if (s->read != SEG_OK) return;
            s->written = send_block(s);
            if (s->written != DB_ONE) return;
            s->n_sent += s->ids.n;
            tell_progress(s);
        }
    s->written = label_writer_end(s->writer);
}

static bool has_failed(const struct label_sender *s)
{
    return s->read != SEG_OK || s->written != DB_ONE;
}

static void send_or_stop(struct label_sender *s)
{
    send_all(s);
    if (has_failed(s)) atomic_store(s->run->cancel, true);
}

static void *sender_main(void *arg)
{
    seg_pool_thread_gives_way(); /* as the runner does */
    send_or_stop(arg);
    return NULL;
}

static void sender_free(struct label_sender *s)
{
    label_scorer_release(&s->scorer);
    seg_free(s->tiles);
    user_ids_release(&s->ids);
    label_writer_abort(s->writer);
    seg_model_unref(s->model);
    seg_free(s);
}

enum job_outcome label_sender_begin(struct job_run *run, struct db *write, struct seg_model *m,
                                    const struct label_rows *kept, struct label_sender **ret_s)
{
    struct label_sender *s = seg_calloc(1, sizeof(*s));
    if (s == NULL) return job_fail(run, "out_of_memory", "out of memory while labelling");
    s->run = run;
    s->model = seg_model_ref(m);
    s->written = DB_ONE;
    atomic_init(&s->from, -1.0);
    for (; s->n_readers < kept->n_spools; s->n_readers++)
        s->readers[s->n_readers] =
            (struct row_spool_reader){ .spool = &kept->spools[s->n_readers] };
    const size_t tile_floats = (size_t)kept->table->schema.n_cells * SEG_TILE_ROWS;
    s->tiles = seg_alloc_aligned(LABEL_BLOCK_TILES * tile_floats, sizeof(*s->tiles));
    if (!label_scorer_init(&s->scorer, m, NULL, 1) || s->tiles == NULL ||
        !label_scorer_map(&s->scorer, &kept->table->schema)) {
        sender_free(s);
        return job_fail(run, "out_of_memory", "out of memory while labelling");
    }
    s->writer = label_writer_begin(write);
    if (s->writer == NULL) {
        sender_free(s);
        return job_db_failed(run, db_is_broken(write) ? DB_RETRY : DB_FATAL, "writing labels");
    }
    s->started = pthread_create(&s->thread, NULL, sender_main, s) == 0;
    if (!s->started) send_or_stop(s);
    *ret_s = s;
    return JOB_SUCCEEDED;
}

void label_sender_report(struct label_sender *s, double from, uint64_t n_rows)
{
    atomic_store(&s->n, n_rows);
    atomic_store(&s->from, from);
}

static void join(struct label_sender *s)
{
    if (s->started) pthread_join(s->thread, NULL);
    s->started = false;
}

/* How the thread, which is joined, has ended. */
static enum job_outcome outcome_of(const struct label_sender *s)
{
    if (s->stopped) return JOB_STOPPED;
    if (s->read == SEG_ENOMEM)
        return job_fail(s->run, "out_of_memory", "out of memory while labelling");
    if (s->read != SEG_OK)
        return job_fail(s->run, "spool_unreadable",
                        "the rows that were kept for labelling cannot be read back");
    return s->written == DB_ONE ? JOB_SUCCEEDED
                                : job_db_failed(s->run, s->written, "writing labels");
}

enum job_outcome label_sender_end(struct label_sender *s, struct label_writer **ret_w)
{
    join(s);
    const enum job_outcome outcome = outcome_of(s);
    *ret_w = NULL;
    if (outcome == JOB_SUCCEEDED) {
        *ret_w = s->writer;
        s->writer = NULL;
    }
    sender_free(s);
    return outcome;
}

enum job_outcome label_sender_abort(struct label_sender *s, enum job_outcome outcome)
{
    if (s == NULL) return outcome;
    atomic_store(&s->stop, true);
    join(s);
    if (outcome == JOB_STOPPED && has_failed(s)) outcome = outcome_of(s);
    sender_free(s);
    return outcome;
}
