/* test_kernels.c - every kernel of every instruction set this machine runs against a float64 loop,
 * and the promise that a row's bits depend on nothing but the row. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "compute/kernels.h"
#include "compute/screen.h"

#define ROWS   64u
#define D_MAX  130u
#define M_MAX  40u
#define CANARY 12345.0f

/* Buffers have a tile more than is used, filled with canaries. */
static _Alignas(64) float x[(D_MAX + 1) * ROWS], y[(D_MAX + 1) * ROWS], out[(M_MAX + 1) * ROWS];
static float w[M_MAX * D_MAX], bias[M_MAX];

static const size_t WIDTHS[] = { 1, 2, 3, 4, 7, 10, 16, 20, 33, 64, D_MAX };
static const size_t COUNTS[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17, 24, 31, M_MAX };
#define N_OF(array) (sizeof(array) / sizeof *(array))

#define FOR_EACH_ISA(k)                                                                            \
    for (const struct seg_kernels *const *at = seg_kernels_all(), *k; (k = *at) != NULL; at++)

#define FOR_EACH_SCREEN(k)                                                                         \
    for (const struct seg_screen_kernel *const *at = seg_screen_kernels_all(), *k;                 \
         (k = *at) != NULL; at++)

static void fill(struct seg_rng *rng, float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = seg_rng_float(rng) * 4 - 2;
}

static void assert_canaries(const float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(p[i] == CANARY);
}

static void set_canaries(float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = CANARY;
}

static void kernels_get_is_the_first_of_all_and_the_last_is_portable(void **state)
{
    (void)state;
    const struct seg_kernels *const *all = seg_kernels_all();
    assert_ptr_equal(seg_kernels_get(), all[0]);
    size_t n = 0;
    while (all[n] != NULL)
        n++;
    assert_string_equal(all[n - 1]->isa, "baseline");
    for (size_t i = 0; i + 1 < n; i++)
        assert_string_not_equal(all[i]->isa, all[i + 1]->isa);
}

static void affine_agrees_with_a_float64_loop(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(1, 0);
    FOR_EACH_ISA(k)
    for (size_t a = 0; a < N_OF(WIDTHS); a++)
        for (size_t b = 0; b < N_OF(COUNTS); b++) {
            const size_t d = WIDTHS[a], m = COUNTS[b];
            const bool has_bias = (a + b) % 2;
            fill(&rng, x, d * ROWS);
            fill(&rng, w, m * d);
            fill(&rng, bias, m);
            set_canaries(out, (m + 1) * ROWS);
            k->affine(x, d, w, has_bias ? bias : NULL, m, out);
            assert_canaries(out + m * ROWS, ROWS);
            for (size_t j = 0; j < m; j++)
                for (size_t r = 0; r < ROWS; r++) {
                    double sum = has_bias ? bias[j] : 0, size = fabs(sum);
                    for (size_t c = 0; c < d; c++) {
                        sum += (double)w[j * d + c] * x[c * ROWS + r];
                        size += fabs((double)w[j * d + c] * x[c * ROWS + r]);
                    }
                    /* The bound of recursive summation, Higham 2002, 4.4. */
                    if (fabs(out[j * ROWS + r] - sum) > (double)(d + 1) * FLT_EPSILON * size)
                        fail_msg("%s: out[%zu][%zu], d %zu, m %zu", k->isa, j, r, d, m);
                }
        }
}

static void affine_of_no_columns_is_the_bias(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    {
        bias[0] = 3.5f;
        k->affine(x, 0, w, bias, 1, out);
        for (size_t r = 0; r < ROWS; r++)
            assert_true(out[r] == 3.5f);
    }
}

