/* k_search.c - fits and measures every k as independent tasks, then chooses.
 * Tasks run in rounds so that the caller's thread can say where it is; the rounds change nothing
 * else. Slot 0 is k = 1, which only the gap statistic wants. */
#include "cluster/k_search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "cluster/k_search_run.h"
#include "cluster/quality.h"
#include "cluster/silhouette.h"

#define STARTS_MAX        3u  /* of the fit of the largest k; others start from the next larger */
#define ROWS_A_CLUSTER    25u /* of k_max, where there are as many */
#define ROWS_A_COORDINATE 10u /* of a centroid */
#define ROUND_TASKS       32u

/* One k on its way. */
struct slot {
    struct seg_k_candidate result;
    struct seg_kmeans km; /* fitted to the sample */
};

struct search {
    struct seg_pool *pool;
    const struct seg_k_search_params *p;
    const struct seg_progress *progress;
    struct seg_progress quiet; /* the cancel flag alone: tasks do not report */
    const struct seg_tiles *x; /* what is measured on: the caller's rows, or `sample` */
    struct seg_tiles sample;
    const struct seg_tiles *few; /* of these what takes time for each pair of rows, or each fit to
                                    rows drawn again: x, or `few_sample` */
    struct seg_tiles few_sample;
    struct k_box box;
    size_t n_draw;
    struct slot *slots;
    size_t n_slots;
    uint32_t *k;                   /* (n_slots - 1) of the slots from 1 on */
    uint32_t **label;              /* (n_slots - 1, n_few) their partitions of the few */
    double *reference;             /* (SEG_K_SEARCH_REFERENCES, n_slots) log inertia per row */
    struct k_agreement *agreement; /* (SEG_K_SEARCH_RESAMPLES, n_slots - 1) */
    size_t first_task;             /* of the round */
    enum seg_status round[ROUND_TASKS];
};

const char *seg_k_search_check(const struct seg_k_search_params *p, size_t n_rows)
{
    struct seg_kmeans_params largest = p->kmeans;
    largest.k = p->k_max;
    if (p->k_min < 2) return "the smallest k to try must be at least 2";
    if (p->k_max < p->k_min) return "the largest k to try is less than the smallest";
    if (p->k_max - p->k_min >= SEG_K_SEARCH_CANDIDATES) return "more than 100 values of k to try";
    if (p->k_max > SEG_K_MAX) return "the largest k to try is more than 1024";
    if (p->k_max > n_rows) return "the largest k to try is more than the number of rows";
    if (p->kmeans.init == SEG_INIT_GIVEN) return "a search for k cannot have given start centroids";
    return seg_kmeans_check(&largest, n_rows);
}

size_t seg_k_search_rows_max(uint32_t n_cols, uint32_t k_max)
{
    const size_t n = SEG_K_SEARCH_CELLS / n_cols, n_min = 10 * (size_t)k_max;
    const size_t n_fit = n < SEG_K_SEARCH_ROWS ? n : SEG_K_SEARCH_ROWS;
    return n_fit > n_min ? n_fit : n_min;
}

/* The wanted columns of n rows of x. */
static enum seg_status gather_columns(const struct seg_tiles *x, const bool *columns,
                                      const uint32_t *rows, size_t n, struct seg_tiles *ret_x)
{
    uint32_t n_cols = 0;
    for (uint32_t c = 0; c < x->n_cols; c++)
        n_cols += columns[c];
    enum seg_status st = seg_tiles_zeros(ret_x, n, n_cols);
    for (size_t i = 0; i < n && st == SEG_OK; i++) {
        float *to = seg_tiles_cell(ret_x, i, 0);
        for (uint32_t c = 0; c < x->n_cols; c++) {
            if (!columns[c]) continue;
            *to = *seg_tiles_cell(x, rows[i], c);
            to += SEG_TILE_ROWS;
        }
    }
    return st;
}

