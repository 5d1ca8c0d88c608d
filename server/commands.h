/* commands.h - what `segmentd COMMAND` does. Each takes its parsed arguments and returns the exit
 * status: 0 done, 1 failed, 2 wrong usage or configuration. Results go to stdout, what went wrong
 * to stderr. */
#ifndef SERVER_COMMANDS_H
#define SERVER_COMMANDS_H

struct arguments {
    const char *config; /* --config; NULL: the default file */
    const char *name, *scope, *expires_days, *url;
    char **words; /* what stands behind the command and is no option, NULL-terminated */
    int n_words;
};

int command_serve(const struct arguments *a);
int command_migrate(const struct arguments *a);
int command_config(const struct arguments *a);
int command_token(const struct arguments *a);
int command_doctor(const struct arguments *a);
int command_healthcheck(const struct arguments *a);

#endif
