/* test_metrics.c - the exposition says what was counted, in Prometheus' grammar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "metrics.h"

static char *exposition(struct metrics *m)
{
    size_t len = 0;
    char *text = metrics_text(m, &len);
    assert_non_null(text);
    assert_int_equal(len, strlen(text));
    return text;
}

static void has_line(const char *text, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
        if (strncmp(at, line, len) == 0 && at[len] == '\n') return;
    }
    fail_msg("no line %s in\n%s", line, text);
}

/* The value of the sample `name`, which must be there. */
static double sample(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
        if (strncmp(at, name, len) == 0 && at[len] == ' ') return strtod(at + len, NULL);
    }
    fail_msg("no sample %s", name);
    return 0;
}

static void counters_and_gauges_say_what_was_counted(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_add(m, METRIC_ROWS_SCORED, 100);
    metrics_add(m, METRIC_ROWS_SCORED, 23);
    metrics_add(m, METRIC_ROWS_INVALID, 2);
    metrics_set(m, METRIC_DB_UP, 1);
    metrics_gauge_add(m, METRIC_CONNECTIONS, 3);
    metrics_gauge_add(m, METRIC_CONNECTIONS, -1);
    metrics_add(NULL, METRIC_DB_ERRORS, 1);
    metrics_set(NULL, METRIC_DB_UP, 1);
    char *text = exposition(m);
    has_line(text, "segmentd_rows_total{status=\"ok\"} 123");
    has_line(text, "segmentd_rows_total{status=\"insufficient_data\"} 0");
    has_line(text, "segmentd_rows_total{status=\"invalid\"} 2");
    has_line(text, "segmentd_db_up 1");
    has_line(text, "segmentd_http_connections 2");
    has_line(text, "segmentd_build_info{version=\"" SEGMENTD_VERSION "\"} 1");
    seg_free(text);
    metrics_free(m);
}

static void a_histograms_buckets_are_cumulative_and_bounds_belong_below(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_route(m, 4, "POST", "/v1/models/{model}/predict");
    metrics_request(m, 4, 200, 0.0004);
    metrics_request(m, 4, 200, 0.001);
    metrics_request(m, 4, 422, 0.3);
    metrics_request(m, 4, 200, 99);
    char *text = exposition(m);
#define LABELS "{route=\"/v1/models/{model}/predict\",method=\"POST\""
    has_line(text, "segmentd_requests_total" LABELS ",status=\"200\"} 3");
    has_line(text, "segmentd_requests_total" LABELS ",status=\"422\"} 1");
    has_line(text, "segmentd_request_duration_seconds_bucket" LABELS ",le=\"0.0005\"} 1");
    has_line(text, "segmentd_request_duration_seconds_bucket" LABELS ",le=\"0.001\"} 2");
    has_line(text, "segmentd_request_duration_seconds_bucket" LABELS ",le=\"0.25\"} 2");
    has_line(text, "segmentd_request_duration_seconds_bucket" LABELS ",le=\"0.5\"} 3");
    has_line(text, "segmentd_request_duration_seconds_bucket" LABELS ",le=\"10\"} 3");
    has_line(text, "segmentd_request_duration_seconds_bucket" LABELS ",le=\"+Inf\"} 4");
    has_line(text, "segmentd_request_duration_seconds_count" LABELS "} 4");
    has_line(text, "segmentd_request_duration_seconds_sum" LABELS "} 99.301400000");
    seg_free(text);
    metrics_free(m);
}

static void a_request_that_no_route_matched_is_counted_apart(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_request(m, METRICS_ROUTES_MAX, 404, 0.001);
    metrics_request(m, SIZE_MAX, 418, 0.001);
    char *text = exposition(m);
    has_line(text, "segmentd_requests_total{route=\"unmatched\",method=\"\",status=\"404\"} 1");
    has_line(text, "segmentd_requests_total{route=\"unmatched\",method=\"\",status=\"0\"} 1");
    seg_free(text);
    metrics_free(m);
}

static void each_family_is_announced_once_before_its_samples(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    metrics_route(m, 0, "GET", "/a");
    metrics_route(m, 1, "GET", "/b");
    metrics_request(m, 0, 200, 0.01);
    metrics_request(m, 1, 200, 0.01);
    char *text = exposition(m), seen[8192] = "";
    char family[128] = "";
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char name[128], mark[140];
        if (sscanf(line, "# TYPE %127s", name) == 1) {
            snprintf(mark, sizeof mark, "<%s>", name);
            assert_null(strstr(seen, mark));
            strcat(seen, mark);
            strcpy(family, name);
        } else if (line[0] != '#') {
            assert_memory_equal(line, family, strlen(family));
        }
    }
    assert_non_null(strstr(seen, "<segmentd_request_duration_seconds>"));
    seg_free(text);
    metrics_free(m);
}

static void the_process_is_described(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    char *text = exposition(m);
    assert_true(sample(text, "process_resident_memory_bytes") > 100000);
    double before = sample(text, "process_open_fds");
    assert_true(sample(text, "process_start_time_seconds") > 1.7e9);
    assert_true(sample(text, "process_cpu_seconds_total") > 0);
    seg_free(text);
    FILE *one_more = tmpfile();
    text = exposition(m);
    assert_true(sample(text, "process_open_fds") == before + 1);
    fclose(one_more);
    seg_free(text);
    metrics_free(m);
}

#define ADDS 20000

static void *add_up(void *ctx)
{
    for (int i = 0; i < ADDS; i++) {
        metrics_add(ctx, METRIC_DB_ERRORS, 1);
        metrics_gauge_add(ctx, METRIC_JOBS_RUNNING, 1);
    }
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, add_up, m);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *text = exposition(m);
    assert_true(sample(text, "segmentd_db_errors_total") == 4 * ADDS);
    assert_true(sample(text, "segmentd_jobs_running") == 4 * ADDS);
    seg_free(text);
    metrics_free(m);
}

static void short_memory_gives_no_text_and_leaks_nothing(void **state)
{
    (void)state;
    seg_alloc_fail_at(1);
    assert_null(metrics_new());
    struct metrics *m = metrics_new();
    for (size_t i = 0; i < METRICS_ROUTES_MAX; i++) {
        metrics_route(m, i, "GET", "/a/route/of/some/length");
        metrics_request(m, i, 200, 1);
    }
    size_t len = 7;
    char *text = NULL;
    unsigned n = 0;
    while (text == NULL) {
        seg_alloc_fail_at(++n);
        text = metrics_text(m, &len);
        seg_alloc_fail_at(0);
        assert_true(n < 100);
        if (text == NULL) assert_int_equal(len, 7);
    }
    assert_true(n > 2);
    seg_free(text);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_say_what_was_counted),
        cmocka_unit_test(a_histograms_buckets_are_cumulative_and_bounds_belong_below),
        cmocka_unit_test(a_request_that_no_route_matched_is_counted_apart),
        cmocka_unit_test(each_family_is_announced_once_before_its_samples),
        cmocka_unit_test(the_process_is_described),
        cmocka_unit_test(nothing_is_lost_between_threads),
        cmocka_unit_test(short_memory_gives_no_text_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
