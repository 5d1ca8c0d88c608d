/* timestamp.h - reading RFC 3339 times, also the forms people write in CSV files, and writing them.
 * Pure functions. */
#ifndef SERVER_TIMESTAMP_H
#define SERVER_TIMESTAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "2026-11-23", "2026-11-23T10:00:00Z", a blank for the T, seconds or their fraction (to 9 digits)
 * left out, offset Z, +hh:mm or none (UTC). Years 1 to 9999. *ret_micros: microseconds since
 * 2000-01-01 00:00 UTC, as PostgreSQL counts. */
bool timestamp_parse(const char *s, size_t len, int64_t *ret_micros);

/* "2026-11-23T10:00:00Z" of seconds since 2000-01-01 00:00 UTC, years 1 to 9999, and a NUL. */
#define TIMESTAMP_TEXT_SIZE 64u
void timestamp_text(int64_t seconds, char ret_text[TIMESTAMP_TEXT_SIZE]);

#endif
