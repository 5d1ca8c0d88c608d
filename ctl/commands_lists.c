/* What the service holds: segments, models and their versions, feature sets. And promote, which
 * changes one number of it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "commands.h"
#include "table.h"
#include "text.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

typedef void row_fn(struct table *t, const struct json *item);

/* Writes the table and releases it. */
static int finish_table(struct table *t)
{
    bool written = table_write(t, stdout);
    if (!written) complain("out of memory");
    table_release(t);
    return written ? EXIT_DONE : EXIT_FAILED;
}

/* A list of the server as a table, or as JSON. */
static int show_list(const struct arguments *a, const char *path,
                     const struct table_column *columns, size_t n_columns, row_fn *add_row)
{
    struct list l;
    struct table t;
    int status = EXIT_DONE;
    if (!list_get(a->client, path, (const char *const *)a->words, NULL, &l)) return EXIT_FAILED;
    if (a->json) {
        status = list_print(&l) ? EXIT_DONE : EXIT_FAILED;
    } else {
        table_init(&t, columns, n_columns);
        for (size_t i = 0; i < l.n_pages; i++) {
            const struct json *item = json_first(json_get(l.pages[i].doc, "items"));
            for (; item != NULL; item = json_next(item))
                add_row(&t, item);
        }
        status = finish_table(&t);
    }
    list_release(&l);
    return status;
}

static void add_members(struct table *t, const struct json *item, const char *const *keys, size_t n)
{
    char buffer[MEMBER_TEXT_SIZE];
    for (size_t i = 0; i < n; i++)
        table_cell(t, member_text(item, keys[i], buffer));
}

/* Strings of an array, "a, b", as one cell. Elements that are objects give their member `key`. */
static void add_joined(struct table *t, const struct json *array, const char *key)
{
    char buffer[MEMBER_TEXT_SIZE];
    const char *joint = "";
    bool is_array = array != NULL && json_kind(array) == JSON_ARRAY;
    table_cell(t, NULL);
    for (const struct json *e = is_array ? json_first(array) : NULL; e != NULL; e = json_next(e)) {
        table_cell_append(t, joint);
        table_cell_append(t, json_kind(e) == JSON_STRING ? json_string(e)
                                                         : member_text(e, key, buffer));
        joint = ", ";
    }
}

static size_t array_size(const struct json *v)
{
    return v != NULL && json_kind(v) == JSON_ARRAY ? json_size(v) : 0;
}

static void add_segment(struct table *t, const struct json *segment)
{
    const struct json *share = member(segment, "share");
    add_members(t, segment, (const char *[]){ "segment", "name", "size" }, 3);
    if (share != NULL && json_kind(share) == JSON_NUMBER)
        table_cell_printf(t, "%.1f%%", json_number(share) * 100);
    else
        table_cell(t, NULL);
    add_joined(t, member(segment, "top_features"), "name");
}

int command_segments(const struct arguments *a)
{
    static const struct table_column columns[] = { { "SEGMENT", true },
                                                   { "NAME", false },
                                                   { "USERS", true },
                                                   { "SHARE", true },
                                                   { "TOP FEATURES", false } };
    struct answer answer;
    struct table t;
    char buffers[4][MEMBER_TEXT_SIZE];
    int status = EXIT_FAILED;
    if (!answer_get_at(a->client, "/v1/models/{}/segments", (const char *[]){ a->words[0] }, NULL,
                       &answer))
        goto out;
    status = EXIT_DONE;
    if (a->json) {
        answer_print(&answer);
        goto out;
    }
    say("%s version %s, %s users, labelled %s", member_text(answer.doc, "model", buffers[0]),
        member_text(answer.doc, "version", buffers[1]),
        member_text(answer.doc, "n_users", buffers[2]),
        member_text(answer.doc, "labelled_at", buffers[3]));
    putchar('\n');
    table_init(&t, columns, COUNT(columns));
    const struct json *items = member(answer.doc, "items");
    const struct json *item = array_size(items) > 0 ? json_first(items) : NULL;
    for (; item != NULL; item = json_next(item))
        add_segment(&t, item);
    status = finish_table(&t);
out:
    answer_release(&answer);
    return status;
}

static void add_model(struct table *t, const struct json *model)
{
    add_members(t, model,
                (const char *[]){ "name", "task", "champion", "latest_version", "created_at" }, 5);
}

/* The figure that versions are compared by. */
static void add_version(struct table *t, const struct json *version)
{
    char buffer[MEMBER_TEXT_SIZE];
    const struct json *metrics = member(version, "metrics");
    bool classifies = strcmp(member_text(version, "task", buffer), "classification") == 0;
    const char *figure = classifies ? "log_loss" : "silhouette";
    const char *value = member_text(metrics, figure, buffer);
    add_members(t, version, (const char *[]){ "version", "algorithm", "feature_set" }, 3);
    table_cell(t, *value != '\0' ? figure : NULL);
    table_cell(t, member_text(metrics, figure, buffer));
    add_joined(t, member(version, "aliases"), "alias");
    table_cell(t, member_text(version, "created_at", buffer));
}

