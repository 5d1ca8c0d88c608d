/* first_model.c - the sample model, by HTTP. The spec is the textbook one: three segments of four
 * features, a k-means and a small network trained on what it finds. */
#include "dev/first_model.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/alloc.h"
#include "dev/shop.h"
#include "json/json.h"

static const char FEATURE_SET[] =
    "{\"relation\": \"shop.user_features\", \"id_column\": \"user_id\"}";

static const char SPEC[] =
    "{\"feature_set\": \"shop\", \"task\": \"segmentation\","
    " \"features\": [\"age\", \"gender\", \"orders_per_month\", \"browsing_minutes\"],"
    " \"preprocess\": {"
    "  \"default\": {\"impute\": \"median\","
    "   \"outliers\": {\"method\": \"winsorize\", \"lower\": 0.01, \"upper\": 0.99},"
    "   \"scale\": \"standard\"},"
    "  \"columns\": {\"gender\": {\"encode\": \"ordinal\"}}},"
    " \"algorithm\": {\"type\": \"kmeans\", \"k\": 3,"
    "  \"head\": {\"type\": \"mlp\", \"hidden\": [10], \"activation\": \"relu\","
    "   \"optimizer\": \"adam\", \"epochs\": 100, \"batch_size\": 32}},"
    " \"split\": {\"test\": 0.2, \"validation\": 0.2},"
    " \"seed\": 42, \"label\": true, \"promote\": \"always\"}";

static const char ROW[] =
    "{\"rows\": [{\"user_id\": \"visitor\", \"features\": {\"age\": 24, \"gender\": \"female\","
    " \"orders_per_month\": 1, \"browsing_minutes\": 400}}]}";

/* Asks and parses; NULL after a line on stderr unless the status is the one expected. */
static struct json *ask(const struct client *c, const char *method, const char *path,
                        const char *body, unsigned expected)
{
    struct client_reply reply = { 0 };
    struct json_fault fault;
    struct json *doc = NULL;
    if (client_request(c, method, path, body, &reply) != 0) {
        fprintf(stderr, "segmentd dev: %s %s: no answer\n", method, path);
        return NULL;
    }
    if (reply.status == expected) doc = json_parse(reply.body, reply.len, &fault);
    if (doc == NULL)
        fprintf(stderr, "segmentd dev: %s %s: %u, expected %u: %s\n", method, path, reply.status,
                expected, reply.body);
    seg_free(reply.body);
    return doc;
}

static const char *text_of(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    return v != NULL && json_kind(v) == JSON_STRING ? json_string(v) : "";
}

static double number_of(const struct json *object, const char *key)
{
    const struct json *v = json_get(object, key);
    return v != NULL && json_kind(v) == JSON_NUMBER ? json_number(v) : -1;
}

static const struct json *items_of(const struct json *doc)
{
    const struct json *items = json_get(doc, "items");
    return items != NULL && json_kind(items) == JSON_ARRAY ? json_first(items) : NULL;
}

/* True once the job has succeeded. */
static bool wait_job(const struct client *c, const char *id, bool (*stop)(void))
{
    char path[128];
    snprintf(path, sizeof path, "/v1/jobs/%s", id);
    while (!stop()) {
        struct json *job = ask(c, "GET", path, NULL, 200);
        if (job == NULL) return false;
        const char *state = text_of(job, "state");
        bool succeeded = strcmp(state, "succeeded") == 0;
        bool failed = strcmp(state, "failed") == 0 || strcmp(state, "cancelled") == 0;
        if (failed) {
            const struct json *error = json_get(job, "error");
            fprintf(stderr, "segmentd dev: the training %s: %s\n", state,
                    error != NULL && json_kind(error) == JSON_OBJECT ? text_of(error, "detail")
                                                                     : text_of(job, "message"));
        }
        json_free(job);
        if (succeeded || failed) return succeeded;
        nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
    }
    return false;
}

static bool train(const struct client *c, bool (*stop)(void))
{
    char id[64];
    struct json *doc = ask(c, "PUT", "/v1/feature-sets/shop", FEATURE_SET, 201);
    if (doc == NULL) return false;
    json_free(doc);
    doc = ask(c, "POST", "/v1/models/customers/train", SPEC, 202);
    if (doc == NULL) return false;
    snprintf(id, sizeof id, "%s", text_of(doc, "id"));
    json_free(doc);
    printf("training the model customers on %d users of the sample shop\n", SHOP_USERS);
    fflush(stdout);
    return wait_job(c, id, stop);
}

static void show(const struct json *segments)
{
    int width = 4;
    for (const struct json *s = items_of(segments); s != NULL; s = json_next(s)) {
        int len = (int)strlen(text_of(s, "name"));
        width = len > width ? len : width;
    }
    printf("\n%7s  %-*s %6s %6s\n", "segment", width, "name", "users", "share");
    for (const struct json *s = items_of(segments); s != NULL; s = json_next(s)) {
        printf("%7.0f  %-*s %6.0f %5.1f%%", number_of(s, "segment"), width, text_of(s, "name"),
               number_of(s, "size"), 100 * number_of(s, "share"));
        const struct json *features = json_get(s, "features");
        for (const struct json *f = features == NULL ? NULL : json_first(features); f != NULL;
             f = json_next(f))
            if (json_get(f, "mean") != NULL)
                printf("  %s %.1f", text_of(f, "name"), number_of(f, "mean"));
        printf("\n");
    }
    printf("\n");
    fflush(stdout);
}

bool first_model_train(const struct client *c, bool (*stop)(void))
{
    struct client_reply reply = { 0 };
    if (client_request(c, "GET", "/v1/models/customers", NULL, &reply) != 0) return false;
    unsigned status = reply.status;
    seg_free(reply.body);
    if (status == 404 && !train(c, stop)) return false;
    struct json *segments = ask(c, "GET", "/v1/models/customers/segments", NULL, 200);
    if (segments == NULL) return false;
    show(segments);
    json_free(segments);
    return true;
}

static bool complain(const char *what)
{
    fprintf(stderr, "segmentd dev: %s\n", what);
    return false;
}

static bool check_segments(const struct client *c)
{
    struct json *doc = ask(c, "GET", "/v1/models/customers/segments", NULL, 200);
    if (doc == NULL) return false;
    double users = 0;
    unsigned n = 0;
    for (const struct json *s = items_of(doc); s != NULL; s = json_next(s), n++)
        users += number_of(s, "size");
    json_free(doc);
    if (n != SHOP_GROUPS) return complain("there are not three segments");
    if (users != SHOP_USERS) return complain("the segments do not hold every user");
    return true;
}

static bool check_prediction(const struct client *c)
{
    struct json *doc = ask(c, "POST", "/v1/models/customers/predict", ROW, 200);
    if (doc == NULL) return false;
    const struct json *predictions = json_get(doc, "predictions");
    const struct json *p = predictions == NULL ? NULL : json_first(predictions);
    int64_t segment = 0;
    bool good = p != NULL && strcmp(text_of(p, "status"), "ok") == 0 &&
                strcmp(text_of(p, "user_id"), "visitor") == 0 && json_get(p, "segment") != NULL &&
                json_integer(json_get(p, "segment"), 1, SHOP_GROUPS, &segment);
    json_free(doc);
    return good || complain("the prediction for a new visitor names no segment");
}

bool first_model_check(const struct client *c)
{
    return check_segments(c) && check_prediction(c);
}
