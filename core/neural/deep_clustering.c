/* deep_clustering.c - the rows to learn from and their neighbourhood, and the first part. */
#include "neural/deep_clustering.h"

#include <string.h>
#include "base/alloc.h"
#include "neural/fit.h"

#define SAMPLE_STREAM ((uint64_t)4 << 60)

/* The options of the first part. */
static struct seg_train_params pretrain_params(const struct seg_deep_params *p)
{
    struct seg_train_params first = p->network;
    first.epochs = p->pretrain_epochs;
    return first;
}

const char *seg_deep_check(const struct seg_deep_params *p)
{
    struct seg_train_params first = pretrain_params(p);
    const char *wrong = seg_train_check(&p->network);
    if (wrong != NULL) return wrong;
    if (p->pretrain_epochs < 1 || p->pretrain_epochs > 10000)
        return "pretrain_epochs must be 1 to 10000";
    wrong = seg_train_check(&first);
    if (wrong != NULL) return wrong;
    if (!(p->gamma > 0.0 && p->gamma <= 1000.0)) return "gamma must be above 0 and at most 1000";
    if (!(p->tolerance >= 0.0 && p->tolerance <= 1.0)) return "tolerance must be 0 to 1";
    if (p->n_init < 1 || p->n_init > 100) return "n_init must be 1 to 100";
    if (p->neighbours > SEG_NEIGHBOURS_MAX) return "neighbours must be 0 to 64";
    if (p->smoothing > 1000) return "smoothing must be 0 to 1000";
    return NULL;
}

/* Draws the rows to learn from, in their order, when there are too many. */
static enum seg_status draw_sample(struct seg_deep *d, uint32_t k_max)
{
    size_t n = d->x->n_rows, wide = d->x->n_cols > k_max ? d->x->n_cols : k_max;
    size_t wanted = SEG_DEEP_CELLS / wide < SEG_DEEP_ROWS ? SEG_DEEP_CELLS / wide : SEG_DEEP_ROWS;
    if (n <= wanted) return SEG_OK;
    uint32_t *rows = seg_alloc(wanted, sizeof *rows);
    if (rows == NULL) return SEG_ENOMEM;
    struct seg_rng rng = seg_rng_make(d->params->network.seed, SAMPLE_STREAM);
    seg_rng_sample(&rng, n, wanted, rows);
    enum seg_status st = seg_tiles_gather(d->x, rows, wanted, &d->sample);
    if (st == SEG_OK) d->x = &d->sample;
    seg_free(rows);
    return st;
}

static enum seg_status smooth_rows(struct seg_deep *d, const struct seg_progress *progress)
{
    struct seg_tiles a = { 0 }, b = { 0 };
    enum seg_status st = seg_tiles_zeros(&a, d->x->n_rows, d->x->n_cols);
    if (st == SEG_OK) st = seg_tiles_zeros(&b, d->x->n_rows, d->x->n_cols);
    if (st != SEG_OK) goto out;
    for (uint32_t round = 0; round < d->params->smoothing; round++) {
        if (seg_progress_cancelled(progress)) {
            st = SEG_ECANCELED;
            goto out;
        }
        seg_neighbours_mean(d->pool, &d->neighbours, round == 0 ? d->x : &a, &b);
        struct seg_tiles swap = a;
        a = b;
        b = swap;
    }
    d->smooth = a;
    d->target = &d->smooth;
    a = (struct seg_tiles){ 0 };
out:
    seg_tiles_release(&a);
    seg_tiles_release(&b);
    return st;
}

enum seg_status seg_deep_init(struct seg_deep *d, struct seg_pool *pool, const struct seg_tiles *x,
                              uint32_t k_max, const struct seg_deep_params *p,
                              const struct seg_progress *progress, struct seg_error *err)
{
    *d = (struct seg_deep){ .pool = pool, .params = p, .x = x };
    const char *wrong = seg_deep_check(p);
    if (wrong != NULL) return seg_fail(err, SEG_EINVAL, "%s", wrong);
    if (x->n_rows < 1) return seg_fail(err, SEG_EINVAL, "no rows to train on");
    seg_progress_report(progress, 0.0, "neighbours of the rows");
    enum seg_status st = draw_sample(d, k_max);
    d->target = d->x;
    if (st == SEG_OK) st = seg_neighbours_find(pool, d->x, p->neighbours, progress, &d->neighbours);
    if (st == SEG_OK && d->neighbours.n > 0 && p->smoothing > 0) st = smooth_rows(d, progress);
    if (st == SEG_ENOMEM) seg_fail(err, st, "out of memory for the neighbours of the rows");
    if (st != SEG_OK) seg_deep_release(d);
    return st;
}

void seg_deep_release(struct seg_deep *d)
{
    seg_tiles_release(&d->sample);
    seg_tiles_release(&d->smooth);
    seg_neighbours_release(&d->neighbours);
    *d = (struct seg_deep){ 0 };
}

enum seg_status seg_deep_pretrain(const struct seg_deep *d, const struct seg_progress *progress,
                                  struct seg_network *ret_net, struct seg_curve *ret_curve,
                                  struct seg_error *err)
{
    struct seg_train_params params = pretrain_params(d->params);
    struct seg_network net = { 0 };
    struct seg_fit fit = { .train = { .x = d->x, .target = d->target }, .params = &params };
    enum seg_status st = seg_autoencoder_init(&net, &fit, d->x->n_cols, d->params->encoder,
                                              d->params->n_encoder, &params, err);
    if (st == SEG_OK) st = seg_fit(d->pool, &fit, progress, &net, ret_curve, err);
    if (st == SEG_OK) {
        *ret_net = net;
        net = (struct seg_network){ 0 };
    }
    seg_network_release(&net);
    return st;
}
