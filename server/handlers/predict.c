/* POST /v1/models/{model}/predict: model, rows, scores, reply. The champion comes from memory; only
 * a version that was asked for by number and is not in memory takes a database thread to load it.
 */
#include "handlers/predict.h"

#include <string.h>
#include "base/alloc.h"
#include "handlers/handlers.h"
#include "handlers/version.h"
#include "model_cache.h"

static void unref(void *served)
{
    served_model_unref(served);
}

enum http_status predict_find_model(struct http_request *rq, uint32_t version,
                                    struct served_model **ret)
{
    struct model_cache *cache = rq->app->models;
    const char *name = rq->path_args[0];
    struct served_model *served = NULL;
    if (!name_is_valid(name)) return reply_error(rq, ERR_MODEL_NOT_FOUND, NULL);
    if (cache == NULL) return reply_error(rq, ERR_NOT_READY, NULL);
    served = model_cache_get(cache, name, version);
    if (served == NULL && version == 0) {
        if (!model_cache_ready(cache)) return reply_error(rq, ERR_NOT_READY, NULL);
        return reply_error(rq, ERR_MODEL_NOT_FOUND, "no model %s has a champion", name);
    }
    if (served == NULL) {
        if (rq->db == NULL) return request_move_to_db(rq);
        enum db_status st = model_cache_load(cache, rq->db, name, version, &served);
        if (st == DB_NONE)
            return reply_error(rq, ERR_VERSION_NOT_FOUND, "model %s, version %u", name, version);
        if (st != DB_ONE) return reply_db_error(rq, st);
    }
    if (!request_defer(rq, unref, served)) return reply_error(rq, ERR_NO_MEMORY, NULL);
    *ret = served;
    return HTTP_200;
}