/* n rows of x in row order, or of them the columns wanted. */
static enum seg_status draw_rows(struct search *s, const struct seg_tiles *x, uint64_t stream,
                                 const bool *columns, size_t n, struct seg_tiles *ret_x)
{
    struct seg_rng rng = seg_rng_make(s->p->seed, stream);
    uint32_t *rows = seg_alloc(n, sizeof *rows);
    if (rows == NULL) return SEG_ENOMEM;
    seg_rng_sample(&rng, x->n_rows, n, rows);
    enum seg_status st = columns != NULL ? gather_columns(x, columns, rows, n, ret_x)
                                         : seg_tiles_gather(x, rows, n, ret_x);
    seg_free(rows);
    return st;
}

/* Half of n rows and at most n_max, but enough to tell k_max clusters apart. */
static size_t rows_of(const struct search *s, size_t n, size_t n_max)
{
    const size_t n_least = ROWS_A_CLUSTER * (size_t)s->p->k_max;
    size_t n_rows = n / 2 < n_max ? n / 2 : n_max;
    if (n_rows < n_least) n_rows = n_least;
    return n_rows < n ? n_rows : n;
}

/* Rows drawn again for each resample and reference set, at most: with more columns, it takes more
 * of them to find the same clusters again. */
static size_t draw_rows_max(const struct search *s)
{
    const size_t n = ROWS_A_COORDINATE * (size_t)s->p->k_max * s->x->n_cols;
    if (n < SEG_K_SEARCH_FEW_ROWS) return SEG_K_SEARCH_FEW_ROWS;
    return n < SEG_K_SEARCH_DRAW_ROWS ? n : SEG_K_SEARCH_DRAW_ROWS;
}

/* Points s->x and s->few at all rows, or at samples of them. */
static enum seg_status sample_rows(struct search *s, const struct seg_tiles *x)
{
    const size_t n_max = seg_k_search_rows_max(x->n_cols, s->p->k_max);
    const size_t n = n_max < x->n_rows ? n_max : x->n_rows;
    enum seg_status st = SEG_OK;
    s->x = x;
    if (n < x->n_rows || s->p->columns != NULL) {
        st = draw_rows(s, x, K_STREAM_SAMPLE, s->p->columns, n, &s->sample);
        s->x = &s->sample;
    }
    s->few = s->x;
    const size_t n_few = rows_of(s, n, SEG_K_SEARCH_FEW_ROWS);
    if (st == SEG_OK && n_few < n) {
        st = draw_rows(s, s->x, K_STREAM_FEW, NULL, n_few, &s->few_sample);
        s->few = &s->few_sample;
    }
    return st;
}

static struct seg_kmeans_params params_for(const struct search *s, const struct slot *slot,
                                           uint32_t starts_max)
{
    struct seg_kmeans_params p = s->p->kmeans;
    p.k = slot->result.k;
    p.seed = s->p->seed;
    if (p.n_init > starts_max) p.n_init = starts_max;
    return p;
}

static struct slot *largest(const struct search *s)
{
    return &s->slots[s->n_slots - 1];
}

/* Task i of the first phase: the largest k, then one cluster. */
static void first_task(void *ctx, size_t i)
{
    struct search *s = ctx;
    struct slot *slot = i == 0 ? largest(s) : &s->slots[0];
    const struct seg_kmeans_params p = params_for(s, slot, i == 0 ? STARTS_MAX : 1);
    s->round[i] = seg_kmeans_fit(s->pool, s->x, &p, &s->quiet, &slot->km, NULL);
}

/* Fits slot from the clusters of more, which has one more, with the pair merged that raises the
 * inertia least (Ward 1963): what drawn starts find is seldom better, and never as cheap. */
static enum seg_status step_down(struct search *s, const struct slot *more, struct slot *slot)
{
    struct seg_kmeans_params p = params_for(s, slot, 1);
    struct seg_matrix start = { 0 }; /* (k, d) */
    enum seg_status st = k_search_merge(&more->km, &start);
    if (st != SEG_OK) return st;
    p.init = SEG_INIT_GIVEN;
    p.start = &start;
    st = seg_kmeans_fit(s->pool, s->x, &p, &s->quiet, &slot->km, NULL);
    seg_matrix_release(&start);
    return st;
}

