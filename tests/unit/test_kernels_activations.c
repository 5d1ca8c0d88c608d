/* test_kernels_activations.c - the kernels that map numbers in place, against libm, at the limits
 * of a float and at every length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include "kernels_fixture.h"

static _Alignas(64) float y[(D_MAX + 1) * ROWS];
static _Alignas(64) float out[(M_MAX + 1) * ROWS];

static void clamp_bounds_every_value_and_makes_nan_zero(void **state)
{
    (void)state;
    static const float cases[] = { 0,   -0.0f, 1,       -1,       2.5f,      -2.5f,
                                   3,   -3,    FLT_MAX, -FLT_MAX, INFINITY,  -INFINITY,
                                   NAN, -NAN,  FLT_MIN, -FLT_MIN, 2.4999998f };
    FOR_EACH_ISA(k)
    for (size_t n = 0; n <= ROWS; n++) {
        set_canaries(x, ROWS + 1);
        for (size_t i = 0; i < n; i++)
            x[i] = cases[(i + n) % N_OF(cases)];
        k->clamp(x, n, 2.5f);
        for (size_t i = 0; i < n; i++) {
            const float v = cases[(i + n) % N_OF(cases)];
            assert_true(x[i] == (isnan(v) ? 0 : fmaxf(-2.5f, fminf(2.5f, v))));
        }
        assert_canaries(x + n, ROWS + 1 - n);
    }
}

static double ulps(float got, double expected)
{
    const float nearest = (float)expected;
    return fabs(got - expected) / ((double)nextafterf(fabsf(nearest), INFINITY) - fabsf(nearest));
}

/* All of [-87, 88] in steps of about 2^-14, each through another lane and the tail. */
static void exp_is_accurate_to_two_ulp_and_saturates(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    {
        enum { N = 997 };
        float v[N], in[N];
        double worst = 0;
        for (double start = -87; start <= 88; start += N * 0x1p-14) {
            for (size_t i = 0; i < N; i++)
                in[i] = v[i] = (float)fmin(start + (double)i * 0x1p-14, 88);
            k->exp(v, N);
            for (size_t i = 0; i < N; i++)
                worst = fmax(worst, ulps(v[i], exp((double)in[i])));
        }
        if (worst > 2) fail_msg("%s: exp is off by %.2f ulp", k->isa, worst);

        float far[] = { -87, -88, -1e30f, -INFINITY, 88, 89, 1e30f, INFINITY, NAN, 0 };
        k->exp(far, N_OF(far));
        for (size_t i = 1; i < 4; i++)
            assert_true(far[i] == far[0] && far[i] > 0);
        for (size_t i = 5; i < 8; i++)
            assert_true(far[i] == far[4] && isfinite(far[i]));
        assert_true(isnan(far[8]));
        assert_true(far[9] == 1.0f);
    }
}

static double sigmoid_exact(double v)
{
    return 1 / (1 + exp(-v));
}

static double gelu_exact(double v)
{
    const double u = 0.79788456080286535588 * (v + 0.044715 * v * v * v);
    return v * sigmoid_exact(2 * u);
}

static double relu_exact(double v)
{
    return v > 0 ? v : 0;
}

/* Every size of argument from 1e-30 to 80, both signs. */
static void check_map(const char *isa, void (*f)(float *, size_t), double (*exact)(double),
                      double tolerance)
{
    enum { N = 4001 };
    static float v[N], in[N];
    for (int sign = -1; sign <= 1; sign += 2) {
        for (size_t i = 0; i < N; i++)
            in[i] = v[i] = (float)(sign * 80 * pow(10, -(double)i / N * 32));
        f(v, N);
        for (size_t i = 0; i < N; i++) {
            const double expected = exact((double)in[i]);
            if (fabs(v[i] - expected) > tolerance * fabs(expected) + FLT_MIN)
                fail_msg("%s: f(%a) = %a, not %a", isa, (double)in[i], (double)v[i], expected);
        }
    }
}

static void activations_are_accurate_at_every_size_of_argument(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    {
        check_map(k->isa, k->relu, relu_exact, 0);
        check_map(k->isa, k->tanh, tanh, 1e-6);
        check_map(k->isa, k->sigmoid, sigmoid_exact, 1e-6);
        /* The argument of e^2u has its own rounding error, up to |2u| times larger in the result.
         */
        check_map(k->isa, k->gelu, gelu_exact, 3e-5);
    }
}

