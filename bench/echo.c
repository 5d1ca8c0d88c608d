/* What serve.py compares with: bare libmicrohttpd and a decoder. No routes, no checks of the
 * request, no preprocessing. By path:
 *
 * /limit: rows of a scoring body; the answer has the usual length and was made at the start.
 *
 * /echo: the same rows; the answer has the usual form and length, shares of each row's first four
 * numbers in it as text.
 *
 * /bare: the same with a network 20-64-32-4 of random weights, whose outputs are in the answer.
 *
 * /tensor-limit, /tensor-bare: float32 behind the tensors' header as they are; an answer of the
 * usual length, or a network's outputs as float32.
 *
 * Connections are dealt out in turn: threads that accept for themselves would often leave one of
 * them idle, and the limit would be that of the other. Usage: bench_echo N_FEATURES BYTES_A_ROW
 * BYTES_A_TENSOR_ROW; prints its port and serves until killed. */
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "compute/kernels.h"
#include "http/acceptor.h"
#include "http/listen.h"
#include "http/rows.h"
#include "json/json_out.h"
#include "neural/network.h"
#include "processors.h"

#define THREADS      2u
#define ROWS_MAX     1000u
#define N_CLASSES    4u
#define ROW_TEXT_MAX 400u

static struct MHD_Daemon *daemons[THREADS];
static struct seg_schema schema;
static struct seg_network net;
static size_t row_bytes, tensor_row_bytes;
static char *answer; /* enough for ROWS_MAX rows */

struct body {
    char *data;
    size_t len, cap;
};

static enum MHD_Result reply(struct MHD_Connection *c, bool ok, char *text, size_t len)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(
        ok ? len : 2, text, text == answer ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_FREE);
    MHD_add_response_header(r, "Content-Type", "application/json");
    enum MHD_Result queued = MHD_queue_response(c, ok ? 200 : 400, r);
    MHD_destroy_response(r);
    return queued;
}

/* out (N_CLASSES, 64) = the probabilities that a network gives the rows of a tile, or the shares
 * of its first columns, which are as long as text. */
static void make_numbers(const float *tile, bool scores, float *scratch, float *out)
{
    if (scores)
        seg_network_forward_few(&net, 0, net.n_layers, SEG_TILE_ROWS, tile, out, scratch);
    else
        memcpy(out, tile, N_CLASSES * SEG_TILE_ROWS * sizeof(float));
    seg_kernels_get()->softmax(out, N_CLASSES);
}

#define PUT(p, text) (memcpy(p, text, sizeof(text) - 1), (p) + sizeof(text) - 1)

/* Texts of a tile's first numbers, which stand in each row twice. */
struct texts {
    char text[SEG_TILE_ROWS][32];
    size_t len[SEG_TILE_ROWS];
};

/* A row of an answer, in the form that segmentd gives it: numbers (N_CLASSES, 64), of row r. */
static char *put_row(char *p, const float *numbers, const struct texts *t, size_t r)
{
    p = PUT(p, "{\"status\":\"ok\",\"class\":\"a\",\"confidence\":");
    memcpy(p, t->text[r], sizeof(t->text[r]));
    p = PUT(p + t->len[r], ",\"probabilities\":{\"a\":");
    memcpy(p, t->text[r], sizeof(t->text[r]));
    p = PUT(p + t->len[r], ",\"b\":");
    p += float_text(numbers[SEG_TILE_ROWS + r], p);
    p = PUT(p, ",\"c\":");
    p += float_text(numbers[2 * SEG_TILE_ROWS + r], p);
    p = PUT(p, ",\"d\":");
    p += float_text(numbers[3 * SEG_TILE_ROWS + r], p);
    return PUT(p, "},\"imputed\":[],\"unseen\":[]},");
}

/* The answer to the rows of r, from malloc. */
static char *write_rows(const struct rows *r, bool scores, size_t *ret_len)
{
    float *scratch = seg_alloc_aligned(seg_network_scratch(&net), sizeof(float));
    _Alignas(SEG_ALIGN) float out[N_CLASSES * SEG_TILE_ROWS];
    struct texts texts;
    char *text = malloc(64 + r->n_rows * ROW_TEXT_MAX), *p = text;
    if (text == NULL || scratch == NULL) abort();
    p = PUT(p, "{\"results\":[");
    for (size_t row = 0; row < r->n_rows; row++) {
        const float *tile = seg_tiles_at(&r->cells, row / SEG_TILE_ROWS);
        if (row % SEG_TILE_ROWS == 0) {
            make_numbers(tile, scores, scratch, out);
            for (size_t i = 0; i < SEG_TILE_ROWS && row + i < r->n_rows; i++)
                texts.len[i] = float_text(out[i], texts.text[i]);
        }
        p = put_row(p, out, &texts, row % SEG_TILE_ROWS);
    }
    p[-1] = ']';
    *p++ = '}';
    *ret_len = (size_t)(p - text);
    seg_free(scratch);
    return text;
}

static enum MHD_Result predict(struct MHD_Connection *c, const struct body *b, bool writes,
                               bool scores)
{
    struct rows r;
    struct rows_error e;
    char *text = answer;
    rows_init(&r, &schema);
    bool ok = b->len > 0 && rows_json_decode(&r, b->data, b->len, ROWS_MAX, &e) == ROWS_OK;
    size_t len = r.n_rows * row_bytes;
    if (ok && writes) text = write_rows(&r, scores, &len);
    rows_release(&r);
    return reply(c, ok, text, len);
}

