/* test_derive.c - derived columns agree with a naive twin, are missing by the rule, and go through
 * preprocessing like any column. */
#include "preprocess_fixture.h"
#include <float.h>
#include <time.h>
#include "features/calendar.h"

enum { N_ROWS = 500, N_FEATURES = 4 };

/* Two numbers with gaps, zeros and extremes, two timestamps with clocks. */
static void events_table(struct seg_table *t, size_t n_rows, uint64_t seed)
{
    static const enum seg_type TYPES[N_FEATURES] = { SEG_NUMERIC, SEG_NUMERIC, SEG_TIMESTAMP,
                                                     SEG_TIMESTAMP };
    struct seg_rng rng = seg_rng_make(seed, 0);
    table_make(t, TYPES, N_FEATURES, n_rows);
    for (size_t row = 0; row < n_rows; row++) {
        const uint64_t dice = seg_rng_below(&rng, 12);
        if (dice != 0) seg_table_cell(t, row, 0)->number = (float)seg_rng_normal(&rng) * 100;
        if (dice != 1) seg_table_cell(t, row, 1)->number = (float)seg_rng_below(&rng, 5);
        if (dice == 2) seg_table_cell(t, row, 0)->number = 1e30f;
        if (dice == 3) seg_table_cell(t, row, 1)->number = 1e-30f;
        for (uint32_t f = 2; f < N_FEATURES; f++) {
            const uint32_t cell = t->schema.features[f].cell;
            const int64_t day = (int64_t)seg_rng_below(&rng, 60000) - 40000; /* 1890 to 2054 */
            if (dice == 2 + f) continue;
            seg_moment_cells(day * SEG_DAY_MICROS + (int64_t)seg_rng_below(&rng, SEG_DAY_MICROS),
                             &seg_table_cell(t, row, cell)->number,
                             &seg_table_cell(t, row, cell + 1)->number);
        }
    }
}

static double clipped(double v)
{
    return v < -1e30 ? -1e30 : v > 1e30 ? 1e30 : v;
}

/* What op makes of row, by the C library. */
static double twin(const struct seg_table *t, size_t row, const struct seg_derived *d)
{
    const struct seg_feature *f = &t->schema.features[d->of[0]];
    const double a = (double)seg_table_cell(t, row, f->cell)->number;
    const struct seg_feature *g = &t->schema.features[d->of[1]];
    const double b = (double)seg_table_cell(t, row, g->cell)->number;
    if (f->type == SEG_NUMERIC) {
        switch (d->op) {
        case SEG_DERIVE_RATIO: return b == 0 ? (double)NAN : clipped(a / b);
        case SEG_DERIVE_DIFFERENCE: return clipped(a - b);
        case SEG_DERIVE_SUM: return clipped(a + b);
        case SEG_DERIVE_PRODUCT: return clipped(a * b);
        default: fail_msg("op %d of numbers", d->op);
        }
    }
    if (isnan(a)) return (double)NAN;
    const double clock_a = (double)seg_table_cell(t, row, f->cell + 1)->number;
    const double clock_b = (double)seg_table_cell(t, row, g->cell + 1)->number;
    const double day_a = rint(a - clock_a / 86400), day_b = rint(b - clock_b / 86400);
    const time_t seconds = (time_t)((day_a + 10957) * 86400 + clock_a);
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    struct tm next = { .tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 0 };
    timegm(&next); /* the last day of the month */
    struct tm last = { .tm_year = tm.tm_year, .tm_mon = 11, .tm_mday = 31 };
    timegm(&last);
    const double turn = 2 * M_PI;
    switch (d->op) {
    case SEG_DERIVE_DIFFERENCE: return day_a - day_b + (clock_a - clock_b) / 86400;
    case SEG_DERIVE_YEAR: return tm.tm_year + 1900;
    case SEG_DERIVE_IS_WEEKEND: return tm.tm_wday == 0 || tm.tm_wday == 6;
    case SEG_DERIVE_DAYS_SINCE: return d->reference - day_a - clock_a / 86400;
    case SEG_DERIVE_MONTH_SIN: return sin(turn * tm.tm_mon / 12);
    case SEG_DERIVE_MONTH_COS: return cos(turn * tm.tm_mon / 12);
    case SEG_DERIVE_DAY_OF_MONTH_SIN: return sin(turn * (tm.tm_mday - 1) / next.tm_mday);
    case SEG_DERIVE_DAY_OF_MONTH_COS: return cos(turn * (tm.tm_mday - 1) / next.tm_mday);
    case SEG_DERIVE_DAY_OF_YEAR_SIN: return sin(turn * tm.tm_yday / (last.tm_yday + 1));
    case SEG_DERIVE_DAY_OF_YEAR_COS: return cos(turn * tm.tm_yday / (last.tm_yday + 1));
    case SEG_DERIVE_DAY_OF_WEEK_SIN: return sin(turn * ((tm.tm_wday + 6) % 7) / 7);
    case SEG_DERIVE_DAY_OF_WEEK_COS: return cos(turn * ((tm.tm_wday + 6) % 7) / 7);
    case SEG_DERIVE_HOUR_SIN: return sin(turn * tm.tm_hour / 24);
    case SEG_DERIVE_HOUR_COS: return cos(turn * tm.tm_hour / 24);
    default: fail_msg("op %d of timestamps", d->op);
    }
    return 0;
}

