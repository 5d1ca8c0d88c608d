/* client.h - HTTP requests to one server, over libcurl, on one connection that is kept. Bodies go
 * up from memory or from a stream, and come back whole or into a stream; a refusal always comes
 * back whole. Redirects are not followed, so that the token goes to no other server. One thread. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CLIENT_ADDRESS_MAX  4096
#define CLIENT_DOCUMENT_MAX ((size_t)256 << 20) /* bytes of an answer that is kept whole */

struct client {
    void *curl;
    char base[CLIENT_ADDRESS_MAX]; /* scheme and host, without a slash at its end */
    char address[CLIENT_ADDRESS_MAX];
    char curl_error[256];
    char error[512]; /* why the last request had no answer */
};

/* What goes up, what is done with the answer. Zeroed: an empty body, the answer kept. */
struct client_request {
    const char *method;       /* "GET", "POST", "PUT" */
    const char *content_type; /* NULL: no body */
    const char *body;         /* (body_len), or NULL and the stream below */
    size_t body_len;
    FILE *upload;        /* read to its end; NULL: none */
    int64_t upload_size; /* bytes in it, -1 when nobody knows */
    /* Takes the next bytes of an answer of success; false ends the request. NULL: it is kept. */
    bool (*sink)(void *ctx, const char *bytes, size_t len);
    /* Told of the bytes that went up. NULL: nobody is. */
    void (*on_upload)(void *ctx, int64_t n_sent);
    void *ctx;
};

struct client_reply {
    unsigned status;
    char *body; /* NUL-terminated */
    size_t len;
};
void client_reply_release(struct client_reply *r);

/* url: http://…, https://… or unix:/path of a socket. token may be NULL. A sentence for the user
 * when either is wrong, else NULL. */
const char *client_init(struct client *c, const char *url, const char *token);
void client_release(struct client *c);

/* A name and a value for the address; a NULL value leaves it out. */
struct client_parameter {
    const char *name, *value;
};
/* Sets the address of the requests to come: in path each {} stands for the next of args, escaped;
 * parameters end with a NULL name, or are NULL. False: it is too long, see error. */
bool client_address(struct client *c, const char *path, const char *const *args,
                    const struct client_parameter *parameters);
/* True when an answer came, of whatever status; release *ret. False: *ret is empty, see error. */
bool client_send(struct client *c, const struct client_request *rq, struct client_reply *ret);

#endif
