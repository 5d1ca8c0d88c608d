/* json_out.c - the writer. Text goes into one buffer that doubles; its last byte is kept free for
 * the NUL, so that taking the text needs no allocation. */
#include "json/json_out.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"

#define FIRST_CAP 512

void json_out_init(struct json_out *o)
{
    *o = (struct json_out){ 0 };
}

void json_out_release(struct json_out *o)
{
    seg_free(o->data);
    json_out_init(o);
}

/* Room for n more bytes and the NUL. */
static bool reserve(struct json_out *o, size_t n)
{
    if (o->failed) return false;
    if (n < o->cap - o->len) return true;
    size_t cap = o->cap > 0 ? o->cap : FIRST_CAP;
    while (cap - o->len <= n) {
        if (cap > SIZE_MAX / 2) goto fail;
        cap *= 2;
    }
    char *data = seg_realloc(o->data, cap, 1);
    if (data == NULL) goto fail;
    o->data = data;
    o->cap = cap;
    return true;
fail:
    o->failed = true;
    return false;
}

static void put_char(struct json_out *o, char c)
{
    if (reserve(o, 1)) o->data[o->len++] = c;
}

static void put(struct json_out *o, const char *s, size_t len)
{
    if (!reserve(o, len)) return;
    memcpy(o->data + o->len, s, len);
    o->len += len;
}

/* Before a value or a key. */
static void put_comma(struct json_out *o)
{
    if (o->needs_comma) put_char(o, ',');
    o->needs_comma = true;
}

char *json_out_take(struct json_out *o, size_t *ret_len)
{
    char *text = NULL;
    if (reserve(o, 0)) {
        assert(o->depth == 0);
        text = o->data;
        text[o->len] = '\0';
        *ret_len = o->len;
        o->data = NULL;
    }
    json_out_release(o);
    return text;
}

static void begin(struct json_out *o, char bracket)
{
    put_comma(o);
    put_char(o, bracket);
    o->needs_comma = false;
    o->depth++;
}

static void end(struct json_out *o, char bracket)
{
    assert(o->depth > 0);
    o->depth--;
    put_char(o, bracket);
    o->needs_comma = true;
}

void json_out_object(struct json_out *o)
{
    begin(o, '{');
}

void json_out_array(struct json_out *o)
{
    begin(o, '[');
}

void json_out_end_object(struct json_out *o)
{
    end(o, '}');
}

void json_out_end_array(struct json_out *o)
{
    end(o, ']');
}

static bool needs_escape(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

static void put_escape(struct json_out *o, unsigned char c)
{
    static const char HEX[] = "0123456789abcdef";
    static const char SHORT[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* character, its letter */
    char text[6] = { '\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15] };
    for (size_t i = 0; i < sizeof SHORT - 1; i += 2) {
        if (SHORT[i] != (char)c) continue;
        text[1] = SHORT[i + 1];
        put(o, text, 2);
        return;
    }
    put(o, text, sizeof text);
}

static void put_string(struct json_out *o, const char *s, size_t len)
{
    const char *stop = s + len;
    put_char(o, '"');
    while (s < stop) {
        const char *plain = s;
        while (s < stop && !needs_escape((unsigned char)*s))
            s++;
        put(o, plain, (size_t)(s - plain));
        if (s < stop) put_escape(o, (unsigned char)*s++);
    }
    put_char(o, '"');
}

void json_out_key(struct json_out *o, const char *key)
{
    put_comma(o);
    put_string(o, key, strlen(key));
    put_char(o, ':');
    o->needs_comma = false;
}

void json_out_string_len(struct json_out *o, const char *s, size_t len)
{
    put_comma(o);
    put_string(o, s, len);
}

void json_out_string(struct json_out *o, const char *s)
{
    if (s == NULL) {
        json_out_null(o);
        return;
    }
    json_out_string_len(o, s, strlen(s));
}

void json_out_float(struct json_out *o, float x)
{
    if (!isfinite(x)) {
        json_out_null(o);
        return;
    }
    put_comma(o);
    if (reserve(o, JSON_NUMBER_BYTES)) o->len += float_text(x, o->data + o->len);
}

void json_out_double(struct json_out *o, double x)
{
    if (!isfinite(x)) {
        json_out_null(o);
        return;
    }
    put_comma(o);
    if (reserve(o, JSON_NUMBER_BYTES)) o->len += double_text(x, o->data + o->len);
}

static void put_uint(struct json_out *o, uint64_t x)
{
    char text[JSON_NUMBER_BYTES], *at = text + sizeof text;
    do {
        *--at = (char)('0' + x % 10);
        x /= 10;
    } while (x > 0);
    put(o, at, (size_t)(text + sizeof text - at));
}

void json_out_int(struct json_out *o, int64_t x)
{
    put_comma(o);
    if (x < 0) put_char(o, '-');
    put_uint(o, x < 0 ? -(uint64_t)x : (uint64_t)x);
}

void json_out_uint(struct json_out *o, uint64_t x)
{
    put_comma(o);
    put_uint(o, x);
}

void json_out_bool(struct json_out *o, bool x)
{
    json_out_raw(o, x ? "true" : "false");
}

void json_out_null(struct json_out *o)
{
    put_comma(o);
    put(o, "null", 4);
}

void json_out_raw(struct json_out *o, const char *json)
{
    if (json == NULL) json = "null";
    put_comma(o);
    put(o, json, strlen(json));
}

void json_out_member_string(struct json_out *o, const char *key, const char *s)
{
    json_out_key(o, key);
    json_out_string(o, s);
}

void json_out_member_double(struct json_out *o, const char *key, double x)
{
    json_out_key(o, key);
    json_out_double(o, x);
}

void json_out_member_uint(struct json_out *o, const char *key, uint64_t x)
{
    json_out_key(o, key);
    json_out_uint(o, x);
}

void json_out_member_bool(struct json_out *o, const char *key, bool x)
{
    json_out_key(o, key);
    json_out_bool(o, x);
}

void json_out_member_raw(struct json_out *o, const char *key, const char *json)
{
    json_out_key(o, key);
    json_out_raw(o, json);
}
