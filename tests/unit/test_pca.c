/* test_pca.c - components agree with scikit-learn and with a float64 twin, come back as columns,
 * and are stored whole. */
#include "preprocess_fixture.h"
#include "compute/gemm.h"
#include "pca_reference.h"
#include "tensors_damage.h"

enum { N_ROWS = 700, N_COLUMNS = 6 };

/* Columns that depend on each other; the fourth is the sum of the first two, the fifth at 1e6. */
static void dependent_table(struct seg_table *t, size_t n_rows)
{
    static const enum seg_type TYPES[N_COLUMNS] = { SEG_NUMERIC, SEG_NUMERIC, SEG_NUMERIC,
                                                    SEG_NUMERIC, SEG_NUMERIC, SEG_NUMERIC };
    struct seg_rng rng = seg_rng_make(6, 0);
    table_make(t, TYPES, N_COLUMNS, n_rows);
    for (size_t row = 0; row < n_rows; row++) {
        const float a = (float)seg_rng_below(&rng, 1000), b = (float)seg_rng_below(&rng, 100);
        const float values[N_COLUMNS] = { a,
                                          b,
                                          (float)seg_rng_normal(&rng) + a / 500,
                                          a + b,
                                          1e6f + (float)seg_rng_below(&rng, 400),
                                          (float)exp(seg_rng_normal(&rng)) };
        for (uint32_t c = 0; c < N_COLUMNS; c++)
            seg_table_cell(t, row, c)->number = values[c];
    }
}

