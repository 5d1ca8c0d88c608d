/* One named work of the engine on a file of float32 rows, timed; bench/engine.py runs it in turn
 * with the peers. The clock covers the fit, not reading the file; the answer is one JSON line.
 * Two private headers are used: the k-means++ start alone (kmeans_run.h), and the stream of the
 * initial weights (fit.h), so that peers can begin with the same ones. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "cluster/k_search.h"
#include "cluster/kmeans.h"
#include "cluster/kmeans_run.h"
#include "cluster/minibatch.h"
#include "cluster/prototypes.h"
#include "features/schema.h"
#include "compute/kernels.h"
#include "neural/fit.h"
#include "neural/train.h"

#define N_WORKERS 2u

__attribute__((noreturn)) static void die(const char *what, const char *which)
{
    fprintf(stderr, "engine: %s: %s\n", what, which);
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void read_exactly(FILE *f, const char *path, void *to, size_t bytes)
{
    if (fread(to, 1, bytes, f) != bytes) die("cannot read enough bytes", path);
}

/* The first n rows of a file of rows (n, d), a tile at a time: features are in memory once. */
static struct seg_tiles read_tiles(const char *path, size_t n, uint32_t d)
{
    const struct seg_kernels *kernels = seg_kernels_get();
    struct seg_tiles x;
    float *rows = seg_alloc((size_t)d * SEG_TILE_ROWS, sizeof *rows);
    FILE *f = fopen(path, "rb");
    seg_tiles_init(&x, d);
    if (f == NULL || rows == NULL || seg_tiles_grow(&x, n) != SEG_OK) die("cannot load", path);
    for (size_t t = 0; t < seg_tiles_count(&x); t++) {
        memset(rows, 0, (size_t)d * SEG_TILE_ROWS * sizeof *rows);
        read_exactly(f, path, rows, (size_t)d * seg_tiles_rows(&x, t) * sizeof *rows);
        kernels->from_rows(rows, d, seg_tiles_at(&x, t));
    }
    fclose(f);
    seg_free(rows);
    return x;
}

static long peak_kb(void)
{
    char line[128];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    if (f == NULL) die("cannot read", "/proc/self/status");
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "VmHWM: %ld", &kb) != 1)
        ;
    fclose(f);
    return kb;
}

static void answer(double seconds, double loss, uint32_t n_iter)
{
    printf("{\"seconds\": %.6f, \"loss\": %.9g, \"iterations\": %u, \"kernel\": \"%s\", "
           "\"peak_kb\": %ld}\n",
           seconds, loss, n_iter, seg_kernels_get()->isa, peak_kb());
}

static unsigned long number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0') die("not a number", text);
    return value;
}

#define TRIPS 50000u

static void stay_at(unsigned processor)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    if (sched_setaffinity(0, sizeof one, &one) != 0) die("cannot stay at a", "processor");
}

/* Sends back every odd number one higher. */
static void *send_back(void *ball)
{
    stay_at(1);
    for (unsigned i = 1; i < 2 * TRIPS; i += 2) {
        while (atomic_load_explicit((atomic_uint *)ball, memory_order_acquire) != i)
            ;
        atomic_store_explicit((atomic_uint *)ball, i + 1, memory_order_release);
    }
    return NULL;
}

/* trip: nanoseconds that a cache line takes to the second processor and back. Under a host that
 * moves its guests this changes sixfold from one minute to the next, and with it what two
 * threads are worth that work together closely. */
static void run_trip(void)
{
    static _Alignas(SEG_ALIGN) atomic_uint ball;
    pthread_t other;
    stay_at(0);
    if (pthread_create(&other, NULL, send_back, &ball) != 0) die("no thread", "trip");
    double begin = 0;
    for (unsigned i = 0; i < 2 * TRIPS; i += 2) {
        if (i == TRIPS) begin = now_s(); /* the other one is awake by now */
        atomic_store_explicit(&ball, i + 1, memory_order_release);
        while (atomic_load_explicit(&ball, memory_order_acquire) != i + 2)
            ;
    }
    double seconds = now_s() - begin;
    pthread_join(other, NULL);
    printf("{\"ns\": %.0f}\n", seconds / (TRIPS / 2) * 1e9);
}

