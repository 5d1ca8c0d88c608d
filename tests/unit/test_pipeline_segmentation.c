/* test_pipeline_segmentation.c - from a raw table to segments: the groups that there are, figures
 * that scoring repeats, and tables in which there is nothing to find. */
#include "blobs.h"
#include "compute/gemm.h"

/* Results of every row of b's groups, as the model scores a fresh copy of the table. */
static void score_all(const struct seg_model *m, const struct seg_table *t, uint32_t *result,
                      double *ret_distance2)
{
    struct seg_scores scores = { .probabilities = NULL };
    float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
    assert_non_null(scratch);
    *ret_distance2 = 0;
    for (size_t i = 0; i < seg_tiles_count(&t->cells); i++) {
        unsigned n = seg_tiles_rows(&t->cells, i);
        seg_model_score_tile(m, seg_tiles_at(&t->cells, i), n, scratch, &scores);
        for (unsigned r = 0; r < n; r++) {
            result[i * SEG_TILE_ROWS + r] = scores.result[r];
            *ret_distance2 += (double)scores.distance[r] * (double)scores.distance[r];
        }
    }
    seg_free(scratch);
}

static void the_textbook_case_finds_three_groups_and_a_head_learns_them(void **state)
{
    (void)state;
    struct blobs b, again;
    struct seg_report r = { 0 };
    uint32_t truth[300], result[300];
    double distance2;

    blobs_init(&b, SEG_KMEANS, true, 300, 1.0);
    struct seg_model *m = blobs_train(&b, NULL, &r);
    blobs_init(&again, SEG_KMEANS, true, 300, 1.0);
    score_all(m, &again.table, result, &distance2);
    for (size_t i = 0; i < 300; i++)
        truth[i] = (uint32_t)(i % N_BLOBS);

    assert_int_equal(seg_model_n_results(m), 3);
    assert_true(r.has_classification);
    assert_true(r.classification.accuracy >= 0.95);
    assert_true(seg_adjusted_rand(truth, 3, result, 3, 300) >= 0.95);
    assert_true(r.converged);
    assert_true(r.quality.silhouette > 0.5);
    assert_int_equal(r.network_curve.n_epochs, 30);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
    blobs_release(&again);
}

static void kmeans_alone_finds_the_groups_exactly_and_reports_their_inertia(void **state)
{
    (void)state;
    struct blobs b, again;
    struct seg_report r = { 0 };
    uint32_t truth[300], result[300];
    double distance2;

    blobs_init(&b, SEG_KMEANS, false, 300, 1.0);
    struct seg_model *m = blobs_train(&b, NULL, &r);
    blobs_init(&again, SEG_KMEANS, false, 300, 1.0);
    score_all(m, &again.table, result, &distance2);
    for (size_t i = 0; i < 300; i++)
        truth[i] = (uint32_t)(i % N_BLOBS);

    assert_true(seg_adjusted_rand(truth, 3, result, 3, 300) == 1.0);
    assert_true(fabs(r.inertia - distance2) <= 1e-4 * distance2);
    assert_true(fabs(r.quality.inertia - distance2) <= 1e-4 * distance2);
    assert_false(r.has_classification);
    assert_false(r.evaluated_on_test);
    assert_int_equal(r.n_rows[SEG_PART_TRAIN], 300);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(seg_model_segment_id(m, i), i + 1);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
    blobs_release(&again);
}

