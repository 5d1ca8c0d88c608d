/* lingering.h - sockets whose answer is written and whose request nobody reads.
 *
 * Properties: a close with bytes unread resets the connection, and the client may lose the answer
 * with it. So they are emptied, stay for LINGERING_MS and are emptied again before they close. When
 * there are LINGERING_MAX already, the oldest goes earlier. Safety: one thread. */
#ifndef SERVER_HTTP_LINGERING_H
#define SERVER_HTTP_LINGERING_H

#include <stddef.h>
#include <stdint.h>

#define LINGERING_MAX 256
#define LINGERING_MS  500

struct lingering { /* all zero: empty */
    struct {
        int fd;
        int64_t due_ns;
    } sockets[LINGERING_MAX]; /* a ring in the order they came */
    size_t first, n;
};

/* Owns fd from now on, and lets its client know that nothing more comes. */
void lingering_add(struct lingering *l, int fd, int64_t now_ns);
/* Closes what has stayed long enough. Milliseconds until the next is due, -1: none is there. */
int lingering_tend(struct lingering *l, int64_t now_ns);
/* Closes all. */
void lingering_end(struct lingering *l);

#endif
