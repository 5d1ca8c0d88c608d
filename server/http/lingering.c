#include "http/lingering.h"

#include <sys/socket.h>
#include <unistd.h>

#define DISCARD_BYTES 65536
#define DISCARDS_MAX  16 /* of that size: a client that sends without end is not read to its end */

/* MSG_TRUNC: TCP drops the bytes without a copy; of a Unix socket they are read. */
static void empty(int fd)
{
    static _Thread_local char bytes[DISCARD_BYTES];
    for (int i = 0; i < DISCARDS_MAX; i++)
        if (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC) <= 0) return;
}

static void close_first(struct lingering *l)
{
    int fd = l->sockets[l->first].fd;
    empty(fd);
    close(fd);
    l->first = (l->first + 1) % LINGERING_MAX;
    l->n--;
}

void lingering_add(struct lingering *l, int fd, int64_t now_ns)
{
    shutdown(fd, SHUT_WR);
    empty(fd);
    if (l->n == LINGERING_MAX) close_first(l);
    size_t at = (l->first + l->n++) % LINGERING_MAX;
    l->sockets[at].fd = fd;
    l->sockets[at].due_ns = now_ns + (int64_t)LINGERING_MS * 1000000;
}

int lingering_tend(struct lingering *l, int64_t now_ns)
{
    while (l->n > 0 && l->sockets[l->first].due_ns <= now_ns)
        close_first(l);
    if (l->n == 0) return -1;
    return (int)((l->sockets[l->first].due_ns - now_ns) / 1000000) + 1;
}

void lingering_end(struct lingering *l)
{
    while (l->n > 0)
        close_first(l);
}
