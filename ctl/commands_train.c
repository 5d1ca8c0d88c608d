/* train and label: they make a job, which commands_jobs.c reports and follows. */
#include <stdio.h>
#include "base/alloc.h"
#include "commands.h"
#include "text.h"
#include "train_spec.h"

int command_train(const struct arguments *a)
{
    char *spec = NULL;
    size_t len = 0;
    struct answer answer = { 0 };
    const struct client_parameter parameters[] = { { "dry_run", a->dry_run ? "true" : NULL },
                                                   { NULL, NULL } };
    if (a->feature_set == NULL && a->spec == NULL) {
        complain("train needs --feature-set or --spec; see segmentctl train --help");
        return EXIT_USAGE;
    }
    int status = train_spec_text(a, &spec, &len);
    if (status != EXIT_DONE) return status;
    const struct client_request rq = {
        .method = "POST", .content_type = "application/json", .body = spec, .body_len = len
    };
    status = EXIT_FAILED;
    if (!client_address(a->client, "/v1/models/{}/train", (const char *[]){ a->words[0] },
                        parameters)) {
        complain("%s", a->client->error);
    } else if (answer_get(a->client, &rq, &answer)) {
        status = EXIT_DONE;
        if (a->dry_run)
            answer_print(&answer);
        else
            status = job_report(a, &answer);
    }
    answer_release(&answer);
    seg_free(spec);
    return status;
}

int command_label(const struct arguments *a)
{
    struct answer answer = { 0 };
    int status = EXIT_FAILED;
    if (!client_address(a->client, "/v1/models/{}/label", (const char *[]){ a->words[0] }, NULL))
        complain("%s", a->client->error);
    else if (answer_get(a->client, &(struct client_request){ .method = "POST" }, &answer))
        status = job_report(a, &answer);
    answer_release(&answer);
    return status;
}
