/* worker_pool.c - one lock, two queues of tasks, two lists of computations cut in chunks.
 * A computation (struct job) lives on the stack of its caller. A worker enters it under the lock,
 * claims chunks by one atomic add each, and leaves it under the lock: the caller returns when no
 * chunk is unclaimed and nobody is inside. The lock is never held while a chunk or task runs. */
#include "compute/worker_pool.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/alloc.h"
#include "compute/gemm.h"

#define N_PRIORITIES       2
#define WORKER_STACK_BYTES ((size_t)2 << 20)
/* Sleeping and being woken costs some microseconds, so whoever waits looks for that long first, but
 * no longer: on a full machine a spin takes the core from the thread it waits for. */
#define SPINS_MAX 100

/* One seg_pool_for. */
struct job {
    struct job *prev, *next; /* in the pool's list while chunks may be unclaimed */
    seg_chunk_fn fn;
    void *ctx;
    size_t n_chunks;
    enum seg_priority priority;
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

struct seg_pool {
    pthread_mutex_t lock; /* guards what follows, down to the constants */
    pthread_cond_t work;  /* something can be taken, or is_open or is_stopping became true */
    pthread_cond_t idle;  /* nothing waits or runs, or the last worker is ready */
    struct {
        struct job *first, *last;
    } jobs[N_PRIORITIES];
    struct {
        struct task *first, *last;
    } queues[N_PRIORITIES];
    struct task *free_tasks;
    size_t n_queued;
    unsigned n_ready, n_asleep;
    unsigned n_running; /* tasks, and workers inside jobs */
    bool is_open;       /* every thread exists */
    bool is_draining, is_stopping;
    atomic_size_t n_waiting[N_PRIORITIES]; /* listed jobs and queued tasks; read without the lock */

