/* What explain/quantiles.h promises: what sorting gives, bit for bit, whatever the distribution. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/rng.h"
#include "explain/quantiles.h"

#define N_MAX 60000u

static float drawn[N_MAX], sorted[N_MAX];

enum shape {
    UNIFORM,
    BELL,
    LONG_TAIL,
    FEW_VALUES,
    CONSTANT,
    ONE_FAR_OUT,
    WIDE,
    INFINITE,
    N_SHAPES
};

static float draw(enum shape shape, struct seg_rng *rng, size_t i)
{
    const double u = ((double)(seg_rng_u64(rng) >> 11) + 0.5) * 0x1p-53;
    const double v = ((double)(seg_rng_u64(rng) >> 11) + 0.5) * 0x1p-53;
    switch (shape) {
    case UNIFORM: return (float)(u - 0.5);
    case BELL: return (float)(1e6 + sqrt(-2 * log(u)) * cos(2 * 3.14159265358979 * v));
    case LONG_TAIL: return (float)exp(20 * u);
    case FEW_VALUES: return floorf((float)(u * 5));
    case CONSTANT: return -3.25f;
    case ONE_FAR_OUT: return i == 17 ? 1e30f : (float)u;
    case WIDE: return (float)((u - 0.5) * 6e38); /* the range is no float */
    default: return 0;
    }
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double naive(const float *v, size_t n, double q)
{
    const double rank = q * (double)(n - 1), below = floor(rank);
    const size_t i = (size_t)below;
    if (i + 1 >= n || v[i] == v[i + 1]) return (double)v[i];
    return (double)v[i] + (rank - below) * ((double)v[i + 1] - (double)v[i]);
}

static void quantiles_are_those_of_sorting(void **state)
{
    (void)state;
    static const size_t SIZES[] = { 1, 2, 3, 10, 8191, 8192, 8193, N_MAX };
    static const double Q[] = { 0, 0.1, 0.25, 0.5, 0.5, 0.9, 1 };
    enum { N_Q = sizeof Q / sizeof Q[0] };
    for (int shape = 0; shape < N_SHAPES; shape++)
        for (size_t s = 0; s < sizeof SIZES / sizeof SIZES[0]; s++) {
            struct seg_rng rng = seg_rng_make(7, (uint64_t)shape);
            const size_t n = SIZES[s];
            double got[N_Q];
            for (size_t i = 0; i < n; i++)
                drawn[i] = sorted[i] = draw((enum shape)shape, &rng, i);
            qsort(sorted, n, sizeof *sorted, by_value);
            seg_quantiles(drawn, n, Q, N_Q, got);
            for (size_t i = 0; i < N_Q; i++)
                assert_true(got[i] == naive(sorted, n, Q[i]));
        }
}

static void quantiles_of_ends_need_no_neighbour(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(3, 0);
    double got;
    for (size_t i = 0; i < N_MAX; i++)
        drawn[i] = draw(UNIFORM, &rng, i);
    drawn[41] = 9;
    seg_quantiles(drawn, N_MAX, (const double[]){ 1 }, 1, &got);
    assert_true(got == 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_those_of_sorting),
        cmocka_unit_test(quantiles_of_ends_need_no_neighbour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