static void columns_agree_with_a_twin(void **state)
{
    (void)state;
    struct seg_table t;
    size_t n_missing = 0, n_clipped = 0;
    events_table(&t, N_ROWS, 3);
    for (unsigned op = 0; op < SEG_DERIVE_OPS; op++)
        for (unsigned of_times = 0; of_times < 2; of_times++) {
            struct seg_derived d = { .name = (char *)"d", .op = (enum seg_derive_op)op };
            float cells[SEG_TILE_ROWS];
            d.of[0] = of_times != 0 ? 2 : 0;
            d.of[1] = of_times != 0 ? 3 : 1;
            if (seg_derive_is_part(d.op)) d.of[1] = 0;
            d.reference = d.op == SEG_DERIVE_DAYS_SINCE ? 9000.25 : 0;
            const bool suits = of_times == 0
                                   ? !seg_derive_is_part(d.op)
                                   : seg_derive_is_part(d.op) || d.op == SEG_DERIVE_DIFFERENCE;
            assert_int_equal(seg_derive_check(&t.schema, &d, 0) == NULL, suits);
            if (!suits) continue;
            for (size_t row = 0; row < N_ROWS; row++) {
                seg_derive_tile(&t.schema, &d, 1, seg_tiles_at(&t.cells, row / SEG_TILE_ROWS),
                                cells);
                const float got = cells[row % SEG_TILE_ROWS];
                const double want = twin(&t, row, &d);
                assert_int_equal(isnan(got), isnan(want));
                if (!isnan(want)) assert_true(near((double)got, want, 1e-6, 1e-7));
                n_missing += isnan(want);
                n_clipped += fabs(want) == 1e30;
            }
        }
    assert_true(n_missing > 100 && n_clipped > 5);
    seg_table_release(&t);
}

static void late_hours_are_next_to_early_ones(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_derived d[2] = { { .name = (char *)"s", .op = SEG_DERIVE_HOUR_SIN },
                                { .name = (char *)"c", .op = SEG_DERIVE_HOUR_COS } };
    float cells[2 * SEG_TILE_ROWS];
    table_make(&t, (const enum seg_type[]){ SEG_TIMESTAMP }, 1, 24);
    for (size_t hour = 0; hour < 24; hour++)
        seg_moment_cells(9800 * SEG_DAY_MICROS + (int64_t)hour * 3600000000,
                         &seg_table_cell(&t, hour, 0)->number,
                         &seg_table_cell(&t, hour, 1)->number);
    seg_derive_tile(&t.schema, d, 2, seg_tiles_at(&t.cells, 0), cells);
    const float step = hypotf(cells[1] - cells[0], cells[65] - cells[64]);
    for (size_t hour = 0; hour < 24; hour++) {
        const size_t next = (hour + 1) % 24;
        const float s = cells[next] - cells[hour], c = cells[64 + next] - cells[64 + hour];
        assert_true(fabsf(hypotf(s, c) - step) < 1e-6f);
    }
    seg_table_release(&t);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec specs[8];
    struct seg_preprocess *p = NULL;
    char long_name[SEG_NAME_BYTES_MAX + 2];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const struct seg_derived BAD[] = {
        { .name = (char *)"f0", .op = SEG_DERIVE_SUM, .of = { 0, 1 } }, /* a feature's */
        { .name = (char *)"", .op = SEG_DERIVE_SUM, .of = { 0, 1 } },
        { .name = long_name, .op = SEG_DERIVE_SUM, .of = { 0, 1 } },
        { .name = (char *)"first", .op = SEG_DERIVE_SUM, .of = { 0, 1 } }, /* taken */
        { .name = (char *)"d", .op = SEG_DERIVE_OPS, .of = { 0, 1 } },
        { .name = (char *)"d", .op = SEG_DERIVE_SUM, .of = { 0, 5 } }, /* itself */
        { .name = (char *)"d", .op = SEG_DERIVE_SUM, .of = { 0, UINT32_MAX } },
        { .name = (char *)"d", .op = SEG_DERIVE_SUM, .of = { 0, 2 } },
        { .name = (char *)"d", .op = SEG_DERIVE_DIFFERENCE, .of = { 2, 0 } },
        { .name = (char *)"d", .op = SEG_DERIVE_YEAR, .of = { 0 } },
        { .name = (char *)"d", .op = SEG_DERIVE_YEAR, .of = { 4 } },
        { .name = (char *)"d", .op = SEG_DERIVE_YEAR, .of = { 2, 1 } },
        { .name = (char *)"d", .op = SEG_DERIVE_YEAR, .of = { 2 }, .reference = 1 },
        { .name = (char *)"d",
          .op = SEG_DERIVE_DAYS_SINCE,
          .of = { 2 },
          .reference = (double)INFINITY },
    };
    struct seg_derived list[2] = {
        { .name = (char *)"first", .op = SEG_DERIVE_SUM, .of = { 0, 1 } }
    };
    for (unsigned i = 0; i < 8; i++)
        specs[i] = plain_spec();
    events_table(&t, 10, 4);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct seg_error err = { "" };
        list[1] = BAD[i];
        assert_int_equal(seg_preprocess_fit(NULL, &t,
                                            &(struct seg_preprocess_spec){ specs, list, 2 }, NULL,
                                            NULL, 0, 1, NULL, &p, &err),
                         SEG_EINVAL);
        assert_true(err.text[0] != '\0');
    }
    assert_null(p);
    seg_table_release(&t);
}

