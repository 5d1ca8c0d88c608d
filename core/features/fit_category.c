/* fit_category.c - which categories a model knows, and the numbers they become.
 * A category's number is its place by frequency, so that the common ones are found first and a
 * model's bytes do not depend on the order of the rows. */
#include "features/plan.h"

#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"

#define FOLD_STREAM UINT64_C(0x666f6c64) /* of the generator that deals rows to folds */

/* A string of training and how often it came. */
struct candidate {
    const char *string;
    size_t length;
    size_t count;
};

unsigned seg_target_fold(uint64_t seed, size_t row, unsigned n_folds)
{
    struct seg_rng rng = seg_rng_make(seed, FOLD_STREAM);
    rng.counter = row;
    return (unsigned)((seg_rng_u64(&rng) >> 32) * n_folds >> 32);
}

float seg_target_code(const struct seg_target *t, uint64_t hits, uint64_t rows)
{
    const double mean = ((double)hits + SEG_SMOOTHING * t->prior) / ((double)rows + SEG_SMOOTHING);
    const double code = (mean - t->center) * t->inverse, max = (double)SEG_VALUE_MAX;
    return (float)(code < -max ? -max : code > max ? max : code);
}

enum seg_status seg_code_map_make(const struct seg_dictionary *from,
                                  const struct seg_dictionary *to, struct seg_code_map *ret_map)
{
    uint32_t *codes = seg_alloc(from->n, sizeof *codes);
    if (codes == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < from->n; i++)
        codes[i] = seg_dictionary_find(to, from->strings[i], from->lengths[i]);
    *ret_map = (struct seg_code_map){ .codes = codes, .n = from->n };
    return SEG_OK;
}

enum seg_status seg_target_count(const struct seg_table *t, uint32_t feature,
                                 const struct seg_code_map *map, uint32_t impute_code,
                                 const uint8_t *part, const uint16_t *y, uint64_t seed,
                                 struct seg_target_counts *counts)
{
    const uint32_t cell = t->schema.features[feature].cell, n = counts->n_categories;
    const size_t n_cells = ((size_t)n + 1) * counts->n_classes;
    counts->rows = NULL;
    uint32_t *rows = n_cells > SIZE_MAX / counts->n_folds
                         ? NULL
                         : seg_calloc(n_cells * counts->n_folds, sizeof *rows);
    if (rows == NULL) return SEG_ENOMEM;
    for (size_t row = 0; row < t->cells.n_rows; row++) {
        if (row % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        if (part != NULL && part[row] != SEG_PART_TRAIN) continue;
        if (y[row] >= counts->n_classes) {
            seg_free(rows);
            return SEG_EINVAL;
        }
        uint32_t code = seg_code_map_at(map, seg_table_cell(t, row, cell)->code);
        if (code == SEG_CODE_MISSING) code = impute_code;
        const unsigned fold = seg_target_fold(seed, row, counts->n_folds);
        rows[fold * n_cells + (size_t)(code < n ? code : n) * counts->n_classes + y[row]]++;
    }
    counts->rows = rows;
    return SEG_OK;
}

static int by_count_then_string(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->count != y->count) return x->count > y->count ? -1 : 1;
    return strcmp(x->string, y->string);
}

