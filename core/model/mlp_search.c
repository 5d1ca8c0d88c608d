/* mlp_search.c - trials are drawn from streams of their own, by number, so that a trial is the same
 * however many there are. A rung trains from the start: keeping half-trained networks would save a
 * third of the work and hold all of them in memory. */
#include "model/mlp_search.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "model/mlp_fit.h"

#define STREAM_TRIAL ((uint64_t)7 << 60) /* plus its number */
#define N_RUNGS      3
#define SHARE        3u  /* of the trials go on, and as many times the epochs they get */
#define GROUP_TRIALS 32u /* side by side; reports come between */

static const struct {
    uint32_t n, hidden[3];
} LAYOUTS[] = { { 1, { 32 } },     { 1, { 64 } },      { 1, { 128 } },     { 2, { 32, 16 } },
                { 2, { 64, 32 } }, { 2, { 128, 64 } }, { 2, { 256, 64 } }, { 3, { 128, 64, 32 } } };
static const uint32_t BATCHES[] = { 64, 128, 256, 512 };
static const double DROPOUTS[] = { 0, 0.1, 0.2, 0.3 };
static const enum seg_activation ACTIVATIONS[] = { SEG_RELU, SEG_RELU, SEG_TANH, SEG_GELU };

#define COUNT(a) (sizeof(a) / sizeof *(a))

struct search {
    const struct seg_mlp_search_params *p;
    struct mlp_rows train, validation;
    uint32_t n_classes;
    struct seg_progress quiet;
    struct seg_mlp_trial *trials;
    uint32_t *standing; /* trials still in it, best first after a rung */
    size_t n_standing;
    size_t group; /* first of the trials side by side, in standing */
    enum seg_status status[GROUP_TRIALS];
    struct seg_error error[GROUP_TRIALS];
    struct seg_error diverged; /* the sentence of the last training that did */
};

const char *seg_mlp_search_check(const struct seg_mlp_search_params *p)
{
    if (p->trials < 1 || p->trials > SEG_MLP_TRIALS_MAX) return "trials must be 1 to 1000";
    if (p->space > SEG_SPACE_WIDE) return "unknown space";
    if (!(p->seconds_max >= 0 && isfinite(p->seconds_max))) return "seconds must be 0 or more";
    return seg_train_check(&p->base);
}

static double log_uniform(struct seg_rng *rng, double low, double high)
{
    return low * pow(high / low, seg_rng_double(rng));
}

/* Drawn after the basic ones, which are therefore the same in both spaces. */
static void draw_wide(struct seg_train_params *t, struct seg_rng *rng)
{
    static const enum seg_normalization normalizations[] = { SEG_NORMALIZE_NONE, SEG_NORMALIZE_NONE,
                                                             SEG_NORMALIZE_BATCH,
                                                             SEG_NORMALIZE_LAYER };
    static const double smoothings[] = { 0, 0, 0.05, 0.1 }, clips[] = { 0, 0, 1, 5 };
    t->normalization = normalizations[seg_rng_below(rng, COUNT(normalizations))];
    t->schedule = seg_rng_below(rng, 2) == 0 ? SEG_SCHEDULE_CONSTANT : SEG_SCHEDULE_COSINE;
    t->warmup_epochs = (uint32_t)seg_rng_below(rng, 2) * (t->epochs / 20);
    t->cosine_floor = 0;
    t->label_smoothing = smoothings[seg_rng_below(rng, COUNT(smoothings))];
    t->clip_norm = clips[seg_rng_below(rng, COUNT(clips))];
}

static struct seg_train_params draw(const struct seg_mlp_search_params *p, uint32_t number)
{
    struct seg_rng rng = seg_rng_make(p->seed, STREAM_TRIAL | number);
    struct seg_train_params t = p->base;
    if (number == 0) return t;
    const size_t layout = seg_rng_below(&rng, COUNT(LAYOUTS));
    t.n_hidden = LAYOUTS[layout].n;
    memset(t.hidden, 0, sizeof t.hidden);
    memcpy(t.hidden, LAYOUTS[layout].hidden, t.n_hidden * sizeof *t.hidden);
    t.learning_rate = log_uniform(&rng, 3e-4, 1e-2);
    t.l2 = log_uniform(&rng, 1e-5, 1e-2);
    t.dropout = DROPOUTS[seg_rng_below(&rng, COUNT(DROPOUTS))];
    t.batch_size = BATCHES[seg_rng_below(&rng, COUNT(BATCHES))];
    t.activation = ACTIVATIONS[seg_rng_below(&rng, COUNT(ACTIVATIONS))];
    if (p->space == SEG_SPACE_WIDE) draw_wide(&t, &rng);
    return t;
}

