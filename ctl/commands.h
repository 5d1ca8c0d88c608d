/* commands.h - what each command of segmentctl does. Each takes its parsed arguments and returns
 * the exit status: 0 done, 1 failed, 2 wrong usage. Results go to stdout, everything else to
 * stderr. */
#ifndef CTL_COMMANDS_H
#define CTL_COMMANDS_H

#include <stdbool.h>
#include "client.h"
#include "json/json.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct arguments {
    struct client *client;
    const char *url, *token;
    bool json, watch, dry_run, skip_bad, label;
    const char *id, *type, *state, *model;
    const char *feature_set, *algorithm, *k, *target, *features, *hidden, *seed, *promote, *spec;
    char **words; /* behind the command, those that are no options; NULL-terminated */
    int n_words;
};

int command_import(const struct arguments *a);
int command_predict(const struct arguments *a);
int command_train(const struct arguments *a);
int command_label(const struct arguments *a);
int command_jobs(const struct arguments *a);
int command_cancel(const struct arguments *a);
int command_retry(const struct arguments *a);
int command_segments(const struct arguments *a);
int command_models(const struct arguments *a);
int command_promote(const struct arguments *a);
int command_feature_sets(const struct arguments *a);

/* ---- what they share ---- */

/* A document that came back, as text and read. Release it, also after a failure. */
struct answer {
    struct client_reply reply;
    struct json *doc;
};
void answer_release(struct answer *a);
/* Sends to the address that is set. False: it was said on stderr what went wrong, be it that no
 * answer came, a refusal with all its faults, or an answer that is no JSON. */
bool answer_get(struct client *c, const struct client_request *rq, struct answer *ret);
/* The same for an address: GET path with args and parameters. */
bool answer_get_at(struct client *c, const char *path, const char *const *args,
                   const struct client_parameter *parameters, struct answer *ret);
/* Says what a reply that is no success says: its detail and its faults. */
void complain_of(const struct client_reply *r);
/* Says what a problem document says. */
void complain_of_problem(const struct json *problem, unsigned status);
/* The reply's text on stdout, as JSON. */
void answer_print(const struct answer *a);

/* All items of a list, over all its pages; free them with list_release. */
struct list {
    struct answer *pages;
    size_t n_pages, cap;
};
bool list_get(struct client *c, const char *path, const char *const *args,
              const struct client_parameter *parameters, struct list *ret);
void list_release(struct list *l);
/* {"items": […]} of all pages on stdout. False: out of memory, which was said. */
bool list_print(const struct list *l);

/* Prints the job that was made or changed, and with --watch follows it to its end. */
int job_report(const struct arguments *a, const struct answer *job);

/* A member's text or number for people, into buffer when it has to be made; "" when it is missing
 * or null. */
#define MEMBER_TEXT_SIZE 40
const char *member_text(const struct json *object, const char *key, char *buffer);
/* A member of an object, NULL too when v is no object. */
const struct json *member(const struct json *v, const char *key);

#endif
