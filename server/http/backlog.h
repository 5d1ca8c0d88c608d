/* backlog.h - the batches that are too large for an I/O thread, from their head to their answer:
 * when one more may send its body, and whether one that waited is still worth the work.
 *
 * Properties: a batch waits at its head, where it costs neither memory nor reading, until those
 * before it are so far that a worker will soon have time for it; first come, first let in. One that
 * waits too long is refused there, before its body was read, and one that waited too long behind
 * its head is not scored late either. The wait is what makes a refusal cheap: a client that is
 * refused at once comes back at once. Bodies in memory are bounded too (64 MiB). Small batches need
 * no such book: an I/O thread scores them as they come, one a connection.
 * Operation: come at the head; hold as the body comes, wait when it is whole, begin and done around
 * the work; leave at the end of the request, whatever became of it. A doorman's thread calls
 * `decided` for those that did not come in at once. Safety: any thread; a ticket belongs to the
 * thread that has its exchange, and to the doorman while it waits at its head. */
#ifndef SERVER_HTTP_BACKLOG_H
#define SERVER_HTTP_BACKLOG_H

#include <stdbool.h>
#include <stdint.h>

struct backlog;

/* A batch's share of the backlog; all zero: none. */
struct backlog_ticket {
    uint64_t announced;  /* bytes of work that its head announces, 1 MiB at most */
    uint64_t held, work; /* bytes in memory; bytes of work let in */
    int64_t since_ns;    /* when the wait or the work at hand began */
    int64_t waited_ns;   /* at the head */
    bool is_let_in;      /* the decision, when it was not made at once */
    struct backlog_ticket *next;
    void *owner; /* the caller's */
};

/* decided: t->is_let_in says how; t is the callee's. NULL: no memory, no thread. */
struct backlog *backlog_new(unsigned n_workers, unsigned wait_ms_max,
                            void (*decided)(struct backlog_ticket *t));
/* Refuses those who wait; from now on nobody waits. */
void backlog_stop(struct backlog *b);
/* Stops, unless that was done, and frees. NULL is fine. */
void backlog_free(struct backlog *b);

/* A head is in that announces so many bytes of body (0: unknown). True: let in at once. */
bool backlog_come(struct backlog *b, struct backlog_ticket *t, uint64_t announced, int64_t now_ns);
/* After backlog_come said false: the decision comes by `decided`, maybe before this returns. */
void backlog_queue(struct backlog *b, struct backlog_ticket *t);
/* The batch's body has so many bytes in memory now. */
void backlog_hold(struct backlog *b, struct backlog_ticket *t, uint64_t bytes);
/* It is whole and waits for a worker, whom it will cost as much as so many bytes do. */
void backlog_wait(struct backlog *b, struct backlog_ticket *t, uint64_t work, int64_t now_ns);
/* A worker takes it. False when it waited too long, here and at its head. */
bool backlog_begin(const struct backlog *b, struct backlog_ticket *t, int64_t now_ns);
/* The worker is done with it. */
void backlog_done(struct backlog *b, struct backlog_ticket *t, int64_t now_ns);
/* The request is over. */
void backlog_leave(struct backlog *b, struct backlog_ticket *t);

#endif
