/* timestamp.h - reading RFC 3339 times, also the forms people write in CSV files. Pure functions.
 */
#ifndef SERVER_TIMESTAMP_H
#define SERVER_TIMESTAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MICROS_PER_DAY 86400000000LL

/* "2026-11-23", "2026-11-23T10:00:00Z", a blank for the T, seconds or their fraction (to 9 digits)
 * left out, offset Z, +hh:mm or none (UTC). Years 1 to 9999. *ret_micros: microseconds since
 * 2000-01-01 00:00 UTC, as PostgreSQL counts. */
bool timestamp_parse(const char *s, size_t len, int64_t *ret_micros);

/* As a feature: days since 2000-01-01 (features/schema.h). */
static inline float timestamp_days(int64_t micros)
{
    return (float)((double)micros / (double)MICROS_PER_DAY);
}

#endif
