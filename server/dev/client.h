/* client.h - a minimal HTTP/1.1 client for talking to ourselves: one request a connection, JSON
 * both ways, a deadline on every wait. Not for other servers. One thread. */
#ifndef SERVER_DEV_CLIENT_H
#define SERVER_DEV_CLIENT_H

#include <stddef.h>
#include <sys/socket.h>

struct client {
    struct sockaddr_storage address;
    socklen_t address_len;
};

struct client_reply {
    unsigned status;
    char *body; /* NUL-terminated; the caller's, seg_free */
    size_t len;
};

/* Where [http] listen says, on the port it got. 0, or -1 when listen is no address. */
int client_init(struct client *c, const char *listen, unsigned port);
/* body NULL: none. 0, or -1 when no whole answer came within 30 s. */
int client_request(const struct client *c, const char *method, const char *path, const char *body,
                   struct client_reply *ret);

#endif
