/* test_deep_clustering.c - what training an autoencoder and clusters together promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "cluster/kmeans.h"
#include "cluster/quality.h"
#include "neural/deep_clustering.h"

#define K    4 /* arcs */
#define ROWS SEG_TILE_ROWS

static const struct seg_deep_params PARAMS = {
    .encoder = { 16, 8, 2 },
    .n_encoder = 3,
    .network = { .activation = SEG_RELU,
                 .optimizer = SEG_ADAM,
                 .learning_rate = 2e-3,
                 .batch_size = 64,
                 .epochs = 30,
                 .seed = 42 },
    .pretrain_epochs = 40,
    .gamma = 0.2,
    .tolerance = 1e-3,
    .n_init = 5,
    .neighbours = 5,
    .smoothing = 20,
};

/* Two half circles that reach into each other, scaled to 0..1; row i is of moon i % 2. */
static void moons(size_t n, struct seg_tiles *ret_x, uint32_t *truth)
{
    struct seg_rng rng = seg_rng_make(2, 1);
    assert_int_equal(seg_tiles_zeros(ret_x, n, 2), SEG_OK);
    for (size_t i = 0; i < n; i++) {
        double angle = acos(-1.0) * seg_rng_double(&rng);
        double x = cos(angle), y = sin(angle);
        if (i % 2 == 1) {
            x = 1.0 - x;
            y = 0.5 - y;
        }
        *seg_tiles_cell(ret_x, i, 0) = (float)((x + 0.03 * seg_rng_normal(&rng) + 1.0) / 3.0);
        *seg_tiles_cell(ret_x, i, 1) = (float)((y + 0.03 * seg_rng_normal(&rng) + 0.5) / 1.5);
        truth[i] = (uint32_t)(i % 2);
    }
}

struct found {
    struct seg_network net;
    struct seg_curve pretraining;
    struct seg_deep_clusters clusters;
};

static void found_release(struct found *f)
{
    seg_network_release(&f->net);
    seg_curve_release(&f->pretraining);
    seg_deep_clusters_release(&f->clusters);
    *f = (struct found){ 0 };
}

static enum seg_status fit(struct seg_pool *pool, const struct seg_tiles *x, uint32_t k,
                           const struct seg_deep_params *p, const struct seg_progress *progress,
                           struct found *f)
{
    struct seg_deep d = { 0 };
    *f = (struct found){ 0 };
    enum seg_status st = seg_deep_init(&d, pool, x, k, p, progress, NULL);
    if (st == SEG_OK) st = seg_deep_pretrain(&d, progress, &f->net, &f->pretraining, NULL);
    if (st == SEG_OK) st = seg_deep_cluster(&d, k, NULL, progress, &f->net, &f->clusters, NULL);
    seg_deep_release(&d);
    if (st != SEG_OK) found_release(f);
    return st;
}

static void label_rows(const struct found *f, const struct seg_tiles *x, uint32_t *label)
{
    float *scratch = seg_alloc_aligned(seg_network_scratch(&f->net), sizeof *scratch);
    struct seg_tiles codes;
    uint32_t n_code = (uint32_t)f->clusters.centres.n_cols;
    float *code = seg_alloc_aligned((size_t)n_code * ROWS, sizeof *code);
    assert_non_null(scratch);
    assert_non_null(code);
    assert_int_equal(seg_tiles_zeros(&codes, x->n_rows, n_code), SEG_OK);
    for (size_t t = 0; t < seg_tiles_count(x); t++) {
        seg_network_forward(&f->net, 0, f->net.n_layers / 2, seg_tiles_at(x, t), code, scratch);
        for (uint32_t c = 0; c < n_code; c++)
            memcpy(seg_tiles_at(&codes, t) + c * ROWS, code + c * ROWS,
                   seg_tiles_rows(x, t) * sizeof *code);
    }
    seg_kmeans_assign(NULL, &codes, &f->clusters.centres, label, NULL);
    seg_tiles_release(&codes);
    seg_free(scratch);
    seg_free(code);
}

/* Groups of ARC_ROWS rows along arcs of most of a circle, each in a plane of its own of WIDE
 * dimensions, with some noise; row i is of group i % K. */
enum { ARC_ROWS = 60, WIDE = 20 };

