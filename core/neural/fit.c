/* fit.c - epochs of shuffled batches, led in rounds of a few milliseconds (see team.h).
 * Everything is allocated before the first epoch. */
#include "neural/fit.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "neural/pace.h"
#include "neural/sampler.h"

/* A round on one current core takes about 5 ms. A batch under the lower bound is over before a
 * second thread could have helped, and one over the upper bound is worth helping with on any
 * machine; between them the pace decides. */
#define ROUND_FLOPS      5e8
#define TEAM_FLOPS_MIN   5e5
#define PACE_FLOPS_MAX   2e7
#define EVALUATION_SHARE (1.0 / 3.0) /* of a training row's work: the way forward */

struct run {
    const struct seg_fit *fit;
    struct seg_pool *pool; /* NULL when a batch is too small to share */
    struct seg_pace pace;
    const struct seg_progress *progress;
    struct seg_network *net;
    struct seg_batch batch;
    struct seg_sampler sampler;
    struct seg_optimizer_state optimizer;
    size_t batch_size;
    struct seg_network best; /* of the best epoch; empty without early stopping */
    struct seg_curve curve;
    double row_flops;
    /* Of the pass at hand. */
    double loss, code_loss;
    size_t n_right, n_rows;
    size_t next_tile;
    bool done;
    size_t until_between; /* batches */
    bool ended;           /* by `between` */
};

void seg_curve_release(struct seg_curve *c)
{
    seg_free(c->train_loss);
    seg_free(c->validation_loss);
    seg_free(c->validation_accuracy);
    seg_free(c->code_loss);
    *c = (struct seg_curve){ 0 };
}

static bool has_validation(const struct seg_fit *f)
{
    return f->validation.x != NULL && f->validation.x->n_rows > 0;
}

static enum seg_status curve_init(struct seg_curve *c, const struct seg_fit *f)
{
    size_t n = f->params->epochs;
    bool accuracy = has_validation(f) && f->train.y != NULL;
    c->train_loss = seg_alloc(n, sizeof(double));
    if (has_validation(f)) c->validation_loss = seg_alloc(n, sizeof(double));
    if (accuracy) c->validation_accuracy = seg_alloc(n, sizeof(double));
    if (f->train.code_loss != NULL) c->code_loss = seg_alloc(n, sizeof(double));
    bool ok = c->train_loss != NULL && (!has_validation(f) || c->validation_loss != NULL) &&
              (!accuracy || c->validation_accuracy != NULL) &&
              (f->train.code_loss == NULL || c->code_loss != NULL);
    return ok ? SEG_OK : SEG_ENOMEM;
}

static void run_release(struct run *r)
{
    seg_batch_release(&r->batch);
    seg_sampler_release(&r->sampler);
    seg_optimizer_release(&r->optimizer);
    seg_network_release(&r->best);
    seg_curve_release(&r->curve);
}

static enum seg_status run_init(struct run *r, struct seg_pool *pool, const struct seg_fit *f,
                                const struct seg_progress *progress, struct seg_network *net)
{
    const struct seg_train_params *p = f->params;
    size_t n_rows = f->train.x->n_rows;
    *r = (struct run){ .fit = f, .progress = progress, .net = net };
    r->batch_size = p->batch_size < n_rows ? p->batch_size : n_rows;
    size_t n_tiles = (r->batch_size + SEG_TILE_ROWS - 1) / SEG_TILE_ROWS;
    struct seg_batch_options options = { .dropout = p->dropout,
                                         .label_smoothing = p->label_smoothing,
                                         .clip_norm = p->clip_norm,
                                         .seed = p->seed };
    memcpy(options.drops, f->drops, sizeof options.drops);
    enum seg_status st = seg_batch_init(&r->batch, net, &f->train, n_tiles, &options, progress);
    if (st == SEG_OK) st = seg_sampler_init(&r->sampler, f->train.x, r->batch_size);
    if (st == SEG_OK)
        st = seg_optimizer_init(&r->optimizer, p, r->batch.n_params + net->embeddings.n_params,
                                (n_rows + r->batch_size - 1) / r->batch_size);
    if (st == SEG_OK) st = curve_init(&r->curve, f);
    if (st != SEG_OK) return st;
    if (p->patience > 0) st = seg_network_copy(&r->best, net);
    if (st != SEG_OK) return st;
    r->row_flops = seg_batch_flops(&r->batch);
    if (r->row_flops * (double)r->batch_size >= TEAM_FLOPS_MIN) r->pool = pool;
    seg_pace_init(&r->pace);
    return SEG_OK;
}

