/* An eventfd wakes the thread for its end. */
#include "http/acceptor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "log.h"

#define PAUSE_MS 50 /* when the process has no file descriptor left */

struct acceptor {
    int listen_fd, stop_fd;
    accept_fn take;
    void *ctx;
    pthread_t thread;
};

/* The first bytes are here already when the socket defers its connections (listen.c). */
static bool is_probe(int fd)
{
    static const char *const PATHS[] = { "/livez", "/readyz", "/metrics", "/v2/health/" };
    char head[32];
    ssize_t n = recv(fd, head, sizeof(head) - 1, MSG_PEEK | MSG_DONTWAIT);
    head[n > 0 ? n : 0] = '\0';
    const char *path = strchr(head, ' ');
    if (path == NULL || (strncmp(head, "GET ", 4) != 0 && strncmp(head, "HEAD ", 5) != 0))
        return false;
    for (size_t i = 0; i < sizeof(PATHS) / sizeof(PATHS[0]); i++)
        if (strncmp(path + 1, PATHS[i], strlen(PATHS[i])) == 0) return true;
    return false;
}

/* False when there was nothing more to take. */
static bool accept_one(struct acceptor *a)
{
    struct sockaddr_storage from = { 0 };
    socklen_t len = sizeof(from);
    int fd = accept4(a->listen_fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        a->take(a->ctx, fd, (struct sockaddr *)&from, len, is_probe(fd));
        return true;
    }
    if (errno == EINTR || errno == ECONNABORTED) return true;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
        log_event(LOG_WARN, "cannot accept a connection", "reason", "%s", strerror(errno), NULL);
        nanosleep(&pause, NULL);
    }
    return false;
}

static void *acceptor_main(void *arg)
{
    struct acceptor *a = arg;
    struct pollfd fds[] = { { .fd = a->stop_fd, .events = POLLIN },
                            { .fd = a->listen_fd, .events = POLLIN } };
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
        if (fds[0].revents != 0) break;
        if (fds[1].revents != 0)
            while (accept_one(a))
                ;
    }
    return NULL;
}

struct acceptor *acceptor_start(int listen_fd, accept_fn take, void *ctx)
{
    struct acceptor *a = seg_alloc(1, sizeof(*a));
    if (a == NULL) return NULL;
    *a = (struct acceptor){ .listen_fd = listen_fd, .take = take, .ctx = ctx };
    a->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->stop_fd >= 0 && pthread_create(&a->thread, NULL, acceptor_main, a) == 0) return a;
    if (a->stop_fd >= 0) close(a->stop_fd);
    seg_free(a);
    return NULL;
}

void acceptor_stop(struct acceptor *a)
{
    if (a == NULL) return;
    eventfd_write(a->stop_fd, 1);
    pthread_join(a->thread, NULL);
    close(a->stop_fd);
    seg_free(a);
}