static void arcs(struct seg_tiles *ret_x, uint32_t *truth)
{
    struct seg_rng rng = seg_rng_make(1, 1);
    assert_int_equal(seg_tiles_zeros(ret_x, K * ARC_ROWS, WIDE), SEG_OK);
    for (uint32_t group = 0; group < K; group++) {
        double center[WIDE], a[WIDE], b[WIDE], aa = 0.0, bb = 0.0;
        double start = 6.0 * seg_rng_double(&rng);
        for (size_t c = 0; c < WIDE; c++) {
            center[c] = 0.25 * seg_rng_normal(&rng);
            aa += pow(a[c] = seg_rng_normal(&rng), 2.0);
            bb += pow(b[c] = seg_rng_normal(&rng), 2.0);
        }
        for (uint32_t i = 0; i < ARC_ROWS; i++) {
            double angle = start + 5.0 * i / ARC_ROWS;
            truth[i * K + group] = group;
            for (uint32_t c = 0; c < WIDE; c++)
                *seg_tiles_cell(ret_x, i * K + group, c) =
                    (float)(center[c] + cos(angle) * a[c] / sqrt(aa) +
                            sin(angle) * b[c] / sqrt(bb) + 0.1 * seg_rng_normal(&rng));
        }
    }
}

static void arcs_that_kmeans_cuts_across_are_told_apart(void **state)
{
    (void)state;
    enum { N = K * ARC_ROWS };
    struct seg_tiles x;
    uint32_t truth[N], label[N];
    struct seg_kmeans km = { 0 };
    struct found f;
    struct seg_deep_params p = PARAMS;
    const struct seg_kmeans_params plain = { .k = K, .n_init = 10, .n_iter_max = 100, .seed = 1 };
    arcs(&x, truth);
    assert_int_equal(seg_kmeans_fit(NULL, &x, &plain, NULL, &km, NULL), SEG_OK);
    seg_kmeans_assign(NULL, &x, &km.centroids, label, NULL);
    assert_true(seg_adjusted_rand(truth, K, label, K, N) < 0.8);
    p.encoder[0] = 64;
    p.encoder[1] = 32;
    p.encoder[2] = 8;
    p.smoothing = 40;
    p.pretrain_epochs = 100;
    p.network.learning_rate = 1e-3;
    assert_int_equal(fit(NULL, &x, K, &p, NULL, &f), SEG_OK);
    label_rows(&f, &x, label);
    assert_true(seg_adjusted_rand(truth, K, label, K, N) > 0.97);
    found_release(&f);
    seg_kmeans_release(&km);
    seg_tiles_release(&x);
}

static void loss_falls_while_the_targets_stand(void **state)
{
    (void)state;
    enum { N = 400 };
    struct seg_tiles x;
    uint32_t truth[N];
    struct found f;
    struct seg_deep_params p = PARAMS;
    moons(N, &x, truth);
    p.update_interval = 100000;
    assert_int_equal(fit(NULL, &x, 3, &p, NULL, &f), SEG_OK);
    const struct seg_curve *c = &f.clusters.curve;
    assert_int_equal(f.clusters.n_refreshes, 1);
    assert_false(f.clusters.converged);
    assert_int_equal(c->n_epochs, 30);
    assert_true(f.pretraining.train_loss[39] < 0.5 * f.pretraining.train_loss[0]);
    assert_true(c->code_loss[29] < 0.9 * c->code_loss[0]);
    assert_true(c->train_loss[29] + p.gamma * c->code_loss[29] <
                c->train_loss[0] + p.gamma * c->code_loss[0]);
    found_release(&f);
    seg_tiles_release(&x);
}

