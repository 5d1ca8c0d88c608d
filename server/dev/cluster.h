/* cluster.h - a private PostgreSQL: made by initdb in a folder of ours, reached over a Unix socket
 * alone, run as our child.
 *
 * Properties: the same SQL and the same durability as in production (fsync on). The server ends
 * with this process, however it ends; a folder is used by one process at a time. Operation: start,
 * use cluster_url, stop. PostgreSQL refuses root, so call cluster_start after root was dropped.
 * Safety: one thread, the process's first, which must live as long as the cluster. */
#ifndef SERVER_DEV_CLUSTER_H
#define SERVER_DEV_CLUSTER_H

#include <stddef.h>
#include <sys/types.h>

struct cluster {
    char folder[512];  /* ours: pgdata, postgresql.log, lock */
    char sockets[128]; /* folder of the socket; short, since its path has 107 bytes */
    pid_t postmaster;  /* 0: not running */
    int lock_fd;       /* held while we use the folder; -1 */
};

/* Makes the cluster when the folder (absolute, writable by us alone) has none, and starts it. 0, or
 * -1 and a sentence. */
int cluster_start(struct cluster *c, const char *folder, char *sentence, size_t size);
/* Ends sessions, writes a checkpoint, stops. No-op when it does not run. */
void cluster_stop(struct cluster *c);
/* The libpq connection string of a database in it. */
void cluster_url(const struct cluster *c, const char *database, char *out, size_t size);

#endif
