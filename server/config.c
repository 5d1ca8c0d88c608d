/* config.c - the table of options, and everything that is done with it. The file is read by
 * libinih, which reports neither line numbers nor all faults; so lines are counted here as they
 * pass, and every check but the split into section, key and value is ours. */
#include "config.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <ini.h>

#define DEFAULT_FILE   "/etc/segmentd/segmentd.ini"
#define LINE_MAX_BYTES 4096

#define KIB(n)         ((uint64_t)(n) << 10)
#define MIB(n)         ((uint64_t)(n) << 20)
#define GIB(n)         ((uint64_t)(n) << 30)
#define TIB(n)         ((uint64_t)(n) << 40)

enum option_type { OPTION_TEXT, OPTION_NUMBER, OPTION_BYTES, OPTION_WORD };

struct option_row {
    const char *section, *key;
    enum option_type type;
    size_t offset, size;                /* of the member of struct config */
    const char *initial;                /* as one would write it */
    uint64_t min, max;                  /* numbers and bytes */
    const char *const *words;           /* OPTION_WORD: names of 0, 1 …, NULL-terminated */
    const char *(*check)(const char *); /* text: a sentence when it is wrong, or NULL */
    bool secret;
    const char *variable; /* SEGMENTD_SECTION_KEY */
    const char *help;
};

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

static const struct option_row OPTIONS[] = {
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
#define N_OPTIONS (sizeof OPTIONS / sizeof *OPTIONS)
static_assert(N_OPTIONS <= CONFIG_OPTIONS_MAX, "every option has a place for its origin");
static_assert(sizeof(enum auth_mode) == sizeof(uint32_t), "words are stored as uint32_t");

/* Where faults go, with the place that is being read. */
struct reader {
    struct config *c;
    FILE *in; /* the file while it is read */
    FILE *errors;
    unsigned line;
    bool line_begins; /* the next byte read is the first of a line */
    unsigned n_faults;
};

__attribute__((format(printf, 3, 4))) static void fault(struct reader *r, const char *variable,
                                                        const char *fmt, ...)
{
    r->n_faults++;
    if (variable != NULL) {
        fprintf(r->errors, "%s: ", variable);
    } else if (r->line > 0) {
        fprintf(r->errors, "%s:%u: ", r->c->file, r->line);
    } else {
        fprintf(r->errors, "%s: ", r->c->file);
    }
    va_list args;
    va_start(args, fmt);
    vfprintf(r->errors, fmt, args);
    va_end(args);
    fputc('\n', r->errors);
}

/* A fault of option i, wherever its value came from. */
#define FAULT_OF(r, i, ...)                                                                        \
    do {                                                                                           \
        (r)->line = (r)->c->origins[i].line;                                                       \
        fault((r), (r)->c->origins[i].variable, __VA_ARGS__);                                      \
    } while (0)

/* ---- values ---- */

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

static void format_limit(const struct option_row *o, uint64_t n, char *out, size_t size)
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

static void set_text(struct reader *r, const struct option_row *o, const char *value,
                     const char *variable)
{
    const char *wrong = o->check != NULL ? o->check(value) : NULL;
    if (strlen(value) >= o->size) {
        fault(r, variable, "[%s] %s has %zu bytes (limit %zu)", o->section, o->key, strlen(value),
              o->size - 1);
    } else if (wrong != NULL) {
        fault(r, variable, "[%s] %s = %s: %s", o->section, o->key, value, wrong);
    } else {
        memcpy((char *)r->c + o->offset, value, strlen(value) + 1);
    }
}

static void set_number(struct reader *r, const struct option_row *o, const char *value,
                       const char *variable)
{
    uint64_t n;
    char min[32], max[32];
    bool is_bytes = o->type == OPTION_BYTES;
    if (!parse_number(value, is_bytes, &n)) {
        fault(r, variable, "[%s] %s = %s: must be a whole number%s", o->section, o->key, value,
              is_bytes ? " of bytes, or of KiB, MiB, GiB or TiB with the unit" : "");
    } else if (n < o->min || n > o->max) {
        format_limit(o, o->min, min, sizeof min);
        format_limit(o, o->max, max, sizeof max);
        fault(r, variable, "[%s] %s = %s: must be %s to %s", o->section, o->key, value, min, max);
    } else {
        store_number(r->c, o, n);
    }
}

static void set_word(struct reader *r, const struct option_row *o, const char *value,
                     const char *variable)
{
    char all[128] = "";
    for (uint32_t i = 0; o->words[i] != NULL; i++) {
        if (strcmp(value, o->words[i]) == 0) {
            store_number(r->c, o, i);
            return;
        }
        size_t len = strlen(all);
        snprintf(all + len, sizeof all - len, "%s%s", i > 0 ? ", " : "", o->words[i]);
    }
    fault(r, variable, "[%s] %s = %s: must be one of %s", o->section, o->key, value, all);
}

static void set(struct reader *r, size_t i, const char *value, const char *variable)
{
    const struct option_row *o = &OPTIONS[i];
    switch (o->type) {
    case OPTION_TEXT: set_text(r, o, value, variable); break;
    case OPTION_NUMBER:
    case OPTION_BYTES: set_number(r, o, value, variable); break;
    case OPTION_WORD: set_word(r, o, value, variable); break;
    }
}

/* ---- the file ---- */

/* fgets for libinih, which also counts the lines. */
static char *read_line(char *out, int size, void *ctx)
{
    struct reader *r = ctx;
    if (r->line_begins) r->line++;
    if (fgets(out, size, r->in) == NULL) return NULL;
    r->line_begins = strchr(out, '\n') != NULL;
    if (r->line_begins || feof(r->in)) return out;
    /* libinih would take the rest for a line of its own */
    fault(r, NULL, "the line is longer than %d bytes", size - 2);
    int c;
    while ((c = fgetc(r->in)) != EOF && c != '\n') {
    }
    r->line_begins = true;
    out[0] = '\0';
    return out;
}

static size_t find_option(const char *section, const char *key)
{
    size_t i = 0;
    while (i < N_OPTIONS &&
           (strcmp(OPTIONS[i].section, section) != 0 || strcmp(OPTIONS[i].key, key) != 0)) {
        i++;
    }
    return i;
}

static bool section_is_known(const char *section)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        if (strcmp(OPTIONS[i].section, section) == 0) return true;
    }
    return false;
}

