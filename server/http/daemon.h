/* daemon.h - the HTTP server over libmicrohttpd, which no other file sees.
 *
 * Properties: a few I/O threads (epoll) read requests and write replies and never block; routes
 * that touch the database run on the database threads, large batches on the compute pool, while the
 * connection is suspended. Bodies over 1 MiB are spooled to an unlinked file. Refuses the smuggling
 * shapes that libmicrohttpd 0.9.75 lets through. Operation: start listens; stop accepts nothing
 * more, waits for the running requests (at most 10 s), then closes. Safety: start and stop are the
 * owner's; nothing else is called from outside. */
#ifndef SERVER_HTTP_DAEMON_H
#define SERVER_HTTP_DAEMON_H

#include "app.h"

struct http_daemon;
/* Listens on config http.listen. NULL and a log line on failure. */
struct http_daemon *http_daemon_start(struct app *app);
void http_daemon_stop(struct http_daemon *d);
/* The port it listens on (for listen = 127.0.0.1:0), 0 for a Unix socket. */
unsigned http_daemon_port(const struct http_daemon *d);

#endif
