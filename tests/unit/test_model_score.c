/* test_model_score.c - scores depend on their row alone, are those of the definition in float64,
 * and are numbers whatever the row holds. */
#include "blobs_scored.h"
#include "compute/gemm.h"

static void a_row_alone_gets_the_bits_it_gets_at_any_place_of_a_batch(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        struct raw batch, alone, moved;
        struct scored in_batch, by_itself, elsewhere;
        raw_fill(m, &batch);
        score(m, batch.cells, SEG_TILE_ROWS, &in_batch);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            raw_init(m, &alone);
            raw_copy(&alone, 0, &batch, r);
            score(m, alone.cells, 1, &by_itself);
            assert_true(same_row(m, &in_batch, r, &by_itself, 0));
            raw_fill(m, &moved);
            unsigned to = (r * 37 + 13) % SEG_TILE_ROWS;
            raw_copy(&moved, to, &batch, r);
            score(m, moved.cells, SEG_TILE_ROWS, &elsewhere);
            assert_true(same_row(m, &in_batch, r, &elsewhere, to));
            score(m, batch.cells, r + 1, &by_itself); /* in a batch that ends with it */
            assert_true(same_row(m, &in_batch, r, &by_itself, r));
        }
        seg_model_unref(m);
    }
}

static void missing_names_each_cell_without_a_value_and_each_new_category(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_KMEANS, false);
    const struct seg_schema *inputs = seg_model_inputs(m);
    uint64_t missing[BLOB_CELLS], unseen[BLOB_CELLS];
    struct seg_scores scores = { .missing = missing };
    struct raw raw;
    float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
    assert_non_null(scratch);
    raw_fill(m, &raw);
    seg_model_score_tile(m, raw.cells, SEG_TILE_ROWS, scratch, &scores);
    seg_model_unseen(m, raw.cells, unseen);
    seg_free(scratch);
    for (uint32_t f = 0; f < inputs->n_features; f++)
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            const struct seg_feature *feature = &inputs->features[f];
            const float *cells = &raw.cells[feature->cell * SEG_TILE_ROWS + r];
            bool is_category = feature->type == SEG_CATEGORICAL, is_missing = true;
            uint32_t code;
            memcpy(&code, cells, sizeof code);
            for (uint32_t i = 0; i < feature->width && !is_category; i++)
                is_missing = is_missing && isnan(cells[i * SEG_TILE_ROWS]); /* a vector's all */
            if (is_category) is_missing = code == SEG_CODE_MISSING;
            assert_int_equal(missing[f] >> r & 1, is_missing);
            assert_int_equal(unseen[f] >> r & 1, is_category && code == SEG_CODE_UNSEEN);
        }
    seg_model_unref(m);
}

static void a_row_with_too_few_features_gets_no_result(void **state)
{
    (void)state;
    struct seg_model *m = blobs_model(SEG_KMEANS, true);
    struct raw raw;
    struct scored s;
    raw_init(m, &raw); /* 4 features, at least half must be there; row 0 has none */
    raw_set(&raw, 1, 0, 1.0f);
    raw_set(&raw, 2, 0, 1.0f);
    raw_set(&raw, 2, 1, 1.0f);
    raw_set(&raw, 3, 0, 1.0f); /* an unseen category is a value */
    raw_set_code(&raw, 3, 2, SEG_CODE_UNSEEN);
    raw_set(&raw, 4, 3, 1.0f); /* both dimensions of a vector are one feature */
    raw_set(&raw, 4, 4, 1.0f);
    raw_set(&raw, 5, 4, 1.0f); /* half a vector is a value too */
    raw_set_code(&raw, 5, 2, 1);
    static const enum seg_row_status WANTED[] = { SEG_ROW_INSUFFICIENT, SEG_ROW_INSUFFICIENT,
                                                  SEG_ROW_OK,           SEG_ROW_OK,
                                                  SEG_ROW_INSUFFICIENT, SEG_ROW_OK };
    score(m, raw.cells, 6, &s);
    for (unsigned r = 0; r < 6; r++) {
        assert_int_equal(s.scores.status[r], WANTED[r]);
        if (WANTED[r] == SEG_ROW_OK) {
            assert_true(s.scores.result[r] < 3);
            continue;
        }
        assert_int_equal(s.scores.result[r], UINT32_MAX);
        assert_true(isnan(s.scores.confidence[r]));
        assert_true(isnan(s.scores.distance[r]));
    }
    seg_model_unref(m);
}