enum http_status predict_begin(struct http_request *rq, uint32_t version, struct predict **ret)
{
    struct predict *p = rq->work;
    if (p == NULL) {
        struct served_model *served;
        enum http_status st = predict_find_model(rq, version, &served);
        if (st != HTTP_200) return st;
        p = seg_arena_alloc(&rq->arena, sizeof(*p));
        if (p == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
        p->served = served;
        rq->work = p;
    }
    *ret = p;
    return HTTP_200;
}

bool predict_runs_here(const struct http_request *rq)
{
    return !(rq->on_io_thread || rq->db != NULL) || rq->body.len <= request_inline_bytes(rq);
}

enum http_status predict_refuse(struct http_request *rq, const struct rows_error *e)
{
    if (e == NULL || strcmp(e->code, "no_memory") == 0) return reply_error(rq, ERR_NO_MEMORY, NULL);
    static const char *const GRAMMAR[] = { "not_json", "not_utf8", "too_deep", "duplicate_key" };
    enum http_error code = ERR_INVALID;
    for (size_t i = 0; i < sizeof(GRAMMAR) / sizeof(GRAMMAR[0]); i++)
        if (strcmp(e->code, GRAMMAR[i]) == 0) code = ERR_NOT_JSON;
    if (!request_is(rq, "application/json")) code = ERR_BAD_BODY;
    if (strcmp(e->code, "too_many_rows") == 0) code = ERR_TOO_LARGE;
    struct faults f;
    faults_init(&f, &rq->arena);
    const char *at = e->pointer;
    if (*at == '\0' && e->line > 0)
        at = seg_arena_printf(&rq->arena, "line %zu, column %zu", e->line, e->column);
    faults_add(&f, at != NULL ? at : "", e->code, "%s", e->detail);
    return reply_faults(rq, code, &f);
}

void predict_count(struct http_request *rq, const struct score_tally *t)
{
    struct metrics *m = rq->app->metrics;
    metrics_add(m, METRIC_ROWS_SCORED, t->n_ok);
    if (t->n_insufficient > 0) metrics_add(m, METRIC_ROWS_INSUFFICIENT, t->n_insufficient);
    if (t->n_invalid > 0) metrics_add(m, METRIC_ROWS_INVALID, t->n_invalid);
}

/* ---- a JSON document: one batch ---- */

struct block {
    struct score_text text;
    struct score_tally tally;
};

struct batch {
    const struct score *score;
    const struct rows *rows;
    struct block *blocks;
};

static void score_chunk(void *ctx, size_t i)
{
    struct batch *b = ctx;
    score_write_block(b->score, b->rows, (uint32_t)(i * SCORE_BLOCK_ROWS), &b->blocks[i].text,
                      &b->blocks[i].tally);
}

/* The texts of all blocks as one, taken from them; NULL when memory ran out. Mostly there is one
 * block, whose text is the answer. */
static char *join(struct block *blocks, size_t n, size_t *ret_len)
{
    size_t len = 0;
    bool failed = false;
    for (size_t i = 0; i < n; i++) {
        len += blocks[i].text.len;
        failed |= blocks[i].text.failed;
    }
    if (failed) return NULL;
    *ret_len = len;
    if (n == 1) {
        char *text = blocks[0].text.data;
        blocks[0].text = (struct score_text){ 0 };
        return text;
    }
    char *all = seg_alloc(len, 1), *at = all;
    for (size_t i = 0; all != NULL && i < n; i++) {
        memcpy(at, blocks[i].text.data, blocks[i].text.len);
        at += blocks[i].text.len;
    }
    return all;
}

static enum http_status score_batch(struct http_request *rq, const struct predict *p,
                                    const struct rows *r)
{
    size_t n = (r->n_rows + SCORE_BLOCK_ROWS - 1) / SCORE_BLOCK_ROWS, len = 0;
    struct batch b = { .rows = r, .score = p->served->scores[SCORE_JSON] };
    b.blocks = seg_arena_alloc(&rq->arena, n * sizeof(*b.blocks));
    if (b.blocks == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
    memset(b.blocks, 0, n * sizeof(*b.blocks));
    score_write_head(b.score, r->n_rows, &b.blocks[0].text);
    seg_pool_for(n > 1 ? rq->app->pool : NULL, SEG_PRIORITY_SCORING, n, score_chunk, &b);
    score_text_append(&b.blocks[n - 1].text, "]}", 2);
    char *all = join(b.blocks, n, &len);
    struct score_tally sum = { 0 };
    for (size_t i = 0; i < n; i++) {
        sum.n_ok += b.blocks[i].tally.n_ok;
        sum.n_insufficient += b.blocks[i].tally.n_insufficient;
        sum.n_invalid += b.blocks[i].tally.n_invalid;
        score_text_release(&b.blocks[i].text);
    }
    if (all == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
    predict_count(rq, &sum);
    return reply_take(rq, HTTP_200, "application/json", all, len);
}

static enum http_status predict_json(struct http_request *rq, const struct predict *p)
{
    struct rows r;
    struct rows_error e = { 0 };
    enum http_status st;
    const char *body = body_bytes(rq);
    if (body == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
    rows_init(&r, seg_model_inputs(p->served->model));
    enum rows_status decoded =
        rows_json_decode(&r, body, (size_t)rq->body.len, rq->app->config->limits.rows_max, &e);
    if (decoded == ROWS_OK && r.n_rows > 0)
        st = score_batch(rq, p, &r);
    else if (decoded == ROWS_OK)
        st = reply_error(rq, ERR_INVALID, "there are no rows");
    else
        st = predict_refuse(rq, decoded == ROWS_REFUSED ? &e : NULL);
    rows_release(&r);
    return st;
}

enum http_status predict_post(struct http_request *rq)
{
    struct predict *p;
    uint32_t version = 0;
    if (!version_query(rq, &version)) return HTTP_ERROR;
    enum http_status st = predict_begin(rq, version, &p);
    if (st != HTTP_200) return st;
    if (!predict_runs_here(rq)) return request_move_to_compute(rq);
    if (request_is(rq, "application/json")) return predict_json(rq, p);
    if (request_is(rq, "application/x-ndjson")) return predict_stream(rq, p, SCORE_NDJSON);
    if (request_is(rq, "text/csv")) return predict_stream(rq, p, SCORE_CSV);
    return reply_error(rq, ERR_UNSUPPORTED_MEDIA_TYPE,
                       "rows are application/json, application/x-ndjson or text/csv");
}
