/* worker_pool.c - two crews of threads, one a priority, that share nothing but the caller's data:
 * a training worker that the system has set aside can hold no lock that scoring waits for.
 * A crew has one lock, a queue of tasks and a list of computations cut in chunks. A computation
 * (struct job) lives on the stack of its caller. A worker enters it under the lock, claims chunks
 * by one atomic add each, and leaves it under the lock: the caller returns when no chunk is
 * unclaimed and nobody is inside. The lock is never held while a chunk or task runs. */
#include "compute/worker_pool.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include "base/alloc.h"
#include "compute/gemm.h"

#define N_PRIORITIES       2
#define WORKER_STACK_BYTES ((size_t)2 << 20)
/* Sleeping and being woken costs some microseconds, so whoever waits looks for that long first, but
 * no longer: on a full machine a spin takes the core from the thread it waits for. */
#define SPINS_MAX 100
/* The idle priority alone does not let everybody in at once. A thread that wakes and has had more
 * than its share lately waits, under Linux 6.6 and later, until the account is even, which is
 * looked at each timer tick: 4 ms. Who yields forfeits its claim. Some 50 microseconds. */
#if defined(__x86_64__)
#define OFFER_TICKS 150000u /* at 2 to 4 GHz */
#else
#define OFFER_TICKS 50000u /* nanoseconds */
#endif
/* A training worker looks for a millisecond: it takes from nobody, and waking it goes wrong. Linux
 * counts a processor with nothing but idle threads on it as free and wakes the second worker where
 * the first one is; they share it until the next timer tick looks for balance. */
#define LOOK_TICKS (20 * OFFER_TICKS)

/* One seg_pool_for. */
struct job {
    struct job *prev, *next; /* in the crew's list while chunks may be unclaimed */
    seg_chunk_fn fn;
    void *ctx;
    size_t n_chunks;
    atomic_size_t next_chunk; /* n_chunks or more: all are claimed */
    bool is_listed;
    unsigned n_inside;   /* workers that entered and have not left, the caller if it is one */
    atomic_bool is_done; /* all claimed and nobody inside; set under the lock */
    pthread_cond_t done;
};

struct task {
    struct task *next;
    seg_task_fn fn;
    void *ctx;
};

struct crew {
    pthread_mutex_t lock; /* guards what follows, down to the constants */
    pthread_cond_t work;  /* something can be taken, or is_open or is_stopping became true */
    pthread_cond_t idle;  /* nothing waits or runs, or the last worker is ready */
    struct {
        struct job *first, *last;
    } jobs;
    struct {
        struct task *first, *last;
    } queue;
    struct task *free_tasks;
    size_t n_queued;
    unsigned n_ready, n_asleep;
    unsigned n_running; /* tasks, and workers inside jobs */
    bool is_open;       /* every thread exists */
    bool is_draining, is_stopping;
    atomic_size_t n_waiting; /* listed jobs and queued tasks; read without the lock */

    struct seg_pool *pool; /* constants from here */
    enum seg_priority priority;
    unsigned n_workers;
    pthread_t threads[SEG_WORKERS_MAX];
};

struct seg_pool {
    struct crew crews[N_PRIORITIES];
    struct task tasks[]; /* queue_max of each crew, each in a queue or in free_tasks */
};

/* The pool this thread works for. */
static _Thread_local const struct seg_pool *own_pool;
/* When this thread last offered its processor, in ticks of the clock below; 0: it never does. */
static _Thread_local uint64_t offered_at;

/* A clock that costs a few nanoseconds: what matters is that offers are not much rarer than
 * OFFER_TICKS apart, not how long a tick is. */
static uint64_t ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
#endif
}

void seg_pool_thread_gives_way(void)
{
    offered_at = ticks();
}

void seg_pool_give_way(void)
{
    if (offered_at == 0) return;
    uint64_t now = ticks();
    if (now - offered_at < OFFER_TICKS) return;
    sched_yield();
    offered_at = ticks();
}

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static bool is_waiting(struct crew *crew)
{
    return atomic_load_explicit(&crew->n_waiting, memory_order_relaxed) != 0;
}

static bool is_idle(struct crew *crew)
{
    return crew->n_running == 0 && !is_waiting(crew);
}

static bool all_claimed(struct job *job)
{
    return atomic_load_explicit(&job->next_chunk, memory_order_relaxed) >= job->n_chunks;
}

