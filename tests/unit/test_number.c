/* test_number.c - the vector loops of log1p, Yeo-Johnson and the distribution function against libm
 * and plain code in float64, and against each other. */
#include "preprocess_fixture.h"
#include "features/number.h"

/* Values of every size a column may have, both signs. */
static const float VALUES[] = { 0,     1e-42f, 1e-30f, 1e-9f, 3e-5f, 0.01f, 0.2f, 0.41f,
                                0.42f, 0.9f,   1,      1.5f,  2,     3,     10,   99.5f,
                                1234,  65535,  1e6f,   1e9f,  1e15f, 1e22f, 1e30f };
enum { N_VALUES = sizeof VALUES / sizeof VALUES[0] };

static double transform(const struct seg_number *s, float x)
{
    return seg_number_transform(s, x);
}

static void log1p_is_odd_and_agrees_with_libm(void **state)
{
    (void)state;
    const struct seg_number s = { .transform = SEG_TRANSFORM_LOG1P };
    for (unsigned i = 0; i < N_VALUES; i++) {
        const double want = log1p((double)VALUES[i]);
        assert_true(near(transform(&s, VALUES[i]), want, 1e-15, 0));
        assert_true(transform(&s, -VALUES[i]) == -transform(&s, VALUES[i]));
    }
    for (unsigned i = 0; i < 200000; i++) { /* dense, where the reduction changes its exponent */
        const float x = (float)i / 10000;
        assert_true(near(transform(&s, x), log1p((double)x), 1e-15, 0));
    }
}

static double yeo_johnson(double lambda, double x)
{
    const double a = x >= 0 ? lambda : 2 - lambda, sign = x >= 0 ? 1 : -1;
    return sign * (a == 0 ? log1p(fabs(x)) : expm1(a * log1p(fabs(x))) / a);
}

static void yeo_johnson_agrees_with_libm(void **state)
{
    (void)state;
    static const double LAMBDAS[] = { -5, -1.3, -0.5, -1e-9, 0,   1e-13,    1e-6, 0.3,
                                      1,  1.4,  2,    2.5,   3.1, 1.999999, 5 };
    for (unsigned k = 0; k < sizeof LAMBDAS / sizeof LAMBDAS[0]; k++) {
        const struct seg_number s = { .transform = SEG_TRANSFORM_YEO_JOHNSON,
                                      .lambda = LAMBDAS[k] };
        for (unsigned i = 0; i < N_VALUES; i++) {
            for (float sign = -1; sign <= 1; sign += 2) {
                const float x = sign * VALUES[i];
                const double want = yeo_johnson(LAMBDAS[k], (double)x);
                /* e^a has the rounding of a, here up to 483, as a relative error: in libm too */
                assert_true(near(transform(&s, x), want, 2e-13, 1e-300));
            }
        }
    }
}

static void yeo_johnson_inverse_gives_the_value_back(void **state)
{
    (void)state;
    for (double lambda = -1; lambda <= 3; lambda += 0.25) {
        const struct seg_number s = { .transform = SEG_TRANSFORM_YEO_JOHNSON, .lambda = lambda };
        for (float x = -20; x <= 20; x += 0.37f)
            assert_true(near(seg_number_inverse(&s, transform(&s, x)), (double)x, 1e-9, 1e-12));
    }
}

static void inverse_is_finite_where_there_is_none(void **state)
{
    (void)state;
    struct seg_number s[] = {
        { .transform = SEG_TRANSFORM_NONE },
        { .transform = SEG_TRANSFORM_LOG1P },
        { .transform = SEG_TRANSFORM_YEO_JOHNSON, .lambda = -5 },
        { .transform = SEG_TRANSFORM_YEO_JOHNSON, .lambda = 5 },
        { .transform = SEG_TRANSFORM_YEO_JOHNSON, .lambda = 0 },
        { .transform = SEG_TRANSFORM_QUANTILE },
        { .transform = SEG_TRANSFORM_BINS },
    };
    assert_int_equal(seg_number_set_knots(&s[5], (const double[]){ -2, 5, 9 }, 3), SEG_OK);
    assert_int_equal(seg_number_set_knots(&s[6], (const double[]){ -1e30, -2, 1e30 }, 3), SEG_OK);
    static const double T[] = { 0, 0.2, 0.9999999999999999, 1, 7, 1e30, 1e300 };
    for (unsigned i = 0; i < sizeof s / sizeof s[0]; i++)
        for (unsigned k = 0; k < sizeof T / sizeof T[0]; k++)
            for (double sign = -1; sign <= 1; sign += 2)
                assert_true(fabs(seg_number_inverse(&s[i], sign * T[k])) <= (double)SEG_VALUE_MAX);
    seg_number_release(&s[5]);
    seg_number_release(&s[6]);
}