static int on_value(void *ctx, const char *section, const char *key, const char *value)
{
    struct reader *r = ctx;
    size_t i = find_option(section, key);
    if (value == NULL) {
        fault(r, NULL, "\"%s\" is not a \"key = value\"", key);
    } else if (section[0] == '\0') {
        fault(r, NULL, "%s stands before the first [section]", key);
    } else if (!section_is_known(section)) {
        fault(r, NULL, "[%s] is not a known section", section);
    } else if (i == N_OPTIONS) {
        fault(r, NULL, "[%s] %s is not a known option", section, key);
    } else if (r->c->origins[i].line > 0) {
        fault(r, NULL, "[%s] %s was already given in line %u", section, key, r->c->origins[i].line);
    } else {
        r->c->origins[i].line = r->line;
        set(r, i, value, NULL);
    }
    return 1; /* go on: all faults are reported */
}

static void read_file(struct reader *r, const char *path)
{
    bool is_default = path == NULL;
    if (is_default) path = DEFAULT_FILE;
    snprintf(r->c->file, sizeof r->c->file, "%s", path);
    r->in = fopen(path, "re");
    if (r->in == NULL) {
        if (is_default && errno == ENOENT) {
            r->c->file[0] = '\0';
        } else {
            fault(r, NULL, "cannot be read: %s", strerror(errno));
        }
        return;
    }
    /* libinih's settings are its globals */
    ini_use_stack = false;
    ini_initial_alloc = LINE_MAX_BYTES;
    ini_max_line = LINE_MAX_BYTES;
    ini_allow_multiline = false;
    ini_allow_inline_comments = false; /* a password may contain " ;" */
    ini_allow_no_value = true;         /* reported by on_value, with the line */
    r->line_begins = true;
    int rc = ini_parse_stream(read_line, r, on_value, r);
    if (rc == -2) {
        r->line = 0;
        fault(r, NULL, "not enough memory to read it");
    } else if (rc > 0) {
        r->line = (unsigned)rc;
        fault(r, NULL, "is not a [section] nor a \"key = value\"");
    } else if (ferror(r->in)) {
        r->line = 0;
        fault(r, NULL, "cannot be read: %s", strerror(errno));
    }
    fclose(r->in);
    r->in = NULL;
}

