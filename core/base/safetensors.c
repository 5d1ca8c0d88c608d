/* safetensors.c - the set of tensors in memory, and writing it.
 * Names and keys are kept sorted: lookups are binary searches and equal content gives equal bytes.
 * In the data part the tensors of larger elements come first, so that each starts at a multiple of
 * its element's size, as readers that map the file need. */
#include "base/safetensors.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/utf8.h"

#define HEADER_ALIGN    8
#define ELEM_BYTES_MAX  8
#define LENGTH_BYTES    8
#define NUMBER_TEXT_MAX 24

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensors are stored as they are in memory");

static const struct {
    const char *name;
    size_t n_bytes;
} DTYPES[SEG_N_DTYPES] = {
    [SEG_F32] = { "F32", 4 }, [SEG_F64] = { "F64", 8 }, [SEG_I32] = { "I32", 4 },
    [SEG_U32] = { "U32", 4 }, [SEG_I64] = { "I64", 8 }, [SEG_U8] = { "U8", 1 },
};

const char *seg_dtype_name(enum seg_dtype dtype)
{
    return DTYPES[dtype].name;
}

size_t seg_dtype_bytes(enum seg_dtype dtype)
{
    return DTYPES[dtype].n_bytes;
}

void seg_tensors_init(struct seg_tensors *ts)
{
    *ts = (struct seg_tensors){ 0 };
}

void seg_tensors_release(struct seg_tensors *ts)
{
    for (size_t i = 0; i < ts->n_items; i++) {
        seg_free(ts->items[i].name);
        seg_free(ts->items[i].data);
    }
    for (size_t i = 0; i < 2 * ts->n_meta; i++)
        seg_free(ts->meta[i]);
    seg_free(ts->items);
    seg_free(ts->meta);
    seg_tensors_init(ts);
}

/* Where name stands, or would stand, among n sorted elements of `stride` bytes that each begin with
 * a pointer to their name; true if it is there. */
static bool find(const void *elements, size_t n, size_t stride, const char *name, size_t *ret_i)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const char *const *other = (const void *)((const char *)elements + mid * stride);
        const int order = strcmp(*other, name);
        if (order == 0) {
            *ret_i = mid;
            return true;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *ret_i = low;
    return false;
}

static bool find_item(const struct seg_tensors *ts, const char *name, size_t *ret_i)
{
    _Static_assert(offsetof(struct seg_tensor, name) == 0, "find reads the name there");
    return find(ts->items, ts->n_items, sizeof *ts->items, name, ret_i);
}

static bool find_meta(const struct seg_tensors *ts, const char *key, size_t *ret_i)
{
    return find(ts->meta, ts->n_meta, 2 * sizeof *ts->meta, key, ret_i);
}

static bool is_name(const char *name)
{
    const size_t len = strlen(name);
    return len > 0 && len <= SEG_TENSOR_NAME_BYTES_MAX &&
           strcmp(name, SEG_TENSORS_META_NAME) != 0 && seg_utf8_valid(name, len);
}

enum seg_status seg_tensors_add(struct seg_tensors *ts, const char *name, enum seg_dtype dtype,
                                unsigned n_dims, const size_t *shape, const void *data)
{
    size_t i;
    if (!is_name(name) || n_dims > SEG_TENSOR_DIMS_MAX || find_item(ts, name, &i))
        return SEG_EINVAL;
    struct seg_tensor t = { .dtype = dtype, .n_dims = n_dims, .n_bytes = seg_dtype_bytes(dtype) };
    for (unsigned k = 0; k < n_dims; k++) {
        t.shape[k] = shape[k];
        if (__builtin_mul_overflow(t.n_bytes, shape[k], &t.n_bytes)) return SEG_ELIMIT;
    }
    if (t.n_bytes > SEG_TENSORS_BYTES_MAX) return SEG_ELIMIT;

    struct seg_tensor *items = seg_grow(ts->items, ts->n_items, &ts->items_cap, sizeof *items);
    if (items == NULL) return SEG_ENOMEM;
    ts->items = items;
    t.name = seg_strdup(name);
    t.data = seg_alloc_aligned(t.n_bytes, 1);
    if (t.name == NULL || t.data == NULL) {
        seg_free(t.name);
        seg_free(t.data);
        return SEG_ENOMEM;
    }
    if (t.n_bytes > 0) memcpy(t.data, data, t.n_bytes);
    memmove(&items[i + 1], &items[i], (ts->n_items - i) * sizeof *items);
    items[i] = t;
    ts->n_items++;
    return SEG_OK;
}

