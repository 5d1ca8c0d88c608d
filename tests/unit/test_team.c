/* test_team.c - every task of a phase once, phases one after the other, nobody waited for who does
 * not come. Run it under the thread sanitizer too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "neural/team.h"

#define N_CELLS  257u
#define N_PHASES 2000u

struct sums {
    uint32_t n_runs[SEG_TEAM_TASKS_MAX];
    uint64_t cell[2][N_CELLS]; /* a phase reads one and writes the other */
    unsigned from;
    size_t n_tasks;
    unsigned n_led;
};
static struct sums sums;

static struct seg_pool *pool_of(unsigned n_workers)
{
    struct seg_pool *pool = NULL;
    struct seg_error err;
    assert_int_equal(seg_pool_new(n_workers, 1, &pool, &err), SEG_OK);
    return pool;
}

static void count_run(void *ctx, size_t i)
{
    struct sums *s = ctx;
    s->n_runs[i]++; /* not atomic: another run of the same task would be a race */
}

static void lead_counting(struct seg_team *team, void *ctx)
{
    struct sums *s = ctx;
    s->n_led++;
    seg_team_phase(team, s->n_tasks, count_run, s);
}

static void a_phase_runs_every_task_once(void **state)
{
    (void)state;
    const size_t sizes[] = { 0, 1, 2, 3, 64, 1000, SEG_TEAM_TASKS_MAX };
    for (unsigned n_workers = 1; n_workers <= 4; n_workers++) {
        struct seg_pool *pool = pool_of(n_workers);
        for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
            memset(&sums, 0, sizeof sums);
            sums.n_tasks = sizes[at];
            seg_team_run(pool, SEG_WORKERS_MAX, lead_counting, &sums);
            assert_int_equal(sums.n_led, 1);
            for (size_t i = 0; i < SEG_TEAM_TASKS_MAX; i++)
                assert_int_equal(sums.n_runs[i], i < sizes[at]);
        }
        seg_pool_free(pool);
    }
}

static void a_team_without_a_pool_is_the_caller(void **state)
{
    (void)state;
    memset(&sums, 0, sizeof sums);
    sums.n_tasks = 5;
    seg_team_run(NULL, 1, lead_counting, &sums);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(sums.n_runs[i], 1);
}

/* Every cell depends on two others of the phase before. */
static void add_neighbours(void *ctx, size_t i)
{
    struct sums *s = ctx;
    const uint64_t *from = s->cell[s->from];
    s->cell[!s->from][i] = 3 * from[i] + from[(i + 1) % N_CELLS] + from[(i * i + 7) % N_CELLS];
}

static void lead_adding(struct seg_team *team, void *ctx)
{
    struct sums *s = ctx;
    for (unsigned phase = 0; phase < N_PHASES; phase++) {
        seg_team_phase(team, N_CELLS, add_neighbours, s);
        s->from = !s->from;
    }
}

static void a_phase_sees_all_that_earlier_ones_wrote(void **state)
{
    (void)state;
    static struct sums alone;
    memset(&alone, 0, sizeof alone);
    for (size_t i = 0; i < N_CELLS; i++)
        alone.cell[0][i] = i;
    seg_team_run(NULL, 1, lead_adding, &alone);
    for (unsigned n_workers = 2; n_workers <= 4; n_workers++) {
        struct seg_pool *pool = pool_of(n_workers);
        memset(&sums, 0, sizeof sums);
        for (size_t i = 0; i < N_CELLS; i++)
            sums.cell[0][i] = i;
        seg_team_run(pool, SEG_WORKERS_MAX, lead_adding, &sums);
        assert_memory_equal(sums.cell[sums.from], alone.cell[alone.from], sizeof *sums.cell);
        seg_pool_free(pool);
    }
}

/* A worker of the team's own pool leads: the others may be long in coming. */
static void lead_within(void *ctx, size_t i)
{
    (void)i;
    seg_team_run(ctx, SEG_WORKERS_MAX, lead_counting, &sums);
}

static void a_team_called_from_a_worker_does_not_wait_for_others(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(1);
    memset(&sums, 0, sizeof sums);
    sums.n_tasks = 10;
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, 1, lead_within, pool);
    assert_int_equal(sums.n_led, 1);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(sums.n_runs[i], 1);
    seg_pool_free(pool);
}

/* Inputs that the compiler cannot know. */
static volatile float smallest_normal = 0x1p-126f, half = 0.5f;
static _Atomic unsigned n_subnormal;

static void halve(void *ctx, size_t i)
{
    (void)ctx;
    (void)i;
    volatile float halved = smallest_normal * half;
    if (halved != 0.0f) n_subnormal++;
}

static void lead_halving(struct seg_team *team, void *ctx)
{
    seg_team_phase(team, 1000, halve, ctx);
}

static void members_take_subnormal_numbers_for_zero_and_give_them_back(void **state)
{
    (void)state;
    struct seg_pool *pool = pool_of(4);
    n_subnormal = 0;
    seg_team_run(pool, SEG_WORKERS_MAX, lead_halving, NULL);
    seg_team_run(NULL, 1, lead_halving, NULL);
#if defined(__x86_64__) || defined(__aarch64__)
    assert_int_equal(n_subnormal, 0);
#endif
    volatile float halved = smallest_normal * half;
    assert_true(halved != 0.0f);
    seg_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_phase_runs_every_task_once),
        cmocka_unit_test(a_team_without_a_pool_is_the_caller),
        cmocka_unit_test(a_phase_sees_all_that_earlier_ones_wrote),
        cmocka_unit_test(a_team_called_from_a_worker_does_not_wait_for_others),
        cmocka_unit_test(members_take_subnormal_numbers_for_zero_and_give_them_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
