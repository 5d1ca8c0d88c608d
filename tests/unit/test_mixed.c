/* test_mixed.c - the distance of rows of numbers and categories is that of its definition, and that
 * of the embedding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include "mixed_data.h"

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * (1 + fabs(b));
}

static void squares_and_nearest_are_those_of_the_definition_in_every_instruction_set(void **state)
{
    (void)state;
    static const size_t KS[] = { 1, 2, 3, 4, 5, 6, 9, 64, 131 };
    const float weight = 1.7f;
    float *x = mixed_rows(SEG_TILE_ROWS, 6, 1), *c = mixed_rows(131, 9, 2);
    struct seg_tiles t = tiles_of(x, SEG_TILE_ROWS, MIXED_COLS);
    float *out = seg_alloc_aligned(131 * SEG_TILE_ROWS, sizeof *out);
    assert_non_null(out);
    for (const struct seg_mixed_kernels *const *k = seg_mixed_kernels_all(); *k != NULL; k++) {
        struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, weight);
        m.kernels = *k;
        for (size_t i = 0; i < sizeof KS / sizeof *KS; i++) {
            uint32_t label[SEG_TILE_ROWS];
            float dist2[SEG_TILE_ROWS], second2[SEG_TILE_ROWS];
            seg_mixed_squares(&m, seg_tiles_at(&t, 0), c, KS[i], out);
            seg_mixed_nearest(&m, seg_tiles_at(&t, 0), c, KS[i], label, dist2, second2);
            for (size_t r = 0; r < SEG_TILE_ROWS; r++) {
                uint32_t best = 0;
                float second = FLT_MAX;
                for (uint32_t j = 0; j < KS[i]; j++) {
                    const float got = out[j * SEG_TILE_ROWS + r];
                    assert_true(
                        near((double)got, mixed_dist2(x + r * MIXED_COLS, c + j * MIXED_COLS,
                                                      MIXED_CODES, MIXED_COLS, (double)weight)));
                    if (got < out[best * SEG_TILE_ROWS + r]) best = j;
                }
                for (uint32_t j = 0; j < KS[i]; j++)
                    if (j != best) second = fminf(second, out[j * SEG_TILE_ROWS + r]);
                assert_int_equal(label[r], best);
                assert_true(dist2[r] == out[best * SEG_TILE_ROWS + r]);
                assert_true(second2[r] == second);
            }
        }
        seg_mixed_release(&m);
    }
    seg_free(out);
    seg_tiles_release(&t);
    seg_free(x);
    seg_free(c);
}

static void a_tie_goes_to_the_lower_prototype(void **state)
{
    (void)state;
    static const uint32_t CODES[] = { 0, 3 };
    const float x[] = { 1, 2 }, c[] = { 1, 0, 1, 1, 3, 2, -1, 2 }; /* 2, 2, 4 and 4 away */
    struct seg_mixed m = mixed_space(CODES, 2, 2);
    struct seg_tiles t = tiles_of(x, 1, 2);
    uint32_t label[SEG_TILE_ROWS];
    float dist2[SEG_TILE_ROWS], second2[SEG_TILE_ROWS];
    seg_mixed_nearest(&m, seg_tiles_at(&t, 0), c, 4, label, dist2, second2);
    assert_int_equal(label[0], 0);
    assert_true(dist2[0] == 2 && second2[0] == 2);
    seg_tiles_release(&t);
    seg_mixed_release(&m);
}

