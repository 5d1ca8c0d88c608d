/* profile.c - distributions per segment. Rows are sorted by segment once (counting sort); a column
 * is then gathered in that order, so that each segment's values stand together and its quantiles
 * are found in place in linear time. Columns go over the pool, one copy of a column a worker. */
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/scratch.h"
#include "explain/profile.h"
#include "features/order.h"

#define CATEGORIES_SHOWN 20u
#define EFFECT_MIN       0.1
#define PREFETCH_TILES   12u

/* What all columns share. */
struct survey {
    const struct seg_table *t;
    const uint16_t *segment; /* (n_rows) */
    struct seg_profile *p;   /* its names are filled, its figures are not */
    const size_t *first;     /* (n_segments + 1) where each segment starts in a sorted column */
    const struct seg_progress *progress;
    struct seg_scratch columns; /* (n_users) cells each */
    atomic_bool no_memory;
};

/* A column in segment order. Values that are missing are left out: segment s has its values at
 * first[s] .. end[s] - 1. */
struct column {
    union seg_cell *cells; /* (n_users) */
    size_t *end;           /* (n_segments) */
};

/* Sum of (v - center)^power, power 1 or 2, in eight parts so that additions need not wait. */
static double power_sum(const union seg_cell *v, size_t n, double center, int power)
{
    double part[8] = { 0 }, sum = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) {
            double off = (double)v[i + j].number - center;
            part[j] += power == 1 ? off : off * off;
        }
    for (; i < n; i++) {
        double off = (double)v[i].number - center;
        part[i % 8] += power == 1 ? off : off * off;
    }
    for (size_t j = 0; j < 8; j++)
        sum += part[j];
    return sum;
}

static bool is_missing(union seg_cell cell, const struct seg_feature *f)
{
    return f->type == SEG_CATEGORICAL ? cell.code >= f->dictionary.n : !isfinite(cell.number);
}

static bool sort_column(struct survey *s, const struct seg_feature *f, uint32_t cell,
                        struct column *ret_column)
{
    const struct seg_tiles *x = &s->t->cells;
    const uint32_t n_segments = s->p->n_segments;
    struct column col = { 0 };
    col.end = seg_alloc(n_segments, sizeof *col.end);
    if (col.end != NULL) col.cells = seg_scratch_take(&s->columns);
    if (col.cells == NULL) {
        seg_free(col.end);
        return false;
    }
    memcpy(col.end, s->first, n_segments * sizeof *col.end);
    for (size_t t = 0; t < seg_tiles_count(x); t++) {
        const size_t row = t * SEG_TILE_ROWS, n = seg_tiles_rows(x, t);
        const union seg_cell *from = seg_table_cell(s->t, row, cell);
        if (t % SEG_CHUNK_TILES == 0) seg_pool_give_way();
        seg_tiles_prefetch_column(x, t + PREFETCH_TILES, cell);
        for (size_t i = 0; i < n; i++) {
            const uint16_t segment = s->segment[row + i];
            if (segment == UINT16_MAX || is_missing(from[i], f)) continue;
            col.cells[col.end[segment]++] = from[i];
        }
    }
    *ret_column = col;
    return true;
}

static void profile_numbers(const struct survey *s, const struct column *col, size_t index)
{
    const struct seg_profile *p = s->p;
    double sum = 0, square = 0;
    size_t n = 0;
    for (uint32_t g = 0; g < p->n_segments; g++) {
        struct seg_feature_profile *out = &p->segments[g].features[index];
        out->n_present = col->end[g] - s->first[g];
        double sum_segment = power_sum(col->cells + s->first[g], out->n_present, 0, 1);
        if (out->n_present > 0) out->mean = sum_segment / (double)out->n_present;
        sum += sum_segment;
        n += out->n_present;
    }
    if (n == 0) return;
    const double mean = sum / (double)n;
    for (uint32_t g = 0; g < p->n_segments; g++)
        square += power_sum(col->cells + s->first[g], col->end[g] - s->first[g], mean, 2);
    const double sd = sqrt(square / (double)n);
    for (uint32_t g = 0; g < p->n_segments; g++) {
        struct seg_feature_profile *out = &p->segments[g].features[index];
        const size_t m = out->n_present;
        float *v = &col->cells[s->first[g]].number;
        struct seg_quantile q[3];
        out->population_mean = mean;
        if (m == 0) continue;
        if (mean != 0) out->lift = out->mean / mean;
        if (sd > 0) out->effect = (out->mean - mean) / sd;
        seg_order_quantiles(v, m, (const double[]){ 0.1, 0.5, 0.9 }, 3, q);
        out->p10 = seg_quantile_value(&q[0]);
        out->median = seg_quantile_value(&q[1]);
        out->p90 = seg_quantile_value(&q[2]);
    }
}

