/* How fast scoring bodies are decoded on one core: 20 features a row, 100 rows a body, every format
 * that rows.h reads. The best of several rounds, by CPU time, since the machine is shared. Numbers
 * are what clients send: short decimals, and the 16 or 17 digits that Python and JavaScript print.
 * Where simdjson is installed, its on-demand reader decodes the same JSON beside ours. */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "compute/tiles.h"
#include "http/rows.h"
#ifdef HAVE_SIMDJSON
#include "rows_simdjson.h"
#endif

#define N_FEATURES 20u
#define N_ROWS     100u
#define ROUNDS     15
#define ROUND_S    0.1

struct text {
    char *data;
    size_t len, cap;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *t, const char *fmt, ...)
{
    char piece[256];
    va_list args;
    va_start(args, fmt);
    size_t n = (size_t)vsnprintf(piece, sizeof(piece), fmt, args);
    va_end(args);
    if (t->cap - t->len < n) {
        t->cap = 2 * (t->cap + n);
        t->data = seg_realloc(t->data, t->cap, 1);
        if (t->data == NULL) abort();
    }
    memcpy(t->data + t->len, piece, n);
    t->len += n;
}

enum body { COLUMNAR, COLUMNAR_IDS, NAMED, NDJSON, CSV };
static const char *const BODY_NAMES[] = { "columnar", "columnar with ids", "named", "ndjson",
                                          "csv" };

static void put_row(struct text *t, enum body body, const double *x, int digits, unsigned r)
{
    char number[40];
    bool named = body == NAMED || body == NDJSON;
    if (named) put(t, "{\"user_id\": \"user-%06u\", \"features\": {", r);
    if (body == COLUMNAR || body == COLUMNAR_IDS) put(t, "[");
    for (unsigned i = 0; i < N_FEATURES; i++) {
        snprintf(number, sizeof(number), "%.*g", digits, x[r * N_FEATURES + i]);
        if (named) put(t, "\"feature_%02u\": ", i);
        put(t, "%s%s", number, i + 1 == N_FEATURES ? "" : body == CSV ? "," : ", ");
    }
    put(t, "%s", named ? "}}" : body == CSV ? "" : "]");
    if (body == NDJSON || body == CSV)
        put(t, "\n");
    else if (r + 1 < N_ROWS)
        put(t, ", ");
}

static void make_body(struct text *t, enum body body, const double *x, int digits)
{
    t->len = 0;
    if (body == COLUMNAR || body == COLUMNAR_IDS) {
        put(t, "{\"columns\": [");
        for (unsigned i = 0; i < N_FEATURES; i++)
            put(t, "\"feature_%02u\"%s", i, i + 1 < N_FEATURES ? ", " : "], ");
        for (unsigned r = 0; body == COLUMNAR_IDS && r < N_ROWS; r++)
            put(t, "%s\"user-%06u\"%s", r == 0 ? "\"user_ids\": [" : "", r,
                r + 1 < N_ROWS ? ", " : "], ");
        put(t, "\"data\": [");
    } else if (body == NAMED) {
        put(t, "{\"rows\": [");
    } else if (body == CSV) {
        for (unsigned i = 0; i < N_FEATURES; i++)
            put(t, "feature_%02u%s", i, i + 1 < N_FEATURES ? "," : "\n");
    }
    for (unsigned r = 0; r < N_ROWS; r++)
        put_row(t, body, x, digits, r);
    if (body < NDJSON) put(t, "]}");
}

