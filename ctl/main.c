/* main.c - segmentctl: finds the command in one table and reads its options. Exit status: 0 done, 1
 * failed, 2 wrong usage. */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "commands.h"
#include "text.h"

#define DEFAULT_URL "http://127.0.0.1:8080"
#define SHORT       "hV"

enum {
    OPTION_URL = 256,
    OPTION_TOKEN,
    OPTION_JSON,
    OPTION_ID,
    OPTION_SKIP_BAD,
    OPTION_TYPE,
    OPTION_FEATURE_SET,
    OPTION_ALGORITHM,
    OPTION_K,
    OPTION_TARGET,
    OPTION_FEATURES,
    OPTION_HIDDEN,
    OPTION_SEED,
    OPTION_LABEL,
    OPTION_PROMOTE,
    OPTION_SPEC,
    OPTION_DRY_RUN,
    OPTION_WATCH,
    OPTION_STATE,
    OPTION_MODEL
};

#define COMMON                                                                                     \
    { "url", required_argument, NULL, OPTION_URL },                                                \
        { "token", required_argument, NULL, OPTION_TOKEN },                                        \
        { "json", no_argument, NULL, OPTION_JSON }, { "help", no_argument, NULL, 'h' },            \
        { "version", no_argument, NULL, 'V' },                                                     \
    {                                                                                              \
        NULL, 0, NULL, 0                                                                           \
    }

static const struct option PLAIN[] = { COMMON };
static const struct option WATCH[] = { { "watch", no_argument, NULL, OPTION_WATCH }, COMMON };
static const struct option IMPORT[] = { { "id", required_argument, NULL, OPTION_ID },
                                        { "skip-bad", no_argument, NULL, OPTION_SKIP_BAD },
                                        { "type", required_argument, NULL, OPTION_TYPE },
                                        COMMON };
static const struct option PREDICT[] = { { "type", required_argument, NULL, OPTION_TYPE }, COMMON };
static const struct option JOBS[] = { { "state", required_argument, NULL, OPTION_STATE },
                                      { "model", required_argument, NULL, OPTION_MODEL },
                                      COMMON };
static const struct option TRAIN[] = { { "feature-set", required_argument, NULL,
                                         OPTION_FEATURE_SET },
                                       { "algorithm", required_argument, NULL, OPTION_ALGORITHM },
                                       { "k", required_argument, NULL, OPTION_K },
                                       { "target", required_argument, NULL, OPTION_TARGET },
                                       { "features", required_argument, NULL, OPTION_FEATURES },
                                       { "hidden", required_argument, NULL, OPTION_HIDDEN },
                                       { "seed", required_argument, NULL, OPTION_SEED },
                                       { "label", no_argument, NULL, OPTION_LABEL },
                                       { "promote", required_argument, NULL, OPTION_PROMOTE },
                                       { "spec", required_argument, NULL, OPTION_SPEC },
                                       { "dry-run", no_argument, NULL, OPTION_DRY_RUN },
                                       { "watch", no_argument, NULL, OPTION_WATCH },
                                       COMMON };

struct command {
    const char *name;
    const char *words; /* behind the name, for --help */
    int n_words_min, n_words_max;
    const struct option *options;
    int (*run)(const struct arguments *a);
    const char *help;
    const char *options_help; /* lines of its own options */
};

#define TYPE_HELP                                                                                  \
    "  --type TYPE        csv, ndjson or json; by default the suffix of FILE says: .csv, "         \
    ".ndjson,\n"                                                                                   \
    "                     .jsonl, .json\n"
#define WATCH_HELP                                                                                 \
    "  --watch            follow the job to its end; exit 1 when it does not succeed\n"

