/* test_pca.c - components agree with scikit-learn and with a float64 twin, come back as columns,
 * and do not depend on the number of workers. */
#include "pca_fixture.h"
#include "pca_reference.h"
#include "compute/gemm.h"

static void reference_table(struct seg_table *t)
{
    static const enum seg_type TYPES[PCA_COLUMNS] = { SEG_NUMERIC, SEG_NUMERIC, SEG_NUMERIC,
                                                      SEG_NUMERIC, SEG_NUMERIC };
    table_make(t, TYPES, PCA_COLUMNS, PCA_ROWS);
    for (size_t row = 0; row < PCA_ROWS; row++)
        for (uint32_t c = 0; c < PCA_COLUMNS; c++)
            seg_table_cell(t, row, c)->number = PCA_X[row][c];
}

static void components_agree_with_scikit_learn(void **state)
{
    (void)state;
    for (unsigned whiten = 0; whiten < 2; whiten++) {
        struct seg_table t;
        struct seg_tiles x;
        uint32_t n_wanted;
        const struct seg_pca_spec spec = { .wanted = true, .variance = 1, .whiten = whiten != 0 };
        reference_table(&t);
        struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_NONE, &spec, &x, &n_wanted);
        assert_int_equal(seg_preprocess_n_out(p), PCA_COLUMNS);
        assert_int_equal(n_wanted, PCA_COLUMNS);
        for (uint32_t i = 0; i < PCA_COLUMNS; i++) {
            double size = 0;
            for (size_t row = 0; row < PCA_ROWS; row++) {
                const float *want = whiten != 0 ? PCA_WHITE[row] : PCA_PLAIN[row];
                size = fmax(size, fabs((double)want[i]));
            }
            for (size_t row = 0; row < PCA_ROWS; row++) {
                const float *want = whiten != 0 ? PCA_WHITE[row] : PCA_PLAIN[row];
                assert_true(
                    near((double)*seg_tiles_cell(&x, row, i), (double)want[i], 1e-5, 1e-5 * size));
            }
            assert_true(near(seg_preprocess_explained(p)[i], PCA_EXPLAINED[i], 1e-9, 0));
        }
        seg_tiles_release(&x);
        seg_preprocess_free(p);
        seg_table_release(&t);
    }
}

static void as_many_components_as_their_variance_asks_for(void **state)
{
    (void)state;
    static const struct {
        double variance;
        uint32_t n_components, n_out, n_wanted;
    } CASES[] = { { 0.5, 0, PCA_FOR_HALF, PCA_FOR_HALF },
                  { 0.9, 0, PCA_FOR_90, PCA_FOR_90 },
                  { 0.999, 0, PCA_FOR_999, PCA_FOR_999 },
                  { 1, 0, 5, 5 },
                  { 0, 2, 2, 2 },
                  { 0, 9, 5, 9 } };
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        struct seg_table t;
        struct seg_tiles x;
        uint32_t n_wanted;
        const struct seg_pca_spec spec = { .wanted = true,
                                           .variance = CASES[k].variance,
                                           .n_components = CASES[k].n_components };
        reference_table(&t);
        struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_NONE, &spec, &x, &n_wanted);
        assert_int_equal(seg_preprocess_n_out(p), CASES[k].n_out);
        assert_int_equal(n_wanted, CASES[k].n_wanted);
        assert_int_equal(x.n_cols, CASES[k].n_out);
        assert_int_equal(seg_preprocess_n_columns(p), PCA_COLUMNS);
        assert_string_equal(seg_preprocess_out_name(p, 0), "pca_1");
        seg_tiles_release(&x);
        seg_preprocess_free(p);
        seg_table_release(&t);
    }
}

/* The components of a row's columns in float64, by the stored tensors. */
static void twin(const struct seg_tensors *ts, const float *columns, uint32_t n_out, double *out)
{
    const double *mean = seg_tensors_find(ts, "preprocess.pca.mean")->data;
    const float *axes = seg_tensors_find(ts, "preprocess.pca.axes")->data;
    for (uint32_t i = 0; i < n_out; i++) {
        out[i] = 0;
        for (uint32_t c = 0; c < N_COLUMNS; c++)
            out[i] += (double)axes[i * N_COLUMNS + c] * ((double)columns[c] - mean[c]);
    }
}

