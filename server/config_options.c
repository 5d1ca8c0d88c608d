/* The table of options, and what their values may be. */
#include "config_private.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

static const char *check_listen(const char *value);
static const char *check_schema(const char *value);
static const char *check_folder(const char *value);

static const char *const AUTH_MODES[] = { "off", "token", NULL };
static const char *const LOG_LEVELS[] = { "debug", "info", "warn", "error", NULL };
static const char *const LOG_FORMATS[] = { "auto", "json", "text", NULL };

/* The member [section] key, and the name of its variable. */
#define MEMBER(s, k) offsetof(struct config, s.k), sizeof(((struct config *)0)->s.k)
#define TEXT(s, k, S, K, initial, check, secret, help)                                             \
    {                                                                                              \
#s, #k, OPTION_TEXT, MEMBER(s, k), initial, 0, 0, NULL, check, secret,                     \
            "SEGMENTD_" S "_" K, help                                                              \
    }
#define NUMBER(s, k, S, K, initial, min, max, help)                                                \
    {                                                                                              \
#s, #k, OPTION_NUMBER, MEMBER(s, k), initial, min, max, NULL, NULL, false,                 \
            "SEGMENTD_" S "_" K, help                                                              \
    }
#define BYTES(s, k, S, K, initial, min, max, help)                                                 \
    {                                                                                              \
#s, #k, OPTION_BYTES, MEMBER(s, k), initial, min, max, NULL, NULL, false,                  \
            "SEGMENTD_" S "_" K, help                                                              \
    }
#define WORD(s, k, S, K, initial, words, help)                                                     \
    {                                                                                              \
#s, #k, OPTION_WORD, MEMBER(s, k), initial, 0, 0, words, NULL, false, "SEGMENTD_" S "_" K, \
            help                                                                                   \
    }

const struct option_row OPTIONS[] = {
    TEXT(http, listen, "HTTP", "LISTEN", "127.0.0.1:8080", check_listen, false,
         "address:port, [v6 address]:port or unix:/path; port 0 takes any free one"),
    NUMBER(http, io_threads, "HTTP", "IO_THREADS", "2", 1, 64,
           "threads that read requests and write replies"),
    NUMBER(http, connections_max, "HTTP", "CONNECTIONS_MAX", "1024", 1, 100000,
           "open connections; more are refused with 503"),
    NUMBER(http, idle_timeout_s, "HTTP", "IDLE_TIMEOUT_S", "30", 1, 3600,
           "a connection without traffic is closed after this many seconds"),
    NUMBER(http, header_timeout_s, "HTTP", "HEADER_TIMEOUT_S", "10", 1, 3600,
           "the whole head of a request must be in within this many seconds"),
    NUMBER(http, body_timeout_s, "HTTP", "BODY_TIMEOUT_S", "300", 1, 86400,
           "the whole body of a request must be in within this many seconds"),
    TEXT(http, web_root, "HTTP", "WEB_ROOT", "", check_folder, false,
         "serve the dashboard from this folder instead of the built-in files; for its developers"),
    TEXT(
        database, url, "DATABASE", "URL", "", NULL, true,
        "libpq connection string, also taken from DATABASE_URL; what it leaves out comes from the\n"
        "PG* variables: postgresql://segmentd@db.example.org/shop?sslmode=verify-full"),
    TEXT(database, url_file, "DATABASE", "URL_FILE", "", NULL, false,
         "file that holds the connection string instead; others must not be able to read it"),
    TEXT(database, schema, "DATABASE", "SCHEMA", "segmentd", check_schema, false,
         "PostgreSQL schema of the service's own tables"),
    NUMBER(database, connections, "DATABASE", "CONNECTIONS", "4", 1, 256,
           "connections for requests; running jobs have their own"),
    NUMBER(database, connect_timeout_s, "DATABASE", "CONNECT_TIMEOUT_S", "5", 1, 300,
           "seconds to wait for a connection"),
    NUMBER(database, statement_timeout_s, "DATABASE", "STATEMENT_TIMEOUT_S", "30", 1, 3600,
           "seconds that a statement of a request may take"),
    WORD(auth, mode, "AUTH", "MODE", "off", AUTH_MODES,
         "token: every request needs a bearer token (segmentd token create). off is refused on an\n"
         "address that is not loopback"),
    BYTES(limits, body_bytes_max, "LIMITS", "BODY_BYTES_MAX", "64MiB", KIB(1), GIB(1),
          "JSON documents and scoring bodies"),
    BYTES(limits, import_bytes_max, "LIMITS", "IMPORT_BYTES_MAX", "4GiB", KIB(1), TIB(1),
          "bodies of feature rows"),
    BYTES(limits, stream_bytes_max, "LIMITS", "STREAM_BYTES_MAX", "4GiB", KIB(1), TIB(1),
          "NDJSON and CSV scoring bodies"),
    NUMBER(limits, rows_max, "LIMITS", "ROWS_MAX", "100000", 1, 10000000,
           "rows of one JSON scoring body"),
    NUMBER(limits, inline_rows_max, "LIMITS", "INLINE_ROWS_MAX", "256", 0, 100000,
           "batches up to this are scored by the thread that read them"),
    NUMBER(limits, scoring_wait_ms, "LIMITS", "SCORING_WAIT_MS", "500", 1, 600000,
           "a larger one waits for a compute thread so many milliseconds at most, most of them "
           "before\n"
           "its body is read, and is answered 503 then"),
    NUMBER(
        limits, summary_values_max, "LIMITS", "SUMMARY_VALUES_MAX", "20000000", 100000, 2000000000,
        "a feature set of more values, rows times columns, is summarised from a sample of about a\n"
        "tenth as many"),
    TEXT(limits, spool_dir, "LIMITS", "SPOOL_DIR", "/var/tmp", check_folder, false,
         "folder for files without a name: bodies over 1 MiB, rows that a training will label"),
    NUMBER(jobs, workers, "JOBS", "WORKERS", "0", 0, 64,
           "compute threads; 0 is one for each processor"),
    NUMBER(jobs, runners, "JOBS", "RUNNERS", "1", 0, 16,
           "jobs that run at a time in this process; 0 leaves them to other processes"),
    NUMBER(jobs, lease_seconds, "JOBS", "LEASE_SECONDS", "10", 2, 3600,
           "a job whose runner was silent for this long is taken over by another"),
    NUMBER(jobs, attempts_max, "JOBS", "ATTEMPTS_MAX", "50", 1, 1000,
           "a job that was begun this often fails for good"),
    BYTES(jobs, memory_bytes_max, "JOBS", "MEMORY_BYTES_MAX", "8GiB", MIB(16), TIB(16),
          "a training set that needs more memory is refused"),
    NUMBER(jobs, label_runs_kept, "JOBS", "LABEL_RUNS_KEPT", "2", 1, 1000,
           "published label runs that are kept of each model"),
    WORD(log, level, "LOG", "LEVEL", "info", LOG_LEVELS, "the least that is logged"),
    WORD(log, format, "LOG", "FORMAT", "auto", LOG_FORMATS,
         "auto is text on a terminal and JSON lines elsewhere"),
};
const size_t N_OPTIONS = sizeof OPTIONS / sizeof *OPTIONS;
static_assert(sizeof OPTIONS / sizeof *OPTIONS <= CONFIG_OPTIONS_MAX,
              "every option has a place for its origin");