int command_models(const struct arguments *a)
{
    static const struct table_column models[] = { { "MODEL", false },
                                                  { "TASK", false },
                                                  { "CHAMPION", true },
                                                  { "LATEST", true },
                                                  { "CREATED", false } };
    static const struct table_column versions[] = {
        { "VERSION", true }, { "ALGORITHM", false }, { "FEATURE SET", false }, { "METRIC", false },
        { "VALUE", true },   { "ALIASES", false },   { "CREATED", false }
    };
    return a->n_words == 0
               ? show_list(a, "/v1/models", models, COUNT(models), add_model)
               : show_list(a, "/v1/models/{}/versions", versions, COUNT(versions), add_version);
}

int command_promote(const struct arguments *a)
{
    struct answer answer = { 0 };
    char body[48], *end;
    int status = EXIT_FAILED;
    unsigned long version = strtoul(a->words[1], &end, 10);
    if (a->words[1][0] < '1' || a->words[1][0] > '9' || *end != '\0' || version > INT_MAX) {
        complain("%s is no version: they are numbers, 1, 2, 3", a->words[1]);
        return EXIT_USAGE;
    }
    snprintf(body, sizeof(body), "{\"version\": %lu}", version);
    const struct client_request rq = {
        .method = "PUT", .content_type = "application/json", .body = body, .body_len = strlen(body)
    };
    if (!client_address(a->client, "/v1/models/{}/aliases/champion",
                        (const char *[]){ a->words[0] }, NULL)) {
        complain("%s", a->client->error);
    } else if (answer_get(a->client, &rq, &answer)) {
        status = EXIT_DONE;
        if (a->json)
            answer_print(&answer);
        else
            say("%s: version %lu serves", a->words[0], version);
    }
    answer_release(&answer);
    return status;
}

static void add_feature_set(struct table *t, const struct json *set)
{
    char buffer[MEMBER_TEXT_SIZE];
    add_members(t, set, (const char *[]){ "name", "kind", "id_column" }, 3);
    table_cell_printf(t, "%zu", array_size(member(set, "columns")));
    table_cell(t, member_text(set, "updated_at", buffer));
}

static void add_feature(struct table *t, const struct json *column)
{
    add_members(t, column, (const char *[]){ "name", "type", "missing", "min", "mean", "max" }, 6);
    add_joined(t, member(column, "top"), "value");
}

static int show_feature_set(const struct arguments *a)
{
    static const struct table_column columns[] = { { "FEATURE", false }, { "TYPE", false },
                                                   { "MISSING", true },  { "MIN", true },
                                                   { "MEAN", true },     { "MAX", true },
                                                   { "TOP", false } };
    struct answer answer;
    struct table t;
    char buffers[2][MEMBER_TEXT_SIZE];
    int status = EXIT_FAILED;
    if (!answer_get_at(a->client, "/v1/feature-sets/{}", (const char *[]){ a->words[0] }, NULL,
                       &answer))
        goto out;
    status = EXIT_DONE;
    if (a->json) {
        answer_print(&answer);
        goto out;
    }
    const struct json *estimated = member(answer.doc, "rows_estimated"),
                      *basis = member(answer.doc, "based_on");
    say("%s: %s%s rows", member_text(answer.doc, "name", buffers[0]),
        estimated != NULL && json_bool(estimated) ? "about " : "",
        member_text(answer.doc, "rows", buffers[1]));
    const char *detail = member_text(basis, "detail", buffers[0]);
    if (*detail != '\0')
        say("figures of %s rows: %s", member_text(basis, "rows", buffers[1]), detail);
    putchar('\n');
    table_init(&t, columns, COUNT(columns));
    const struct json *list = member(answer.doc, "columns");
    const struct json *column = array_size(list) > 0 ? json_first(list) : NULL;
    for (; column != NULL; column = json_next(column))
        add_feature(&t, column);
    status = finish_table(&t);
out:
    answer_release(&answer);
    return status;
}

int command_feature_sets(const struct arguments *a)
{
    static const struct table_column columns[] = { { "FEATURE SET", false },
                                                   { "KIND", false },
                                                   { "ID", false },
                                                   { "COLUMNS", true },
                                                   { "UPDATED", false } };
    if (a->n_words == 1) return show_feature_set(a);
    return show_list(a, "/v1/feature-sets", columns, COUNT(columns), add_feature_set);
}
