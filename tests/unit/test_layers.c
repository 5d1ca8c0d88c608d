/* test_layers.c - the loops of training of every instruction set against float64 loops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/rng.h"
#include "neural/layers.h"
#include "train_data.h"

static void backward_of_any_shape_matches_its_twin(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(3, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t m = 1; m <= 9; m += 4)
            for (size_t d = 1; d <= 14; d++) {
                float *delta = tile(m, &rng), *w = tile(m, &rng), *slope = tile(d, &rng);
                float *out = tile(d, &rng);
                memcpy(out, slope, d * ROWS * sizeof *out);
                (*k)->backward(delta, m, w, d, out);
                for (size_t c = 0; c < d; c++)
                    for (size_t r = 0; r < ROWS; r++) {
                        double sum = 0.0;
                        for (size_t j = 0; j < m; j++)
                            sum += (double)w[j * d + c] * (double)delta[j * ROWS + r];
                        assert_near((double)out[c * ROWS + r], sum * (double)slope[c * ROWS + r],
                                    1e-4);
                    }
                seg_free(delta);
                seg_free(w);
                seg_free(slope);
                seg_free(out);
            }
}

static void rows_of_a_tile_are_its_transpose(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 4);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t d = 1; d <= 18; d++) {
            size_t stride = SEG_ROW_STRIDE(d);
            float *x = tile(d, &rng), *out = tile(stride, &rng);
            (*k)->to_rows(x, d, stride, out);
            for (size_t c = 0; c < d; c++)
                for (size_t r = 0; r < ROWS; r++)
                    assert_true(out[r * stride + c] == x[c * ROWS + r]);
            seg_free(x);
            seg_free(out);
        }
}

/* n_tiles of (m, 64) deltas and (64, row_stride) rows against sums in float64. */
static void check_layer_gradient(const struct seg_layer_kernels *k, size_t m, size_t d,
                                 size_t n_tiles, bool add, struct seg_rng *rng)
{
    size_t row_stride = SEG_ROW_STRIDE(d), stride = (m + row_stride) * ROWS;
    float *floats = tile(n_tiles * (m + row_stride), rng);
    float *grad = seg_alloc(m * (d + 1), sizeof *grad);
    const struct seg_gradient g = {
        .delta = floats,
        .rows = floats + m * ROWS,
        .row_stride = row_stride,
        .rows_stride = stride,
        .n_tiles = n_tiles,
        .stride = stride,
        .m = m,
        .d = d,
        .add = add,
        .grad_w = grad,
        .grad_b = grad + m * d,
    };
    for (size_t i = 0; i < m * (d + 1); i++)
        grad[i] = 0.5f;
    k->gradient(&g);
    for (size_t j = 0; j < m; j++)
        for (size_t c = 0; c <= d; c++) {
            double sum = add ? 0.5 : 0.0;
            for (size_t t = 0; t < n_tiles; t++)
                for (size_t r = 0; r < ROWS; r++) {
                    const float *at = floats + t * stride;
                    double x = c < d ? (double)at[m * ROWS + r * row_stride + c] : 1.0;
                    sum += x * (double)at[j * ROWS + r];
                }
            assert_near((double)(c < d ? g.grad_w[j * d + c] : g.grad_b[j]), sum, 2e-4);
        }
    seg_free(floats);
    seg_free(grad);
}

static void gradient_of_any_shape_matches_its_twin(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(4, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t m = 1; m <= 9; m++)
            for (size_t d = 1; d <= 82; d += 3)
                check_layer_gradient(*k, m, d, 1 + (m + d) % 2, d % 2 == 0, &rng);
}

static void gather_takes_rows_and_clears_the_other_lanes(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(5, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++) {
        const size_t d = 5, n_rows = 37;
        float *x = tile(d, &rng), *out = tile(d, &rng);
        const float *src[ROWS];
        for (size_t r = 0; r < n_rows; r++)
            src[r] = x + (r * 11) % ROWS;
        (*k)->gather(src, n_rows, d, out);
        for (size_t c = 0; c < d; c++)
            for (size_t r = 0; r < ROWS; r++) {
                float wanted = r < n_rows ? x[c * ROWS + (r * 11) % ROWS] : 0.0f;
                assert_true(out[c * ROWS + r] == wanted);
            }
        seg_free(x);
        seg_free(out);
    }
}

