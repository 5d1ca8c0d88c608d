/* test_worker_pool.c - every chunk once, no deadlock however calls nest, scoring apart. Run it
 * under the thread sanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sched.h>
#include "worker_pool_fixture.h"

static void for_calls_every_chunk_once_at_any_pool_size(void **state)
{
    (void)state;
    enum { N_MAX = 1000 };
    static atomic_uint counts[N_MAX + 1];
    static const unsigned sizes[] = { 0, 1, 2, 3, 8 }; /* 0: no pool */
    static const size_t chunks[] = { 0, 1, 2, 3, 7, 64, N_MAX };
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct seg_pool *pool = sizes[s] ? pool_of(sizes[s], 1) : NULL;
        if (pool != NULL) assert_int_equal(seg_pool_size(pool), sizes[s]);
        for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
            for (enum seg_priority p = SEG_PRIORITY_SCORING; p <= SEG_PRIORITY_TRAINING; p++) {
                for (size_t i = 0; i <= N_MAX; i++)
                    atomic_store(&counts[i], 0);
                seg_pool_for(pool, p, chunks[c], count_chunk, counts);
                for (size_t i = 0; i <= N_MAX; i++)
                    assert_int_equal(counts[i], i < chunks[c]);
            }
        seg_pool_free(pool);
    }
}

/* What chunks write without atomics must be there for the caller, and the next call must see what
 * the caller wrote: the thread sanitizer watches this one. */
static void add_one(void *arg, size_t index)
{
    ((uint32_t *)arg)[index]++;
}

static void for_orders_the_memory_of_caller_and_chunks(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(3, 1);
    uint32_t plain[16] = { 0 };
    for (uint32_t round = 0; round < 500; round++) {
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, 16, add_one, plain);
        for (size_t i = 0; i < 16; i++)
            assert_int_equal(plain[i]++, 2 * round + 1);
    }
    seg_pool_free(pool);
}

static void keep_thread(void *arg, size_t index)
{
    ((pthread_t *)arg)[index] = pthread_self();
}

static void for_from_outside_runs_on_workers_only(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(2, 1);
    pthread_t threads[50], first = pthread_self(), second = first;
    seg_pool_for(pool, SEG_PRIORITY_SCORING, 50, keep_thread, threads);
    for (size_t i = 0; i < 50; i++) {
        assert_false(pthread_equal(threads[i], pthread_self()));
        if (pthread_equal(first, pthread_self())) first = threads[i];
        if (!pthread_equal(threads[i], first)) second = threads[i];
        assert_true(pthread_equal(threads[i], first) || pthread_equal(threads[i], second));
    }
    seg_pool_free(pool);
}

static void meet(void *arg, size_t index)
{
    (void)index;
    pthread_barrier_wait(arg);
}

/* Chunks that wait for each other end only if every worker takes part. */
static void for_uses_every_worker(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(4, 1);
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 4);
    for (int round = 0; round < 50; round++)
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, 4, meet, &barrier);
    pthread_barrier_destroy(&barrier);
    seg_pool_free(pool);
}

/* A tree of calls: each chunk calls for again, down to depth 0, where it counts. */
struct tree {
    struct seg_pool *pool;
    enum seg_priority priority;
    unsigned depth;
    size_t n_branches;
    atomic_uint *n_leaves;
};

static void climb(void *arg, size_t index)
{
    (void)index;
    const struct tree *tree = arg;
    if (tree->depth == 0) {
        atomic_fetch_add(tree->n_leaves, 1);
        return;
    }
    struct tree below = *tree;
    below.depth--;
    seg_pool_for(tree->pool, tree->priority, tree->n_branches, climb, &below);
}

static void climb_task(void *arg)
{
    climb(arg, 0);
}

static void nested_calls_end_even_when_every_worker_is_inside_one(void **state)
{
    (void)state;
    for (unsigned n_workers = 1; n_workers <= 4; n_workers++) {
        struct seg_pool *pool = pool_of(n_workers, 8);
        atomic_uint n_leaves = 0;
        struct tree tree = { pool, SEG_PRIORITY_TRAINING, 4, 6, &n_leaves };
        climb(&tree, 0); /* from outside */
        assert_int_equal(n_leaves, 6 * 6 * 6 * 6);
        for (int i = 0; i < 8; i++) /* and from tasks, more than there are workers */
            assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_TRAINING, climb_task, &tree),
                             SEG_OK);
        seg_pool_free(pool);
        assert_int_equal(n_leaves, 9 * 6 * 6 * 6 * 6);
    }
}

/* Work of two pools that call each other: a worker of one only waits for the other. */
struct two_pools {
    struct seg_pool *inner;
    atomic_uint counts[4];
};

static void call_the_other(void *arg, size_t index)
{
    (void)index;
    struct two_pools *both = arg;
    seg_pool_for(both->inner, SEG_PRIORITY_SCORING, 4, count_chunk, both->counts);
}

