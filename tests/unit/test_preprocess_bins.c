/* test_preprocess_bins.c - equal-frequency bins: who falls where, the way back, and storage. */
#include "preprocess_fixture.h"

static struct seg_column_spec bins_spec(uint32_t n_bins)
{
    struct seg_column_spec spec = plain_spec();
    spec.transform = SEG_TRANSFORM_BINS;
    spec.n_bins = n_bins;
    return spec;
}

static struct seg_preprocess *fit_bins(const float *x, size_t n, uint32_t n_bins)
{
    struct seg_table t;
    const struct seg_column_spec spec = bins_spec(n_bins);
    table_of(&t, x, n);
    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
    seg_table_release(&t);
    return p;
}

static void bins_hold_equally_many_values(void **state)
{
    (void)state;
    enum { N = 1024 };
    static const uint32_t BINS[] = { 2, 4, 16, 256 };
    float x[N];
    for (unsigned i = 0; i < N; i++) { /* far from uniform, in an odd order */
        const float base = (float)(i * 389 % N);
        x[i] = base * base * base;
    }
    for (unsigned k = 0; k < sizeof BINS / sizeof BINS[0]; k++) {
        size_t counts[SEG_BINS_MAX] = { 0 };
        struct seg_preprocess *p = fit_bins(x, N, BINS[k]);
        for (unsigned i = 0; i < N; i++) {
            const float at = apply_number(p, x[i]) * (float)(BINS[k] - 1);
            assert_true(fabsf(at - roundf(at)) < 1e-4f && at >= 0 && at < (float)BINS[k]);
            counts[(unsigned)roundf(at)]++;
        }
        for (uint32_t b = 0; b < BINS[k]; b++)
            assert_int_equal(counts[b], N / BINS[k]);
        assert_true(apply_number(p, -1e30f) == 0);
        assert_true(apply_number(p, 1e30f) == 1);
        seg_preprocess_free(p);
    }
}

static void no_number_of_bins_means_ten(void **state)
{
    (void)state;
    float x[101];
    for (unsigned i = 0; i < 101; i++)
        x[i] = (float)i;
    struct seg_preprocess *p = fit_bins(x, 101, 0);
    for (unsigned i = 0; i < 101; i++) { /* the edges are 0, 10 ... 100 */
        const unsigned want = i / 10 < 9 ? i / 10 : 9;
        assert_true(near((double)apply_number(p, x[i]), want / 9.0, 1e-6, 0));
    }
    seg_preprocess_free(p);
}

static void tied_edges_collapse(void **state)
{
    (void)state;
    /* quartiles 0, 0, 0, 5, 9: two bins are left, and 5 lies in the upper one */
    struct seg_preprocess *p = fit_bins((const float[]){ 0, 9, 0, 5, 0 }, 5, 4);
    assert_true(apply_number(p, 0) == 0);
    assert_true(apply_number(p, 4.9f) == 0);
    assert_true(apply_number(p, 5) == 1);
    assert_true(apply_number(p, 9) == 1);
    seg_preprocess_free(p);
}

static void inverse_is_the_middle_of_the_bin(void **state)
{
    (void)state;
    float raw;
    struct seg_preprocess *p = fit_bins((const float[]){ 8, 0, 2, 4, 16 }, 5, 4);
    static const float OUT[] = { -3, 0, 1 / 3.0f, 2 / 3.0f, 1, 1e30f };
    static const float RAW[] = { 1, 1, 3, 6, 12, 12 };
    for (unsigned i = 0; i < 6; i++) {
        seg_preprocess_invert(p, &OUT[i], &raw);
        assert_true(raw == RAW[i]);
    }
    seg_preprocess_free(p);
}

static void numbers_of_bins_out_of_range_are_refused(void **state)
{
    (void)state;
    static const uint32_t BAD[] = { 1, SEG_BINS_MAX + 1, UINT32_MAX };
    struct seg_table t;
    table_of(&t, (const float[]){ 1, 2, 3 }, 3);
    for (unsigned i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        const struct seg_column_spec spec = bins_spec(BAD[i]);
        struct seg_preprocess *p = NULL;
        struct seg_error err = { "" };
        assert_int_equal(seg_preprocess_fit(NULL, &t,
                                            &(struct seg_preprocess_spec){ .columns = &spec }, NULL,
                                            NULL, 0, 1, NULL, &p, &err),
                         SEG_EINVAL);
        assert_null(p);
        assert_string_equal(err.text, "feature f0: n_bins is not within 2 to 256");
    }
    seg_table_release(&t);
}

/* Fits, saves and loads; the first failure there was. */
static enum seg_status whole_way(const struct seg_table *t, uint64_t nth)
{
    const struct seg_column_spec spec = bins_spec(7);
    struct seg_preprocess *p = NULL, *again = NULL;
    struct seg_tensors ts;
    seg_tensors_init(&ts);
    seg_alloc_fail_at(nth);
    enum seg_status st =
        seg_preprocess_fit(NULL, t, &(struct seg_preprocess_spec){ .columns = &spec }, NULL, NULL,
                           0, 1, NULL, &p, NULL);
    if (st == SEG_OK) st = seg_preprocess_save(p, &ts);
    if (st == SEG_OK) st = seg_preprocess_load(&ts, &again, NULL);
    seg_alloc_fail_at(0);
    if (st == SEG_OK)
        for (float x = -3; x < 60; x += 0.5f) {
            const float out = apply_number(p, x);
            float a, b;
            assert_true(apply_number(again, x) == out);
            seg_preprocess_invert(p, &out, &a);
            seg_preprocess_invert(again, &out, &b);
            assert_true(a == b);
        }
    seg_tensors_release(&ts);
    seg_preprocess_free(p);
    seg_preprocess_free(again);
    return st;
}

static void stored_bins_are_the_same_whatever_allocation_failed_before(void **state)
{
    (void)state;
    struct seg_table t;
    uint64_t nth = 1;
    float x[50];
    for (unsigned i = 0; i < 50; i++)
        x[i] = (float)(i * 17 % 50);
    table_of(&t, x, 50);
    for (enum seg_status st; (st = whole_way(&t, nth)) != SEG_OK; nth++)
        assert_int_equal(st, SEG_ENOMEM);
    assert_true(nth > 10);
    seg_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_hold_equally_many_values),
        cmocka_unit_test(no_number_of_bins_means_ten),
        cmocka_unit_test(tied_edges_collapse),
        cmocka_unit_test(inverse_is_the_middle_of_the_bin),
        cmocka_unit_test(numbers_of_bins_out_of_range_are_refused),
        cmocka_unit_test(stored_bins_are_the_same_whatever_allocation_failed_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