enum seg_status seg_tensors_add_vector(struct seg_tensors *ts, const char *name,
                                       enum seg_dtype dtype, size_t n, const void *data)
{
    return seg_tensors_add(ts, name, dtype, 1, &n, data);
}

enum seg_status seg_tensors_add_strings(struct seg_tensors *ts, const char *name,
                                        const char *const *strings, size_t n)
{
    size_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t len = strlen(strings[i]);
        if (!seg_utf8_valid(strings[i], len)) return SEG_EINVAL;
        n_bytes += len + 1;
    }
    char *joined = seg_alloc(n_bytes, 1);
    if (joined == NULL) return SEG_ENOMEM;
    char *end = joined;
    for (size_t i = 0; i < n; i++)
        end = stpcpy(end, strings[i]) + 1;
    enum seg_status st = seg_tensors_add_vector(ts, name, SEG_U8, n_bytes, joined);
    seg_free(joined);
    return st;
}

enum seg_status seg_tensors_set_meta(struct seg_tensors *ts, const char *key, const char *value)
{
    if (!seg_utf8_valid(key, strlen(key)) || !seg_utf8_valid(value, strlen(value)))
        return SEG_EINVAL;
    enum seg_status st = SEG_ENOMEM;
    char *key_copy = NULL;
    char *value_copy = seg_strdup(value);
    if (value_copy == NULL) goto out;
    size_t i;
    if (find_meta(ts, key, &i)) {
        seg_free(ts->meta[2 * i + 1]);
        ts->meta[2 * i + 1] = value_copy;
        return SEG_OK;
    }
    char **meta = seg_grow(ts->meta, ts->n_meta, &ts->meta_cap, 2 * sizeof *meta);
    if (meta == NULL) goto out;
    ts->meta = meta;
    if ((key_copy = seg_strdup(key)) == NULL) goto out;
    memmove(&meta[2 * i + 2], &meta[2 * i], 2 * (ts->n_meta - i) * sizeof *meta);
    meta[2 * i] = key_copy;
    meta[2 * i + 1] = value_copy;
    ts->n_meta++;
    return SEG_OK;
out:
    seg_free(value_copy);
    return st;
}

const struct seg_tensor *seg_tensors_find(const struct seg_tensors *ts, const char *name)
{
    size_t i;
    return find_item(ts, name, &i) ? &ts->items[i] : NULL;
}

const char *seg_tensors_meta(const struct seg_tensors *ts, const char *key)
{
    size_t i;
    return find_meta(ts, key, &i) ? ts->meta[2 * i + 1] : NULL;
}

enum seg_status seg_tensors_expect(const struct seg_tensors *ts, const char *name,
                                   enum seg_dtype dtype, size_t n, const void **ret_data,
                                   struct seg_error *err)
{
    const struct seg_tensor *t = seg_tensors_find(ts, name);
    if (t == NULL) return seg_fail(err, SEG_EFORMAT, "tensor '%s' is missing", name);
    if (t->dtype != dtype)
        return seg_fail(err, SEG_EFORMAT, "tensor '%s' is %s (expected %s)", name,
                        seg_dtype_name(t->dtype), seg_dtype_name(dtype));
    const size_t n_elements = t->n_bytes / seg_dtype_bytes(dtype);
    if (n_elements != n)
        return seg_fail(err, SEG_EFORMAT, "tensor '%s' has %zu elements (expected %zu)", name,
                        n_elements, n);
    *ret_data = t->data;
    return SEG_OK;
}

enum seg_status seg_tensors_strings(const struct seg_tensors *ts, const char *name,
                                    const char ***ret_strings, size_t *ret_n, struct seg_error *err)
{
    const struct seg_tensor *t = seg_tensors_find(ts, name);
    if (t == NULL) return seg_fail(err, SEG_EFORMAT, "tensor '%s' is missing", name);
    const char *text = t->data;
    if (t->dtype != SEG_U8 || (t->n_bytes > 0 && text[t->n_bytes - 1] != '\0') ||
        !seg_utf8_valid(text, t->n_bytes))
        return seg_fail(err, SEG_EFORMAT, "tensor '%s' is no list of strings", name);
    size_t n = 0;
    for (size_t i = 0; i < t->n_bytes; i++)
        n += text[i] == '\0';
    const char **strings = seg_alloc(n, sizeof *strings);
    if (strings == NULL) return seg_fail(err, SEG_ENOMEM, "no memory for %zu strings", n);
    for (size_t i = 0; i < n; i++) {
        strings[i] = text;
        text += strlen(text) + 1;
    }
    *ret_strings = strings;
    *ret_n = n;
    return SEG_OK;
}

/* The header is made twice by the same code: once to measure (bytes NULL), once to write. */
struct sink {
    uint8_t *bytes;
    size_t len;
};

