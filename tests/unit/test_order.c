/* test_order.c - what sorting gives, bit for bit, whatever the distribution and the order of the
 * values. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "features/order.h"

#define N_MAX 60000u

static float drawn[N_MAX], sorted[N_MAX];

static const size_t SIZES[] = { 1, 2, 3, 10, 48, 49, 50, 600, 4095, 4096, 8193, N_MAX };
enum { N_SIZES = sizeof SIZES / sizeof SIZES[0] };

enum shape {
    UNIFORM,
    BELL,
    LONG_TAIL,
    FEW_VALUES,
    CONSTANT,
    ZEROS,
    MOSTLY_ZERO,
    ONE_FAR_OUT,
    NESTED,
    WIDE,
    ALL_BITS,
    ENDLESS,
    N_SHAPES
};

static double fraction(struct seg_rng *rng)
{
    return ((double)(seg_rng_u64(rng) >> 11) + 0.5) * 0x1p-53;
}

static float draw(enum shape shape, struct seg_rng *rng, size_t i)
{
    const double u = fraction(rng);
    switch (shape) {
    case UNIFORM: return (float)(u - 0.5);
    case BELL: return 1e6f + (float)seg_rng_normal(rng);
    case LONG_TAIL: return (float)exp(20 * u);
    case FEW_VALUES: return (float)seg_rng_below(rng, 5) - 2;
    case CONSTANT: return -3.25f;
    case ZEROS: return u < 0.3 ? -0.0f : 0.0f;
    case MOSTLY_ZERO: return u < 0.7 ? 0.0f : (float)seg_rng_normal(rng);
    case ONE_FAR_OUT: return i == 17 ? -1e30f : (float)u;
    case NESTED: return i == 17 ? FLT_MAX : (float)(1 + exp2(-23 * u)); /* each cut leaves most */
    case WIDE: return (float)((u - 0.5) * 6e38); /* their range is no float */
    case ALL_BITS: return ldexpf(seg_rng_float(rng) - 0.5f, (int)seg_rng_below(rng, 276) - 148);
    default: return u < 0.2 ? -INFINITY : u < 0.5 ? INFINITY : (float)u;
    }
}

/* The plain definition of the order. */
static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    if (x != y) return x < y ? -1 : 1;
    return (signbit(y) != 0) - (signbit(x) != 0);
}

/* Fills drawn and sorted with the same n values. */
static void draw_all(enum shape shape, uint64_t seed, size_t n)
{
    struct seg_rng rng = seg_rng_make(seed, (uint64_t)shape);
    for (size_t i = 0; i < n; i++)
        drawn[i] = sorted[i] = draw(shape, &rng, i);
    qsort(sorted, n, sizeof *sorted, ascending);
}

static void assert_same_bits(const float *a, const float *b, size_t n)
{
    assert_memory_equal(a, b, n * sizeof *a);
}

/* What order.h says of the quantile at q of x (n), sorted. */
static double twin(const float *x, size_t n, double q)
{
    const double h = (double)(n - 1) * q, i = floor(h);
    const double below = (double)x[(size_t)i];
    return h == i ? below : below + (h - i) * ((double)x[(size_t)i + 1] - below);
}

static void quantiles_are_those_of_sorting(void **state)
{
    (void)state;
    static const double Q[] = { 0, 0.1, 0.25, 0.5, 0.5, 0.501, 0.9, 1 };
    enum { N_Q = sizeof Q / sizeof Q[0] };
    for (int shape = 0; shape < N_SHAPES; shape++)
        for (unsigned k = 0; k < N_SIZES; k++) {
            const size_t n = SIZES[k];
            struct seg_quantile got[N_Q];
            draw_all((enum shape)shape, 7, n);
            seg_order_quantiles(drawn, n, Q, N_Q, got);
            for (unsigned i = 0; i < N_Q; i++) {
                const size_t at = (size_t)floor((double)(n - 1) * Q[i]);
                assert_same_bits(&got[i].below, &sorted[at], 1);
                assert_same_bits(&got[i].above, &sorted[at + 1 < n ? at + 1 : at], 1);
                assert_true(got[i].weight >= 0 && got[i].weight < 1);
                if (shape == ENDLESS) continue; /* has order statistics, and no quantiles */
                assert_true(seg_quantile_value(&got[i]) == twin(sorted, n, Q[i]));
                assert_true(seg_quantile_sorted(sorted, n, Q[i]) == twin(sorted, n, Q[i]));
            }
            qsort(drawn, n, sizeof *drawn, ascending); /* none is lost */
            assert_same_bits(drawn, sorted, n);
        }
}