static const struct command COMMANDS[] = {
    { "import", "FEATURE_SET FILE", 2, 2, IMPORT, command_import,
      "store rows in a feature set, which is made when it is new; FILE - is stdin",
      "  --id COLUMN        the column that holds the user id; without it rows are numbered\n"
      "  --skip-bad         store the good rows and report the others; else nothing is "
      "stored\n" TYPE_HELP },
    { "train", "MODEL --feature-set FEATURE_SET", 1, 1, TRAIN, command_train,
      "train a new version of a model",
      "  --feature-set NAME where the users' features come from\n"
      "  --algorithm NAME   kmeans (default), minibatch_kmeans, gmm, autoencoder_kmeans,\n"
      "                     deep_clustering, k_prototypes; mlp (default with --target)\n"
      "  --k N              number of segments, or auto\n"
      "  --target COLUMN    the feature whose class is to be predicted\n"
      "  --features A,B     learn from these; default: all of them\n"
      "  --hidden 64,32     layers of the network: of mlp, of an encoder, of\n"
      "                     a network trained on the segments for kmeans\n"
      "  --seed N           the same seed and data give the same model\n"
      "  --label            then label every user of the feature set\n"
      "  --promote WHEN     always, if_better or never: whether the new version serves\n"
      "  --spec FILE        JSON with any option of the service; the options above go before it\n"
      "  --dry-run          only print the complete spec\n" WATCH_HELP },
    { "label", "MODEL", 1, 1, WATCH, command_label,
      "label every user of the model's feature set anew", WATCH_HELP },
    { "predict", "MODEL FILE", 2, 2, PREDICT, command_predict,
      "segments or classes of the rows in FILE, on stdout, in the format of FILE; - is stdin",
      TYPE_HELP },
    { "segments", "MODEL", 1, 1, PLAIN, command_segments, "the segments of a model", "" },
    { "models", "[MODEL]", 0, 1, PLAIN, command_models, "all models, or the versions of one", "" },
    { "promote", "MODEL VERSION", 2, 2, PLAIN, command_promote, "let a version serve", "" },
    { "jobs", "[ID]", 0, 1, JOBS, command_jobs, "all jobs, the newest first, or one",
      "  --state STATE      queued, running, cancelling, cancelled, succeeded or failed\n"
      "  --model MODEL      jobs of this model\n" },
    { "cancel", "ID", 1, 1, PLAIN, command_cancel, "cancel a job", "" },
    { "retry", "ID", 1, 1, WATCH, command_retry, "run a failed or cancelled job again",
      WATCH_HELP },
    { "feature-sets", "[FEATURE_SET]", 0, 1, PLAIN, command_feature_sets,
      "all feature sets, or the features of one", "" },
};
#define N_COMMANDS (sizeof(COMMANDS) / sizeof(COMMANDS[0]))