static void rows_become_a_tile_and_a_tile_goes_to_its_rows(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(6, 3);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t d = 1; d <= 19; d += 3)
            for (unsigned n = 1; n <= ROWS; n += 7) {
                size_t stride = SEG_ROW_STRIDE(d);
                float *rows = tile(stride, &rng), *x = tile(d, &rng), *back = tile(stride, &rng);
                float *to[ROWS];
                (*k)->from_rows(rows, stride, n, d, x);
                for (size_t r = 0; r < ROWS; r++)
                    to[r] = back + (r * 5 + 3) % ROWS * stride;
                (*k)->scatter(x, d, to);
                for (size_t r = 0; r < ROWS; r++)
                    for (size_t c = 0; c < d; c++) {
                        float wanted = r < n ? rows[r * stride + c] : 0.0f;
                        assert_true(x[c * ROWS + r] == wanted && to[r][c] == wanted);
                    }
                seg_free(rows);
                seg_free(x);
                seg_free(back);
            }
}

static void dropout_keeps_the_wanted_share_and_scales_it(void **state)
{
    (void)state;
    static uint16_t bits[65536];
    static float act[65536], slope[65536];
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++) {
        size_t n_kept = 0;
        for (size_t i = 0; i < 65536; i++) {
            bits[i] = (uint16_t)i;
            act[i] = 3.0f;
            slope[i] = 1.0f;
        }
        (*k)->drop(bits, 49152, 4.0f / 3.0f, 65536, act, slope);
        for (size_t i = 0; i < 65536; i++) {
            n_kept += act[i] != 0.0f;
            assert_true(act[i] == 3.0f * slope[i]);
            assert_true(act[i] == 0.0f || act[i] == 4.0f);
        }
        assert_int_equal(n_kept, 49152);
    }
}

static void sums_of_squares_match_their_twin(void **state)
{
    (void)state;
    struct seg_rng rng = seg_rng_make(8, 3);
    static float x[200], kept[200];
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t n = 0; n < 200; n += 11) {
            double sum = 0.0;
            fill(x, n, &rng);
            memcpy(kept, x, sizeof x);
            for (size_t i = 0; i < n; i++)
                sum += (double)x[i] * (double)x[i];
            assert_near((*k)->square_sum(x, n), sum, 1e-12);
            (*k)->scale(x, n, 0.25f);
            for (size_t i = 0; i < n; i++)
                assert_true(x[i] == 0.25f * kept[i]);
        }
}

enum { N_MOST = 150, N_SHARDS = 5, STRIDE = 160 };

static void sums_of_shards_are_added_in_their_order(void **state)
{
    static float shards[N_SHARDS * STRIDE], in_place[N_SHARDS * STRIDE], out[STRIDE];
    struct seg_rng rng = seg_rng_make(3, 1);
    (void)state;
    fill(shards, N_SHARDS * STRIDE, &rng);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t n = 0; n <= N_MOST; n += 7)
            for (size_t n_shards = 1; n_shards <= N_SHARDS; n_shards++) {
                memcpy(in_place, shards, sizeof shards);
                memset(out, 0xff, sizeof out);
                (*k)->sum(shards, n_shards, STRIDE, n, out);
                (*k)->sum(in_place, n_shards, STRIDE, n, in_place);
                for (size_t i = 0; i < n; i++) {
                    float total = shards[i];
                    for (size_t s = 1; s < n_shards; s++)
                        total += shards[s * STRIDE + i];
                    assert_true(out[i] == total && in_place[i] == total);
                }
                assert_memory_equal(in_place + n, shards + n, (STRIDE - n) * sizeof *shards);
                assert_true(isnan(out[n])); /* as it was */
            }
}

static void what_is_published_is_there_and_nothing_else(void **state)
{
    static float from[STRIDE], to[STRIDE], was[STRIDE];
    struct seg_rng rng = seg_rng_make(3, 2);
    (void)state;
    fill(from, STRIDE, &rng);
    fill(was, STRIDE, &rng);
    for (const struct seg_layer_kernels *const *k = seg_layer_kernels_all(); *k != NULL; k++)
        for (size_t first = 0; first < 17; first++)
            for (size_t n = 0; n <= 70; n++) {
                memcpy(to, was, sizeof to);
                (*k)->publish(from, n, to + first);
                assert_memory_equal(to, was, first * sizeof *to);
                assert_memory_equal(to + first, from, n * sizeof *to);
                assert_memory_equal(to + first + n, was + first + n,
                                    (STRIDE - first - n) * sizeof *to);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backward_of_any_shape_matches_its_twin),
        cmocka_unit_test(rows_of_a_tile_are_its_transpose),
        cmocka_unit_test(gradient_of_any_shape_matches_its_twin),
        cmocka_unit_test(gather_takes_rows_and_clears_the_other_lanes),
        cmocka_unit_test(rows_become_a_tile_and_a_tile_goes_to_its_rows),
        cmocka_unit_test(dropout_keeps_the_wanted_share_and_scales_it),
        cmocka_unit_test(sums_of_squares_match_their_twin),
        cmocka_unit_test(sums_of_shards_are_added_in_their_order),
        cmocka_unit_test(what_is_published_is_there_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
