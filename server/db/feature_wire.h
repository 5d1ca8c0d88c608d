/* feature_wire.h - the binary forms in which COPY sends a tuple of features, and how they become
 * cells of a table. Private to server/db.
 *
 * A tuple is the number of its fields (16 bits), then each field: its length (32 bits, -1 for NULL)
 * and its bytes in the binary form of its SQL type, all in network order. Pure functions over
 * caller memory. */
#ifndef SERVER_DB_FEATURE_WIRE_H
#define SERVER_DB_FEATURE_WIRE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/status.h"
#include "db/feature_sets.h"
#include "features/table.h"

enum wire {
    WIRE_INT2,
    WIRE_INT4,
    WIRE_INT8,
    WIRE_FLOAT4,
    WIRE_FLOAT8,
    WIRE_BOOL,
    WIRE_TIMESTAMP,
    WIRE_TEXT,
    WIRE_ARRAY
};

/* How a column of some SQL type travels: cast to add in the SELECT list, and the binary form that
 * arrives. */
struct wire_type {
    const char *cast;
    enum wire wire;
};
struct wire_type wire_of_column(const struct feature_column *c);
/* Of ids, which are text here: integers travel as they are, since to print them costs the server
 * more than us. */
struct wire_type wire_of_id(const char *sql_type);

struct wire_column {
    enum wire wire;
    uint32_t cell, width;
    uint32_t
        n_alike; /* columns from here on of the same wire, 32 at most, when it is a float; else 0 */
    uint64_t n_not_finite;
};

/* A load's columns (n) where features of those columns stand in a row. */
void wire_lay_out(const struct feature_set *fs, const uint32_t *columns, uint32_t n,
                  struct wire_column *ret_columns);

static inline uint16_t wire_u16(const char *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return be16toh(v);
}
static inline uint32_t wire_u32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return be32toh(v);
}
static inline uint64_t wire_u64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

/* Bytes of the tuple at p; 0 when it is not complete in len bytes. n_before fields come before the
 * columns (n). The trailer counts as a tuple of 2 bytes, UINT16_MAX. */
size_t wire_tuple_bytes(const char *p, size_t len, uint32_t n_before,
                        const struct wire_column *columns, uint32_t n);
/* The text of an id of len bytes at p into out (WIRE_ID_DIGITS at least) unless it is text already.
 * Returns where it stands and its length; NULL when the id is no integer of that size. */
#define WIRE_ID_DIGITS 20
const char *wire_id_text(enum wire wire, const char *p, size_t len, char *out, size_t *ret_len);
/* The fields of the columns (n) of a complete tuple, which stand from p to end, into row of t. A
 * value that is not finite or too large for float32 becomes missing and is counted. SEG_EFORMAT,
 * SEG_ELIMIT with a sentence; SEG_ENOMEM. */
enum seg_status wire_read_columns(struct wire_column *columns, uint32_t n, const char *p,
                                  const char *end, struct seg_table *t, size_t row,
                                  struct seg_error *err);

#endif