static void prototypes_count_categories_as_much_as_they_were_told(void **state)
{
    (void)state;
    static const double WEIGHTS[] = { 0, 1e6 };
    for (int i = 0; i < 3; i++) { /* the last time the weight is chosen */
        struct blobs b;
        struct seg_report r = { 0 };
        uint32_t n_app[3] = { 0 }, n_web[3] = { 0 }, result[300];
        double distance2;
        blobs_init(&b, SEG_K_PROTOTYPES, false, 300, 1.0);
        b.spec.prototypes.weight_auto = i == 2;
        b.spec.prototypes.weight = i < 2 ? WEIGHTS[i] : -1;
        for (size_t row = 0; row < 300; row++) /* nothing to do with the groups */
            seg_table_cell(&b.table, row, 2)->code = row / 3 % 2;
        struct seg_model *m = blobs_train(&b, NULL, &r);
        struct blobs again;
        blobs_init(&again, SEG_K_PROTOTYPES, false, 300, 1.0);
        for (size_t row = 0; row < 300; row++)
            seg_table_cell(&again.table, row, 2)->code = row / 3 % 2;
        score_all(m, &again.table, result, &distance2);
        for (size_t row = 0; row < 300; row++)
            (row / 3 % 2 == 0 ? n_app : n_web)[result[row]]++;
        for (int j = 0; j < 3; j++) /* a huge weight leaves no segment with both */
            assert_int_equal(n_app[j] == 0 || n_web[j] == 0, i == 1);
        assert_true(fabs(r.inertia - distance2) <= 1e-4 * distance2 + 1e-4);
        if (i == 2) /* numbers are standardised: every column varies by 1 */
            assert_true(fabs(seg_model_category_weight(m) - 2) <= 1e-4);
        else
            assert_true(seg_model_category_weight(m) == WEIGHTS[i]);
        assert_int_equal(seg_model_n_pictured(m), r.projection.axes.n_cols);
        char name[32];
        seg_model_pictured_name(m, 6, name, sizeof name);
        assert_string_equal(name, "channel=(other)");
        seg_report_release(&r);
        seg_model_unref(m);
        blobs_release(&b);
        blobs_release(&again);
    }
}

static void prototypes_choose_k_on_the_embedding(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_K_PROTOTYPES, false, 300, 0.5);
    b.spec.k_auto = true;
    b.spec.k_min = 2;
    b.spec.k_max = 6;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_int_equal(r.k_search.k, 3);
    assert_int_equal(seg_model_n_results(m), 3);
    assert_int_equal(r.k_search.n_rows_used, 300);
    assert_false(r.k_search.sampled);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
}

static void identical_rows_give_one_segment_and_a_warning(void **state)
{
    (void)state;
    for (int has_head = 0; has_head < 2; has_head++) {
        struct blobs b;
        struct seg_report r = { 0 };
        blobs_init(&b, SEG_KMEANS, has_head, 60, 0.0);
        for (size_t row = 0; row < 60; row++)
            for (uint32_t c = 0; c < BLOB_CELLS; c++)
                *seg_table_cell(&b.table, row, c) = *seg_table_cell(&b.table, 0, c);
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_int_equal(seg_model_n_results(m), 1);
        assert_true(r.inertia == 0.0);
        assert_true(has_warning(&r, "1 distinct row for k = 3: 2 segments are empty"));
        assert_true(has_warning(&r, "4 of 4 features are the same for all users"));
        assert_true(has_warning(&r, "a, b, channel, taste"));
        assert_int_equal(has_warning(&r, "no head was trained"), has_head);
        assert_false(seg_model_has_probabilities(m));
        seg_model_unref(m);
        seg_report_release(&r);
        blobs_release(&b);
    }
}

static void a_constant_column_is_named_and_harms_nothing(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_KMEANS, true, 90, 1.0);
    for (size_t row = 0; row < 90; row++)
        seg_table_cell(&b.table, row, 1)->number = 1e6f;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_int_equal(r.n_warnings, 1);
    assert_string_equal(r.warnings[0],
                        "1 of 4 features are the same for all users and have no effect: b");
    assert_true(isfinite(r.inertia) && r.inertia > 0);
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

static void k_may_equal_the_number_of_users_even_one(void **state)
{
    (void)state;
    static const uint32_t N[] = { 1, 2, 7 };
    for (size_t i = 0; i < 3; i++) {
        struct blobs b;
        struct seg_report r = { 0 };
        blobs_init(&b, SEG_KMEANS, true, N[i], 1.0);
        b.spec.kmeans.k = N[i];
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_int_equal(seg_model_n_results(m), N[i]);
        assert_true(r.inertia == 0.0);
        assert_int_equal(r.projection.n_points, N[i]);
        seg_model_unref(m);
        seg_report_release(&r);
        blobs_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_textbook_case_finds_three_groups_and_a_head_learns_them),
        cmocka_unit_test(kmeans_alone_finds_the_groups_exactly_and_reports_their_inertia),
        cmocka_unit_test(prototypes_count_categories_as_much_as_they_were_told),
        cmocka_unit_test(prototypes_choose_k_on_the_embedding),
        cmocka_unit_test(identical_rows_give_one_segment_and_a_warning),
        cmocka_unit_test(a_constant_column_is_named_and_harms_nothing),
        cmocka_unit_test(k_may_equal_the_number_of_users_even_one),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
