/* json.h - strict reading of JSON documents (specs, replies of the database), over cJSON, which no
 * other file sees. On top of cJSON's grammar it refuses: invalid UTF-8, embedded NUL and \u0000,
 * lone surrogates, control characters in strings, leading zeros and bare points in numbers, numbers
 * that are not finite, duplicate keys, depth over JSON_DEPTH_MAX, trailing bytes, a byte order
 * mark. A document belongs to one thread; values borrow from it. Row bodies never come here: see
 * http/rows.h. */
#ifndef SERVER_JSON_JSON_H
#define SERVER_JSON_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 32

struct json; /* any value; a document is its root value */
struct json_fault {
    size_t line, column; /* 1-based place of the fault; column in bytes */
    const char *code;    /* "not_json", "not_utf8", "duplicate_key", "too_deep", "not_finite",
                            "out_of_memory" */
    char detail[160];
};

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* NULL and *fault on failure. Free with json_free. */
struct json *json_parse(const char *bytes, size_t len, struct json_fault *fault);
void json_free(struct json *doc);

enum json_kind json_kind(const struct json *v);
const char *json_kind_name(enum json_kind k); /* "a number", "an object" … for messages */
bool json_bool(const struct json *v);
double json_number(const struct json *v);
/* True and *ret when v is a number with an integral value within min..max. */
bool json_integer(const struct json *v, int64_t min, int64_t max, int64_t *ret);
const char *json_string(const struct json *v); /* UTF-8, NUL-terminated */
/* Member of an object, or NULL. Case matters. */
const struct json *json_get(const struct json *object, const char *key);
/* The same value; members of objects in any order. NULL equals nothing. */
bool json_equal(const struct json *a, const struct json *b);
size_t json_size(const struct json *v); /* elements or members */
/* Iteration: for (v = json_first(a); v; v = json_next(v)). */
const struct json *json_first(const struct json *v);
const struct json *json_next(const struct json *v);
const char *json_key(const struct json *member);

/* Bytes before the first that is not valid UTF-8, or NUL. */
size_t utf8_prefix(const char *s, size_t len);
/* Valid UTF-8 without NUL. */
static inline bool utf8_valid(const char *s, size_t len)
{
    return utf8_prefix(s, len) == len;
}

#endif