    unsigned n_workers; /* constants from here */
    pthread_t threads[SEG_WORKERS_MAX];
    struct task tasks[]; /* queue_max of them, each in a queue or in free_tasks */
};

/* The pool this thread works for. */
static _Thread_local const struct seg_pool *own_pool;

static void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

static bool is_waiting(struct seg_pool *pool, enum seg_priority priority)
{
    return atomic_load_explicit(&pool->n_waiting[priority], memory_order_relaxed) != 0;
}

static bool is_idle(struct seg_pool *pool)
{
    return pool->n_running == 0 && !is_waiting(pool, SEG_PRIORITY_SCORING) &&
           !is_waiting(pool, SEG_PRIORITY_TRAINING);
}

static bool all_claimed(struct job *job)
{
    return atomic_load_explicit(&job->next_chunk, memory_order_relaxed) >= job->n_chunks;
}

static void job_list(struct seg_pool *pool, struct job *job)
{
    job->prev = pool->jobs[job->priority].last;
    *(job->prev != NULL ? &job->prev->next : &pool->jobs[job->priority].first) = job;
    pool->jobs[job->priority].last = job;
    job->is_listed = true;
    atomic_fetch_add_explicit(&pool->n_waiting[job->priority], 1, memory_order_relaxed);
}

static void job_unlist(struct seg_pool *pool, struct job *job)
{
    if (!job->is_listed) return;
    *(job->prev != NULL ? &job->prev->next : &pool->jobs[job->priority].first) = job->next;
    *(job->next != NULL ? &job->next->prev : &pool->jobs[job->priority].last) = job->prev;
    job->is_listed = false;
    atomic_fetch_sub_explicit(&pool->n_waiting[job->priority], 1, memory_order_relaxed);
}

/* The listed job with the fewest workers inside, the oldest of those: two trainings share. */
static struct job *job_neediest(struct seg_pool *pool, enum seg_priority priority)
{
    struct job *best = pool->jobs[priority].first;
    for (struct job *job = best; job != NULL; job = job->next)
        if (job->n_inside < best->n_inside) best = job;
    return best;
}

static void job_leave(struct seg_pool *pool, struct job *job)
{
    job->n_inside--;
    if (!all_claimed(job)) return;
    job_unlist(pool, job);
    if (job->n_inside > 0) return;
    atomic_store_explicit(&job->is_done, true, memory_order_relaxed);
    pthread_cond_signal(&job->done);
}

static bool run_next(struct seg_pool *pool, enum seg_priority least);

/* Runs chunks until all are claimed. A training gives way to scoring between two of them: a visitor
 * leaves the job to go and take the scoring work, its caller does that work here and now. */
static void job_run_chunks(struct seg_pool *pool, struct job *job, bool is_caller)
{
    while (!all_claimed(job)) {
        if (job->priority == SEG_PRIORITY_TRAINING && is_waiting(pool, SEG_PRIORITY_SCORING)) {
            if (!is_caller) return;
            pthread_mutex_lock(&pool->lock);
            while (run_next(pool, SEG_PRIORITY_SCORING))
                ;
            pthread_mutex_unlock(&pool->lock);
        }
        size_t i = atomic_fetch_add_explicit(&job->next_chunk, 1, memory_order_relaxed);
        if (i < job->n_chunks) job->fn(job->ctx, i);
    }
}

/* Under the lock: takes what is most urgent down to priority `least` and runs it, unlocked. False
 * if there is nothing. */
static bool run_next(struct seg_pool *pool, enum seg_priority least)
{
    struct job *job = NULL;
    struct task *task = NULL;
    for (enum seg_priority p = SEG_PRIORITY_SCORING; p <= least; p++) {
        if ((job = job_neediest(pool, p)) != NULL) break;
        if ((task = pool->queues[p].first) == NULL) continue;
        pool->queues[p].first = task->next;
        atomic_fetch_sub_explicit(&pool->n_waiting[p], 1, memory_order_relaxed);
        pool->n_queued--;
        break;
    }
    if (job == NULL && task == NULL) return false;

    pool->n_running++;
    if (job != NULL) {
        job->n_inside++;
        pthread_mutex_unlock(&pool->lock);
        job_run_chunks(pool, job, false);
        pthread_mutex_lock(&pool->lock);
        job_leave(pool, job);
    } else {
        const struct task taken = *task;
        task->next = pool->free_tasks;
        pool->free_tasks = task;
        pthread_mutex_unlock(&pool->lock);
        taken.fn(taken.ctx);
        pthread_mutex_lock(&pool->lock);
    }
    pool->n_running--;
    if (is_idle(pool)) pthread_cond_broadcast(&pool->idle);
    return true;
}

/* Under the lock: returns when the job is done. Whoever sets is_done holds the lock to its last
 * touch of the job, so that the job is the caller's alone once it has the lock again. */
static void job_wait(struct seg_pool *pool, struct job *job)
{
    if (!atomic_load_explicit(&job->is_done, memory_order_relaxed)) {
        pthread_mutex_unlock(&pool->lock);
        for (int i = 0; i < SPINS_MAX; i++) {
            if (atomic_load_explicit(&job->is_done, memory_order_relaxed)) break;
            cpu_relax();
        }
        pthread_mutex_lock(&pool->lock);
    }
    while (!atomic_load_explicit(&job->is_done, memory_order_relaxed))
        pthread_cond_wait(&job->done, &pool->lock);
}

/* Under the lock: wakes up to n workers that sleep. */
static void wake(struct seg_pool *pool, size_t n)
{
    if (n >= pool->n_asleep) {
        pthread_cond_broadcast(&pool->work);
        return;
    }
    while (n-- > 0)
        pthread_cond_signal(&pool->work);
}

static void sleep_until_woken(struct seg_pool *pool)
{
    pool->n_asleep++;
    pthread_cond_wait(&pool->work, &pool->lock);
    pool->n_asleep--;
}

/* Under the lock: returns when something may be there to take. */
static void wait_for_work(struct seg_pool *pool)
{
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < SPINS_MAX; i++) {
        if (is_waiting(pool, SEG_PRIORITY_SCORING) || is_waiting(pool, SEG_PRIORITY_TRAINING))
            break;
        cpu_relax();
    }
    pthread_mutex_lock(&pool->lock);
    if (!is_waiting(pool, SEG_PRIORITY_SCORING) && !is_waiting(pool, SEG_PRIORITY_TRAINING) &&
        !pool->is_stopping)
        sleep_until_woken(pool);
}