static void decode(struct rows *r, enum body body, const struct text *t)
{
    struct rows_error e;
    enum rows_status st = ROWS_OK;
    rows_clear(r);
    if (body < NDJSON) {
        st = rows_json_decode(r, t->data, t->len, N_ROWS, &e);
    } else if (body == NDJSON) {
        const char *at = t->data, *end = t->data + t->len;
        for (size_t line = 1; at < end && st == ROWS_OK; line++) {
            const char *feed = memchr(at, '\n', (size_t)(end - at));
            st = rows_ndjson_line(r, at, (size_t)(feed - at), line);
            at = feed + 1;
        }
    } else {
        struct rows_csv *csv = NULL;
        size_t used, more;
        st = rows_csv_header(r, t->data, t->len, 1, &csv, &used, &e);
        if (st == ROWS_OK)
            st = rows_csv_decode(csv, r, t->data + used, t->len - used, 1, N_ROWS, &more, &e);
        rows_csv_free(csv);
    }
    if (st != ROWS_OK || r->n_rows != N_ROWS || r->n_faults_total != 0) {
        fprintf(stderr, "%s: not decoded\n", BODY_NAMES[body]);
        exit(1);
    }
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void decode_own(void *ctx, enum body body, const struct text *t)
{
    decode(ctx, body, t);
}

#ifdef HAVE_SIMDJSON
static void decode_simdjson(void *ctx, enum body body, const struct text *t)
{
    static float tiles[(N_ROWS + SEG_TILE_ROWS) * N_FEATURES];
    size_t n = rows_simdjson_decode(t->data, t->len, t->cap, ctx, N_FEATURES, tiles);
    if (n == N_ROWS) return;
    fprintf(stderr, "%s: not decoded by simdjson\n", BODY_NAMES[body]);
    exit(1);
}

#endif

static void measure(const char *who, void (*f)(void *ctx, enum body body, const struct text *t),
                    void *ctx, enum body body, const struct text *t, int digits)
{
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double start = cpu_s(), end;
        unsigned n = 0;
        do {
            for (int i = 0; i < 20; i++, n++)
                f(ctx, body, t);
            end = cpu_s();
        } while (end - start < ROUND_S);
        double bodies_per_s = n / (end - start);
        if (bodies_per_s > best) best = bodies_per_s;
    }
    printf("%-8s %-17s %2d digits %4.0f bytes/row %7.0f MB/s %6.2f M rows/s\n", who,
           BODY_NAMES[body], digits, (double)t->len / N_ROWS, best * (double)t->len / 1e6,
           best * N_ROWS / 1e6);
}

#ifdef HAVE_SIMDJSON
static void measure_simdjson(enum body body, struct text *t, int digits)
{
    static char text[N_FEATURES][16];
    const char *names[N_FEATURES];
    for (unsigned i = 0; i < N_FEATURES; i++) {
        snprintf(text[i], sizeof(text[i]), "feature_%02u", i);
        names[i] = text[i];
    }
    if (t->cap < t->len + rows_simdjson_padding()) {
        t->cap = t->len + rows_simdjson_padding();
        t->data = seg_realloc(t->data, t->cap, 1);
        if (t->data == NULL) abort();
    }
    measure("simdjson", decode_simdjson, names, body, t, digits);
}
#endif

int main(void)
{
    static const int digits[] = { 4, 6, 17 };
    static double x[N_ROWS * N_FEATURES];
    struct seg_schema schema;
    struct rows rows;
    struct text text = { 0 };
    seg_schema_init(&schema);
    srand(1);
    for (unsigned i = 0; i < N_ROWS * N_FEATURES; i++)
        x[i] = (rand() % 2000001 - 1000000) / 1e4 + rand() / 1e12;
    for (unsigned i = 0; i < N_FEATURES; i++) {
        char name[32];
        snprintf(name, sizeof(name), "feature_%02u", i);
        if (seg_schema_add(&schema, name, SEG_NUMERIC, 1, NULL) != SEG_OK) return 1;
    }
    rows_init(&rows, &schema);
#ifdef HAVE_SIMDJSON
    printf("simdjson: %s\n", rows_simdjson_isa());
#endif
    for (size_t k = 0; k < sizeof(digits) / sizeof(digits[0]); k++)
        for (enum body body = COLUMNAR; body <= CSV; body++) {
            make_body(&text, body, x, digits[k]);
            measure("segmentd", decode_own, &rows, body, &text, digits[k]);
#ifdef HAVE_SIMDJSON
            if (body < NDJSON) measure_simdjson(body, &text, digits[k]);
#endif
        }
    rows_release(&rows);
    seg_schema_release(&schema);
    seg_free(text.data);
    return 0;
}
