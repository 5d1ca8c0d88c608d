/* An eventfd wakes the thread for its end. */
#include "http/acceptor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "http/exchange.h"
#include "http/lingering.h"
#include "log.h"

#define NO_FILES_PAUSE_MS 50 /* when the process has no file descriptor left */
/* Clients that come again as soon as they were refused would take the processors from those that
 * are served: at most REFUSED_AT_ONCE are answered in REFUSED_PAUSE_MS, the others wait in the
 * backlog. */
#define REFUSED_AT_ONCE  16
#define REFUSED_PAUSE_MS 1
#define ACCEPTED_AT_ONCE 256 /* then the stop and what lingers are looked at */

struct acceptor {
    int listen_fd, stop_fd;
    accept_fn take;
    refusal_fn refusal;
    void *ctx;
    pthread_t thread;
    struct lingering refused; /* the thread's own */
};

static void pause_ms(long ms)
{
    const struct timespec pause = { .tv_nsec = ms * 1000000L };
    nanosleep(&pause, NULL);
}

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

static void refuse(struct acceptor *a, int fd)
{
    char text[REFUSAL_TEXT_MAX];
    size_t len = a->refusal(a->ctx, text, sizeof(text));
    (void)!send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT); /* a new socket has room for it */
    lingering_add(&a->refused, fd, monotonic_ns());
}

/* False when there was nothing more to take. Counts those that were too many. */
static bool accept_one(struct acceptor *a, unsigned *n_refused)
{
    int fd = accept4(a->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (a->take(a->ctx, fd, is_probe(fd))) return true;
        refuse(a, fd);
        ++*n_refused;
        return true;
    }
    if (errno == EINTR || errno == ECONNABORTED) return true;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_event(LOG_WARN, "cannot accept a connection", "reason", "%s", strerror(errno), NULL);
        pause_ms(NO_FILES_PAUSE_MS);
    }
    return false;
}

static void accept_some(struct acceptor *a)
{
    unsigned n_refused = 0;
    for (int i = 0; i < ACCEPTED_AT_ONCE && n_refused < REFUSED_AT_ONCE; i++)
        if (!accept_one(a, &n_refused)) return;
    if (n_refused == REFUSED_AT_ONCE) pause_ms(REFUSED_PAUSE_MS);
}

static void *acceptor_main(void *arg)
{
    struct acceptor *a = arg;
    struct pollfd fds[] = { { .fd = a->stop_fd, .events = POLLIN },
                            { .fd = a->listen_fd, .events = POLLIN } };
    for (;;) {
        int wait_ms = lingering_tend(&a->refused, monotonic_ns());
        if (poll(fds, 2, wait_ms) < 0 && errno != EINTR) break;
        if (fds[0].revents != 0) break;
        if (fds[1].revents != 0) accept_some(a);
    }
    lingering_end(&a->refused);
    return NULL;
}

struct acceptor *acceptor_start(int listen_fd, accept_fn take, refusal_fn refusal,
                                size_t n_lingering_max, void *ctx)
{
    struct acceptor *a = seg_calloc(1, sizeof(*a));
    if (a == NULL) return NULL;
    a->listen_fd = listen_fd;
    a->take = take;
    a->refusal = refusal;
    a->refused.n_max = n_lingering_max;
    a->ctx = ctx;
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