static enum seg_status step_down_all(struct search *s)
{
    enum seg_status st = SEG_OK;
    for (size_t i = s->n_slots - 1; i > 1 && st == SEG_OK; i--)
        st = step_down(s, &s->slots[i], &s->slots[i - 1]);
    for (size_t i = 1; i < s->n_slots && st == SEG_OK; i++)
        seg_kmeans_assign(s->pool, s->few, &s->slots[i].km.centroids, s->label[i - 1], NULL);
    return st;
}

/* Task i of the second phase: all smaller k in one task; then a reference set each. */
static void second_task(void *ctx, size_t i)
{
    struct search *s = ctx;
    const size_t task = s->first_task + i;
    if (task == 0) {
        s->round[i] = step_down_all(s);
        return;
    }
    struct seg_kmeans_params p = params_for(s, largest(s), 1);
    p.min_share = 0;
    s->round[i] = k_search_reference(&s->box, s->x->n_cols, s->n_draw, &p, s->p->k_min, task - 1,
                                     &s->quiet, s->reference + (task - 1) * s->n_slots);
}

static enum seg_status measure_shape(struct search *s, struct slot *slot)
{
    struct seg_k_candidate *c = &slot->result;
    struct seg_cluster_quality q = { 0 };
    uint32_t *label = seg_alloc(s->x->n_rows, sizeof *label);
    if (label == NULL) return SEG_ENOMEM;
    seg_kmeans_assign(s->pool, s->x, &slot->km.centroids, label, NULL);
    enum seg_status st =
        seg_cluster_quality(s->pool, s->x, label, c->k, 0, s->p->seed, &s->quiet, &q);
    c->davies_bouldin = q.davies_bouldin;
    c->calinski_harabasz = q.calinski_harabasz;
    seg_cluster_quality_release(&q);
    seg_free(label);
    return st;
}

static enum seg_status measure_silhouettes(struct search *s)
{
    const size_t n = s->few->n_rows, n_k = s->n_slots - 1;
    double *score = seg_alloc(n_k * n, sizeof *score);
    enum seg_status st = score == NULL
                             ? SEG_ENOMEM
                             : silhouette_scores(s->pool, s->few, (const uint32_t *const *)s->label,
                                                 s->k, n_k, &s->quiet, score);
    for (size_t i = 0; st == SEG_OK && i < n_k; i++) {
        double sum = 0;
        for (size_t r = 0; r < n; r++)
            sum += score[i * n + r];
        s->slots[i + 1].result.silhouette = sum / (double)n;
    }
    seg_free(score);
    return st;
}

/* Task i of the third phase, whose slots are fitted for good: the silhouettes of all, then a
 * resample each, then what else is measured of a slot. */
static void third_task(void *ctx, size_t i)
{
    struct search *s = ctx;
    const size_t task = s->first_task + i;
    if (task == 0) {
        s->round[i] = measure_silhouettes(s);
    } else if (task <= SEG_K_SEARCH_RESAMPLES) {
        const struct seg_kmeans_params p = params_for(s, largest(s), 1);
        s->round[i] = k_search_resample(s->x, s->few, (const uint32_t *const *)s->label, s->n_draw,
                                        &p, s->p->k_min, task - 1, &s->quiet,
                                        s->agreement + (task - 1) * (s->n_slots - 1));
    } else {
        s->round[i] = measure_shape(s, largest(s) - (task - 1 - SEG_K_SEARCH_RESAMPLES));
    }
}

/* All tasks of a phase, which takes the progress from `from` to `to`. */
static enum seg_status run_tasks(struct search *s, seg_chunk_fn fn, size_t n_tasks, double from,
                                 double to, const char *what)
{
    for (s->first_task = 0; s->first_task < n_tasks; s->first_task += ROUND_TASKS) {
        size_t n = n_tasks - s->first_task;
        if (n > ROUND_TASKS) n = ROUND_TASKS;
        if (seg_progress_cancelled(s->progress)) return SEG_ECANCELED;
        seg_pool_for(s->pool, SEG_PRIORITY_TRAINING, n, fn, s);
        for (size_t i = 0; i < n; i++)
            if (s->round[i] != SEG_OK) return s->round[i];
        const size_t n_done = s->first_task + n;
        char message[96];
        snprintf(message, sizeof message, "%s: %zu of %zu", what, n_done, n_tasks);
        seg_progress_report(s->progress, from + (to - from) * (double)n_done / (double)n_tasks,
                            message);
    }
    return SEG_OK;
}

