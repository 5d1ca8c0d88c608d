/* listen.h - the listening socket of [http] listen: host:port, [v6]:port or unix:/path. */
#ifndef SERVER_HTTP_LISTEN_H
#define SERVER_HTTP_LISTEN_H

#include <stddef.h>

/* A non-blocking listening socket, or -1 after a sentence was written to err. */
int listen_open(const char *address, char *err, size_t err_size);
/* Where fd listens, as in "127.0.0.1:43123", into out. Returns the port, 0 for a Unix socket. */
unsigned listen_name(int fd, char *out, size_t size);
/* Closes fd and removes the file of a Unix socket. */
void listen_close(int fd, const char *address);

#endif