static void job_list(struct crew *crew, struct job *job)
{
    job->prev = crew->jobs.last;
    *(job->prev != NULL ? &job->prev->next : &crew->jobs.first) = job;
    crew->jobs.last = job;
    job->is_listed = true;
    atomic_fetch_add_explicit(&crew->n_waiting, 1, memory_order_relaxed);
}

static void job_unlist(struct crew *crew, struct job *job)
{
    if (!job->is_listed) return;
    *(job->prev != NULL ? &job->prev->next : &crew->jobs.first) = job->next;
    *(job->next != NULL ? &job->next->prev : &crew->jobs.last) = job->prev;
    job->is_listed = false;
    atomic_fetch_sub_explicit(&crew->n_waiting, 1, memory_order_relaxed);
}

/* The listed job with the fewest workers inside, the oldest of those: two trainings share. */
static struct job *job_neediest(struct crew *crew)
{
    struct job *best = crew->jobs.first;
    for (struct job *job = best; job != NULL; job = job->next)
        if (job->n_inside < best->n_inside) best = job;
    return best;
}

static void job_leave(struct crew *crew, struct job *job)
{
    job->n_inside--;
    if (!all_claimed(job)) return;
    job_unlist(crew, job);
    if (job->n_inside > 0) return;
    atomic_store_explicit(&job->is_done, true, memory_order_relaxed);
    pthread_cond_signal(&job->done);
}

/* Runs chunks until all are claimed. */
static void job_run_chunks(struct job *job)
{
    while (!all_claimed(job)) {
        size_t i = atomic_fetch_add_explicit(&job->next_chunk, 1, memory_order_relaxed);
        if (i < job->n_chunks) job->fn(job->ctx, i);
        seg_pool_give_way();
    }
}

/* Under the lock: takes a computation or else a task and runs it, unlocked. False if there is
 * nothing. */
static bool run_next(struct crew *crew)
{
    struct job *job = job_neediest(crew);
    struct task *task = crew->queue.first;
    if (job == NULL && task == NULL) return false;

    crew->n_running++;
    if (job != NULL) {
        job->n_inside++;
        pthread_mutex_unlock(&crew->lock);
        job_run_chunks(job);
        pthread_mutex_lock(&crew->lock);
        job_leave(crew, job);
    } else {
        const struct task taken = *task;
        crew->queue.first = task->next;
        atomic_fetch_sub_explicit(&crew->n_waiting, 1, memory_order_relaxed);
        crew->n_queued--;
        task->next = crew->free_tasks;
        crew->free_tasks = task;
        pthread_mutex_unlock(&crew->lock);
        taken.fn(taken.ctx);
        pthread_mutex_lock(&crew->lock);
    }
    crew->n_running--;
    if (is_idle(crew)) pthread_cond_broadcast(&crew->idle);
    return true;
}

/* Under the lock: returns when the job is done. Whoever sets is_done holds the lock to its last
 * touch of the job, so that the job is the caller's alone once it has the lock again. */
static void job_wait(struct crew *crew, struct job *job)
{
    if (!atomic_load_explicit(&job->is_done, memory_order_relaxed)) {
        pthread_mutex_unlock(&crew->lock);
        for (int i = 0; i < SPINS_MAX; i++) {
            if (atomic_load_explicit(&job->is_done, memory_order_relaxed)) break;
            cpu_relax();
        }
        pthread_mutex_lock(&crew->lock);
    }
    while (!atomic_load_explicit(&job->is_done, memory_order_relaxed))
        pthread_cond_wait(&job->done, &crew->lock);
}

/* Under the lock: wakes up to n workers that sleep. */
static void wake(struct crew *crew, size_t n)
{
    if (n >= crew->n_asleep) {
        pthread_cond_broadcast(&crew->work);
        return;
    }
    while (n-- > 0)
        pthread_cond_signal(&crew->work);
}

static void sleep_until_woken(struct crew *crew)
{
    crew->n_asleep++;
    pthread_cond_wait(&crew->work, &crew->lock);
    crew->n_asleep--;
}

static void look_for_work(struct crew *crew)
{
    if (crew->priority == SEG_PRIORITY_SCORING) {
        for (int i = 0; i < SPINS_MAX && !is_waiting(crew); i++)
            cpu_relax();
        return;
    }
    for (uint64_t begin = ticks(); ticks() - begin < LOOK_TICKS && !is_waiting(crew);) {
        cpu_relax();
        seg_pool_give_way();
    }
}