/* Mean and standard deviation (n) of the reference sets. */
static void finish_gap(const struct search *s, size_t i)
{
    const double n = SEG_K_SEARCH_REFERENCES;
    struct seg_k_candidate *c = &s->slots[i].result;
    double mean = 0, squares = 0;
    for (size_t b = 0; b < SEG_K_SEARCH_REFERENCES; b++)
        mean += s->reference[b * s->n_slots + i] / n;
    for (size_t b = 0; b < SEG_K_SEARCH_REFERENCES; b++) {
        const double off = s->reference[b * s->n_slots + i] - mean;
        squares += off * off / n;
    }
    c->gap = mean - log(c->inertia / (double)s->x->n_rows);
    c->gap_error = sqrt(squares) * sqrt(1 + 1 / n);
    if (isfinite(c->gap) && isfinite(c->gap_error)) return;
    c->gap = c->gap_error = NAN;
}

static void finish_stability(const struct search *s, size_t i)
{
    struct seg_k_candidate *c = &s->slots[i].result;
    for (size_t b = 0; b < SEG_K_SEARCH_RESAMPLES; b++) {
        const struct k_agreement *a = &s->agreement[b * (s->n_slots - 1) + i - 1];
        c->stability_ari += a->ari / SEG_K_SEARCH_RESAMPLES;
        c->stability_jaccard += a->jaccard / SEG_K_SEARCH_RESAMPLES;
    }
}

/* What the smallest cluster holds, and how many are tiny; empty ones do not count. */
static void measure_sizes(const struct seg_kmeans *km, size_t n_rows, struct seg_k_candidate *c)
{
    const double tiny = fmin(SEG_K_SEARCH_SHARE_MIN, 0.25 / c->k);
    c->share_min = 1;
    for (size_t j = 0; j < km->centroids.n_rows; j++) {
        const double share = (double)km->sizes[j] / (double)n_rows;
        if (km->sizes[j] == 0) continue;
        c->share_min = fmin(c->share_min, share);
        c->n_tiny += share < tiny;
    }
}

static bool comes_back(const struct seg_k_candidate *c)
{
    return c->stability_ari >= SEG_K_SEARCH_STABLE_ARI && !isnan(c->silhouette);
}

/* Whether slot i, of which some clusters are tiny, is another slot's partition beside them. */
static enum seg_status find_groups(struct search *s, size_t i)
{
    const struct seg_k_candidate *with = &s->slots[i].result;
    if (with->n_tiny == 0 || !comes_back(with) || with->k - with->n_tiny < s->p->k_min)
        return SEG_OK;
    const size_t groups = i - with->n_tiny; /* one slot is one k */
    struct seg_k_candidate *c = &s->slots[groups].result;
    const double ari =
        seg_adjusted_rand(s->label[groups - 1], c->k, s->label[i - 1], with->k, s->few->n_rows);
    if (isnan(ari)) return SEG_ENOMEM;
    if (ari >= SEG_K_SEARCH_STABLE_ARI && c->stable_beside == 0) c->stable_beside = with->k;
    return SEG_OK;
}

static enum seg_status finish(struct search *s)
{
    enum seg_status st = SEG_OK;
    for (size_t i = 0; i < s->n_slots; i++) {
        struct slot *slot = &s->slots[i];
        slot->result.inertia = slot->km.inertia;
        measure_sizes(&slot->km, s->x->n_rows, &slot->result);
        finish_gap(s, i);
        if (i > 0) finish_stability(s, i);
    }
    for (size_t i = 1; i < s->n_slots && st == SEG_OK; i++)
        st = find_groups(s, i);
    return st;
}

/* Whether some k explains the rows better than one cluster does, beyond the error of the gap. */
static bool has_structure(const struct search *s)
{
    const struct seg_k_candidate *one = &s->slots[0].result;
    if (isnan(one->gap)) return one->inertia > 0;
    for (size_t i = 1; i < s->n_slots; i++) {
        const struct seg_k_candidate *c = &s->slots[i].result;
        if (isnan(c->gap) || c->gap - c->gap_error > one->gap) return true;
    }
    return false;
}