/* A value of a category and how often it occurs. */
struct candidate {
    struct seg_category_share share;
    const char *string; /* NULL for missing, which comes last */
};

static double larger_share(const struct candidate *c)
{
    return fmax(c->share.share, c->share.population_share);
}

static int by_string(const struct candidate *a, const struct candidate *b)
{
    if (a->string == NULL || b->string == NULL) return (a->string == NULL) - (b->string == NULL);
    return strcmp(a->string, b->string);
}

static bool goes_before(const struct candidate *a, const struct candidate *b, bool final)
{
    double of_a = final ? a->share.population_share : larger_share(a);
    double of_b = final ? b->share.population_share : larger_share(b);
    return of_a != of_b ? of_a > of_b : by_string(a, b) < 0;
}

/* Inserts c into the sorted list (n of at most CATEGORIES_SHOWN); the last falls off. */
static size_t insert(struct candidate *list, size_t n, struct candidate c, bool final)
{
    if (n == CATEGORIES_SHOWN) {
        if (!goes_before(&c, &list[n - 1], final)) return n;
        n--;
    }
    size_t i = n;
    for (; i > 0 && goes_before(&c, &list[i - 1], final); i--)
        list[i] = list[i - 1];
    list[i] = c;
    return n + 1;
}

/* Shares and effect of one segment. count, count_all (n_values + 1): how often each code occurs in
 * the segment and in all, missing last. */
static bool profile_segment_categories(const struct seg_profile *p, const struct seg_feature *f,
                                       const size_t *count, const size_t *count_all,
                                       double segment_size, struct seg_feature_profile *out)
{
    struct candidate list[CATEGORIES_SHOWN], shown[CATEGORIES_SHOWN];
    size_t n_list = 0, n_shown = 0;
    double effect2 = 0;
    for (uint32_t code = 0; code <= f->dictionary.n; code++) {
        if (count_all[code] == 0) continue;
        const bool missing = code == f->dictionary.n;
        struct candidate c = { { missing ? SEG_CODE_MISSING : code, 0,
                                 (double)count_all[code] / (double)p->n_users },
                               missing ? NULL : f->dictionary.strings[code] };
        if (segment_size > 0) c.share.share = (double)count[code] / segment_size;
        double off = c.share.share - c.share.population_share;
        effect2 += off * off / c.share.population_share;
        n_list = insert(list, n_list, c, false);
    }
    for (size_t i = 0; i < n_list; i++)
        n_shown = insert(shown, n_shown, list[i], true);
    out->effect = segment_size > 0 ? sqrt(effect2) : 0;
    if (n_shown == 0) return true;
    out->categories = seg_alloc(n_shown, sizeof *out->categories);
    if (out->categories == NULL) return false;
    for (size_t i = 0; i < n_shown; i++)
        out->categories[i] = shown[i].share;
    out->n_categories = (uint32_t)n_shown;
    return true;
}

static bool profile_categories(const struct survey *s, const struct seg_feature *f,
                               const struct column *col, size_t index)
{
    const struct seg_profile *p = s->p;
    const uint32_t n_values = f->dictionary.n;
    size_t *count = seg_alloc(n_values + 1u, sizeof *count);
    size_t *count_all = seg_calloc(n_values + 1u, sizeof *count_all);
    bool ok = count != NULL && count_all != NULL;
    for (uint32_t g = 0; g < p->n_segments && ok; g++) {
        for (size_t i = s->first[g]; i < col->end[g]; i++)
            count_all[col->cells[i].code]++;
        count_all[n_values] += s->first[g + 1] - col->end[g];
    }
    for (uint32_t g = 0; g < p->n_segments && ok; g++) {
        struct seg_feature_profile *out = &p->segments[g].features[index];
        memset(count, 0, (n_values + 1u) * sizeof *count);
        for (size_t i = s->first[g]; i < col->end[g]; i++)
            count[col->cells[i].code]++;
        count[n_values] = s->first[g + 1] - col->end[g];
        out->n_present = col->end[g] - s->first[g];
        ok = profile_segment_categories(p, f, count, count_all, (double)p->segments[g].size, out);
    }
    seg_free(count);
    seg_free(count_all);
    return ok;
}