/* kmeans DATA N D START K ITERATIONS: Lloyd from given centroids, tolerance 0. */
static void run_kmeans(struct seg_pool *pool, char **arg)
{
    struct seg_error err = { 0 };
    struct seg_kmeans km;
    struct seg_matrix start;
    struct seg_kmeans_params p = { .k = (uint32_t)number(arg[4]),
                                   .init = SEG_INIT_GIVEN,
                                   .n_init = 1,
                                   .n_iter_max = (uint32_t)number(arg[5]) };
    uint32_t d = (uint32_t)number(arg[2]);
    struct seg_tiles x = read_tiles(arg[0], number(arg[1]), d);
    if (seg_matrix_init(&start, p.k, d) != SEG_OK) die("no memory", "start");
    FILE *f = fopen(arg[3], "rb");
    if (f == NULL) die("cannot open", arg[3]);
    read_exactly(f, arg[3], start.data, (size_t)p.k * d * sizeof *start.data);
    fclose(f);
    p.start = &start;
    double begin = now_s();
    if (seg_kmeans_fit_own(pool, &x, &p, NULL, &km, &err) != SEG_OK) die("k-means", err.text);
    answer(now_s() - begin, km.inertia, km.n_iter);
    seg_kmeans_release(&km);
    seg_matrix_release(&start);
    seg_tiles_release(&x);
}

/* minibatch DATA N D K BATCH SEED: as the service does it when nothing else is said. */
static void run_minibatch(struct seg_pool *pool, char **arg)
{
    struct seg_error err = { 0 };
    struct seg_kmeans km;
    const struct seg_minibatch_params p = { .k = (uint32_t)number(arg[3]),
                                            .n_init = 3,
                                            .batch_size = (uint32_t)number(arg[4]),
                                            .n_iter_max = 10000,
                                            .patience = 10,
                                            .seed = number(arg[5]) };
    struct seg_tiles x = read_tiles(arg[0], number(arg[1]), (uint32_t)number(arg[2]));
    double begin = now_s();
    if (seg_minibatch_fit(pool, &x, &p, NULL, &km, &err) != SEG_OK) die("mini-batches", err.text);
    answer(now_s() - begin, km.inertia, km.n_iter);
    seg_kmeans_release(&km);
    seg_tiles_release(&x);
}

/* prototypes DATA N D K ITERATIONS CATEGORIES: the last columns become categories of 8 codes. */
static void run_prototypes(struct seg_pool *pool, char **arg)
{
    struct seg_error err = { 0 };
    struct seg_kmeans km;
    struct seg_mixed space;
    const struct seg_prototypes_params p = { .k = (uint32_t)number(arg[3]),
                                             .n_init = 1,
                                             .n_iter_max = (uint32_t)number(arg[4]) };
    struct seg_tiles x = read_tiles(arg[0], number(arg[1]), (uint32_t)number(arg[2]));
    uint32_t n_codes[SEG_CELLS_MAX] = { 0 };
    for (uint32_t c = x.n_cols - (uint32_t)number(arg[5]); c < x.n_cols; c++) {
        n_codes[c] = 8;
        for (size_t r = 0; r < x.n_rows; r++) {
            float *cell = seg_tiles_cell(&x, r, c);
            *cell = floorf(fminf(fmaxf(*cell * 2 + 4, 0), 7));
        }
    }
    if (seg_mixed_init(&space, n_codes, x.n_cols) != SEG_OK) die("no memory", "space");
    double begin = now_s();
    if (seg_mixed_weight(pool, &x, &space, &space.weight) != SEG_OK ||
        seg_prototypes_fit(pool, &x, &space, &p, NULL, &km, &err) != SEG_OK)
        die("k-prototypes", err.text);
    answer(now_s() - begin, km.inertia, km.n_iter);
    seg_kmeans_release(&km);
    seg_mixed_release(&space);
    seg_tiles_release(&x);
}

/* start DATA N D K SEED: greedy k-means++; parallel the same: k-means||; the loss is the sum of
 * squared distances to it. */