static void lead_training(struct seg_team *team, void *ctx)
{
    struct run *r = ctx;
    for (double flops = 0.0; flops < ROUND_FLOPS && !seg_progress_cancelled(r->progress);) {
        if (r->until_between == 0) return;
        const uint32_t *rows;
        const float *staged;
        size_t n = seg_sampler_next(&r->sampler, team, &rows, &staged);
        r->done = n == 0;
        if (r->done) return;
        seg_optimizer_step(&r->optimizer);
        r->loss += seg_batch_train(&r->batch, team, &r->fit->train, rows, staged, n, &r->optimizer);
        r->code_loss += r->batch.code_loss;
        r->n_rows += n;
        r->batch.number++;
        r->until_between--;
        flops += r->row_flops * (double)n;
    }
}

static void lead_validation(struct seg_team *team, void *ctx)
{
    struct run *r = ctx;
    const struct seg_batch_data *data = &r->fit->validation;
    size_t n_tiles = seg_tiles_count(data->x);
    for (double flops = 0.0; flops < ROUND_FLOPS && !seg_progress_cancelled(r->progress);) {
        size_t n = n_tiles - r->next_tile;
        r->done = n == 0;
        if (r->done) return;
        if (n > r->batch.n_slots) n = r->batch.n_slots;
        r->loss += seg_batch_evaluate(&r->batch, team, data, r->next_tile, n, &r->n_right);
        r->next_tile += n;
        flops += r->row_flops * EVALUATION_SHARE * (double)(n * SEG_TILE_ROWS);
    }
}

/* What stands between two batches. */
static void run_between(struct run *r)
{
    const struct seg_fit *f = r->fit;
    size_t n_rows = f->train.x->n_rows;
    size_t epoch = (n_rows + r->batch_size - 1) / r->batch_size;
    r->done = r->ended = f->between != NULL && !f->between(f->between_ctx);
    r->until_between = f->between == NULL ? SIZE_MAX : f->interval > 0 ? f->interval : epoch;
}

/* A round of training, with as many helpers as there is work for at a time. */
static void run_training(struct run *r)
{
    bool is_paced = r->pool != NULL && r->row_flops * (double)r->batch_size < PACE_FLOPS_MAX;
    bool together = !is_paced || seg_pace_next(&r->pace);
    size_t n_before = r->n_rows;
    double begin = seg_clock_s();
    seg_team_run(r->pool, together ? (unsigned)r->batch.n_shards : 1, lead_training, r);
    if (is_paced && r->n_rows > n_before)
        seg_pace_learn(&r->pace, together, seg_clock_s() - begin, (double)(r->n_rows - n_before));
}

/* Rounds until the pass is done. */
static enum seg_status run_pass(struct run *r, seg_lead_fn lead)
{
    r->loss = r->code_loss = 0.0;
    r->n_right = r->n_rows = 0;
    r->next_tile = 0;
    r->done = false;
    while (!r->done) {
        if (seg_progress_cancelled(r->progress)) return SEG_ECANCELED;
        if (lead == lead_validation)
            seg_team_run(r->pool, (unsigned)r->batch.n_slots, lead_validation, r);
        else if (r->until_between == 0)
            run_between(r);
        else
            run_training(r);
    }
    return SEG_OK;
}

/* Terms of the mean loss that n rows give. */
static double loss_terms(const struct run *r, size_t n_rows)
{
    return (double)n_rows * (r->fit->train.y != NULL ? 1.0 : (double)r->net->n_out);
}

