/* test_model.c - a model lives as long as somebody refers to it, and tells what it stands for. */
#include "blobs.h"
#include "compute/gemm.h"

static void centroids_of_an_autoencoder_are_decoded(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_AUTOENCODER_KMEANS, false);
    struct seg_model *classifier = blobs_model(SEG_MLP, false);
    struct seg_matrix c = { 0 };
    assert_int_equal(seg_model_centroids(m, &c), SEG_OK);
    assert_int_equal(c.n_rows, 3);
    assert_int_equal(c.n_cols, seg_preprocess_n_out(seg_model_preprocess(m)));
    /* the three groups stand apart in the first two columns, so must what the code stands for */
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < i; j++)
            assert_true(hypotf(seg_matrix_row(&c, i)[0] - seg_matrix_row(&c, j)[0],
                               seg_matrix_row(&c, i)[1] - seg_matrix_row(&c, j)[1]) > 1.0f);
    seg_matrix_release(&c);
    assert_int_equal(seg_model_centroids(classifier, &c), SEG_EINVAL);
    seg_model_unref(m);
    seg_model_unref(classifier);
}

static void a_reference_keeps_the_model(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_MLP, false);
    struct seg_model *again = seg_model_ref(m);
    assert_ptr_equal(again, m);
    seg_model_unref(m);
    assert_string_equal(seg_model_class_name(again, 2), "lapsed");
    assert_false(seg_model_has_distance(again));
    seg_model_unref(again);
    seg_model_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(centroids_of_an_autoencoder_are_decoded),
        cmocka_unit_test(a_reference_keeps_the_model),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
