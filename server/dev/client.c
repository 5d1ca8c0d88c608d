/* client.c - one request, one answer, by "Connection: close". */
#include "dev/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/alloc.h"
#include "config.h"

#define TIMEOUT_S       30
#define REPLY_BYTES_MAX ((size_t)16 << 20)

struct bytes {
    char *data; /* NUL-terminated */
    size_t len, cap;
};

static time_t now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static bool wait_for(int fd, short events, time_t deadline_s)
{
    struct pollfd p = { .fd = fd, .events = events };
    while (now_s() < deadline_s) {
        int n = poll(&p, 1, 1000);
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
    return false;
}

static bool send_all(int fd, const char *bytes, size_t len, time_t deadline_s)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (n < 0 && !wait_for(fd, POLLOUT, deadline_s)) return false;
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static bool reserve(struct bytes *b)
{
    if (b->cap - b->len > 1) return true;
    size_t cap = b->cap == 0 ? 16384 : 2 * b->cap;
    char *data = cap > REPLY_BYTES_MAX ? NULL : seg_realloc(b->data, cap, 1);
    if (data == NULL) return false;
    b->data = data;
    b->cap = cap;
    return true;
}

static bool receive_all(int fd, struct bytes *b, time_t deadline_s)
{
    for (;;) {
        if (!reserve(b) || !wait_for(fd, POLLIN, deadline_s)) return false;
        ssize_t n = recv(fd, b->data + b->len, b->cap - b->len - 1, MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
        if (n > 0) b->len += (size_t)n;
        b->data[b->len] = '\0';
        if (n == 0) return true;
    }
}

/* Splits the head off; false when the answer is not whole. */
static bool parse(struct bytes *b, struct client_reply *ret)
{
    char *body = b->data == NULL ? NULL : strstr(b->data, "\r\n\r\n");
    if (body == NULL || strncmp(b->data, "HTTP/1.1 ", 9) != 0) return false;
    *body = '\0'; /* so that the search below ends with the head */
    body += 4;
    const char *length = strcasestr(b->data, "\r\nContent-Length:");
    size_t len = b->len - (size_t)(body - b->data);
    if (length == NULL || strtoull(length + 17, NULL, 10) != len) return false;
    ret->status = (unsigned)strtoul(b->data + 9, NULL, 10);
    memmove(b->data, body, len + 1);
    ret->body = b->data;
    ret->len = len;
    b->data = NULL;
    return true;
}

int client_init(struct client *c, const char *listen, unsigned port)
{
    *c = (struct client){ 0 };
    if (!config_listen_address(listen, &c->address, &c->address_len)) return -1;
    if (c->address.ss_family == AF_INET)
        ((struct sockaddr_in *)&c->address)->sin_port = htons((uint16_t)port);
    if (c->address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&c->address)->sin6_port = htons((uint16_t)port);
    return 0;
}

int client_request(const struct client *c, const char *method, const char *path, const char *body,
                   struct client_reply *ret)
{
    struct bytes answer = { 0 };
    char head[512];
    time_t deadline_s = now_s() + TIMEOUT_S;
    size_t body_len = body == NULL ? 0 : strlen(body);
    int result = -1, fd = socket(c->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int len = snprintf(head, sizeof head,
                       "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                       method, path, body_len);
    if (len >= (int)sizeof head) goto out;
    if (connect(fd, (const struct sockaddr *)&c->address, c->address_len) == 0 &&
        send_all(fd, head, (size_t)len, deadline_s) && send_all(fd, body, body_len, deadline_s) &&
        receive_all(fd, &answer, deadline_s) && parse(&answer, ret))
        result = 0;
out:
    seg_free(answer.data);
    close(fd);
    return result;
}