static_assert(sizeof(enum auth_mode) == sizeof(uint32_t), "words are stored as uint32_t");

static bool parse_port(const char *text, uint16_t *ret)
{
    if (!isdigit((unsigned char)*text) || strlen(text) > 5) return false;
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    if (*end != '\0' || port > 65535) return false;
    *ret = (uint16_t)port;
    return true;
}

bool config_listen_address(const char *listen, struct sockaddr_storage *ret_address,
                           socklen_t *ret_len)
{
    struct sockaddr_storage address = { 0 };
    if (strncmp(listen, "unix:", 5) == 0) {
        struct sockaddr_un *un = (struct sockaddr_un *)&address;
        const char *path = listen + 5;
        if (*path != '/' || strlen(path) >= sizeof un->sun_path) return false;
        un->sun_family = AF_UNIX;
        memcpy(un->sun_path, path, strlen(path) + 1);
        *ret_address = address;
        *ret_len = sizeof *un;
        return true;
    }
    const char *colon = strrchr(listen, ':');
    char host[64];
    uint16_t port;
    if (colon == NULL || !parse_port(colon + 1, &port)) return false;
    size_t host_len = (size_t)(colon - listen);
    if (host_len >= sizeof host) return false;
    memcpy(host, listen, host_len);
    host[host_len] = '\0';
    if (host[0] == '[' && host_len > 2 && host[host_len - 1] == ']') {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
        host[host_len - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) != 1) return false;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        *ret_len = sizeof *in6;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)&address;
        const char *dotted = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
        if (inet_pton(AF_INET, dotted, &in->sin_addr) != 1) return false;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        *ret_len = sizeof *in;
    }
    *ret_address = address;
    return true;
}

bool config_listen_is_local(const struct config *c)
{
    struct sockaddr_storage address;
    socklen_t len;
    if (!config_listen_address(c->http.listen, &address, &len)) return false;
    switch (address.ss_family) {
    case AF_UNIX: return true;
    case AF_INET: {
        uint32_t host = ntohl(((const struct sockaddr_in *)&address)->sin_addr.s_addr);
        return host >> 24 == 127;
    }
    default: return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address)->sin6_addr);
    }
}

static const char *check_listen(const char *value)
{
    struct sockaddr_storage address;
    socklen_t len;
    if (config_listen_address(value, &address, &len)) return NULL;
    return "must be a numeric address:port (port at most 65535), [v6 address]:port or unix:/path";
}

static const char *check_schema(const char *value)
{
    size_t n = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_");
    bool fits = n >= 1 && n <= 63 && value[n] == '\0' && !isdigit((unsigned char)value[0]);
    if (fits && strncmp(value, "pg_", 3) != 0) return NULL;
    return "must be 1 to 63 of a-z, 0-9 and _, not begin with a digit, nor with pg_";
}