/* ---- the environment ---- */

extern char **environ;

/* SEGMENTD_HTTP_LISTNE would be forgotten without a word; other names are not ours to judge. */
static void refuse_unknown_variables(struct reader *r)
{
    for (char **entry = environ; *entry != NULL; entry++) {
        size_t len = strcspn(*entry, "=");
        bool known = false, of_a_section = false;
        for (size_t i = 0; i < N_OPTIONS; i++) {
            const char *variable = OPTIONS[i].variable;
            size_t prefix = strlen("SEGMENTD_") + strlen(OPTIONS[i].section) + 1;
            if (strncmp(*entry, variable, prefix) == 0) of_a_section = true;
            if (strlen(variable) == len && strncmp(*entry, variable, len) == 0) known = true;
        }
        if (!of_a_section || known) continue;
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)len, *entry);
        fault(r, name, "is not the name of an option");
    }
}

static void read_environment(struct reader *r)
{
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const char *variable = OPTIONS[i].variable;
        const char *value = getenv(variable);
        if (value == NULL && OPTIONS[i].offset == offsetof(struct config, database.url)) {
            variable = "DATABASE_URL";
            value = getenv(variable);
        }
        if (value == NULL) continue;
        r->c->origins[i].variable = variable;
        set(r, i, value, variable);
    }
    refuse_unknown_variables(r);
}

/* ---- what concerns more than one option ---- */

static bool is_given(const struct config *c, size_t i)
{
    return c->origins[i].variable != NULL || c->origins[i].line > 0;
}

static void read_url_file(struct reader *r)
{
    struct config *c = r->c;
    size_t url = find_option("database", "url"), url_file = find_option("database", "url_file");
    if (c->database.url_file[0] == '\0') return;
    if (is_given(c, url)) {
        /* the environment is above the file */
        bool url_from_env = c->origins[url].variable != NULL;
        bool file_from_env = c->origins[url_file].variable != NULL;
        if (url_from_env && !file_from_env) return;
        if (url_from_env == file_from_env) {
            FAULT_OF(r, url_file, "[database] url_file and [database] url are both given");
            return;
        }
    }
    struct stat st;
    char text[sizeof c->database.url + 1];
    int fd = open(c->database.url_file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        FAULT_OF(r, url_file, "[database] url_file = %s cannot be read: %s", c->database.url_file,
                 strerror(errno));
        goto out;
    }
    if ((st.st_mode & S_IRWXO) != 0) {
        FAULT_OF(r, url_file, "[database] url_file = %s can be read by others: chmod o= it",
                 c->database.url_file);
        goto out;
    }
    ssize_t len = read(fd, text, sizeof text);
    if (len < 0) {
        FAULT_OF(r, url_file, "[database] url_file = %s cannot be read: %s", c->database.url_file,
                 strerror(errno));
        goto out;
    }
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    if (len == 0 || (size_t)len >= sizeof c->database.url ||
        memchr(text, '\0', (size_t)len) != NULL) {
        FAULT_OF(r, url_file,
                 "[database] url_file = %s must hold one connection string of at most %zu bytes",
                 c->database.url_file, sizeof c->database.url - 1);
        goto out;
    }
    memcpy(c->database.url, text, (size_t)len);
    c->database.url[len] = '\0';
    c->origins[url] = c->origins[url_file];
out:
    if (fd >= 0) close(fd);
}