static void scaling_the_code_leaves_what_the_decoder_makes(void **state)
{
    (void)state;
    enum { N = 200 };
    struct seg_tiles x;
    uint32_t truth[N];
    struct seg_deep d;
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    struct seg_deep_clusters clusters = { 0 };
    struct seg_deep_params p = PARAMS;
    _Alignas(64) float before[2 * ROWS], after[2 * ROWS], scratch[2 * 16 * ROWS];
    moons(N, &x, truth);
    p.smoothing = 0;
    assert_int_equal(seg_deep_init(&d, NULL, &x, 3, &p, NULL, NULL), SEG_OK);
    assert_ptr_equal(d.target, &x);
    assert_int_equal(seg_deep_pretrain(&d, NULL, &net, &curve, NULL), SEG_OK);
    seg_network_forward(&net, 0, 6, seg_tiles_at(&x, 0), before, scratch);
    p.network.learning_rate = 1e-12;
    p.network.epochs = 1;
    assert_int_equal(seg_deep_cluster(&d, 3, NULL, NULL, &net, &clusters, NULL), SEG_OK);
    seg_network_forward(&net, 0, 6, seg_tiles_at(&x, 0), after, scratch);
    for (size_t i = 0; i < 2 * ROWS; i++)
        assert_true(fabsf(before[i] - after[i]) < 1e-4f);
    seg_deep_clusters_release(&clusters);
    seg_curve_release(&curve);
    seg_network_release(&net);
    seg_deep_release(&d);
    seg_tiles_release(&x);
}

static void training_goes_on_from_given_centres(void **state)
{
    (void)state;
    enum { N = 300 };
    struct seg_tiles x;
    uint32_t truth[N], label[N], again[N];
    struct seg_deep d;
    struct found f;
    struct seg_deep_clusters more = { 0 };
    struct seg_deep_params p = PARAMS;
    struct seg_matrix reversed;
    moons(N, &x, truth);
    assert_int_equal(fit(NULL, &x, 3, &p, NULL, &f), SEG_OK);
    label_rows(&f, &x, label);
    assert_int_equal(seg_matrix_init(&reversed, 3, 2), SEG_OK);
    for (size_t j = 0; j < 3; j++)
        memcpy(seg_matrix_row(&reversed, j), seg_matrix_row(&f.clusters.centres, 2 - j),
               2 * sizeof(float));
    p.network.learning_rate = 1e-9; /* nothing moves: the clusters are at rest at once */
    assert_int_equal(seg_deep_init(&d, NULL, &x, 3, &p, NULL, NULL), SEG_OK);
    assert_int_equal(seg_deep_cluster(&d, 3, &reversed, NULL, &f.net, &more, NULL), SEG_OK);
    assert_true(more.converged);
    assert_int_equal(more.n_refreshes, 1);
    for (uint32_t j = 0; j < 3; j++)
        assert_int_equal(more.origins[j], 2 - j);
    seg_deep_clusters_release(&f.clusters);
    f.clusters = more;
    label_rows(&f, &x, again);
    assert_memory_equal(label, again, sizeof(label));
    found_release(&f);
    seg_matrix_release(&reversed);
    seg_deep_release(&d);
    seg_tiles_release(&x);
}

static void fewer_distinct_rows_than_clusters_make_fewer_clusters(void **state)
{
    (void)state;
    struct seg_tiles x;
    struct found f;
    assert_int_equal(seg_tiles_zeros(&x, 90, 2), SEG_OK);
    for (size_t i = 0; i < 90; i++)
        *seg_tiles_cell(&x, i, 0) = (float)(i % 3);
    assert_int_equal(fit(NULL, &x, 8, &PARAMS, NULL, &f), SEG_OK);
    assert_true(f.clusters.centres.n_rows <= 3);
    for (size_t i = 0; i < f.clusters.centres.n_rows * 2; i++)
        assert_true(isfinite(f.clusters.centres.data[i]));
    found_release(&f);
    seg_tiles_release(&x);
}

static void too_many_rows_are_sampled(void **state)
{
    (void)state;
    enum { N = 300, WANTED = 100 };
    struct seg_tiles x;
    uint32_t truth[N];
    struct seg_deep d;
    moons(N, &x, truth);
    for (size_t i = 0; i < N; i++)
        *seg_tiles_cell(&x, i, 0) = (float)i;
    uint32_t k_max = (uint32_t)(SEG_DEEP_CELLS / WANTED);
    assert_int_equal(seg_deep_init(&d, NULL, &x, k_max, &PARAMS, NULL, NULL), SEG_OK);
    assert_int_equal(d.x->n_rows, WANTED);
    for (size_t i = 1; i < WANTED; i++)
        assert_true(*seg_tiles_cell(d.x, i, 0) > *seg_tiles_cell(d.x, i - 1, 0));
    assert_true(*seg_tiles_cell(d.x, WANTED - 1, 0) > 200.0f);
    assert_int_equal(d.target->n_rows, WANTED);
    seg_deep_release(&d);
    seg_tiles_release(&x);
}

