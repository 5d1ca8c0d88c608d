/* json_out.h - writing JSON straight into one growing buffer: no tree. Commas, escapes and nesting
 * are kept right here. One thread. Running out of memory makes the writer `failed`; every later
 * call is a no-op, so that only the end needs a check. */
#ifndef SERVER_JSON_JSON_OUT_H
#define SERVER_JSON_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_out {
    char *data;
    size_t len, cap;
    unsigned depth;
    bool needs_comma, failed;
};

void json_out_init(struct json_out *o);
void json_out_release(struct json_out *o);
/* The text (NUL-terminated too), which the caller must seg_free; NULL if the writer failed. Empties
 * o. */
char *json_out_take(struct json_out *o, size_t *ret_len);

void json_out_object(struct json_out *o); /* { */
void json_out_array(struct json_out *o);  /* [ */
void json_out_end_object(struct json_out *o);
void json_out_end_array(struct json_out *o);
void json_out_key(struct json_out *o, const char *key);
void json_out_string(struct json_out *o, const char *s); /* NULL writes null */
void json_out_string_len(struct json_out *o, const char *s, size_t len);
/* Shortest decimal that reads back as the same float (or double); not finite writes null. */
void json_out_float(struct json_out *o, float x);
void json_out_double(struct json_out *o, double x);
void json_out_int(struct json_out *o, int64_t x);
void json_out_uint(struct json_out *o, uint64_t x);
void json_out_bool(struct json_out *o, bool x);
void json_out_null(struct json_out *o);
/* A complete JSON value that is already text (a jsonb column). NULL writes null. */
void json_out_raw(struct json_out *o, const char *json);
/* key and value in one call. */
void json_out_member_string(struct json_out *o, const char *key, const char *s);
void json_out_member_double(struct json_out *o, const char *key, double x);
void json_out_member_uint(struct json_out *o, const char *key, uint64_t x);
void json_out_member_bool(struct json_out *o, const char *key, bool x);
void json_out_member_raw(struct json_out *o, const char *key, const char *json);

/* The shortest digits that read back as the same number, with an exponent from 1e16 up and below
 * 1e-6 (float) or 1e-4 (double). Not NUL-terminated; returns the length, at most JSON_NUMBER_BYTES,
 * for which out has room; 0 where x is not finite. */
#define JSON_NUMBER_BYTES 24
size_t float_text(float x, char *out);
size_t double_text(double x, char *out);

#endif