static void check_together(struct reader *r)
{
    const struct config *c = r->c;
    if (c->auth.mode == AUTH_OFF && !config_listen_is_local(c)) {
        FAULT_OF(r, find_option("http", "listen"),
                 "[http] listen = %s is not a loopback address: that needs [auth] mode = token",
                 c->http.listen);
    }
    if (c->limits.spool_dir[0] == '\0') {
        FAULT_OF(r, find_option("limits", "spool_dir"), "[limits] spool_dir must not be empty");
    }
}

unsigned config_load(struct config *c, const char *path, FILE *errors)
{
    *c = (struct config){ 0 };
    struct reader r = { .c = c, .errors = errors };
    for (size_t i = 0; i < N_OPTIONS; i++)
        set(&r, i, OPTIONS[i].initial, OPTIONS[i].variable);
    assert(r.n_faults == 0);
    read_file(&r, path);
    read_environment(&r);
    read_url_file(&r);
    check_together(&r);
    return r.n_faults;
}

/* ---- show and example ---- */

static void format_value(const struct config *c, const struct option_row *o, char *out, size_t size)
{
    switch (o->type) {
    case OPTION_TEXT: snprintf(out, size, "%s", (const char *)c + o->offset); break;
    case OPTION_NUMBER:
    case OPTION_BYTES: format_limit(o, load_number(c, o), out, size); break;
    case OPTION_WORD: snprintf(out, size, "%s", o->words[load_number(c, o)]); break;
    }
}

void config_show(const struct config *c, FILE *out)
{
    const char *section = "";
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option_row *o = &OPTIONS[i];
        const struct config_origin *origin = &c->origins[i];
        char value[sizeof c->database.url], line[sizeof value + 64];
        if (strcmp(section, o->section) != 0)
            fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", o->section);
        section = o->section;
        format_value(c, o, value, sizeof value);
        if (o->secret && value[0] != '\0') snprintf(value, sizeof value, "********");
        snprintf(line, sizeof line, "%s = %s", o->key, value);
        if (origin->variable != NULL) {
            fprintf(out, "%-40s ; %s\n", line, origin->variable);
        } else if (origin->line > 0) {
            fprintf(out, "%-40s ; %s:%u\n", line, c->file, origin->line);
        } else {
            fprintf(out, "%-40s ; default\n", line);
        }
    }
}

static void print_help(const struct option_row *o, FILE *out)
{
    fputs("\n; ", out);
    for (const char *at = o->help; *at != '\0'; at++) {
        fputc(*at, out);
        if (*at == '\n') fputs("; ", out);
    }
    if (o->type == OPTION_NUMBER || o->type == OPTION_BYTES) {
        char min[32], max[32];
        format_limit(o, o->min, min, sizeof min);
        format_limit(o, o->max, max, sizeof max);
        fprintf(out, " (%s to %s)", min, max);
    }
    if (o->type == OPTION_WORD) {
        for (size_t i = 0; o->words[i] != NULL; i++) {
            fprintf(out, "%s%s", i == 0 ? " (" : ", ", o->words[i]);
        }
        fputc(')', out);
    }
    fputc('\n', out);
}

void config_example(FILE *out)
{
    fputs("; The options of segmentd with their defaults. Any of them may also be given as an\n"
          "; environment variable, which goes before this file: [http] listen is\n"
          "; SEGMENTD_HTTP_LISTEN. Check a file by: segmentd --config FILE config check\n",
          out);
    const char *section = "";
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option_row *o = &OPTIONS[i];
        if (strcmp(section, o->section) != 0) fprintf(out, "\n[%s]\n", o->section);
        section = o->section;
        print_help(o, out);
        fprintf(out, "%s%s =%s%s\n", o->initial[0] == '\0' ? ";" : "", o->key,
                o->initial[0] == '\0' ? "" : " ", o->initial);
    }
}
