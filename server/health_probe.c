/* health_probe.c - just enough HTTP/1.1 to read a status line. */
#include "health_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "config.h"

#define TIMEOUT_S 5

__attribute__((format(printf, 3, 4))) static bool fail(char *reason, size_t size, const char *fmt,
                                                       ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, size, fmt, args);
    va_end(args);
    return false;
}

static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* The status of the answer to GET path, 0 when none came. */
static unsigned ask(int fd, const char *host, const char *path)
{
    char text[1024];
    int len = snprintf(text, sizeof text,
                       "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
    if ((size_t)len >= sizeof text || !send_all(fd, text, (size_t)len)) return 0;
    size_t got = 0;
    while (got < strlen("HTTP/1.1 200")) {
        ssize_t n = recv(fd, text + got, sizeof text - 1 - got, 0);
        if (n <= 0) return 0;
        got += (size_t)n;
    }
    text[got] = '\0';
    unsigned status = 0;
    return sscanf(text, "HTTP/1.1 %3u", &status) == 1 ? status : 0;
}

static bool probe(const struct sockaddr *address, socklen_t len, const char *host, const char *path,
                  char *reason, size_t size)
{
    struct timeval timeout = { .tv_sec = TIMEOUT_S };
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(reason, size, "no socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    bool alive = false;
    if (connect(fd, address, len) != 0) {
        fail(reason, size, "%s cannot be reached: %s", host, strerror(errno));
    } else {
        unsigned status = ask(fd, host, path);
        alive = status == 200;
        if (status == 0) fail(reason, size, "%s gave no answer within %d s", host, TIMEOUT_S);
        if (status != 0 && !alive) fail(reason, size, "%s%s answered %u", host, path, status);
    }
    close(fd);
    return alive;
}

bool health_probe_listen(const char *listen, char *reason, size_t size)
{
    struct sockaddr_storage address;
    socklen_t len;
    if (!config_listen_address(listen, &address, &len)) {
        return fail(reason, size, "%s is not an address", listen);
    }
    struct sockaddr_in *in = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&address;
    /* "any address" is not one to connect to */
    if (address.ss_family == AF_INET && in->sin_addr.s_addr == htonl(INADDR_ANY)) {
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    if (address.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr)) {
        in6->sin6_addr = in6addr_loopback;
    }
    const char *host = address.ss_family == AF_UNIX ? "localhost" : listen;
    return probe((struct sockaddr *)&address, len, host, "/livez", reason, size);
}

bool health_probe_url(const char *url, char *reason, size_t size)
{
    char host[256], name[256];
    if (strncmp(url, "http://", 7) != 0) return fail(reason, size, "%s is not an http:// URL", url);
    const char *authority = url + 7, *path = authority + strcspn(authority, "/");
    size_t len = (size_t)(path - authority);
    if (len == 0 || len >= sizeof host) return fail(reason, size, "%s has no host", url);
    memcpy(host, authority, len);
    host[len] = '\0';

    memcpy(name, host, len + 1);
    char *port = strrchr(name, ':');
    if (port != NULL && strchr(port, ']') == NULL) {
        *port++ = '\0';
    } else {
        port = NULL;
    }
    char *bare = name; /* without the brackets of a v6 address */
    size_t name_len = strlen(name);
    if (name_len > 2 && name[0] == '[' && name[name_len - 1] == ']') {
        name[name_len - 1] = '\0';
        bare++;
    }
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    int rc = getaddrinfo(bare, port != NULL ? port : "80", &hints, &list);
    if (rc != 0) return fail(reason, size, "%s: %s", host, gai_strerror(rc));
    bool alive = false;
    for (const struct addrinfo *at = list; at != NULL && !alive; at = at->ai_next) {
        alive =
            probe(at->ai_addr, at->ai_addrlen, host, *path != '\0' ? path : "/livez", reason, size);
    }
    freeaddrinfo(list);
    return alive;
}