/* A ratio, what it needs left out, parts of the first timestamp. */
static struct seg_preprocess *fit_events(struct seg_pool *pool, const struct seg_table *t,
                                         const uint8_t *part)
{
    static struct seg_derived LIST[] = {
        { .name = (char *)"gap", .op = SEG_DERIVE_DIFFERENCE, .of = { 2, 3 } },
        { .name = (char *)"rate", .op = SEG_DERIVE_RATIO, .of = { N_FEATURES, 1 } },
        { .name = (char *)"since",
          .op = SEG_DERIVE_DAYS_SINCE,
          .of = { 2 },
          .reference = (double)NAN },
        { .name = (char *)"month.sin", .op = SEG_DERIVE_MONTH_SIN, .of = { 2 } },
    };
    struct seg_column_spec specs[N_FEATURES + 4];
    struct seg_preprocess *p = NULL;
    for (unsigned i = 0; i < N_FEATURES + 4; i++)
        specs[i] = plain_spec();
    specs[3].left_out = specs[4].left_out = true; /* read for gap; gap is read for rate */
    specs[5].indicator = true;
    specs[5].outliers = SEG_OUTLIERS_IQR;
    specs[5].scale = SEG_SCALE_STANDARD;
    assert_int_equal(seg_preprocess_fit(pool, t, &(struct seg_preprocess_spec){ specs, LIST, 4 },
                                        part, NULL, 0, 1, NULL, &p, NULL),
                     SEG_OK);
    return p;
}

