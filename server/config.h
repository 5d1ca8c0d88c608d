/* config.h - every option of the service, from one table (config_options.c): parser, check, show,
 * environment and config.example.ini all come from its rows. Precedence: built-in < --config FILE
 * (or /etc/segmentd/segmentd.ini when present) < DATABASE_URL (for [database] url) <
 * SEGMENTD_SECTION_KEY. Filled once before any thread starts, then read only. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define CONFIG_OPTIONS_MAX 40

enum auth_mode { AUTH_OFF, AUTH_TOKEN };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_JSON, LOG_FORMAT_TEXT };

struct config {
    struct {
        char listen[128];          /* host:port, [v6]:port or unix:/path; 127.0.0.1:8080 */
        uint32_t io_threads;       /* 2 */
        uint32_t connections_max;  /* 1024 */
        uint32_t idle_timeout_s;   /* 30: a connection without traffic is closed */
        uint32_t header_timeout_s; /* 10: the whole request head must be in */
        uint32_t body_timeout_s;   /* 300: the whole body must be in */
        char web_root[256]; /* serve the page from this folder instead of the embedded files; empty
                             */
    } http;
    struct {
        char url[1024];               /* libpq connection string; secret */
        char url_file[256];           /* file that holds the url instead; empty */
        char schema[64];              /* segmentd */
        uint32_t connections;         /* 4: of requests; jobs have their own */
        uint32_t connect_timeout_s;   /* 5 */
        uint32_t statement_timeout_s; /* 30: of requests */
    } database;
    struct {
        enum auth_mode mode; /* off */
    } auth;
    struct {
        uint64_t body_bytes_max;     /* 64 MiB: documents and scoring bodies */
        uint64_t import_bytes_max;   /* 4 GiB: feature rows */
        uint64_t stream_bytes_max;   /* 4 GiB: NDJSON and CSV scoring bodies */
        uint32_t rows_max;           /* 100000: rows of one JSON scoring body */
        uint32_t inline_rows_max;    /* 256: batches up to this are scored on the I/O thread */
        uint32_t summary_values_max; /* 20000000: of a larger feature set a sample is summarised */
        uint32_t scoring_wait_ms; /* 500: a large batch that no worker takes by then is refused */
        char spool_dir[256];      /* /var/tmp: unlinked files, of bodies over 1 MiB and of rows
                                     that a training will label */
    } limits;
    struct {
        uint32_t workers;          /* 0 = number of cores: threads of the compute pool */
        uint32_t runners;          /* 1: jobs at a time in this process */
        uint32_t lease_seconds;    /* 10 */
        uint32_t attempts_max;     /* 50: attempts of a job before it fails for good */
        uint64_t memory_bytes_max; /* 8 GiB: a training set larger than this is refused */
        uint32_t label_runs_kept;  /* 2 per model */
    } jobs;
    struct {
        uint32_t level;         /* 0 debug, 1 info, 2 warn, 3 error */
        enum log_format format; /* auto: text on a terminal, JSON lines elsewhere */
    } log;
    char file[256]; /* the configuration file that was read; empty */
    struct config_origin {
        const char *variable;      /* static: the environment variable it came from, or NULL */
        unsigned line;             /* of file; 0 = not from there */
    } origins[CONFIG_OPTIONS_MAX]; /* in the table's order, for config_show */
};

/* Fills c. Every fault is printed to errors as "file:line: sentence" (or "SEGMENTD_HTTP_LISTEN:
 * sentence"). Returns the number of faults. path NULL: /etc/segmentd/segmentd.ini when it exists.
 */
unsigned config_load(struct config *c, const char *path, FILE *errors);
/* `segmentd config show`: each option with its value and where it came from; secrets masked. */
void config_show(const struct config *c, FILE *out);
/* `segmentd config example`: config.example.ini. */
void config_example(FILE *out);
/* The socket address of an [http] listen value. False when it is none. */
bool config_listen_address(const char *listen, struct sockaddr_storage *ret_address,
                           socklen_t *ret_len);
/* True when [http] listen is loopback or a Unix socket. */
bool config_listen_is_local(const struct config *c);

#endif