static bool any_missing(const struct seg_table *t, uint32_t cell)
{
    for (size_t row = 0; row < t->cells.n_rows; row++) {
        if (row % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        if (seg_table_cell(t, row, cell)->code == SEG_CODE_MISSING) return true;
    }
    return false;
}

/* The categories of the training rows, most frequent first. */
struct census {
    struct candidate *items; /* (n) */
    size_t n;
    size_t
        n_missing; /* rows without a value, unless a constant stands in for it: then that counts */
};

static enum seg_status take_census(const struct seg_fit *fit, uint32_t feature,
                                   struct census *ret_census, const char **ret_why)
{
    const struct seg_column_spec *spec = &fit->specs[feature];
    const struct seg_feature *f = &fit->table->schema.features[feature];
    const uint32_t n_codes = f->dictionary.n;
    enum seg_status st = SEG_ENOMEM;
    struct census census = { .items = seg_alloc((size_t)n_codes + 1, sizeof *census.items) };
    size_t *counts = seg_alloc((size_t)n_codes + 1, sizeof *counts);
    if (census.items == NULL || counts == NULL) goto out;
    seg_table_category_counts(fit->table, feature, fit->part, SEG_PART_TRAIN, counts);

    st = SEG_EINVAL;
    census.n_missing = counts[n_codes];
    if (census.n_missing == fit->n_train) {
        *ret_why = "there is no value in the training rows";
        goto out;
    }
    if (spec->impute == SEG_IMPUTE_ERROR && any_missing(fit->table, f->cell)) {
        *ret_why = "a value is missing, and impute is error";
        goto out;
    }
    if (spec->impute == SEG_IMPUTE_CONSTANT && census.n_missing > 0) {
        const size_t length = strlen(spec->constant_text);
        const uint32_t code = seg_dictionary_find(&f->dictionary, spec->constant_text, length);
        if (code == SEG_CODE_UNSEEN)
            census.items[census.n++] =
                (struct candidate){ spec->constant_text, length, census.n_missing };
        else
            counts[code] += census.n_missing;
        census.n_missing = 0;
    }
    for (uint32_t i = 0; i < n_codes; i++)
        if (counts[i] > 0)
            census.items[census.n++] =
                (struct candidate){ f->dictionary.strings[i], f->dictionary.lengths[i], counts[i] };
    qsort(census.items, census.n, sizeof *census.items, by_count_then_string);
    *ret_census = census;
    census.items = NULL;
    st = SEG_OK;

out:
    seg_free(census.items);
    seg_free(counts);
    return st;
}

/* What a missing value becomes. A category has no mean, median or zero: the first two are the mode,
 * and the code of the unseen, which is all zero, stands for the last. */
static uint32_t impute_code_of(const struct seg_column_spec *spec, const struct seg_dictionary *d)
{
    switch (spec->impute) {
    case SEG_IMPUTE_MEAN:
    case SEG_IMPUTE_MEDIAN:
    case SEG_IMPUTE_MODE: return 0;
    case SEG_IMPUTE_CONSTANT:
        return seg_dictionary_find(d, spec->constant_text, strlen(spec->constant_text));
    case SEG_IMPUTE_ZERO:
    case SEG_IMPUTE_ERROR: break;
    }
    return SEG_CODE_UNSEEN;
}

/* One column of codes while it is scaled: a code for each category and one for the unseen. */
struct code_column {
    double *codes; /* (n + 1) */
    size_t *rows;  /* (n + 1) training rows with that code */
    uint32_t n;
    float *values; /* (n_train) each code as often as it occurs */
};

static void code_column_release(const struct seg_fit *fit, struct code_column *c)
{
    seg_free(c->codes);
    seg_free(c->rows);
    if (c->values != NULL) seg_scratch_give(fit->columns, c->values);
}

static enum seg_status code_column_init(const struct seg_fit *fit, struct code_column *c,
                                        const struct census *census, uint32_t n,
                                        uint32_t impute_code)
{
    c->n = n;
    c->codes = seg_alloc((size_t)n + 1, sizeof *c->codes);
    c->rows = seg_alloc((size_t)n + 1, sizeof *c->rows);
    c->values = seg_scratch_take(fit->columns);
    if (c->codes == NULL || c->rows == NULL || c->values == NULL) return SEG_ENOMEM;
    size_t n_known = 0;
    for (uint32_t i = 0; i < n; i++) {
        c->rows[i] = census->items[i].count + (i == impute_code ? census->n_missing : 0);
        n_known += c->rows[i];
    }
    c->rows[n] = fit->n_train - n_known;
    return SEG_OK;
}

static struct seg_number code_column_scale(const struct seg_fit *fit, struct code_column *c,
                                           enum seg_scale scale)
{
    struct seg_number s = { .transform = SEG_TRANSFORM_NONE };
    size_t at = 0;
    for (uint32_t i = 0; i <= c->n; i++)
        for (size_t j = 0; j < c->rows[i]; j++)
            c->values[at++] = (float)c->codes[i];
    seg_fit_scale(&s, scale, c->values, fit->n_train);
    return s;
}

/* Codes 0, 1, 2 … by frequency; the unseen get the mean of the training rows that are known, which
 * is the neutral value. */
static enum seg_status fit_ordinal(const struct seg_fit *fit, const struct seg_column_spec *spec,
                                   struct code_column *c, struct seg_plan *plan)
{
    double sum = 0, n_known = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        c->codes[i] = (double)i;
        sum += (double)i * (double)c->rows[i];
        n_known += (double)c->rows[i];
    }
    c->codes[c->n] = sum / n_known;
    const struct seg_number s = code_column_scale(fit, c, spec->scale);
    plan->n_values = 1;
    plan->values = seg_alloc((size_t)c->n + 1, sizeof *plan->values);
    if (plan->values == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i <= c->n; i++)
        plan->values[i] = (float)((c->codes[i] - s.center) * s.inverse);
    return SEG_OK;
}

/* Fits class j + 1 of the target codes. */
static void fit_target_class(const struct seg_fit *fit, enum seg_scale scale, struct code_column *c,
                             const struct seg_target_counts *counts, uint32_t j,
                             struct seg_plan *plan)
{
    struct seg_target *target = &plan->targets[j];
    float *values = plan->values + (size_t)j * (c->n + 1);
    uint64_t hits = 0;
    for (uint32_t i = 0; i <= c->n; i++)
        hits += seg_target_counts_at(counts, 0, i)[j + 1];
    *target = (struct seg_target){ (double)hits / (double)fit->n_train, 0, 1 };
    for (uint32_t i = 0; i < c->n; i++)
        c->codes[i] =
            (double)seg_target_code(target, seg_target_counts_at(counts, 0, i)[j + 1], c->rows[i]);
    c->codes[c->n] = target->prior;

