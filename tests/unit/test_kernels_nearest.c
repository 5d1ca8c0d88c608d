/* test_kernels_nearest.c - the kernels that k-means is made of: distances, margins and what rows
 * have left of them, against float64 loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include "kernels_fixture.h"

static _Alignas(64) float out[(M_MAX + 1) * ROWS];
static float w[M_MAX * D_MAX];

static void nearest_finds_the_best_and_the_second(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(2, 0);
    FOR_EACH_ISA(k)
    for (size_t a = 0; a < N_OF(WIDTHS); a++)
        for (size_t b = 0; b < N_OF(COUNTS); b++) {
            const size_t d = WIDTHS[a], n = COUNTS[b];
            uint32_t label[ROWS];
            float dist2[ROWS], second2[ROWS];
            fill(&rng, x, d * ROWS);
            fill(&rng, w, n * d);
            k->nearest(x, d, w, n, label, dist2, second2);
            const double tolerance = (double)(d + 2) * FLT_EPSILON;
            for (size_t r = 0; r < ROWS; r++) {
                double best = INFINITY, second = INFINITY;
                for (size_t j = 0; j < n; j++) {
                    const double dist = distance2(d, w, j, r);
                    second = fmin(second, fmax(best, dist));
                    best = fmin(best, dist);
                }
                assert_true(label[r] < n);
                /* The label's own distance, so that a near tie may go either way. */
                assert_true(distance2(d, w, label[r], r) <= best * (1 + 2 * tolerance) + 1e-12);
                assert_true(fabs(dist2[r] - best) <= best * tolerance + 1e-12);
                if (n == 1)
                    assert_true(second2[r] == FLT_MAX);
                else
                    assert_true(fabs(second2[r] - second) <= second * tolerance + 1e-12);
            }
        }
}

static void squares_agree_with_a_float64_loop_and_have_the_bits_of_nearest(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(12, 0);
    FOR_EACH_ISA(k)
    for (size_t a = 0; a < N_OF(WIDTHS); a++)
        for (size_t b = 0; b < N_OF(COUNTS); b++) {
            const size_t d = WIDTHS[a], n = COUNTS[b];
            uint32_t label[ROWS];
            float alone[ROWS];
            fill(&rng, x, d * ROWS);
            fill(&rng, w, n * d);
            set_canaries(out, (n + 1) * ROWS);
            k->squares(x, d, w, n, out);
            assert_canaries(out + n * ROWS, ROWS);
            for (size_t j = 0; j < n; j++) {
                k->nearest(x, d, w + j * d, 1, label, alone, NULL);
                assert_memory_equal(out + j * ROWS, alone, sizeof alone);
                for (size_t r = 0; r < ROWS; r++) {
                    const double expected = distance2(d, w, j, r);
                    assert_true(fabs(out[j * ROWS + r] - expected) <=
                                (double)(d + 2) * FLT_EPSILON * expected);
                }
            }
        }
}

static void margin_agrees_with_float64(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(12, 0);
    float dist2[ROWS], second2[ROWS], got[ROWS];
    fill(&rng, dist2, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        dist2[i] = fabsf(dist2[i]) * (i % 3 == 0 ? 1e12f : 1);
        second2[i] = i % 7 == 0 ? FLT_MAX : dist2[i] * (1 + seg_rng_float(&rng));
    }
    FOR_EACH_ISA(k)
    {
        k->margin(dist2, second2, 1e-5f, 1e-3f, got);
        for (size_t i = 0; i < ROWS; i++) {
            const double u = sqrt(dist2[i]), l = sqrt(second2[i]), e = (double)1e-5f;
            const double expected = l * (1 - e) - u * (1 + e) - (double)1e-3f;
            assert_true(fabs(got[i] - expected) <= 0x1p-22 * l);
        }
    }
}

static void survey_agrees_with_a_float64_loop(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(13, 0);
    FOR_EACH_ISA(k)
    for (size_t a = 0; a < N_OF(WIDTHS); a++) {
        const size_t d = WIDTHS[a];
        double sum[D_MAX], square[D_MAX];
        float largest[D_MAX], shift[D_MAX];
        fill(&rng, x, d * ROWS);
        for (size_t c = 0; c < d; c++) {
            x[c * ROWS + 5] = -3;
            shift[c] = x[c * ROWS];
            sum[c] = 1;
            square[c] = 2;
            largest[c] = c % 2 == 0 ? 0 : 100;
        }
        k->survey(x, d, shift, sum, square, largest);
        for (size_t c = 0; c < d; c++) {
            double s = 1, q = 2;
            for (size_t r = 0; r < ROWS; r++) {
                const double off = (double)x[c * ROWS + r] - (double)shift[c];
                s += off;
                q += off * off;
            }
            assert_true(fabs(sum[c] - s) <= 1e-12 && fabs(square[c] - q) <= 1e-12 * q);
            assert_true(largest[c] == (c % 2 == 0 ? 3 : 100));
        }
    }
}