/* Everything about one profiled column. */
static void profile_column(void *ctx, size_t index)
{
    struct survey *s = ctx;
    const struct seg_feature_profile *name = &s->p->segments[0].features[index];
    const struct seg_feature *f = &s->t->schema.features[name->feature];
    struct column col;
    if (seg_progress_cancelled(s->progress)) return;
    bool ok = sort_column(s, f, f->cell + name->dimension, &col);
    if (ok) {
        if (f->type == SEG_CATEGORICAL)
            ok = profile_categories(s, f, &col, index);
        else
            profile_numbers(s, &col, index);
        seg_scratch_give(&s->columns, col.cells);
        seg_free(col.end);
    }
    if (!ok) atomic_store(&s->no_memory, true);
}

/* The features of a segment by |effect|, ties in schema order. */
static void rank_features(struct seg_segment_profile *g, uint32_t n_profiled)
{
    const uint32_t n_max = sizeof g->top / sizeof g->top[0];
    for (uint32_t i = 0; i < n_profiled; i++) {
        const double effect = fabs(g->features[i].effect);
        if (effect < EFFECT_MIN) continue;
        uint32_t at = g->n_top < n_max ? g->n_top++ : n_max;
        for (; at > 0 && effect > fabs(g->features[g->top[at - 1]].effect); at--)
            if (at < n_max) g->top[at] = g->top[at - 1];
        if (at < n_max) g->top[at] = i;
    }
}

/* Segments and columns with their names and NaN where figures may stay out. */
static enum seg_status profile_init(struct seg_profile *p, const struct seg_schema *schema,
                                    uint32_t n_segments)
{
    for (uint32_t f = 0; f < schema->n_features; f++)
        p->n_profiled += schema->features[f].width;
    p->segments = seg_calloc(n_segments, sizeof *p->segments);
    if (p->segments == NULL) return SEG_ENOMEM;
    p->n_segments = n_segments;
    for (uint32_t g = 0; g < n_segments; g++) {
        struct seg_feature_profile *out = seg_calloc(p->n_profiled, sizeof *out);
        if (out == NULL) return SEG_ENOMEM;
        p->segments[g].features = out;
        for (uint32_t f = 0; f < schema->n_features; f++)
            for (uint32_t i = 0; i < schema->features[f].width; i++)
                *out++ = (struct seg_feature_profile){ .feature = f,
                                                       .dimension = i,
                                                       .mean = NAN,
                                                       .median = NAN,
                                                       .p10 = NAN,
                                                       .p90 = NAN,
                                                       .population_mean = NAN,
                                                       .lift = NAN };
    }
    return SEG_OK;
}

enum seg_status seg_profile_build(struct seg_pool *pool, const struct seg_table *t,
                                  const uint16_t *segment, uint32_t n_segments,
                                  const struct seg_progress *progress, struct seg_profile *ret_p)
{
    struct seg_profile p = { 0 };
    struct survey s = { .t = t, .segment = segment, .p = &p, .progress = progress };
    size_t *first = seg_calloc(n_segments + 1u, sizeof *first);
    enum seg_status st = profile_init(&p, &t->schema, n_segments);
    if (first == NULL) st = SEG_ENOMEM;
    if (st != SEG_OK) goto out;

    for (size_t r = 0; r < t->cells.n_rows; r++)
        if (segment[r] != UINT16_MAX) p.segments[segment[r]].size++;
    for (uint32_t g = 0; g < n_segments; g++) {
        first[g + 1] = first[g] + p.segments[g].size;
        p.n_users += p.segments[g].size;
    }
    s.first = first;
    st = seg_scratch_init(&s.columns, pool, p.n_users * sizeof(union seg_cell));
    if (st != SEG_OK) goto out;
    if (n_segments > 0) seg_pool_for(pool, SEG_PRIORITY_TRAINING, p.n_profiled, profile_column, &s);
    if (atomic_load(&s.no_memory)) {
        st = SEG_ENOMEM;
        goto out;
    }
    if (seg_progress_cancelled(progress)) {
        st = SEG_ECANCELED;
        goto out;
    }
    for (uint32_t g = 0; g < n_segments; g++) {
        if (p.n_users > 0) p.segments[g].share = (double)p.segments[g].size / (double)p.n_users;
        rank_features(&p.segments[g], p.n_profiled);
    }
    *ret_p = p;
    p = (struct seg_profile){ 0 };
out:
    seg_scratch_release(&s.columns);
    seg_free(first);
    seg_profile_release(&p);
    return st;
}

void seg_profile_release(struct seg_profile *p)
{
    for (uint32_t g = 0; g < p->n_segments; g++) {
        struct seg_feature_profile *features = p->segments[g].features;
        for (uint32_t i = 0; features != NULL && i < p->n_profiled; i++)
            seg_free(features[i].categories);
        seg_free(features);
    }
    seg_free(p->segments);
    *p = (struct seg_profile){ 0 };
}
