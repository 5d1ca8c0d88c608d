/* spool.h - files without a name for what is too large to keep in memory: they are gone when the
 * last descriptor is closed, however the process ends. Safe from any thread. */
#ifndef SERVER_SPOOL_H
#define SERVER_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A new empty file in the folder dir, readable by its owner alone. -1: errno says why. */
int spool_open(const char *dir);
/* Writes all of it at the file's position. False: the disk is full, or errno says why. */
bool spool_write(int fd, const void *bytes, size_t len);
/* The same at a place in the file, which leaves its position as it is. */
bool spool_write_at(int fd, const void *bytes, size_t len, off_t offset);
/* Reads exactly len bytes from a place in the file, which leaves its position as it is. False:
 * there are fewer, or errno says why. */
bool spool_read_at(int fd, void *bytes, size_t len, off_t offset);

#endif
