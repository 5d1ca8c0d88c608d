/* daemon_private.h - what the four parts of the seam to libmicrohttpd share: daemon.c starts and
 * stops, daemon_threads.c runs the I/O threads and hands them connections, daemon_requests.c takes
 * requests through their life, daemon_replies.c sends what they were replied. The only file that
 * includes libmicrohttpd. */
#ifndef SERVER_HTTP_DAEMON_PRIVATE_H
#define SERVER_HTTP_DAEMON_PRIVATE_H

#include <microhttpd.h>
#include <pthread.h>
#include "base/alloc.h"
#include "http/backlog.h"
#include "http/daemon.h"
#include "http/exchange.h"

#define PROBE_THREAD 0 /* of the I/O threads: has the connections that ask how the process does */

/* An I/O thread: a libmicrohttpd of its own. In cache lines of its own, since requests write it. */
struct io_thread {
    _Alignas(SEG_ALIGN) struct http_daemon *daemon;
    struct MHD_Daemon *mhd;
    pthread_t thread;
    bool is_running;
    /* The thread's own: a request moved on, a connection came to be, since they were set false. */
    bool has_worked, was_started;
    int post[2]; /* a pipe that hands it connections and wakes it; its end is the thread's */
    atomic_uint n_posted; /* not taken yet, the end among them */
    /* Handed to it and not closed yet. */
    atomic_uint n_connections;
};

struct http_daemon {
    struct app *app;
    struct io_thread *io_threads; /* (n_io_threads), the first is PROBE_THREAD */
    unsigned n_io_threads;
    unsigned n_connections_max; /* beside the probes' */
    unsigned n_probes_max, n_lingering_max;
    unsigned n_refused; /* the acceptor's, as the next three: not told in the log yet */
    int64_t refusals_told_ns;
    unsigned n_dealt, turn; /* connections dealt out, and to whose turn it is */
    struct acceptor *acceptor;
    struct connections *connections;
    struct db_threads *db_threads;
    struct backlog *backlog;
    int listen_fd;
    unsigned port;
    atomic_uint n_open;   /* requests from their first byte to their last */
    atomic_uint n_away;   /* connections suspended, or about to be */
    atomic_bool stopping; /* nothing may be suspended any more */
    uint64_t id_seed;
    atomic_uint_least64_t id_next;
};

static inline struct http_daemon *daemon_of(const struct exchange *x)
{
    const struct io_thread *t = x->io_thread;
    return t->daemon;
}

/* All of the I/O threads, or false. */
bool daemon_start_threads(struct http_daemon *d);
/* Those that run; nothing may be suspended, nothing is handed over any more. */
void daemon_stop_threads(struct http_daemon *d);
/* Has the thread look at connections that were resumed, which libmicrohttpd does not tell a loop
 * that is not its own. Any thread. */
void daemon_wake(struct io_thread *t);
/* accept_fn of the acceptor. */
bool daemon_take_connection(void *daemon, int fd, bool is_probe);
/* Callbacks of an I/O thread, in the order of a request's life. cls is the thread, of the last one
 * the daemon; con_cls is the request's struct exchange. */
void *daemon_on_uri(void *cls, const char *uri, struct MHD_Connection *con);
enum MHD_Result daemon_on_access(void *cls, struct MHD_Connection *con, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *size, void **con_cls);
void daemon_on_completed(void *cls, struct MHD_Connection *con, void **con_cls,
                         enum MHD_RequestTerminationCode how);
/* Callbacks of the database threads and of the doorman, who have done their part. */
void daemon_db_done(struct exchange *x);
void daemon_head_decided(struct backlog_ticket *t);

/* Time that the connection has from now on; 0: as long as it takes. */
void daemon_deadline(struct MHD_Connection *con, unsigned timeout_s);
/* True when the connection may be suspended now; then exactly one daemon_return follows. */
bool daemon_leave(struct http_daemon *d);
/* Resumes the connection, from any thread; x may be gone after this. */
void daemon_return(struct exchange *x);
/* Hands x->reply over; only where libmicrohttpd takes one. MHD_NO, which cuts the connection: no
 * memory. */
enum MHD_Result daemon_queue_reply(struct exchange *x, struct MHD_Connection *con);
/* x->reply as the last of its connection, where libmicrohttpd does not take one. The bytes written
 * to text (size), 0: it has no room for them. */
size_t daemon_write_reply(const struct exchange *x, char *text, size_t size);
/* What a connection is told that is one too many; as above. */
size_t daemon_write_refusal(void *daemon, char *text, size_t size);
void daemon_make_request_id(struct http_daemon *d, char ret_id[static 17]);

#endif