static void the_embedding_has_the_same_distances(void **state)
{
    (void)state;
    const size_t n = 70;
    const float weight = 0.9f;
    float *x = mixed_rows(n, 5, 3);
    struct seg_mixed m = mixed_space(MIXED_CODES, MIXED_COLS, weight);
    struct seg_tiles t = tiles_of(x, n, MIXED_COLS), e;
    assert_int_equal(seg_mixed_width(&m), 3 + 3 + 5 + 2 + 40);
    assert_int_equal(seg_mixed_embed_rows(NULL, &t, &m, sqrtf(weight / 2), &e), SEG_OK);
    assert_int_equal(e.n_rows, n);
    for (size_t a = 0; a < n; a++)
        for (size_t b = 0; b < a; b++) {
            double sum = 0;
            for (uint32_t c = 0; c < e.n_cols; c++) {
                const double diff =
                    (double)*seg_tiles_cell(&e, a, c) - (double)*seg_tiles_cell(&e, b, c);
                sum += diff * diff;
            }
            assert_true(near(sum, mixed_dist2(x + a * MIXED_COLS, x + b * MIXED_COLS, MIXED_CODES,
                                              MIXED_COLS, (double)weight)));
        }
    for (uint32_t c = 0; c < e.n_cols; c++) /* lanes past the last row stay zero */
        for (unsigned r = n % SEG_TILE_ROWS; r < SEG_TILE_ROWS; r++)
            assert_true(seg_tiles_at(&e, 1)[c * SEG_TILE_ROWS + r] == 0);
    seg_tiles_release(&e);
    seg_tiles_release(&t);
    seg_mixed_release(&m);
    seg_free(x);
}

static void the_weight_is_twice_the_mean_variance_of_numbers_that_vary(void **state)
{
    (void)state;
    static const uint32_t CODES[] = { 0, 2, 0, 0 };
    float *x = seg_alloc(10000 * 4, sizeof *x);
    assert_non_null(x);
    for (size_t r = 0; r < 10000; r++) { /* variances 1 and 9; the third number never varies */
        x[r * 4] = r % 2 == 0 ? 1e3f : 1e3f + 2;
        x[r * 4 + 1] = (float)(r % 2);
        x[r * 4 + 2] = r % 4 < 2 ? -3 : 3;
        x[r * 4 + 3] = 5;
    }
    struct seg_tiles t = tiles_of(x, 10000, 4);
    struct seg_mixed m = mixed_space(CODES, 4, 0);
    float weight = -1;
    assert_int_equal(seg_mixed_weight(NULL, &t, &m, &weight), SEG_OK);
    assert_true(near((double)weight, 10));
    seg_mixed_release(&m);

    m = mixed_space((const uint32_t[]){ 2000, 2, 10, 6 }, 4, 0); /* no number at all */
    assert_int_equal(seg_mixed_weight(NULL, &t, &m, &weight), SEG_OK);
    assert_true(weight == 1);
    seg_mixed_release(&m);
    seg_tiles_release(&t);
    seg_free(x);
}

static void a_failed_allocation_is_reported(void **state)
{
    (void)state;
    struct seg_tiles t = { 0 };
    float *x = mixed_rows(100, 3, 4);
    t = tiles_of(x, 100, MIXED_COLS);
    bool done = false;
    uint64_t nth = 1;
    for (; !done; nth++) {
        struct seg_mixed m = { 0 };
        struct seg_tiles e;
        float weight;
        seg_alloc_fail_at(nth);
        enum seg_status st = seg_mixed_init(&m, MIXED_CODES, MIXED_COLS);
        if (st == SEG_OK) st = seg_mixed_weight(NULL, &t, &m, &weight);
        if (st == SEG_OK) st = seg_mixed_embed_rows(NULL, &t, &m, 1, &e);
        seg_alloc_fail_at(0);
        assert_true(st == SEG_OK || st == SEG_ENOMEM);
        done = st == SEG_OK;
        if (done) seg_tiles_release(&e);
        seg_mixed_release(&m);
    }
    assert_true(nth > 8);
    seg_tiles_release(&t);
    seg_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(squares_and_nearest_are_those_of_the_definition_in_every_instruction_set),
        cmocka_unit_test(a_tie_goes_to_the_lower_prototype),
        cmocka_unit_test(the_embedding_has_the_same_distances),
        cmocka_unit_test(the_weight_is_twice_the_mean_variance_of_numbers_that_vary),
        cmocka_unit_test(a_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