static void fit_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    enum { N = 1500 };
    struct seg_tiles x;
    static uint32_t truth[N];
    struct found first;
    struct seg_deep_params p = PARAMS;
    p.network.batch_size = 256;
    p.network.dropout = 0.1;
    p.network.epochs = 4;
    p.pretrain_epochs = 3;
    moons(N, &x, truth);
    assert_int_equal(fit(NULL, &x, 5, &p, NULL, &first), SEG_OK);
    for (unsigned n_workers = 1; n_workers <= 4; n_workers += n_workers) {
        struct seg_pool *pool = NULL;
        struct found f;
        assert_int_equal(seg_pool_new(n_workers, 1, &pool, NULL), SEG_OK);
        assert_int_equal(fit(pool, &x, 5, &p, NULL, &f), SEG_OK);
        seg_pool_free(pool);
        for (uint32_t i = 0; i < f.net.n_layers; i++) {
            const struct seg_matrix *w = &f.net.layers[i].weights;
            assert_memory_equal(w->data, first.net.layers[i].weights.data,
                                w->n_rows * w->n_cols * sizeof(float));
        }
        assert_int_equal(f.clusters.centres.n_rows, first.clusters.centres.n_rows);
        assert_memory_equal(f.clusters.centres.data, first.clusters.centres.data,
                            f.clusters.centres.n_rows * 2 * sizeof(float));
        assert_memory_equal(f.clusters.curve.code_loss, first.clusters.curve.code_loss,
                            first.clusters.curve.n_epochs * sizeof(double));
        found_release(&f);
    }
    found_release(&first);
    seg_tiles_release(&x);
}

static void params_out_of_range_are_refused(void **state)
{
    (void)state;
    struct seg_deep_params cases[9];
    for (size_t i = 0; i < 9; i++) {
        cases[i] = PARAMS;
        assert_null(seg_deep_check(&cases[i]));
    }
    cases[0].pretrain_epochs = 0;
    cases[1].gamma = 0.0;
    cases[2].gamma = NAN;
    cases[3].tolerance = -0.1;
    cases[4].n_init = 0;
    cases[5].neighbours = 65;
    cases[6].smoothing = 1001;
    cases[7].network.learning_rate = 0.0;
    cases[8].network.warmup_epochs = 30; /* fits the second part, not the first */
    cases[8].pretrain_epochs = 10;
    for (size_t i = 0; i < 9; i++)
        assert_non_null(seg_deep_check(&cases[i]));
}

static void training_stops_when_cancelled(void **state)
{
    (void)state;
    struct seg_tiles x;
    uint32_t truth[100];
    struct found f;
    atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    moons(100, &x, truth);
    assert_int_equal(fit(NULL, &x, 2, &PARAMS, &progress, &f), SEG_ECANCELED);
    seg_tiles_release(&x);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    struct seg_tiles x;
    uint32_t truth[70];
    struct found f;
    struct seg_deep_params p = PARAMS;
    enum seg_status st = SEG_ENOMEM;
    uint64_t n = 0;
    p.network.epochs = p.pretrain_epochs = 1;
    p.smoothing = 2;
    moons(70, &x, truth);
    while (st == SEG_ENOMEM) {
        seg_alloc_fail_at(++n);
        st = fit(NULL, &x, 2, &p, NULL, &f);
    }
    seg_alloc_fail_at(0);
    assert_int_equal(st, SEG_OK);
    assert_true(n > 60);
    found_release(&f);
    seg_tiles_release(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arcs_that_kmeans_cuts_across_are_told_apart),
        cmocka_unit_test(loss_falls_while_the_targets_stand),
        cmocka_unit_test(scaling_the_code_leaves_what_the_decoder_makes),
        cmocka_unit_test(training_goes_on_from_given_centres),
        cmocka_unit_test(fewer_distinct_rows_than_clusters_make_fewer_clusters),
        cmocka_unit_test(too_many_rows_are_sampled),
        cmocka_unit_test(fit_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(params_out_of_range_are_refused),
        cmocka_unit_test(training_stops_when_cancelled),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