static void *worker_main(void *arg)
{
    struct seg_pool *pool = arg;
    own_pool = pool;
    pthread_setname_np(pthread_self(), "seg-worker");

    pthread_mutex_lock(&pool->lock);
    while (!pool->is_open && !pool->is_stopping)
        sleep_until_woken(pool);
    pthread_mutex_unlock(&pool->lock);
    seg_gemm_warm_up(); /* all at once: see there */
    pthread_mutex_lock(&pool->lock);
    if (++pool->n_ready == pool->n_workers) pthread_cond_broadcast(&pool->idle);

    for (;;) {
        if (run_next(pool, SEG_PRIORITY_TRAINING)) continue;
        if (pool->is_stopping) break;
        wait_for_work(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void stop_workers(struct seg_pool *pool, unsigned n)
{
    pthread_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < n; i++)
        pthread_join(pool->threads[i], NULL);
}

/* Returns how many threads could be made. Workers get no signals: those are for the program's own
 * threads to handle. */
static unsigned start_workers(struct seg_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
    unsigned n = 0;
    while (n < pool->n_workers && pthread_create(&pool->threads[n], &attr, worker_main, pool) == 0)
        n++;
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n;
}

static void pool_release(struct seg_pool *pool)
{
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    seg_free(pool);
}

enum seg_status seg_pool_new(unsigned n_workers, size_t queue_max, struct seg_pool **ret_pool,
                             struct seg_error *err)
{
    if (n_workers < 1 || n_workers > SEG_WORKERS_MAX)
        return seg_fail(err, SEG_EINVAL, "number of workers is %u (1 to %d)", n_workers,
                        SEG_WORKERS_MAX);
    if (queue_max < 1 || queue_max > SIZE_MAX / sizeof(struct task) / 2)
        return seg_fail(err, SEG_EINVAL, "queue of %zu tasks is out of range", queue_max);
    struct seg_pool *pool = seg_calloc(1, sizeof *pool + queue_max * sizeof *pool->tasks);
    if (pool == NULL)
        return seg_fail(err, SEG_ENOMEM, "no memory for a queue of %zu tasks", queue_max);
    pool->n_workers = n_workers;
    for (size_t i = queue_max; i-- > 0;) {
        pool->tasks[i].next = pool->free_tasks;
        pool->free_tasks = &pool->tasks[i];
    }
    pthread_mutex_init(&pool->lock, NULL); /* without attributes these three cannot fail */
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);

    unsigned n_started = start_workers(pool);
    if (n_started < n_workers) {
        stop_workers(pool, n_started);
        pool_release(pool);
        return seg_fail(err, SEG_ENOMEM, "cannot start worker %u of %u", n_started + 1, n_workers);
    }
    pthread_mutex_lock(&pool->lock);
    pool->is_open = true;
    pthread_cond_broadcast(&pool->work);
    while (pool->n_ready < n_workers)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    *ret_pool = pool;
    return SEG_OK;
}

void seg_pool_free(struct seg_pool *pool)
{
    if (pool == NULL) return;
    seg_pool_drain(pool);
    stop_workers(pool, pool->n_workers);
    pool_release(pool);
}

unsigned seg_pool_size(const struct seg_pool *pool)
{
    return pool->n_workers;
}

void seg_pool_for(struct seg_pool *pool, enum seg_priority priority, size_t n_chunks,
                  seg_chunk_fn fn, void *ctx)
{
    if (pool == NULL) {
        for (size_t i = 0; i < n_chunks; i++)
            fn(ctx, i);
        return;
    }
    if (n_chunks == 0) return;
    const bool takes_part = own_pool == pool;
    struct job job = { .fn = fn,
                       .ctx = ctx,
                       .n_chunks = n_chunks,
                       .priority = priority,
                       .n_inside = takes_part,
                       .done = PTHREAD_COND_INITIALIZER };

    pthread_mutex_lock(&pool->lock);
    job_list(pool, &job);
    wake(pool, takes_part ? n_chunks - 1 : n_chunks);
    if (takes_part) {
        pthread_mutex_unlock(&pool->lock);
        job_run_chunks(pool, &job, true);
        pthread_mutex_lock(&pool->lock);
        job_leave(pool, &job);
    }
    job_wait(pool, &job);
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&job.done);
}

enum seg_status seg_pool_submit(struct seg_pool *pool, enum seg_priority priority, seg_task_fn fn,
                                void *ctx)
{
    enum seg_status st = SEG_EBUSY;
    pthread_mutex_lock(&pool->lock);
    struct task *task = pool->free_tasks;
    if (task == NULL || pool->is_draining) goto out;
    pool->free_tasks = task->next;
    *task = (struct task){ .fn = fn, .ctx = ctx };
    *(pool->queues[priority].first != NULL ? &pool->queues[priority].last->next
                                           : &pool->queues[priority].first) = task;
    pool->queues[priority].last = task;
    pool->n_queued++;
    atomic_fetch_add_explicit(&pool->n_waiting[priority], 1, memory_order_relaxed);
    wake(pool, 1);
    st = SEG_OK;
out:
    pthread_mutex_unlock(&pool->lock);
    return st;
}

void seg_pool_drain(struct seg_pool *pool)
{
    assert(own_pool != pool); /* a worker would wait for itself */
    pthread_mutex_lock(&pool->lock);
    pool->is_draining = true;
    while (!is_idle(pool))
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

size_t seg_pool_queued(struct seg_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    size_t n = pool->n_queued;
    pthread_mutex_unlock(&pool->lock);
    return n;
}
