/* The Open Inference Protocol, version 2: health, metadata and infer, with binary tensors both
 * ways. The same models, rows and scores as in predict.c; only the forms differ. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "handlers/handlers.h"
#include "handlers/infer_outputs.h"
#include "handlers/predict.h"
#include "handlers/version.h"
#include "model_cache.h"

#define HEADER_LENGTH "Inference-Header-Content-Length"

static enum http_status reply_flag(struct http_request *rq, const char *name, const char *key)
{
    struct json_out o;
    json_out_init(&o);
    json_out_object(&o);
    if (name != NULL) json_out_member_string(&o, "name", name);
    json_out_member_bool(&o, key, true);
    json_out_end_object(&o);
    return reply_json(rq, HTTP_200, &o);
}

enum http_status infer_live(struct http_request *rq)
{
    return reply_flag(rq, NULL, "live");
}

enum http_status infer_ready(struct http_request *rq)
{
    struct app *app = rq->app;
    if (atomic_load(&app->draining)) return reply_error(rq, ERR_DRAINING, NULL);
    if (app->models == NULL || !model_cache_ready(app->models))
        return reply_error(rq, ERR_NOT_READY, "the models were never loaded");
    return reply_flag(rq, NULL, "ready");
}

enum http_status infer_server_get(struct http_request *rq)
{
    struct json_out o;
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "name", "segmentd");
    json_out_member_string(&o, "version", SEGMENTD_VERSION);
    json_out_key(&o, "extensions");
    json_out_array(&o);
    json_out_string(&o, "binary_tensor_data");
    json_out_end_array(&o);
    json_out_end_object(&o);
    return reply_json(rq, HTTP_200, &o);
}

/* The version in the path, 0 when it names none. False after a 404. */
static bool path_version(struct http_request *rq, uint32_t *ret)
{
    const char *text = rq->path_args[1];
    *ret = 0;
    if (text == NULL) return true;
    if (version_parse(text, ret)) return true;
    reply_error(rq, ERR_VERSION_NOT_FOUND, "a version is a whole number from 1");
    return false;
}

static enum http_status find_model(struct http_request *rq, struct served_model **ret)
{
    uint32_t version;
    if (!path_version(rq, &version)) return HTTP_ERROR;
    return predict_find_model(rq, version, ret);
}

enum http_status infer_model_ready(struct http_request *rq)
{
    struct served_model *served;
    enum http_status st = find_model(rq, &served);
    return st == HTTP_200 ? reply_flag(rq, served->name, "ready") : st;
}

static const char *datatype_of(enum seg_type type)
{
    switch (type) {
    case SEG_BOOLEAN: return "BOOL";
    case SEG_CATEGORICAL:
    case SEG_TIMESTAMP: return "BYTES";
    default: return "FP32";
    }
}

enum http_status infer_model_get(struct http_request *rq)
{
    struct served_model *served;
    char version[16], platform[64];
    enum http_status st = find_model(rq, &served);
    if (st != HTTP_200) return st;
    const struct seg_schema *inputs = seg_model_inputs(served->model);
    snprintf(version, sizeof(version), "%" PRIu32, served->version);
    snprintf(platform, sizeof(platform), "segmentd_%s",
             seg_algorithm_info(seg_model_algorithm(served->model))->name);
    struct json_out o;
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "name", served->name);
    json_out_key(&o, "versions");
    json_out_array(&o);
    json_out_string(&o, version);
    json_out_end_array(&o);
    json_out_member_string(&o, "platform", platform);
    json_out_key(&o, "inputs");
    json_out_array(&o);
    for (uint32_t i = 0; i < inputs->n_features; i++) {
        const struct seg_feature *f = &inputs->features[i];
        json_out_object(&o);
        json_out_member_string(&o, "name", f->name);
        json_out_member_string(&o, "datatype", datatype_of(f->type));
        json_out_key(&o, "shape");
        json_out_array(&o);
        json_out_int(&o, -1);
        if (f->type == SEG_VECTOR) json_out_uint(&o, f->width);
        json_out_end_array(&o);
        json_out_end_object(&o);
    }
    json_out_end_array(&o);
    infer_outputs_describe(served, &o);
    json_out_end_object(&o);
    return reply_json(rq, HTTP_200, &o);
}

/* ---- infer ---- */

struct work {
    const struct seg_model *model;
    const struct rows *rows;
    struct infer_scores *scores;
    atomic_bool no_memory;
};