static void affine_few_gives_the_bits_of_affine_to_its_rows(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(2, 0);
    static _Alignas(64) float whole[(M_MAX + 1) * ROWS];
    const size_t d = 21;
    FOR_EACH_ISA(k)
    {
        fill(&rng, x, d * ROWS);
        fill(&rng, w, M_MAX * d);
        fill(&rng, bias, M_MAX);
        k->affine(x, d, w, bias, M_MAX, whole);
        for (size_t n = 1; n <= ROWS; n++) {
            set_canaries(out, (M_MAX + 1) * ROWS);
            k->affine_few(x, d, w, bias, M_MAX, n, out);
            assert_canaries(out + M_MAX * ROWS, ROWS);
            for (size_t j = 0; j < M_MAX; j++)
                assert_memory_equal(out + j * ROWS, whole + j * ROWS, n * sizeof *out);
        }
    }
}

static void nan_rows_and_code_rows_find_each_row(void **state)
{
    (void)state;
    const uint32_t code = 0xffc00001; /* a NaN's bits, so that only bits can be compared */
    FOR_EACH_ISA(k)
    for (size_t a = 0; a < ROWS; a++)
        for (size_t b = 0; b < ROWS; b += 7) {
            for (size_t r = 0; r < ROWS; r++)
                x[r] = r % 2 ? INFINITY : -0.0f;
            assert_true(k->nan_rows(x) == 0 && k->code_rows(x, code) == 0);
            x[b] = NAN;
            memcpy(&x[a], &code, sizeof code);
            assert_true(k->nan_rows(x) == (UINT64_C(1) << a | UINT64_C(1) << b));
            assert_true(k->code_rows(x, code) == UINT64_C(1) << a);
        }
}

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

/* x (d, 64), c (k, d): squared distance of row r to centroid j in float64. */
static double distance2(size_t d, const float *c, size_t j, size_t r)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++) {
        const double diff = (double)x[i * ROWS + r] - c[j * d + i];
        sum += diff * diff;
    }
    return sum;
}

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

/* Every centroid that is not in a row's list is at least rest away, and the distances to those in
 * it are right. */
static void check_lists(const struct seg_screen_kernel *k, const struct seg_screen *s,
                        uint16_t near[ROWS][SEG_NEAR], const float *rest)
{
    static _Alignas(64) float rows[ROWS][D_MAX + 2 * SEG_SCREEN_PAD - D_MAX % SEG_SCREEN_PAD];
    const uint16_t *list[ROWS];
    uint32_t lane[ROWS];
    float dist2[ROWS][SEG_NEAR];
    unsigned n = 0;
    for (uint32_t r = 0; r < ROWS; r++) {
        if (!isfinite(distance2(s->d, w, 0, r)) || distance2(s->d, w, 0, r) > 1e37) continue;
        for (size_t c = 0; c < s->d_padded; c++)
            rows[n][c] = c < s->d ? x[c * ROWS + r] : 0;
        list[n] = near[r];
        lane[n++] = r;
        for (size_t m = 0; m < SEG_NEAR; m++)
            assert_true(near[r][m] < s->k);
        for (size_t j = 0; j < s->k; j++) {
            bool is_near = false;
            for (size_t m = 0; m < SEG_NEAR; m++)
                is_near = is_near || near[r][m] == j;
            if (!is_near && sqrt(distance2(s->d, w, j, r)) < (double)rest[r])
                fail_msg("%s: row %u, centroid %zu of %zu, d %zu", k->isa, r, j, s->k, s->d);
        }
    }
    k->among(s, rows[0], sizeof rows[0] / sizeof rows[0][0], n, list, dist2[0]);
    for (unsigned i = 0; i < n; i++)
        for (size_t m = 0; m < SEG_NEAR; m++) {
            const double exact = distance2(s->d, w, near[lane[i]][m], lane[i]);
            if (!(fabs(dist2[i][m] - exact) <= (double)s->widen * exact + 1e-30))
                fail_msg("%s: row %u, d %zu, k %zu", k->isa, lane[i], s->d, s->k);
        }
}

/* Screens x (d, 64) against w (n, d). Where the margin is above 0 the label must be the only
 * nearest centroid in float64, and the next one at least that much farther. Returns the number of
 * rows that were left in doubt. */