/* Share of mass below x: the mean of the interpolation from the left and from the right. */
static double rank_twin(const double *knots, unsigned n, double x)
{
    if (x <= knots[0]) return 0;
    if (x >= knots[n - 1]) return 1;
    unsigned right = 0, left = n - 1; /* last knot <= x, first knot >= x */
    while (knots[right + 1] <= x)
        right++;
    while (knots[left - 1] >= x)
        left--;
    const double last = n - 1;
    if (knots[right] == x) return 0.5 * ((double)left / last + (double)right / last);
    return (right + (x - knots[right]) / (knots[left] - knots[right])) / last;
}

static void rank_agrees_with_a_walk_over_the_knots(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(3, 0);
    for (unsigned n = 2; n <= 130; n++) {
        double knots[130];
        struct seg_number s = { .transform = SEG_TRANSFORM_QUANTILE };
        knots[0] = -10;
        for (unsigned i = 1; i < n; i++) /* a third of the knots are ties */
            knots[i] = knots[i - 1] + (double)seg_rng_below(&rng, 3) / 2;
        assert_int_equal(seg_number_set_knots(&s, knots, n), SEG_OK);
        for (float x = -11; x <= (float)knots[n - 1] + 1; x += 0.25f) {
            const double rank = transform(&s, x);
            assert_true(near(rank, rank_twin(knots, n, (double)x), 1e-14, 0));
            assert_true(rank >= 0 && rank <= 1);
        }
        seg_number_release(&s);
    }
}

static void transforms_never_fall(void **state)
{
    (void)state;
    static const double KNOTS[] = { -3, -1, -1, 0, 4, 4, 4, 11 };
    struct seg_number s[] = {
        { .transform = SEG_TRANSFORM_LOG1P },
        { .transform = SEG_TRANSFORM_YEO_JOHNSON, .lambda = -0.7 },
        { .transform = SEG_TRANSFORM_YEO_JOHNSON, .lambda = 2.2 },
        { .transform = SEG_TRANSFORM_QUANTILE },
    };
    assert_int_equal(seg_number_set_knots(&s[3], KNOTS, 8), SEG_OK);
    for (unsigned i = 0; i < sizeof s / sizeof s[0]; i++) {
        double before = -INFINITY;
        for (float x = -12; x <= 12; x += 0.01f) {
            const double t = transform(&s[i], x);
            assert_true(t >= before);
            before = t;
        }
    }
    seg_number_release(&s[3]);
}

static void every_instruction_set_gives_the_same_bits(void **state)
{
    (void)state;
    const struct seg_number_kernels *const *all = seg_number_kernels_all();
    struct seg_rng rng = seg_rng_make(15, 0);
    double knots[100];
    for (unsigned i = 0; i < 100; i++)
        knots[i] = (double)(i / 3) - 15;
    for (int transform = SEG_TRANSFORM_NONE; transform <= SEG_TRANSFORM_BINS; transform++) {
        struct seg_number s = { .impute = 0.3f,
                                .lower = -1e6f,
                                .upper = 1e9f,
                                .transform = (enum seg_transform)transform,
                                .lambda = 0.37 };
        if (transform == SEG_TRANSFORM_QUANTILE || transform == SEG_TRANSFORM_BINS)
            assert_int_equal(seg_number_set_knots(&s, knots, 100), SEG_OK);
        seg_number_set_scale(&s, 0.123456789, 1 / 3.0);
        for (unsigned trial = 0; trial < 500; trial++) {
            float x[SEG_TILE_ROWS], want[SEG_TILE_ROWS], out[SEG_TILE_ROWS];
            double want_t[SEG_TILE_ROWS], t[SEG_TILE_ROWS];
            for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
                x[r] = ldexpf(seg_rng_float(&rng) - 0.5f, (int)seg_rng_below(&rng, 40) - 10);
            all[0]->transform(&s, x, want_t);
            x[trial % SEG_TILE_ROWS] = NAN;
            all[0]->apply(&s, x, want);
            for (unsigned k = 1; all[k] != NULL; k++) {
                all[k]->apply(&s, x, out);
                assert_memory_equal(out, want, sizeof out);
                x[trial % SEG_TILE_ROWS] = 1;
                all[k]->transform(&s, x, t);
                x[trial % SEG_TILE_ROWS] = NAN;
                for (unsigned r = 0; r < SEG_TILE_ROWS; r++)
                    assert_true(r == trial % SEG_TILE_ROWS || t[r] == want_t[r]);
            }
        }
        seg_number_release(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log1p_is_odd_and_agrees_with_libm),
        cmocka_unit_test(yeo_johnson_agrees_with_libm),
        cmocka_unit_test(yeo_johnson_inverse_gives_the_value_back),
        cmocka_unit_test(inverse_is_finite_where_there_is_none),
        cmocka_unit_test(rank_agrees_with_a_walk_over_the_knots),
        cmocka_unit_test(transforms_never_fall),
        cmocka_unit_test(every_instruction_set_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