/* Rows first .. first + n - 1 stand in one tile. */
static void keep_tile(const struct work *w, const struct seg_scores *t, uint32_t first, unsigned n)
{
    struct infer_scores *s = w->scores;
    for (unsigned r = 0; r < n; r++) {
        uint32_t row = first + r;
        bool ok = !w->rows->invalid[row] && t->status[r] == SEG_ROW_OK;
        s->status[row] = ok ? INFER_OK : w->rows->invalid[row] ? INFER_INVALID : INFER_INSUFFICIENT;
        s->result[row] = ok ? t->result[r] : 0;
        s->confidence[row] = ok ? t->confidence[r] : NAN;
        if (s->distance != NULL) s->distance[row] = ok ? t->distance[r] : NAN;
        for (uint32_t i = 0; s->probabilities != NULL && i < s->n_results; i++)
            s->probabilities[(size_t)row * s->n_results + i] =
                ok ? t->probabilities[(size_t)i * SEG_TILE_ROWS + r] : NAN;
    }
}

static void score_block(void *ctx, size_t block)
{
    struct work *w = ctx;
    struct score_work memory;
    if (!score_work_init(&memory, w->model)) {
        atomic_store(&w->no_memory, true);
        return;
    }
    uint32_t first = (uint32_t)block * SCORE_BLOCK_ROWS, n_rows = w->rows->n_rows;
    for (uint32_t at = first; at < n_rows && at < first + SCORE_BLOCK_ROWS; at += SEG_TILE_ROWS) {
        unsigned n = n_rows - at < SEG_TILE_ROWS ? n_rows - at : SEG_TILE_ROWS;
        seg_model_score_tile(w->model, seg_tiles_at(&w->rows->cells, at / SEG_TILE_ROWS), n,
                             memory.scratch, &memory.scores);
        keep_tile(w, &memory.scores, at, n);
    }
    score_work_release(&memory);
}

/* Arrays of the batch's arena. */
static bool scores_init(struct infer_scores *s, struct rows *r, const struct seg_model *m)
{
    *s = (struct infer_scores){ .n_rows = r->n_rows, .n_results = seg_model_n_results(m) };
    size_t n = r->n_rows, bytes = n * sizeof(float);
    bool has_distance = seg_model_has_distance(m), soft = seg_model_has_probabilities(m);
    s->result = seg_arena_alloc(&r->arena, bytes);
    s->confidence = seg_arena_alloc(&r->arena, bytes);
    s->status = seg_arena_alloc(&r->arena, n);
    if (has_distance) s->distance = seg_arena_alloc(&r->arena, bytes);
    if (soft) s->probabilities = seg_arena_alloc(&r->arena, bytes * s->n_results);
    return s->result != NULL && s->confidence != NULL && s->status != NULL &&
           (!has_distance || s->distance != NULL) && (!soft || s->probabilities != NULL);
}

static void count(struct http_request *rq, const struct infer_scores *s, const struct rows *r,
                  struct json_out *o)
{
    struct score_tally t = { 0 };
    for (uint32_t i = 0; i < s->n_rows; i++) {
        t.n_ok += s->status[i] == INFER_OK;
        t.n_insufficient += s->status[i] == INFER_INSUFFICIENT;
        t.n_invalid += s->status[i] == INFER_INVALID;
    }
    predict_count(rq, &t);
    if (t.n_invalid == 0) return;
    /* The protocol has no place for a row's fault but a parameter that is one text. */
    char *first = NULL;
    if (r->n_faults > 0) { /* 0 when memory was too short to keep them */
        const struct row_fault *f = &r->faults[0];
        const char *name = f->feature >= 0 ? r->schema->features[f->feature].name : "";
        first = seg_arena_printf(&rq->arena, "row %u, %s: %s", f->row, name, f->detail);
    }
    json_out_key(o, "parameters");
    json_out_object(o);
    json_out_member_uint(o, "n_invalid", t.n_invalid);
    json_out_member_string(o, "first_fault", first);
    json_out_end_object(o);
}

