/* The buffer grows to a piece and a row, and stays. */
#include "db/copy_rows.h"

#include "base/alloc.h"

#define PIECE_BYTES ((size_t)64 << 10)

bool copy_rows_reserve(struct copy_rows *c, size_t n)
{
    if (c->status != DB_ONE) return false;
    const size_t cap = 2 * (c->len + n) + PIECE_BYTES;
    char *bytes = seg_realloc(c->bytes, cap, 1);
    if (bytes == NULL) {
        c->status = DB_FATAL;
        return false;
    }
    c->bytes = bytes;
    c->cap = cap;
    return true;
}

static void flush(struct copy_rows *c)
{
    if (c->status == DB_ONE && c->len > 0) c->status = db_copy_in_write(c->db, c->bytes, c->len);
    c->len = 0;
}

void copy_rows_begin(struct copy_rows *c, struct db *db)
{
    static const char header[19] = "PGCOPY\n\377\r\n";
    *c = (struct copy_rows){ .db = db, .status = DB_ONE };
    copy_rows_raw(c, header, sizeof(header));
}

enum db_status copy_rows_next(struct copy_rows *c, unsigned n_fields)
{
    if (c->len >= PIECE_BYTES) flush(c);
    copy_rows_u16(c, (uint16_t)n_fields);
    return c->status;
}

enum db_status copy_rows_end(struct copy_rows *c, uint64_t *ret_rows)
{
    copy_rows_u16(c, UINT16_MAX);
    flush(c);
    return c->status == DB_ONE ? db_copy_in_end(c->db, ret_rows) : c->status;
}

void copy_rows_release(struct copy_rows *c)
{
    seg_free(c->bytes);
    *c = (struct copy_rows){ 0 };
}

void copy_rows_float4_array(struct copy_rows *c, const float *v, uint32_t n)
{
    copy_rows_u32(c, 20 + 8 * n); /* bytes of the field */
    copy_rows_u32(c, 1);          /* dimensions */
    copy_rows_u32(c, 0);          /* no NULLs */
    copy_rows_u32(c, COPY_FLOAT4_OID);
    copy_rows_u32(c, n);
    copy_rows_u32(c, 1); /* lower bound */
    for (uint32_t i = 0; i < n; i++)
        copy_rows_float4(c, v[i]);
}