/* Under the lock: returns when something may be there to take. */
static void wait_for_work(struct crew *crew)
{
    pthread_mutex_unlock(&crew->lock);
    look_for_work(crew);
    pthread_mutex_lock(&crew->lock);
    if (!is_waiting(crew) && !crew->is_stopping) sleep_until_woken(crew);
}

/* Training runs when nobody else wants the processor. Where the system does not allow it, it runs
 * as everything does. */
static void go_last(void)
{
    const struct sched_param none = { 0 };
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    seg_pool_thread_gives_way();
}

static void *worker_main(void *arg)
{
    struct crew *crew = arg;
    bool is_training = crew->priority == SEG_PRIORITY_TRAINING;
    own_pool = crew->pool;
    pthread_setname_np(pthread_self(), is_training ? "seg-training" : "seg-scoring");

    pthread_mutex_lock(&crew->lock);
    while (!crew->is_open && !crew->is_stopping)
        sleep_until_woken(crew);
    pthread_mutex_unlock(&crew->lock);
    seg_gemm_warm_up(); /* all of a crew at once: see there */
    pthread_mutex_lock(&crew->lock);
    if (++crew->n_ready == crew->n_workers) pthread_cond_broadcast(&crew->idle);
    if (is_training) go_last(); /* behind the start, which somebody waits for */

    for (;;) {
        if (run_next(crew)) continue;
        if (crew->is_stopping) break;
        wait_for_work(crew);
    }
    pthread_mutex_unlock(&crew->lock);
    return NULL;
}

/* Joins the first n threads. */
static void crew_stop(struct crew *crew, unsigned n)
{
    pthread_mutex_lock(&crew->lock);
    crew->is_stopping = true;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < n; i++)
        pthread_join(crew->threads[i], NULL);
}

/* Returns how many threads could be made. Workers get no signals: those are for the program's own
 * threads to handle. */
static unsigned crew_start(struct crew *crew)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
    unsigned n = 0;
    while (n < crew->n_workers && pthread_create(&crew->threads[n], &attr, worker_main, crew) == 0)
        n++;
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n;
}

static void crew_init(struct crew *crew, struct seg_pool *pool, enum seg_priority priority,
                      unsigned n_workers, struct task *tasks, size_t n_tasks)
{
    crew->pool = pool;
    crew->priority = priority;
    crew->n_workers = n_workers;
    for (size_t i = n_tasks; i-- > 0;) {
        tasks[i].next = crew->free_tasks;
        crew->free_tasks = &tasks[i];
    }
    pthread_mutex_init(&crew->lock, NULL); /* without attributes these three cannot fail */
    pthread_cond_init(&crew->work, NULL);
    pthread_cond_init(&crew->idle, NULL);
}

static void crew_release(struct crew *crew)
{
    pthread_cond_destroy(&crew->idle);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
}

/* Returns when every worker is ready. */
static void crew_open(struct crew *crew)
{
    pthread_mutex_lock(&crew->lock);
    crew->is_open = true;
    pthread_cond_broadcast(&crew->work);
    while (crew->n_ready < crew->n_workers)
        pthread_cond_wait(&crew->idle, &crew->lock);
    pthread_mutex_unlock(&crew->lock);
}

enum seg_status seg_pool_new(unsigned n_workers, size_t queue_max, struct seg_pool **ret_pool,
                             struct seg_error *err)
{
    unsigned n_started[N_PRIORITIES] = { 0 };
    if (n_workers < 1 || n_workers > SEG_WORKERS_MAX)
        return seg_fail(err, SEG_EINVAL, "number of workers is %u (1 to %d)", n_workers,
                        SEG_WORKERS_MAX);
    if (queue_max < 1 || queue_max > SIZE_MAX / sizeof(struct task) / 4)
        return seg_fail(err, SEG_EINVAL, "queue of %zu tasks is out of range", queue_max);
    struct seg_pool *pool =
        seg_calloc(1, sizeof *pool + N_PRIORITIES * queue_max * sizeof *pool->tasks);
    if (pool == NULL)
        return seg_fail(err, SEG_ENOMEM, "no memory for a queue of %zu tasks", queue_max);
    for (unsigned p = 0; p < N_PRIORITIES; p++)
        crew_init(&pool->crews[p], pool, p, n_workers, pool->tasks + p * queue_max, queue_max);
    for (unsigned p = 0; p < N_PRIORITIES; p++) {
        n_started[p] = crew_start(&pool->crews[p]);
        if (n_started[p] == n_workers) continue;
        for (unsigned q = 0; q <= p; q++)
            crew_stop(&pool->crews[q], n_started[q]);
        for (unsigned q = 0; q < N_PRIORITIES; q++)
            crew_release(&pool->crews[q]);
        seg_free(pool);
        return seg_fail(err, SEG_ENOMEM, "cannot start worker %u of %u",
                        p * n_workers + n_started[p] + 1, N_PRIORITIES * n_workers);
    }
    for (unsigned p = 0; p < N_PRIORITIES; p++)
        crew_open(&pool->crews[p]);
    *ret_pool = pool;
    return SEG_OK;
}

