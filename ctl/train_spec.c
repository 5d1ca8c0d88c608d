/* The file of --spec comes first and each option replaces one member of it; an option that is about
 * the algorithm replaces a member of that. */
#include "train_spec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "json_text.h"
#include "text.h"

#define SPEC_BYTES_MAX ((size_t)1 << 20)

/* 0 and the JSON object in the file, else an exit status. */
static int read_file(const char *path, struct json **ret)
{
    struct json_fault fault;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    char *text = f != NULL ? seg_alloc(SPEC_BYTES_MAX + 1, 1) : NULL;
    int status = EXIT_FAILED;
    if (text == NULL) {
        complain("%s: %s", path, f == NULL ? strerror(errno) : "out of memory");
        goto out;
    }
    size_t len = fread(text, 1, SPEC_BYTES_MAX + 1, f);
    if (ferror(f)) {
        complain("%s: %s", path, strerror(errno));
    } else if (len > SPEC_BYTES_MAX) {
        complain("%s: a spec has %zu bytes at most", path, SPEC_BYTES_MAX);
    } else if ((*ret = json_parse(text, len, &fault)) == NULL) {
        complain("%s: line %zu, column %zu: %s", path, fault.line, fault.column, fault.detail);
    } else if (json_kind(*ret) != JSON_OBJECT) {
        complain("%s: must hold a JSON object", path);
    } else {
        status = EXIT_DONE;
    }
out:
    seg_free(text);
    if (f != NULL && f != stdin) fclose(f);
    return status;
}

/* A whole number as a number, and any other text as a string. */
static void write_number(struct json_out *o, const char *text)
{
    size_t len = strlen(text);
    bool leading_zero = len > 1 && text[0] == '0';
    if (len > 0 && len < 20 && strspn(text, "0123456789") == len && !leading_zero)
        json_out_raw(o, text);
    else
        json_out_string(o, text);
}

/* "a,b" as an array. */
static void write_list(struct json_out *o, const char *text, bool numbers)
{
    json_out_array(o);
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        char number[24] = "";
        if (numbers && len < sizeof(number)) {
            memcpy(number, text, len);
            write_number(o, number);
        } else {
            json_out_string_len(o, text, len);
        }
        text += len + (text[len] == ',' ? 1 : 0);
    }
    json_out_end_array(o);
}

/* The members of object, if there is one, but those in `replaced`. */
static void copy_others(struct json_out *o, const struct json *object, const char *const *replaced)
{
    const struct json *m =
        object != NULL && json_kind(object) == JSON_OBJECT ? json_first(object) : NULL;
    for (; m != NULL; m = json_next(m)) {
        bool is_replaced = false;
        for (size_t i = 0; replaced[i] != NULL; i++)
            is_replaced = is_replaced || strcmp(replaced[i], json_key(m)) == 0;
        if (is_replaced) continue;
        json_out_key(o, json_key(m));
        json_text_copy(o, m);
    }
}

static void write_algorithm(struct json_out *o, const struct arguments *a, const struct json *file,
                            const char *type)
{
    const char *replaced[4] = { "type" };
    size_t n = 1;
    bool is_mlp = strcmp(type, "mlp") == 0, is_encoded = strcmp(type, "autoencoder_kmeans") == 0 ||
                                                         strcmp(type, "deep_clustering") == 0;
    const char *layers = is_mlp ? "hidden" : is_encoded ? "encoder" : "head";
    if (a->k != NULL) replaced[n++] = "k";
    if (a->hidden != NULL) replaced[n++] = layers;
    json_out_key(o, "algorithm");
    json_out_object(o);
    json_out_member_string(o, "type", type);
    copy_others(o, file, replaced);
    if (a->k != NULL) {
        json_out_key(o, "k");
        write_number(o, a->k);
    }
    if (a->hidden != NULL) {
        json_out_key(o, layers);
        if (!is_mlp && !is_encoded) {
            json_out_object(o);
            json_out_member_string(o, "type", "mlp");
            json_out_key(o, "hidden");
        }
        write_list(o, a->hidden, true);
        if (!is_mlp && !is_encoded) json_out_end_object(o);
    }
    json_out_end_object(o);
}

static void write_spec(struct json_out *o, const struct arguments *a, const struct json *file)
{
    const struct json *algorithm = member(file, "algorithm"),
                      *file_type = member(algorithm, "type");
    const char *replaced[10] = { NULL };
    size_t n = 0;
    const char *type = a->algorithm;
    if (type == NULL && file_type != NULL && json_kind(file_type) == JSON_STRING)
        type = json_string(file_type);
    if (type == NULL) type = a->target != NULL ? "mlp" : "kmeans";
    /* Another algorithm has other members. */
    if (a->algorithm != NULL && file_type != NULL && json_kind(file_type) == JSON_STRING &&
        strcmp(type, json_string(file_type)) != 0)
        algorithm = NULL;
    bool says_task = a->algorithm != NULL || a->target != NULL || member(file, "task") == NULL;
    replaced[n++] = "algorithm";
    if (says_task) replaced[n++] = "task";
    if (a->feature_set != NULL) replaced[n++] = "feature_set";
    if (a->target != NULL) replaced[n++] = "target";
    if (a->features != NULL) replaced[n++] = "features";
    if (a->seed != NULL) replaced[n++] = "seed";
    if (a->label) replaced[n++] = "label";
    if (a->promote != NULL) replaced[n++] = "promote";
    json_out_object(o);
    copy_others(o, file, replaced);
    if (a->feature_set != NULL) json_out_member_string(o, "feature_set", a->feature_set);
    if (says_task)
        json_out_member_string(o, "task",
                               strcmp(type, "mlp") == 0 ? "classification" : "segmentation");
    if (a->target != NULL) json_out_member_string(o, "target", a->target);
    if (a->features != NULL) {
        json_out_key(o, "features");
        write_list(o, a->features, false);
    }
    write_algorithm(o, a, algorithm, type);
    if (a->seed != NULL) {
        json_out_key(o, "seed");
        write_number(o, a->seed);
    }
    if (a->label) json_out_member_bool(o, "label", true);
    if (a->promote != NULL) json_out_member_string(o, "promote", a->promote);
    json_out_end_object(o);
}

int train_spec_text(const struct arguments *a, char **ret, size_t *ret_len)
{
    struct json *file = NULL;
    struct json_out o;
    int status = EXIT_DONE;
    if (a->spec != NULL) status = read_file(a->spec, &file);
    if (status == EXIT_DONE) {
        json_out_init(&o);
        write_spec(&o, a, file);
        *ret = json_out_take(&o, ret_len);
        if (*ret == NULL) {
            complain("out of memory");
            status = EXIT_FAILED;
        }
    }
    json_free(file);
    return status;
}