static void put(struct sink *sink, const char *s, size_t len)
{
    if (sink->bytes != NULL) memcpy(sink->bytes + sink->len, s, len);
    sink->len += len;
}

static void put_text(struct sink *sink, const char *s)
{
    put(sink, s, strlen(s));
}

static void put_size(struct sink *sink, size_t n)
{
    char text[NUMBER_TEXT_MAX];
    put(sink, text, (size_t)snprintf(text, sizeof text, "%zu", n));
}

static void put_string(struct sink *sink, const char *s)
{
    put_text(sink, "\"");
    for (; *s != '\0'; s++) {
        char escaped[8];
        if ((unsigned char)*s < 0x20)
            put(sink, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", *s));
        else if (*s == '"' || *s == '\\')
            put(sink, (char[]){ '\\', *s }, 2);
        else
            put(sink, s, 1);
    }
    put_text(sink, "\"");
}

static void put_tensor(struct sink *sink, const struct seg_tensor *t, size_t offset)
{
    put_string(sink, t->name);
    put_text(sink, ":{\"dtype\":\"");
    put_text(sink, seg_dtype_name(t->dtype));
    put_text(sink, "\",\"shape\":[");
    for (unsigned k = 0; k < t->n_dims; k++) {
        if (k > 0) put_text(sink, ",");
        put_size(sink, t->shape[k]);
    }
    put_text(sink, "],\"data_offsets\":[");
    put_size(sink, offset);
    put_text(sink, ",");
    put_size(sink, offset + t->n_bytes);
    put_text(sink, "]}");
}

static void put_header(struct sink *sink, const struct seg_tensors *ts, const size_t *offsets)
{
    const char *separator = "";
    put_text(sink, "{");
    if (ts->n_meta > 0) {
        put_text(sink, "\"" SEG_TENSORS_META_NAME "\":{");
        for (size_t i = 0; i < ts->n_meta; i++) {
            put_text(sink, separator);
            put_string(sink, ts->meta[2 * i]);
            put_text(sink, ":");
            put_string(sink, ts->meta[2 * i + 1]);
            separator = ",";
        }
        put_text(sink, "}");
        separator = ",";
    }
    for (size_t i = 0; i < ts->n_items; i++) {
        put_text(sink, separator);
        put_tensor(sink, &ts->items[i], offsets[i]);
        separator = ",";
    }
    put_text(sink, "}");
    while (sink->len % HEADER_ALIGN != 0)
        put_text(sink, " ");
}

/* Where each tensor's data starts, larger elements first; returns the length of all. */
static size_t lay_out(const struct seg_tensors *ts, size_t *offsets)
{
    size_t end = 0;
    for (size_t n_bytes = ELEM_BYTES_MAX; n_bytes > 0; n_bytes /= 2) {
        for (size_t i = 0; i < ts->n_items; i++) {
            if (seg_dtype_bytes(ts->items[i].dtype) != n_bytes) continue;
            offsets[i] = end;
            end += ts->items[i].n_bytes;
        }
    }
    return end;
}

enum seg_status seg_tensors_write(const struct seg_tensors *ts, uint8_t **ret_bytes,
                                  size_t *ret_len)
{
    enum seg_status st = SEG_ENOMEM;
    uint8_t *bytes = NULL;
    size_t *offsets = seg_alloc(ts->n_items, sizeof *offsets);
    if (offsets == NULL) goto out;
    const size_t data_bytes = lay_out(ts, offsets);
    struct sink sink = { 0 };
    put_header(&sink, ts, offsets);
    const size_t header_bytes = sink.len;
    const size_t len = LENGTH_BYTES + header_bytes + data_bytes;
    if (header_bytes > SEG_TENSORS_HEADER_BYTES_MAX || len > SEG_TENSORS_BYTES_MAX) {
        st = SEG_ELIMIT;
        goto out;
    }
    if ((bytes = seg_alloc(len, 1)) == NULL) goto out;
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        bytes[i] = (uint8_t)((uint64_t)header_bytes >> (8 * i));
    sink = (struct sink){ .bytes = bytes + LENGTH_BYTES };
    put_header(&sink, ts, offsets);
    uint8_t *data = bytes + LENGTH_BYTES + header_bytes;
    for (size_t i = 0; i < ts->n_items; i++)
        if (ts->items[i].n_bytes > 0)
            memcpy(data + offsets[i], ts->items[i].data, ts->items[i].n_bytes);
    *ret_bytes = bytes;
    *ret_len = len;
    bytes = NULL;
    st = SEG_OK;
out:
    seg_free(bytes);
    seg_free(offsets);
    return st;
}