static void print_common_options(void)
{
    printf("  --url URL          of the server: http://…, https://… or unix:/path (SEGMENTD_URL,\n"
           "                     else " DEFAULT_URL ")\n"
           "  --token TOKEN      bearer token; other users of this machine see it in the list of\n"
           "                     processes, so rather use SEGMENTD_TOKEN\n"
           "  --json             print JSON as the server wrote it\n"
           "  -h, --help         print this\n"
           "  -V, --version      print the version\n\n"
           "Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

/* Of one command, or of the program when it is NULL. */
static int print_help(const struct command *command)
{
    if (command != NULL) {
        printf("usage: segmentctl %s %s [OPTION]...\n\n%s\n\noptions:\n%s", command->name,
               command->words, command->help, command->options_help);
    } else {
        printf("usage: segmentctl [OPTION]... COMMAND\n\nTalks to a segmentd.\n\ncommands:\n");
        for (size_t i = 0; i < N_COMMANDS; i++)
            printf("  %s %s\n      %s\n", COMMANDS[i].name, COMMANDS[i].words, COMMANDS[i].help);
        printf("\nsegmentctl COMMAND --help lists its options.\n\noptions:\n");
    }
    print_common_options();
    return EXIT_DONE;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(COMMANDS[i].name, name) == 0) return &COMMANDS[i];
    return NULL;
}

static bool take_option(int option, struct arguments *a)
{
    switch (option) {
    case OPTION_URL: a->url = optarg; return true;
    case OPTION_TOKEN: a->token = optarg; return true;
    case OPTION_JSON: a->json = true; return true;
    case OPTION_ID: a->id = optarg; return true;
    case OPTION_SKIP_BAD: a->skip_bad = true; return true;
    case OPTION_TYPE: a->type = optarg; return true;
    case OPTION_FEATURE_SET: a->feature_set = optarg; return true;
    case OPTION_ALGORITHM: a->algorithm = optarg; return true;
    case OPTION_K: a->k = optarg; return true;
    case OPTION_TARGET: a->target = optarg; return true;
    case OPTION_FEATURES: a->features = optarg; return true;
    case OPTION_HIDDEN: a->hidden = optarg; return true;
    case OPTION_SEED: a->seed = optarg; return true;
    case OPTION_LABEL: a->label = true; return true;
    case OPTION_PROMOTE: a->promote = optarg; return true;
    case OPTION_SPEC: a->spec = optarg; return true;
    case OPTION_DRY_RUN: a->dry_run = true; return true;
    case OPTION_WATCH: a->watch = true; return true;
    case OPTION_STATE: a->state = optarg; return true;
    case OPTION_MODEL: a->model = optarg; return true;
    default: return false;
    }
}

/* -1: go on; else the exit status. */
static int read_options(int argc, char **argv, const char *short_options,
                        const struct option *options, const struct command *command,
                        struct arguments *a)
{
    int option;
    while ((option = getopt_long(argc, argv, short_options, options, NULL)) != -1) {
        if (option == 'h') return print_help(command);
        if (option == 'V') return printf("segmentctl %s\n", SEGMENTD_VERSION), EXIT_DONE;
        if (take_option(option, a)) continue;
        complain("see segmentctl %s%s--help", command ? command->name : "", command ? " " : "");
        return EXIT_USAGE;
    }
    return -1;
}

static int run(const struct command *command, struct arguments a)
{
    struct client client;
    if (a.n_words < command->n_words_min || a.n_words > command->n_words_max) {
        complain("usage: segmentctl %s %s; see segmentctl %s --help", command->name, command->words,
                 command->name);
        return EXIT_USAGE;
    }
    for (int i = 0; i < a.n_words; i++) {
        if (a.words[i][0] != '\0') continue;
        complain("an argument is empty");
        return EXIT_USAGE;
    }
    const char *fault = client_init(&client, a.url, a.token);
    if (fault != NULL) {
        complain("%s", fault);
        return EXIT_USAGE;
    }
    a.client = &client;
    int status = command->run(&a);
    client_release(&client);
    return status;
}

/* A result that could not be written is not a success. */
static int finish(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    if (status == EXIT_DONE) complain("the output could not be written");
    return status != EXIT_DONE ? status : EXIT_FAILED;
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

int main(int argc, char **argv)
{
    struct arguments a = { .url = variable("SEGMENTD_URL"), .token = variable("SEGMENTD_TOKEN") };
    if (a.url == NULL) a.url = DEFAULT_URL;
    argv[0] = (char *)"segmentctl"; /* getopt's messages begin with it */
    setlocale(LC_CTYPE, "C.UTF-8"); /* widths of characters; what the server says is UTF-8 */
    int status = read_options(argc, argv, "+" SHORT, PLAIN, NULL, &a);
    if (status >= 0) return finish(status);
    if (optind == argc) {
        complain("no command; see segmentctl --help");
        return EXIT_USAGE;
    }
    const struct command *command = find_command(argv[optind]);
    if (command == NULL) {
        complain("no command %s; see segmentctl --help", argv[optind]);
        return EXIT_USAGE;
    }
    argv += optind;
    argc -= optind;
    argv[0] = (char *)"segmentctl"; /* in place of the command */
    optind = 0;                     /* glibc: start afresh */
    status = read_options(argc, argv, SHORT, command->options, command, &a);
    if (status >= 0) return finish(status);
    a.words = argv + optind;
    a.n_words = argc - optind;
    return finish(run(command, a));
}
