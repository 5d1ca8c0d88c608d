/* test_profile.c - a profile says what sorting every segment's values by hand would say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "explain/profile.h"

enum { AGE, CHANNEL, EMBEDDING, N_FEATURES };

static void add_feature(struct seg_schema *s, const char *name, enum seg_type type, uint32_t width)
{
    assert_int_equal(seg_schema_add(s, name, type, width, NULL), SEG_OK);
}

static uint32_t code_of(struct seg_table *t, const char *value)
{
    uint32_t code;
    assert_int_equal(
        seg_dictionary_add(&t->schema.features[CHANNEL].dictionary, value, strlen(value), &code),
        SEG_OK);
    return code;
}

/* age, channel (n_channels values, c00, c01, …), embedding of two. Every ninth age is missing,
 * every eleventh channel, and no number every seventeenth of the embedding's second; ages repeat.
 */
static struct seg_table table_new(size_t n_rows, unsigned n_channels)
{
    struct seg_schema schema;
    struct seg_table t;
    struct seg_rng rng = seg_rng_make(1, n_rows);
    seg_schema_init(&schema);
    add_feature(&schema, "age", SEG_NUMERIC, 1);
    add_feature(&schema, "channel", SEG_CATEGORICAL, 1);
    add_feature(&schema, "embedding", SEG_VECTOR, 2);
    seg_table_init(&t, &schema);
    for (size_t i = 0; i < n_rows; i++) {
        size_t row;
        char channel[16];
        assert_int_equal(seg_table_add_row(&t, &row), SEG_OK);
        snprintf(channel, sizeof channel, "c%02u", (unsigned)seg_rng_below(&rng, n_channels));
        if (i % 9 != 0)
            seg_table_cell(&t, row, 0)->number = 20 + 0.5f * (float)seg_rng_below(&rng, 50);
        if (i % 11 != 0) seg_table_cell(&t, row, 1)->code = code_of(&t, channel);
        for (uint32_t c = 2; c < 4; c++)
            seg_table_cell(&t, row, c)->number = (float)seg_rng_normal(&rng);
        if (i % 17 == 5) seg_table_cell(&t, row, 3)->number = i % 2 == 0 ? INFINITY : -INFINITY;
    }
    return t;
}

/* Row r is in segment r % n, or in none when r is a multiple of 13. */
static uint16_t *segments_new(size_t n_rows, uint32_t n)
{
    uint16_t *segment = seg_alloc(n_rows, sizeof *segment);
    assert_non_null(segment);
    for (size_t r = 0; r < n_rows; r++)
        segment[r] = (uint16_t)(r % 13 == 0 ? UINT16_MAX : r % n);
    return segment;
}

static struct seg_profile build(struct seg_pool *pool, const struct seg_table *t,
                                const uint16_t *segment, uint32_t n)
{
    struct seg_profile p;
    assert_int_equal(seg_profile_build(pool, t, segment, n, NULL, &p), SEG_OK);
    return p;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The present values of one cell column in a segment (UINT16_MAX - 1: in any), ascending. */
static size_t sorted_values(const struct seg_table *t, const uint16_t *segment, uint16_t wanted,
                            uint32_t cell, float *values)
{
    size_t n = 0;
    for (size_t r = 0; r < t->cells.n_rows; r++) {
        float v = seg_table_cell(t, r, cell)->number;
        if (segment[r] == UINT16_MAX || !isfinite(v)) continue;
        if (segment[r] == wanted || wanted == UINT16_MAX - 1) values[n++] = v;
    }
    qsort(values, n, sizeof *values, compare_floats);
    return n;
}

static double quantile(const float *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    double low = (double)sorted[i], high = (double)sorted[i + 1 < n ? i + 1 : i];
    return low + (at - (double)i) * (high - low);
}

static double mean_of(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i];
    return sum / (double)n;
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) <= 1e-9 * (1 + fabs(b)))) fail_msg("%.12g is not %.12g", a, b);
}

