/* rows_simdjson.h - C functions of rows_simdjson.cpp, which is built where simdjson is installed.
 */
#ifndef BENCH_ROWS_SIMDJSON_H
#define BENCH_ROWS_SIMDJSON_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
/* Bytes that must be readable behind a body. */
size_t rows_simdjson_padding(void);
/* The instruction set it chose, as in "icelake". */
const char *rows_simdjson_isa(void);
/* Decodes a body of len bytes in a buffer of size: columnar, or named with the names (n_columns) in
 * their order, into tiles. Returns the rows, 0 on failure. */
size_t rows_simdjson_decode(const char *body, size_t len, size_t size, const char *const *names,
                            size_t n_columns, float *tiles);
#ifdef __cplusplus
}
#endif

#endif
