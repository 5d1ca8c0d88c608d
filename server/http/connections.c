/* One lock around the list, held for a walk of at most a few thousand entries four times a second
 * and for a few instructions when a connection opens or closes. Deadlines are atomics outside it.
 */
#include "http/connections.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include "base/alloc.h"
#include "http/exchange.h"

#define REAP_EVERY_MS 250
#define POLL_AT_ONCE  64

struct connection {
    struct connection *prev, *next; /* under connections.lock */
    int fd;
    bool is_cut, is_half_closed; /* under connections.lock */
    int64_t seen_due_ns;         /* under connections.lock: due_ns at the last walk */
    atomic_int_least64_t due_ns; /* monotonic; 0: none */
};

struct connections {
    struct metrics *metrics;
    pthread_t reaper;
    pthread_mutex_t lock; /* guards the list and stopping */
    pthread_cond_t wake;  /* stopping was set */
    struct connection *head;
    bool stopping;
};

/* The I/O thread reads an end of file and closes; the number is not reused before that. */
static void cut(struct connections *c, struct connection *k)
{
    shutdown(k->fd, SHUT_RDWR);
    k->is_cut = true;
    metrics_add(c->metrics, METRIC_CONNECTIONS_CUT, 1);
}

/* libmicrohttpd takes a read shorter than its buffer for the last of an edge, so an end of file
 * that came with the bytes before it is never read. A second edge makes it look again. */
static void wake_half_closed(struct connection *const waiting[], struct pollfd fds[], nfds_t n)
{
    if (poll(fds, n, 0) <= 0) return;
    for (nfds_t i = 0; i < n; i++) {
        if ((fds[i].revents & POLLRDHUP) == 0) continue;
        shutdown(fds[i].fd, SHUT_RD);
        waiting[i]->is_half_closed = true;
    }
}

static void reap(struct connections *c)
{
    struct connection *waiting[POLL_AT_ONCE];
    struct pollfd fds[POLL_AT_ONCE];
    nfds_t n = 0;
    int64_t now = monotonic_ns();
    for (struct connection *k = c->head; k != NULL; k = k->next) {
        int64_t due = atomic_load_explicit(&k->due_ns, memory_order_relaxed);
        bool rests = due == k->seen_due_ns; /* nothing happened since the last walk */
        k->seen_due_ns = due;
        if (due == 0 || k->is_cut) continue;
        if (due <= now) {
            cut(c, k);
        } else if (rests && !k->is_half_closed) {
            waiting[n] = k;
            fds[n++] = (struct pollfd){ .fd = k->fd, .events = POLLRDHUP };
        }
        if (n == POLL_AT_ONCE) {
            wake_half_closed(waiting, fds, n);
            n = 0;
        }
    }
    wake_half_closed(waiting, fds, n);
}

static void *reaper_main(void *arg)
{
    struct connections *c = arg;
    pthread_mutex_lock(&c->lock);
    while (!c->stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += REAP_EVERY_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&c->wake, &c->lock, &until);
        reap(c);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

struct connections *connections_new(struct metrics *m)
{
    struct connections *c = seg_calloc(1, sizeof(*c));
    if (c == NULL) return NULL;
    c->metrics = m;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&c->reaper, NULL, reaper_main, c) == 0) return c;
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    seg_free(c);
    return NULL;
}

void connections_free(struct connections *c)
{
    if (c == NULL) return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->reaper, NULL);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    seg_free(c);
}

struct connection *connections_add(struct connections *c, int fd, unsigned timeout_s)
{
    struct connection *k = seg_calloc(1, sizeof(*k));
    if (k == NULL) return NULL;
    k->fd = fd;
    connection_deadline(k, timeout_s);
    pthread_mutex_lock(&c->lock);
    k->next = c->head;
    if (c->head != NULL) c->head->prev = k;
    c->head = k;
    pthread_mutex_unlock(&c->lock);
    metrics_gauge_add(c->metrics, METRIC_CONNECTIONS, 1);
    return k;
}

void connections_remove(struct connections *c, struct connection *k)
{
    pthread_mutex_lock(&c->lock);
    if (k->prev != NULL)
        k->prev->next = k->next;
    else
        c->head = k->next;
    if (k->next != NULL) k->next->prev = k->prev;
    pthread_mutex_unlock(&c->lock);
    metrics_gauge_add(c->metrics, METRIC_CONNECTIONS, -1);
    seg_free(k);
}

/* Cheaper than monotonic_ns, of which a request would take four; behind it by a tick of the timer
 * at most, so that a deadline comes that much early. */
static int64_t coarse_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void connection_deadline(struct connection *k, unsigned timeout_s)
{
    int64_t due = timeout_s == 0 ? 0 : coarse_ns() + (int64_t)timeout_s * 1000000000;
    atomic_store_explicit(&k->due_ns, due, memory_order_relaxed);
}