static void run_start(struct seg_pool *pool, enum seg_kmeans_init init, char **arg)
{
    struct seg_tiles x = read_tiles(arg[0], number(arg[1]), (uint32_t)number(arg[2]));
    struct seg_matrix c;
    struct seg_rng rng = seg_rng_make(number(arg[4]), 0);
    size_t n_lanes = seg_tiles_count(&x) * SEG_TILE_ROWS;
    float *closest = seg_alloc(n_lanes, sizeof *closest);
    uint32_t *label = seg_alloc(n_lanes, sizeof *label);
    double sum = 0;
    if (seg_matrix_init(&c, number(arg[3]), x.n_cols) != SEG_OK || closest == NULL || label == NULL)
        die("no memory", "start");
    double begin = now_s();
    if (kmeans_seed(pool, &x, init, &rng, closest, NULL, &c) != SEG_OK)
        die("no memory", "kmeans_seed");
    double seconds = now_s() - begin;
    seg_kmeans_assign(pool, &x, &c, label, closest);
    for (size_t i = 0; i < x.n_rows; i++)
        sum += (double)closest[i];
    answer(seconds, sum, 0);
    seg_free(label);
    seg_free(closest);
    seg_matrix_release(&c);
    seg_tiles_release(&x);
}

/* choose DATA N D K_MIN K_MAX N_INIT: choosing k, beside one fit at K_MAX with the same options. */
static void run_choose(struct seg_pool *pool, char **arg)
{
    struct seg_error err = { 0 };
    struct seg_k_search found;
    struct seg_kmeans km;
    struct seg_k_search_params p = {
        .k_min = (uint32_t)number(arg[3]),
        .k_max = (uint32_t)number(arg[4]),
        .kmeans = { .n_init = (uint32_t)number(arg[5]), .n_iter_max = 300, .tol = 1e-4 }
    };
    struct seg_kmeans_params largest = p.kmeans;
    struct seg_tiles x = read_tiles(arg[0], number(arg[1]), (uint32_t)number(arg[2]));
    largest.k = p.k_max;
    double begin = now_s();
    if (seg_kmeans_fit(pool, &x, &largest, NULL, &km, &err) != SEG_OK) die("k-means", err.text);
    double fitted = now_s();
    if (seg_k_search(pool, &x, &p, NULL, &found, &err) != SEG_OK) die("k search", err.text);
    printf("{\"fit\": %.6f, \"search\": %.6f, \"k\": %u, \"rows\": %zu}\n", fitted - begin,
           now_s() - fitted, found.k, found.n_rows_used);
    seg_k_search_release(&found);
    seg_kmeans_release(&km);
    seg_tiles_release(&x);
}

/* The weights a fit begins with, layer by layer weights (n_out, n_in) then bias. */
static void write_network(const char *path, const struct seg_network *net)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL) die("cannot write", path);
    for (uint32_t i = 0; i < net->n_layers; i++) {
        const struct seg_matrix *w = &net->layers[i].weights;
        fwrite(w->data, sizeof *w->data, w->n_rows * w->n_cols, f);
        fwrite(net->layers[i].bias, sizeof *net->layers[i].bias, w->n_rows, f);
    }
    if (fclose(f) != 0) die("cannot write", path);
}

/* weights FILE coder|classifier SIZES…: what the fits below begin with. */
static void run_weights(char **arg, uint32_t n_sizes)
{
    struct seg_error err = { 0 };
    struct seg_network net;
    uint32_t sizes[SEG_LAYERS_MAX + 1], n_layers = n_sizes - 1;
    enum seg_activation activations[SEG_LAYERS_MAX];
    bool coder = strcmp(arg[1], "coder") == 0;
    struct seg_rng rng = seg_rng_make(0, SEG_STREAM_WEIGHTS);
    if (n_sizes < 2 || n_layers > SEG_LAYERS_MAX) die("bad sizes", arg[0]);
    for (uint32_t i = 0; i < n_sizes; i++)
        sizes[i] = (uint32_t)number(arg[2 + i]);
    for (uint32_t i = 0; i < n_layers; i++)
        activations[i] =
            i + 1 == n_layers || (coder && i + 1 == n_layers / 2) ? SEG_LINEAR : SEG_RELU;
    if (seg_network_init_each(&net, sizes, activations, n_layers, &rng, &err) != SEG_OK)
        die("weights", err.text);
    write_network(arg[0], &net);
    seg_network_release(&net);
}

