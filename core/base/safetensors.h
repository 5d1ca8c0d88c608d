/* safetensors.h - the container of a stored model: named tensors and string metadata.
 * Format: 8 bytes little-endian header length, a JSON header, then the raw tensors
 * (huggingface/safetensors). Tensors and metadata are written sorted by name, so equal content
 * gives equal bytes. Reading trusts nothing: lengths, offsets, overlaps, shapes and duplicate names
 * are all checked. A plain value, one owner. */
#ifndef SEG_BASE_SAFETENSORS_H
#define SEG_BASE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

#define SEG_TENSOR_DIMS_MAX          4
#define SEG_TENSOR_NAME_BYTES_MAX    200
#define SEG_TENSORS_BYTES_MAX        ((size_t)1 << 31)
#define SEG_TENSORS_HEADER_BYTES_MAX ((size_t)100000000)
#define SEG_TENSORS_META_NAME        "__metadata__" /* the header's member that is no tensor */

enum seg_dtype { SEG_F32, SEG_F64, SEG_I32, SEG_U32, SEG_I64, SEG_U8 };
#define SEG_N_DTYPES 6
/* "F32" … "U8". */
const char *seg_dtype_name(enum seg_dtype dtype);
/* Bytes of one element. */
size_t seg_dtype_bytes(enum seg_dtype dtype);

struct seg_tensor {
    char *name;
    enum seg_dtype dtype;
    unsigned n_dims;                   /* 0..SEG_TENSOR_DIMS_MAX; 0 = a scalar */
    size_t shape[SEG_TENSOR_DIMS_MAX]; /* all >= 0; product checked */
    void *data;                        /* row-major, owned */
    size_t n_bytes;
};

struct seg_tensors {
    struct seg_tensor *items; /* sorted by name */
    size_t n_items, items_cap;
    char **meta;             /* key, value, key, value …, sorted by key */
    size_t n_meta, meta_cap; /* pairs */
};

/* Without tensors and metadata. */
void seg_tensors_init(struct seg_tensors *ts);
/* Frees tensors and metadata and leaves it as new; a zeroed one is fine. */
void seg_tensors_release(struct seg_tensors *ts);
/* Copies one tensor in. SEG_EINVAL: name taken, reserved, empty, over 200 bytes or no UTF-8, or too
 * many dimensions. SEG_ELIMIT: over SEG_TENSORS_BYTES_MAX. SEG_ENOMEM. */
enum seg_status seg_tensors_add(struct seg_tensors *ts, const char *name, enum seg_dtype dtype,
                                unsigned n_dims, const size_t *shape, const void *data);
/* Shorthand for one dimension of n elements. */
enum seg_status seg_tensors_add_vector(struct seg_tensors *ts, const char *name,
                                       enum seg_dtype dtype, size_t n, const void *data);
/* A list of n strings: one U8 tensor of their UTF-8 bytes, in which each ends with a NUL byte. */
enum seg_status seg_tensors_add_strings(struct seg_tensors *ts, const char *name,
                                        const char *const *strings, size_t n);
/* Sets or replaces one string. SEG_EINVAL: no UTF-8. SEG_ENOMEM. */
enum seg_status seg_tensors_set_meta(struct seg_tensors *ts, const char *key, const char *value);
/* The tensor of that name, borrowed from ts; NULL when absent. */
const struct seg_tensor *seg_tensors_find(const struct seg_tensors *ts, const char *name);
/* The string of that key, borrowed from ts; NULL when absent. */
const char *seg_tensors_meta(const struct seg_tensors *ts, const char *key);
/* The data of a tensor that has that dtype and exactly n elements in all, borrowed from ts; else
 * SEG_EFORMAT and a sentence. */
enum seg_status seg_tensors_expect(const struct seg_tensors *ts, const char *name,
                                   enum seg_dtype dtype, size_t n, const void **ret_data,
                                   struct seg_error *err);
/* Splits a strings tensor into a new array of n borrowed pointers into ts (free the array with
 * seg_free). */
enum seg_status seg_tensors_strings(const struct seg_tensors *ts, const char *name,
                                    const char ***ret_strings, size_t *ret_n,
                                    struct seg_error *err);
/* The file as new bytes (free with seg_free). SEG_ELIMIT, SEG_ENOMEM. */
enum seg_status seg_tensors_write(const struct seg_tensors *ts, uint8_t **ret_bytes,
                                  size_t *ret_len);
/* SEG_EFORMAT with a sentence on any fault; nothing is kept of the bytes. */
enum seg_status seg_tensors_read(const uint8_t *bytes, size_t len, struct seg_tensors *ret_ts,
                                 struct seg_error *err);

#endif