void seg_pool_free(struct seg_pool *pool)
{
    if (pool == NULL) return;
    seg_pool_drain(pool);
    for (unsigned p = 0; p < N_PRIORITIES; p++) {
        crew_stop(&pool->crews[p], pool->crews[p].n_workers);
        crew_release(&pool->crews[p]);
    }
    seg_free(pool);
}

unsigned seg_pool_size(const struct seg_pool *pool)
{
    return pool->crews[0].n_workers;
}

void seg_pool_for(struct seg_pool *pool, enum seg_priority priority, size_t n_chunks,
                  seg_chunk_fn fn, void *ctx)
{
    if (pool == NULL) {
        for (size_t i = 0; i < n_chunks; i++) {
            fn(ctx, i);
            seg_pool_give_way();
        }
        return;
    }
    if (n_chunks == 0) return;
    const bool takes_part = own_pool == pool;
    struct crew *crew = &pool->crews[priority];
    struct job job = { .fn = fn,
                       .ctx = ctx,
                       .n_chunks = n_chunks,
                       .n_inside = takes_part,
                       .done = PTHREAD_COND_INITIALIZER };

    pthread_mutex_lock(&crew->lock);
    job_list(crew, &job);
    wake(crew, takes_part ? n_chunks - 1 : n_chunks);
    if (takes_part) {
        pthread_mutex_unlock(&crew->lock);
        job_run_chunks(&job);
        pthread_mutex_lock(&crew->lock);
        job_leave(crew, &job);
    }
    job_wait(crew, &job);
    pthread_mutex_unlock(&crew->lock);
    pthread_cond_destroy(&job.done);
}

enum seg_status seg_pool_submit(struct seg_pool *pool, enum seg_priority priority, seg_task_fn fn,
                                void *ctx)
{
    enum seg_status st = SEG_EBUSY;
    struct crew *crew = &pool->crews[priority];
    pthread_mutex_lock(&crew->lock);
    struct task *task = crew->free_tasks;
    if (task == NULL || crew->is_draining) goto out;
    crew->free_tasks = task->next;
    *task = (struct task){ .fn = fn, .ctx = ctx };
    *(crew->queue.first != NULL ? &crew->queue.last->next : &crew->queue.first) = task;
    crew->queue.last = task;
    crew->n_queued++;
    atomic_fetch_add_explicit(&crew->n_waiting, 1, memory_order_relaxed);
    wake(crew, 1);
    st = SEG_OK;
out:
    pthread_mutex_unlock(&crew->lock);
    return st;
}

/* Training first: what it submits to scoring while it ends is still taken. */
void seg_pool_drain(struct seg_pool *pool)
{
    assert(own_pool != pool); /* a worker would wait for itself */
    for (unsigned p = N_PRIORITIES; p-- > 0;) {
        struct crew *crew = &pool->crews[p];
        pthread_mutex_lock(&crew->lock);
        crew->is_draining = true;
        while (!is_idle(crew))
            pthread_cond_wait(&crew->idle, &crew->lock);
        pthread_mutex_unlock(&crew->lock);
    }
}

size_t seg_pool_queued(struct seg_pool *pool)
{
    size_t n = 0;
    for (unsigned p = 0; p < N_PRIORITIES; p++) {
        pthread_mutex_lock(&pool->crews[p].lock);
        n += pool->crews[p].n_queued;
        pthread_mutex_unlock(&pool->crews[p].lock);
    }
    return n;
}
