/* test_rng.c - values that must never change, and that they look random. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "compute/shuffle.h"

/* A stored model names its seed: another value here would change every model trained from now on.
 */
static void rng_values_are_pinned(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(42, 7);
    assert_true(seg_rng_u64(&rng) == 0x152cb60a2ce0c2a7u);
    assert_true(seg_rng_u64(&rng) == 0xd886171976067f06u);
    assert_true(seg_rng_u64(&rng) == 0xc599a7753ca38090u);
    assert_int_equal(seg_rng_below(&rng, 1000), 944);
    assert_true(seg_rng_float(&rng) == 0x1.af662e0000000p-1f);
    assert_true(seg_rng_double(&rng) == 0x1.b5ab5e394e8eap-2);
}

/* The outputs of SplitMix64 seeded with 1234567, as published with the reference code. */
static void rng_u64_is_splitmix64_of_its_key(void **state)
{
    (void)state;
    static const uint64_t expected[] = { 6457827717110365317u, 3203168211198807973u,
                                         9817491932198370423u, 4593380528125082431u,
                                         16408922859458223821u };
    struct seg_rng rng = { .key = 1234567 };
    for (size_t i = 0; i < 5; i++)
        assert_true(seg_rng_u64(&rng) == expected[i]);
}

static void rng_value_is_a_function_of_its_counter(void **state)
{
    (void)state;
    struct seg_rng walked = seg_rng_make(1, 2), jumped = walked;
    for (int i = 0; i < 1000; i++)
        seg_rng_u64(&walked);
    jumped.counter = 1000;
    assert_true(seg_rng_u64(&walked) == seg_rng_u64(&jumped));
}

/* Chi-square of 256 cells: mean 255, standard deviation 22.6; 400 is beyond any doubt (p < 1e-7).
 */
#define N_CELLS      256
#define CHI2_MAX     400.0
#define N_DRAWS      (N_CELLS * 400)
#define N_DRAWS_CELL 400.0

static double chi2(const uint32_t *counts)
{
    double sum = 0;
    for (size_t i = 0; i < N_CELLS; i++) {
        const double diff = counts[i] - N_DRAWS_CELL;
        sum += diff * diff / N_DRAWS_CELL;
    }
    return sum;
}

static void rng_every_byte_of_u64_is_uniform(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        struct seg_rng rng = seg_rng_make(3, shift);
        uint32_t counts[N_CELLS] = { 0 };
        for (size_t i = 0; i < N_DRAWS; i++)
            counts[seg_rng_u64(&rng) >> shift & 255]++;
        assert_true(chi2(counts) < CHI2_MAX);
    }
}

static void rng_reals_are_uniform_in_the_half_open_unit_interval(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 0);
    uint32_t floats[N_CELLS] = { 0 }, doubles[N_CELLS] = { 0 };
    for (size_t i = 0; i < N_DRAWS; i++) {
        const float f = seg_rng_float(&rng);
        const double d = seg_rng_double(&rng);
        assert_true(f >= 0.0f && f < 1.0f && d >= 0.0 && d < 1.0);
        floats[(int)(f * N_CELLS)]++;
        doubles[(int)(d * N_CELLS)]++;
    }
    assert_true(chi2(floats) < CHI2_MAX);
    assert_true(chi2(doubles) < CHI2_MAX);
}

/* The first value of stream 0, 1, 2 … must be as random as the values of one stream, and two
 * streams or seeds side by side must agree in half of their bits. */
