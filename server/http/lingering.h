/* lingering.h - sockets whose answer is written and whose request nobody reads.
 *
 * Properties: a close with bytes unread resets the connection, and the client may lose the answer
 * with it. So a socket stays until its client ends its side, at most LINGERING_MS, and what comes
 * is thrown away. When there are as many as may be, the oldest goes earlier: a client that sends
 * more than its kernel takes at once then finds its connection gone. Safety: one thread. */
#ifndef SERVER_HTTP_LINGERING_H
#define SERVER_HTTP_LINGERING_H

#include <stddef.h>
#include <stdint.h>

#define LINGERING_MAX     256
#define LINGERING_MS      500
#define LINGERING_TEND_MS 20

struct lingering {
    size_t n_max; /* 1..LINGERING_MAX, set by the owner; the rest zero: empty */
    struct {
        int fd; /* -1: its client has ended */
        int64_t due_ns;
    } sockets[LINGERING_MAX]; /* a ring in the order they came */
    size_t first, n;
    int64_t tended_ns;
};

/* Owns fd from now on, and lets its client know that nothing more comes. */
void lingering_add(struct lingering *l, int fd, int64_t now_ns);
/* Throws away what came, closes what ended or has stayed long enough; nothing when it did so less
 * than LINGERING_TEND_MS ago. Milliseconds until it wants to be called again, -1: none is there. */
int lingering_tend(struct lingering *l, int64_t now_ns);
/* Closes all. */
void lingering_end(struct lingering *l);

#endif
