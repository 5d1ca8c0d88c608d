/* metrics.h - counters, gauges and histograms in Prometheus text format 0.0.4. The table of metrics
 * stands in metrics.c. All updates are relaxed atomics: safe from any thread, no lock. Labels are
 * bounded: route templates, states, never user input. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#define METRICS_ROUTES_MAX 96

struct metrics;
struct metrics *metrics_new(void); /* NULL: no memory */
void metrics_free(struct metrics *m);

/* An answered request: route index (http/route.h) with its label text, which must outlive m, set
 * once by metrics_route. A route of METRICS_ROUTES_MAX or more counts as "unmatched". */
void metrics_route(struct metrics *m, size_t route, const char *method, const char *template_path);
void metrics_request(struct metrics *m, size_t route, unsigned status, double seconds);

enum metric_counter {
    METRIC_ROWS_SCORED,
    METRIC_ROWS_INSUFFICIENT,
    METRIC_ROWS_INVALID,
    METRIC_JOBS_SUCCEEDED,
    METRIC_JOBS_FAILED,
    METRIC_JOBS_CANCELLED,
    METRIC_JOBS_TAKEN_OVER,
    METRIC_FENCED_WRITES,
    METRIC_DB_ERRORS,
    METRIC_DB_RETRIES,
    METRIC_CONNECTIONS_REFUSED,
    METRIC_CONNECTIONS_CUT,
    METRIC_COUNTERS
};
enum metric_gauge {
    METRIC_JOBS_RUNNING,
    METRIC_MODELS_LOADED,
    METRIC_CONNECTIONS,
    METRIC_DB_UP,
    METRIC_POOL_QUEUED,
    METRIC_GAUGES
};
/* m NULL: nothing happens, for commands without metrics. */
void metrics_add(struct metrics *m, enum metric_counter which, uint64_t n);
void metrics_set(struct metrics *m, enum metric_gauge which, double value);
void metrics_gauge_add(struct metrics *m, enum metric_gauge which, double by);
/* Writes the exposition; free with seg_free. Also process_* and segmentd_build_info. NULL: no
 * memory. */
char *metrics_text(struct metrics *m, size_t *ret_len);

#endif
