/* pca_fixture.h - columns that depend on each other, and components that must be fitted to them. */
#ifndef TESTS_UNIT_PCA_FIXTURE_H
#define TESTS_UNIT_PCA_FIXTURE_H

#include "preprocess_fixture.h"

enum { N_ROWS = 700, N_COLUMNS = 6 };

/* Columns that depend on each other; the fourth is the sum of the first two, the fifth at 1e6. */
static inline void dependent_table(struct seg_table *t, size_t n_rows)
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
static inline struct seg_preprocess *fit_pca(struct seg_pool *pool, struct seg_table *t,
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

#endif