static size_t check_screen(const struct seg_screen_kernel *k, size_t d, size_t n,
                           const double *centre)
{
    static _Alignas(64) int32_t code[(D_MAX / 2 + 2) * ROWS];
    const size_t n_code = (d + 1) / 2 * ROWS;
    struct seg_screen s;
    struct seg_matrix c = { n, d, w };
    uint32_t label[ROWS];
    float margin[ROWS];
    size_t n_doubtful = 0;
    assert_int_equal(seg_screen_init(&s, n, d, centre), SEG_OK);
    seg_screen_set(&s, &c);
    for (size_t i = 0; i < ROWS; i++)
        code[n_code + i] = 77;
    uint32_t same[ROWS];
    float same_margin[ROWS], rest[ROWS];
    uint16_t near[ROWS][SEG_NEAR];
    k->screen(&s, x, code, label, margin, NULL, NULL);
    if (n > SEG_NEAR) {
        k->screen(&s, x, code, same, same_margin, near[0], rest);
        assert_memory_equal(label, same, sizeof label);
        for (size_t r = 0; r < ROWS; r++)
            assert_int_equal(same_margin[r] > 0, margin[r] > 0);
        check_lists(k, &s, near, rest);
    }
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(code[n_code + i], 77);
    for (size_t r = 0; r < ROWS; r++) {
        if (!(margin[r] > 0)) {
            n_doubtful++;
            continue;
        }
        assert_true(label[r] < n);
        const double own = sqrt(distance2(d, w, label[r], r));
        for (size_t j = 0; j < n; j++)
            if (j != label[r] && sqrt(distance2(d, w, j, r)) - own < (double)margin[r])
                fail_msg("%s: row %zu, d %zu, k %zu", k->isa, r, d, n);
    }
    seg_screen_release(&s);
    return n_doubtful;
}

static void screen_is_right_or_in_doubt(void **state)
{
    (void)state;
    static const double CENTRES[] = { 0, 0.25, -100 };
    static const float SCALES[] = { 1, 1e-3f, 1e6f, 1e-20f, 1e18f };
    struct seg_rng rng = seg_rng_make(14, 0);
    double centre[D_MAX];
    FOR_EACH_SCREEN(k)
    for (size_t a = 0; a < N_OF(WIDTHS); a++)
        for (size_t b = 0; b < N_OF(COUNTS); b++)
            for (size_t i = 0; i < N_OF(SCALES); i++) {
                const size_t d = WIDTHS[a], n = COUNTS[b];
                fill(&rng, x, d * ROWS);
                fill(&rng, w, n * d);
                for (size_t c = 0; c < d * ROWS; c++)
                    x[c] *= SCALES[i];
                for (size_t c = 0; c < n * d; c++)
                    w[c] *= SCALES[i];
                for (size_t c = 0; c < d; c++)
                    centre[c] = CENTRES[b % 3] * (double)SCALES[i];
                const size_t n_doubtful = check_screen(k, d, n, centre);
                if (b % 3 != 2 && n > 1 && i < 3) assert_true(n_doubtful < ROWS / 4);
            }
}

static void screen_is_in_doubt_at_ties_and_without_finite_distances(void **state)
{
    (void)state;
    const double centre[] = { 0, 0, 0 };
    struct seg_rng rng = seg_rng_make(15, 0);
    FOR_EACH_SCREEN(k)
    {
        fill(&rng, x, 3 * ROWS);
        fill(&rng, w, 9 * 3);
        memcpy(w + 3, w, 3 * sizeof *w); /* centroid 1 is centroid 0 */
        for (size_t r = 0; r < 20; r++)
            for (size_t c = 0; c < 3; c++)
                x[c * ROWS + r] = w[c];
        x[20] = NAN;
        x[ROWS + 21] = INFINITY;
        x[22] = 3e38f;
        x[23] = x[ROWS + 23] = x[2 * ROWS + 23] = 0;
        assert_true(check_screen(k, 3, 9, centre) >= 22);
        memset(w, 0, 9 * 3 * sizeof *w);
        assert_int_equal(check_screen(k, 3, 9, centre), ROWS);
    }
}

