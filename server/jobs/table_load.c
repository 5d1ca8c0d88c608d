/* table_load.c - the table's pages are cut into parts, each with a table, a COPY and a spool of its
 * own; a reader is a connection that takes the next part until there is none. The parts' tables are
 * then appended to the first's. Categories are numbered in order of first sight and targets stand
 * beside their rows, so tables that have either are one part. */
#include "jobs/table_load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "log.h"

#define PAGES_MIN      4096u /* 32 MiB: below, a second connection costs more than it saves */
#define SMALL_PARTS    (TABLE_LOAD_PARTS - 2)
#define SMALL_SHARE    64u /* of the pages in a small part: one in so many */
#define SHARE_SNAPSHOT "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

/* What the readers share. */
struct loading {
    struct job_run *run;
    struct table_load *l;
    struct feature_pages pages[TABLE_LOAD_PARTS]; /* of one part: all */
    struct seg_table tables[TABLE_LOAD_PARTS];
    atomic_uint next;      /* part to be taken */
    atomic_size_t n_rows;  /* so far */
    atomic_size_t n_bytes; /* of their cells */
    atomic_bool give_up;   /* a reader has failed */
    atomic_bool keeps;     /* every spool has its rows; else they are of no use, and given back */
};

struct reader {
    struct loading *loading;
    struct db *db;
    bool reports; /* the progress of all */
    enum job_outcome outcome;
    char code[48], detail[400]; /* JOB_FAILED */
};

static void fail(struct reader *r, const char *code, const char *detail)
{
    r->outcome = JOB_FAILED;
    snprintf(r->code, sizeof(r->code), "%s", code);
    snprintf(r->detail, sizeof(r->detail), "%s", detail);
}

/* Labelling will read the database again, which takes longer; errno says why. */
static void stop_keeping(struct loading *loading)
{
    const struct job_run *run = loading->run;
    if (!atomic_exchange(&loading->keeps, false)) return; /* the other reader has told of it */
    log_event(LOG_WARN, "rows are not kept for labelling", "job", "%s", run->job->id, "spool_dir",
              "%s", run->app->config->limits.spool_dir, "reason", "%s", strerror(errno), "remedy",
              "make room in [limits] spool_dir; until then a training reads its users twice", NULL);
}

static void keep_rows(struct loading *loading, unsigned part, const struct user_ids *ids)
{
    struct row_spool *spool = &loading->l->spools[part];
    if (spool->fd < 0) return;
    if (!atomic_load(&loading->keeps))
        row_spool_end(spool);
    else if (ids->n > 0 && !row_spool_add(spool, &loading->tables[part].cells, ids))
        stop_keeping(loading);
}

static void report(const struct loading *loading)
{
    char message[80];
    const struct table_load *l = loading->l;
    const double expected = l->fs->n_rows > 0 ? (double)l->fs->n_rows : 1e6;
    const size_t n_rows = atomic_load(&loading->n_rows);
    const double share = (double)n_rows / expected;
    snprintf(message, sizeof(message), "%zu rows loaded", n_rows);
    job_progress(loading->run, l->progress_share * (share < 1 ? share : 1), "loading", message);
}

/* False: the reader is to stop, its outcome says why. */
static bool may_go_on(struct reader *r, size_t bytes_grown)
{
    struct loading *loading = r->loading;
    const uint64_t bytes_max = loading->run->app->config->jobs.memory_bytes_max;
    if (atomic_load(loading->run->cancel) || atomic_load(&loading->give_up)) {
        r->outcome = JOB_STOPPED;
    } else if (atomic_fetch_add(&loading->n_bytes, bytes_grown) + bytes_grown > bytes_max) {
        char detail[120];
        snprintf(detail, sizeof(detail),
                 "the features take more than %llu bytes ([jobs] memory_bytes_max)",
                 (unsigned long long)bytes_max);
        fail(r, "too_large", detail);
    }
    return r->outcome == JOB_SUCCEEDED;
}

static void read_rows(struct reader *r, unsigned part, struct user_ids *ids)
{
    struct loading *loading = r->loading;
    struct seg_tiles *cells = &loading->tables[part].cells;
    for (enum db_status st = DB_ONE; st == DB_ONE;) {
        struct seg_error err = { "" };
        const size_t rows = cells->n_rows, bytes = seg_tiles_bytes(cells);
        user_ids_clear(ids);
        st = feature_load_rows(loading->l->loads[part], ROW_SPOOL_BLOCK_ROWS,
                               &loading->tables[part], ids, &err);
        if (st == DB_RETRY)
            r->outcome = job_interrupted(loading->run);
        else if (st != DB_ONE && st != DB_NONE)
            fail(r, "features_unreadable", err.text);
        if (r->outcome != JOB_SUCCEEDED || !may_go_on(r, seg_tiles_bytes(cells) - bytes)) return;
        keep_rows(loading, part, ids);
        atomic_fetch_add(&loading->n_rows, cells->n_rows - rows);
        if (r->reports) report(loading);
    }
}

