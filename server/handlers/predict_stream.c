/* NDJSON and CSV: a window of the body is decoded into one batch, scored, written, and then the
 * next. Memory is constant: the window, a batch of rows, its text. The first batch is made before
 * the reply starts, so that a body that is wrong from the start, and any body of one batch, is
 * refused with a proper status; a fault found later ends the connection without the last chunk. */
#include "handlers/predict.h"

#include <stdio.h>
#include <string.h>
#include "base/alloc.h"

#define WINDOW_BYTES ((size_t)1 << 20) /* also the longest line */
#define BATCH_BLOCKS 4u                /* 4,096 rows */
#define BATCH_ROWS   (BATCH_BLOCKS * SCORE_BLOCK_ROWS)

struct predict_stream {
    struct http_request *rq;
    enum score_format format;
    const struct score *score;
    struct rows rows;
    struct rows_csv *csv; /* once its header is read */
    struct rows_error error;
    char *window; /* (window_cap) bytes of the body from offset - len */
    size_t window_cap;
    size_t len, used; /* bytes in the window, and of them decoded */
    uint64_t offset;  /* bytes of the body read so far */
    size_t n_lines;   /* NDJSON lines decoded */
    struct score_text texts[BATCH_BLOCKS];
    struct score_tally tallies[BATCH_BLOCKS];
    unsigned text; /* the text being sent, and how far */
    size_t at;
};

static void stream_release(void *arg)
{
    struct predict_stream *s = arg;
    rows_release(&s->rows);
    rows_csv_free(s->csv);
    seg_free(s->window);
    for (unsigned i = 0; i < BATCH_BLOCKS; i++)
        score_text_release(&s->texts[i]);
    seg_free(s);
}

static enum rows_status refuse(struct predict_stream *s, const char *code, const char *detail)
{
    s->error = (struct rows_error){ .code = code, .line = s->n_lines + 1, .column = 1 };
    strncpy(s->error.detail, detail, sizeof(s->error.detail) - 1);
    return ROWS_REFUSED;
}

/* Moves what is not decoded to the front and reads on. */
static enum rows_status refill(struct predict_stream *s)
{
    memmove(s->window, s->window + s->used, s->len - s->used);
    s->len -= s->used;
    s->used = 0;
    while (s->len < s->window_cap && s->offset < s->rq->body.len) {
        long n = body_read(&s->rq->body, s->offset, s->window + s->len, s->window_cap - s->len);
        if (n <= 0) return refuse(s, "unreadable_body", "the spooled body cannot be read");
        s->len += (size_t)n;
        s->offset += (uint64_t)n;
    }
    return ROWS_OK;
}

static bool is_final(const struct predict_stream *s)
{
    return s->offset == s->rq->body.len;
}

static bool is_blank(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return false;
    return true;
}

static enum rows_status decode_ndjson(struct predict_stream *s)
{
    while (s->used < s->len && s->rows.n_rows < BATCH_ROWS) {
        const char *line = s->window + s->used;
        const char *end = memchr(line, '\n', s->len - s->used);
        if (end == NULL && !is_final(s)) break;
        size_t len = end != NULL ? (size_t)(end - line) : s->len - s->used;
        if (!is_blank(line, len)) {
            size_t content = line[len - 1] == '\r' ? len - 1 : len;
            enum rows_status st = rows_ndjson_line(&s->rows, line, content, s->n_lines + 1);
            if (st != ROWS_OK) return st;
        }
        s->n_lines++;
        s->used += len + (end != NULL);
    }
    return ROWS_OK;
}

static enum rows_status decode_csv(struct predict_stream *s)
{
    size_t used = 0;
    enum rows_status st;
    if (s->csv == NULL) {
        st = rows_csv_header(&s->rows, s->window, s->len, is_final(s), &s->csv, &used, &s->error);
        if (st != ROWS_OK) return st;
        if (s->csv == NULL) return ROWS_OK; /* the window ends inside the header */
        s->used = used;
    }
    st = rows_csv_decode(s->csv, &s->rows, s->window + s->used, s->len - s->used, is_final(s),
                         BATCH_ROWS, &used, &s->error);
    if (st == ROWS_OK) s->used += used;
    return st;
}

static void score_chunk(void *ctx, size_t i)
{
    struct predict_stream *s = ctx;
    score_write_block(s->score, &s->rows, (uint32_t)(i * SCORE_BLOCK_ROWS), &s->texts[i],
                      &s->tallies[i]);
}

