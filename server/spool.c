/* spool.c - O_TMPFILE where the file system has it. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int spool_open(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
    char path[300];
    snprintf(path, sizeof(path), "%s/segmentd-spool-XXXXXX", dir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    return fd;
}

bool spool_write(int fd, const void *bytes, size_t len)
{
    for (const char *at = bytes; len > 0;) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

bool spool_write_at(int fd, const void *bytes, size_t len, off_t offset)
{
    for (const char *at = bytes; len > 0;) {
        ssize_t n = pwrite(fd, at, len, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    return true;
}

bool spool_read_at(int fd, void *bytes, size_t len, off_t offset)
{
    for (char *at = bytes; len > 0;) {
        ssize_t n = pread(fd, at, len, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        offset += n;
        len -= (size_t)n;
    }
    return true;
}
