/* test_preprocess_io.c - a stored plan gives the same bits, a damaged one is refused or harmless,
 * and no failed allocation on any way through preprocessing is lost. */
#include "preprocess_fixture.h"
#include <float.h>
#include "tensors_damage.h"

enum { N_ROWS = 400 };

static const enum seg_encode ENCODES[] = { SEG_ENCODE_ONE_HOT, SEG_ENCODE_ORDINAL, SEG_ENCODE_HASH,
                                           SEG_ENCODE_TARGET, SEG_ENCODE_CODE };
#define N_ENCODES (sizeof ENCODES / sizeof ENCODES[0])

static void classes(uint16_t y[N_ROWS])
{
    for (size_t row = 0; row < N_ROWS; row++)
        y[row] = (uint16_t)(row * 7 % 3);
}

/* Of what mixed_table has: a ratio, one of derived columns that makes no column, parts of dates. */
enum { N_DERIVED = 5, N_PLANS = 6 + N_DERIVED };
static struct seg_derived DERIVED[N_DERIVED] = {
    { .name = "product", .op = SEG_DERIVE_PRODUCT, .of = { 0, 0 } },
    { .name = "ratio", .op = SEG_DERIVE_RATIO, .of = { 6, 0 } },
    { .name = "hour.sin", .op = SEG_DERIVE_HOUR_SIN, .of = { 2 } },
    { .name = "weekend", .op = SEG_DERIVE_IS_WEEKEND, .of = { 2 } },
    { .name = "since", .op = SEG_DERIVE_DAYS_SINCE, .of = { 2 }, .reference = (double)NAN },
};

static enum seg_status fit_mixed(struct seg_table *t, enum seg_encode encode,
                                 struct seg_preprocess **ret_p)
{
    struct seg_column_spec specs[N_PLANS];
    uint16_t y[N_ROWS];
    mixed_specs(specs, encode);
    for (unsigned i = 6; i < N_PLANS; i++)
        specs[i] = plain_spec();
    specs[6].left_out = true;
    specs[7].transform = SEG_TRANSFORM_QUANTILE;
    specs[7].indicator = true;
    specs[10].scale = SEG_SCALE_STANDARD;
    classes(y);
    return seg_preprocess_fit(NULL, t, &(struct seg_preprocess_spec){ specs, DERIVED, N_DERIVED },
                              NULL, y, 3, UINT64_C(1) << 40 | 5, NULL, ret_p, NULL);
}

/* A tile of cells of all kinds: known, unseen, missing, not a number, far out. */
static void fill_tile(const struct seg_schema *s, float *raw)
{
    struct seg_rng rng = seg_rng_make(14, 0);
    seg_table_clear_rows(s, raw, 0, SEG_TILE_ROWS);
    for (uint32_t i = 0; i < s->n_features; i++)
        for (uint32_t c = s->features[i].cell; c < s->features[i].cell + s->features[i].width; c++)
            for (unsigned r = 0; r < 60; r++) {
                union seg_cell *cell = (union seg_cell *)raw + (size_t)c * SEG_TILE_ROWS + r;
                if (s->features[i].type == SEG_CATEGORICAL)
                    cell->code = r < 40 ? r : UINT32_MAX - r;
                else
                    cell->number = ldexpf(seg_rng_float(&rng) - 0.5f, (int)r * 2 - 10);
            }
}

static float *apply_tile(const struct seg_preprocess *p)
{
    const struct seg_schema *s = seg_preprocess_inputs(p);
    float *raw = seg_alloc_aligned((size_t)s->n_cells * SEG_TILE_ROWS, sizeof *raw);
    float *scratch = seg_alloc_aligned(seg_preprocess_scratch(p), sizeof *scratch);
    float *out = seg_alloc_aligned((size_t)seg_preprocess_n_out(p) * SEG_TILE_ROWS, sizeof *out);
    assert_non_null(raw);
    assert_non_null(scratch);
    assert_non_null(out);
    fill_tile(s, raw);
    seg_preprocess_tile(p, raw, scratch, out);
    seg_free(scratch);
    seg_free(raw);
    return out;
}