static enum seg_status run_epoch(struct run *r, uint32_t epoch)
{
    const struct seg_fit *f = r->fit;
    seg_sampler_start(&r->sampler, seg_rng_make(f->params->seed, SEG_STREAM_SHUFFLE | epoch));
    r->batch.epoch = epoch;
    r->batch.number = 0;
    enum seg_status st = run_pass(r, lead_training);
    if (st != SEG_OK) return st;
    if (r->n_rows == 0) return SEG_OK; /* ended before its first batch */
    r->curve.n_epochs = epoch + 1;
    r->curve.train_loss[epoch] = r->loss / loss_terms(r, r->n_rows);
    if (r->curve.code_loss != NULL) r->curve.code_loss[epoch] = r->code_loss / (double)r->n_rows;
    if (!has_validation(f)) return SEG_OK;

    st = run_pass(r, lead_validation);
    if (st != SEG_OK) return st;
    r->curve.validation_loss[epoch] = r->loss / loss_terms(r, f->validation.x->n_rows);
    if (r->curve.validation_accuracy != NULL)
        r->curve.validation_accuracy[epoch] = (double)r->n_right / (double)f->validation.x->n_rows;
    return SEG_OK;
}

static void report(const struct run *r, uint32_t epoch, double watched)
{
    char message[96];
    snprintf(message, sizeof message, "epoch %u of %u, %s loss %.4f", epoch + 1,
             r->fit->params->epochs, has_validation(r->fit) ? "validation" : "training", watched);
    seg_progress_report(r->progress, (double)(epoch + 1) / r->fit->params->epochs, message);
}

static enum seg_status run_epochs(struct run *r, struct seg_error *err)
{
    uint32_t patience = r->fit->params->patience;
    double best_loss = INFINITY;
    for (uint32_t epoch = 0; epoch < r->fit->params->epochs; epoch++) {
        enum seg_status st = run_epoch(r, epoch);
        if (st != SEG_OK) return st;
        if (r->curve.n_epochs == epoch) break;
        double train_loss = r->curve.train_loss[epoch];
        double watched = has_validation(r->fit) ? r->curve.validation_loss[epoch] : train_loss;
        /* a last step can overflow after its loss was taken, hence the look at the weights */
        if (!isfinite(train_loss) || !isfinite(watched) || !seg_network_is_finite(r->net))
            return seg_fail(err, SEG_EINVAL, "training diverged: loss is not finite at epoch %u",
                            epoch + 1);
        report(r, epoch, watched);
        if (patience == 0) {
            r->curve.best_epoch = epoch;
        } else if (watched < best_loss) {
            best_loss = watched;
            r->curve.best_epoch = epoch;
            seg_network_assign(&r->best, r->net);
        } else if (epoch - r->curve.best_epoch >= patience) {
            break;
        }
        if (r->ended) break;
    }
    if (patience > 0 && r->curve.n_epochs > 0) seg_network_assign(r->net, &r->best);
    seg_network_fold(r->net);
    return SEG_OK;
}

enum seg_status seg_fit(struct seg_pool *pool, const struct seg_fit *f,
                        const struct seg_progress *progress, struct seg_network *net,
                        struct seg_curve *ret_curve, struct seg_error *err)
{
    struct run r = { 0 };
    enum seg_status st = SEG_OK;
    assert(!has_validation(f) || f->validation.x->n_cols == f->train.x->n_cols);
    if (f->train.x->n_rows < 1) return seg_fail(err, SEG_EINVAL, "no rows to train on");
    if (f->train.x->n_rows > UINT32_MAX)
        return seg_fail(err, SEG_EINVAL, "too many rows: %zu (limit %u)", f->train.x->n_rows,
                        UINT32_MAX);
    st = run_init(&r, pool, f, progress, net);
    if (st == SEG_ENOMEM) seg_fail(err, st, "out of memory for training");
    if (st == SEG_OK) st = run_epochs(&r, err);
    if (st != SEG_OK) goto out;
    *ret_curve = r.curve;
    r.curve = (struct seg_curve){ 0 };
out:
    run_release(&r);
    return st;
}