static void the_smallest_share_is_met_exactly_or_not_at_all(void **state)
{
    (void)state;
    static const struct {
        double share;
        unsigned n_wanted; /* of 4 features */
    } CASES[] = { { 0.0, 0 }, { 0.25, 1 }, { 0.2500001, 2 }, { 0.75, 3 }, { 1.0, 4 } };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct blobs b;
        struct seg_report report = { 0 };
        struct raw raw;
        struct scored s;
        blobs_init(&b, SEG_KMEANS, false, 30, 1.0);
        b.spec.min_features_share = CASES[i].share;
        struct seg_model *m = blobs_train(&b, NULL, &report);
        raw_init(m, &raw);
        for (unsigned r = 0; r <= 4; r++) { /* row r has r features */
            if (r > 0) raw_set(&raw, r, 0, 1.0f);
            if (r > 1) raw_set(&raw, r, 1, 1.0f);
            if (r > 2) raw_set_code(&raw, r, 2, 0);
            if (r > 3) raw_set(&raw, r, 3, 1.0f);
        }
        score(m, raw.cells, 5, &s);
        for (unsigned r = 0; r <= 4; r++)
            assert_int_equal(s.scores.status[r],
                             r < CASES[i].n_wanted ? SEG_ROW_INSUFFICIENT : SEG_ROW_OK);
        seg_model_unref(m);
        seg_report_release(&report);
        blobs_release(&b);
    }
}

/* The naive twin: distances in float64 of preprocessed row r to every centroid. */
static void distances(const struct seg_model *m, const float *raw, unsigned r, double *ret_d)
{
    struct seg_matrix c = { 0 };
    uint32_t n = seg_preprocess_n_out(seg_model_preprocess(m));
    float *x = seg_alloc_aligned((size_t)n * SEG_TILE_ROWS, sizeof(float));
    assert_non_null(x);
    seg_preprocess_tile(seg_model_preprocess(m), raw, NULL, x);
    assert_int_equal(seg_model_centroids(m, &c), SEG_OK);
    assert_int_equal(c.n_cols, n);
    for (size_t i = 0; i < c.n_rows; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < n; j++) {
            double diff = (double)x[j * SEG_TILE_ROWS + r] - (double)seg_matrix_row(&c, i)[j];
            bool is_code = seg_preprocess_out_codes(seg_model_preprocess(m), j) > 0;
            sum += !is_code ? diff * diff : diff != 0 ? seg_model_category_weight(m) : 0;
        }
        ret_d[i] = sqrt(sum);
    }
    seg_matrix_release(&c);
    seg_free(x);
}

static void distance_and_confidence_are_those_of_the_definition(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        const bool has_head = kind % 2 == 1;
        struct seg_model *m = blobs_model(kind < 2 ? SEG_KMEANS : SEG_K_PROTOTYPES, has_head);
        struct raw raw;
        struct scored s;
        raw_fill(m, &raw);
        for (unsigned r = 9; r < 12; r++) /* the enormous ones are another test's */
            raw_copy(&raw, r, &raw, 12);
        score(m, raw.cells, SEG_TILE_ROWS, &s);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            double d[3], first = HUGE_VAL, second = HUGE_VAL;
            if (s.scores.status[r] == SEG_ROW_INSUFFICIENT) continue;
            distances(m, raw.cells, r, d);
            for (int i = 0; i < 3; i++) {
                if (d[i] < first) {
                    second = first;
                    first = d[i];
                } else if (d[i] < second) {
                    second = d[i];
                }
            }
            assert_true(fabs((double)s.scores.distance[r] - d[s.scores.result[r]]) <= 1e-4);
            if (has_head) {
                float most = s.probabilities[s.scores.result[r] * SEG_TILE_ROWS + r], sum = 0;
                for (uint32_t i = 0; i < 3; i++) {
                    assert_true(s.probabilities[i * SEG_TILE_ROWS + r] <= most);
                    sum += s.probabilities[i * SEG_TILE_ROWS + r];
                }
                assert_true(fabsf(sum - 1.0f) <= 1e-5f);
                assert_true(s.scores.confidence[r] == most);
            } else {
                assert_true(fabs((double)s.scores.distance[r] - first) <= 1e-4);
                assert_true(fabs((double)s.scores.confidence[r] - (1 - first / second)) <= 1e-4);
            }
        }
        seg_model_unref(m);
    }
}

static void enormous_inputs_give_ordinary_answers(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct seg_model *m = blobs_model(BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head);
        struct raw raw;
        struct scored s;
        raw_init(m, &raw);
        for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
            for (uint32_t c = 0; c < BLOB_CELLS; c++)
                if (c != 2) raw_set(&raw, r, c, (r >> c) & 1 ? FLT_MAX : -FLT_MAX);
            raw_set_code(&raw, r, 2, r % 2);
        }
        score(m, raw.cells, SEG_TILE_ROWS, &s);
        check_finite(m, &s, SEG_TILE_ROWS);
        seg_model_unref(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_alone_gets_the_bits_it_gets_at_any_place_of_a_batch),
        cmocka_unit_test(missing_names_each_cell_without_a_value_and_each_new_category),
        cmocka_unit_test(a_row_with_too_few_features_gets_no_result),
        cmocka_unit_test(the_smallest_share_is_met_exactly_or_not_at_all),
        cmocka_unit_test(distance_and_confidence_are_those_of_the_definition),
        cmocka_unit_test(enormous_inputs_give_ordinary_answers),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