static void stored_plan_gives_the_same_bits(void **state)
{
    (void)state;
    for (unsigned k = 0; k < N_ENCODES; k++) {
        struct seg_table t;
        struct seg_preprocess *p = NULL, *again = NULL;
        struct seg_tensors ts, read;
        uint8_t *bytes;
        size_t n_bytes;
        mixed_table(&t, N_ROWS, 20);
        assert_int_equal(fit_mixed(&t, ENCODES[k], &p), SEG_OK);
        seg_tensors_init(&ts);
        assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
        assert_int_equal(seg_tensors_write(&ts, &bytes, &n_bytes), SEG_OK);
        assert_int_equal(seg_tensors_read(bytes, n_bytes, &read, NULL), SEG_OK);
        assert_int_equal(seg_preprocess_load(&read, &again, NULL), SEG_OK);

        const uint32_t n_out = seg_preprocess_n_out(p);
        assert_int_equal(seg_preprocess_n_out(again), n_out);
        for (uint32_t j = 0; j < n_out; j++) {
            assert_string_equal(seg_preprocess_out_name(again, j), seg_preprocess_out_name(p, j));
            assert_int_equal(seg_preprocess_column_feature(again, j),
                             seg_preprocess_column_feature(p, j));
        }
        float *a = apply_tile(p), *b = apply_tile(again), raw_a[9 + N_DERIVED],
              raw_b[9 + N_DERIVED];
        assert_memory_equal(a, b, (size_t)n_out * SEG_TILE_ROWS * sizeof *a);
        seg_preprocess_invert(p, a, raw_a);
        seg_preprocess_invert(again, b, raw_b);
        assert_memory_equal(raw_a, raw_b, sizeof raw_a);

        uint16_t y[N_ROWS]; /* consuming needs the seed of the folds, too */
        struct seg_table same;
        struct seg_tiles x[SEG_PARTS], z[SEG_PARTS];
        classes(y);
        mixed_table(&same, N_ROWS, 20);
        assert_int_equal(seg_preprocess_consume(NULL, p, &t, NULL, y, NULL, x, NULL), SEG_OK);
        assert_int_equal(seg_preprocess_consume(NULL, again, &same, NULL, y, NULL, z, NULL),
                         SEG_OK);
        assert_memory_equal(x[0].chunks[0], z[0].chunks[0],
                            (size_t)n_out * N_ROWS / 64 * 64 * sizeof(float));
        for (unsigned i = 0; i < SEG_PARTS; i++) {
            seg_tiles_release(&x[i]);
            seg_tiles_release(&z[i]);
        }
        seg_free(a);
        seg_free(b);
        seg_free(bytes);
        seg_tensors_release(&ts);
        seg_tensors_release(&read);
        seg_preprocess_free(p);
        seg_preprocess_free(again);
        seg_table_release(&t);
        seg_table_release(&same);
    }
}

/* Loads damaged tensors: refused, or as harmless as any plan. Returns whether it was refused. */
static bool load_damaged(const struct seg_tensors *ts)
{
    struct seg_preprocess *p = NULL;
    struct seg_error err = { "" };
    const enum seg_status st = seg_preprocess_load(ts, &p, &err);
    if (st != SEG_OK) {
        assert_int_equal(st, SEG_EFORMAT);
        assert_true(err.text[0] != '\0');
        assert_null(p);
        return true;
    }
    float *out = apply_tile(p), *raw;
    const uint32_t n_out = seg_preprocess_n_out(p);
    for (size_t i = 0; i < (size_t)n_out * SEG_TILE_ROWS; i++)
        assert_true(fabsf(out[i]) <= 1e30f);
    const uint32_t n_cells = seg_preprocess_inputs(p)->n_cells;
    raw = seg_alloc(n_cells + seg_preprocess_n_derived(p), sizeof *raw);
    seg_preprocess_invert(p, out, raw);
    for (uint32_t i = 0; i < seg_preprocess_inputs(p)->n_features; i++) {
        const struct seg_feature *f = &seg_preprocess_inputs(p)->features[i];
        for (uint32_t c = f->cell; c < f->cell + f->width; c++)
            assert_true(f->type == SEG_CATEGORICAL || isnan(raw[c]) || fabsf(raw[c]) <= 1e30f);
    }
    seg_free(raw);
    seg_free(out);
    seg_preprocess_free(p);
    return false;
}

static void damaged_bytes_are_refused_or_harmless(void **state)
{
    (void)state;
    size_t n_refused = 0;
    for (unsigned k = 0; k < N_ENCODES; k++) {
        struct seg_table t;
        struct seg_preprocess *p = NULL;
        struct seg_tensors ts;
        mixed_table(&t, N_ROWS, 21);
        assert_int_equal(fit_mixed(&t, ENCODES[k], &p), SEG_OK);
        seg_tensors_init(&ts);
        assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
        for (size_t i = 0; i < ts.n_items; i++) {
            /* every byte of the small tensors, a sample of the large */
            n_refused +=
                tensors_flip_bits(&ts, i, ts.items[i].n_bytes > 1000 ? 37 : 1, load_damaged);
        }
        assert_false(load_damaged(&ts)); /* all is as it was */
        seg_tensors_release(&ts);
        seg_preprocess_free(p);
        seg_table_release(&t);
    }
    assert_true(n_refused > 1000);
}