static bool is_stable(const struct seg_k_candidate *c)
{
    return c->n_tiny == 0 && !isnan(c->silhouette) && (comes_back(c) || c->stable_beside > 0);
}

/* The stable candidate with the largest gap (ties: silhouette) among those with nearly the best
 * silhouette; NULL if none is stable. */
static const struct seg_k_candidate *best_stable(const struct seg_k_search *r)
{
    const struct seg_k_candidate *best = NULL;
    double silhouette = -INFINITY;
    for (size_t i = 0; i < r->n_candidates; i++)
        if (is_stable(&r->candidates[i]))
            silhouette = fmax(silhouette, r->candidates[i].silhouette);
    for (size_t i = 0; i < r->n_candidates; i++) {
        const struct seg_k_candidate *c = &r->candidates[i];
        if (!is_stable(c) || c->silhouette < silhouette - SEG_K_SEARCH_SILHOUETTE_NEAR) continue;
        if (best == NULL || c->gap > best->gap ||
            (!(best->gap > c->gap) && c->silhouette > best->silhouette))
            best = c;
    }
    return best;
}

static void choose_stable(const struct seg_k_candidate *best, struct seg_k_search *r)
{
    r->k = best->k;
    if (!comes_back(best))
        snprintf(r->reason, sizeof r->reason,
                 "k = %u: the partition into %u is stable (ARI over %u resamples >= %.1f) and is "
                 "these segments with %u tiny of outliers beside them; the silhouette is "
                 "%.2f",
                 r->k, best->stable_beside, SEG_K_SEARCH_RESAMPLES, SEG_K_SEARCH_STABLE_ARI,
                 best->stable_beside - r->k, best->silhouette);
    else if (isnan(best->gap))
        snprintf(r->reason, sizeof r->reason,
                 "k = %u is stable (ARI over %u resamples >= %.1f, no tiny cluster) and leaves too "
                 "little within its clusters for a gap; its silhouette is %.2f",
                 r->k, SEG_K_SEARCH_RESAMPLES, SEG_K_SEARCH_STABLE_ARI, best->silhouette);
    else
        snprintf(r->reason, sizeof r->reason,
                 "k = %u has the largest gap (%.2f) among the stable ones (ARI over %u resamples "
                 ">= %.1f, no tiny cluster) whose silhouette is within %.2f of the best; its "
                 "silhouette is %.2f",
                 r->k, best->gap, SEG_K_SEARCH_RESAMPLES, SEG_K_SEARCH_STABLE_ARI,
                 SEG_K_SEARCH_SILHOUETTE_NEAR, best->silhouette);
}

static void choose(const struct search *s, struct seg_k_search *r)
{
    const struct seg_k_candidate *best = best_stable(r), *stablest = &r->candidates[0];
    for (size_t i = 1; i < r->n_candidates; i++)
        if (r->candidates[i].stability_ari > stablest->stability_ari) stablest = &r->candidates[i];
    r->k = r->candidates[0].k;
    if (r->n_candidates == 1)
        snprintf(r->reason, sizeof r->reason, "k = %u is the only one to try", r->k);
    else if (!has_structure(s))
        snprintf(r->reason, sizeof r->reason,
                 "k = %u is the smallest to try: by the gap statistic no k is better than a single "
                 "cluster",
                 r->k);
    else if (best == NULL)
        snprintf(r->reason, sizeof r->reason,
                 "k = %u is the smallest to try: no k is stable without tiny clusters (the best is "
                 "k = %u with ARI %.2f over %u resamples and %.2g of the rows in the smallest)",
                 r->k, stablest->k, stablest->stability_ari, SEG_K_SEARCH_RESAMPLES,
                 stablest->share_min);
    else
        choose_stable(best, r);
}