/* Decodes, scores and writes the next batch. No text at all means the end. */
static enum rows_status next_batch(struct predict_stream *s)
{
    bool is_first = s->offset == 0;
    rows_clear(&s->rows);
    for (unsigned i = 0; i < BATCH_BLOCKS; i++) {
        s->texts[i].len = 0;
        s->tallies[i] = (struct score_tally){ 0 };
    }
    s->text = 0;
    s->at = 0;
    enum rows_status st = refill(s);
    if (st != ROWS_OK || (s->len == 0 && !is_first)) return st;
    st = s->format == SCORE_CSV ? decode_csv(s) : decode_ndjson(s);
    if (st != ROWS_OK) return st;
    if (s->used == 0 && s->len > 0)
        return refuse(s, "line_too_long", "a line is over the limit of 1 MiB");
    if (is_first) score_write_head(s->score, s->rows.n_rows, &s->texts[0]);
    size_t n_blocks = (s->rows.n_rows + SCORE_BLOCK_ROWS - 1) / SCORE_BLOCK_ROWS;
    seg_pool_for(n_blocks > 1 ? s->rq->app->pool : NULL, SEG_PRIORITY_SCORING, n_blocks,
                 score_chunk, s);
    for (size_t i = 0; i < n_blocks; i++) {
        predict_count(s->rq, &s->tallies[i]);
        if (s->texts[i].failed) return ROWS_NO_MEMORY;
    }
    return s->texts[0].failed ? ROWS_NO_MEMORY : ROWS_OK;
}

/* reply_fill_fn: empties the texts of a batch, then makes the next. Blank lines alone give a batch
 * without text, so the end is where the body ends. */
static long fill(void *ctx, char *out, size_t size)
{
    struct predict_stream *s = ctx;
    for (;;) {
        while (s->text < BATCH_BLOCKS && s->at == s->texts[s->text].len) {
            s->text++;
            s->at = 0;
        }
        if (s->text < BATCH_BLOCKS) break;
        if (is_final(s) && s->used == s->len) return 0;
        if (next_batch(s) != ROWS_OK) return -1;
    }
    size_t left = s->texts[s->text].len - s->at;
    size_t n = left < size ? left : size;
    memcpy(out, s->texts[s->text].data + s->at, n);
    s->at += n;
    return (long)n;
}

static struct predict_stream *stream_new(struct http_request *rq, const struct predict *p,
                                         enum score_format format)
{
    struct predict_stream *s = seg_calloc(1, sizeof(*s));
    if (s == NULL) return NULL;
    s->rq = rq;
    s->format = format;
    rows_init(&s->rows, seg_model_inputs(p->served->model));
    s->window_cap = rq->body.len < WINDOW_BYTES ? (size_t)rq->body.len : WINDOW_BYTES;
    s->window = seg_alloc(s->window_cap + 1, 1);
    s->score = p->served->scores[format];
    if (s->window != NULL) return s;
    stream_release(s);
    return NULL;
}

/* The first batch was all: its texts are the whole reply. */
static enum http_status reply_batch(struct http_request *rq, struct predict_stream *s,
                                    const char *type)
{
    size_t len = 0, size = 1;
    for (unsigned i = 0; i < BATCH_BLOCKS; i++)
        size += s->texts[i].len;
    char *all = seg_alloc(size, 1);
    if (all == NULL) return reply_error(rq, ERR_NO_MEMORY, NULL);
    for (long n; (n = fill(s, all + len, size - len)) > 0;)
        len += (size_t)n;
    return reply_take(rq, HTTP_200, type, all, len);
}

enum http_status predict_stream(struct http_request *rq, const struct predict *p,
                                enum score_format format)
{
    char version[16];
    const char *type = format == SCORE_CSV ? "text/csv; charset=utf-8" : "application/x-ndjson";
    if (rq->body.len == 0) return reply_error(rq, ERR_BAD_BODY, "the body is empty");
    struct predict_stream *s = stream_new(rq, p, format);
    if (s == NULL || !request_defer(rq, stream_release, s))
        return reply_error(rq, ERR_NO_MEMORY, NULL);
    enum rows_status st = next_batch(s);
    if (st != ROWS_OK) return predict_refuse(rq, st == ROWS_REFUSED ? &s->error : NULL);
    if (s->rows.n_rows == 0 && is_final(s) && s->used == s->len)
        return reply_error(rq, ERR_INVALID, "there are no rows");
    snprintf(version, sizeof(version), "%u", p->served->version);
    reply_header(rq, "X-Model", p->served->name);
    reply_header(rq, "X-Model-Version", version);
    if (is_final(s) && s->used == s->len) return reply_batch(rq, s, type);
    return reply_stream(rq, HTTP_200, type, fill, s);
}