static void a_tensor_that_lacks_or_is_short_is_refused(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_preprocess *p = NULL;
    struct seg_tensors ts;
    mixed_table(&t, N_ROWS, 22);
    assert_int_equal(fit_mixed(&t, SEG_ENCODE_TARGET, &p), SEG_OK);
    seg_tensors_init(&ts);
    assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
    assert_int_equal(ts.n_items, 12); /* the mixed plan has something of every kind */
    for (size_t i = 0; i < ts.n_items; i++)
        tensors_must_be_whole(&ts, i, load_damaged);
    seg_tensors_release(&ts);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

/* Tensors as docs/MODEL_FORMAT.md had them before anything could be derived. */
static void a_plan_of_format_1_loads_and_applies(void **state)
{
    (void)state;
    static const uint32_t FEATURES[3][8] = { { SEG_NUMERIC, 1, 1, 0, 0, 0, 0, 0 },
                                             { SEG_TIMESTAMP, 1, 0, 0, 0, 0, 0, 0 },
                                             { SEG_CATEGORICAL, 1, 0, 0, 0, 2, 1, 2 } };
    static const double NUMBERS[2][6] = { { 30, 18, 90, 0, 40, 0.1 },
                                          { 0, -1e30, 1e30, 0, 9000, 0.5 } };
    static const char *const NAMES[] = { "age", "joined", "channel" }, *const CATEGORIES[] = {
        "app", "web"
    };
    static const uint32_t SEED[2] = { 7, 0 }, KNOT_COUNTS[2] = { 0, 0 };
    static const float WANT[5] = { -1, 1, 100, 0, 1 };
    struct seg_tensors ts;
    struct seg_preprocess *p = NULL;
    seg_tensors_init(&ts);
    assert_int_equal(seg_tensors_add_strings(&ts, "preprocess.names", NAMES, 3), SEG_OK);
    assert_int_equal(
        seg_tensors_add(&ts, "preprocess.features", SEG_U32, 2, (size_t[]){ 3, 8 }, FEATURES),
        SEG_OK);
    assert_int_equal(seg_tensors_add_vector(&ts, "preprocess.seed", SEG_U32, 2, SEED), SEG_OK);
    assert_int_equal(
        seg_tensors_add(&ts, "preprocess.numbers", SEG_F64, 2, (size_t[]){ 2, 6 }, NUMBERS),
        SEG_OK);
    assert_int_equal(seg_tensors_add_vector(&ts, "preprocess.knot_counts", SEG_U32, 2, KNOT_COUNTS),
                     SEG_OK);
    assert_int_equal(seg_tensors_add_strings(&ts, "preprocess.categories", CATEGORIES, 2), SEG_OK);
    assert_int_equal(seg_preprocess_load(&ts, &p, NULL), SEG_OK);
    assert_false(seg_preprocess_needs_format_2(p));
    assert_int_equal(seg_preprocess_n_out(p), 5);
    assert_int_equal(seg_preprocess_inputs(p)->n_cells, 4); /* the clock is not stored */
    const union seg_cell cells[4] = {
        { .number = NAN }, { .number = 9200 }, { .number = 3600 }, { .code = SEG_CODE_MISSING }
    };
    for (uint32_t j = 0; j < 5; j++)
        assert_true(near((double)apply_cells(p, cells, j), (double)WANT[j], 1e-6, 0));
    seg_preprocess_free(p);
    seg_tensors_release(&ts);
}

/* Fits, consumes, saves and loads with the nth allocation failing; the first failure there was.
 * What failed must have left its output alone. */
static enum seg_status whole_way(enum seg_encode encode, uint64_t nth)
{
    struct seg_table t;
    struct seg_preprocess *p = NULL, *again = NULL;
    struct seg_tensors ts;
    struct seg_tiles x[SEG_PARTS] = { 0 };
    uint8_t part[N_ROWS];
    uint16_t y[N_ROWS];
    mixed_table(&t, N_ROWS, 23);
    classes(y);
    for (size_t row = 0; row < N_ROWS; row++)
        part[row] = (uint8_t)(row % SEG_PARTS);
    seg_tensors_init(&ts);

    seg_alloc_fail_at(nth);
    enum seg_status st = fit_mixed(&t, encode, &p);
    assert_true((p != NULL) == (st == SEG_OK));
    if (st == SEG_OK) {
        st = seg_preprocess_consume(NULL, p, &t, part, y, NULL, x, NULL);
        assert_true((x[0].n_cols > 0) == (st == SEG_OK));
    }
    if (st == SEG_OK) st = seg_preprocess_save(p, &ts);
    if (st == SEG_OK) {
        st = seg_preprocess_load(&ts, &again, NULL);
        assert_true((again != NULL) == (st == SEG_OK));
    }
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
    for (unsigned k = 0; k < N_ENCODES; k++) {
        uint64_t nth = 1;
        for (enum seg_status st; (st = whole_way(ENCODES[k], nth)) != SEG_OK; nth++)
            assert_int_equal(st, SEG_ENOMEM);
        assert_true(nth > 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_plan_gives_the_same_bits),
        cmocka_unit_test(damaged_bytes_are_refused_or_harmless),
        cmocka_unit_test(a_tensor_that_lacks_or_is_short_is_refused),
        cmocka_unit_test(a_plan_of_format_1_loads_and_applies),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
