/* safetensors_read.c - reading a stored model, trusting nothing.
 * The header is the JSON of a fixed shape and depth, so this parser knows that shape and no more:
 * {"__metadata__": {string: string …}, name: {"dtype": string, "shape": [integer …],
 * "data_offsets": [integer, integer]} …}. What was read is then checked as a whole: names once
 * each, and data that covers the rest of the file without a gap or an overlap. Only then is
 * anything of the size of the file allocated. */
#include "base/safetensors.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/utf8.h"

#define LENGTH_BYTES 8

struct entry {
    struct seg_tensor tensor; /* data NULL until all is checked */
    size_t begin, end;        /* in the data part */
};

struct reader {
    const char *start, *at, *end; /* the header */
    struct entry *entries;
    size_t n_entries, entries_cap;
    char **meta; /* pairs, as in struct seg_tensors */
    size_t n_meta, meta_cap;
    bool has_meta;
    struct seg_error *err;
};

static enum seg_status fault(struct reader *r, const char *what)
{
    return seg_fail(r->err, SEG_EFORMAT, "header byte %zu: %s", (size_t)(r->at - r->start), what);
}

static enum seg_status no_memory(struct reader *r)
{
    return seg_fail(r->err, SEG_ENOMEM, "no memory to read tensors");
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

/* Takes the character c, after white space, if it is next. */
static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->at == r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static enum seg_status expect(struct reader *r, char c, const char *what)
{
    return take(r, c) ? SEG_OK : fault(r, what);
}

/* After a member or element: true if another follows, false at the closing bracket. */
static enum seg_status more(struct reader *r, char close, bool *ret_more)
{
    *ret_more = take(r, ',');
    return *ret_more || take(r, close) ? SEG_OK : fault(r, "expected a comma or a closing bracket");
}

/* Four hexadecimal digits. */
static bool take_hex4(struct reader *r, uint32_t *ret_unit)
{
    if (r->end - r->at < 4) return false;
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        const char c = r->at[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return false;
        unit = unit * 16 + (uint32_t)digit;
    }
    r->at += 4;
    *ret_unit = unit;
    return true;
}

/* After \u: one character, two units if it is a surrogate pair. NUL is refused: names and values
 * end there. */
static bool take_unicode(struct reader *r, uint32_t *ret_c)
{
    uint32_t c, low;
    if (!take_hex4(r, &c) || c == 0) return false;
    if (c >= 0xdc00 && c <= 0xdfff) return false;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u') return false;
        r->at += 2;
        if (!take_hex4(r, &low) || low < 0xdc00 || low > 0xdfff) return false;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *ret_c = c;
    return true;
}

static char *put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* After a backslash. */
static bool take_escape(struct reader *r, char **out)
{
    static const char LETTERS[] = "\"\\/bfnrt", MEANINGS[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end) return false;
    const char letter = *r->at++;
    if (letter == 'u') {
        uint32_t c;
        if (!take_unicode(r, &c)) return false;
        *out = put_utf8(*out, c);
        return true;
    }
    const char *known = letter != '\0' ? strchr(LETTERS, letter) : NULL;
    if (known == NULL) return false;
    *(*out)++ = MEANINGS[known - LETTERS];
    return true;
}

/* A string, unescaped, as new memory. The header is known to be UTF-8. */
static enum seg_status read_string(struct reader *r, char **ret_s)
{
    if (!take(r, '"')) return fault(r, "expected a string");
    const char *close = r->at;
    while (close < r->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= r->end) return fault(r, "string without an end");
    char *s = seg_alloc((size_t)(close - r->at) + 1, 1); /* unescaping never lengthens */
    if (s == NULL) return no_memory(r);
    char *out = s;
    while (*r->at != '"') {
        const char c = *r->at;
        if ((unsigned char)c < 0x20) goto bad;
        r->at++;
        if (c != '\\')
            *out++ = c;
        else if (!take_escape(r, &out))
            goto bad;
    }
    r->at++;
    *out = '\0';
    *ret_s = s;
    return SEG_OK;
bad:
    seg_free(s);
    return fault(r, "bad character or escape in a string");
}

static enum seg_status read_size(struct reader *r, size_t *ret_n)
{
    skip_space(r);
    const char *first = r->at;
    size_t n = 0;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (size_t)(*r->at - '0'), &n))
            return fault(r, "number too large");
    if (r->at == first || (*first == '0' && r->at - first > 1))
        return fault(r, "expected a whole number");
    *ret_n = n;
    return SEG_OK;
}

/* [n, n …] of at most n_max numbers. */
static enum seg_status read_sizes(struct reader *r, size_t n_max, size_t *ret_sizes, size_t *ret_n)
{
    size_t n = 0;
    enum seg_status st = expect(r, '[', "expected a list");
    if (st != SEG_OK) return st;
    for (bool is_more = !take(r, ']'); is_more;) {
        if (n == n_max) return fault(r, "list too long");
        if ((st = read_size(r, &ret_sizes[n])) != SEG_OK) return st;
        n++;
        if ((st = more(r, ']', &is_more)) != SEG_OK) return st;
    }
    *ret_n = n;
    return SEG_OK;
}