static void rng_streams_and_seeds_are_independent(void **state)
{
    (void)state;
    uint32_t firsts[N_CELLS] = { 0 };
    for (size_t i = 0; i < N_DRAWS; i++) {
        struct seg_rng rng = seg_rng_make(5, i);
        firsts[seg_rng_u64(&rng) >> 56]++;
    }
    assert_true(chi2(firsts) < CHI2_MAX);

    const size_t n = 10000;
    struct seg_rng a = seg_rng_make(6, 0), b = seg_rng_make(6, 1), c = seg_rng_make(7, 0);
    double ab = 0, ac = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t va = seg_rng_u64(&a);
        ab += __builtin_popcountll(va ^ seg_rng_u64(&b));
        ac += __builtin_popcountll(va ^ seg_rng_u64(&c));
    }
    const double sigma = 4.0 / sqrt((double)n); /* of the mean of 64 fair bits */
    assert_true(fabs(ab / (double)n - 32.0) < 6 * sigma);
    assert_true(fabs(ac / (double)n - 32.0) < 6 * sigma);
}

static void rng_streams_never_run_into_each_other(void **state)
{
    (void)state;
    for (uint64_t s = 0; s < 100; s++)
        for (uint64_t t = 0; t < s; t++)
            assert_true(seg_rng_make(8, s).key != seg_rng_make(8, t).key);
}

/* 3 * 2^62 is the worst n for a product without rejection: a third of the results would be twice as
 * likely as the others. */
static void rng_below_is_unbiased_where_the_range_does_not_divide(void **state)
{
    (void)state;
    const uint64_t n = (uint64_t)3 << 62;
    struct seg_rng rng = seg_rng_make(9, 0);
    double counts[3] = { 0 };
    const int n_draws = 30000;
    for (int i = 0; i < n_draws; i++) {
        const uint64_t v = seg_rng_below(&rng, n);
        assert_true(v < n);
        counts[v % 3]++;
    }
    for (int i = 0; i < 3; i++)
        assert_true(fabs(counts[i] - n_draws / 3.0) < 6 * sqrt(n_draws * 2.0 / 9.0));
}

static void rng_below_reaches_every_value_and_no_other(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(10, 0);
    bool seen[7] = { false };
    for (int i = 0; i < 1000; i++)
        seen[seg_rng_below(&rng, 7)] = true;
    for (int i = 0; i < 7; i++)
        assert_true(seen[i]);
    assert_int_equal(seg_rng_below(&rng, 1), 0);
}

static void rng_normal_has_the_moments_of_a_normal(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(11, 0);
    const int n = 200000;
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
    for (int i = 0; i < n; i++) {
        const double z = seg_rng_normal(&rng);
        assert_true(isfinite(z));
        m1 += z / n;
        m2 += z * z / n;
        m3 += z * z * z / n;
        m4 += z * z * z * z / n;
    }
    /* Six standard errors: sqrt of 1, 2, 15 and 96 over n. */
    assert_true(fabs(m1) < 6 * sqrt(1.0 / n));
    assert_true(fabs(m2 - 1) < 6 * sqrt(2.0 / n));
    assert_true(fabs(m3) < 6 * sqrt(15.0 / n));
    assert_true(fabs(m4 - 3) < 6 * sqrt(96.0 / n));
}

static void rng_shuffle_gives_every_permutation_equally_often(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(12, 0);
    double counts[27] = { 0 };
    const int n = 60000;
    for (int i = 0; i < n; i++) {
        uint32_t index[3] = { 0, 1, 2 };
        seg_rng_shuffle(&rng, index, 3);
        assert_int_equal(1u << index[0] | 1u << index[1] | 1u << index[2], 7);
        counts[index[0] * 9 + index[1] * 3 + index[2]]++;
    }
    static const int orders[6] = { 5, 7, 11, 15, 19, 21 }; /* 012 021 102 120 201 210 in base 3 */
    for (int i = 0; i < 6; i++)
        assert_true(fabs(counts[orders[i]] - n / 6.0) < 6 * sqrt(n * 5.0 / 36.0));
}

static void rng_shuffle_of_nothing_and_of_one_draws_nothing(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(13, 0);
    uint32_t one[1] = { 9 };
    seg_rng_shuffle(&rng, NULL, 0);
    seg_rng_shuffle(&rng, one, 1);
    assert_int_equal(one[0], 9);
    assert_int_equal(rng.counter, 0);
}

