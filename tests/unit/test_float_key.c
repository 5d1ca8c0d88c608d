/* test_float_key.c - keys are in the order of their floats, and lead back to them. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/float_key.h"
#include "base/rng.h"

static void keys_are_in_the_order_of_the_floats(void **state)
{
    (void)state;
    static const float X[] = { -INFINITY,  -FLT_MAX,        -2,   -1,        -FLT_MIN,
                               -0x1p-149f, -0.0f,           0.0f, 0x1p-149f, FLT_MIN,
                               1,          1 + FLT_EPSILON, 2,    FLT_MAX,   INFINITY };
    enum { N = sizeof X / sizeof X[0] };
    for (unsigned i = 0; i + 1 < N; i++)
        assert_true(seg_float_key(X[i]) < seg_float_key(X[i + 1]));
    assert_int_equal(seg_float_key(0.0f) - seg_float_key(-0.0f), 1); /* neighbours */
    assert_true(seg_float_key(copysignf(NAN, -1)) < seg_float_key(-INFINITY));
    assert_true(seg_float_key(copysignf(NAN, 1)) > seg_float_key(INFINITY));
}

static void keys_lead_back_to_the_same_bits(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(1, 0);
    for (unsigned i = 0; i < 100000; i++) {
        const uint32_t key = (uint32_t)seg_rng_u64(&rng);
        assert_int_equal(seg_float_key(seg_float_of_key(key)), key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_in_the_order_of_the_floats),
        cmocka_unit_test(keys_lead_back_to_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
