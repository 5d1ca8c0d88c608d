#include "http/lingering.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define DISCARD_BYTES 16384
#define DISCARDS_MAX  64 /* of that size at a time: others are waiting */

/* Whether more may come. MSG_TRUNC: TCP drops the bytes without a copy; of a Unix socket they are
 * read. */
static bool empty(int fd)
{
    char bytes[DISCARD_BYTES];
    for (int i = 0; i < DISCARDS_MAX; i++) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);
        if (n == 0) return false;
        if (n < 0) break;
    }
    return true;
}

static void drop_first(struct lingering *l)
{
    int fd = l->sockets[l->first].fd;
    if (fd >= 0) {
        empty(fd);
        close(fd);
    }
    l->first = (l->first + 1) % LINGERING_MAX;
    l->n--;
}

void lingering_add(struct lingering *l, int fd, int64_t now_ns)
{
    shutdown(fd, SHUT_WR);
    empty(fd);
    if (l->n == l->n_max) drop_first(l);
    size_t at = (l->first + l->n++) % LINGERING_MAX;
    l->sockets[at].fd = fd;
    l->sockets[at].due_ns = now_ns + (int64_t)LINGERING_MS * 1000000;
}

int lingering_tend(struct lingering *l, int64_t now_ns)
{
    const int64_t early_ns = l->tended_ns + (int64_t)LINGERING_TEND_MS * 1000000 - now_ns;
    if (l->n > 0 && early_ns > 0) return (int)(early_ns / 1000000) + 1;
    l->tended_ns = now_ns;
    for (size_t i = 0; i < l->n; i++) {
        int *fd = &l->sockets[(l->first + i) % LINGERING_MAX].fd;
        if (*fd < 0 || empty(*fd)) continue;
        close(*fd);
        *fd = -1;
    }
    while (l->n > 0 && (l->sockets[l->first].fd < 0 || l->sockets[l->first].due_ns <= now_ns))
        drop_first(l);
    return l->n > 0 ? LINGERING_TEND_MS : -1;
}

void lingering_end(struct lingering *l)
{
    while (l->n > 0)
        drop_first(l);
}