static void profile_of_numbers_equals_sorting_the_values(void **state)
{
    (void)state;
    static const size_t N_ROWS[] = { 3, 14, 64, 200, 5000 };
    for (size_t i = 0; i < sizeof N_ROWS / sizeof *N_ROWS; i++) {
        const size_t n = N_ROWS[i];
        struct seg_table t = table_new(n, 4);
        uint16_t *segment = segments_new(n, 3);
        struct seg_profile p = build(NULL, &t, segment, 3);
        float *all = seg_alloc(n, sizeof *all), *own = seg_alloc(n, sizeof *own);
        assert_true(all != NULL && own != NULL);
        assert_int_equal(p.n_profiled, 4);
        for (size_t f = 0; f < 4; f++) {
            if (f == CHANNEL) continue;
            const uint32_t cell = (uint32_t)f;
            size_t n_all = sorted_values(&t, segment, UINT16_MAX - 1, cell, all);
            double mean = n_all > 0 ? mean_of(all, n_all) : NAN, square = 0;
            for (size_t r = 0; r < n_all; r++)
                square += pow((double)all[r] - mean, 2);
            double sd = sqrt(square / (double)n_all);
            for (uint16_t g = 0; g < 3; g++) {
                const struct seg_feature_profile *out = &p.segments[g].features[f];
                size_t n_own = sorted_values(&t, segment, g, cell, own);
                assert_int_equal(out->feature, f < 2 ? f : EMBEDDING);
                assert_int_equal(out->dimension, f == 3 ? 1 : 0);
                assert_int_equal(out->n_present, n_own);
                if (n_own == 0) {
                    assert_true(isnan(out->mean) && isnan(out->median) && isnan(out->lift));
                    continue;
                }
                assert_near(out->mean, mean_of(own, n_own));
                assert_near(out->population_mean, mean);
                assert_near(out->lift, out->mean / mean);
                assert_near(out->effect, sd > 0 ? (out->mean - mean) / sd : 0);
                assert_near(out->p10, quantile(own, n_own, 0.1));
                assert_near(out->median, quantile(own, n_own, 0.5));
                assert_near(out->p90, quantile(own, n_own, 0.9));
            }
        }
        seg_free(all);
        seg_free(own);
        seg_profile_release(&p);
        seg_free(segment);
        seg_table_release(&t);
    }
}

static void profile_counts_only_rows_that_have_a_segment(void **state)
{
    (void)state;
    struct seg_table t = table_new(1000, 4);
    uint16_t *segment = segments_new(1000, 3);
    struct seg_profile p = build(NULL, &t, segment, 5); /* segments 3 and 4 are empty */
    uint64_t size[5] = { 0 }, n = 0;
    for (size_t r = 0; r < 1000; r++)
        if (segment[r] != UINT16_MAX) {
            size[segment[r]]++;
            n++;
        }
    assert_int_equal(p.n_users, n);
    for (uint32_t g = 0; g < 5; g++) {
        assert_int_equal(p.segments[g].size, size[g]);
        assert_near(p.segments[g].share, (double)size[g] / (double)n);
    }
    assert_true(isnan(p.segments[4].features[AGE].mean));
    assert_near(p.segments[4].features[AGE].population_mean,
                p.segments[0].features[AGE].population_mean);
    assert_int_equal(p.segments[4].n_top, 0);
    seg_profile_release(&p);
    seg_free(segment);
    seg_table_release(&t);
}

static void profile_of_categories_equals_counting_and_shows_the_twenty_largest(void **state)
{
    (void)state;
    static const unsigned N_CHANNELS[] = { 1, 4, 60 };
    for (size_t i = 0; i < sizeof N_CHANNELS / sizeof *N_CHANNELS; i++) {
        const size_t n = 3000;
        struct seg_table t = table_new(n, N_CHANNELS[i]);
        const struct seg_dictionary *dict = &t.schema.features[CHANNEL].dictionary;
        uint16_t *segment = segments_new(n, 2);
        struct seg_profile p = build(NULL, &t, segment, 2);
        const unsigned n_values = N_CHANNELS[i] + 1; /* and missing */
        for (uint16_t g = 0; g < 2; g++) {
            double own[64] = { 0 }, all[64] = { 0 }, effect2 = 0, least = 1, hidden = 0;
            bool shown[64] = { false };
            for (size_t r = 0; r < n; r++) {
                uint32_t code = seg_table_cell(&t, r, 1)->code;
                if (segment[r] == UINT16_MAX) continue;
                if (code == SEG_CODE_MISSING) code = dict->n;
                all[code] += 1 / (double)p.n_users;
                own[code] += segment[r] == g ? 1 / (double)p.segments[g].size : 0;
            }
            for (unsigned v = 0; v < n_values; v++)
                effect2 += pow(own[v] - all[v], 2) / all[v];
            const struct seg_feature_profile *out = &p.segments[g].features[CHANNEL];
            assert_near(out->effect, sqrt(effect2));
            assert_true(isnan(out->mean) && isnan(out->lift));
            assert_int_equal(out->n_categories, n_values < 20 ? n_values : 20);
            for (uint32_t c = 0; c < out->n_categories; c++) {
                const struct seg_category_share *s = &out->categories[c];
                uint32_t v = s->code == SEG_CODE_MISSING ? dict->n : s->code;
                assert_near(s->share, own[v]);
                assert_near(s->population_share, all[v]);
                shown[v] = true;
                least = fmin(least, fmax(own[v], all[v]));
                if (c > 0) assert_true(s->population_share <= s[-1].population_share);
            }
            for (unsigned v = 0; v < n_values; v++)
                if (!shown[v]) hidden = fmax(hidden, fmax(own[v], all[v]));
            assert_true(hidden <= least + 1e-12);
        }
        seg_profile_release(&p);
        seg_free(segment);
        seg_table_release(&t);
    }
}