/* Room for what is found of each k. */
static enum seg_status slots_init(struct search *s)
{
    const size_t n_k = 1 + (size_t)(s->p->k_max - s->p->k_min);
    s->n_slots = n_k + 1;
    s->slots = seg_calloc(s->n_slots, sizeof *s->slots);
    s->k = seg_alloc(n_k, sizeof *s->k);
    s->label = seg_calloc(n_k, sizeof *s->label);
    s->reference = seg_alloc(SEG_K_SEARCH_REFERENCES * s->n_slots, sizeof *s->reference);
    s->agreement = seg_alloc(SEG_K_SEARCH_RESAMPLES * n_k, sizeof *s->agreement);
    if (!s->slots || !s->k || !s->label || !s->reference || !s->agreement) return SEG_ENOMEM;
    s->slots[0].result.k = 1;
    for (size_t i = 0; i < n_k; i++) {
        s->slots[i + 1].result.k = s->k[i] = s->p->k_min + (uint32_t)i;
        s->label[i] = seg_alloc(s->few->n_rows, sizeof **s->label);
        if (s->label[i] == NULL) return SEG_ENOMEM;
    }
    return SEG_OK;
}

static enum seg_status search_init(struct search *s, const struct seg_tiles *x)
{
    enum seg_status st = sample_rows(s, x);
    if (st == SEG_OK) st = k_search_box_init(&s->box, s->x);
    if (st != SEG_OK) return st;
    s->n_draw = rows_of(s, s->x->n_rows, draw_rows_max(s));
    return slots_init(s);
}

static void search_release(struct search *s)
{
    for (size_t i = 0; s->slots != NULL && i < s->n_slots; i++)
        seg_kmeans_release(&s->slots[i].km);
    for (size_t i = 0; s->label != NULL && i + 1 < s->n_slots; i++)
        seg_free(s->label[i]);
    seg_free(s->slots);
    seg_free(s->k);
    seg_free(s->label);
    seg_free(s->reference);
    seg_free(s->agreement);
    k_search_box_release(&s->box);
    seg_tiles_release(&s->sample);
    seg_tiles_release(&s->few_sample);
}

static enum seg_status search_run(struct search *s)
{
    const size_t n_k = s->n_slots - 1;
    enum seg_status st = run_tasks(s, first_task, 2, 0, 0.2, "fitting the largest k");
    if (st == SEG_OK)
        st = run_tasks(s, second_task, 1 + SEG_K_SEARCH_REFERENCES, 0.2, 0.5,
                       "fitting every k to uniform rows");
    if (st == SEG_OK)
        st =
            run_tasks(s, third_task, 1 + SEG_K_SEARCH_RESAMPLES + n_k, 0.5, 1, "measuring every k");
    return st;
}

enum seg_status seg_k_search(struct seg_pool *pool, const struct seg_tiles *x,
                             const struct seg_k_search_params *p,
                             const struct seg_progress *progress, struct seg_k_search *ret_s,
                             struct seg_error *err)
{
    const char *fault = seg_k_search_check(p, x->n_rows);
    if (fault != NULL) return seg_fail(err, SEG_EINVAL, "%s", fault);
    struct search s = { .pool = pool, .p = p, .progress = progress };
    struct seg_k_search r = { 0 };
    if (progress != NULL) s.quiet.cancel = progress->cancel;

    enum seg_status st = search_init(&s, x);
    if (st != SEG_OK) goto out;
    st = search_run(&s);
    if (st != SEG_OK) goto out;
    st = finish(&s);
    if (st != SEG_OK) goto out;
    r.n_candidates = s.n_slots - 1;
    r.candidates = seg_alloc(r.n_candidates, sizeof *r.candidates);
    if (r.candidates == NULL) {
        st = SEG_ENOMEM;
        goto out;
    }
    for (size_t i = 0; i < r.n_candidates; i++)
        r.candidates[i] = s.slots[i + 1].result;
    r.n_rows_used = s.x->n_rows;
    r.n_rows_few = s.few->n_rows;
    r.n_rows_drawn = s.n_draw;
    r.sampled = r.n_rows_used < x->n_rows;
    choose(&s, &r);
    *ret_s = r;
out:
    search_release(&s);
    if (st == SEG_ENOMEM) seg_fail(err, st, "not enough memory to search for k");
    return st;
}

void seg_k_search_release(struct seg_k_search *s)
{
    seg_free(s->candidates);
    *s = (struct seg_k_search){ 0 };
}
