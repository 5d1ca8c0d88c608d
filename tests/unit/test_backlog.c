/* The book of large batches. Times are given where they can be; the doorman looks at the clock. */
#include "http/backlog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "http/exchange.h"

#define MS         ((int64_t)1000000)
#define MIB        ((uint64_t)1 << 20)
#define N_WAITING  4
#define LONG_MS    20000 /* longer than any test */
#define SOON_MS    32    /* an AHEAD of one millisecond */
#define GIVE_UP_NS (10000 * MS)

static struct backlog_ticket *seen[N_WAITING];
static atomic_uint n_seen;

static void decided(struct backlog_ticket *t)
{
    seen[atomic_load(&n_seen)] = t;
    atomic_fetch_add(&n_seen, 1);
}

static struct backlog *new_backlog(unsigned n_workers, unsigned wait_ms)
{
    struct backlog *b = backlog_new(n_workers, wait_ms, decided);
    assert_non_null(b);
    atomic_store(&n_seen, 0);
    return b;
}

/* Whether so many decisions came, after a while. */
static bool comes_to(unsigned n)
{
    for (int64_t end = monotonic_ns() + GIVE_UP_NS; monotonic_ns() < end;) {
        if (atomic_load(&n_seen) >= n) return true;
        nanosleep(&(struct timespec){ .tv_nsec = MS }, NULL);
    }
    return false;
}

/* A batch of a mebibyte that took a worker so long, which teaches the backlog its speed. */
static void teach(struct backlog *b, int64_t took_ns)
{
    struct backlog_ticket t = { 0 };
    int64_t now = monotonic_ns();
    backlog_wait(b, &t, MIB, now);
    assert_true(backlog_begin(b, &t, now));
    backlog_done(b, &t, now + took_ns);
    backlog_leave(b, &t);
}

static void batches_come_in_at_once_until_workers_have_enough_to_do(void **state)
{
    struct backlog *b = new_backlog(2, 2 * SOON_MS);
    struct backlog_ticket t[5] = { { 0 } };
    (void)state;
    teach(b, MS * 4 / 5);
    for (unsigned i = 0; i < 5; i++) /* 0, 0.4, 0.8, 1.2 and 1.6 ms over two workers */
        assert_true(backlog_come(b, &t[i], MIB, monotonic_ns()));
    struct backlog_ticket late = { 0 };
    assert_false(backlog_come(b, &late, MIB, monotonic_ns())); /* 2 ms, rounded up */
    backlog_leave(b, &t[0]);
    assert_true(backlog_come(b, &late, MIB, monotonic_ns()));
    backlog_free(b);
}

static void bodies_that_fill_the_memory_keep_others_out_until_they_are_gone(void **state)
{
    struct backlog *b = new_backlog(1, LONG_MS);
    struct backlog_ticket t = { 0 }, other = { 0 };
    (void)state;
    backlog_hold(b, &t, 64 * MIB);
    assert_false(backlog_come(b, &other, 1, monotonic_ns()));
    backlog_hold(b, &t, 0); /* it went into a file */
    assert_true(backlog_come(b, &other, 1, monotonic_ns()));
    backlog_free(b);
}

static void those_who_wait_are_let_in_in_their_order_as_others_leave(void **state)
{
    struct backlog *b = new_backlog(1, LONG_MS);
    struct backlog_ticket inside = { 0 }, t[N_WAITING] = { { 0 } };
    (void)state;
    backlog_hold(b, &inside, 64 * MIB);
    for (unsigned i = 0; i < N_WAITING; i++) {
        assert_false(backlog_come(b, &t[i], 1, monotonic_ns()));
        backlog_queue(b, &t[i]);
    }
    assert_int_equal(atomic_load(&n_seen), 0);
    backlog_leave(b, &inside);
    assert_true(comes_to(N_WAITING));
    for (unsigned i = 0; i < N_WAITING; i++) {
        assert_ptr_equal(seen[i], &t[i]);
        assert_true(t[i].is_let_in);
        backlog_leave(b, &t[i]);
    }
    backlog_free(b);
}

static void who_waits_too_long_at_the_head_is_refused(void **state)
{
    struct backlog *b = new_backlog(1, 30);
    struct backlog_ticket inside = { 0 }, t = { 0 };
    int64_t start = monotonic_ns();
    (void)state;
    backlog_hold(b, &inside, 64 * MIB);
    assert_false(backlog_come(b, &t, 1, start));
    backlog_queue(b, &t);
    assert_true(comes_to(1));
    assert_false(t.is_let_in);
    assert_true(monotonic_ns() - start >= 30 * MS);
    backlog_free(b);
}

static void the_wait_at_the_head_counts_when_a_worker_comes(void **state)
{
    struct backlog *b = new_backlog(1, 100);
    struct backlog_ticket t = { 0 };
    (void)state;
    backlog_wait(b, &t, MIB, 5 * MS);
    assert_true(backlog_begin(b, &t, 105 * MS));
    t.waited_ns = 1;
    backlog_wait(b, &t, MIB, 5 * MS);
    assert_false(backlog_begin(b, &t, 105 * MS));
    backlog_leave(b, &t);
    backlog_free(b);
}

static void the_end_refuses_those_who_wait_and_those_who_come(void **state)
{
    struct backlog *b = new_backlog(1, LONG_MS);
    struct backlog_ticket inside = { 0 }, early = { 0 }, late = { 0 };
    (void)state;
    backlog_hold(b, &inside, 64 * MIB);
    assert_false(backlog_come(b, &early, 1, monotonic_ns()));
    backlog_queue(b, &early);
    backlog_stop(b);
    assert_int_equal(atomic_load(&n_seen), 1);
    backlog_queue(b, &late);
    assert_int_equal(atomic_load(&n_seen), 2);
    assert_false(early.is_let_in || late.is_let_in);
    backlog_free(b);
}

static void no_memory_is_no_backlog(void **state)
{
    (void)state;
    seg_alloc_fail_at(1);
    assert_null(backlog_new(1, 1, decided));
    seg_alloc_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_in_at_once_until_workers_have_enough_to_do),
        cmocka_unit_test(bodies_that_fill_the_memory_keep_others_out_until_they_are_gone),
        cmocka_unit_test(those_who_wait_are_let_in_in_their_order_as_others_leave),
        cmocka_unit_test(who_waits_too_long_at_the_head_is_refused),
        cmocka_unit_test(the_wait_at_the_head_counts_when_a_worker_comes),
        cmocka_unit_test(the_end_refuses_those_who_wait_and_those_who_come),
        cmocka_unit_test(no_memory_is_no_backlog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