static enum seg_status read_dtype(struct reader *r, enum seg_dtype *ret_dtype)
{
    char *name;
    enum seg_status st = read_string(r, &name);
    if (st != SEG_OK) return st;
    enum seg_dtype dtype = SEG_F32;
    while (dtype < SEG_N_DTYPES && strcmp(name, seg_dtype_name(dtype)) != 0)
        dtype++;
    seg_free(name);
    if (dtype == SEG_N_DTYPES) return fault(r, "unknown dtype");
    *ret_dtype = dtype;
    return SEG_OK;
}

/* One member of a tensor's object into e; *seen has a bit for each of the three. */
static enum seg_status read_field(struct reader *r, const char *key, struct entry *e,
                                  unsigned *seen)
{
    static const char *const FIELDS[] = { "dtype", "shape", "data_offsets" };
    unsigned field = 0;
    while (field < 3 && strcmp(key, FIELDS[field]) != 0)
        field++;
    if (field == 3) return fault(r, "unknown member of a tensor");
    if (*seen & 1u << field) return fault(r, "member given twice");
    *seen |= 1u << field;
    if (field == 0) return read_dtype(r, &e->tensor.dtype);

    size_t n = 0, offsets[2];
    enum seg_status st;
    if (field == 1) {
        st = read_sizes(r, SEG_TENSOR_DIMS_MAX, e->tensor.shape, &n);
        if (st == SEG_OK) e->tensor.n_dims = (unsigned)n;
        return st;
    }
    st = read_sizes(r, 2, offsets, &n);
    if (st != SEG_OK) return st;
    if (n != 2 || offsets[0] > offsets[1]) return fault(r, "bad data_offsets");
    e->begin = offsets[0];
    e->end = offsets[1];
    return SEG_OK;
}

/* The object of one tensor; its name, already read, is e->tensor.name. */
static enum seg_status read_entry(struct reader *r, struct entry *e)
{
    unsigned seen = 0;
    enum seg_status st = expect(r, '{', "expected an object");
    if (st != SEG_OK) return st;
    for (bool is_more = !take(r, '}'); is_more;) {
        char *key;
        if ((st = read_string(r, &key)) != SEG_OK) return st;
        st = expect(r, ':', "expected a colon");
        if (st == SEG_OK) st = read_field(r, key, e, &seen);
        seg_free(key);
        if (st != SEG_OK) return st;
        if ((st = more(r, '}', &is_more)) != SEG_OK) return st;
    }
    if (seen != 7) return fault(r, "tensor without dtype, shape or data_offsets");
    size_t n_bytes = seg_dtype_bytes(e->tensor.dtype);
    for (unsigned k = 0; k < e->tensor.n_dims; k++)
        if (__builtin_mul_overflow(n_bytes, e->tensor.shape[k], &n_bytes))
            return fault(r, "shape too large");
    if (n_bytes != e->end - e->begin) return fault(r, "shape and data_offsets disagree");
    e->tensor.n_bytes = n_bytes;
    return SEG_OK;
}

static enum seg_status read_meta(struct reader *r)
{
    if (r->has_meta) return fault(r, "metadata given twice");
    r->has_meta = true;
    enum seg_status st = expect(r, '{', "expected an object");
    if (st != SEG_OK) return st;
    for (bool is_more = !take(r, '}'); is_more;) {
        char **meta = seg_grow(r->meta, r->n_meta, &r->meta_cap, 2 * sizeof *meta);
        if (meta == NULL) return no_memory(r);
        r->meta = meta;
        char *key, *value;
        if ((st = read_string(r, &key)) != SEG_OK) return st;
        st = expect(r, ':', "expected a colon");
        if (st == SEG_OK) st = read_string(r, &value);
        if (st != SEG_OK) {
            seg_free(key);
            return st;
        }
        meta[2 * r->n_meta] = key;
        meta[2 * r->n_meta + 1] = value;
        r->n_meta++;
        if ((st = more(r, '}', &is_more)) != SEG_OK) return st;
    }
    return SEG_OK;
}

/* "name": value of the outermost object. */
static enum seg_status read_member(struct reader *r)
{
    struct entry *entries = seg_grow(r->entries, r->n_entries, &r->entries_cap, sizeof *entries);
    if (entries == NULL) return no_memory(r);
    r->entries = entries;
    char *name;
    enum seg_status st = read_string(r, &name);
    if (st != SEG_OK) return st;
    if ((st = expect(r, ':', "expected a colon")) != SEG_OK) goto out;
    if (strcmp(name, SEG_TENSORS_META_NAME) == 0) {
        st = read_meta(r);
        goto out;
    }
    if (*name == '\0' || strlen(name) > SEG_TENSOR_NAME_BYTES_MAX) {
        st = fault(r, "name empty or too long");
        goto out;
    }
    entries[r->n_entries] = (struct entry){ .tensor.name = name };
    if ((st = read_entry(r, &entries[r->n_entries])) != SEG_OK) goto out;
    r->n_entries++;
    name = NULL;
out:
    seg_free(name);
    return st;
}

