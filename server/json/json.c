/* json.c - the strict wrapper. json_scan has checked every byte before cJSON sees one, so that what
 * is left to find here is duplicate keys, which are compared with their escapes resolved. A struct
 * json is cJSON's node under our name. */
#include "json/json.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cJSON.h>
#include "base/alloc.h"
#include "json/json_scan.h"

#define NODE(v) ((const cJSON *)(v))

/* Integers above this are not all distinct as doubles: what was written is not known. */
#define INTEGER_EXACT_MAX 9007199254740991.0

static void *node_alloc(size_t size)
{
    return seg_alloc(1, size);
}

static void use_our_allocator(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){ .malloc_fn = node_alloc, .free_fn = seg_free });
}

struct member {
    const char *key;
    size_t ordinal; /* of its name among all names of the document, in the order of the text */
};

static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    if (order != 0) return order;
    return x->ordinal < y->ordinal ? -1 : x->ordinal > y->ordinal;
}

enum duplicates { DUPLICATES_NONE, DUPLICATES_FOUND, DUPLICATES_NO_MEMORY };

/* The first duplicate among the n members, in the order of the text. */
static const struct member *first_duplicate(struct member *members, size_t n)
{
    const struct member *found = NULL;
    qsort(members, n, sizeof *members, by_key);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(members[i - 1].key, members[i].key) != 0) continue;
        if (found == NULL || members[i].ordinal < found->ordinal) found = &members[i];
    }
    return found;
}

/* Looks through v and all below it; recursion is bounded by JSON_DEPTH_MAX. *n_keys counts names.
 */
static enum duplicates find_duplicates(const cJSON *v, size_t *n_keys, struct member *ret)
{
    struct member *members = NULL;
    size_t n = 0;
    enum duplicates result = DUPLICATES_NONE;

    if (cJSON_IsObject(v)) {
        size_t n_members = json_size((const struct json *)v);
        members = seg_alloc(n_members, sizeof *members);
        if (members == NULL) return DUPLICATES_NO_MEMORY;
    }
    const cJSON *child;
    cJSON_ArrayForEach(child, v)
    {
        if (members != NULL) members[n++] = (struct member){ child->string, (*n_keys)++ };
        if (!cJSON_IsObject(child) && !cJSON_IsArray(child)) continue;
        result = find_duplicates(child, n_keys, ret);
        if (result != DUPLICATES_NONE) goto out;
    }
    const struct member *duplicate = n > 1 ? first_duplicate(members, n) : NULL;
    if (duplicate != NULL) {
        *ret = *duplicate;
        result = DUPLICATES_FOUND;
    }
out:
    seg_free(members);
    return result;
}

static void fault_no_memory(struct json_fault *fault)
{
    *fault = (struct json_fault){ .line = 1, .column = 1, .code = "out_of_memory" };
    snprintf(fault->detail, sizeof fault->detail, "not enough memory for the document");
}

struct json *json_parse(const char *bytes, size_t len, struct json_fault *fault)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_our_allocator);

    if (!json_scan(bytes, len, fault)) return NULL;
    /* The scan leaves cJSON one reason to refuse. */
    cJSON *doc = cJSON_ParseWithLength(bytes, len);
    if (doc == NULL) {
        fault_no_memory(fault);
        return NULL;
    }
    size_t n_keys = 0;
    struct member twice;
    switch (find_duplicates(doc, &n_keys, &twice)) {
    case DUPLICATES_NONE: return (struct json *)doc;
    case DUPLICATES_NO_MEMORY: fault_no_memory(fault); break;
    case DUPLICATES_FOUND:
        json_scan_key_place(bytes, len, twice.ordinal, fault);
        fault->code = "duplicate_key";
        snprintf(fault->detail, sizeof fault->detail, "\"%.100s\" stands twice in one object",
                 twice.key);
        break;
    }
    cJSON_Delete(doc);
    return NULL;
}

void json_free(struct json *doc)
{
    cJSON_Delete((cJSON *)doc);
}

enum json_kind json_kind(const struct json *v)
{
    const cJSON *node = NODE(v);
    if (cJSON_IsBool(node)) return JSON_BOOL;
    if (cJSON_IsNumber(node)) return JSON_NUMBER;
    if (cJSON_IsString(node)) return JSON_STRING;
    if (cJSON_IsArray(node)) return JSON_ARRAY;
    if (cJSON_IsObject(node)) return JSON_OBJECT;
    return JSON_NULL;
}

const char *json_kind_name(enum json_kind k)
{
    static const char *const NAMES[] = {
        [JSON_NULL] = "null",       [JSON_BOOL] = "a boolean", [JSON_NUMBER] = "a number",
        [JSON_STRING] = "a string", [JSON_ARRAY] = "an array", [JSON_OBJECT] = "an object",
    };
    return NAMES[k];
}

bool json_bool(const struct json *v)
{
    return cJSON_IsTrue(NODE(v));
}

double json_number(const struct json *v)
{
    return NODE(v)->valuedouble;
}

bool json_integer(const struct json *v, int64_t min, int64_t max, int64_t *ret)
{
    if (!cJSON_IsNumber(NODE(v))) return false;
    double x = NODE(v)->valuedouble;
    if (x != trunc(x) || fabs(x) > INTEGER_EXACT_MAX) return false;
    int64_t integer = (int64_t)x;
    if (integer < min || integer > max) return false;
    *ret = integer;
    return true;
}

bool json_equal(const struct json *a, const struct json *b)
{
    return a != NULL && b != NULL && cJSON_Compare(NODE(a), NODE(b), true);
}

const char *json_string(const struct json *v)
{
    return NODE(v)->valuestring;
}

const struct json *json_get(const struct json *object, const char *key)
{
    return (const struct json *)cJSON_GetObjectItemCaseSensitive(NODE(object), key);
}

size_t json_size(const struct json *v)
{
    size_t n = 0;
    const cJSON *child;
    cJSON_ArrayForEach(child, NODE(v))
    {
        n++;
    }
    return n;
}

const struct json *json_first(const struct json *v)
{
    return (const struct json *)NODE(v)->child;
}

const struct json *json_next(const struct json *v)
{
    return (const struct json *)NODE(v)->next;
}

const char *json_key(const struct json *member)
{
    return NODE(member)->string;
}
