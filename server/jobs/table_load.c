/* table_load.c - a reader is a connection, a range of pages and a table. The second one's table is
 * appended to the first's. Categories are numbered in order of first sight and targets stand beside
 * their rows, so tables that have either get one reader. */
#include "jobs/table_load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "log.h"

#define PAGES_MIN      4096u /* 32 MiB: below, a second connection costs more than it saves */
#define SHARE_SNAPSHOT "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

struct reader {
    struct job_run *run;
    struct table_load *l;
    unsigned part;
    struct db *db;
    struct feature_pages pages; /* end 0: all */
    struct seg_table *table;
    struct row_spool *spool;
    atomic_size_t *n_bytes; /* of all readers' cells */
    atomic_bool *give_up;   /* another reader failed */
    enum job_outcome outcome;
    char code[48], detail[400]; /* JOB_FAILED */
};

static void fail(struct reader *r, const char *code, const char *detail)
{
    r->outcome = JOB_FAILED;
    snprintf(r->code, sizeof(r->code), "%s", code);
    snprintf(r->detail, sizeof(r->detail), "%s", detail);
}

/* Labelling will read the database again, which takes longer. */
static void warn_not_kept(const struct reader *r)
{
    log_event(LOG_WARN, "rows are not kept for labelling", "job", "%s", r->run->job->id,
              "spool_dir", "%s", r->run->app->config->limits.spool_dir, "reason", "%s",
              strerror(errno), NULL);
}

static void report(const struct reader *r, unsigned n_readers)
{
    char message[80];
    double expected = r->l->fs->n_rows > 0 ? (double)r->l->fs->n_rows : 1e6;
    size_t n_rows = r->table->cells.n_rows * n_readers; /* they are about equally fast */
    double share = (double)n_rows / expected;
    snprintf(message, sizeof(message), "%zu rows loaded", n_rows);
    job_progress(r->run, r->l->progress_share * (share < 1 ? share : 1), "loading", message);
}

/* False: the reader is to stop, its outcome says why. */
static bool may_go_on(struct reader *r, size_t bytes_before)
{
    uint64_t bytes_max = r->run->app->config->jobs.memory_bytes_max;
    size_t grown = seg_tiles_bytes(&r->table->cells) - bytes_before;
    if (atomic_load(r->run->cancel) || atomic_load(r->give_up)) {
        r->outcome = JOB_STOPPED;
    } else if (atomic_fetch_add(r->n_bytes, grown) + grown > bytes_max) {
        char detail[120];
        snprintf(detail, sizeof(detail),
                 "the features take more than %llu bytes ([jobs] memory_bytes_max)",
                 (unsigned long long)bytes_max);
        fail(r, "too_large", detail);
    }
    return r->outcome == JOB_SUCCEEDED;
}

