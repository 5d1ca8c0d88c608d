/* test_soft_clusters.c - degrees, targets and the gradient of their divergence against float64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "base/rng.h"
#include "neural/soft_clusters.h"

#define K     4
#define M     3
#define ROWS  SEG_TILE_ROWS
#define GAMMA 0.3

/* q and, given targets p, KL(P || Q), by the definitions. z (n, M), centres (K, M). */
static double twin(const double *z, const double *centres, size_t n, const double *p, double *q)
{
    double kl = 0.0;
    for (size_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < K; j++) {
            double d2 = 0.0;
            for (size_t c = 0; c < M; c++)
                d2 += pow(z[i * M + c] - centres[j * M + c], 2.0);
            q[i * K + j] = 1.0 / (1.0 + d2);
            sum += q[i * K + j];
        }
        for (size_t j = 0; j < K; j++) {
            q[i * K + j] /= sum;
            if (p != NULL) kl += p[i * K + j] * log(p[i * K + j] / q[i * K + j]);
        }
    }
    return kl;
}

/* p of q, by the definition. */
static void twin_targets(const double *q, size_t n, double *p)
{
    double f[K] = { 0 };
    for (size_t i = 0; i < n * K; i++)
        f[i % K] += q[i];
    for (size_t i = 0; i < n; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < K; j++)
            sum += q[i * K + j] * q[i * K + j] / f[j];
        for (size_t j = 0; j < K; j++)
            p[i * K + j] = q[i * K + j] * q[i * K + j] / f[j] / sum;
    }
}

struct tile {
    _Alignas(64) float z[M * ROWS];
    struct seg_matrix centres;
    double z_twin[ROWS * M], centres_twin[K * M];
};

static void tile_init(struct tile *t, unsigned n)
{
    struct seg_rng rng = seg_rng_make(9, 1);
    *t = (struct tile){ 0 };
    assert_int_equal(seg_matrix_init(&t->centres, K, M), SEG_OK);
    for (size_t i = 0; i < K * M; i++)
        t->centres_twin[i] = (double)(t->centres.data[i] = (float)seg_rng_normal(&rng));
    for (size_t r = 0; r < n; r++)
        for (size_t c = 0; c < M; c++)
            t->z_twin[r * M + c] =
                (double)(t->z[c * ROWS + r] = (float)(2.0 * seg_rng_normal(&rng)));
}

static void degrees_match_their_twin_and_sum_to_one(void **state)
{
    (void)state;
    struct tile t;
    _Alignas(64) float q[K * ROWS];
    float dist2[ROWS];
    uint32_t label[ROWS];
    double expected[ROWS * K];
    tile_init(&t, ROWS);
    seg_soft_assign(seg_kernels_get(), t.z, &t.centres, q, label, dist2);
    twin(t.z_twin, t.centres_twin, ROWS, NULL, expected);
    for (size_t r = 0; r < ROWS; r++) {
        double sum = 0.0;
        for (size_t j = 0; j < K; j++) {
            assert_true(fabs((double)q[j * ROWS + r] - expected[r * K + j]) < 1e-6);
            assert_true(expected[r * K + j] <= expected[r * K + label[r]] + 1e-12);
            sum += (double)q[j * ROWS + r];
        }
        assert_true(fabs(sum - 1.0) < 1e-6);
    }
    seg_matrix_release(&t.centres);
}

static void codes_far_from_every_centre_have_degrees(void **state)
{
    (void)state;
    struct tile t;
    _Alignas(64) float q[K * ROWS];
    float dist2[ROWS];
    uint32_t label[ROWS];
    tile_init(&t, ROWS);
    for (size_t i = 0; i < M * ROWS; i++)
        t.z[i] = i % 2 == 0 ? 1e17f : -1e17f;
    seg_soft_assign(seg_kernels_get(), t.z, &t.centres, q, label, dist2);
    for (size_t r = 0; r < ROWS; r++) {
        float sum = 0.0f;
        for (size_t j = 0; j < K; j++)
            sum += q[j * ROWS + r];
        assert_true(fabsf(sum - 1.0f) < 1e-5f);
    }
    seg_matrix_release(&t.centres);
}

