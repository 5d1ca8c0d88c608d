/* copy_rows.h - rows in PostgreSQL's binary COPY format, gathered and sent in pieces of 64 KiB.
 *
 * Operation: db_copy_in_begin, copy_rows_begin; then for each row copy_rows_next and its fields in
 * the order of the columns; copy_rows_end. The first failure is kept: what is put after it is left
 * out, next and end return it, and the COPY is the caller's to abort. Safety: one thread. */
#ifndef SERVER_DB_COPY_ROWS_H
#define SERVER_DB_COPY_ROWS_H

#include <endian.h>
#include <string.h>
#include "db/db.h"

#define COPY_FLOAT4_OID 700u /* of the elements of an array of float4 */

struct copy_rows {
    struct db *db;
    char *bytes;
    size_t len, cap;
    enum db_status status;
};

void copy_rows_begin(struct copy_rows *c, struct db *db);
/* The next row, of n_fields fields. DB_ONE, or what has failed by now. */
enum db_status copy_rows_next(struct copy_rows *c, unsigned n_fields);
/* Ends the COPY: DB_ONE or DB_NONE and its number of rows. */
enum db_status copy_rows_end(struct copy_rows *c, uint64_t *ret_rows);
void copy_rows_release(struct copy_rows *c);

/* Makes room for n bytes more. False: no memory. */
bool copy_rows_reserve(struct copy_rows *c, size_t n);

/* Bytes as they are: parts of a field. */
static inline void copy_rows_raw(struct copy_rows *c, const void *bytes, size_t n)
{
    if (c->cap - c->len < n && !copy_rows_reserve(c, n)) return;
    memcpy(c->bytes + c->len, bytes, n);
    c->len += n;
}

static inline void copy_rows_u16(struct copy_rows *c, uint16_t v)
{
    v = htobe16(v);
    copy_rows_raw(c, &v, sizeof(v));
}

static inline void copy_rows_u32(struct copy_rows *c, uint32_t v)
{
    v = htobe32(v);
    copy_rows_raw(c, &v, sizeof(v));
}

/* Whole fields. */

static inline void copy_rows_null(struct copy_rows *c)
{
    copy_rows_u32(c, UINT32_MAX);
}

static inline void copy_rows_text(struct copy_rows *c, const char *text, size_t len)
{
    copy_rows_u32(c, (uint32_t)len);
    copy_rows_raw(c, text, len);
}

static inline void copy_rows_int4(struct copy_rows *c, int32_t v)
{
    copy_rows_u32(c, sizeof(v));
    copy_rows_u32(c, (uint32_t)v);
}

static inline void copy_rows_int8(struct copy_rows *c, int64_t v)
{
    const uint64_t wire = htobe64((uint64_t)v);
    copy_rows_u32(c, sizeof(wire));
    copy_rows_raw(c, &wire, sizeof(wire));
}

static inline void copy_rows_float4(struct copy_rows *c, float v)
{
    int32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    copy_rows_int4(c, bits);
}

static inline void copy_rows_float8(struct copy_rows *c, double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    copy_rows_int8(c, bits);
}

/* real[]: one dimension, no NULLs, lower bound 1. */
void copy_rows_float4_array(struct copy_rows *c, const float *v, uint32_t n);

#endif
