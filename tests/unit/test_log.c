/* test_log.c - a line is one JSON document whatever is logged, and safe on a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/alloc.h"
#include "json/json.h"
#include "log.h"

static int real_stderr;
static FILE *captured;

/* From here on stderr goes to a file … */
static void capture(void)
{
    captured = tmpfile();
    assert_non_null(captured);
    fflush(stderr);
    real_stderr = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
}

/* … whose text this returns; stderr is what it was. */
static const char *capture_end(void)
{
    static char text[1 << 20];
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    rewind(captured);
    size_t n = fread(text, 1, sizeof text - 1, captured);
    fclose(captured);
    text[n] = '\0';
    return text;
}

static struct json *parse_line(const char *line)
{
    struct json_fault fault = { 0 };
    size_t len = strlen(line);
    assert_true(len > 0 && line[len - 1] == '\n');
    assert_ptr_equal(strchr(line, '\n'), line + len - 1);
    struct json *doc = json_parse(line, len, &fault);
    if (doc == NULL) fail_msg("%s: %s", line, fault.detail);
    return doc;
}

static void facts_become_members_of_their_type(void **state)
{
    (void)state;
    log_init(LOG_INFO, 1);
    capture();
    log_event(LOG_WARN, "job finished", "job", "%s", "j1", "rows", "%zu", (size_t)18233, "k", "%u",
              6u, "loss", "%.2f", 0.25, "big", "%lld", -5000000000LL, "nan", "%f", 0.0 / 0.0, "id",
              "%x", 255u, "dur", "%d ms", 7, "fixed", "plain", "none", "%s", (char *)NULL, NULL);
    struct json *doc = parse_line(capture_end());
    assert_string_equal(json_string(json_get(doc, "level")), "warn");
    assert_string_equal(json_string(json_get(doc, "msg")), "job finished");
    assert_string_equal(json_string(json_get(doc, "job")), "j1");
    assert_true(json_number(json_get(doc, "rows")) == 18233);
    assert_true(json_number(json_get(doc, "k")) == 6);
    assert_true(json_number(json_get(doc, "loss")) == 0.25);
    assert_true(json_number(json_get(doc, "big")) == -5e9);
    assert_int_equal(json_kind(json_get(doc, "nan")), JSON_STRING);
    assert_string_equal(json_string(json_get(doc, "id")), "ff");
    assert_string_equal(json_string(json_get(doc, "dur")), "7 ms");
    assert_string_equal(json_string(json_get(doc, "fixed")), "plain");
    assert_string_equal(json_string(json_get(doc, "none")), "");
    const char *ts = json_string(json_get(doc, "ts"));
    int year, month, day, hour, minute, second, ms, end = 0;
    assert_int_equal(sscanf(ts, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour,
                            &minute, &second, &ms, &end),
                     7);
    assert_int_equal(end, 24);
    json_free(doc);
}

static void hostile_text_stays_one_line_of_json(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {
        "a\nb\r\n{\"level\":\"error\"}",
        "\"}",
        "\\",
        "\x1b[31mred",
        "\xff\xfe",
        "\xc2\x9b[31m",
        "\xed\xa0\x80",
        "\xf0\x9f\x98\x80",
        "\xe2\x82",
        "\x7f",
    };
    for (int json = 0; json < 2; json++) {
        log_init(LOG_INFO, json);
        for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
            capture();
            log_event(LOG_INFO, "event", "text", "%s", TEXTS[i], NULL);
            const char *line = capture_end();
            assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
            assert_null(strchr(line, '\x1b'));
            assert_null(strstr(line, "\xc2\x9b"));
            assert_true(utf8_valid(line, strlen(line)));
            if (json) json_free(parse_line(line));
        }
    }
}