/* Else every split of a table in parts would change. */
static void rng_shuffle_that_gives_way_is_the_same_shuffle(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        0,    1, 2, SEG_CHUNK_ROWS, SEG_CHUNK_ROWS + 1, SEG_CHUNK_ROWS + 2, 2 * SEG_CHUNK_ROWS + 1,
        10000
    };
    static uint32_t plain[10000], given[10000];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct seg_rng rng = seg_rng_make(15, s), other = rng;
        for (size_t i = 0; i < sizes[s]; i++)
            plain[i] = given[i] = (uint32_t)i;
        seg_rng_shuffle(&rng, plain, sizes[s]);
        seg_shuffle(&other, given, sizes[s]);
        assert_memory_equal(plain, given, sizes[s] * sizeof *plain);
        assert_true(seg_rng_u64(&rng) == seg_rng_u64(&other));
    }
}

static void rng_sample_gives_every_set_equally_often_and_in_order(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(14, 0);
    double counts[32] = { 0 }; /* by the bits of the set */
    const int n = 60000;
    for (int i = 0; i < n; i++) {
        uint32_t drawn[3] = { 9, 9, 9 };
        seg_rng_sample(&rng, 5, 3, drawn);
        assert_true(drawn[0] < drawn[1] && drawn[1] < drawn[2] && drawn[2] < 5);
        counts[1u << drawn[0] | 1u << drawn[1] | 1u << drawn[2]]++;
    }
    for (unsigned set = 0; set < 32; set++)
        if (__builtin_popcount(set) == 3)
            assert_true(fabs(counts[set] - n / 10.0) < 6 * sqrt(n * 9.0 / 100.0));
}

/* Samples decide which rows models learn from: these must never change either. */
static void rng_sample_is_pinned_and_draws_once_for_each_number_it_passes(void **state)
{
    (void)state;
    static const uint32_t expected[] = { 2, 12, 13, 14, 17 };
    struct seg_rng rng = seg_rng_make(15, 0);
    uint32_t drawn[5];
    seg_rng_sample(&rng, 20, 5, drawn);
    assert_memory_equal(drawn, expected, sizeof expected);
    assert_int_equal(rng.counter, drawn[4] + 1);
}

static void rng_sample_of_all_is_all_and_of_nothing_is_nothing(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(16, 0);
    uint32_t all[100];
    seg_rng_sample(&rng, 0, 0, NULL);
    seg_rng_sample(&rng, 100, 0, NULL);
    assert_int_equal(rng.counter, 0);
    seg_rng_sample(&rng, 100, 100, all);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(all[i], i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rng_values_are_pinned),
        cmocka_unit_test(rng_u64_is_splitmix64_of_its_key),
        cmocka_unit_test(rng_value_is_a_function_of_its_counter),
        cmocka_unit_test(rng_every_byte_of_u64_is_uniform),
        cmocka_unit_test(rng_reals_are_uniform_in_the_half_open_unit_interval),
        cmocka_unit_test(rng_streams_and_seeds_are_independent),
        cmocka_unit_test(rng_streams_never_run_into_each_other),
        cmocka_unit_test(rng_below_is_unbiased_where_the_range_does_not_divide),
        cmocka_unit_test(rng_below_reaches_every_value_and_no_other),
        cmocka_unit_test(rng_normal_has_the_moments_of_a_normal),
        cmocka_unit_test(rng_shuffle_gives_every_permutation_equally_often),
        cmocka_unit_test(rng_shuffle_that_gives_way_is_the_same_shuffle),
        cmocka_unit_test(rng_shuffle_of_nothing_and_of_one_draws_nothing),
        cmocka_unit_test(rng_sample_gives_every_set_equally_often_and_in_order),
        cmocka_unit_test(rng_sample_is_pinned_and_draws_once_for_each_number_it_passes),
        cmocka_unit_test(rng_sample_of_all_is_all_and_of_nothing_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