/* Header and bytes as one body. */
static enum http_status reply_tensors(struct http_request *rq, struct json_out *o,
                                      struct score_text *bytes)
{
    size_t json_len = 0;
    char length[24];
    if (bytes->len == 0 && !bytes->failed) return reply_json(rq, HTTP_200, o);
    char *json = json_out_take(o, &json_len);
    char *all = json != NULL && !bytes->failed ? seg_alloc(json_len + bytes->len, 1) : NULL;
    if (all != NULL) {
        memcpy(all, json, json_len);
        memcpy(all + json_len, bytes->data, bytes->len);
    }
    seg_free(json);
    if (all == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
    snprintf(length, sizeof(length), "%zu", json_len);
    reply_header(rq, HEADER_LENGTH, length);
    return reply_take(rq, HTTP_200, "application/octet-stream", all, json_len + bytes->len);
}

static enum http_status score_tensors(struct http_request *rq, const struct served_model *served,
                                      struct rows *r, const struct tensor_request *q)
{
    struct infer_output outputs[TENSOR_OUTPUTS_MAX];
    struct infer_scores scores;
    struct work w = { .model = served->model, .rows = r, .scores = &scores };
    struct score_text bytes = { 0 };
    struct json_out o;
    struct faults f;
    char version[16];
    faults_init(&f, &rq->arena);
    uint32_t n_outputs = infer_outputs_choose(served, q, outputs, &f);
    if (f.n_total > 0) return reply_faults(rq, ERR_INVALID, &f);
    if (!scores_init(&scores, r, served->model)) return reply_error(rq, ERR_NO_MEMORY, NULL);
    size_t n_blocks = (r->n_rows + SCORE_BLOCK_ROWS - 1) / SCORE_BLOCK_ROWS;
    seg_pool_for(n_blocks > 1 ? rq->app->pool : NULL, SEG_PRIORITY_SCORING, n_blocks, score_block,
                 &w);
    if (atomic_load(&w.no_memory)) return reply_error(rq, ERR_NO_MEMORY, NULL);

    snprintf(version, sizeof(version), "%" PRIu32, served->version);
    json_out_init(&o);
    json_out_object(&o);
    json_out_member_string(&o, "model_name", served->name);
    json_out_member_string(&o, "model_version", version);
    if (q->id != NULL) json_out_member_string(&o, "id", q->id);
    count(rq, &scores, r, &o);
    infer_outputs_write(served, &scores, outputs, n_outputs, &o, &bytes);
    json_out_end_object(&o);
    enum http_status st = reply_tensors(rq, &o, &bytes);
    json_out_release(&o);
    score_text_release(&bytes);
    return st;
}

/* Bytes of JSON at the start of the body. False after a 400. */
static bool json_length(struct http_request *rq, size_t *ret)
{
    const char *text = request_header(rq, HEADER_LENGTH);
    *ret = (size_t)rq->body.len;
    if (text == NULL && request_is(rq, "application/json")) return true;
    size_t digits = text != NULL ? strspn(text, "0123456789") : 0;
    bool ok = digits > 0 && digits <= 15 && text[digits] == '\0';
    if (ok) *ret = (size_t)strtoull(text, NULL, 10);
    if (ok && *ret <= rq->body.len) return true;
    reply_error(rq, ERR_BAD_PARAMETER,
                HEADER_LENGTH " must say how many bytes of the body's %" PRIu64 " are JSON",
                rq->body.len);
    return false;
}

static enum http_status infer(struct http_request *rq, const struct served_model *served)
{
    struct rows r;
    struct rows_error e = { 0 };
    struct tensor_request q;
    struct faults f;
    size_t json_len;
    enum http_status st;
    if (!json_length(rq, &json_len)) return HTTP_ERROR;
    const char *body = body_bytes(rq);
    if (body == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
    faults_init(&f, &rq->arena);
    rows_init(&r, seg_model_inputs(served->model));
    enum rows_status decoded = tensors_decode(&r, body, (size_t)rq->body.len, json_len,
                                              rq->app->config->limits.rows_max, &q, &e, &f);
    if (decoded == ROWS_OK)
        st = score_tensors(rq, served, &r, &q);
    else if (f.n_total > 0)
        st = reply_faults(rq, ERR_INVALID, &f);
    else
        st = predict_refuse(rq, decoded == ROWS_REFUSED ? &e : NULL);
    rows_release(&r);
    return st;
}

enum http_status infer_post(struct http_request *rq)
{
    struct predict *p;
    uint32_t version;
    if (!path_version(rq, &version)) return HTTP_ERROR;
    enum http_status st = predict_begin(rq, version, &p);
    if (st != HTTP_200) return st;
    if (!predict_runs_here(rq)) return request_move_to_compute(rq);
    if (request_is(rq, "application/json") || request_is(rq, "application/octet-stream"))
        return infer(rq, p->served);
    return reply_error(
        rq, ERR_UNSUPPORTED_MEDIA_TYPE,
        "tensors are application/json, or application/octet-stream with " HEADER_LENGTH);
}