/* Rows (n_rows, n_features) into tiles, which is all that a model asks for. */
static enum MHD_Result infer(struct MHD_Connection *c, const struct body *b, bool scores)
{
    const char *text =
        MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Inference-Header-Content-Length");
    size_t header = text != NULL ? (size_t)atoi(text) : 0;
    size_t n_rows = header < b->len ? (b->len - header) / (schema.n_cells * sizeof(float)) : 0;
    size_t n_tiles = (n_rows + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
    size_t tile_floats = (size_t)schema.n_cells * SEG_TILE_ROWS;
    float *rows =
        seg_alloc_aligned(2 * n_tiles * tile_floats + seg_network_scratch(&net), sizeof(float));
    bool ok = n_rows > 0 && n_rows <= ROWS_MAX && rows != NULL;
    if (ok) memcpy(rows, b->data + header, n_rows * schema.n_cells * sizeof(float));
    float *outs = ok && scores ? malloc(n_tiles * N_CLASSES * SEG_TILE_ROWS * sizeof(float)) : NULL;
    for (size_t i = 0; ok && i < n_tiles; i++) {
        float *tile = rows + (n_tiles + i) * tile_floats;
        _Alignas(SEG_ALIGN) float out[N_CLASSES * SEG_TILE_ROWS];
        seg_kernels_get()->from_rows(rows + i * tile_floats, schema.n_cells, tile);
        if (outs == NULL) continue;
        make_numbers(tile, true, rows + 2 * n_tiles * tile_floats, out);
        for (size_t r = 0; r < SEG_TILE_ROWS; r++)
            for (size_t k = 0; k < N_CLASSES; k++)
                outs[(i * SEG_TILE_ROWS + r) * N_CLASSES + k] = out[k * SEG_TILE_ROWS + r];
    }
    seg_free(rows);
    if (outs != NULL) return reply(c, ok, (char *)outs, n_rows * N_CLASSES * sizeof(float));
    return reply(c, ok, answer, n_rows * tensor_row_bytes);
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_len, void **state)
{
    struct body *b = *state;
    (void)ctx, (void)method, (void)version;
    if (b == NULL) {
        *state = b = seg_calloc(1, sizeof(*b));
        return b != NULL ? MHD_YES : MHD_NO;
    }
    if (*data_len > 0) {
        if (b->cap - b->len < *data_len) {
            b->cap = 2 * (b->len + *data_len);
            b->data = seg_realloc(b->data, b->cap, 1);
            if (b->data == NULL) return MHD_NO;
        }
        memcpy(b->data + b->len, data, *data_len);
        b->len += *data_len;
        *data_len = 0;
        return MHD_YES;
    }
    if (strncmp(url, "/tensor", 7) == 0) return infer(c, b, strcmp(url, "/tensor-bare") == 0);
    bool scores = strcmp(url, "/bare") == 0;
    return predict(c, b, scores || strcmp(url, "/echo") == 0, scores);
}

static void forget(void *ctx, struct MHD_Connection *c, void **state,
                   enum MHD_RequestTerminationCode why)
{
    struct body *b = *state;
    (void)ctx, (void)c, (void)why;
    if (b != NULL) seg_free(b->data);
    seg_free(b);
}

static bool deal(void *ctx, int fd, bool is_probe)
{
    static const struct sockaddr nowhere;
    unsigned *turn = ctx;
    (void)is_probe;
    MHD_add_connection(daemons[(*turn)++ % THREADS], fd, &nowhere, sizeof(nowhere));
    return true;
}

static size_t refuse_none(void *ctx, char *text, size_t size)
{
    (void)ctx, (void)text, (void)size;
    return 0;
}

static bool make_schema(unsigned n_features)
{
    seg_schema_init(&schema);
    for (unsigned i = 0; i < n_features; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%u", i);
        if (seg_schema_add(&schema, name, SEG_NUMERIC, 1, NULL) != SEG_OK) return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    char err[256], address[64];
    unsigned turn = 0;
    cpu_set_t all, part;
    struct seg_rng rng = seg_rng_make(0, 0);
    if (argc != 4 || !make_schema((unsigned)atoi(argv[1]))) return 2;
    const uint32_t sizes[] = { schema.n_cells, 64, 32, N_CLASSES };
    if (seg_network_init(&net, sizes, 3, SEG_RELU, SEG_LINEAR, &rng, NULL) != SEG_OK) return 1;
    row_bytes = (size_t)atoi(argv[2]);
    tensor_row_bytes = (size_t)atoi(argv[3]);
    answer = malloc(ROWS_MAX * (row_bytes + tensor_row_bytes));
    if (answer == NULL) return 1;
    memset(answer, ' ', ROWS_MAX * (row_bytes + tensor_row_bytes));
    if (sched_getaffinity(0, sizeof(all), &all) != 0) return 1;
    for (unsigned i = 0; i < THREADS; i++) {
        processors_part(&all, i, THREADS, &part); /* as segmentd does */
        sched_setaffinity(0, sizeof(part), &part);
        daemons[i] = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC, 0, NULL, NULL,
            handle, NULL, MHD_OPTION_NOTIFY_COMPLETED, forget, NULL, MHD_OPTION_END);
        if (daemons[i] == NULL) return 1;
    }
    sched_setaffinity(0, sizeof(all), &all);
    int fd = listen_open("127.0.0.1:0", err, sizeof(err));
    if (fd < 0 || acceptor_start(fd, deal, refuse_none, 1, &turn) == NULL) return 1;
    printf("%u\n", listen_name(fd, address, sizeof(address)));
    fflush(stdout);
    pause();
    return 0;
}
