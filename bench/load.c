/* A load generator for resilience.py that does not wait for answers: requests are due at random
 * moments of a fixed mean rate, whatever became of those before, each on a connection that has none
 * on its way. A moment for which no connection is free is counted and let go. With rate 0 every
 * connection asks again as soon as it was answered, which finds the most that can be served.
 * Usage: bench_load PORT PATH BODY_FILE CONTENT_TYPE CONNECTIONS RATE SECONDS; prints one line of
 * JSON. One thread; what it costs is part of the line. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX    4096
#define BUCKETS     400 /* of latency, each 1.05 of the one before, from a microsecond on */
#define BUCKET_STEP 1.05
#define EVENTS      256
#define WARM_UP_NS  1000000000 /* queues fill: not counted */

struct client {
    int fd;
    bool on_its_way; /* a request was sent, or is being sent */
    size_t sent;     /* bytes of the request */
    int64_t started_ns;
    char head[HEAD_MAX + 1]; /* of the answer */
    size_t head_len;
    size_t body_left;
    bool in_body;
};

static struct {
    uint64_t sent, ok, refused, untimed, failed, broken, unsent; /* untimed: no Retry-After */
    uint64_t latency[BUCKETS];                                   /* of ok */
} seen;

static struct sockaddr_in address;
static char *request;
static size_t request_len;
static int epoll_fd;
static struct client *clients;
static uint32_t *idle; /* a ring of clients without a request */
static size_t n_clients, idle_first, n_idle;
static bool closed_loop;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void make_request(const char *path, const char *file, const char *type)
{
    FILE *f = fopen(file, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) die(file);
    size_t body_len = (size_t)ftell(f);
    rewind(f);
    request = malloc(body_len + 1024);
    if (request == NULL) die("malloc");
    int n = snprintf(request, 1024,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     path, type, body_len);
    if (n >= 1024 || fread(request + n, 1, body_len, f) != body_len) die(file);
    request_len = (size_t)n + body_len;
    fclose(f);
}

static void watch(struct client *c, int how, uint32_t events)
{
    struct epoll_event e = { .events = events, .data.ptr = c };
    if (epoll_ctl(epoll_fd, how, c->fd, &e) != 0) die("epoll_ctl");
}

static void open_client(struct client *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void rest(struct client *c)
{
    c->on_its_way = false;
    c->head_len = 0;
    c->in_body = false;
    idle[(idle_first + n_idle++) % n_clients] = (uint32_t)(c - clients);
}

static void open_again(struct client *c)
{
    close(c->fd);
    open_client(c);
    if (c->on_its_way) rest(c);
}

/* The answer is whole; a request that was answered early is sent to its end first. */
static bool is_over(const struct client *c)
{
    return c->in_body && c->body_left == 0 && c->sent == request_len;
}

static void send_more(struct client *c)
{
    while (c->sent < request_len) {
        ssize_t n = send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL);
        if (n > 0) {
            c->sent += (size_t)n;
            continue;
        }
        if (n < 0 && errno == EAGAIN) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
        return; /* what else went wrong shows when the answer is read */
    }
}

static void ask(struct client *c)
{
    c->on_its_way = true;
    c->sent = 0;
    c->started_ns = now_ns();
    seen.sent++;
    send_more(c);
}

static void ask_next(void)
{
    if (n_idle == 0) {
        seen.unsent++;
        return;
    }
    struct client *c = &clients[idle[idle_first]];
    idle_first = (idle_first + 1) % n_clients;
    n_idle--;
    ask(c);
}

