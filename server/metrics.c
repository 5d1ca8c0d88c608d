/* metrics.c - the tables of metrics and their exposition. A request touches five counters of its
 * route; they are added up only when somebody reads. */
#include "metrics.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/alloc.h"
#include "json/json_out.h"

struct metric_info {
    const char *name;   /* of the family */
    const char *labels; /* with braces, or "" */
    const char *help;
};

/* Rows of one family stand together. */
static const struct metric_info COUNTERS[METRIC_COUNTERS] = {
#define SCORED "Rows of scoring requests by what became of them."
    [METRIC_ROWS_SCORED] = { "segmentd_rows_total", "{status=\"ok\"}", SCORED },
    [METRIC_ROWS_INSUFFICIENT] = { "segmentd_rows_total", "{status=\"insufficient_data\"}",
                                   SCORED },
    [METRIC_ROWS_INVALID] = { "segmentd_rows_total", "{status=\"invalid\"}", SCORED },
#define FINISHED "Jobs that this process brought to an end, by their state."
    [METRIC_JOBS_SUCCEEDED] = { "segmentd_jobs_total", "{state=\"succeeded\"}", FINISHED },
    [METRIC_JOBS_FAILED] = { "segmentd_jobs_total", "{state=\"failed\"}", FINISHED },
    [METRIC_JOBS_CANCELLED] = { "segmentd_jobs_total", "{state=\"cancelled\"}", FINISHED },
    [METRIC_JOBS_TAKEN_OVER] = { "segmentd_jobs_taken_over_total", "",
                                 "Jobs claimed after another runner's lease had run out." },
    [METRIC_FENCED_WRITES] = { "segmentd_fenced_writes_total", "",
                               "Writes refused because the job's lease was lost." },
    [METRIC_DB_ERRORS] = { "segmentd_db_errors_total", "", "Statements that failed." },
    [METRIC_DB_RETRIES] = { "segmentd_db_retries_total", "", "Transactions that were run again." },
    [METRIC_CONNECTIONS_REFUSED] = { "segmentd_http_connections_refused_total", "",
                                     "HTTP connections refused because too many were open." },
    [METRIC_CONNECTIONS_CUT] = { "segmentd_http_connections_cut_total", "",
                                 "HTTP connections closed because they were past a deadline." },
};

static const struct metric_info GAUGES[METRIC_GAUGES] = {
    [METRIC_JOBS_RUNNING] = { "segmentd_jobs_running", "", "Jobs running in this process." },
    [METRIC_MODELS_LOADED] = { "segmentd_models_loaded", "", "Models in memory." },
    [METRIC_CONNECTIONS] = { "segmentd_http_connections", "", "Open HTTP connections." },
    [METRIC_DB_UP] = { "segmentd_db_up", "", "1 when the last use of the database worked." },
    [METRIC_POOL_QUEUED] = { "segmentd_pool_queued", "", "Tasks that wait for a compute worker." },
};

static const double BUCKETS[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                  0.1,    0.25,  0.5,    1,     2.5,  5,     10 };
static const char *const BUCKET_LABELS[] = { "0.0005", "0.001", "0.0025", "0.005", "0.01",
                                             "0.025",  "0.05",  "0.1",    "0.25",  "0.5",
                                             "1",      "2.5",   "5",      "10",    "+Inf" };
#define N_BUCKETS (sizeof BUCKETS / sizeof *BUCKETS)

/* Statuses that the service gives; any other is counted as 0. */
static const unsigned STATUSES[] = { 200, 201, 202, 204, 206, 304, 400, 401, 403, 404,
                                     405, 406, 408, 409, 411, 412, 413, 414, 415, 416,
                                     417, 422, 429, 431, 500, 501, 503, 505, 0 };
#define N_STATUSES (sizeof STATUSES / sizeof *STATUSES)