static void long_facts_are_cut_and_the_line_stays_whole(void **state)
{
    (void)state;
    static char text[10000];
    memset(text, '"', sizeof text - 1);
    log_init(LOG_INFO, 1);
    capture();
    log_event(LOG_INFO, "event", "a", "%s", text, "b", "%s", text, "c", "%s", text, "d", "%d", 1,
              NULL);
    const char *line = capture_end();
    assert_true(strlen(line) <= 4096);
    struct json *doc = parse_line(line);
    assert_int_equal(strlen(json_string(json_get(doc, "a"))), 1023);
    json_free(doc);
}

static void below_the_level_nothing_is_written(void **state)
{
    (void)state;
    log_init(LOG_WARN, 1);
    capture();
    log_event(LOG_INFO, "quiet", NULL);
    log_event(LOG_ERROR, "loud", NULL);
    struct json *doc = parse_line(capture_end());
    assert_string_equal(json_string(json_get(doc, "msg")), "loud");
    json_free(doc);
}

static void the_request_id_is_the_threads_own(void **state)
{
    (void)state;
    log_init(LOG_INFO, 1);
    log_set_request_id("r-1");
    capture();
    log_event(LOG_INFO, "one", NULL);
    struct json *doc = parse_line(capture_end());
    assert_string_equal(json_string(json_get(doc, "request_id")), "r-1");
    json_free(doc);
    log_set_request_id("");
    capture();
    log_event(LOG_INFO, "two", NULL);
    doc = parse_line(capture_end());
    assert_null(json_get(doc, "request_id"));
    json_free(doc);
}

static void text_lines_quote_only_what_is_ambiguous(void **state)
{
    (void)state;
    log_init(LOG_INFO, 0);
    capture();
    log_event(LOG_INFO, "job finished", "job", "%s", "j1", "rows", "%d", 5, "why", "%s",
              "not found", "empty", "%s", "", NULL);
    const char *line = capture_end();
    assert_non_null(
        strstr(line, "Z info  job finished job=j1 rows=5 why=\"not found\" empty=\"\"\n"));
}

static void the_journal_gets_a_priority(void **state)
{
    (void)state;
    capture();
    struct stat st;
    char stream[64];
    fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init(LOG_INFO, 1);
    log_event(LOG_ERROR, "event", NULL);
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_init(LOG_INFO, 1);
    log_event(LOG_ERROR, "event", NULL);
    const char *text = capture_end();
    assert_memory_equal(text, "<3>{", 4);
    assert_memory_equal(strchr(text, '\n') + 1, "{", 1);
    unsetenv("JOURNAL_STREAM");
    log_init(LOG_INFO, 1);
}

static void errno_is_kept(void **state)
{
    (void)state;
    capture();
    close(STDERR_FILENO);
    errno = ENOENT;
    log_event(LOG_ERROR, "event", NULL);
    int after = errno;
    capture_end();
    assert_int_equal(after, ENOENT);
}

#define LINES 500

static void *log_lines(void *ctx)
{
    for (int i = 0; i < LINES; i++)
        log_event(LOG_INFO, "line", "n", "%d", i, "who", "%s", ctx, NULL);
    return NULL;
}

static void lines_of_threads_never_mix(void **state)
{
    (void)state;
    pthread_t threads[4];
    capture();
    /* each write goes to the end, as it does on a pipe or in the journal */
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, log_lines, "a rather long fact");
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    const char *text = capture_end();
    int n = 0;
    while (*text != '\0') {
        const char *end = strchr(text, '\n');
        char *line = seg_strndup(text, (size_t)(end - text) + 1);
        json_free(parse_line(line));
        seg_free(line);
        text = end + 1;
        n++;
    }
    assert_int_equal(n, 4 * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_become_members_of_their_type),
        cmocka_unit_test(hostile_text_stays_one_line_of_json),
        cmocka_unit_test(long_facts_are_cut_and_the_line_stays_whole),
        cmocka_unit_test(below_the_level_nothing_is_written),
        cmocka_unit_test(the_request_id_is_the_threads_own),
        cmocka_unit_test(text_lines_quote_only_what_is_ambiguous),
        cmocka_unit_test(the_journal_gets_a_priority),
        cmocka_unit_test(errno_is_kept),
        cmocka_unit_test(lines_of_threads_never_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