static void read_part(struct reader *r, unsigned part, struct user_ids *ids)
{
    struct loading *loading = r->loading;
    struct table_load *l = loading->l;
    struct seg_error err = { "" };
    if (atomic_load(&loading->keeps) &&
        !row_spool_begin(&l->spools[part], loading->run->app->config->limits.spool_dir))
        stop_keeping(loading);
    enum db_status st = feature_load_begin(r->db, l->fs, l->columns, l->n_columns, l->target,
                                           l->keep, l->n_parts > 1 ? &loading->pages[part] : NULL,
                                           loading->run->cancel, &l->loads[part], &err);
    if (st == DB_ONE)
        read_rows(r, part, ids);
    else if (st == DB_RETRY)
        r->outcome = job_interrupted(loading->run);
    else
        fail(r, "features_unreadable", err.text);
    if (r->outcome != JOB_SUCCEEDED) { /* its COPY is not at its end */
        feature_load_free(l->loads[part]);
        l->loads[part] = NULL;
    }
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct loading *loading = r->loading;
    struct user_ids ids = { 0 };
    while (r->outcome == JOB_SUCCEEDED) {
        const unsigned part = atomic_fetch_add(&loading->next, 1);
        if (part >= loading->l->n_parts) break;
        read_part(r, part, &ids);
    }
    if (r->outcome != JOB_SUCCEEDED) atomic_store(&loading->give_up, true);
    user_ids_release(&ids);
    return NULL;
}

static void *second_main(void *arg)
{
    seg_pool_thread_gives_way(); /* as the runner does */
    return reader_main(arg);
}

/* Begins a transaction on both connections that sees the same rows. */
static bool share_snapshot(struct db *first, struct db *second)
{
    char sql[160];
    struct db_result *r = NULL;
    enum db_status st = db_exec_sql(first, SHARE_SNAPSHOT, NULL, 0, NULL);
    if (st == DB_ONE || st == DB_NONE)
        st = db_exec_sql(first, "SELECT pg_export_snapshot()", NULL, 0, &r);
    if (st == DB_ONE) {
        snprintf(sql, sizeof(sql), SHARE_SNAPSHOT "; SET TRANSACTION SNAPSHOT '%.60s'",
                 db_result_text(r, 0, 0));
        st = db_exec_sql(second, sql, NULL, 0, NULL);
    }
    db_result_free(r);
    return st == DB_ONE || st == DB_NONE;
}

/* The second reader's connection, both in one snapshot, and how many pages there are; NULL: one
 * reader is enough, or all there can be. */
static struct db *second_connection(const struct loading *loading, uint32_t *ret_n_pages)
{
    struct job_run *run = loading->run;
    const struct table_load *l = loading->l;
    const struct seg_schema *schema = &loading->tables[0].schema;
    if (l->target >= 0) return NULL;
    for (uint32_t i = 0; i < schema->n_features; i++)
        if (schema->features[i].type == SEG_CATEGORICAL) return NULL;
    if (feature_load_pages(run->db, l->fs, ret_n_pages) != DB_ONE || *ret_n_pages < PAGES_MIN)
        return NULL;
    struct db *second = job_connect(run, false);
    if (second != NULL && !share_snapshot(run->db, second)) {
        db_rollback(run->db);
        db_close(second);
        second = NULL;
    }
    return second;
}

/* A large part for each reader, and small ones for whoever is done with his first. */
static void cut_pages(struct loading *loading, uint32_t n_pages)
{
    const uint32_t small = n_pages / SMALL_SHARE, large = (n_pages - SMALL_PARTS * small) / 2;
    uint32_t from = 0;
    loading->l->n_parts = TABLE_LOAD_PARTS;
    for (unsigned part = 0; part < TABLE_LOAD_PARTS; part++) {
        const uint32_t to = from + (part < 2 ? large : small);
        loading->pages[part] =
            (struct feature_pages){ from, part + 1 < TABLE_LOAD_PARTS ? to : UINT32_MAX };
        from = to;
    }
}

/* An empty table of the columns for each part that there may be. */
static enum seg_status make_tables(struct loading *loading)
{
    const struct table_load *l = loading->l;
    struct seg_error err = { "" };
    struct seg_schema schema;
    for (unsigned part = 0; part < TABLE_LOAD_PARTS; part++) {
        enum seg_status st = feature_load_schema(l->fs, l->columns, l->n_columns, &schema, &err);
        if (st != SEG_OK) return st;
        seg_table_init(&loading->tables[part], &schema);
    }
    return SEG_OK;
}

/* The rows of all parts as the first's, whose table becomes the load's; the others are given back.
 */
static enum seg_status join(struct loading *loading)
{
    enum seg_status st = SEG_OK;
    for (unsigned part = 1; part < TABLE_LOAD_PARTS; part++) {
        if (st == SEG_OK)
            st = seg_tiles_append(&loading->tables[0].cells, &loading->tables[part].cells);
        seg_table_release(&loading->tables[part]);
    }
    loading->l->table = loading->tables[0];
    return st;
}

