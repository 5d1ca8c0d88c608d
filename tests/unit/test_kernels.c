/* test_kernels.c - which instruction sets there are, layers against a float64 loop, and the promise
 * that a row's bits depend on nothing but the row. */
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

static _Alignas(64) float out[(M_MAX + 1) * ROWS];
static float w[M_MAX * D_MAX];
static float bias[M_MAX];

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
    uint64_t rows[4];
    FOR_EACH_ISA(k)
    for (size_t a = 0; a < ROWS; a++)
        for (size_t b = 0; b < ROWS; b += 7) {
            for (size_t r = 0; r < 3 * ROWS; r++)
                x[r] = r % 2 ? INFINITY : -0.0f;
            assert_true(k->code_rows(x, code) == 0);
            x[b] = x[2 * ROWS + a] = NAN;
            memcpy(&x[a], &code, sizeof code);
            rows[3] = 7;
            k->nan_rows(x, 3, rows);
            assert_true(rows[0] == (UINT64_C(1) << a | UINT64_C(1) << b) && rows[1] == 0);
            assert_true(rows[2] == UINT64_C(1) << a && rows[3] == 7);
            assert_true(k->code_rows(x, code) == UINT64_C(1) << a);
        }
}

static void argmax_names_the_first_of_the_largest(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(6, 0);
    uint32_t index[ROWS + 1];
    float largest[ROWS + 1];
    FOR_EACH_ISA(k)
    for (size_t m = 1; m <= M_MAX; m++) {
        for (size_t i = 0; i < m * ROWS; i++) /* few values, so that there are ties */
            x[i] = seg_rng_below(&rng, 9) == 0 ? -INFINITY : (float)seg_rng_below(&rng, 4) - 2.0f;
        index[ROWS] = 77;
        largest[ROWS] = 77.0f;
        k->argmax(x, m, index, largest);
        for (size_t r = 0; r < ROWS; r++) {
            uint32_t first = 0;
            for (uint32_t j = 1; j < m; j++)
                if (x[j * ROWS + r] > x[first * ROWS + r]) first = j;
            assert_int_equal(index[r], first);
            assert_true(largest[r] == x[first * ROWS + r]);
        }
        assert_true(index[ROWS] == 77 && largest[ROWS] == 77.0f);
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

/* Instruction sets with a fused multiply-add do the same operations in the same order, whatever the
 * width: what a row gets from one step of scoring. */
static void sets_with_a_fused_multiply_add_agree_to_the_bit(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(6, 0);
    static _Alignas(64) float other[(M_MAX + 1) * ROWS];
    uint32_t label[ROWS], other_label[ROWS];
    float dist2[ROWS], other_dist2[ROWS];
    const struct seg_kernels *first = seg_kernels_all()[0];
    fill(&rng, x, 20 * ROWS);
    fill(&rng, w, 13 * 20);
    FOR_EACH_ISA(k)
    {
        if (strcmp(first->isa, "baseline") == 0 || strcmp(k->isa, "baseline") == 0) continue;
        first->affine(x, 20, w, NULL, 13, out);
        k->affine(x, 20, w, NULL, 13, other);
        assert_memory_equal(out, other, 13 * ROWS * sizeof *out);
        first->softmax(out, 13);
        k->softmax(other, 13);
        assert_memory_equal(out, other, 13 * ROWS * sizeof *out);
        first->nearest(x, 20, w, 13, label, dist2, NULL);
        k->nearest(x, 20, w, 13, other_label, other_dist2, NULL);
        assert_memory_equal(label, other_label, sizeof label);
        assert_memory_equal(dist2, other_dist2, sizeof dist2);
        void (*const maps[][2])(float *, size_t) = { { first->exp, k->exp },
                                                     { first->sigmoid, k->sigmoid },
                                                     { first->tanh, k->tanh },
                                                     { first->gelu, k->gelu } };
        for (size_t i = 0; i < N_OF(maps); i++) {
            memcpy(out, x, sizeof(float) * 13 * ROWS);
            memcpy(other, x, sizeof(float) * 13 * ROWS);
            maps[i][0](out, 13 * ROWS);
            maps[i][1](other, 13 * ROWS);
            assert_memory_equal(out, other, 13 * ROWS * sizeof *out);
        }
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
        cmocka_unit_test(argmax_names_the_first_of_the_largest),
        cmocka_unit_test(results_of_a_row_depend_on_nothing_but_the_row),
        cmocka_unit_test(sets_with_a_fused_multiply_add_agree_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