static void targets_match_their_twin(void **state)
{
    (void)state;
    enum { N = 200 };
    struct seg_rng rng = seg_rng_make(3, 1);
    struct seg_tiles q;
    double twin_q[N * K], expected[N * K], share[K];
    assert_int_equal(seg_tiles_zeros(&q, N, K), SEG_OK);
    for (size_t i = 0; i < N; i++) {
        double sum = 0.0;
        for (size_t j = 0; j < K; j++)
            sum += twin_q[i * K + j] = seg_rng_double(&rng) + 0.01;
        for (size_t j = 0; j < K; j++)
            twin_q[i * K + j] =
                (double)(*seg_tiles_cell(&q, i, (uint32_t)j) = (float)(twin_q[i * K + j] / sum));
    }
    twin_targets(twin_q, N, expected);
    seg_soft_sharpen(NULL, &q, share);
    for (size_t i = 0; i < N * K; i++)
        assert_true(fabs((double)*seg_tiles_cell(&q, i / K, (uint32_t)(i % K)) - expected[i]) <
                    1e-6);
    seg_tiles_release(&q);
}

/* Difference of the twin's GAMMA * KL / n for one value moved both ways. */
static double difference(struct tile *t, double *value, unsigned n, const double *p)
{
    double was = *value, step = 1e-5, q[ROWS * K];
    *value = was + step;
    double high = twin(t->z_twin, t->centres_twin, n, p, q);
    *value = was - step;
    double low = twin(t->z_twin, t->centres_twin, n, p, q);
    *value = was;
    return GAMMA * (high - low) / (2.0 * step) / n;
}

static void gradient_to_codes_and_centres_matches_finite_differences(void **state)
{
    (void)state;
    enum { N = 50 }; /* the tile is not full */
    struct tile t;
    struct seg_tiles targets;
    struct seg_rng rng = seg_rng_make(4, 1);
    _Alignas(64) float delta[M * ROWS] = { 0 }, scratch[K * ROWS];
    float grad[K * M] = { 0 };
    uint32_t rows[N];
    double p[N * K], q[N * K];
    tile_init(&t, N);
    assert_int_equal(seg_tiles_zeros(&targets, N, K), SEG_OK);
    for (uint32_t i = 0; i < N; i++) {
        double sum = 0.0;
        rows[i] = (i * 7) % N;
        for (uint32_t j = 0; j < K; j++)
            sum += p[i * K + j] = seg_rng_double(&rng) + 0.01;
        for (uint32_t j = 0; j < K; j++)
            p[i * K + j] =
                (double)(*seg_tiles_cell(&targets, rows[i], j) = (float)(p[i * K + j] / sum));
    }
    const struct seg_soft_loss s = { seg_kernels_get(), &targets, &t.centres, GAMMA };
    const struct seg_code_loss loss = seg_soft_code_loss(&s, 2);
    assert_int_equal(loss.layer, 2);
    assert_int_equal(loss.n_params, K * M);
    double kl = loss.add(loss.ctx, rows, N, t.z, 1.0f / N, delta, grad, scratch);
    double expected = twin(t.z_twin, t.centres_twin, N, p, q);
    assert_true(fabs(kl - expected) < 1e-5 * expected);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t c = 0; c < M; c++) {
            double found = (double)delta[c * ROWS + r];
            double wanted = r < N ? difference(&t, &t.z_twin[r * M + c], N, p) : 0.0;
            assert_true(fabs(found - wanted) < 1e-4 * (fabs(wanted) + 1e-3));
        }
    for (size_t i = 0; i < K * M; i++) {
        double wanted = difference(&t, &t.centres_twin[i], N, p);
        assert_true(fabs((double)grad[i] - wanted) < 1e-4 * (fabs(wanted) + 1e-3));
    }
    seg_tiles_release(&targets);
    seg_matrix_release(&t.centres);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(degrees_match_their_twin_and_sum_to_one),
        cmocka_unit_test(codes_far_from_every_centre_have_degrees),
        cmocka_unit_test(targets_match_their_twin),
        cmocka_unit_test(gradient_to_codes_and_centres_matches_finite_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