static void nearest_gives_a_tie_to_the_lower_index(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(3, 0);
    FOR_EACH_ISA(k)
    for (size_t n = 2; n <= 20; n++) {
        uint32_t label[ROWS];
        float dist2[ROWS], second2[ROWS];
        fill(&rng, x, 3 * ROWS);
        for (size_t j = 0; j < n; j++) /* all centroids are one point */
            for (size_t i = 0; i < 3; i++)
                w[j * 3 + i] = (float)i;
        k->nearest(x, 3, w, n, label, dist2, second2);
        for (size_t r = 0; r < ROWS; r++) {
            assert_int_equal(label[r], 0);
            assert_true(dist2[r] == second2[r]);
        }
    }
}

static void nearest_labels_a_row_by_the_centroid_it_stands_on(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 0);
    FOR_EACH_ISA(k)
    for (size_t n = 1; n <= M_MAX; n++) {
        uint32_t label[ROWS];
        float dist2[ROWS];
        fill(&rng, w, n * 5);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t i = 0; i < 5; i++)
                x[i * ROWS + r] = w[r % n * 5 + i];
        k->nearest(x, 5, w, n, label, dist2, NULL);
        for (size_t r = 0; r < ROWS; r++) {
            assert_int_equal(label[r], r % n);
            assert_true(dist2[r] == 0.0f);
        }
    }
}

/* Far from the origin |x|^2 - 2xc + |c|^2 would lose every digit. */
static void nearest_does_not_cancel_far_from_the_origin(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    {
        uint32_t label[ROWS];
        float dist2[ROWS], second2[ROWS];
        for (size_t r = 0; r < ROWS; r++)
            x[r] = 1e6f;
        w[0] = 1e6f + 2;
        w[1] = 1e6f - 1;
        k->nearest(x, 1, w, 2, label, dist2, second2);
        assert_int_equal(label[0], 1);
        assert_true(dist2[0] == 1.0f && second2[0] == 4.0f);
    }
}

static void nearest_of_a_row_without_a_finite_distance_is_the_first(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    for (int kind = 0; kind < 2; kind++) {
        uint32_t label[ROWS];
        float dist2[ROWS], second2[ROWS];
        for (size_t r = 0; r < ROWS; r++)
            x[r] = kind ? NAN : 3e38f;
        for (size_t j = 0; j < 9; j++)
            w[j] = -3e38f;
        k->nearest(x, 1, w, 9, label, dist2, second2);
        for (size_t r = 0; r < ROWS; r++) {
            assert_int_equal(label[r], 0);
            assert_true(dist2[r] == FLT_MAX && second2[r] == FLT_MAX);
        }
    }
}

static void spent_rows_are_those_without_slack(void **state)
{
    (void)state;
    static _Alignas(64) float slack[ROWS];
    static _Alignas(64) uint32_t label[ROWS];
    static const size_t MS[] = { 1, 5, 8, 9, 16, 17, M_MAX };
    float table[M_MAX + SEG_SPENT_ROOM] = { 0, 0.5f, 1, 2, FLT_MAX };
    struct seg_rng rng = seg_rng_make(5, 0);
    fill(&rng, table + 5, M_MAX - 5);
    FOR_EACH_ISA(k)
    for (unsigned round = 0; round < 50 * N_OF(MS); round++) {
        const size_t m = MS[round % N_OF(MS)];
        const size_t special = seg_rng_below(&rng, ROWS);
        const float specials[] = { -FLT_MAX, FLT_MAX, NAN };
        fill(&rng, slack, ROWS);
        for (size_t r = 0; r < ROWS; r++)
            label[r] = (uint32_t)seg_rng_below(&rng, m);
        slack[(special + 1) % ROWS] = table[label[(special + 1) % ROWS]]; /* just spent */
        slack[special] = specials[round % 3];
        float least;
        double expected = FLT_MAX;
        const uint64_t spent = k->spent_rows(slack, label, table, m, &least);
        for (size_t r = 0; r < ROWS; r++) {
            assert_int_equal(spent >> r & 1, !(slack[r] > table[label[r]]));
            const double left = (double)slack[r] * (1 - 0x1p-20) - (double)table[label[r]];
            if (left < expected) expected = left;
        }
        if (round % 3 == 2) continue; /* a row of NaN has nothing that could be compared */
        assert_true(fabs((double)least - expected) <= fabs(expected) * 1e-6 ||
                    (isinf(least) && expected < -FLT_MAX));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_finds_the_best_and_the_second),
        cmocka_unit_test(squares_agree_with_a_float64_loop_and_have_the_bits_of_nearest),
        cmocka_unit_test(margin_agrees_with_float64),
        cmocka_unit_test(survey_agrees_with_a_float64_loop),
        cmocka_unit_test(nearest_gives_a_tie_to_the_lower_index),
        cmocka_unit_test(nearest_labels_a_row_by_the_centroid_it_stands_on),
        cmocka_unit_test(nearest_does_not_cancel_far_from_the_origin),
        cmocka_unit_test(nearest_of_a_row_without_a_finite_distance_is_the_first),
        cmocka_unit_test(spent_rows_are_those_without_slack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
