/* Sockets are made here and not by libmicrohttpd, which knows neither Unix sockets nor host names.
 */
#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A probe waits behind it: the acceptor refuses 16 of them in a millisecond. */
#define BACKLOG 1024

static int bind_and_listen(int fd, const struct sockaddr *sa, socklen_t len)
{
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    /* A connection counts from its first bytes, or after a second without: who takes it can see
     * what it is for. Not for Unix sockets, where this fails. */
    setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof(on));
    if (bind(fd, sa, len) == 0 && listen(fd, BACKLOG) == 0) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int new_socket(int family)
{
    return socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int listen_unix(const char *path, char *err, size_t err_size)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    struct stat st;
    if (path[0] != '/' || strlen(path) >= sizeof(sa.sun_path)) {
        snprintf(err, err_size, "a Unix socket needs an absolute path under %zu bytes",
                 sizeof(sa.sun_path));
        return -1;
    }
    strcpy(sa.sun_path, path);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        /* Left by a process that was killed, unless someone answers. */
        int probe = new_socket(AF_UNIX);
        int rc = probe < 0 ? 0 : connect(probe, (struct sockaddr *)&sa, sizeof(sa));
        if (probe >= 0 && rc != 0 && errno == ECONNREFUSED) unlink(path);
        if (probe >= 0) close(probe);
    }
    int fd = new_socket(AF_UNIX);
    if (fd >= 0) fd = bind_and_listen(fd, (struct sockaddr *)&sa, sizeof(sa));
    if (fd < 0) snprintf(err, err_size, "%s: %s", path, strerror(errno));
    return fd;
}

/* Splits host:port or [host]:port. */
static int split(const char *address, char host[static 256], char port[static 8])
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL) return -1;
    const char *from = address;
    size_t n = (size_t)(colon - address);
    if (address[0] == '[') {
        if (n < 2 || colon[-1] != ']') return -1;
        from++;
        n -= 2;
    } else if (memchr(address, ':', n) != NULL) {
        return -1; /* a bare IPv6 address: its port is ambiguous */
    }
    if (n >= 256 || strlen(colon + 1) > 5 || colon[1] == '\0') return -1;
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1)) return -1;
    memcpy(host, from, n);
    host[n] = '\0';
    strcpy(port, colon + 1);
    return 0;
}

int listen_open(const char *address, char *err, size_t err_size)
{
    char host[256], port[8];
    struct addrinfo *found = NULL;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    if (strncmp(address, "unix:", 5) == 0) return listen_unix(address + 5, err, err_size);
    if (split(address, host, port) != 0) {
        snprintf(err, err_size, "%s: neither host:port, [v6]:port nor unix:/path", address);
        return -1;
    }
    bool any = host[0] == '\0' || strcmp(host, "*") == 0;
    int rc = getaddrinfo(any ? NULL : host, port, &hints, &found);
    if (rc != 0) {
        snprintf(err, err_size, "%s: %s", address, gai_strerror(rc));
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *a = found; a != NULL && fd < 0; a = a->ai_next) {
        fd = new_socket(a->ai_family);
        if (fd >= 0) fd = bind_and_listen(fd, a->ai_addr, a->ai_addrlen);
    }
    if (fd < 0) snprintf(err, err_size, "%s: %s", address, strerror(errno));
    freeaddrinfo(found);
    return fd;
}

unsigned listen_name(int fd, char *out, size_t size)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof(sa);
    char host[INET6_ADDRSTRLEN], port[8];
    out[0] = '\0';
    if (getsockname(fd, (struct sockaddr *)&sa, &len) != 0) return 0;
    if (sa.ss_family == AF_UNIX) {
        snprintf(out, size, "unix:%s", ((struct sockaddr_un *)&sa)->sun_path);
        return 0;
    }
    if (getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return 0;
    snprintf(out, size, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    return ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                          : ((struct sockaddr_in *)&sa)->sin_port);
}

void listen_close(int fd, const char *address)
{
    close(fd);
    if (strncmp(address, "unix:", 5) == 0) unlink(address + 5);
}