static void profile_orders_equal_shares_by_string(void **state)
{
    (void)state;
    struct seg_table t = table_new(0, 1);
    static const char *const VALUES[] = { "web", "app", "shop" };
    uint16_t segment[3] = { 0, 0, 1 };
    for (size_t i = 0; i < 3; i++) {
        size_t row;
        assert_int_equal(seg_table_add_row(&t, &row), SEG_OK);
        seg_table_cell(&t, row, 1)->code = code_of(&t, VALUES[i]);
    }
    struct seg_profile p = build(NULL, &t, segment, 2);
    const struct seg_feature_profile *out = &p.segments[1].features[CHANNEL];
    assert_int_equal(out->n_categories, 3);
    assert_int_equal(out->categories[0].code, 1); /* app, shop, web */
    assert_int_equal(out->categories[1].code, 2);
    assert_int_equal(out->categories[2].code, 0);
    seg_profile_release(&p);
    seg_table_release(&t);
}

static void profile_puts_the_strongest_features_on_top(void **state)
{
    (void)state;
    /* Seven numbers; number c of segment 1 is shifted by SHIFT[c], those of segment 0 are not. */
    static const float SHIFT[] = { 0, 1, -3, 0.5f, 2, 0, 1.5f };
    struct seg_schema schema;
    struct seg_table t;
    struct seg_rng rng = seg_rng_make(4, 4);
    uint16_t segment[2000];
    seg_schema_init(&schema);
    add_feature(&schema, "v", SEG_VECTOR, 7);
    seg_table_init(&t, &schema);
    for (size_t i = 0; i < 2000; i++) {
        size_t row;
        segment[i] = (uint16_t)(i % 2);
        assert_int_equal(seg_table_add_row(&t, &row), SEG_OK);
        for (uint32_t c = 0; c < 7; c++)
            seg_table_cell(&t, row, c)->number =
                (float)seg_rng_normal(&rng) + (i % 2 == 1 ? SHIFT[c] : 0);
    }
    struct seg_profile p = build(NULL, &t, segment, 2);
    static const uint32_t TOP[] = { 2, 4, 6, 1, 3 };
    for (size_t g = 0; g < 2; g++) {
        assert_int_equal(p.segments[g].n_top, 5);
        assert_memory_equal(p.segments[g].top, TOP, sizeof TOP);
    }
    assert_true(p.segments[1].features[2].effect < -0.5);
    seg_profile_release(&p);
    seg_table_release(&t);
}

static void profile_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct seg_table t = table_new(20000, 30);
    uint16_t *segment = segments_new(20000, 7);
    struct seg_pool *pool;
    assert_int_equal(seg_pool_new(3, 4, &pool, NULL), SEG_OK);
    struct seg_profile p = build(NULL, &t, segment, 7), q = build(pool, &t, segment, 7);
    for (size_t g = 0; g < 7; g++)
        for (size_t f = 0; f < 4; f++) {
            const struct seg_feature_profile *a = &p.segments[g].features[f];
            const struct seg_feature_profile *b = &q.segments[g].features[f];
            assert_memory_equal(&a->mean, &b->mean, 7 * sizeof(double)); /* mean .. effect */
            assert_int_equal(a->n_categories, b->n_categories);
            for (uint32_t c = 0; c < a->n_categories; c++) {
                assert_int_equal(a->categories[c].code, b->categories[c].code);
                assert_true(a->categories[c].share == b->categories[c].share);
            }
        }
    seg_profile_release(&p);
    seg_profile_release(&q);
    seg_pool_free(pool);
    seg_free(segment);
    seg_table_release(&t);
}

static void profile_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct seg_table t = table_new(300, 5);
    uint16_t *segment = segments_new(300, 3);
    enum seg_status st = SEG_ENOMEM;
    uint64_t nth = 0;
    while (st != SEG_OK) {
        struct seg_profile p;
        seg_alloc_fail_at(++nth);
        st = seg_profile_build(NULL, &t, segment, 3, NULL, &p);
        seg_alloc_fail_at(0);
        if (st == SEG_OK)
            seg_profile_release(&p);
        else
            assert_int_equal(st, SEG_ENOMEM);
    }
    assert_true(nth > 15);
    seg_free(segment);
    seg_table_release(&t);
}

static void profile_stops_when_it_is_cancelled(void **state)
{
    (void)state;
    struct seg_table t = table_new(300, 5);
    uint16_t *segment = segments_new(300, 3);
    const atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    struct seg_profile p;
    assert_int_equal(seg_profile_build(NULL, &t, segment, 3, &progress, &p), SEG_ECANCELED);
    seg_free(segment);
    seg_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profile_of_numbers_equals_sorting_the_values),
        cmocka_unit_test(profile_counts_only_rows_that_have_a_segment),
        cmocka_unit_test(profile_of_categories_equals_counting_and_shows_the_twenty_largest),
        cmocka_unit_test(profile_orders_equal_shares_by_string),
        cmocka_unit_test(profile_puts_the_strongest_features_on_top),
        cmocka_unit_test(profile_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(profile_survives_every_failed_allocation),
        cmocka_unit_test(profile_stops_when_it_is_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
