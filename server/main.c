/* main.c - finds the command in one table and reads its options. Exit status: 0 done, 1 failed, 2
 * wrong usage or configuration. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "commands.h"
#include "dev/dev.h"

enum { OPTION_NAME = 256, OPTION_SCOPE, OPTION_EXPIRES_DAYS, OPTION_URL };

static const struct option COMMON[] = {
    { "config", required_argument, NULL, 'c' },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
};
static const struct option TOKEN[] = {
    { "config", required_argument, NULL, 'c' },
    { "help", no_argument, NULL, 'h' },
    { "name", required_argument, NULL, OPTION_NAME },
    { "scope", required_argument, NULL, OPTION_SCOPE },
    { "expires-days", required_argument, NULL, OPTION_EXPIRES_DAYS },
    { NULL, 0, NULL, 0 },
};
static const struct option HEALTHCHECK[] = {
    { "config", required_argument, NULL, 'c' },
    { "help", no_argument, NULL, 'h' },
    { "url", required_argument, NULL, OPTION_URL },
    { NULL, 0, NULL, 0 },
};

struct command {
    const char *name;
    const char *words;            /* after the name, for --help */
    const struct option *options; /* NULL: the command reads its arguments itself */
    int (*run)(const struct arguments *a);
    const char *help;
};

static const struct command COMMANDS[] = {
    { "serve", "", COMMON, command_serve, "run the service (what is done without a command)" },
    { "dev", "[--help]", NULL, NULL,
      "a private PostgreSQL, a sample shop and the service, in one" },
    { "migrate", "up|status|verify", COMMON, command_migrate,
      "bring the schema up to date, list its migrations, compare them" },
    { "config", "check|show|example", COMMON, command_config,
      "check the options, show them with their origins, print the defaults" },
    { "token", "create --name NAME --scope read|score|train|admin [--expires-days N]", TOKEN,
      command_token, "make a bearer token; it is printed once" },
    { "token", "list | revoke ID", TOKEN, command_token, "list the tokens, revoke one" },
    { "doctor", "", COMMON, command_doctor, "check that the database holds what is promised" },
    { "healthcheck", "[--url URL]", HEALTHCHECK, command_healthcheck,
      "ask a running service whether it lives" },
};
#define N_COMMANDS (sizeof COMMANDS / sizeof *COMMANDS)

static int print_help(void)
{
    printf("usage: segmentd [--config FILE] [COMMAND]\n\n"
           "Trains and serves user segments and predictions over HTTP.\n\ncommands:\n");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const struct command *c = &COMMANDS[i];
        printf("  %s%s%s\n      %s\n", c->name, c->words[0] != '\0' ? " " : "", c->words, c->help);
    }
    printf(
        "\noptions:\n"
        "  -c, --config FILE  options of the service (/etc/segmentd/segmentd.ini if there is one)\n"
        "  -h, --help         print this\n"
        "  -V, --version      print the version\n\n"
        "Every option is also an environment variable SEGMENTD_SECTION_KEY.\n"
        "Exit status: 0 done, 1 failed, 2 wrong usage or configuration.\n");
    return 0;
}

static int print_version(void)
{
    printf("segmentd %s\n", SEGMENTD_VERSION);
    return 0;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0) return &COMMANDS[i];
    }
    return NULL;
}

/* Reads options into a. -1: go on; else the exit status. short_options "+…" stops at the first
 * word. */
static int read_options(int argc, char **argv, const char *short_options,
                        const struct option *options, struct arguments *a)
{
    for (;;) {
        switch (getopt_long(argc, argv, short_options, options, NULL)) {
        case -1: return -1;
        case 'c': a->config = optarg; break;
        case 'h': return print_help();
        case 'V': return print_version();
        case OPTION_NAME: a->name = optarg; break;
        case OPTION_SCOPE: a->scope = optarg; break;
        case OPTION_EXPIRES_DAYS: a->expires_days = optarg; break;
        case OPTION_URL: a->url = optarg; break;
        default: fprintf(stderr, "see segmentd --help\n"); return 2;
        }
    }
}

/* A result that could not be written is not a success: `segmentd config show > /dev/full`. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    fprintf(stderr, "segmentd: the output could not be written\n");
    return status != 0 ? status : 1;
}

int main(int argc, char **argv)
{
    struct arguments a = { 0 };
    int status = read_options(argc, argv, "+c:hV", COMMON, &a);
    if (status >= 0) return finish(status);

    const struct command *command = &COMMANDS[0];
    if (optind < argc) {
        command = find_command(argv[optind]);
        if (command == NULL) {
            fprintf(stderr, "segmentd: no command %s; see segmentd --help\n", argv[optind]);
            return 2;
        }
        argv += optind;
        argc -= optind;
        if (command->options == NULL) return dev_main(argc, argv);
        argv[0] = (char *)"segmentd"; /* getopt's messages begin with it */
        optind = 0;                   /* glibc: start afresh */
        status = read_options(argc, argv, "c:hV", command->options, &a);
        if (status >= 0) return finish(status);
    }
    a.words = argv + optind;
    a.n_words = argc - optind;
    return finish(command->run(&a));
}
