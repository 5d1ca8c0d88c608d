/* test_pipeline.c - what every training promises: the same bytes at any number of workers, progress
 * that never falls, an end wherever it is wanted and whatever memory fails. */
#include "blobs.h"
#include "compute/gemm.h"

/* What a run said while it worked, and when to stop it. */
struct listener {
    atomic_bool cancel;
    size_t n_reports, cancel_at; /* 0 = never */
    double last;
    bool fell;
    char phases[64]; /* first letters of the phases in order, without repetition */
};

static void listen(void *ctx, double fraction, const char *message)
{
    struct listener *l = ctx;
    if (fraction < l->last || fraction > 1.0) l->fell = true;
    l->last = fraction;
    size_t n = strlen(l->phases);
    if ((n == 0 || l->phases[n - 1] != message[0]) && n + 1 < sizeof l->phases)
        l->phases[n] = message[0];
    if (++l->n_reports == l->cancel_at) atomic_store(&l->cancel, true);
}

static void listener_attach(struct listener *l, struct seg_training *t)
{
    t->progress = (struct seg_progress){ .cancel = &l->cancel, .report = listen, .ctx = l };
}

static void a_part_for_validation_and_test_serves_every_kind_of_model(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct blobs b;
        struct seg_report r = { 0 };
        blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 300, 1.0);
        b.spec.test = 0.2;
        b.spec.validation = 0.2;
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_true(r.evaluated_on_test);
        bool supervised = BLOB_KINDS[kind].has_head || seg_model_task(m) == SEG_CLASSIFICATION;
        assert_int_equal(r.has_classification, supervised);
        if (r.has_classification) {
            assert_int_equal(r.classification.n_rows, 60);
            assert_true(r.classification.accuracy >= 0.9);
        }
        if (seg_model_task(m) == SEG_SEGMENTATION) assert_int_equal(r.quality.silhouette_rows, 60);
        assert_int_equal(r.projection.n_points, 180);
        for (size_t i = 0; i < 180; i++)
            assert_true(r.projection_result[i] < seg_model_n_results(m));
        seg_report_release(&r);
        seg_model_unref(m);
        blobs_release(&b);
    }
}

static void every_algorithm_gives_the_same_bytes_at_any_number_of_workers(void **state)
{
    (void)state;
    static const unsigned WORKERS[] = { 1, 2, 4 };
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        uint8_t *first = NULL;
        size_t first_len = 0;
        for (size_t w = 0; w < 3; w++) {
            struct blobs b;
            struct seg_report r = { 0 };
            struct seg_pool *pool = NULL;
            assert_int_equal(seg_pool_new(WORKERS[w], 4, &pool, NULL), SEG_OK);
            /* more than one chunk of rows, so that the order of chunks could matter */
            blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 9001, 3.0);
            b.spec.test = 0.1;
            b.spec.validation = 0.1;
            b.spec.mlp.epochs = 2;
            b.spec.mlp.dropout = 0.1;
            b.spec.autoencoder.epochs = 2;
            struct seg_model *m = blobs_train(&b, pool, &r);
            blobs_same_bytes(m, &first, &first_len);
            seg_model_unref(m);
            seg_report_release(&r);
            blobs_release(&b);
            seg_pool_free(pool);
        }
        seg_free(first);
    }
}

static void training_frees_the_cells_of_its_table(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_KMEANS, false, 5000, 1.0);
    assert_int_equal(b.table.cells.n_chunks, 2);
    struct seg_model *m = blobs_train(&b, NULL, &r);
    for (size_t i = 0; i < b.table.cells.n_chunks; i++)
        assert_null(b.table.cells.chunks[i]);
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

static void progress_never_falls_and_names_the_phases_in_order(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct blobs b;
        struct seg_report r = { 0 };
        struct listener l = { .last = 0 };
        blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 150, 1.0);
        listener_attach(&l, &b.training);
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_false(l.fell);
        assert_true(l.last == 1.0);
        assert_string_equal(l.phases, "pte");
        seg_model_unref(m);
        seg_report_release(&r);
        blobs_release(&b);
    }
}

static void a_run_ends_wherever_it_is_canceled(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        size_t n_canceled = 0;
        for (size_t at = 1;; at++) {
            struct blobs b;
            struct seg_report r = { 0 };
            struct seg_model *m = NULL;
            struct listener l = { .cancel_at = at };
            blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 90, 1.0);
            b.spec.test = 0.2;
            b.spec.mlp.epochs = b.spec.autoencoder.epochs = 3;
            listener_attach(&l, &b.training);
            enum seg_status st = seg_train(NULL, &b.training, &m, &r, NULL);
            blobs_release(&b);
            if (st == SEG_OK) {
                assert_true(l.n_reports <= at); /* only the very last word may come too late */
                seg_model_unref(m);
                seg_report_release(&r);
                break;
            }
            assert_int_equal(st, SEG_ECANCELED);
            assert_null(m);
            n_canceled++;
        }
        assert_true(n_canceled >= 4);
    }
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        enum seg_status st = SEG_ENOMEM;
        for (uint64_t nth = 1; st != SEG_OK; nth++) {
            struct blobs b;
            struct seg_report r = { 0 };
            struct seg_model *m = NULL;
            blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 12, 1.0);
            b.spec.test = b.spec.validation = 0.2;
            b.spec.mlp.epochs = b.spec.autoencoder.epochs = 1;
            seg_alloc_fail_at(nth);
            st = seg_train(NULL, &b.training, &m, &r, NULL);
            seg_alloc_fail_at(0);
            blobs_release(&b);
            if (st == SEG_OK) {
                assert_true(nth > 50); /* the loop met real allocations */
                seg_model_unref(m);
                seg_report_release(&r);
            } else {
                assert_int_equal(st, SEG_ENOMEM);
                assert_null(m);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_for_validation_and_test_serves_every_kind_of_model),
        cmocka_unit_test(every_algorithm_gives_the_same_bytes_at_any_number_of_workers),
        cmocka_unit_test(training_frees_the_cells_of_its_table),
        cmocka_unit_test(progress_never_falls_and_names_the_phases_in_order),
        cmocka_unit_test(a_run_ends_wherever_it_is_canceled),
        cmocka_unit_test(every_failed_allocation_is_survived),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
