/* test_screen.c - whom the screen takes for nearest is that in float64, or in doubt, on every
 * instruction set that has one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "compute/screen.h"
#include "kernels_fixture.h"

static float w[M_MAX * D_MAX];

#define FOR_EACH_SCREEN(k)                                                                         \
    for (const struct seg_screen_kernel *const *at = seg_screen_kernels_all(), *k;                 \
         (k = *at) != NULL; at++)

/* The distances of n rows, which are those of the lanes of x, to the last centroids. */
static void check_few(const struct seg_screen_kernel *k, const struct seg_screen *s,
                      const float *rows, size_t stride, unsigned n, const uint32_t *lane)
{
    static float dist2[ROWS][SEG_NEAR];
    uint16_t few[SEG_FEW];
    for (unsigned m = 0; m < SEG_FEW; m++)
        few[m] = (uint16_t)(s->k - 1 - m);
    for (unsigned n_few = 1; n_few <= SEG_FEW; n_few++) {
        k->among_few(s, rows, stride, n, few, n_few, dist2[0]);
        for (unsigned i = 0; i < n; i++)
            for (unsigned m = 0; m < SEG_NEAR; m++) {
                const double exact = m < n_few ? distance2(s->d, w, few[m], lane[i]) : 0;
                if (!(fabs((double)dist2[i][m] - exact) <= (double)s->widen * exact + 1e-30))
                    fail_msg("%s: row %u, d %zu, k %zu", k->isa, lane[i], s->d, s->k);
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
    check_few(k, s, rows[0], sizeof rows[0] / sizeof rows[0][0], n, lane);
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

int main(void)
{
    if (seg_screen_kernels_all()[0] == NULL) return 77; /* to meson: skipped, nothing to test */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(screen_is_right_or_in_doubt),
        cmocka_unit_test(screen_is_in_doubt_at_ties_and_without_finite_distances),
        cmocka_unit_test(screen_is_in_doubt_where_codes_are_too_coarse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
