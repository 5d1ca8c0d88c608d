/* worker_pool_fixture.h - a pool that must start, a door that its workers wait at, and functions
 * that count how often they were called. Tests wait for states, never for times: a slow machine
 * makes them slow, not wrong. Include after cmocka.h. */
#ifndef TESTS_UNIT_WORKER_POOL_FIXTURE_H
#define TESTS_UNIT_WORKER_POOL_FIXTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <pthread.h>
#include "compute/worker_pool.h"

static inline struct seg_pool *pool_of(unsigned n_workers, size_t queue_max)
{
    struct seg_pool *pool = NULL;
    struct seg_error err;
    assert_int_equal(seg_pool_new(n_workers, queue_max, &pool, &err), SEG_OK);
    return pool;
}

/* A door that tasks wait at, so that tests decide what runs when. */
struct door {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_open;
    unsigned n_waiting; /* tasks that arrived */
};

#define DOOR_CLOSED                                                                                \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                     \
    }

static inline void door_pass(void *arg)
{
    struct door *door = arg;
    pthread_mutex_lock(&door->lock);
    door->n_waiting++;
    pthread_cond_broadcast(&door->changed);
    while (!door->is_open)
        pthread_cond_wait(&door->changed, &door->lock);
    pthread_mutex_unlock(&door->lock);
}

static inline void door_await(struct door *door, unsigned n_waiting)
{
    pthread_mutex_lock(&door->lock);
    while (door->n_waiting < n_waiting)
        pthread_cond_wait(&door->changed, &door->lock);
    pthread_mutex_unlock(&door->lock);
}

static inline void door_open(struct door *door)
{
    pthread_mutex_lock(&door->lock);
    door->is_open = true;
    pthread_cond_broadcast(&door->changed);
    pthread_mutex_unlock(&door->lock);
}

static inline void count_chunk(void *arg, size_t index)
{
    atomic_uint *counts = arg;
    atomic_fetch_add(&counts[index], 1);
}

static inline void count_task(void *arg)
{
    atomic_fetch_add((atomic_uint *)arg, 1);
}

#endif