static uint16_t *read_labels(const char *path, size_t n)
{
    uint16_t *y = seg_alloc(n, sizeof *y);
    FILE *f = fopen(path, "rb");
    if (f == NULL || y == NULL) die("cannot load", path);
    read_exactly(f, path, y, n * sizeof *y);
    fclose(f);
    return y;
}

/* classifier DATA N LABELS BATCH EPOCHS SIZES… and coder, which ignores the labels. */
static void run_network(struct seg_pool *pool, bool coder, char **arg, uint32_t n_sizes)
{
    struct seg_error err = { 0 };
    struct seg_network net;
    struct seg_curve curve;
    struct seg_train_params p = { .activation = SEG_RELU,
                                  .optimizer = SEG_ADAM,
                                  .learning_rate = 0.001,
                                  .batch_size = (uint32_t)number(arg[3]),
                                  .epochs = (uint32_t)number(arg[4]) };
    uint32_t sizes[SEG_LAYERS_MAX + 1];
    if (n_sizes < 2 || n_sizes > SEG_LAYERS_MAX) die("bad sizes", arg[0]);
    for (uint32_t i = 0; i < n_sizes; i++)
        sizes[i] = (uint32_t)number(arg[5 + i]);
    struct seg_tiles x = read_tiles(arg[0], number(arg[1]), sizes[0]);
    uint16_t *y = coder ? NULL : read_labels(arg[2], x.n_rows);
    p.n_hidden = coder ? 0 : n_sizes - 2;
    memcpy(p.hidden, sizes + 1, p.n_hidden * sizeof *sizes);
    double begin = now_s();
    enum seg_status st = coder ? seg_autoencoder_fit(pool, &x, NULL, sizes + 1, (n_sizes - 1) / 2,
                                                     &p, NULL, &net, &curve, &err)
                               : seg_classifier_fit(pool, &x, y, NULL, NULL, sizes[n_sizes - 1], &p,
                                                    NULL, &net, &curve, &err);
    if (st != SEG_OK) die("training", err.text);
    double seconds = (now_s() - begin) / (double)p.epochs;
    answer(seconds, curve.train_loss[curve.n_epochs - 1], curve.n_epochs);
    seg_curve_release(&curve);
    seg_network_release(&net);
    seg_free(y);
    seg_tiles_release(&x);
}

int main(int argc, char **argv)
{
    struct seg_error err = { 0 };
    struct seg_pool *pool = NULL;
    const char *work = argc > 1 ? argv[1] : "";
    char **arg = argv + 2;
    if (strcmp(work, "trip") == 0 && argc == 2) {
        run_trip();
        return 0;
    }
    if (seg_pool_new(N_WORKERS, 1, &pool, &err) != SEG_OK) die("pool", err.text);
    if (strcmp(work, "kmeans") == 0 && argc == 8)
        run_kmeans(pool, arg);
    else if (strcmp(work, "minibatch") == 0 && argc == 8)
        run_minibatch(pool, arg);
    else if (strcmp(work, "prototypes") == 0 && argc == 8)
        run_prototypes(pool, arg);
    else if ((strcmp(work, "start") == 0 || strcmp(work, "parallel") == 0) && argc == 7)
        run_start(pool, work[0] == 's' ? SEG_INIT_KMEANS_PP : SEG_INIT_PARALLEL, arg);
    else if (strcmp(work, "choose") == 0 && argc == 8)
        run_choose(pool, arg);
    else if (strcmp(work, "weights") == 0 && argc > 5)
        run_weights(arg, (uint32_t)argc - 4);
    else if ((strcmp(work, "classifier") == 0 || strcmp(work, "coder") == 0) && argc > 8)
        run_network(pool, work[1] == 'o', arg, (uint32_t)argc - 7);
    else
        die("unknown work or wrong number of arguments", work);
    seg_pool_free(pool);
    return 0;
}