    const struct seg_number s = code_column_scale(fit, c, scale);
    target->center = s.center;
    target->inverse = s.inverse;
    for (uint32_t i = 0; i < c->n; i++)
        values[i] = seg_target_code(target, seg_target_counts_at(counts, 0, i)[j + 1], c->rows[i]);
    values[c->n] = seg_target_code(target, 0, 0);
}

static enum seg_status fit_target(const struct seg_fit *fit, uint32_t feature,
                                  struct code_column *c, const struct seg_dictionary *d,
                                  struct seg_plan *plan, const char **ret_why)
{
    if (fit->y == NULL || fit->n_classes < 2) {
        *ret_why = "target encoding needs a target with two classes";
        return SEG_EINVAL;
    }
    struct seg_code_map map = { 0 };
    struct seg_target_counts counts = { .n_folds = 1,
                                        .n_categories = c->n,
                                        .n_classes = fit->n_classes };
    plan->n_values = fit->n_classes - 1;
    plan->targets = seg_alloc(plan->n_values, sizeof *plan->targets);
    plan->values = seg_alloc((size_t)plan->n_values * ((size_t)c->n + 1), sizeof *plan->values);
    enum seg_status st = SEG_ENOMEM;
    if (plan->targets == NULL || plan->values == NULL) goto out;
    st = seg_code_map_make(&fit->table->schema.features[feature].dictionary, d, &map);
    if (st != SEG_OK) goto out;
    st = seg_target_count(fit->table, feature, &map, plan->impute_code, fit->part, fit->y, 0,
                          &counts);
    if (st == SEG_EINVAL) *ret_why = "a class is not below the number of classes";
    for (uint32_t j = 0; j < plan->n_values && st == SEG_OK; j++)
        fit_target_class(fit, fit->specs[feature].scale, c, &counts, j, plan);

out:
    seg_free(map.codes);
    seg_free(counts.rows);
    return st;
}

enum seg_status seg_plan_hash(struct seg_plan *plan, const struct seg_dictionary *d)
{
    plan->buckets = seg_alloc(d->n, sizeof *plan->buckets);
    if (plan->buckets == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t h = UINT32_C(0x811c9dc5); /* FNV-1a, 32 bits */
        for (uint32_t j = 0; j < d->lengths[i]; j++)
            h = (h ^ (uint8_t)d->strings[i][j]) * UINT32_C(0x01000193);
        plan->buckets[i] = h % plan->n_values;
    }
    return SEG_OK;
}

enum seg_status seg_fit_category(const struct seg_fit *fit, uint32_t feature, struct seg_plan *plan,
                                 struct seg_dictionary *d, const char **ret_why)
{
    const struct seg_column_spec *spec = &fit->specs[feature];
    struct census census = { 0 };
    struct code_column column = { 0 };
    enum seg_status st = take_census(fit, feature, &census, ret_why);
    if (st != SEG_OK) goto out;
    size_t n = census.n;
    if (spec->encode != SEG_ENCODE_HASH && n > spec->max_categories) n = spec->max_categories;
    for (size_t i = 0; i < n; i++) {
        uint32_t code;
        st = seg_dictionary_add(d, census.items[i].string, census.items[i].length, &code);
        if (st != SEG_OK) goto out;
    }
    plan->encode = spec->encode == SEG_ENCODE_EMBEDDING ? SEG_ENCODE_CODE : spec->encode;
    plan->impute_code = impute_code_of(spec, d);

    switch (plan->encode) {
    case SEG_ENCODE_ONE_HOT: plan->n_values = d->n; break;
    case SEG_ENCODE_CODE:
    case SEG_ENCODE_EMBEDDING: plan->n_values = 1; break;
    case SEG_ENCODE_HASH:
        plan->n_values = spec->hash_buckets;
        st = seg_plan_hash(plan, d);
        break;
    case SEG_ENCODE_ORDINAL:
        st = code_column_init(fit, &column, &census, d->n, plan->impute_code);
        if (st == SEG_OK) st = fit_ordinal(fit, spec, &column, plan);
        break;
    case SEG_ENCODE_TARGET:
        st = code_column_init(fit, &column, &census, d->n, plan->impute_code);
        if (st == SEG_OK) st = fit_target(fit, feature, &column, d, plan, ret_why);
        break;
    }

out:
    code_column_release(fit, &column);
    seg_free(census.items);
    return st;
}