/* p over fewer epochs: its schedule shrinks with them. */
static struct seg_train_params shortened(const struct seg_train_params *p, uint32_t epochs)
{
    struct seg_train_params s = *p;
    const double share = (double)epochs / p->epochs;
    s.epochs = epochs;
    s.warmup_epochs = (uint32_t)(share * p->warmup_epochs);
    s.step_epochs = (uint32_t)ceil(share * p->step_epochs);
    return s;
}

static void trial_task(void *ctx, size_t i)
{
    struct search *s = ctx;
    struct seg_mlp_trial *trial = &s->trials[s->standing[s->group + i]];
    struct seg_train_params p = shortened(&trial->params, trial->epochs);
    struct mlp_figures f;
    s->status[i] = mlp_fit_and_measure(s->train, s->validation, s->validation, s->n_classes, &p,
                                       &s->quiet, &f, &s->error[i]);
    if (s->status[i] == SEG_OK) trial->score = s->n_classes == 2 ? f.roc_auc : -f.log_loss;
}

/* Trains everything that stands, a group at a time. stop_at: no group begins after it; the trials
 * left then stand no longer. A divergence is a bad score, anything else ends the search. */
static enum seg_status run_rung(struct search *s, struct seg_pool *pool, uint32_t rung,
                                double stop_at, const struct seg_progress *progress,
                                struct seg_error *err)
{
    for (s->group = 0; s->group < s->n_standing; s->group += GROUP_TRIALS) {
        if (s->group > 0 && seg_clock_s() >= stop_at) s->n_standing = s->group;
        size_t n = s->n_standing - s->group;
        if (n > GROUP_TRIALS) n = GROUP_TRIALS;
        if (seg_progress_cancelled(progress)) return SEG_ECANCELED;
        seg_pool_for(pool, SEG_PRIORITY_TRAINING, n, trial_task, s);
        for (size_t i = 0; i < n; i++) {
            if (s->status[i] == SEG_EINVAL)
                s->diverged = s->error[i];
            else if (s->status[i] != SEG_OK)
                return seg_fail(err, s->status[i], "%s", s->error[i].text);
        }
        char message[96];
        const size_t n_done = s->group + n;
        snprintf(message, sizeof message, "rung %u of %d, trial %zu of %zu", rung + 1, N_RUNGS,
                 n_done, s->n_standing);
        seg_progress_report(progress, (rung + (double)n_done / (double)s->n_standing) / N_RUNGS,
                            message);
    }
    return SEG_OK;
}

/* Best first; ties to the earlier trial. Insertion keeps it stable. */
static void rank(struct search *s)
{
    for (size_t i = 1; i < s->n_standing; i++) {
        const uint32_t trial = s->standing[i];
        size_t to = i;
        for (; to > 0 && s->trials[s->standing[to - 1]].score < s->trials[trial].score; to--)
            s->standing[to] = s->standing[to - 1];
        s->standing[to] = trial;
    }
}

/* Trial 0 always goes on: what the caller began with is compared at full length. */
static void halve(struct search *s)
{
    size_t keep = (s->n_standing + SHARE - 1) / SHARE, at = 0;
    while (at < s->n_standing && s->standing[at] != 0)
        at++;
    if (at >= keep) s->standing[keep++] = 0;
    s->n_standing = keep;
}

static enum seg_status run_rungs(struct search *s, struct seg_pool *pool, size_t *ret_n_trials,
                                 const struct seg_progress *progress, struct seg_error *err)
{
    const double stop_at = s->p->seconds_max > 0 ? seg_clock_s() + s->p->seconds_max : INFINITY;
    uint32_t divisor = SHARE * SHARE;
    for (uint32_t rung = 0; rung < N_RUNGS; rung++, divisor /= SHARE) {
        for (size_t i = 0; i < s->n_standing; i++) {
            struct seg_mlp_trial *trial = &s->trials[s->standing[i]];
            trial->epochs = (s->p->base.epochs + divisor - 1) / divisor;
            trial->score = -INFINITY;
        }
        enum seg_status st = run_rung(s, pool, rung, rung == 0 ? stop_at : INFINITY, progress, err);
        if (st != SEG_OK) return st;
        if (rung == 0) *ret_n_trials = s->n_standing;
        rank(s);
        if (rung + 1 < N_RUNGS) halve(s);
    }
    return SEG_OK;
}

