/* embedded.h - files that are part of the binary: the migrations and the dashboard. Written at
 * build time by tools/embed.py. Constant data: safe from any thread. */
#ifndef SERVER_EMBEDDED_H
#define SERVER_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *name;           /* path below its folder: "0001_feature_sets.sql", "app.js" */
    const unsigned char *bytes; /* (len), a NUL follows */
    size_t len;
    const unsigned char *gzip; /* (gzip_len) the same, compressed; NULL when that is no smaller */
    size_t gzip_len;
    const char *sha256; /* of bytes, lower-case hex: serves as ETag */
};

/* By name; a row of NULLs follows. */
extern const struct embedded_file EMBEDDED_MIGRATIONS[]; /* migrations/ */
extern const size_t N_EMBEDDED_MIGRATIONS;
extern const struct embedded_file EMBEDDED_WEB[]; /* server/web/ */
extern const size_t N_EMBEDDED_WEB;

#endif
