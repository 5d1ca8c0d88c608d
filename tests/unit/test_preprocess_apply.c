/* test_preprocess_apply.c - a fitted plan on a tile: a row's bits depend on the row alone, every
 * number that comes out is finite, and the way back. */
#include "preprocess_fixture.h"
#include "preprocess_reference.h"

/* A tile in which every cell of every lane is drawn anew. */
static void scramble(const struct seg_schema *s, struct seg_rng *rng, float *raw)
{
    seg_table_clear_rows(s, raw, 0, SEG_TILE_ROWS);
    for (uint32_t i = 0; i < s->n_features; i++)
        for (uint32_t c = s->features[i].cell; c < s->features[i].cell + s->features[i].width; c++)
            for (unsigned r = 0; r < SEG_TILE_ROWS; r++) {
                union seg_cell *cell = (union seg_cell *)raw + (size_t)c * SEG_TILE_ROWS + r;
                if (seg_rng_below(rng, 8) == 0) continue;
                if (s->features[i].type == SEG_CATEGORICAL)
                    cell->code = (uint32_t)seg_rng_below(rng, 30);
                else
                    cell->number = ldexpf(seg_rng_float(rng) - 0.5f, (int)seg_rng_below(rng, 60));
            }
}

static void row_bits_do_not_depend_on_neighbours_or_place(void **state)
{
    (void)state;
    struct seg_table t;
    struct seg_column_spec specs[6];
    struct seg_rng rng = seg_rng_make(5, 0);
    mixed_table(&t, 3000, 5);
    mixed_specs(specs, SEG_ENCODE_ORDINAL);
    specs[0].transform = SEG_TRANSFORM_LOG1P;
    struct seg_preprocess *p = fit_or_fail(&t, specs, NULL);
    const uint32_t n_cells = t.schema.n_cells, n_out = seg_preprocess_n_out(p);
    float raw[16 * SEG_TILE_ROWS], out[64 * SEG_TILE_ROWS], cells[16], first[64] = { 0 };
    assert_true(n_cells <= 16 && n_out <= 64);
    for (unsigned trial = 0; trial < 20; trial++) {
        scramble(&t.schema, &rng, raw);
        for (uint32_t c = 0; c < n_cells; c++)
            memcpy(&cells[c], raw + (size_t)c * SEG_TILE_ROWS + 17, sizeof *cells);
        for (unsigned lane = 0; lane < SEG_TILE_ROWS; lane++) {
            scramble(&t.schema, &rng, raw);
            for (uint32_t c = 0; c < n_cells; c++)
                memcpy(raw + (size_t)c * SEG_TILE_ROWS + lane, &cells[c], sizeof *cells);
            seg_preprocess_tile(p, raw, NULL, out);
            for (uint32_t j = 0; j < n_out; j++) {
                const float *value = out + (size_t)j * SEG_TILE_ROWS + lane;
                if (lane == 0) memcpy(&first[j], value, sizeof *value);
                assert_memory_equal(&first[j], value, sizeof *value);
            }
        }
    }
    seg_preprocess_free(p);
    seg_table_release(&t);
}

static void output_is_finite_whatever_comes_in(void **state)
{
    (void)state;
    static const float HOSTILE[] = { NAN,     INFINITY, -INFINITY, 0.0f,   -0.0f,  1e-45f, -1e-45f,
                                     3.4e38f, -3.4e38f, 1e30f,     -1e30f, 1e-30f, 1,      -1 };
    enum { N = sizeof HOSTILE / sizeof HOSTILE[0] };
    float tame[N], tiny[N]; /* narrow columns make the largest factors */
    for (unsigned i = 0; i < N; i++) {
        tame[i] = (float)i;
        tiny[i] = (float)(i % 3) * 1e-40f;
    }
    const float *const columns[] = { HOSTILE, tame, tiny };
    for (unsigned k = 0; k < 3; k++)
        for (int outliers = SEG_OUTLIERS_NONE; outliers <= SEG_OUTLIERS_ZSCORE; outliers++)
            for (int transform = SEG_TRANSFORM_NONE; transform <= SEG_TRANSFORM_BINS; transform++)
                for (int scale = SEG_SCALE_NONE; scale <= SEG_SCALE_MAX_ABS; scale++) {
                    struct seg_table t;
                    struct seg_column_spec spec = plain_spec();
                    spec.impute = SEG_IMPUTE_MEAN;
                    spec.outliers = (enum seg_outliers)outliers;
                    spec.transform = (enum seg_transform)transform;
                    spec.scale = (enum seg_scale)scale;
                    table_of(&t, columns[k], N);
                    struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
                    for (unsigned i = 0; i < N; i++)
                        assert_true(fabsf(apply_number(p, HOSTILE[i])) <= 1e30f);
                    seg_preprocess_free(p);
                    seg_table_release(&t);
                }
}

static void invert_gives_back_what_was_applied(void **state)
{
    (void)state;
    for (int transform = SEG_TRANSFORM_NONE; transform <= SEG_TRANSFORM_QUANTILE; transform++)
        for (int scale = SEG_SCALE_NONE; scale <= SEG_SCALE_MAX_ABS; scale++)
            for (unsigned c = 0; c < REFERENCE_COLUMNS; c++) {
                /* at 1e6 Yeo-Johnson leaves too few digits to float output */
                if (transform == SEG_TRANSFORM_YEO_JOHNSON && c == 3) continue;
                struct seg_table t;
                struct seg_column_spec spec = plain_spec();
                spec.transform = (enum seg_transform)transform;
                spec.scale = (enum seg_scale)scale;
                table_of(&t, REFERENCE_X[c], REFERENCE_ROWS);
                struct seg_preprocess *p = fit_or_fail(&t, &spec, NULL);
                for (unsigned i = 0; i < REFERENCE_ROWS; i++) {
                    const float x = REFERENCE_X[c][i], out = apply_number(p, x);
                    float raw = NAN;
                    seg_preprocess_invert(p, &out, &raw);
                    /* within float rounding of the scaled value, which log1p and ranks stretch */
                    if (!near((double)raw, (double)x, 2e-5, 2e-5))
                        fail_msg("transform %d, scale %d, column %u: %.9g, not %.9g", transform,
                                 scale, c, (double)raw, (double)x);
                }
                seg_preprocess_free(p);
                seg_table_release(&t);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_bits_do_not_depend_on_neighbours_or_place),
        cmocka_unit_test(output_is_finite_whatever_comes_in),
        cmocka_unit_test(invert_gives_back_what_was_applied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