static enum seg_status check(const struct mlp_rows *train, const struct mlp_rows *validation,
                             uint32_t n_classes, const struct seg_mlp_search_params *p,
                             struct seg_error *err)
{
    const char *fault = seg_mlp_search_check(p);
    const struct mlp_rows *rows[] = { train, validation };
    size_t n_of_one = 0;
    if (fault != NULL) return seg_fail(err, SEG_EINVAL, "%s", fault);
    for (int part = 0; part < 2; part++) {
        const size_t n = rows[part]->x->n_rows;
        if (n == 0) return seg_fail(err, SEG_EINVAL, "no rows to %s", part ? "score" : "train on");
        for (size_t i = 0; i < n; i++)
            if (rows[part]->y[i] >= n_classes)
                return seg_fail(err, SEG_EINVAL, "class is %u at row %zu (limit %u)",
                                rows[part]->y[i], i, n_classes - 1);
    }
    for (size_t i = 0; i < validation->x->n_rows; i++)
        n_of_one += validation->y[i] == 1;
    if (n_classes == 2 && (n_of_one == 0 || n_of_one == validation->x->n_rows))
        return seg_fail(err, SEG_EINVAL, "the validation rows are all of one class");
    return SEG_OK;
}

static enum seg_status search_init(struct search *s)
{
    s->n_standing = s->p->trials;
    s->trials = seg_calloc(s->n_standing, sizeof *s->trials);
    s->standing = seg_alloc(s->n_standing + 1, sizeof *s->standing);
    if (s->trials == NULL || s->standing == NULL) return SEG_ENOMEM;
    for (uint32_t i = 0; i < s->n_standing; i++) {
        s->trials[i].params = draw(s->p, i);
        s->standing[i] = i;
    }
    return SEG_OK;
}

static void describe(const struct search *s, uint32_t best, struct seg_mlp_search *r)
{
    char began[48] = "diverged";
    if (isfinite(s->trials[0].score))
        snprintf(began, sizeof began, "has %.4f", fabs(s->trials[0].score));
    snprintf(
        r->reason, sizeof r->reason,
        "trial %u of %zu has the best %s (%.4f) on the validation rows after at most %u epochs; "
        "what the search began with %s",
        best + 1, r->n_trials, s->n_classes == 2 ? "ROC AUC" : "log loss", fabs(r->score),
        s->trials[best].epochs, began);
}

enum seg_status seg_mlp_search(struct seg_pool *pool, const struct seg_tiles *x, const uint16_t *y,
                               const struct seg_tiles *x_val, const uint16_t *y_val,
                               uint32_t n_classes, const struct seg_mlp_search_params *p,
                               const struct seg_progress *progress, struct seg_mlp_search *ret_s,
                               struct seg_error *err)
{
    struct seg_mlp_search r = { 0 };
    struct search *s = NULL;
    const struct mlp_rows train = { x, y }, validation = { x_val, y_val };
    enum seg_status st = check(&train, &validation, n_classes, p, err);
    if (st != SEG_OK) return st;
    st = SEG_ENOMEM;
    s = seg_calloc(1, sizeof *s);
    if (s == NULL) goto out;
    s->p = p;
    s->train = train;
    s->validation = validation;
    s->n_classes = n_classes;
    if (progress != NULL) s->quiet.cancel = progress->cancel;
    st = search_init(s);
    if (st == SEG_OK) st = run_rungs(s, pool, &r.n_trials, progress, err);
    if (st != SEG_OK) goto out;
    const uint32_t best = s->standing[0];
    r.best = s->trials[best].params;
    r.score = s->trials[best].score;
    if (!isfinite(r.score)) {
        st = seg_fail(err, SEG_EINVAL, "no trial could be trained: %s", s->diverged.text);
        goto out;
    }
    describe(s, best, &r);
    r.trials = s->trials;
    s->trials = NULL;
    *ret_s = r;
out:
    if (s != NULL) {
        seg_free(s->trials);
        seg_free(s->standing);
    }
    seg_free(s);
    if (st == SEG_ENOMEM) seg_fail(err, st, "not enough memory for a search");
    return st;
}

void seg_mlp_search_release(struct seg_mlp_search *s)
{
    seg_free(s->trials);
    *s = (struct seg_mlp_search){ 0 };
}
