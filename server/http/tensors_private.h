/* tensors_private.h - what tensors.c knows of a body when tensors_fill.c reads the values. */
#ifndef SERVER_HTTP_TENSORS_PRIVATE_H
#define SERVER_HTTP_TENSORS_PRIVATE_H

#include "http/rows_scan.h"
#include "http/tensors.h"

#define TENSOR_DIMS_MAX 2u

enum tensor_kind { TENSOR_FLOAT, TENSOR_INTEGER, TENSOR_UNSIGNED, TENSOR_BYTES };

/* In the order of TENSOR_TYPE. */
enum tensor_type {
    TENSOR_FP32,
    TENSOR_FP64,
    TENSOR_FP16, /* this and the next: as bytes only */
    TENSOR_BF16,
    TENSOR_BOOL,
    TENSOR_INT8,
    TENSOR_INT16,
    TENSOR_INT32,
    TENSOR_INT64,
    TENSOR_UINT8,
    TENSOR_UINT16,
    TENSOR_UINT32,
    TENSOR_UINT64,
    TENSOR_STRINGS,
    TENSOR_TYPES
};
struct tensor_type_info {
    const char *name;
    enum tensor_kind kind;
    size_t size; /* bytes of a value; 0: they say it themselves */
};
extern const struct tensor_type_info TENSOR_TYPE[TENSOR_TYPES];

struct tensor {
    const char *name, *datatype; /* NULL: not given */
    int type;                    /* enum tensor_type, or -1 */
    int feature;                 /* -1: the matrix of all */
    uint64_t dims[TENSOR_DIMS_MAX];
    uint32_t n_dims;
    uint32_t width;   /* values of a row */
    const char *json; /* the array of values, checked by the grammar; or NULL */
    bool is_binary;
    uint64_t n_bytes;
    const char *bytes;
};

struct reading {
    struct scan s; /* over the header */
    struct faults *faults;
    uint32_t n_rows_max;
    const char *bytes, *bytes_end; /* binary tensors not yet given to an input */
    struct tensor *tensors;        /* (n_tensors) */
    uint32_t n_tensors;
};

/* Adds the rows and reads the values of all tensors, which fit together. False when s says why, or
 * faults were added. */
bool tensors_fill(struct reading *d);

#endif