static void activations_at_their_limits_are_finite_and_keep_nan(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    {
        const float in[] = { -FLT_MAX, -1e15f, FLT_MAX, 1e15f, NAN, 0, -INFINITY, INFINITY };
        float tanhs[8], sigmoids[8], gelus[8], relus[8];
        memcpy(tanhs, in, sizeof in);
        memcpy(sigmoids, in, sizeof in);
        memcpy(gelus, in, sizeof in);
        memcpy(relus, in, sizeof in);
        k->tanh(tanhs, 8);
        k->sigmoid(sigmoids, 8);
        k->gelu(gelus, 8);
        k->relu(relus, 8);
        for (size_t i = 0; i < 4; i++) {
            const bool is_positive = i >= 2;
            assert_true(tanhs[i] == (is_positive ? 1.0f : -1.0f));
            assert_true(is_positive ? sigmoids[i] == 1.0f : sigmoids[i] < 1e-37f);
            assert_true(gelus[i] == (is_positive ? in[i] : 0.0f));
            assert_true(relus[i] == (is_positive ? in[i] : 0.0f));
        }
        assert_true(isnan(tanhs[4]) && isnan(sigmoids[4]) && isnan(gelus[4]) && isnan(relus[4]));
        assert_true(tanhs[5] == 0 && sigmoids[5] == 0.5f && gelus[5] == 0 && relus[5] == 0);
        assert_true(tanhs[6] == -1 && tanhs[7] == 1 && gelus[6] == 0 && gelus[7] == INFINITY);
    }
}

/* The result of a value must not depend on the length of the run or on its place there. */
static void maps_treat_tails_like_whole_vectors(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(7, 0);
    FOR_EACH_ISA(k)
    {
        void (*const maps[])(float *, size_t) = { k->relu, k->exp, k->sigmoid, k->tanh, k->gelu };
        for (size_t f = 0; f < N_OF(maps); f++)
            for (size_t n = 0; n < 70; n++) {
                float run[72], single;
                fill(&rng, x, n);
                memcpy(run, x, n * sizeof *run);
                run[n] = CANARY;
                maps[f](run, n);
                assert_true(run[n] == CANARY);
                for (size_t i = 0; i < n; i++) {
                    single = x[i];
                    maps[f](&single, 1);
                    assert_memory_equal(&single, &run[i], sizeof single);
                }
            }
    }
}

static void softmax_columns_are_distributions(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(8, 0);
    FOR_EACH_ISA(k)
    for (size_t b = 0; b < N_OF(COUNTS); b++) {
        const size_t m = COUNTS[b];
        fill(&rng, out, m * ROWS);
        for (size_t i = 0; i < m * ROWS; i++)
            out[i] *= 20;
        memcpy(y, out, m * ROWS * sizeof *y);
        set_canaries(out + m * ROWS, ROWS);
        k->softmax(out, m);
        assert_canaries(out + m * ROWS, ROWS);
        for (size_t r = 0; r < ROWS; r++) {
            double max = -INFINITY, sum = 0, total = 0;
            for (size_t j = 0; j < m; j++)
                max = fmax(max, y[j * ROWS + r]);
            for (size_t j = 0; j < m; j++)
                sum += exp(y[j * ROWS + r] - max);
            for (size_t j = 0; j < m; j++) {
                const double expected = exp(y[j * ROWS + r] - max) / sum;
                assert_true(fabs(out[j * ROWS + r] - expected) <= 1e-5 * expected + 1e-37);
                total += out[j * ROWS + r];
            }
            assert_true(fabs(total - 1) < 1e-5);
        }
    }
}

static void softmax_of_huge_logits_does_not_overflow(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    {
        for (size_t r = 0; r < ROWS; r++) {
            out[r] = 3e38f;
            out[ROWS + r] = -3e38f;
            out[2 * ROWS + r] = 3e38f;
        }
        k->softmax(out, 3);
        for (size_t r = 0; r < ROWS; r++) {
            assert_true(fabsf(out[r] - 0.5f) < 1e-6f && fabsf(out[2 * ROWS + r] - 0.5f) < 1e-6f);
            assert_true(out[ROWS + r] < 1e-37f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clamp_bounds_every_value_and_makes_nan_zero),
        cmocka_unit_test(exp_is_accurate_to_two_ulp_and_saturates),
        cmocka_unit_test(activations_are_accurate_at_every_size_of_argument),
        cmocka_unit_test(activations_at_their_limits_are_finite_and_keep_nan),
        cmocka_unit_test(maps_treat_tails_like_whole_vectors),
        cmocka_unit_test(softmax_columns_are_distributions),
        cmocka_unit_test(softmax_of_huge_logits_does_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