static enum seg_status read_header(struct reader *r)
{
    if (!seg_utf8_valid(r->start, (size_t)(r->end - r->start))) return fault(r, "not UTF-8");
    enum seg_status st = expect(r, '{', "expected an object");
    if (st != SEG_OK) return st;
    for (bool is_more = !take(r, '}'); is_more;) {
        if ((st = read_member(r)) != SEG_OK) return st;
        if ((st = more(r, '}', &is_more)) != SEG_OK) return st;
    }
    skip_space(r); /* writers pad with spaces */
    return r->at == r->end ? SEG_OK : fault(r, "more after the end");
}

static int by_offset(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return strcmp(x->tensor.name, y->tensor.name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorts what was read by name and checks it as a whole. */
static enum seg_status check(struct reader *r, size_t data_bytes)
{
    size_t end = 0;
    if (r->n_entries > 1) qsort(r->entries, r->n_entries, sizeof *r->entries, by_offset);
    for (size_t i = 0; i < r->n_entries; i++) {
        const struct entry *e = &r->entries[i];
        if (e->begin != end)
            return seg_fail(r->err, SEG_EFORMAT, "tensor '%s' begins at byte %zu (expected %zu)",
                            e->tensor.name, e->begin, end);
        end = e->end;
    }
    if (end != data_bytes)
        return seg_fail(r->err, SEG_EFORMAT, "tensors have %zu bytes (the file has %zu)", end,
                        data_bytes);
    if (r->n_entries > 1) qsort(r->entries, r->n_entries, sizeof *r->entries, by_name);
    for (size_t i = 1; i < r->n_entries; i++)
        if (by_name(&r->entries[i - 1], &r->entries[i]) == 0)
            return seg_fail(r->err, SEG_EFORMAT, "tensor '%s' is there twice",
                            r->entries[i].tensor.name);
    if (r->n_meta > 1) qsort(r->meta, r->n_meta, 2 * sizeof *r->meta, by_key);
    for (size_t i = 1; i < r->n_meta; i++)
        if (strcmp(r->meta[2 * i - 2], r->meta[2 * i]) == 0)
            return seg_fail(r->err, SEG_EFORMAT, "metadata '%s' is there twice", r->meta[2 * i]);
    return SEG_OK;
}

/* Hands names, metadata and copies of the data over to *ret_ts. */
static enum seg_status hand_over(struct reader *r, const uint8_t *data, struct seg_tensors *ret_ts)
{
    struct seg_tensor *items = seg_alloc(r->n_entries, sizeof *items);
    if (items == NULL) return no_memory(r);
    for (size_t i = 0; i < r->n_entries; i++) {
        struct seg_tensor *t = &r->entries[i].tensor;
        if ((t->data = seg_alloc_aligned(t->n_bytes, 1)) == NULL) {
            seg_free(items);
            return no_memory(r);
        }
        if (t->n_bytes > 0) memcpy(t->data, data + r->entries[i].begin, t->n_bytes);
        items[i] = *t;
    }
    *ret_ts = (struct seg_tensors){ .items = items,
                                    .n_items = r->n_entries,
                                    .items_cap = r->n_entries,
                                    .meta = r->meta,
                                    .n_meta = r->n_meta,
                                    .meta_cap = r->meta_cap };
    r->n_entries = 0;
    r->n_meta = 0;
    r->meta = NULL;
    return SEG_OK;
}

static void reader_release(struct reader *r)
{
    for (size_t i = 0; i < r->n_entries; i++) {
        seg_free(r->entries[i].tensor.name);
        seg_free(r->entries[i].tensor.data);
    }
    for (size_t i = 0; i < 2 * r->n_meta; i++)
        seg_free(r->meta[i]);
    seg_free(r->entries);
    seg_free(r->meta);
}

enum seg_status seg_tensors_read(const uint8_t *bytes, size_t len, struct seg_tensors *ret_ts,
                                 struct seg_error *err)
{
    if (len < LENGTH_BYTES || len > SEG_TENSORS_BYTES_MAX)
        return seg_fail(err, SEG_EFORMAT, "file of %zu bytes (%d to %zu)", len, LENGTH_BYTES,
                        SEG_TENSORS_BYTES_MAX);
    uint64_t header_bytes = 0;
    for (unsigned i = 0; i < LENGTH_BYTES; i++)
        header_bytes |= (uint64_t)bytes[i] << (8 * i);
    if (header_bytes > SEG_TENSORS_HEADER_BYTES_MAX || header_bytes > len - LENGTH_BYTES)
        return seg_fail(err, SEG_EFORMAT, "header of %ju bytes (limit %zu, file %zu)",
                        (uintmax_t)header_bytes, SEG_TENSORS_HEADER_BYTES_MAX, len);
    const char *start = (const char *)bytes + LENGTH_BYTES;
    struct reader r = { .start = start, .at = start, .end = start + header_bytes, .err = err };
    enum seg_status st = read_header(&r);
    if (st != SEG_OK) goto out;
    if ((st = check(&r, len - LENGTH_BYTES - (size_t)header_bytes)) != SEG_OK) goto out;
    st = hand_over(&r, (const uint8_t *)r.end, ret_ts);
out:
    reader_release(&r);
    return st;
}
