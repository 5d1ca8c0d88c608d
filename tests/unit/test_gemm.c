/* test_gemm.c - the product is what a float64 loop says, for every transposition, stride and scale.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/rng.h"
#include "compute/gemm.h"

#define SIZE_MAX_TESTED 40
#define STRIDE          (SIZE_MAX_TESTED + 3)

static float a[STRIDE * STRIDE], b[STRIDE * STRIDE], c[STRIDE * STRIDE], before[STRIDE * STRIDE];

static void fill(struct seg_rng *rng, float *x)
{
    for (size_t i = 0; i < STRIDE * STRIDE; i++)
        x[i] = seg_rng_float(rng) * 2 - 1;
}

static void check(struct seg_rng *rng, bool ta, bool tb, size_t m, size_t n, size_t k, float alpha,
                  float beta)
{
    fill(rng, a);
    fill(rng, b);
    fill(rng, c);
    memcpy(before, c, sizeof c);
    seg_gemm(ta, tb, m, n, k, alpha, a, STRIDE, b, STRIDE, beta, c, STRIDE);
    for (size_t i = 0; i < STRIDE; i++) {
        for (size_t j = 0; j < STRIDE; j++) {
            double expected = before[i * STRIDE + j];
            if (i < m && j < n) {
                double sum = 0;
                for (size_t p = 0; p < k; p++)
                    sum += (double)a[ta ? p * STRIDE + i : i * STRIDE + p] *
                           b[tb ? j * STRIDE + p : p * STRIDE + j];
                expected = alpha * sum + beta * expected;
            } /* else outside the product: untouched */
            if (fabs(c[i * STRIDE + j] - expected) > 1e-5 * (1.0 + fabs(expected)))
                fail_msg("c[%zu][%zu] of %zux%zux%zu", i, j, m, n, k);
        }
    }
}

static void gemm_agrees_with_a_float64_loop(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(1, 0);
    static const size_t sizes[][3] = { { 1, 1, 1 },    { 1, 40, 7 },   { 40, 1, 33 }, { 5, 3, 1 },
                                       { 17, 19, 23 }, { 40, 40, 40 }, { 32, 10, 4 }, { 3, 4, 0 } };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int t = 0; t < 4; t++) {
            check(&rng, t & 1, t & 2, sizes[i][0], sizes[i][1], sizes[i][2], 1.0f, 0.0f);
            check(&rng, t & 1, t & 2, sizes[i][0], sizes[i][1], sizes[i][2], -0.5f, 2.0f);
        }
}

static void gemm_with_beta_zero_ignores_what_was_there(void **state)
{
    (void)state;
    const float x[1] = { 2 }, y[1] = { 3 };
    float z[1] = { NAN };
    seg_gemm(false, false, 1, 1, 1, 1.0f, x, 1, y, 1, 0.0f, z, 1);
    assert_true(z[0] == 6.0f);
}

static void gemm_init_accepts_this_blas_and_names_its_kernel(void **state)
{
    (void)state;
    struct seg_error err = { "" };
    assert_int_equal(seg_gemm_init(&err), SEG_OK);
    assert_string_equal(err.text, "");
    seg_gemm_warm_up();
    assert_true(strlen(seg_gemm_core_name()) > 0);
}

static void a_core_behind_the_processor_is_told_from_one_as_good(void **state)
{
    (void)state;
    assert_string_equal(seg_gemm_better_core("Prescott", "x86-64-v4"), "SkylakeX");
    assert_string_equal(seg_gemm_better_core("Zen", "x86-64-v4"), "SkylakeX");
    assert_string_equal(seg_gemm_better_core("Prescott", "x86-64-v3"), "Haswell");
    assert_null(seg_gemm_better_core("Cooperlake", "x86-64-v4"));
    assert_null(seg_gemm_better_core("SKYLAKEX", "x86-64-v4"));
    assert_null(seg_gemm_better_core("Zen", "x86-64-v3"));
    assert_null(seg_gemm_better_core("Prescott", "baseline"));
    assert_null(seg_gemm_better_core("NEOVERSEN1", "baseline"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_init_accepts_this_blas_and_names_its_kernel),
        cmocka_unit_test(a_core_behind_the_processor_is_told_from_one_as_good),
        cmocka_unit_test(gemm_agrees_with_a_float64_loop),
        cmocka_unit_test(gemm_with_beta_zero_ignores_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
