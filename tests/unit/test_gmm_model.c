/* test_gmm_model.c - what a mixture scores are its densities in float64, numbers for every row, and
 * the same bits once it was stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include "gmm_fit.h"

/* out (k, 64) of tile t. */
static void score(const struct seg_gmm *g, const struct seg_tiles *x, size_t tile, float *out)
{
    float *scratch = seg_alloc_aligned(seg_gmm_scratch(g), sizeof *scratch);
    assert_non_null(scratch);
    seg_gmm_score_tile(g, seg_kernels_get(), seg_tiles_at(x, tile), scratch, out);
    seg_free(scratch);
}

/* The twin: log (weight * N(x)) of one row in float64. */
static double naive_log_joint(const struct seg_gmm *g, uint32_t j, const float *x)
{
    const size_t d = g->d;
    double sum = log(g->weights[j]) - 0.5 * (double)d * log(2 * 3.14159265358979324);
    for (size_t a = 0; a < d; a++) {
        double y = 0;
        for (size_t b = 0; b < d; b++) {
            const bool is_full = g->covariance == SEG_COVARIANCE_FULL;
            if (!is_full && a != b) continue;
            const float w =
                is_full ? g->factors.data[(j * d + a) * d + b] : g->factors.data[j * d + a];
            y += (double)w * ((double)x[b] - (double)g->means.data[j * d + b]);
            if (a == b) sum += log((double)w);
        }
        sum -= 0.5 * y * y;
    }
    return sum;
}

static void gmm_scores_equal_the_densities_and_sizes_their_maxima(void **state)
{
    (void)state;
    static const size_t N = 500;
    for (size_t i = 0; i < N_KINDS; i++) {
        float *x = group_rows(N, 7, 5, 100);
        struct seg_tiles t = tiles_of(x, N, 7);
        struct seg_gmm_params p = params(5, KINDS[i]);
        struct seg_gmm g = fit(NULL, &t, &p);
        uint64_t sizes[5] = { 0 };
        double sum = 0;
        float out[5 * SEG_TILE_ROWS];
        for (size_t r = 0; r < N; r++) {
            double total = 0;
            uint32_t best = 0;
            if (r % SEG_TILE_ROWS == 0) score(&g, &t, r / SEG_TILE_ROWS, out);
            for (uint32_t j = 0; j < 5; j++) {
                const double twin = naive_log_joint(&g, j, x + r * 7);
                const float *mine = out + j * SEG_TILE_ROWS + r % SEG_TILE_ROWS;
                assert_true(fabs((double)*mine - twin) <= 1e-5 * (1 + fabs(twin)));
                if (*mine > out[best * SEG_TILE_ROWS + r % SEG_TILE_ROWS]) best = j;
                total += exp(twin);
            }
            sizes[best]++;
            sum += log(total);
        }
        assert_memory_equal(g.sizes, sizes, sizeof sizes);
        assert_true(fabs(g.log_likelihood - sum / (double)N) < 1e-5);
        for (size_t j = 1; j < 5; j++)
            assert_true(g.sizes[j] <= g.sizes[j - 1]);
        seg_gmm_release(&g);
        seg_tiles_release(&t);
        seg_free(x);
    }
}

static void gmm_scores_are_numbers_for_all_finite_rows(void **state)
{
    (void)state;
    static const float EXTREMES[] = { FLT_MAX, -FLT_MAX, 0, FLT_MIN };
    struct seg_tiles t = group_tiles(300, 3, 4, 0);
    float far[64][3];
    for (size_t r = 0; r < 64; r++)
        for (size_t c = 0; c < 3; c++)
            far[r][c] = EXTREMES[r >> (2 * c) & 3];
    struct seg_tiles extreme = tiles_of(far[0], 64, 3);
    for (size_t i = 0; i < N_KINDS; i++) {
        struct seg_gmm_params p = params(4, KINDS[i]);
        struct seg_gmm g = fit(NULL, &t, &p);
        float out[4 * SEG_TILE_ROWS];
        score(&g, &extreme, 0, out);
        for (size_t m = 0; m < 4 * SEG_TILE_ROWS; m++)
            assert_true(isfinite(out[m]) && out[m] >= SEG_GMM_LOG_MIN);
        seg_gmm_release(&g);
    }
    seg_tiles_release(&extreme);
    seg_tiles_release(&t);
}

static void gmm_saved_and_loaded_scores_the_same_bits(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(300, 3, 4, 0);
    for (size_t i = 0; i < N_KINDS; i++) {
        struct seg_gmm_params p = params(4, KINDS[i]);
        struct seg_gmm g = fit(NULL, &t, &p), back;
        struct seg_tensors ts;
        float a[4 * SEG_TILE_ROWS], b[4 * SEG_TILE_ROWS];
        seg_tensors_init(&ts);
        assert_int_equal(seg_gmm_save(&g, "mixture", &ts), SEG_OK);
        assert_int_equal(seg_gmm_load(&ts, "mixture", &back, NULL), SEG_OK);
        score(&g, &t, 1, a);
        score(&back, &t, 1, b);
        assert_memory_equal(a, b, sizeof a);
        seg_gmm_release(&back);
        seg_gmm_release(&g);
        seg_tensors_release(&ts);
    }
    seg_tiles_release(&t);
}

static void gmm_load_refuses_what_could_not_be_scored(void **state)
{
    (void)state;
    struct seg_tiles t = group_tiles(300, 2, 4, 0);
    struct seg_gmm_params p = params(3, SEG_COVARIANCE_FULL);
    for (int fault = 0; fault < 7; fault++) {
        struct seg_gmm g = fit(NULL, &t, &p), back;
        struct seg_tensors ts;
        switch (fault) {
        case 0: g.means.data[1] = NAN; break;
        case 1: g.factors.data[3] = -1; break;
        case 2: g.factors.data[1] = 0.5f; break;
        case 3: g.factors.data[2] = INFINITY; break;
        case 4: g.weights[0] = 0; break;
        case 5: g.weights[1] += 0.1; break;
        default: g.covariance = SEG_COVARIANCE_DIAGONAL; break;
        }
        seg_tensors_init(&ts);
        assert_int_equal(seg_gmm_save(&g, "m", &ts), SEG_OK);
        if (fault == 6) *(uint8_t *)seg_tensors_find(&ts, "m.covariance")->data = 1;
        assert_int_equal(seg_gmm_load(&ts, "m", &back, NULL), SEG_EFORMAT);
        seg_tensors_release(&ts);
        seg_gmm_release(&g);
    }
    seg_tiles_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gmm_scores_equal_the_densities_and_sizes_their_maxima),
        cmocka_unit_test(gmm_scores_are_numbers_for_all_finite_rows),
        cmocka_unit_test(gmm_saved_and_loaded_scores_the_same_bits),
        cmocka_unit_test(gmm_load_refuses_what_could_not_be_scored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