static void read_rows(struct reader *r)
{
    struct seg_error err = { "" };
    struct user_ids ids = { 0 };
    struct feature_load *load = r->l->loads[r->part];
    for (enum db_status st = DB_ONE; st == DB_ONE;) {
        size_t bytes_before = seg_tiles_bytes(&r->table->cells);
        user_ids_clear(&ids);
        st = feature_load_rows(load, ROW_SPOOL_BLOCK_ROWS, r->table, &ids, &err);
        if (st == DB_RETRY)
            r->outcome = JOB_AGAIN;
        else if (st != DB_ONE && st != DB_NONE)
            fail(r, "features_unreadable", err.text);
        if (r->outcome != JOB_SUCCEEDED || !may_go_on(r, bytes_before)) break;
        if (r->spool->fd >= 0 && ids.n > 0 && !row_spool_add(r->spool, &r->table->cells, &ids))
            warn_not_kept(r);
        if (r->part == 0) report(r, r->pages.end == 0 ? 1 : TABLE_LOAD_PARTS);
    }
    user_ids_release(&ids);
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct seg_error err = { "" };
    const struct table_load *l = r->l;
    const struct feature_pages *pages = r->pages.end == 0 ? NULL : &r->pages;
    if (l->keep && !row_spool_begin(r->spool, r->run->app->config->limits.spool_dir))
        warn_not_kept(r);
    enum db_status st = feature_load_begin(r->db, l->fs, l->columns, l->n_columns, l->target,
                                           l->keep, pages, &r->l->loads[r->part], &err);
    if (st == DB_ONE)
        read_rows(r);
    else if (st == DB_RETRY)
        r->outcome = JOB_AGAIN;
    else
        fail(r, "features_unreadable", err.text);
    if (r->outcome != JOB_SUCCEEDED) atomic_store(r->give_up, true);
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

/* The second reader's connection, both in one snapshot, and where its pages start; NULL: one reader
 * is enough, or all there can be. */
static struct db *second_connection(struct job_run *run, const struct table_load *l,
                                    uint32_t *ret_middle)
{
    uint32_t n_pages = 0;
    if (l->target >= 0) return NULL;
    for (uint32_t i = 0; i < l->table.schema.n_features; i++)
        if (l->table.schema.features[i].type == SEG_CATEGORICAL) return NULL;
    if (feature_load_pages(run->db, l->fs, &n_pages) != DB_ONE || n_pages < PAGES_MIN) return NULL;
    struct db *second = db_connect(run->app->config, 0, false, run->app->metrics);
    if (second != NULL && !share_snapshot(run->db, second)) {
        db_rollback(run->db);
        db_close(second);
        second = NULL;
    }
    *ret_middle = n_pages / 2;
    return second;
}

/* The rows of both tables as the first's; the second's is given back. */
static enum seg_status join(struct table_load *l, struct seg_table *second)
{
    enum seg_status st = seg_tiles_append(&l->table.cells, &second->cells);
    seg_table_release(second);
    return st;
}

enum job_outcome table_load_run(struct job_run *run, struct table_load *l)
{
    struct seg_schema schema;
    struct seg_table table = { 0 };
    struct seg_error err = { "" };
    atomic_size_t n_bytes = 0;
    atomic_bool give_up = false;
    pthread_t thread;
    uint32_t middle = 0;
    for (unsigned i = 0; i < TABLE_LOAD_PARTS; i++)
        l->spools[i] = ROW_SPOOL_NONE;
    if (feature_load_schema(l->fs, l->columns, l->n_columns, &schema, &err) != SEG_OK)
        return job_fail(run, "invalid", "%s", err.text);
    seg_table_init(&l->table, &schema);
    struct reader readers[TABLE_LOAD_PARTS] = {
        { .run = run, .l = l, .db = run->db, .table = &l->table },
        { .run = run, .l = l, .part = 1, .table = &table },
    };
    for (unsigned i = 0; i < TABLE_LOAD_PARTS; i++) {
        readers[i].spool = &l->spools[i];
        readers[i].n_bytes = &n_bytes;
        readers[i].give_up = &give_up;
    }
    readers[1].db = second_connection(run, l, &middle);
    bool two = readers[1].db != NULL &&
               feature_load_schema(l->fs, l->columns, l->n_columns, &schema, &err) == SEG_OK;
    if (two) {
        seg_table_init(&table, &schema);
        readers[0].pages = (struct feature_pages){ 0, middle };
        readers[1].pages = (struct feature_pages){ middle, UINT32_MAX };
        two = pthread_create(&thread, NULL, second_main, &readers[1]) == 0;
        if (!two) readers[0].pages.end = 0;
    }
    reader_main(&readers[0]);
    if (two) pthread_join(thread, NULL);
    for (unsigned i = 0; i < TABLE_LOAD_PARTS; i++)
        if (readers[i].outcome != JOB_SUCCEEDED) { /* its COPY is not at its end */
            feature_load_free(l->loads[i]);
            l->loads[i] = NULL;
        }
    if (readers[1].db != NULL) db_rollback(run->db); /* it only read */
    db_close(readers[1].db);
    l->kept = l->keep && l->spools[0].fd >= 0 && (!two || l->spools[1].fd >= 0);
    if (two && readers[0].outcome == JOB_SUCCEEDED && readers[1].outcome == JOB_SUCCEEDED &&
        join(l, &table) != SEG_OK)
        fail(&readers[0], "out_of_memory", "out of memory after loading");
    seg_table_release(&table);
    /* A reader that stopped because the other failed has nothing to tell. */
    const struct reader *r = &readers[0];
    if (readers[1].outcome != JOB_SUCCEEDED &&
        (r->outcome == JOB_SUCCEEDED || r->outcome == JOB_STOPPED))
        r = &readers[1];
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
    for (unsigned i = 0; i < TABLE_LOAD_PARTS; i++) {
        feature_load_free(l->loads[i]);
        l->loads[i] = NULL;
        row_spool_end(&l->spools[i]);
    }
    seg_table_release(&l->table);
}
