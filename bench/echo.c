/* The limit that serve.py compares with: bare libmicrohttpd, a decoder, and an answer of the usual
 * length that was made at the start. No model, no routes, no checks of the request. /predict has
 * the decoder of scoring bodies; /infer takes what stands behind the tensors' header for rows of
 * float32, as they are. Connections are dealt out in turn: threads that accept for themselves would
 * often leave one of them idle, and the limit would be that of the other.
 * Usage: bench_echo N_FEATURES BYTES_A_ROW BYTES_A_TENSOR_ROW; prints its port and serves until
 * killed. */
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

#define THREADS  2u
#define ROWS_MAX 1000u

static struct MHD_Daemon *daemons[THREADS];
static struct seg_schema schema;
static size_t row_bytes, tensor_row_bytes;
static char *answer; /* enough for ROWS_MAX rows */

struct body {
    char *data;
    size_t len, cap;
};

static enum MHD_Result reply(struct MHD_Connection *c, bool ok, size_t len)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(ok ? len : 2, answer, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(r, "Content-Type", "application/json");
    enum MHD_Result queued = MHD_queue_response(c, ok ? 200 : 400, r);
    MHD_destroy_response(r);
    return queued;
}

static enum MHD_Result predict(struct MHD_Connection *c, const struct body *b)
{
    struct rows r;
    struct rows_error e;
    rows_init(&r, &schema);
    bool ok = b->len > 0 && rows_json_decode(&r, b->data, b->len, ROWS_MAX, &e) == ROWS_OK;
    enum MHD_Result queued = reply(c, ok, r.n_rows * row_bytes);
    rows_release(&r);
    return queued;
}

/* Rows (n_rows, n_features) into tiles, which is all that a model would ask for. */
static enum MHD_Result infer(struct MHD_Connection *c, const struct body *b)
{
    const char *text =
        MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Inference-Header-Content-Length");
    size_t header = text != NULL ? (size_t)atoi(text) : 0;
    size_t n_rows = header < b->len ? (b->len - header) / (schema.n_cells * sizeof(float)) : 0;
    size_t n_tiles = (n_rows + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
    size_t tile_floats = (size_t)schema.n_cells * SEG_TILE_ROWS;
    float *rows = seg_alloc_aligned(2 * n_tiles * tile_floats, sizeof(float));
    bool ok = n_rows > 0 && n_rows <= ROWS_MAX && rows != NULL;
    if (ok) memcpy(rows, b->data + header, n_rows * schema.n_cells * sizeof(float));
    for (size_t i = 0; ok && i < n_tiles; i++)
        seg_kernels_get()->from_rows(rows + i * tile_floats, schema.n_cells,
                                     rows + (n_tiles + i) * tile_floats);
    seg_free(rows);
    return reply(c, ok, n_rows * tensor_row_bytes);
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
    return strcmp(url, "/infer") == 0 ? infer(c, b) : predict(c, b);
}

static void forget(void *ctx, struct MHD_Connection *c, void **state,
                   enum MHD_RequestTerminationCode why)
{
    struct body *b = *state;
    (void)ctx, (void)c, (void)why;
    if (b != NULL) seg_free(b->data);
    seg_free(b);
}

static void deal(void *ctx, int fd, const struct sockaddr *from, socklen_t len, bool is_probe)
{
    unsigned *turn = ctx;
    (void)is_probe;
    MHD_add_connection(daemons[(*turn)++ % THREADS], fd, from, len);
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
    if (argc != 4 || !make_schema((unsigned)atoi(argv[1]))) return 2;
    row_bytes = (size_t)atoi(argv[2]);
    tensor_row_bytes = (size_t)atoi(argv[3]);
    answer = malloc(ROWS_MAX * (row_bytes + tensor_row_bytes));
    if (answer == NULL) return 1;
    memset(answer, ' ', ROWS_MAX * (row_bytes + tensor_row_bytes));
    for (unsigned i = 0; i < THREADS; i++) {
        daemons[i] = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC, 0, NULL, NULL,
            handle, NULL, MHD_OPTION_NOTIFY_COMPLETED, forget, NULL, MHD_OPTION_END);
        if (daemons[i] == NULL) return 1;
    }
    int fd = listen_open("127.0.0.1:0", err, sizeof(err));
    if (fd < 0 || acceptor_start(fd, deal, &turn) == NULL) return 1;
    printf("%u\n", listen_name(fd, address, sizeof(address)));
    fflush(stdout);
    pause();
    return 0;
}
