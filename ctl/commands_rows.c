/* import and predict: rows go up as a stream, a prediction comes back as one. Neither is ever whole
 * in memory. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "commands.h"
#include "progress.h"
#include "text.h"

struct media_type {
    const char *name, *suffix, *suffix2, *type;
};
static const struct media_type MEDIA_TYPES[] = {
    { "csv", ".csv", NULL, "text/csv" },
    { "ndjson", ".ndjson", ".jsonl", "application/x-ndjson" },
    { "json", ".json", NULL, "application/json" },
};

struct rows_file {
    FILE *file;
    const char *type;
    int64_t size; /* -1: not known */
    struct progress progress;
    struct text_filter filter;
    bool to_terminal;
};

static bool ends_with(const char *s, const char *suffix)
{
    size_t len = strlen(s), n = suffix != NULL ? strlen(suffix) : 0;
    return n > 0 && len > n && strcasecmp(s + len - n, suffix) == 0;
}

/* By --type, else by the file's suffix; NULL when neither says. */
static const char *media_type(const char *name, const char *path)
{
    for (size_t i = 0; i < sizeof(MEDIA_TYPES) / sizeof(MEDIA_TYPES[0]); i++) {
        const struct media_type *m = &MEDIA_TYPES[i];
        if (name != NULL ? strcmp(name, m->name) == 0
                         : ends_with(path, m->suffix) || ends_with(path, m->suffix2))
            return m->type;
    }
    return NULL;
}

/* An exit status, EXIT_DONE when f is open. */
static int rows_open(struct rows_file *f, const char *path, const char *type, const char *title)
{
    struct stat st;
    *f = (struct rows_file){ .type = media_type(type, path), .size = -1 };
    if (f->type == NULL) {
        complain(type ? "--type must be csv, ndjson or json"
                      : "%s: what is in it? --type csv, ndjson or json",
                 path);
        return EXIT_USAGE;
    }
    f->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (f->file == NULL) {
        complain("%s: %s", path, strerror(errno));
        return EXIT_FAILED;
    }
    off_t at = ftello(f->file); /* a shell may hand over a file that was read from */
    if (fstat(fileno(f->file), &st) == 0 && S_ISREG(st.st_mode) && at >= 0 && at <= st.st_size)
        f->size = st.st_size - at;
    f->to_terminal = isatty(STDOUT_FILENO) == 1;
    progress_init(&f->progress, title, true);
    return EXIT_DONE;
}

static void rows_close(struct rows_file *f)
{
    progress_clear(&f->progress);
    if (f->file != NULL && f->file != stdin) fclose(f->file);
}

static void show_upload(void *ctx, int64_t n_sent)
{
    struct rows_file *f = ctx;
    char message[48];
    bool all = f->size > 0 && n_sent >= f->size;
    snprintf(message, sizeof(message), "%.1f MB", (double)n_sent / 1e6);
    progress_show(&f->progress, f->size > 0 ? (double)n_sent / (double)f->size : -1,
                  all ? "the server reads" : "sending", message);
}

static int print_import(const struct answer *answer)
{
    char buffers[4][MEMBER_TEXT_SIZE];
    const struct json *doc = answer->doc, *columns = json_get(doc, "columns");
    const struct json *errors = json_get(doc, "errors");
    say("%s: %s inserted, %s updated, %s skipped, %zu columns",
        member_text(doc, "feature_set", buffers[0]), member_text(doc, "inserted", buffers[1]),
        member_text(doc, "updated", buffers[2]), member_text(doc, "skipped", buffers[3]),
        columns != NULL && json_kind(columns) == JSON_ARRAY ? json_size(columns) : 0);
    if (errors == NULL || json_kind(errors) != JSON_ARRAY) return EXIT_DONE;
    for (const struct json *e = json_first(errors); e != NULL; e = json_next(e))
        complain("skipped %s: %s", member_text(e, "pointer", buffers[0]),
                 member_text(e, "detail", buffers[1]));
    return EXIT_DONE;
}

int command_import(const struct arguments *a)
{
    struct rows_file f;
    struct answer answer = { 0 };
    const struct client_parameter parameters[] = { { "id_column", a->id },
                                                   { "on_error", a->skip_bad ? "skip" : NULL },
                                                   { NULL, NULL } };
    int status = rows_open(&f, a->words[1], a->type, "import");
    if (status != EXIT_DONE) return status;
    status = EXIT_FAILED;
    if (!client_address(a->client, "/v1/feature-sets/{}/rows", (const char *[]){ a->words[0] },
                        parameters)) {
        complain("%s", a->client->error);
        goto out;
    }
    const struct client_request rq = { .method = "POST",
                                       .content_type = f.type,
                                       .upload = f.file,
                                       .upload_size = f.size,
                                       .on_upload = show_upload,
                                       .ctx = &f };
    struct client_reply *reply = &answer.reply;
    bool came = client_send(a->client, &rq, reply);
    progress_clear(&f.progress);
    struct json_fault fault;
    if (!came)
        complain("%s: %s", a->words[1], a->client->error);
    else if (reply->status != 200)
        complain_of(reply);
    else if ((answer.doc = json_parse(reply->body, reply->len, &fault)) == NULL ||
             json_kind(answer.doc) != JSON_OBJECT)
        complain("the answer is no JSON object; is there a segmentd at %s?", a->client->base);
    else if (a->json)
        answer_print(&answer), status = EXIT_DONE;
    else
        status = print_import(&answer);
out:
    answer_release(&answer);
    rows_close(&f);
    return status;
}

static bool print_piece(void *ctx, const char *bytes, size_t len)
{
    struct rows_file *f = ctx;
    progress_clear(&f->progress);
    f->progress.quiet = true; /* what is printed now would stand in its line */
    if (f->to_terminal)
        text_filter_write(&f->filter, stdout, bytes, len);
    else
        fwrite(bytes, 1, len, stdout);
    return !ferror(stdout);
}

int command_predict(const struct arguments *a)
{
    struct rows_file f;
    struct client_reply reply = { 0 };
    int status = rows_open(&f, a->words[1], a->type, "predict");
    if (status != EXIT_DONE) return status;
    status = EXIT_FAILED;
    const struct client_request rq = { .method = "POST",
                                       .content_type = f.type,
                                       .upload = f.file,
                                       .upload_size = f.size,
                                       .sink = print_piece,
                                       .on_upload = show_upload,
                                       .ctx = &f };
    bool came =
        client_address(a->client, "/v1/models/{}/predict", (const char *[]){ a->words[0] }, NULL) &&
        client_send(a->client, &rq, &reply);
    progress_clear(&f.progress);
    if (!came)
        complain("%s: %s", a->words[1], a->client->error);
    else if (reply.status != 200)
        complain_of(&reply);
    else
        status = EXIT_DONE;
    client_reply_release(&reply);
    rows_close(&f);
    return status;
}