static void columns_are_named_and_what_is_left_out_has_none(void **state)
{
    (void)state;
    static const char *const NAMES[] = { "f0",    "f1",       "f2", "rate", "rate is missing",
                                         "since", "month.sin" };
    static const uint32_t FEATURES[] = { 0, 1, 2, 5, 5, 6, 7 };
    struct seg_table t;
    events_table(&t, N_ROWS, 5);
    struct seg_preprocess *p = fit_events(NULL, &t, NULL);
    assert_int_equal(seg_preprocess_n_out(p), 7);
    assert_int_equal(seg_preprocess_n_derived(p), 4);
    for (uint32_t i = 0; i < 7; i++) {
        assert_string_equal(seg_preprocess_out_name(p, i), NAMES[i]);
        assert_int_equal(seg_preprocess_column_feature(p, i), FEATURES[i]);
    }
    assert_int_equal(seg_preprocess_inputs(p)->n_features, N_FEATURES);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void a_missing_ratio_is_imputed_and_marked(void **state)
{
    (void)state;
    struct seg_table t;
    events_table(&t, N_ROWS, 6);
    struct seg_preprocess *p = fit_events(NULL, &t, NULL);
    union seg_cell cells[6] = { { .number = 1 }, { .number = 2 }, { .number = 10 },
                                { .number = 0 }, { .number = 6 }, { .number = 0 } };
    const float there = apply_cells(p, cells, 3);
    assert_true(apply_cells(p, cells, 4) == 0);
    cells[1].number = 0; /* divides by zero */
    const float by_zero = apply_cells(p, cells, 3);
    assert_true(apply_cells(p, cells, 4) == 1);
    cells[1].number = 2;
    cells[2].number = NAN; /* no operand of an operand */
    assert_true(apply_cells(p, cells, 3) == by_zero && by_zero != there);
    assert_true(apply_cells(p, cells, 4) == 1);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void days_are_counted_to_the_latest_of_the_training_part(void **state)
{
    (void)state;
    struct seg_table t;
    uint8_t part[3] = { SEG_PART_TRAIN, SEG_PART_TRAIN, SEG_PART_TEST };
    events_table(&t, 3, 7);
    for (size_t row = 0; row < 3; row++) {
        seg_table_cell(&t, row, 0)->number = 1;
        seg_table_cell(&t, row, 1)->number = 1;
        for (uint32_t cell = 2; cell < 6; cell += 2)
            seg_moment_cells((int64_t)(row + 1) * 100 * SEG_DAY_MICROS + SEG_DAY_MICROS / 4,
                             &seg_table_cell(&t, row, cell)->number,
                             &seg_table_cell(&t, row, cell + 1)->number);
    }
    struct seg_preprocess *p = fit_events(NULL, &t, part);
    assert_true(seg_preprocess_derived(p, 2)->reference == 200.25);
    const union seg_cell cells[6] = { { .number = 1 },     { .number = 1 }, { .number = 300.25f },
                                      { .number = 21600 }, { .number = 1 }, { .number = 0 } };
    assert_true(apply_cells(p, cells, 5) == -100);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void inverse_gives_derived_columns_too(void **state)
{
    (void)state;
    struct seg_table t;
    events_table(&t, N_ROWS, 8);
    struct seg_preprocess *p = fit_events(NULL, &t, NULL);
    const float out[7] = { 1, 2, 3, 0, 0, 40, 0.5f };
    float raw[6 + 4];
    seg_preprocess_invert(p, out, raw);
    assert_true(raw[0] == 1 && raw[1] == 2 && raw[2] == 3);
    assert_true(isnan(raw[3]) && isnan(raw[4]) && isnan(raw[5])); /* clocks, and f3 is left out */
    assert_true(isnan(raw[6]) && isfinite(raw[7]) && raw[8] == 40 && raw[9] == 0.5f);
    seg_preprocess_free(p);
    seg_table_release(&t);
}

/* The bytes of a plan fitted on that many workers. */
static void fitted_bytes(unsigned n_workers, uint8_t **ret_bytes, size_t *ret_len)
{
    struct seg_table t;
    struct seg_pool *pool;
    struct seg_tensors ts;
    struct seg_tiles x[SEG_PARTS];
    events_table(&t, 20000, 9);
    assert_int_equal(seg_pool_new(n_workers, 4, &pool, NULL), SEG_OK);
    struct seg_preprocess *p = fit_events(pool, &t, NULL);
    assert_int_equal(seg_preprocess_consume(pool, p, &t, NULL, NULL, NULL, x, NULL), SEG_OK);
    seg_tensors_init(&ts);
    assert_int_equal(seg_preprocess_save(p, &ts), SEG_OK);
    for (size_t i = 0; i < x[0].n_chunks; i++) {
        const size_t shape[] = { seg_tiles_chunk_tiles(&x[0], i) * SEG_TILE_ROWS * x[0].n_cols };
        const char name[] = { 'x', (char)('0' + i), '\0' };
        assert_int_equal(seg_tensors_add(&ts, name, SEG_F32, 1, shape, x[0].chunks[i]), SEG_OK);
    }
    assert_int_equal(seg_tensors_write(&ts, ret_bytes, ret_len), SEG_OK);
    seg_tensors_release(&ts);
    for (unsigned i = 0; i < SEG_PARTS; i++)
        seg_tiles_release(&x[i]);
    seg_preprocess_free(p);
    seg_pool_free(pool);
    seg_table_release(&t);
}

static void bits_do_not_depend_on_the_number_of_workers(void **state)
{
    (void)state;
    uint8_t *want, *bytes;
    size_t n_want, n_bytes;
    fitted_bytes(1, &want, &n_want);
    for (unsigned n_workers = 2; n_workers <= 4; n_workers *= 2) {
        fitted_bytes(n_workers, &bytes, &n_bytes);
        assert_int_equal(n_bytes, n_want);
        assert_memory_equal(bytes, want, n_want);
        seg_free(bytes);
    }
    seg_free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_agree_with_a_twin),
        cmocka_unit_test(late_hours_are_next_to_early_ones),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(columns_are_named_and_what_is_left_out_has_none),
        cmocka_unit_test(a_missing_ratio_is_imputed_and_marked),
        cmocka_unit_test(days_are_counted_to_the_latest_of_the_training_part),
        cmocka_unit_test(inverse_gives_derived_columns_too),
        cmocka_unit_test(bits_do_not_depend_on_the_number_of_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