static void for_serves_the_workers_of_another_pool(void **state)
{
    (void)state;
    struct seg_pool *outer = pool_of(2, 1);
    struct two_pools both = { .inner = pool_of(2, 1) };
    seg_pool_for(outer, SEG_PRIORITY_SCORING, 10, call_the_other, &both);
    for (int i = 0; i < 4; i++)
        assert_int_equal(both.counts[i], 10);
    seg_pool_free(outer);
    seg_pool_free(both.inner);
}

/* With one worker a priority: scoring does not wait for the training that holds the other one. */
static void scoring_goes_on_while_every_training_worker_is_busy(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(1, 1);
    struct door training = DOOR_CLOSED, scoring = DOOR_CLOSED;
    atomic_uint counts[8] = { 0 };
    assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_TRAINING, door_pass, &training), SEG_OK);
    door_await(&training, 1);
    assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_SCORING, door_pass, &scoring), SEG_OK);
    door_await(&scoring, 1);
    door_open(&scoring);
    seg_pool_for(pool, SEG_PRIORITY_SCORING, 8, count_chunk, counts);
    for (int i = 0; i < 8; i++)
        assert_int_equal(counts[i], 1);
    door_open(&training);
    seg_pool_free(pool);
}

static void keep_policy(void *arg, size_t index)
{
    (void)index;
    *(int *)arg = sched_getscheduler(0);
}

static void training_workers_leave_the_processor_to_everybody_else(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(1, 1);
    int training = -1, scoring = -1;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, 1, keep_policy, &training);
    seg_pool_for(pool, SEG_PRIORITY_SCORING, 1, keep_policy, &scoring);
    assert_int_equal(training, SCHED_IDLE);
    assert_int_equal(scoring, sched_getscheduler(0));
    seg_pool_free(pool);
}

/* A worker of one priority takes part in what it asks of the other: with both workers inside such
 * calls nobody is left to wait for. */
struct crossing {
    struct seg_pool *pool;
    enum seg_priority to;
    pthread_barrier_t *both;
    atomic_uint *counts;
};

static void cross(void *arg)
{
    const struct crossing *c = arg;
    pthread_barrier_wait(c->both);
    seg_pool_for(c->pool, c->to, 8, count_chunk, c->counts);
}

static void workers_that_call_for_the_other_priority_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(1, 1);
    pthread_barrier_t both;
    atomic_uint counts[8] = { 0 };
    pthread_barrier_init(&both, NULL, 2);
    struct crossing up = { pool, SEG_PRIORITY_SCORING, &both, counts };
    struct crossing down = { pool, SEG_PRIORITY_TRAINING, &both, counts };
    assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_TRAINING, cross, &up), SEG_OK);
    assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_SCORING, cross, &down), SEG_OK);
    seg_pool_free(pool);
    pthread_barrier_destroy(&both);
    for (int i = 0; i < 8; i++)
        assert_int_equal(counts[i], 2);
}

/* Everything at once, for the thread sanitizer: callers from outside, trees of calls in tasks, both
 * priorities, and a queue that overflows. */
struct storm {
    struct seg_pool *pool;
    atomic_uint n_leaves, n_refused;
};

static void *storm_thread(void *arg)
{
    struct storm *storm = arg;
    struct tree trees[] = { { storm->pool, SEG_PRIORITY_SCORING, 1, 5, &storm->n_leaves },
                            { storm->pool, SEG_PRIORITY_TRAINING, 2, 3, &storm->n_leaves } };
    atomic_uint n_done = 0;
    unsigned n_submitted = 0;
    for (unsigned i = 0; i < 100; i++) {
        climb(&trees[i % 2], 0);
        if (seg_pool_submit(storm->pool, i / 2 % 2, count_task, &n_done) == SEG_OK)
            n_submitted++;
        else
            atomic_fetch_add(&storm->n_refused, 1);
    }
    while (atomic_load(&n_done) < n_submitted)
        sched_yield();
    return NULL;
}

static void a_storm_of_calls_loses_nothing(void **state)
{
    (void)state;
    enum { N_THREADS = 6 };
    struct storm storm = { .pool = pool_of(3, 2) };
    pthread_t threads[N_THREADS];
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm_thread, &storm), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(storm.n_leaves, N_THREADS * 50 * (5 + 9));
    assert_true(storm.n_refused < N_THREADS * 100);
    seg_pool_free(storm.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(for_calls_every_chunk_once_at_any_pool_size),
        cmocka_unit_test(for_orders_the_memory_of_caller_and_chunks),
        cmocka_unit_test(for_from_outside_runs_on_workers_only),
        cmocka_unit_test(for_uses_every_worker),
        cmocka_unit_test(nested_calls_end_even_when_every_worker_is_inside_one),
        cmocka_unit_test(for_serves_the_workers_of_another_pool),
        cmocka_unit_test(scoring_goes_on_while_every_training_worker_is_busy),
        cmocka_unit_test(training_workers_leave_the_processor_to_everybody_else),
        cmocka_unit_test(workers_that_call_for_the_other_priority_do_not_wait_for_each_other),
        cmocka_unit_test(a_storm_of_calls_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