static void components_agree_with_a_float64_twin(void **state)
{
    (void)state;
    for (unsigned whiten = 0; whiten < 2; whiten++) {
        struct seg_table t, same;
        struct seg_tiles z, x[SEG_PARTS];
        struct seg_tensors ts;
        uint32_t n_wanted;
        const struct seg_pca_spec spec = { .wanted = true, .variance = 1, .whiten = whiten != 0 };
        dependent_table(&t, N_ROWS);
        dependent_table(&same, N_ROWS);
        struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_NONE, &spec, &z, &n_wanted);
        const uint32_t n_out = seg_preprocess_n_out(p);
        assert_int_equal(n_out, N_COLUMNS - 1); /* one column is the sum of two others */
        seg_tensors_init(&ts);
        assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
        assert_int_equal(seg_preprocess_consume(NULL, p, &same, NULL, NULL, NULL, x, NULL), SEG_OK);
        double square[N_COLUMNS] = { 0 };
        for (size_t row = 0; row < N_ROWS; row++) {
            float columns[N_COLUMNS], got[N_COLUMNS];
            double want[N_COLUMNS];
            seg_tiles_get_row(&x[0], row, columns);
            seg_tiles_get_row(&z, row, got);
            twin(&ts, columns, n_out, want);
            double size = 0;
            for (uint32_t i = 0; i < n_out; i++)
                size += want[i] * want[i];
            for (uint32_t i = 0; i < n_out; i++) {
                assert_true(fabs((double)got[i] - want[i]) <= 1e-5 * sqrt(size));
                square[i] += want[i] * want[i];
            }
        }
        for (uint32_t i = 0; i < n_out && whiten != 0; i++)
            assert_true(near(square[i] / (N_ROWS - 1), 1, 1e-4, 0));
        for (unsigned i = 0; i < SEG_PARTS; i++)
            seg_tiles_release(&x[i]);
        seg_tiles_release(&z);
        seg_tensors_release(&ts);
        seg_preprocess_free(p);
        seg_table_release(&t);
        seg_table_release(&same);
    }
}

static void inverse_gives_the_columns_back(void **state)
{
    (void)state;
    for (unsigned whiten = 0; whiten < 2; whiten++) {
        struct seg_table t, same;
        struct seg_tiles z;
        uint32_t n_wanted;
        const struct seg_pca_spec spec = { .wanted = true, .variance = 1, .whiten = whiten != 0 };
        dependent_table(&t, N_ROWS);
        dependent_table(&same, N_ROWS);
        struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_STANDARD, &spec, &z, &n_wanted);
        for (size_t row = 0; row < N_ROWS; row++) {
            float out[N_COLUMNS], raw[N_COLUMNS];
            seg_tiles_get_row(&z, row, out);
            seg_preprocess_invert(p, out, raw);
            for (uint32_t c = 0; c < N_COLUMNS; c++)
                assert_true(near((double)raw[c], (double)seg_table_cell(&same, row, c)->number,
                                 1e-5, 1e-2));
        }
        seg_tiles_release(&z);
        seg_preprocess_free(p);
        seg_table_release(&t);
        seg_table_release(&same);
    }
}

static void bits_do_not_depend_on_the_number_of_workers(void **state)
{
    (void)state;
    uint8_t *want = NULL, *bytes;
    size_t n_want = 0, n_bytes;
    for (unsigned n_workers = 0; n_workers <= 4; n_workers = n_workers == 0 ? 1 : 2 * n_workers) {
        struct seg_table t;
        struct seg_pool *pool = NULL;
        struct seg_tiles z;
        struct seg_tensors ts;
        uint32_t n_wanted;
        const struct seg_pca_spec spec = { .wanted = true, .variance = 0.99, .whiten = true };
        dependent_table(&t, 30000);
        if (n_workers > 0) assert_int_equal(seg_pool_new(n_workers, 4, &pool, NULL), SEG_OK);
        struct seg_preprocess *p = fit_pca(pool, &t, SEG_SCALE_STANDARD, &spec, &z, &n_wanted);
        seg_tensors_init(&ts);
        assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
        for (size_t i = 0; i < z.n_chunks; i++) {
            const char name[] = { 'z', (char)('0' + i), '\0' };
            const size_t n_cells = seg_tiles_chunk_tiles(&z, i) * SEG_TILE_ROWS * z.n_cols;
            assert_int_equal(seg_tensors_add_vector(&ts, name, SEG_F32, n_cells, z.chunks[i]),
                             SEG_OK);
        }
        assert_int_equal(seg_tensors_write(&ts, &bytes, &n_bytes), SEG_OK);
        if (n_workers == 0) {
            want = bytes;
            n_want = n_bytes;
        } else {
            assert_int_equal(n_bytes, n_want);
            assert_memory_equal(bytes, want, n_want);
            seg_free(bytes);
        }
        seg_tensors_release(&ts);
        seg_tiles_release(&z);
        seg_preprocess_free(p);
        seg_pool_free(pool);
        seg_table_release(&t);
    }
    seg_free(want);
}

