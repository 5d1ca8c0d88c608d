/* test_kmeans_rows.c - a fit that may turn its tiles to rows: the bits of one that may not, and
 * every cell back in its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "kmeans_fit.h"

/* Rows without clusters: Lloyd takes its time, and rows near borders wake all the while. */
static struct seg_tiles noise_tiles(size_t n_rows, uint32_t n_cols)
{
    return group_tiles(n_rows, n_cols, 1, 0);
}

static void kmeans_fit_own_gives_the_bits_of_fit_and_the_rows_back(void **state)
{
    (void)state;
    static const uint32_t SHAPES[][2] = { { 3, 7 }, { 1, 4 }, { 4, 40 } };
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        const uint32_t d = SHAPES[i][0];
        struct seg_tiles t = noise_tiles(OWN_ROWS, d), before = noise_tiles(OWN_ROWS, d);
        struct seg_kmeans_params p = params(SHAPES[i][1]);
        p.n_init = 2;
        p.n_iter_max = 60;
        struct seg_kmeans shared = fit(NULL, &t, &p);
        for (unsigned n_workers = 0; n_workers < 3; n_workers++) {
            struct seg_pool *pool = n_workers > 0 ? pool_new(n_workers) : NULL;
            struct seg_kmeans own;
            assert_int_equal(seg_kmeans_fit_own(pool, &t, &p, NULL, &own, NULL), SEG_OK);
            assert_same_fit(&shared, &own);
            for (size_t chunk = 0; chunk < t.n_chunks; chunk++)
                assert_memory_equal(t.chunks[chunk], before.chunks[chunk],
                                    (size_t)SEG_CHUNK_ROWS * d * sizeof(float));
            seg_kmeans_release(&own);
            seg_pool_free(pool);
        }
        seg_kmeans_release(&shared);
        seg_tiles_release(&t);
        seg_tiles_release(&before);
    }
}

struct stopping {
    atomic_bool cancel;
    unsigned n_reports, at;
};

static void stop_late(void *ctx, double fraction, const char *message)
{
    struct stopping *s = ctx;
    (void)fraction;
    (void)message;
    if (++s->n_reports == s->at) atomic_store(&s->cancel, true);
}

static void kmeans_fit_own_gives_the_rows_back_when_cancelled(void **state)
{
    (void)state;
    struct seg_tiles t = noise_tiles(OWN_ROWS, 3), before = noise_tiles(OWN_ROWS, 3);
    struct seg_kmeans_params p = params(7);
    for (unsigned at = 1; at < 12; at++) {
        struct stopping s = { .at = at };
        struct seg_progress progress = { .cancel = &s.cancel, .report = stop_late, .ctx = &s };
        struct seg_kmeans km;
        assert_int_equal(seg_kmeans_fit_own(NULL, &t, &p, &progress, &km, NULL), SEG_ECANCELED);
        for (size_t chunk = 0; chunk < t.n_chunks; chunk++)
            assert_memory_equal(t.chunks[chunk], before.chunks[chunk],
                                (size_t)SEG_CHUNK_ROWS * 3 * sizeof(float));
    }
    seg_tiles_release(&t);
    seg_tiles_release(&before);
}

/* Two clusters begin empty, and a third of the rows are equally far: the first must be taken. */
static void kmeans_fit_own_reseeds_the_same_rows_as_fit(void **state)
{
    (void)state;
    float *x = group_rows(OWN_ROWS, 2, 1, 0);
    for (size_t r = 0; r < OWN_ROWS; r += 3)
        x[2 * r] = x[2 * r + 1] = 80;
    struct seg_tiles t = tiles_of(x, OWN_ROWS, 2);
    float start[] = { 0, 0, 50, 50, 50, 50, 50, 50, 0.5f, 0.5f };
    struct seg_matrix m = { 5, 2, start };
    struct seg_kmeans_params p = params(5);
    p.init = SEG_INIT_GIVEN;
    p.start = &m;
    struct seg_kmeans shared = fit(NULL, &t, &p), own;
    assert_int_equal(seg_kmeans_fit_own(NULL, &t, &p, NULL, &own, NULL), SEG_OK);
    assert_same_fit(&shared, &own);
    seg_kmeans_release(&shared);
    seg_kmeans_release(&own);
    seg_tiles_release(&t);
    seg_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kmeans_fit_own_gives_the_bits_of_fit_and_the_rows_back),
        cmocka_unit_test(kmeans_fit_own_gives_the_rows_back_when_cancelled),
        cmocka_unit_test(kmeans_fit_own_reseeds_the_same_rows_as_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