struct route_metrics {
    const char *method, *path; /* borrowed; NULL until metrics_route */
    _Atomic uint64_t n_by_status[N_STATUSES];
    _Atomic uint64_t n_by_bucket[N_BUCKETS + 1]; /* not cumulative; the last is +Inf */
    _Atomic uint64_t sum_ns;
};

struct metrics {
    double start_time_seconds;
    _Atomic uint64_t counters[METRIC_COUNTERS];
    _Atomic uint64_t gauges[METRIC_GAUGES];              /* bits of a double */
    struct route_metrics routes[METRICS_ROUTES_MAX + 1]; /* the last: no route matched */
};

struct metrics *metrics_new(void)
{
    struct metrics *m = seg_calloc(1, sizeof *m);
    if (m == NULL) return NULL;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    m->start_time_seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    m->routes[METRICS_ROUTES_MAX].method = "";
    m->routes[METRICS_ROUTES_MAX].path = "unmatched";
    return m;
}

void metrics_free(struct metrics *m)
{
    seg_free(m);
}

static void increase(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t value_of(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_route(struct metrics *m, size_t route, const char *method, const char *template_path)
{
    if (route >= METRICS_ROUTES_MAX) return;
    m->routes[route].method = method;
    m->routes[route].path = template_path;
}

void metrics_request(struct metrics *m, size_t route, unsigned status, double seconds)
{
    struct route_metrics *r = &m->routes[route < METRICS_ROUTES_MAX ? route : METRICS_ROUTES_MAX];
    size_t at = 0;
    while (at < N_STATUSES - 1 && STATUSES[at] != status)
        at++;
    size_t bucket = 0;
    while (bucket < N_BUCKETS && seconds > BUCKETS[bucket])
        bucket++;
    increase(&r->n_by_status[at], 1);
    increase(&r->n_by_bucket[bucket], 1);
    increase(&r->sum_ns, (uint64_t)(seconds * 1e9));
}

void metrics_add(struct metrics *m, enum metric_counter which, uint64_t n)
{
    if (m != NULL) increase(&m->counters[which], n);
}

static uint64_t double_bits(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double bits_double(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

void metrics_set(struct metrics *m, enum metric_gauge which, double value)
{
    if (m == NULL) return;
    atomic_store_explicit(&m->gauges[which], double_bits(value), memory_order_relaxed);
}

void metrics_gauge_add(struct metrics *m, enum metric_gauge which, double by)
{
    if (m == NULL) return;
    uint64_t old = value_of(&m->gauges[which]);
    while (!atomic_compare_exchange_weak_explicit(&m->gauges[which], &old,
                                                  double_bits(bits_double(old) + by),
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

struct text {
    char *data;
    size_t len, cap;
    bool failed;
};

__attribute__((format(printf, 2, 3))) static void print(struct text *t, const char *fmt, ...)
{
    char piece[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(piece, sizeof piece, fmt, args);
    va_end(args);
    size_t len = (size_t)n < sizeof piece ? (size_t)n : sizeof piece - 1;
    if (t->failed) return;
    if (t->cap - t->len <= len) {
        size_t cap = t->cap > 0 ? 2 * t->cap : 16384;
        char *data = seg_realloc(t->data, cap, 1);
        if (data == NULL) {
            t->failed = true;
            return;
        }
        t->data = data;
        t->cap = cap;
    }
    memcpy(t->data + t->len, piece, len + 1);
    t->len += len;
}

static void print_family(struct text *t, const char *name, const char *type, const char *help)
{
    print(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_number(struct text *t, const char *name, const char *labels, double x)
{
    char number[32];
    size_t len = double_text(x, number);
    print(t, "%s%s %.*s\n", name, labels, (int)len, number);
}

/* One value of a family of its own. */
static void print_single(struct text *t, const char *name, const char *type, const char *help,
                         double x)
{
    print_family(t, name, type, help);
    print_number(t, name, "", x);
}

static void print_requests(struct text *t, struct metrics *m)
{
    print_family(t, "segmentd_requests_total", "counter", "Answered requests.");
    for (size_t i = 0; i <= METRICS_ROUTES_MAX; i++) {
        struct route_metrics *r = &m->routes[i];
        if (r->path == NULL) continue;
        for (size_t s = 0; s < N_STATUSES; s++) {
            uint64_t n = value_of(&r->n_by_status[s]);
            if (n == 0) continue;
            print(t, "segmentd_requests_total{route=\"%s\",method=\"%s\",status=\"%u\"} %llu\n",
                  r->path, r->method, STATUSES[s], (unsigned long long)n);
        }
    }
}

static void print_durations(struct text *t, struct metrics *m)
{
    static const char NAME[] = "segmentd_request_duration_seconds";
    print_family(t, NAME, "histogram", "Time from a request's head to the end of its reply.");
    for (size_t i = 0; i <= METRICS_ROUTES_MAX; i++) {
        struct route_metrics *r = &m->routes[i];
        if (r->path == NULL) continue;
        uint64_t counts[N_BUCKETS + 1], n = 0;
        for (size_t b = 0; b <= N_BUCKETS; b++) {
            n += value_of(&r->n_by_bucket[b]);
            counts[b] = n;
        }
        if (n == 0) continue;
        for (size_t b = 0; b <= N_BUCKETS; b++) {
            print(t, "%s_bucket{route=\"%s\",method=\"%s\",le=\"%s\"} %llu\n", NAME, r->path,
                  r->method, BUCKET_LABELS[b], (unsigned long long)counts[b]);
        }
        print(t, "%s_sum{route=\"%s\",method=\"%s\"} %.9f\n", NAME, r->path, r->method,
              (double)value_of(&r->sum_ns) / 1e9);
        print(t, "%s_count{route=\"%s\",method=\"%s\"} %llu\n", NAME, r->path, r->method,
              (unsigned long long)n);
    }
}

static double resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL) return 0;
    if (fscanf(f, "%lu %lu", &total, &resident) != 2) resident = 0;
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL) return 0;
    double n = -3; /* ".", ".." and the folder's own */
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static void print_process(struct text *t, const struct metrics *m)
{
    struct timespec cpu;
    struct rlimit fds;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    getrlimit(RLIMIT_NOFILE, &fds);
    print_single(t, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    print_single(t, "process_open_fds", "gauge", "Open file descriptors.", open_fds());
    print_single(t, "process_max_fds", "gauge", "Limit of open file descriptors.",
                 (double)fds.rlim_cur);
    print_single(t, "process_cpu_seconds_total", "counter", "User and system CPU time.",
                 (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9);
    print_single(t, "process_start_time_seconds", "gauge", "Start time, seconds since 1970.",
                 m->start_time_seconds);
    print_family(t, "segmentd_build_info", "gauge", "1, labelled with the version that runs.");
    print(t, "segmentd_build_info{version=\"%s\"} 1\n", SEGMENTD_VERSION);
}

char *metrics_text(struct metrics *m, size_t *ret_len)
{
    struct text t = { 0 };
    const char *family = "";
    for (size_t i = 0; i < METRIC_COUNTERS; i++) {
        const struct metric_info *info = &COUNTERS[i];
        if (strcmp(family, info->name) != 0) print_family(&t, info->name, "counter", info->help);
        family = info->name;
        print(&t, "%s%s %llu\n", info->name, info->labels,
              (unsigned long long)value_of(&m->counters[i]));
    }
    for (size_t i = 0; i < METRIC_GAUGES; i++) {
        print_single(&t, GAUGES[i].name, "gauge", GAUGES[i].help,
                     bits_double(value_of(&m->gauges[i])));
    }
    print_requests(&t, m);
    print_durations(&t, m);
    print_process(&t, m);
    if (t.failed) {
        seg_free(t.data);
        return NULL;
    }
    *ret_len = t.len;
    return t.data;
}