static void columns_that_never_vary_give_one_component_of_zeros(void **state)
{
    (void)state;
    static const float X[3] = { 7, 7, 7 };
    for (unsigned whiten = 0; whiten < 2; whiten++) {
        struct seg_table t;
        struct seg_tiles z;
        uint32_t n_wanted;
        float raw = 0;
        const struct seg_pca_spec spec = { .wanted = true,
                                           .n_components = 1,
                                           .whiten = whiten != 0 };
        table_of(&t, X, 3);
        struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_NONE, &spec, &z, &n_wanted);
        assert_int_equal(z.n_cols, 1);
        for (size_t row = 0; row < 3; row++)
            assert_true(*seg_tiles_cell(&z, row, 0) == 0);
        assert_true(seg_preprocess_explained(p)[0] == 0);
        seg_preprocess_invert(p, &(float){ 0 }, &raw);
        assert_true(raw == 7);
        seg_tiles_release(&z);
        seg_preprocess_free(p);
        seg_table_release(&t);
    }
}

static void enormous_values_give_finite_components(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_tiles z;
    uint32_t n_wanted;
    const struct seg_pca_spec spec = { .wanted = true, .variance = 1, .whiten = true };
    dependent_table(&t, N_ROWS);
    struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_NONE, &spec, &z, &n_wanted);
    for (unsigned signs = 0; signs < 1u << N_COLUMNS; signs++) {
        union seg_cell cells[N_COLUMNS];
        for (uint32_t c = 0; c < N_COLUMNS; c++)
            cells[c].number = signs >> c & 1 ? 3e38f : -3e38f;
        for (uint32_t i = 0; i < seg_preprocess_n_out(p); i++)
            assert_true(fabsf(apply_cells(p, cells, i)) <= 1e30f);
    }
    seg_tiles_release(&z);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void codes_and_too_many_columns_are_refused(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec spec = plain_spec();
    struct seg_preprocess *p = NULL;
    struct seg_tiles x[SEG_PARTS], wide;
    struct seg_error err = { "" };
    uint32_t n_wanted;
    spec.encode = SEG_ENCODE_CODE;
    table_of_letters(&t, "abcabcaab");
    const struct seg_pca_spec pca = { .wanted = true, .variance = 1 };
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = &spec },
                                        NULL, NULL, 0, 1, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, NULL, NULL, NULL, x, NULL), SEG_OK);
    assert_int_equal(seg_preprocess_fit_pca(NULL, p, &pca, &x[0], NULL, &n_wanted, &err),
                     SEG_EINVAL);
    assert_string_equal(err.text, "pca of feature f0: codes are names, not quantities");
    for (unsigned i = 0; i < SEG_PARTS; i++)
        seg_tiles_release(&x[i]);
    seg_preprocess_free(p);
    seg_table_release(&t);

    table_of(&t, (const float[]){ 1, 2 }, 2);
    spec = plain_spec();
    p = fit_or_fail(&t, &spec, NULL);
    seg_tiles_init(&wide, SEG_PCA_COLUMNS_MAX + 1);
    assert_int_equal(seg_tiles_grow(&wide, 2), SEG_OK);
    assert_int_equal(seg_preprocess_fit_pca(NULL, p, &pca, &wide, NULL, &n_wanted, &err),
                     SEG_EINVAL);
    assert_string_equal(err.text, "pca over 1025 columns (limit 1024)");
    seg_tiles_release(&wide);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(components_agree_with_scikit_learn),
        cmocka_unit_test(as_many_components_as_their_variance_asks_for),
        cmocka_unit_test(components_agree_with_a_float64_twin),
        cmocka_unit_test(inverse_gives_the_columns_back),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_workers),
        cmocka_unit_test(columns_that_never_vary_give_one_component_of_zeros),
        cmocka_unit_test(enormous_values_give_finite_components),
        cmocka_unit_test(codes_and_too_many_columns_are_refused),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