/* Reads over one connection, or over two when there is another. */
static void read_all(struct loading *loading, struct reader readers[2])
{
    pthread_t thread;
    const bool two =
        readers[1].db != NULL && pthread_create(&thread, NULL, second_main, &readers[1]) == 0;
    reader_main(&readers[0]);
    if (two) pthread_join(thread, NULL);
    if (readers[1].db != NULL) db_rollback(loading->run->db); /* it only read */
}

enum job_outcome table_load_run(struct job_run *run, struct table_load *l)
{
    struct loading loading = { .run = run, .l = l, .keeps = l->keep };
    struct reader readers[2] = { { .loading = &loading, .db = run->db, .reports = true },
                                 { .loading = &loading } };
    uint32_t n_pages = 0;
    l->n_parts = 1;
    for (unsigned part = 0; part < TABLE_LOAD_PARTS; part++)
        l->spools[part] = ROW_SPOOL_NONE;
    if (make_tables(&loading) == SEG_OK) {
        readers[1].db = second_connection(&loading, &n_pages);
        if (readers[1].db != NULL) cut_pages(&loading, n_pages);
        read_all(&loading, readers);
    } else {
        fail(&readers[0], "out_of_memory", "out of memory before loading");
    }
    db_close(readers[1].db);
    l->kept = atomic_load(&loading.keeps);
    for (unsigned part = 0; part < l->n_parts && !l->kept; part++)
        row_spool_end(&l->spools[part]);
    /* A reader that stopped because the other failed has nothing to tell. */
    const struct reader *r = &readers[0];
    if (readers[1].outcome != JOB_SUCCEEDED &&
        (r->outcome == JOB_SUCCEEDED || r->outcome == JOB_STOPPED))
        r = &readers[1];
    if (join(&loading) != SEG_OK && r->outcome == JOB_SUCCEEDED)
        fail(&readers[0], "out_of_memory", "out of memory after loading");
    return r->outcome == JOB_FAILED ? job_fail(run, r->code, "%s", r->detail) : r->outcome;
}

uint64_t table_load_not_finite(const struct table_load *l, uint32_t i)
{
    uint64_t n = 0;
    for (unsigned part = 0; part < TABLE_LOAD_PARTS; part++)
        if (l->loads[part] != NULL) n += feature_load_not_finite(l->loads[part], i);
    return n;
}

struct hashing {
    const struct seg_tiles *cells;
    uint8_t (*sums)[DIGEST_BYTES]; /* (n_chunks) */
};

static void hash_chunk(void *ctx, size_t chunk)
{
    const struct hashing *h = ctx;
    const size_t first = chunk * SEG_CHUNK_TILES, n_tiles = seg_tiles_count(h->cells) - first;
    const size_t tile_bytes = (size_t)h->cells->n_cols * SEG_TILE_ROWS * sizeof(float);
    digest_sha256(seg_tiles_at(h->cells, first),
                  (n_tiles < SEG_CHUNK_TILES ? n_tiles : SEG_CHUNK_TILES) * tile_bytes,
                  h->sums[chunk]);
}

/* Strings with their lengths in front, so that no two lists are the same bytes. */
static void hash_strings(struct digest *d, const struct seg_dictionary *strings)
{
    digest_update(d, &strings->n, sizeof(strings->n));
    for (uint32_t i = 0; i < strings->n; i++) {
        const uint64_t length = strings->lengths[i];
        digest_update(d, &length, sizeof(length));
        digest_update(d, strings->strings[i], strings->lengths[i]);
    }
}

enum seg_status table_load_hash(struct seg_pool *pool, const struct table_load *l,
                                char out[DIGEST_HEX_SIZE])
{
    struct digest d;
    uint8_t sum[DIGEST_BYTES];
    const struct seg_dictionary *classes;
    size_t n_target;
    const struct seg_tiles *cells = &l->table.cells;
    struct hashing h = { cells, seg_calloc(cells->n_chunks, sizeof(*h.sums)) };
    if (h.sums == NULL) return SEG_ENOMEM;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, cells->n_chunks, hash_chunk, &h);
    const uint64_t n_rows = cells->n_rows;
    digest_init(&d);
    digest_update(&d, &n_rows, sizeof(n_rows));
    digest_update(&d, h.sums, cells->n_chunks * sizeof(*h.sums));
    for (uint32_t i = 0; i < l->table.schema.n_features; i++)
        if (l->table.schema.features[i].type == SEG_CATEGORICAL)
            hash_strings(&d, &l->table.schema.features[i].dictionary);
    const uint16_t *target = feature_load_target(l->loads[0], &n_target, &classes);
    if (n_target > 0) {
        digest_update(&d, target, n_target * sizeof(*target));
        hash_strings(&d, classes);
    }
    digest_final(&d, sum);
    digest_hex(sum, sizeof(sum), out);
    seg_free(h.sums);
    return SEG_OK;
}

void table_load_release(struct table_load *l)
{
    for (unsigned i = 0; i < l->n_parts; i++) { /* none: it was never run */
        feature_load_free(l->loads[i]);
        l->loads[i] = NULL;
        row_spool_end(&l->spools[i]);
    }
    seg_table_release(&l->table);
}
