/* The sums are relaxed atomics: a head that is let in a moment too late or too early does no harm.
 * Only the queue has a lock, which is never held across `decided`. */
#include "http/backlog.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include "base/alloc.h"
#include "http/exchange.h"

#define HELD_BYTES_MAX ((uint64_t)64 << 20)
/* Workers have so small a part of the longest wait to do behind the heads: enough to keep them
 * busy, and so few bodies in memory that they are warm when their turn comes. */
#define AHEAD    32
#define LEARNING 8 /* a batch moves the cost by an eighth of the difference */

struct backlog {
    int64_t wait_ns_max; /* constants */
    unsigned n_workers;
    void (*decided)(struct backlog_ticket *t);
    atomic_uint_least64_t held;      /* bytes of bodies in memory */
    atomic_uint_least64_t work;      /* bytes of those let in and not done */
    atomic_uint_least64_t cost_x256; /* nanoseconds a byte of work took lately, times 256 */
    atomic_uint n_queued;            /* changed under the lock, read without */
    pthread_mutex_t lock;            /* guards the queue and stopping */
    pthread_cond_t wake;             /* something was queued or done, or stopping */
    struct backlog_ticket *head, **tail;
    bool stopping, is_joined;
    pthread_t doorman;
};

static uint64_t load(const atomic_uint_least64_t *sum)
{
    return atomic_load_explicit(sum, memory_order_relaxed);
}

static void change(atomic_uint_least64_t *sum, uint64_t *share, uint64_t to)
{
    atomic_fetch_add_explicit(sum, to - *share, memory_order_relaxed);
    *share = to;
}

/* Whether workers will soon want one more. */
static bool has_room(const struct backlog *b)
{
    double wait_ns = (double)load(&b->work) * (double)load(&b->cost_x256) / 256 / b->n_workers;
    return load(&b->held) < HELD_BYTES_MAX && wait_ns <= (double)b->wait_ns_max / AHEAD;
}

/* Under the lock, with somebody in the queue. */
static struct backlog_ticket *take_first(struct backlog *b)
{
    struct backlog_ticket *t = b->head;
    b->head = t->next;
    if (b->head == NULL) b->tail = &b->head;
    atomic_fetch_sub(&b->n_queued, 1);
    return t;
}

/* Under the lock: the next whose fate is decided, or NULL after a wait. */
static struct backlog_ticket *decide(struct backlog *b)
{
    struct backlog_ticket *t = b->head;
    if (t == NULL) {
        if (!b->stopping) pthread_cond_wait(&b->wake, &b->lock);
        return NULL;
    }
    int64_t now = monotonic_ns(), due = t->since_ns + b->wait_ns_max;
    t->is_let_in = !b->stopping && now < due && has_room(b);
    if (!t->is_let_in && !b->stopping && now < due) {
        struct timespec until = { .tv_sec = due / 1000000000, .tv_nsec = due % 1000000000 };
        pthread_cond_timedwait(&b->wake, &b->lock, &until);
        return NULL;
    }
    t->waited_ns = now - t->since_ns;
    if (t->is_let_in) change(&b->work, &t->work, t->announced);
    return take_first(b);
}

static void *doorman_main(void *arg)
{
    struct backlog *b = arg;
    pthread_mutex_lock(&b->lock);
    while (!b->stopping || b->head != NULL) {
        struct backlog_ticket *t = decide(b);
        if (t == NULL) continue;
        pthread_mutex_unlock(&b->lock);
        b->decided(t);
        pthread_mutex_lock(&b->lock);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

struct backlog *backlog_new(unsigned n_workers, unsigned wait_ms_max,
                            void (*decided)(struct backlog_ticket *t))
{
    struct backlog *b = seg_calloc(1, sizeof(*b));
    pthread_condattr_t monotonic;
    if (b == NULL) return NULL;
    b->wait_ns_max = (int64_t)wait_ms_max * 1000000;
    b->n_workers = n_workers;
    b->decided = decided;
    b->tail = &b->head;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&b->doorman, NULL, doorman_main, b) == 0) return b;
    b->is_joined = true;
    backlog_free(b);
    return NULL;
}

void backlog_stop(struct backlog *b)
{
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
    if (!b->is_joined) pthread_join(b->doorman, NULL);
    b->is_joined = true;
}

void backlog_free(struct backlog *b)
{
    if (b == NULL) return;
    backlog_stop(b);
    pthread_cond_destroy(&b->wake);
    pthread_mutex_destroy(&b->lock);
    seg_free(b);
}

/* Somebody has become less: the first in the queue may come in. */
static void wake_doorman(struct backlog *b)
{
    if (atomic_load(&b->n_queued) == 0) return;
    pthread_mutex_lock(&b->lock);
    pthread_cond_signal(&b->wake);
    pthread_mutex_unlock(&b->lock);
}

bool backlog_come(struct backlog *b, struct backlog_ticket *t, uint64_t announced, int64_t now_ns)
{
    t->announced = announced == 0 || announced > BODY_MEMORY_MAX ? BODY_MEMORY_MAX : announced;
    t->since_ns = now_ns;
    if (atomic_load(&b->n_queued) > 0 || !has_room(b)) return false;
    change(&b->work, &t->work, t->announced);
    return true;
}

void backlog_queue(struct backlog *b, struct backlog_ticket *t)
{
    pthread_mutex_lock(&b->lock);
    bool is_open = !b->stopping;
    if (is_open) {
        t->next = NULL;
        *b->tail = t;
        b->tail = &t->next;
        atomic_fetch_add(&b->n_queued, 1);
        pthread_cond_signal(&b->wake);
    }
    pthread_mutex_unlock(&b->lock);
    if (!is_open) b->decided(t);
}

void backlog_hold(struct backlog *b, struct backlog_ticket *t, uint64_t bytes)
{
    change(&b->held, &t->held, bytes);
}

void backlog_wait(struct backlog *b, struct backlog_ticket *t, uint64_t work, int64_t now_ns)
{
    change(&b->work, &t->work, work);
    t->since_ns = now_ns;
}

bool backlog_begin(const struct backlog *b, struct backlog_ticket *t, int64_t now_ns)
{
    int64_t waited_ns = t->waited_ns + now_ns - t->since_ns;
    t->since_ns = now_ns;
    return waited_ns <= b->wait_ns_max;
}

void backlog_done(struct backlog *b, struct backlog_ticket *t, int64_t now_ns)
{
    double took = (double)(now_ns - t->since_ns) * 256 / (double)(t->work > 0 ? t->work : 1);
    double cost = (double)load(&b->cost_x256);
    cost += (took - cost) / (cost > 0 ? LEARNING : 1);
    atomic_store_explicit(&b->cost_x256, (uint64_t)cost + 1, memory_order_relaxed);
    change(&b->work, &t->work, 0);
    wake_doorman(b);
}

void backlog_leave(struct backlog *b, struct backlog_ticket *t)
{
    change(&b->held, &t->held, 0);
    change(&b->work, &t->work, 0);
    wake_doorman(b);
}