/* Far from the centre the codes are too coarse for clusters that stand close together. */
static void screen_is_in_doubt_where_codes_are_too_coarse(void **state)
{
    (void)state;
    const double centre[] = { 0, 0 };
    FOR_EACH_SCREEN(k)
    {
        for (size_t r = 0; r < ROWS; r++) {
            x[r] = 1e6f + (float)(r % 8) * 0.125f;
            x[ROWS + r] = (float)(r / 8) * 0.125f;
        }
        for (size_t j = 0; j < 8; j++) {
            w[2 * j] = 1e6f + (float)j * 0.125f;
            w[2 * j + 1] = 0.25f;
        }
        assert_true(check_screen(k, 2, 8, centre) > ROWS / 2);
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

/* One row's results at each of the 64 places, amid ever other neighbours, for every number of
 * outputs: affine's output j and nearest's distance to centroid 0 must never change a bit. */
static void results_of_a_row_depend_on_nothing_but_the_row(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(5, 0);
    const size_t d = 37;
    float row[37], affine_first[M_MAX], dist2_first[M_MAX + 1];
    FOR_EACH_ISA(k)
    {
        fill(&rng, row, d);
        fill(&rng, w, M_MAX * d);
        fill(&rng, bias, M_MAX);
        bool is_first = true;
        for (size_t m = M_MAX; m > 0; m--)
            for (size_t place = 0; place < ROWS; place++) {
                uint32_t label[ROWS];
                float dist2[ROWS], second2[ROWS];
                fill(&rng, x, d * ROWS);
                for (size_t c = 0; c < d; c++)
                    x[c * ROWS + place] = row[c];
                k->affine(x, d, w, bias, m, out);
                k->nearest(x, d, w, m, label, dist2, second2);
                if (is_first)
                    for (size_t j = 0; j < m; j++)
                        affine_first[j] = out[j * ROWS + place];
                for (size_t j = 0; j < m; j++)
                    assert_memory_equal(&out[j * ROWS + place], &affine_first[j], sizeof *out);
                if (place == 0) dist2_first[m] = dist2[place];
                assert_memory_equal(&dist2[place], &dist2_first[m], sizeof *dist2);
                is_first = false;
            }
        /* The distance to one centroid alone is that found among many. */
        for (size_t j = 0; j < M_MAX; j++) {
            uint32_t label[ROWS];
            float alone[ROWS], among[ROWS];
            k->nearest(x, d, w + j * d, 1, label, alone, NULL);
            k->nearest(x, d, w, M_MAX, label, among, NULL);
            for (size_t r = 0; r < ROWS; r++)
                if (label[r] == j) assert_memory_equal(&alone[r], &among[r], sizeof *alone);
            k->squares_to(x, d, w, label, alone);
            assert_memory_equal(alone, among, sizeof alone);
        }
    }
}

/* Instruction sets with a fused multiply-add do the same operations in the same order. */
static void v3_and_v4_agree_to_the_bit(void **state)
{
    (void)state;
    const struct seg_kernels *const *all = seg_kernels_all();
    if (strcmp(all[0]->isa, "x86-64-v4") != 0) skip();
    struct seg_rng rng = seg_rng_make(6, 0);
    static _Alignas(64) float other[(M_MAX + 1) * ROWS];
    fill(&rng, x, 20 * ROWS);
    fill(&rng, w, 13 * 20);
    all[0]->affine(x, 20, w, NULL, 13, out);
    all[1]->affine(x, 20, w, NULL, 13, other);
    assert_memory_equal(out, other, 13 * ROWS * sizeof *out);
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

static void transposing_there_and_back_is_the_identity(void **state)
{
    (void)state;
    static float rows[(D_MAX + 1) * ROWS];
    FOR_EACH_ISA(k)
    for (size_t d = 1; d <= D_MAX; d++) {
        for (size_t i = 0; i < d * ROWS; i++)
            x[i] = (float)i;
        set_canaries(rows, (d + 1) * ROWS);
        set_canaries(y, (d + 1) * ROWS);
        k->to_rows(x, d, rows);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < d; c++)
                assert_true(rows[r * d + c] == x[c * ROWS + r]);
        assert_canaries(rows + d * ROWS, ROWS);
        k->from_rows(rows, d, y);
        assert_memory_equal(x, y, d * ROWS * sizeof *x);
        assert_canaries(y + d * ROWS, ROWS);
    }
}

static void rows_from_anywhere_become_a_tile(void **state)
{
    (void)state;
    FOR_EACH_ISA(k)
    for (size_t d = 1; d <= D_MAX; d++) {
        /* As narrow as they are, so that a sanitizer sees who reads past one. */
        float *rows[ROWS];
        const float *from[ROWS];
        for (size_t r = 0; r < ROWS; r++) {
            rows[r] = r % 5 == 4 ? NULL : malloc(d * sizeof *rows[r]);
            from[r] = rows[r] != NULL ? rows[r] : rows[r / 5 * 5];
            for (size_t c = 0; c < d && rows[r] != NULL; c++)
                rows[r][c] = (float)(r * d + c);
        }
        set_canaries(y, (d + 1) * ROWS);
        k->from_each(from, d, y);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < d; c++)
                assert_true(y[c * ROWS + r] == from[r][c]);
        assert_canaries(y + d * ROWS, ROWS);
        for (size_t r = 0; r < ROWS; r++)
            free(rows[r]);
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
        cmocka_unit_test(kernels_get_is_the_first_of_all_and_the_last_is_portable),
        cmocka_unit_test(affine_agrees_with_a_float64_loop),
        cmocka_unit_test(affine_of_no_columns_is_the_bias),
        cmocka_unit_test(affine_few_gives_the_bits_of_affine_to_its_rows),
        cmocka_unit_test(nan_rows_and_code_rows_find_each_row),
        cmocka_unit_test(clamp_bounds_every_value_and_makes_nan_zero),
        cmocka_unit_test(nearest_finds_the_best_and_the_second),
        cmocka_unit_test(squares_agree_with_a_float64_loop_and_have_the_bits_of_nearest),
        cmocka_unit_test(screen_is_right_or_in_doubt),
        cmocka_unit_test(screen_is_in_doubt_at_ties_and_without_finite_distances),
        cmocka_unit_test(screen_is_in_doubt_where_codes_are_too_coarse),
        cmocka_unit_test(margin_agrees_with_float64),
        cmocka_unit_test(survey_agrees_with_a_float64_loop),
        cmocka_unit_test(nearest_gives_a_tie_to_the_lower_index),
        cmocka_unit_test(nearest_labels_a_row_by_the_centroid_it_stands_on),
        cmocka_unit_test(nearest_does_not_cancel_far_from_the_origin),
        cmocka_unit_test(nearest_of_a_row_without_a_finite_distance_is_the_first),
        cmocka_unit_test(results_of_a_row_depend_on_nothing_but_the_row),
        cmocka_unit_test(v3_and_v4_agree_to_the_bit),
        cmocka_unit_test(exp_is_accurate_to_two_ulp_and_saturates),
        cmocka_unit_test(activations_are_accurate_at_every_size_of_argument),
        cmocka_unit_test(activations_at_their_limits_are_finite_and_keep_nan),
        cmocka_unit_test(maps_treat_tails_like_whole_vectors),
        cmocka_unit_test(softmax_columns_are_distributions),
        cmocka_unit_test(softmax_of_huge_logits_does_not_overflow),
        cmocka_unit_test(transposing_there_and_back_is_the_identity),
        cmocka_unit_test(rows_from_anywhere_become_a_tile),
        cmocka_unit_test(spent_rows_are_those_without_slack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
