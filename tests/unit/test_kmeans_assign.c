/* test_kmeans_assign.c - rows that look among the centroids they remember find the nearest one,
 * wherever a few others have gone meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <float.h>
#include <string.h>
#include "cluster/kmeans_run.h"
#include "cluster_data.h"
#include "kmeans_twin.h"

enum { N = 3000, D = 64, K = 64 };

struct fixture {
    float *x;
    struct seg_tiles tiles;
    struct kmeans_data data;
    struct kmeans_run run;
};

/* After an iteration that listed what is near every row. The first rows are the centroids. */
static void setup(struct fixture *f)
{
    const struct seg_kmeans_params p = { .k = K, .n_iter_max = 1 };
    f->x = group_rows(N, D, 1, 0);
    f->tiles = tiles_of(f->x, N, D);
    assert_int_equal(kmeans_data_init(&f->data, NULL, &f->tiles), SEG_OK);
    assert_int_equal(kmeans_run_init(&f->run, NULL, &f->data, NULL, &p, NULL), SEG_OK);
    if (f->run.near == NULL) skip(); /* no screen on this machine */
    memcpy(f->run.c.data, f->x, K * D * sizeof *f->x);
    memset(f->run.spent, 0, (K + 1) * sizeof *f->run.spent);
    memset(f->run.spent_lo, 0, (K + 1) * sizeof *f->run.spent_lo);
    f->run.is_screened = f->run.keeps_lists = true;
    kmeans_run_assign(&f->run);
    f->run.n_iter = 1;
    f->run.looks_near = true;
}

static void teardown(struct fixture *f)
{
    kmeans_run_release(&f->run);
    kmeans_data_release(&f->data);
    seg_tiles_release(&f->tiles);
    seg_free(f->x);
}

/* Assigns again. Returns the number of rows that are where they were. */
static size_t assign(struct fixture *f)
{
    uint32_t before[N], label[N];
    size_t n_same = 0;
    memcpy(before, f->run.label, sizeof before);
    kmeans_run_assign(&f->run);
    naive_assign(f->x, N, D, &f->run.c, label);
    assert_memory_equal(f->run.label, label, sizeof label);
    for (size_t r = 0; r < N; r++)
        n_same += before[r] == label[r];
    return n_same;
}

/* Puts centroid j at `share` of the way from the centre to row `row`, where fewer than all rows
 * are nearer to it than to what they remember. */
static void put(struct fixture *f, uint16_t j, size_t row, float share)
{
    for (size_t c = 0; c < D; c++)
        seg_matrix_row(&f->run.c, j)[c] = share * f->x[row * D + c];
}

static void rows_find_movers_that_they_do_not_remember(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    put(&f, 0, 100, 0.75f);
    put(&f, 1, 200, 0.75f);
    f.run.movers[0] = 0;
    f.run.movers[1] = 1;
    f.run.n_movers = 2;
    for (size_t t = 0; t < seg_tiles_count(&f.tiles); t++)
        f.run.asleep[t] = 1; /* more than anybody has spent */
    const size_t n_same = assign(&f);
    assert_true(n_same > N / 20 && n_same < N - N / 20);
    teardown(&f);
}

/* The mover is a mover no more: drift knows of its next way, and rest must know where it was. */
static void rows_find_what_was_a_mover_before(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    put(&f, 0, 100, 0.75f);
    f.run.movers[0] = 0;
    f.run.n_movers = 1;
    assign(&f);
    f.run.n_movers = 0;
    put(&f, 0, 100, 0.74f);
    f.run.drift = 0.01 * sqrt(dist2(f.x + 100 * D, (float[D]){ 0 }, D));
    f.run.drift_lo = (float)(f.run.drift * (1 - 0x1p-20));
    f.run.drift_hi = (float)(f.run.drift * (1 + 0x1p-20));
    for (size_t r = 0; r < N; r++)
        f.run.slack[r] = -FLT_MAX; /* all wake */
    assert_true(assign(&f) > N - N / 20);
    teardown(&f);
}

/* Else movers, which have all rows measured, would give themselves the reason to stay. */
static void rows_measured_for_movers_alone_do_not_count_as_awake(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f);
    struct kmeans_desk *desk = &f.run.desks[0];
    assert_int_equal(desk->n_awake, N); /* none had a cluster */
    for (size_t r = 0; r < N; r++)
        f.run.slack[r] = r < 100 ? -FLT_MAX : FLT_MAX;
    memset(f.run.asleep, 0, seg_tiles_count(&f.tiles) * sizeof *f.run.asleep);
    desk->n_awake = desk->n_found = desk->n_screened = 0;
    f.run.n_movers = 1; /* centroid 0, which stays where it is */
    assert_int_equal(assign(&f), N);
    assert_true(desk->n_found + desk->n_screened >= N); /* all are measured */
    assert_int_equal(desk->n_awake, 100);
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_find_movers_that_they_do_not_remember),
        cmocka_unit_test(rows_find_what_was_a_mover_before),
        cmocka_unit_test(rows_measured_for_movers_alone_do_not_count_as_awake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