/* Fits the columns, then the components; *ret_x is the training part as components. */
static struct seg_preprocess *fit_pca(struct seg_pool *pool, struct seg_table *t,
                                      enum seg_scale scale, const struct seg_pca_spec *spec,
                                      struct seg_tiles *ret_x, uint32_t *ret_n_wanted)
{
    struct seg_column_spec specs[16];
    struct seg_preprocess *p = NULL;
    struct seg_tiles x[SEG_PARTS];
    for (unsigned i = 0; i < 16; i++) {
        specs[i] = plain_spec();
        specs[i].scale = scale;
    }
    assert_int_equal(seg_preprocess_fit(pool, t, &(struct seg_preprocess_spec){ .columns = specs },
                                        NULL, NULL, 0, 1, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_consume(pool, p, t, NULL, NULL, NULL, x, NULL), SEG_OK);
    assert_int_equal(seg_preprocess_fit_pca(pool, p, spec, &x[0], NULL, ret_n_wanted, NULL),
                     SEG_OK);
    for (unsigned i = 0; i < SEG_PARTS; i++)
        assert_int_equal(seg_preprocess_consume_columns(pool, p, NULL, &x[i]), SEG_OK);
    seg_tiles_release(&x[1]);
    seg_tiles_release(&x[2]);
    *ret_x = x[0];
    return p;
}

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

static void a_row_alone_has_the_bits_of_the_batch_and_of_what_is_stored(void **state)
{
    (void)state;
    struct seg_table t, same;
    struct seg_tiles z;
    struct seg_tensors ts;
    struct seg_preprocess *again = NULL;
    uint32_t n_wanted;
    const struct seg_pca_spec spec = { .wanted = true, .n_components = 4, .whiten = true };
    dependent_table(&t, N_ROWS);
    dependent_table(&same, N_ROWS);
    struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_ROBUST, &spec, &z, &n_wanted);
    seg_tensors_init(&ts);
    assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
    assert_true(seg_preprocess_needs_format_2(p));
    assert_int_equal(seg_preprocess_load(&ts, &again, NULL), SEG_OK);
    assert_int_equal(seg_preprocess_n_out(again), 4);
    assert_string_equal(seg_preprocess_out_name(again, 3), "pca_4");
    assert_memory_equal(seg_preprocess_explained(p), seg_preprocess_explained(again),
                        4 * sizeof(double));
    for (size_t row = 0; row < N_ROWS; row += 7) {
        union seg_cell cells[N_COLUMNS];
        float a[N_COLUMNS], b[N_COLUMNS], out[4];
        for (uint32_t c = 0; c < N_COLUMNS; c++)
            cells[c] = *seg_table_cell(&same, row, c);
        seg_tiles_get_row(&z, row, out);
        for (uint32_t i = 0; i < 4; i++) {
            assert_true(apply_cells(p, cells, i) == out[i]);
            assert_true(apply_cells(again, cells, i) == out[i]);
        }
        seg_preprocess_invert(p, out, a);
        seg_preprocess_invert(again, out, b);
        assert_memory_equal(a, b, sizeof a);
    }
    const float *last = seg_tiles_at(&z, seg_tiles_count(&z) - 1); /* zero past the last row */
    for (unsigned r = N_ROWS % SEG_TILE_ROWS; r < SEG_TILE_ROWS; r++)
        assert_true(last[r] == 0 && last[3 * SEG_TILE_ROWS + r] == 0);
    seg_tiles_release(&z);
    seg_tensors_release(&ts);
    seg_preprocess_free(p);
    seg_preprocess_free(again);
    seg_table_release(&t);
    seg_table_release(&same);
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

/* Tensors of a small plan with components. */
static void small_tensors(struct seg_tensors *ts)
{
    struct seg_table t;
    struct seg_tiles z;
    uint32_t n_wanted;
    const struct seg_pca_spec spec = { .wanted = true, .n_components = 3 };
    dependent_table(&t, 100);
    struct seg_preprocess *p = fit_pca(NULL, &t, SEG_SCALE_STANDARD, &spec, &z, &n_wanted);
    seg_tensors_init(ts);
    assert_int_equal(seg_preprocess_save(p, ts), SEG_OK);
    seg_tiles_release(&z);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

/* Whether it is refused; else it is as harmless as any plan. */
static bool refused(const struct seg_tensors *ts)
{
    struct seg_preprocess *p = NULL;
    struct seg_error err = { "" };
    const enum seg_status st = seg_preprocess_load(ts, &p, &err);
    if (st != SEG_OK) {
        assert_int_equal(st, SEG_EFORMAT);
        assert_true(p == NULL && err.text[0] != '\0');
        return true;
    }
    const union seg_cell cells[N_COLUMNS] = { { .number = 1 }, { .number = 2 }, { .number = NAN } };
    float out[N_COLUMNS] = { 0 }, raw[N_COLUMNS];
    for (uint32_t i = 0; i < seg_preprocess_n_out(p); i++) {
        out[i] = apply_cells(p, cells, i);
        assert_true(fabsf(out[i]) <= 1e30f);
    }
    seg_preprocess_invert(p, out, raw);
    for (uint32_t c = 0; c < N_COLUMNS; c++)
        assert_true(fabsf(raw[c]) <= 1e30f);
    seg_preprocess_free(p);
    return false;
}

static void damaged_components_are_refused_or_harmless(void **state)
{
    (void)state;
    struct seg_tensors ts;
    size_t n_refused = 0, n_parts = 0;
    small_tensors(&ts);
    assert_false(refused(&ts));
    for (size_t i = 0; i < ts.n_items; i++) {
        if (strncmp(ts.items[i].name, "preprocess.pca.", 15) != 0) continue;
        n_parts++;
        n_refused += tensors_flip_bits(&ts, i, 1, refused);
        tensors_must_be_whole(&ts, i, refused);
    }
    assert_true(n_parts == 4 && n_refused > 30);
    seg_tensors_release(&ts);
}

/* Fits, turns, saves and loads with the nth allocation failing. */
static enum seg_status whole_way(uint64_t nth)
{
    struct seg_table t;
    struct seg_column_spec specs[N_COLUMNS];
    struct seg_preprocess *p = NULL, *again = NULL;
    struct seg_tiles x[SEG_PARTS];
    struct seg_tensors ts;
    uint32_t n_wanted;
    const struct seg_pca_spec spec = { .wanted = true, .variance = 0.9 };
    for (unsigned i = 0; i < N_COLUMNS; i++)
        specs[i] = plain_spec();
    dependent_table(&t, 200);
    assert_int_equal(seg_preprocess_fit(NULL, &t, &(struct seg_preprocess_spec){ .columns = specs },
                                        NULL, NULL, 0, 1, NULL, &p, NULL),
                     SEG_OK);
    assert_int_equal(seg_preprocess_consume(NULL, p, &t, NULL, NULL, NULL, x, NULL), SEG_OK);
    seg_tensors_init(&ts);
    seg_alloc_fail_at(nth);
    enum seg_status st = seg_preprocess_fit_pca(NULL, p, &spec, &x[0], NULL, &n_wanted, NULL);
    if (st == SEG_OK) st = seg_preprocess_consume_columns(NULL, p, NULL, &x[0]);
    if (st == SEG_OK) st = seg_preprocess_save(p, &ts);
    if (st == SEG_OK) st = seg_preprocess_load(&ts, &again, NULL);
    seg_alloc_fail_at(0);
    for (unsigned i = 0; i < SEG_PARTS; i++)
        seg_tiles_release(&x[i]);
    seg_tensors_release(&ts);
    seg_preprocess_free(p);
    seg_preprocess_free(again);
    seg_table_release(&t);
    return st;
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (enum seg_status st; (st = whole_way(nth)) != SEG_OK; nth++)
        assert_int_equal(st, SEG_ENOMEM);
    assert_true(nth > 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(components_agree_with_scikit_learn),
        cmocka_unit_test(as_many_components_as_their_variance_asks_for),
        cmocka_unit_test(components_agree_with_a_float64_twin),
        cmocka_unit_test(inverse_gives_the_columns_back),
        cmocka_unit_test(a_row_alone_has_the_bits_of_the_batch_and_of_what_is_stored),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_workers),
        cmocka_unit_test(columns_that_never_vary_give_one_component_of_zeros),
        cmocka_unit_test(enormous_values_give_finite_components),
        cmocka_unit_test(codes_and_too_many_columns_are_refused),
        cmocka_unit_test(damaged_components_are_refused_or_harmless),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
