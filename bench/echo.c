/* The limit that serve.py compares with: bare libmicrohttpd, the decoder of scoring bodies, and an
 * answer of the usual length that was made at the start. No model, no routes, no checks of the
 * request. Usage: bench_echo N_FEATURES BYTES_A_ROW; prints its port and serves until killed. */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "http/rows.h"

#define THREADS  2u
#define ROWS_MAX 100000u

static struct seg_schema schema;
static size_t row_bytes;
static char *answer; /* enough for the largest batch asked for */

struct body {
    char *data;
    size_t len, cap;
};

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, size_t len)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, answer, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(r, "Content-Type", "application/json");
    enum MHD_Result queued = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return queued;
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *data_len, void **state)
{
    struct body *b = *state;
    (void)ctx, (void)url, (void)method, (void)version;
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
    struct rows r;
    struct rows_error e;
    rows_init(&r, &schema);
    bool ok = b->len > 0 && rows_json_decode(&r, b->data, b->len, ROWS_MAX, &e) == ROWS_OK;
    enum MHD_Result queued = reply(c, ok ? 200 : 400, ok ? r.n_rows * row_bytes : 2);
    rows_release(&r);
    return queued;
}

static void forget(void *ctx, struct MHD_Connection *c, void **state,
                   enum MHD_RequestTerminationCode why)
{
    struct body *b = *state;
    (void)ctx, (void)c, (void)why;
    if (b != NULL) seg_free(b->data);
    seg_free(b);
}

int main(int argc, char **argv)
{
    struct sockaddr_in loopback = { .sin_family = AF_INET };
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    unsigned n_features = argc > 1 ? (unsigned)atoi(argv[1]) : 20;
    row_bytes = argc > 2 ? (size_t)atoi(argv[2]) : 100;
    answer = malloc(1000 * row_bytes);
    if (answer == NULL) return 1;
    memset(answer, ' ', 1000 * row_bytes);
    seg_schema_init(&schema);
    for (unsigned i = 0; i < n_features; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%u", i);
        if (seg_schema_add(&schema, name, SEG_NUMERIC, 1, NULL) != SEG_OK) return 1;
    }
    struct MHD_Daemon *d =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, handle, NULL,
                         MHD_OPTION_SOCK_ADDR, &loopback, MHD_OPTION_THREAD_POOL_SIZE, THREADS,
                         MHD_OPTION_NOTIFY_COMPLETED, forget, NULL, MHD_OPTION_END);
    if (d == NULL) return 1;
    printf("%u\n", (unsigned)MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    pause();
    return 0;
}
