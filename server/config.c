/* config.c - where values come from and where they are shown. The file is read by libinih, which
 * reports neither line numbers nor all faults; so lines are counted here as they pass, and every
 * check but the split into section, key and value is ours. */
#include "config_private.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <ini.h>

#define DEFAULT_FILE       "/etc/segmentd/segmentd.ini"
#define LINE_MAX_BYTES     4096
#define SENTENCE_MAX_BYTES (LINE_MAX_BYTES + 512)

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

static void set(struct reader *r, size_t i, const char *value, const char *variable)
{
    char sentence[SENTENCE_MAX_BYTES];
    if (!option_set(&OPTIONS[i], r->c, value, sentence, sizeof sentence))
        fault(r, variable, "%s", sentence);
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
        option_format(o, c, value, sizeof value);
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
        option_format_limit(o, o->min, min, sizeof min);
        option_format_limit(o, o->max, max, sizeof max);
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
