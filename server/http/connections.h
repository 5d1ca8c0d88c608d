/* connections.h - every open connection with the moment it must have got somewhere.
 *
 * Properties: libmicrohttpd's own timeout counts from the last byte, so that a byte a second holds
 * a connection for ever; here each phase (head, body, reply) has a deadline, and what is past it is
 * shut down; a client that ended its side is noticed within half a second even when its last bytes
 * and the end came together. Operation: a reaper thread looks four times a second. Safety: any
 * thread. */
#ifndef SERVER_HTTP_CONNECTIONS_H
#define SERVER_HTTP_CONNECTIONS_H

#include "metrics.h"

struct connections;
struct connection;

/* NULL: no memory, no thread. */
struct connections *connections_new(struct metrics *m);
/* No connection may be left. NULL is fine. */
void connections_free(struct connections *c);
/* NULL: no memory. fd stays the caller's, and must stay open until the removal. */
struct connection *connections_add(struct connections *c, int fd, unsigned timeout_s);
void connections_remove(struct connections *c, struct connection *k);

/* The phase that starts now may last so long; 0: for ever (we are working). */
void connection_deadline(struct connection *k, unsigned timeout_s);

#endif
