/* test_pipeline_classification.c - from a raw table to classes: which rows the figures are of, and
 * classes that have next to none. */
#include "blobs.h"
#include "compute/gemm.h"

static void a_classifier_is_measured_on_the_test_part_that_it_never_saw(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };

    blobs_init(&b, SEG_MLP, false, 300, 1.0);
    b.spec.test = 0.2;
    b.spec.validation = 0.1;
    b.spec.mlp.patience = 5;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_true(r.evaluated_on_test);
    assert_int_equal(r.n_rows[SEG_PART_TRAIN], 210);
    assert_int_equal(r.n_rows[SEG_PART_VALIDATION], 30);
    assert_int_equal(r.n_rows[SEG_PART_TEST], 60);
    assert_int_equal(r.classification.n_rows, 60);
    for (uint32_t i = 0; i < 3; i++) /* stratified */
        assert_int_equal(r.classification.classes[i].support, 20);
    assert_true(r.classification.accuracy >= 0.95);
    assert_non_null(r.network_curve.validation_loss);
    assert_string_equal(seg_model_class_name(m, 1), "loyal");
    assert_int_equal(seg_model_n_results(m), 3);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
}

static void a_class_with_one_user_trains_and_is_named(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_MLP, false, 90, 1.0);
    for (size_t row = 1; row < 90; row++)
        b.y[row] = (uint16_t)(row % 2); /* class 2: only row 0 */
    b.y[0] = 2;
    b.spec.test = 0.2;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_true(has_warning(&r, "1 of 3 classes have too few users for the test part: lapsed"));
    assert_int_equal(seg_model_n_results(m), 3);
    assert_int_equal(r.classification.classes[2].support, 0);
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

static void figures_of_very_many_probabilities_are_of_spaced_rows_and_say_so(void **state)
{
    (void)state;
    enum { N = 16400, CLASSES = 1024 }; /* 16,384 rows of 1,024 probabilities are the limit */
    struct blobs b;
    struct seg_report r = { 0 };
    static char names[CLASSES][8];
    static const char *pointers[CLASSES];

    blobs_init(&b, SEG_MLP, false, N, 1.0);
    for (size_t i = 0; i < CLASSES; i++) {
        snprintf(names[i], sizeof names[i], "c%zu", i);
        pointers[i] = names[i];
    }
    for (size_t i = 0; i < N; i++)
        b.y[i] = (uint16_t)(i % CLASSES);
    b.training.class_names = pointers;
    b.training.n_classes = CLASSES;
    b.spec.mlp.n_hidden = 0;
    b.spec.mlp.epochs = 1;
    b.spec.mlp.batch_size = 4096;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_int_equal(r.classification.n_rows, 16384);
    assert_true(has_warning(&r, "classification figures are of 16384 of 16400 users"));
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_classifier_is_measured_on_the_test_part_that_it_never_saw),
        cmocka_unit_test(a_class_with_one_user_trains_and_is_named),
        cmocka_unit_test(figures_of_very_many_probabilities_are_of_spaced_rows_and_say_so),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
