/* acceptor.h - the thread that takes connections from the listening socket.
 *
 * Properties: its owner deals out every connection, which threads that accept for themselves do
 * not: the first to wake takes a burst whole, and the others idle while it works.
 * It tells those that come to ask how the process does, so that they need not queue behind work.
 * A connection that is one too many is answered by it, and let go when its client had time to read.
 * Without a file descriptor left it waits a little instead of spinning. Safety: start and stop are
 * the owner's; take and refusal run on the acceptor's thread. */
#ifndef SERVER_HTTP_ACCEPTOR_H
#define SERVER_HTTP_ACCEPTOR_H

#include <stdbool.h>
#include <stddef.h>

/* Owns fd from now on, a non-blocking socket, unless it returns false: there are too many.
 * is_probe: its first request asks for the health or the metrics of the process. */
typedef bool (*accept_fn)(void *ctx, int fd, bool is_probe);

#define REFUSAL_TEXT_MAX 2048u /* bytes are room enough for what a refused client is told */
/* Writes to text (size) what a connection is told that is one too many. Its length, 0: nothing. */
typedef size_t (*refusal_fn)(void *ctx, char *text, size_t size);

struct acceptor;
/* listen_fd stays the caller's, until after stop. n_lingering_max (1..LINGERING_MAX): sockets that
 * refused clients may hold. NULL: no memory, no thread. */
struct acceptor *acceptor_start(int listen_fd, accept_fn take, refusal_fn refusal,
                                size_t n_lingering_max, void *ctx);
/* No connection is taken any more. NULL is fine. */
void acceptor_stop(struct acceptor *a);

#endif