static const char *check_folder(const char *value)
{
    if (value[0] == '/' || value[0] == '\0') return NULL;
    return "must be an absolute path";
}

/* Digits, then KiB, MiB, GiB or TiB where units are allowed. */
static bool parse_number(const char *text, bool units, uint64_t *ret)
{
    static const char *const UNITS[] = { "", "KiB", "MiB", "GiB", "TiB" };
    if (!isdigit((unsigned char)*text)) return false;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0) return false;
    while (units && *end == ' ')
        end++;
    for (unsigned i = 0; i < (units ? sizeof UNITS / sizeof *UNITS : 1); i++) {
        if (strcmp(end, UNITS[i]) != 0) continue;
        if (n > UINT64_MAX >> (10 * i)) return false;
        *ret = (uint64_t)n << (10 * i);
        return true;
    }
    return false;
}

static void format_bytes(uint64_t n, char *out, size_t size)
{
    static const char *const UNITS[] = { "", "KiB", "MiB", "GiB", "TiB" };
    unsigned i = 0;
    while (n != 0 && n % 1024 == 0 && i < 4) {
        n /= 1024;
        i++;
    }
    snprintf(out, size, "%" PRIu64 "%s", n, UNITS[i]);
}

void option_format_limit(const struct option_row *o, uint64_t n, char *out, size_t size)
{
    if (o->type == OPTION_BYTES) {
        format_bytes(n, out, size);
    } else {
        snprintf(out, size, "%" PRIu64, n);
    }
}

static void store_number(struct config *c, const struct option_row *o, uint64_t n)
{
    void *member = (char *)c + o->offset;
    if (o->size == sizeof(uint64_t)) {
        memcpy(member, &n, sizeof n);
    } else {
        uint32_t narrow = (uint32_t)n;
        memcpy(member, &narrow, sizeof narrow);
    }
}

static uint64_t load_number(const struct config *c, const struct option_row *o)
{
    const void *member = (const char *)c + o->offset;
    uint64_t n = 0;
    uint32_t narrow;
    if (o->size == sizeof n) {
        memcpy(&n, member, sizeof n);
        return n;
    }
    memcpy(&narrow, member, sizeof narrow);
    return narrow;
}

static bool set_text(const struct option_row *o, struct config *c, const char *value,
                     char *sentence, size_t size)
{
    const char *wrong = o->check != NULL ? o->check(value) : NULL;
    if (strlen(value) >= o->size)
        snprintf(sentence, size, "[%s] %s has %zu bytes (limit %zu)", o->section, o->key,
                 strlen(value), o->size - 1);
    else if (wrong != NULL)
        snprintf(sentence, size, "[%s] %s = %s: %s", o->section, o->key, value, wrong);
    else
        return memcpy((char *)c + o->offset, value, strlen(value) + 1), true;
    return false;
}

static bool set_number(const struct option_row *o, struct config *c, const char *value,
                       char *sentence, size_t size)
{
    uint64_t n;
    char min[32], max[32];
    bool is_bytes = o->type == OPTION_BYTES;
    if (!parse_number(value, is_bytes, &n)) {
        snprintf(sentence, size, "[%s] %s = %s: must be a whole number%s", o->section, o->key,
                 value, is_bytes ? " of bytes, or of KiB, MiB, GiB or TiB with the unit" : "");
        return false;
    }
    if (n < o->min || n > o->max) {
        option_format_limit(o, o->min, min, sizeof min);
        option_format_limit(o, o->max, max, sizeof max);
        snprintf(sentence, size, "[%s] %s = %s: must be %s to %s", o->section, o->key, value, min,
                 max);
        return false;
    }
    store_number(c, o, n);
    return true;
}

static bool set_word(const struct option_row *o, struct config *c, const char *value,
                     char *sentence, size_t size)
{
    char all[128] = "";
    for (uint32_t i = 0; o->words[i] != NULL; i++) {
        if (strcmp(value, o->words[i]) == 0) {
            store_number(c, o, i);
            return true;
        }
        size_t len = strlen(all);
        snprintf(all + len, sizeof all - len, "%s%s", i > 0 ? ", " : "", o->words[i]);
    }
    snprintf(sentence, size, "[%s] %s = %s: must be one of %s", o->section, o->key, value, all);
    return false;
}

bool option_set(const struct option_row *o, struct config *c, const char *value, char *sentence,
                size_t size)
{
    switch (o->type) {
    case OPTION_TEXT: return set_text(o, c, value, sentence, size);
    case OPTION_NUMBER:
    case OPTION_BYTES: return set_number(o, c, value, sentence, size);
    case OPTION_WORD: return set_word(o, c, value, sentence, size);
    }
    return false;
}

void option_format(const struct option_row *o, const struct config *c, char *out, size_t size)
{
    switch (o->type) {
    case OPTION_TEXT: snprintf(out, size, "%s", (const char *)c + o->offset); break;
    case OPTION_NUMBER:
    case OPTION_BYTES: option_format_limit(o, load_number(c, o), out, size); break;
    case OPTION_WORD: snprintf(out, size, "%s", o->words[load_number(c, o)]); break;
    }
}
