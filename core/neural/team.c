/* team.c - a leader publishes phases, everybody claims tasks by compare-and-swap. */
#include "neural/team.h"

#include <assert.h>
#include <sched.h>

#define SPINS_BEFORE_YIELD 2000u

static void spin(unsigned *n_spins)
{
    if (++*n_spins % SPINS_BEFORE_YIELD == 0) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Sets the thread's floating-point unit to take subnormal numbers for zero, and returns how it was.
 * The moments of a unit that has died decay into subnormals and stay there, and so do errors once a
 * class is certain; sums over them are ten times as slow. No figure that matters is that small. */
static unsigned long long flush_subnormals(void)
{
#if defined(__x86_64__)
    unsigned was = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(was | 0x8040); /* FTZ, DAZ */
    return was;
#elif defined(__aarch64__)
    unsigned long long was;
    __asm__ volatile("mrs %0, fpcr" : "=r"(was));
    __asm__ volatile("msr fpcr, %0" : : "r"(was | 1ull << 24)); /* FZ */
    return was;
#else
    return 0;
#endif
}

static void restore_subnormals(unsigned long long was)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr((unsigned)was);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(was));
#else
    (void)was;
#endif
}

/* Runs one task of the current phase, the first or the last that is left; false when none is. */
static bool run_one(struct seg_team *team, bool first)
{
    uint64_t word = atomic_load_explicit(&team->phase, memory_order_acquire);
    for (;;) {
        uint64_t end = (word >> 16) & 0xffff, next = word & 0xffff;
        if (next >= end) return false;
        uint64_t claimed = first ? word + 1 : word - (1u << 16);
        /* fn and ctx are read only after the claim: until its tasks are done the phase stands */
        if (atomic_compare_exchange_weak_explicit(&team->phase, &word, claimed,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            team->fn(team->fn_ctx, (size_t)(first ? next : end - 1));
            atomic_fetch_add_explicit(&team->n_done, 1, memory_order_release);
            seg_pool_give_way();
            return true;
        }
    }
}

void seg_team_phase(struct seg_team *team, size_t n, seg_chunk_fn fn, void *ctx)
{
    assert(n <= SEG_TEAM_TASKS_MAX);
    uint64_t number = (atomic_load_explicit(&team->phase, memory_order_relaxed) >> 32) + 1;
    team->fn = fn;
    team->fn_ctx = ctx;
    atomic_store_explicit(&team->n_done, 0, memory_order_relaxed);
    atomic_store_explicit(&team->phase, number << 32 | (uint64_t)n << 16, memory_order_release);
    while (run_one(team, true))
        ;
    unsigned n_spins = 0;
    while (atomic_load_explicit(&team->n_done, memory_order_acquire) < n)
        spin(&n_spins);
}

static void help(struct seg_team *team)
{
    unsigned n_spins = 0;
    while (!atomic_load_explicit(&team->finished, memory_order_acquire)) {
        if (run_one(team, false))
            n_spins = 0;
        else
            spin(&n_spins);
    }
}

static void member(void *ctx, size_t index)
{
    struct seg_team *team = ctx;
    unsigned long long was = flush_subnormals();
    (void)index;
    if (!atomic_exchange_explicit(&team->led, true, memory_order_acq_rel)) {
        team->lead(team, team->ctx);
        atomic_store_explicit(&team->finished, true, memory_order_release);
    } else {
        help(team);
    }
    restore_subnormals(was);
}

void seg_team_run(struct seg_pool *pool, unsigned n_members, seg_lead_fn lead, void *ctx)
{
    unsigned n_most = pool != NULL ? seg_pool_size(pool) : 1;
    struct seg_team team = { .lead = lead,
                             .ctx = ctx,
                             .n_members = n_members < n_most ? n_members : n_most };
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, team.n_members, member, &team);
}
