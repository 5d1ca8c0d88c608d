/* Jobs: listed, shown, cancelled, run again, and followed to their end. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "commands.h"
#include "progress.h"
#include "table.h"
#include "text.h"

#define POLL_FIRST_MS   50
#define POLL_LONGEST_MS 1000
#define SILENCE_MAX_S   60 /* a server that restarts may be away for this long */

static bool is_state(const struct json *job, const char *state)
{
    char buffer[MEMBER_TEXT_SIZE];
    return strcmp(member_text(job, "state", buffer), state) == 0;
}

static bool has_ended(const struct json *job)
{
    return is_state(job, "succeeded") || is_state(job, "failed") || is_state(job, "cancelled");
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Asks for the job until it has ended; a server that is away or busy for a while is waited for.
 * False: it was said why. */
static bool follow(const struct arguments *a, const char *id, struct answer *ret)
{
    struct progress p;
    struct client *c = a->client;
    long pause_ms = POLL_FIRST_MS;
    double heard_at = now_s();
    char phase[MEMBER_TEXT_SIZE], message[MEMBER_TEXT_SIZE];
    if (!client_address(c, "/v1/jobs/{}", (const char *[]){ id }, NULL)) {
        complain("%s", c->error);
        return false;
    }
    progress_init(&p, a->words[0], false);
    for (;;) {
        struct client_reply reply;
        struct json_fault fault;
        bool came = client_send(c, &(struct client_request){ .method = "GET" }, &reply);
        bool away = !came || reply.status == 503;
        if (!away && reply.status != 200) {
            progress_clear(&p);
            complain_of(&reply);
            client_reply_release(&reply);
            return false;
        }
        struct json *job = away ? NULL : json_parse(reply.body, reply.len, &fault);
        if (job != NULL) {
            heard_at = now_s();
            const struct json *progress = member(job, "progress");
            bool known = progress != NULL && json_kind(progress) == JSON_NUMBER;
            progress_show(&p, known ? json_number(progress) : 0, member_text(job, "phase", phase),
                          member_text(job, "message", message));
            if (has_ended(job)) {
                progress_clear(&p);
                *ret = (struct answer){ reply, job };
                return true;
            }
        }
        json_free(job);
        client_reply_release(&reply);
        if (now_s() - heard_at > SILENCE_MAX_S) {
            progress_clear(&p);
            complain("job %s: no word from the server for %d s: %s", id, SILENCE_MAX_S,
                     came ? "it is busy" : c->error);
            return false;
        }
        sleep_ms(pause_ms);
        pause_ms = pause_ms * 2 < POLL_LONGEST_MS ? pause_ms * 2 : POLL_LONGEST_MS;
    }
}

static void print_job_line(const struct json *job)
{
    char buffers[4][MEMBER_TEXT_SIZE];
    const char *version = member_text(job, "version", buffers[3]);
    say("job %s: %s, model %s%s%s", member_text(job, "id", buffers[0]),
        member_text(job, "state", buffers[1]), member_text(job, "model", buffers[2]),
        *version != '\0' ? " version " : "", version);
}

int job_report(const struct arguments *a, const struct answer *job)
{
    char id[MEMBER_TEXT_SIZE];
    struct answer end = { 0 };
    const struct answer *last = job;
    if (a->watch) {
        if (!follow(a, member_text(job->doc, "id", id), &end)) return EXIT_FAILED;
        last = &end;
    }
    if (a->json)
        answer_print(last);
    else
        print_job_line(last->doc);
    const struct json *error = member(last->doc, "error");
    if (a->watch && error != NULL && json_kind(error) == JSON_OBJECT) complain_of_problem(error, 0);
    int status = a->watch && !is_state(last->doc, "succeeded") ? EXIT_FAILED : EXIT_DONE;
    answer_release(&end);
    return status;
}

static int show_job(const struct arguments *a)
{
    static const char *const keys[] = { "id",      "kind",       "state",       "phase",
                                        "message", "model",      "feature_set", "version",
                                        "attempt", "created_at", "started_at",  "finished_at" };
    struct answer job;
    char buffer[MEMBER_TEXT_SIZE];
    int status = EXIT_FAILED;
    if (answer_get_at(a->client, "/v1/jobs/{}", (const char *[]){ a->words[0] }, NULL, &job)) {
        status = EXIT_DONE;
        if (a->json) answer_print(&job);
        for (size_t i = 0; !a->json && i < sizeof(keys) / sizeof(keys[0]); i++) {
            const char *value = member_text(job.doc, keys[i], buffer);
            if (*value != '\0') say("%-12s %s", keys[i], value);
        }
        const struct json *error = member(job.doc, "error");
        if (!a->json && error != NULL && json_kind(error) == JSON_OBJECT)
            complain_of_problem(error, 0);
    }
    answer_release(&job);
    return status;
}

static void add_job(struct table *t, const struct json *job)
{
    char buffer[MEMBER_TEXT_SIZE];
    const struct json *progress = member(job, "progress");
    static const char *const keys[] = { "id", "kind", "model", "state" };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        table_cell(t, member_text(job, keys[i], buffer));
    if (progress != NULL && json_kind(progress) == JSON_NUMBER)
        table_cell_printf(t, "%.0f%%", json_number(progress) * 100);
    else
        table_cell(t, NULL);
    table_cell(t, member_text(job, "version", buffer));
    table_cell(t, member_text(job, "created_at", buffer));
    const struct json *error = member(job, "error");
    const char *text = member_text(error, "detail", buffer);
    table_cell(t, *text != '\0' ? text : member_text(job, "message", buffer));
}

int command_jobs(const struct arguments *a)
{
    static const struct table_column columns[] = { { "ID", false },      { "KIND", false },
                                                   { "MODEL", false },   { "STATE", false },
                                                   { "DONE", true },     { "VERSION", true },
                                                   { "CREATED", false }, { "MESSAGE", false } };
    const struct client_parameter parameters[] = { { "state", a->state },
                                                   { "model", a->model },
                                                   { NULL, NULL } };
    if (a->n_words == 1) return show_job(a);
    struct list l;
    if (!list_get(a->client, "/v1/jobs", NULL, parameters, &l)) return EXIT_FAILED;
    int status = EXIT_DONE;
    if (a->json) {
        status = list_print(&l) ? EXIT_DONE : EXIT_FAILED;
    } else {
        struct table t;
        table_init(&t, columns, sizeof(columns) / sizeof(columns[0]));
        for (size_t i = 0; i < l.n_pages; i++) {
            const struct json *job = json_first(json_get(l.pages[i].doc, "items"));
            for (; job != NULL; job = json_next(job))
                add_job(&t, job);
        }
        if (!table_write(&t, stdout)) {
            complain("out of memory");
            status = EXIT_FAILED;
        }
        table_release(&t);
    }
    list_release(&l);
    return status;
}

static int post_to_job(const struct arguments *a, const char *path)
{
    struct answer job = { 0 };
    int status = EXIT_FAILED;
    if (!client_address(a->client, path, (const char *[]){ a->words[0] }, NULL))
        complain("%s", a->client->error);
    else if (answer_get(a->client, &(struct client_request){ .method = "POST" }, &job))
        status = job_report(a, &job);
    answer_release(&job);
    return status;
}

int command_cancel(const struct arguments *a)
{
    return post_to_job(a, "/v1/jobs/{}/cancel");
}

int command_retry(const struct arguments *a)
{
    return post_to_job(a, "/v1/jobs/{}/retry");
}