/* Counts the answer whose head is in. Returns whether the connection ends with it. */
static bool take_head(struct client *c)
{
    const char *length = strcasestr(c->head, "\r\nContent-Length:");
    int status = atoi(c->head + 9);
    if (status == 200) {
        double us = (double)(now_ns() - c->started_ns) / 1e3;
        int bucket = us < 1 ? 0 : (int)(log(us) / log(BUCKET_STEP));
        seen.latency[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
        seen.ok++;
    } else if (status == 503 || status == 429) {
        seen.refused++;
        seen.untimed += strcasestr(c->head, "\r\nRetry-After:") == NULL;
    } else {
        seen.failed++;
    }
    c->body_left = length != NULL ? strtoul(length + 17, NULL, 10) : 0;
    return strcasestr(c->head, "\r\nConnection: close") != NULL;
}

static void receive(struct client *c)
{
    static char buf[1 << 18];
    for (;;) {
        ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            seen.broken += c->on_its_way;
            open_again(c);
            return;
        }
        size_t len = (size_t)n, used = 0;
        if (!c->in_body) {
            size_t room = HEAD_MAX - c->head_len, part = len < room ? len : room;
            memcpy(c->head + c->head_len, buf, part);
            size_t before = c->head_len;
            c->head_len += part;
            c->head[c->head_len] = '\0';
            char *end = strstr(c->head, "\r\n\r\n");
            if (end == NULL && part < room) continue;
            if (end == NULL) die("a head that is too long");
            end[2] = '\0';
            used = (size_t)(end + 4 - c->head) - before;
            c->in_body = true;
            if (take_head(c)) {
                open_again(c);
                return;
            }
        }
        c->body_left -= len - used;
        if (is_over(c)) {
            rest(c);
            if (closed_loop) ask_next();
            return;
        }
    }
}

static double percentile(double q)
{
    uint64_t n = 0;
    for (int b = 0; b < BUCKETS; b++)
        if ((double)(n += seen.latency[b]) >= q * (double)seen.ok)
            return pow(BUCKET_STEP, b + 1) / 1e3;
    return 0;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Sends what has come due by now, the next moment in *due. */
static void ask_due(double *due, double rate, int64_t now)
{
    while (*due <= (double)now) {
        ask_next();
        *due += -log(1 - drand48()) * 1e9 / rate;
    }
}

static void handle(struct client *c, uint32_t events)
{
    if ((events & EPOLLOUT) != 0) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        send_more(c);
        if (is_over(c)) rest(c);
    }
    if ((events & ~EPOLLOUT) != 0) receive(c);
}

/* While no connection is free, nobody is woken to find that out: moments that pass meanwhile are
 * counted before the next answer is taken. */
static void run(double rate, int64_t end)
{
    struct epoll_event events[EVENTS];
    double due = (double)now_ns();
    for (int64_t now = now_ns(); now < end; now = now_ns()) {
        if (!closed_loop) ask_due(&due, rate, now);
        int64_t until = closed_loop || n_idle == 0 ? end : (int64_t)due;
        int64_t wait = until - now_ns();
        if (wait < 0) wait = 0;
        struct timespec t = { .tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000 };
        int n = epoll_pwait2(epoll_fd, events, EVENTS, &t, NULL);
        if (!closed_loop && n_idle == 0) ask_due(&due, rate, now_ns());
        for (int i = 0; i < n; i++)
            handle(events[i].data.ptr, events[i].events);
    }
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: %s PORT PATH BODY_FILE CONTENT_TYPE CONNECTIONS RATE SECONDS\n",
                argv[0]);
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    address = (struct sockaddr_in){ .sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)atoi(argv[1])),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    make_request(argv[2], argv[3], argv[4]);
    n_clients = strtoul(argv[5], NULL, 10);
    double rate = atof(argv[6]), seconds = atof(argv[7]);
    closed_loop = rate == 0;
    clients = calloc(n_clients, sizeof(*clients));
    idle = calloc(n_clients, sizeof(*idle));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (clients == NULL || idle == NULL || epoll_fd < 0) die("start");
    for (size_t i = 0; i < n_clients; i++) {
        open_client(&clients[i]);
        rest(&clients[i]);
    }
    for (size_t i = n_clients; closed_loop && i > 0; i--)
        ask_next();
    run(rate, now_ns() + WARM_UP_NS);
    memset(&seen, 0, sizeof(seen));
    double cpu = cpu_seconds();
    int64_t start = now_ns();
    run(rate, start + (int64_t)(seconds * 1e9));
    cpu = cpu_seconds() - cpu;
    printf("{\"seconds\": %.3f, \"sent\": %llu, \"ok\": %llu, \"refused\": %llu, "
           "\"untimed\": %llu, \"failed\": %llu, \"broken\": %llu, \"unsent\": %llu, "
           "\"p50_ms\": %.2f, \"p99_ms\": %.2f, \"cpu_s\": %.3f}\n",
           (double)(now_ns() - start) / 1e9, (unsigned long long)seen.sent,
           (unsigned long long)seen.ok, (unsigned long long)seen.refused,
           (unsigned long long)seen.untimed, (unsigned long long)seen.failed,
           (unsigned long long)seen.broken, (unsigned long long)seen.unsent, percentile(0.5),
           percentile(0.99), cpu);
    return 0;
}
