/* test_config.c - options come from where they should, and every fault is named with its place.
 * argv[1]: config.example.ini of the repository. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "config.h"

static const char *example_path;
static char path[] = "/tmp/test_config_XXXXXX";
static char faults[8192]; /* what the last load printed */

static void write_file(const char *where, const char *text)
{
    FILE *f = fopen(where, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static unsigned load_path(struct config *c, const char *where)
{
    FILE *errors = tmpfile();
    unsigned n = config_load(c, where, errors);
    rewind(errors);
    faults[fread(faults, 1, sizeof faults - 1, errors)] = '\0';
    fclose(errors);
    return n;
}

static unsigned load(struct config *c, const char *text)
{
    write_file(path, text);
    return load_path(c, path);
}

/* The text gives exactly one fault, which reads "<path>:<line>: <sentence>". */
static void faulty(const char *text, unsigned line, const char *sentence)
{
    struct config c;
    char expected[512];
    snprintf(expected, sizeof expected, "%s:%u: %s\n", path, line, sentence);
    unsigned n = load(&c, text);
    if (n != 1 || strcmp(faults, expected) != 0) fail_msg("%s\ngave %u: %s", text, n, faults);
}

static void an_empty_file_gives_the_defaults(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(load(&c, ""), 0);
    assert_string_equal(c.http.listen, "127.0.0.1:8080");
    assert_int_equal(c.http.connections_max, 1024);
    assert_string_equal(c.database.schema, "segmentd");
    assert_string_equal(c.database.url, "");
    assert_int_equal(c.auth.mode, AUTH_OFF);
    assert_int_equal(c.limits.body_bytes_max, 64u << 20);
    assert_true(c.limits.import_bytes_max == (uint64_t)4 << 30);
    assert_int_equal(c.log.level, 1);
    assert_int_equal(c.log.format, LOG_FORMAT_AUTO);
}

static void values_of_each_type_are_read(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(load(&c,
                          "# comment\n; comment\n[http]\nlisten = unix:/run/s.sock\nio_threads=4\n"
                          "[database]\nurl = postgresql://u:p;w ;x@h/db\n"
                          "[auth]\nmode = token\n[limits]\nbody_bytes_max = 1 MiB\n"
                          "stream_bytes_max = 4096\n[log]\nlevel = error\nformat = json\n"),
                     0);
    assert_string_equal(c.http.listen, "unix:/run/s.sock");
    assert_int_equal(c.http.io_threads, 4);
    assert_string_equal(c.database.url, "postgresql://u:p;w ;x@h/db");
    assert_int_equal(c.auth.mode, AUTH_TOKEN);
    assert_int_equal(c.limits.body_bytes_max, 1 << 20);
    assert_int_equal(c.limits.stream_bytes_max, 4096);
    assert_int_equal(c.log.level, 3);
    assert_int_equal(c.log.format, LOG_FORMAT_JSON);
}

static void each_fault_has_its_line_and_sentence(void **state)
{
    (void)state;
    faulty("[http]\nlistn = x\n", 2, "[http] listn is not a known option");
    faulty("\n[htp]\nlisten = x\n", 3, "[htp] is not a known section");
    faulty("listen = x\n", 1, "listen stands before the first [section]");
    faulty("[http]\nio_threads = 2\n\nio_threads = 3\n", 4,
           "[http] io_threads was already given in line 2");
    faulty("[http]\nio_threads = two\n", 2, "[http] io_threads = two: must be a whole number");
    faulty("[http]\nio_threads = -1\n", 2, "[http] io_threads = -1: must be a whole number");
    faulty("[http]\nio_threads = 2.5\n", 2, "[http] io_threads = 2.5: must be a whole number");
    faulty("[http]\nio_threads = 2KiB\n", 2, "[http] io_threads = 2KiB: must be a whole number");
    faulty("[http]\nio_threads =\n", 2, "[http] io_threads = : must be a whole number");
    faulty("[http]\nio_threads = 0\n", 2, "[http] io_threads = 0: must be 1 to 64");
    faulty("[http]\nio_threads = 65\n", 2, "[http] io_threads = 65: must be 1 to 64");
    faulty("[http]\nio_threads = 99999999999999999999\n", 2,
           "[http] io_threads = 99999999999999999999: must be a whole number");
    faulty("[http]\nio_threads = 4294967297\n", 2,
           "[http] io_threads = 4294967297: must be 1 to 64");
    faulty("[limits]\nbody_bytes_max = 1\n", 2,
           "[limits] body_bytes_max = 1: must be 1KiB to 1GiB");
    faulty("[limits]\nbody_bytes_max = 99999999999TiB\n", 2,
           "[limits] body_bytes_max = 99999999999TiB: must be a whole number of bytes, or of KiB, "
           "MiB, "
           "GiB or TiB with the unit");
    faulty("[auth]\nmode = on\n", 2, "[auth] mode = on: must be one of off, token");
    faulty("[http]\nlisten\n", 2, "\"listen\" is not a \"key = value\"");
    faulty("[http]\n[jobs\n", 2, "is not a [section] nor a \"key = value\"");
    faulty(
        "[database]\nschema = x\"; drop\n", 2,
        "[database] schema = x\"; drop: must be 1 to 63 of a-z, 0-9 and _, not begin with a digit, "
        "nor with pg_");
    faulty("[limits]\nspool_dir =\n", 2, "[limits] spool_dir must not be empty");
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "8080",          "localhost",    "127.0.0.1:",     "127.0.0.1:70000",
        "127.0.0.1:-1",  "127.0.0.1:+1", "127.0.0.1: 80",  "example.org:80",
        "::1:80",        "[::1]",        "[::1]:x",        "unix:",
        "unix:relative", ":80",          "[127.0.0.1]:80", "127.0.0.256:80",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        char text[128], sentence[256];
        snprintf(text, sizeof text, "[http]\nlisten = %s\n", BAD[i]);
        snprintf(sentence, sizeof sentence,
                 "[http] listen = %s: must be a numeric address:port (port at most 65535), [v6 "
                 "address]:port or unix:/path",
                 BAD[i]);
        faulty(text, 2, sentence);
    }
}

static void all_faults_are_reported_at_once(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(load(&c, "[http]\nx = 1\nio_threads = 0\n[jobs]\nworkers = many\n"), 3);
    assert_non_null(strstr(faults, ":2: "));
    assert_non_null(strstr(faults, ":3: "));
    assert_non_null(strstr(faults, ":5: "));
}

static void an_open_address_needs_tokens(void **state)
{
    (void)state;
    struct config c;
    static const char *const OPEN[] = { "0.0.0.0:80", "[::]:80", "192.0.2.1:80" };
    static const char *const LOCAL[] = { "127.0.0.1:0", "localhost:80", "127.9.9.9:1", "[::1]:80",
                                         "unix:/run/x" };
    for (size_t i = 0; i < sizeof OPEN / sizeof *OPEN; i++) {
        char text[128], sentence[256];
        snprintf(text, sizeof text, "[http]\nlisten = %s\n", OPEN[i]);
        snprintf(sentence, sizeof sentence,
                 "[http] listen = %s is not a loopback address: that needs [auth] mode = token",
                 OPEN[i]);
        faulty(text, 2, sentence);
        strcat(text, "[auth]\nmode = token\n");
        assert_int_equal(load(&c, text), 0);
        assert_false(config_listen_is_local(&c));
    }
    for (size_t i = 0; i < sizeof LOCAL / sizeof *LOCAL; i++) {
        char text[128];
        snprintf(text, sizeof text, "[http]\nlisten = %s\n", LOCAL[i]);
        assert_int_equal(load(&c, text), 0);
        assert_true(config_listen_is_local(&c));
    }
}

static void the_environment_goes_before_the_file(void **state)
{
    (void)state;
    struct config c;
    setenv("SEGMENTD_HTTP_IO_THREADS", "7", 1);
    setenv("DATABASE_URL", "postgresql:///one", 1);
    assert_int_equal(load(&c, "[http]\nio_threads = 3\n[database]\nurl = postgresql:///file\n"), 0);
    assert_int_equal(c.http.io_threads, 7);
    assert_string_equal(c.database.url, "postgresql:///one");
    setenv("SEGMENTD_DATABASE_URL", "postgresql:///two", 1);
    assert_int_equal(load(&c, ""), 0);
    assert_string_equal(c.database.url, "postgresql:///two");
    setenv("SEGMENTD_HTTP_IO_THREADS", "x", 1);
    setenv("SEGMENTD_HTTP_LISTNE", "x", 1);
    setenv("SEGMENTD_TOKEN", "another program's", 1);
    assert_int_equal(load(&c, ""), 2);
    assert_string_equal(faults,
                        "SEGMENTD_HTTP_IO_THREADS: [http] io_threads = x: must be a whole number\n"
                        "SEGMENTD_HTTP_LISTNE: is not the name of an option\n");
    unsetenv("SEGMENTD_HTTP_IO_THREADS");
    unsetenv("SEGMENTD_HTTP_LISTNE");
    unsetenv("SEGMENTD_TOKEN");
    unsetenv("SEGMENTD_DATABASE_URL");
    unsetenv("DATABASE_URL");
}

static void a_secret_file_must_be_private(void **state)
{
    (void)state;
    struct config c;
    char secret[] = "/tmp/test_config_secret_XXXXXX", text[256], sentence[256];
    close(mkstemp(secret));
    write_file(secret, "postgresql://u:p@h/db\n");
    snprintf(text, sizeof text, "[database]\nurl_file = %s\n", secret);
    chmod(secret, 0640);
    assert_int_equal(load(&c, text), 0);
    assert_string_equal(c.database.url, "postgresql://u:p@h/db");
    chmod(secret, 0644);
    snprintf(sentence, sizeof sentence,
             "[database] url_file = %s can be read by others: chmod o= it", secret);
    faulty(text, 2, sentence);
    chmod(secret, 0600);
    strcat(text, "url = postgresql:///x\n");
    faulty(text, 2, "[database] url_file and [database] url are both given");
    setenv("DATABASE_URL", "postgresql:///env", 1);
    assert_int_equal(load(&c, text), 0);
    assert_string_equal(c.database.url, "postgresql:///env");
    unsetenv("DATABASE_URL");
    unlink(secret);
}

static void long_lines_are_read_or_named(void **state)
{
    (void)state;
    struct config c;
    char text[8000] = "[database]\nurl = postgresql:///";
    size_t head = strlen(text);
    memset(text + head, 'x', 900);
    strcpy(text + head + 900, "\n[http]\nio_threads = 5\n");
    assert_int_equal(load(&c, text), 0);
    assert_int_equal(strlen(c.database.url), strlen("postgresql:///") + 900);
    assert_int_equal(c.http.io_threads, 5);

    memset(text + head, 'x', 5000);
    strcpy(text + head + 5000, "\n[http]\nio_threads = 99\n");
    assert_int_equal(load(&c, text), 2);
    assert_non_null(strstr(faults, ":2: the line is longer than "));
    assert_non_null(strstr(faults, ":4: [http] io_threads = 99"));
}

static void a_missing_file_is_a_fault(void **state)
{
    (void)state;
    struct config c;
    assert_int_equal(load_path(&c, "/nonexistent/s.ini"), 1);
    assert_string_equal(faults, "/nonexistent/s.ini: cannot be read: No such file or directory\n");
}

static void show_names_the_origin_and_hides_secrets(void **state)
{
    (void)state;
    struct config c;
    setenv("SEGMENTD_JOBS_RUNNERS", "3", 1);
    assert_int_equal(load(&c, "[database]\nurl = postgresql://u:hunter2@h/db\n"), 0);
    unsetenv("SEGMENTD_JOBS_RUNNERS");
    FILE *out = tmpfile();
    static char text[16384];
    config_show(&c, out);
    rewind(out);
    text[fread(text, 1, sizeof text - 1, out)] = '\0';
    fclose(out);
    assert_null(strstr(text, "hunter2"));
    char line[128];
    snprintf(line, sizeof line, "\n%-40s ; %s:2\n", "url = ********", path);
    assert_non_null(strstr(text, line));
    snprintf(line, sizeof line, "\n%-40s ; SEGMENTD_JOBS_RUNNERS\n", "runners = 3");
    assert_non_null(strstr(text, line));
    snprintf(line, sizeof line, "\n%-40s ; default\n", "memory_bytes_max = 8GiB");
    assert_non_null(strstr(text, line));
}

static void the_example_is_the_repositorys_file_and_gives_the_defaults(void **state)
{
    (void)state;
    struct config c, plain;
    static char made[32768], kept[32768];
    FILE *out = tmpfile();
    config_example(out);
    rewind(out);
    made[fread(made, 1, sizeof made - 1, out)] = '\0';
    fclose(out);
    FILE *f = fopen(example_path, "r");
    assert_non_null(f);
    kept[fread(kept, 1, sizeof kept - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(made, kept);

    assert_int_equal(load(&plain, ""), 0);
    assert_int_equal(load(&c, made), 0);
    assert_memory_equal(&c, &plain, offsetof(struct config, file));
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    example_path = argv[1];
    close(mkstemp(path));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_gives_the_defaults),
        cmocka_unit_test(values_of_each_type_are_read),
        cmocka_unit_test(each_fault_has_its_line_and_sentence),
        cmocka_unit_test(bad_addresses_are_refused),
        cmocka_unit_test(all_faults_are_reported_at_once),
        cmocka_unit_test(an_open_address_needs_tokens),
        cmocka_unit_test(the_environment_goes_before_the_file),
        cmocka_unit_test(a_secret_file_must_be_private),
        cmocka_unit_test(long_lines_are_read_or_named),
        cmocka_unit_test(a_missing_file_is_a_fault),
        cmocka_unit_test(show_names_the_origin_and_hides_secrets),
        cmocka_unit_test(the_example_is_the_repositorys_file_and_gives_the_defaults),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