static void quantiles_do_not_depend_on_the_order_of_the_values(void **state)
{
    (void)state;
    static const double Q[] = { 0.05, 0.29, 0.3, 0.31, 0.95 };
    enum { N_Q = sizeof Q / sizeof Q[0], N = 20000 };
    for (int shape = 0; shape < N_SHAPES; shape++) {
        struct seg_quantile first[N_Q], got[N_Q];
        draw_all((enum shape)shape, 11, N);
        seg_order_quantiles(drawn, N, Q, N_Q, first);
        seg_order_quantiles(sorted, N, Q, N_Q, got);
        assert_memory_equal(first, got, sizeof got);
        draw_all((enum shape)shape, 11, N);
        for (size_t i = 0; i < N; i++)
            drawn[i] = sorted[N - 1 - i];
        seg_order_quantiles(drawn, N, Q, N_Q, got);
        assert_memory_equal(first, got, sizeof got);
    }
}

static void quantiles_of_zeros_are_positive_zero(void **state)
{
    (void)state;
    static const double Q[] = { 0, 0.1, 0.5, 0.9, 1 };
    enum { N_Q = sizeof Q / sizeof Q[0] };
    for (unsigned k = 0; k < N_SIZES; k++) {
        struct seg_quantile got[N_Q];
        for (int negative = 0; negative < 2; negative++) {
            draw_all(ZEROS, 3, SIZES[k]);
            for (size_t i = 0; negative && i < SIZES[k]; i++)
                drawn[i] = -0.0f;
            seg_order_quantiles(drawn, SIZES[k], Q, N_Q, got);
            for (unsigned i = 0; i < N_Q; i++)
                assert_true(seg_quantile_value(&got[i]) == 0 &&
                            !signbit(seg_quantile_value(&got[i])));
        }
    }
}

static void quantiles_are_linear_between_order_statistics(void **state)
{
    (void)state;
    /* numpy.quantile([1, 2, 4, 8], q) */
    static const double Q[] = { 0, 0.25, 0.5, 0.9, 1 };
    static const double WANT[] = { 1, 1.75, 3, 6.8, 8 };
    enum { N_Q = sizeof Q / sizeof Q[0] };
    float x[] = { 4, 1, 8, 2 };
    struct seg_quantile got[N_Q];
    seg_order_quantiles(x, 4, Q, N_Q, got);
    seg_order_sort(x, 4);
    for (unsigned i = 0; i < N_Q; i++) {
        assert_true(fabs(seg_quantile_value(&got[i]) - WANT[i]) < 1e-14);
        assert_true(seg_quantile_value(&got[i]) == seg_quantile_sorted(x, 4, Q[i]));
    }
}

static void sorting_and_range_agree_with_the_plain_order(void **state)
{
    (void)state;
    for (int shape = 0; shape < N_SHAPES; shape++)
        for (unsigned k = 0; k < N_SIZES; k++) {
            const size_t n = SIZES[k];
            draw_all((enum shape)shape, 5, n);
            const struct seg_range range = seg_order_range(drawn, n);
            assert_same_bits(&range.least, &sorted[0], 1);
            assert_same_bits(&range.most, &sorted[n - 1], 1);
            seg_order_sort(drawn, n);
            assert_same_bits(drawn, sorted, n);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_those_of_sorting),
        cmocka_unit_test(quantiles_do_not_depend_on_the_order_of_the_values),
        cmocka_unit_test(quantiles_of_zeros_are_positive_zero),
        cmocka_unit_test(quantiles_are_linear_between_order_statistics),
        cmocka_unit_test(sorting_and_range_agree_with_the_plain_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
