/* test_worker_pool_queue.c - tasks wait in a queue that has an end, are run or refused, and a pool
 * that cannot start leaves nothing behind. Run it under the thread sanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include "base/alloc.h"
#include "worker_pool_fixture.h"

static void submit_refuses_what_the_queue_cannot_hold(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(1, 3);
    struct door door = DOOR_CLOSED;
    atomic_uint n_run = 0;
    assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_SCORING, door_pass, &door), SEG_OK);
    door_await(&door, 1); /* taken: it waits no more */
    assert_int_equal(seg_pool_queued(pool), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_SCORING, count_task, &n_run), SEG_OK);
    assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_SCORING, count_task, &n_run), SEG_EBUSY);
    assert_int_equal(seg_pool_queued(pool), 3);
    door_open(&door);
    seg_pool_drain(pool);
    assert_int_equal(n_run, 3);
    assert_int_equal(seg_pool_queued(pool), 0);
    seg_pool_free(pool);
}

static void drain_runs_the_queue_to_its_end_and_refuses_more(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(2, 100);
    atomic_uint counts[3] = { 0 };
    for (int i = 0; i < 100; i++) {
        while (seg_pool_submit(pool, i % 2, count_task, &counts[0]) == SEG_EBUSY)
            sched_yield();
    }
    seg_pool_drain(pool);
    assert_int_equal(counts[0], 100);
    assert_int_equal(seg_pool_submit(pool, SEG_PRIORITY_SCORING, count_task, counts), SEG_EBUSY);
    seg_pool_drain(pool); /* again: returns at once */
    atomic_store(&counts[0], 0);
    seg_pool_for(pool, SEG_PRIORITY_SCORING, 3, count_chunk, counts); /* what runs may go on */
    assert_int_equal(counts[0] + counts[1] + counts[2], 3);
    seg_pool_free(pool);
    seg_pool_free(NULL);
}

static void free_runs_what_is_queued(void **state)
{
    (void)state;
    atomic_uint n_run = 0;
    struct seg_pool *pool = pool_of(1, 50);
    for (int i = 0; i < 50; i++)
        assert_int_equal(seg_pool_submit(pool, i % 2, count_task, &n_run), SEG_OK);
    seg_pool_free(pool);
    assert_int_equal(n_run, 50);
}

struct worker_facts {
    size_t stack_bytes;
    bool blocks_sigterm;
};

static void look_around(void *arg, size_t index)
{
    (void)index;
    struct worker_facts *facts = arg;
    pthread_attr_t attr;
    sigset_t blocked;
    pthread_getattr_np(pthread_self(), &attr);
    pthread_attr_getstacksize(&attr, &facts->stack_bytes);
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    facts->blocks_sigterm = sigismember(&blocked, SIGTERM) == 1;
}

static void workers_have_a_stack_and_leave_signals_to_the_program(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(1, 1);
    struct worker_facts worker = { 0 }, self = { 0 };
    seg_pool_for(pool, SEG_PRIORITY_SCORING, 1, look_around, &worker);
    look_around(&self, 0);
    assert_true(worker.stack_bytes >= (size_t)1 << 20);
    assert_true(worker.blocks_sigterm);
    assert_false(self.blocks_sigterm); /* making the pool changed nothing here */
    seg_pool_free(pool);
}

static void new_refuses_numbers_out_of_range(void **state)
{
    (void)state;
    struct seg_pool *pool = NULL;
    struct seg_error err;
    assert_int_equal(seg_pool_new(0, 1, &pool, &err), SEG_EINVAL);
    assert_string_equal(err.text, "number of workers is 0 (1 to 64)");
    assert_int_equal(seg_pool_new(SEG_WORKERS_MAX + 1, 1, &pool, &err), SEG_EINVAL);
    assert_int_equal(seg_pool_new(1, 0, &pool, NULL), SEG_EINVAL);
    assert_int_equal(seg_pool_new(1, SIZE_MAX, &pool, NULL), SEG_EINVAL);
    assert_null(pool);
}

/* pthread_create of this program: as the system's until n_creates_left reaches 0. */
static int n_creates_left = -1;

int pthread_create(pthread_t *ret_thread, const pthread_attr_t *attr, void *(*start)(void *),
                   void *arg)
{
    int (*system_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (n_creates_left == 0) return EAGAIN;
    if (n_creates_left > 0) n_creates_left--;
    *(void **)&system_create = dlsym(RTLD_NEXT, "pthread_create");
    return system_create(ret_thread, attr, start, arg);
}

static void new_undoes_a_start_that_fails_midway(void **state)
{
    (void)state;
    struct seg_pool *pool = NULL;
    struct seg_error err;
    for (n_creates_left = 0; n_creates_left < 8;) {
        const int n = n_creates_left;
        assert_int_equal(seg_pool_new(4, 1, &pool, &err), SEG_ENOMEM);
        assert_null(pool);
        n_creates_left = n + 1;
    }
    assert_string_equal(err.text, "cannot start worker 8 of 8");
    n_creates_left = -1;
    seg_alloc_fail_at(1);
    assert_int_equal(seg_pool_new(1, 1, &pool, &err), SEG_ENOMEM);
    seg_alloc_fail_at(0);
    seg_pool_free(pool_of(4, 1)); /* and then it works */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(submit_refuses_what_the_queue_cannot_hold),
        cmocka_unit_test(drain_runs_the_queue_to_its_end_and_refuses_more),
        cmocka_unit_test(free_runs_what_is_queued),
        cmocka_unit_test(workers_have_a_stack_and_leave_signals_to_the_program),
        cmocka_unit_test(new_refuses_numbers_out_of_range),
        cmocka_unit_test(new_undoes_a_start_that_fails_midway),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
