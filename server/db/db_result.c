/* db_result.c - reading results, and text forms of identifiers and bytes. A struct db_result is a
 * PGresult under a name that keeps libpq out of other folders; it has no members of its own. */
#include "db/db.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"

static const PGresult *pg(const struct db_result *r)
{
    return (const PGresult *)r;
}

void db_result_free(struct db_result *r)
{
    PQclear((PGresult *)r);
}

size_t db_result_rows(const struct db_result *r)
{
    return (size_t)PQntuples(pg(r));
}

unsigned db_result_columns(const struct db_result *r)
{
    return (unsigned)PQnfields(pg(r));
}

const char *db_result_text(const struct db_result *r, size_t row, unsigned col)
{
    return PQgetisnull(pg(r), (int)row, (int)col) ? NULL : PQgetvalue(pg(r), (int)row, (int)col);
}

size_t db_result_len(const struct db_result *r, size_t row, unsigned col)
{
    return (size_t)PQgetlength(pg(r), (int)row, (int)col);
}

int64_t db_result_int(const struct db_result *r, size_t row, unsigned col)
{
    const char *text = db_result_text(r, row, col);
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

bool db_result_bool(const struct db_result *r, size_t row, unsigned col)
{
    const char *text = db_result_text(r, row, col);
    return text != NULL && text[0] == 't';
}

static unsigned nibble(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10); /* PostgreSQL writes lower case */
}

static size_t bytea_len(const struct db_result *r, size_t row, unsigned col)
{
    return db_result_text(r, row, col) == NULL ? 0 : (db_result_len(r, row, col) - 2) / 2;
}

size_t db_result_bytea_copy(const struct db_result *r, size_t row, unsigned col, uint8_t *out,
                            size_t most)
{
    size_t n = bytea_len(r, row, col);
    if (n == 0 || n > most) return 0;
    const char *hex = db_result_text(r, row, col) + 2; /* after "\x" */
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    return n;
}

uint8_t *db_result_bytea(const struct db_result *r, size_t row, unsigned col, size_t *ret_len)
{
    size_t n = bytea_len(r, row, col);
    uint8_t *bytes = seg_alloc(n, 1);
    if (bytes != NULL) *ret_len = db_result_bytea_copy(r, row, col, bytes, n);
    return bytes;
}

char *db_bytea_text(const uint8_t *bytes, size_t len)
{
    static const char HEX[] = "0123456789abcdef";
    if (len > (SIZE_MAX - 3) / 2) return NULL;
    char *text = seg_alloc(2 * len + 3, 1);
    if (text == NULL) return NULL;
    char *p = text;
    *p++ = '\\';
    *p++ = 'x';
    for (size_t i = 0; i < len; i++) {
        *p++ = HEX[bytes[i] >> 4];
        *p++ = HEX[bytes[i] & 15];
    }
    *p = '\0';
    return text;
}

bool db_ident(struct db *db, const char *name, char *out, size_t out_size)
{
    (void)db; /* quoting is the same in every session: client_encoding is UTF8 everywhere */
    size_t len = strlen(name);
    if (len == 0 || len > 63) return false;
    size_t quotes = 0;
    for (size_t i = 0; i < len; i++)
        quotes += name[i] == '"';
    if (len + quotes + 3 > out_size) return false;
    *out++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '"') *out++ = '"';
        *out++ = name[i];
    }
    *out++ = '"';
    *out = '\0';
    return true;
}
