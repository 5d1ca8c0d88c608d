/* mlp_cv.c - folds are dealt within each class in shuffled order, a class beginning where the one
 * before ended; each fold is then a task of its own. */
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "compute/kernels.h"
#include "compute/shuffle.h"
#include "evaluate/classification.h"
#include "evaluate/split.h"
#include "features/preprocess.h"
#include "model/mlp_fit.h"
#include "model/mlp_search.h"

#define STREAM_FOLDS ((uint64_t)6 << 60)

/* Probabilities p (n, n_classes), row-major, of every row of x. */
static enum seg_status predict(const struct seg_network *net, const struct seg_tiles *x, float *p)
{
    enum seg_status st = SEG_ENOMEM;
    const size_t m = net->n_out;
    float *scratch = seg_alloc_aligned(seg_network_scratch(net), sizeof *scratch);
    float *out = seg_alloc_aligned(m * SEG_TILE_ROWS, sizeof *out); /* (m, 64) */
    if (scratch == NULL || out == NULL) goto out;
    for (size_t t = 0; t < seg_tiles_count(x); t++) {
        seg_network_forward(net, 0, net->n_layers, seg_tiles_at(x, t), out, scratch);
        seg_kernels_get()->softmax(out, m);
        for (size_t r = 0; r < seg_tiles_rows(x, t); r++)
            for (size_t c = 0; c < m; c++)
                p[(t * SEG_TILE_ROWS + r) * m + c] = out[c * SEG_TILE_ROWS + r];
    }
    st = SEG_OK;
out:
    seg_free(scratch);
    seg_free(out);
    return st;
}

enum seg_status mlp_fit_and_measure(struct mlp_rows train, struct mlp_rows validation,
                                    struct mlp_rows test, uint32_t n_classes,
                                    const struct seg_train_params *p,
                                    const struct seg_progress *progress, struct mlp_figures *ret_f,
                                    struct seg_error *err)
{
    struct seg_network net = { 0 };
    struct seg_curve curve = { 0 };
    struct seg_classification c = { 0 };
    float *probabilities = seg_alloc(test.x->n_rows * n_classes, sizeof *probabilities);
    if (probabilities == NULL) return seg_fail(err, SEG_ENOMEM, "not enough memory to measure");
    enum seg_status st = seg_classifier_fit(NULL, train.x, train.y, validation.x, validation.y,
                                            n_classes, p, progress, &net, &curve, err);
    if (st == SEG_OK) {
        st = predict(&net, test.x, probabilities);
        if (st != SEG_OK) seg_fail(err, st, "not enough memory to measure");
    }
    if (st == SEG_OK)
        st = seg_classification_evaluate(probabilities, test.y, test.x->n_rows, n_classes, &c, err);
    if (st == SEG_OK) *ret_f = (struct mlp_figures){ c.accuracy, c.log_loss, c.roc_auc };
    seg_classification_release(&c);
    seg_curve_release(&curve);
    seg_network_release(&net);
    seg_free(probabilities);
    return st;
}

struct cv {
    const struct seg_mlp_cv_params *p;
    const struct seg_tiles *x;
    const uint16_t *y;
    uint32_t n_classes;
    uint8_t *fold; /* (n) */
    struct seg_progress quiet;
    struct mlp_figures figures[SEG_MLP_FOLDS_MAX];
    enum seg_status status[SEG_MLP_FOLDS_MAX];
    struct seg_error error[SEG_MLP_FOLDS_MAX];
};

const char *seg_mlp_cv_check(const struct seg_mlp_cv_params *p, size_t n_rows)
{
    if (p->folds < 2 || p->folds > SEG_MLP_FOLDS_MAX) return "folds must be 2 to 20";
    if (p->folds > n_rows) return "more folds than rows";
    if (n_rows > UINT32_MAX) return "more rows than 4294967295";
    if (!(p->validation >= 0 && p->validation < 1)) return "validation must be 0 to less than 1";
    return seg_train_check(&p->train);
}

static enum seg_status deal_folds(struct cv *cv)
{
    const size_t n = cv->x->n_rows;
    struct seg_rng rng = seg_rng_make(cv->p->train.seed, STREAM_FOLDS);
    uint32_t *order = seg_alloc(n, sizeof *order);
    size_t *at =
        seg_calloc((size_t)cv->n_classes + 1, sizeof *at); /* place of a class's next row */
    enum seg_status st = order != NULL && at != NULL ? SEG_OK : SEG_ENOMEM;
    if (st != SEG_OK) goto out;
    for (size_t i = 0; i < n; i++) {
        if (i % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        order[i] = (uint32_t)i;
        at[cv->y[i] + 1]++;
    }
    for (uint32_t c = 0; c < cv->n_classes; c++)
        at[c + 1] += at[c];
    seg_shuffle(&rng, order, n);
    for (size_t i = 0; i < n; i++) {
        if (i % SEG_CHUNK_ROWS == 0) seg_pool_give_way();
        cv->fold[order[i]] = (uint8_t)(at[cv->y[order[i]]]++ % cv->p->folds);
    }
out:
    seg_free(order);
    seg_free(at);
    return st;
}

/* Rows of one part of a fold, copied. */
struct part {
    struct seg_tiles x;
    uint16_t *y;
};

static void part_release(struct part *part)
{
    seg_tiles_release(&part->x);
    seg_free(part->y);
}

static enum seg_status part_init(struct part *part, const struct cv *cv, const uint32_t *rows,
                                 size_t n)
{
    part->y = seg_alloc(n, sizeof *part->y);
    if (part->y == NULL) return SEG_ENOMEM;
    for (size_t i = 0; i < n; i++)
        part->y[i] = cv->y[rows[i]];
    return seg_tiles_gather(cv->x, rows, n, &part->x);
}

/* Sorts the rows of fold f by part: rows (n) with first[part] to first[part + 1]. */
static enum seg_status sort_rows(const struct cv *cv, size_t f, uint32_t *rows,
                                 size_t first[SEG_PARTS + 1], struct seg_error *err)
{
    const size_t n = cv->x->n_rows;
    size_t n_rest = 0;
    uint8_t *part = seg_alloc(n, sizeof *part);
    uint16_t *y = seg_alloc(n, sizeof *y);
    enum seg_status st = SEG_ENOMEM;
    if (part == NULL || y == NULL) goto out;
    for (size_t i = 0; i < n; i++)
        if (cv->fold[i] != f) y[n_rest++] = cv->y[i];
    st =
        seg_split(n_rest, y, cv->n_classes, 0, cv->p->validation, cv->p->train.seed + f, part, err);
    if (st != SEG_OK) goto out;
    size_t to = 0;
    for (uint8_t p = 0; p < SEG_PARTS; p++) {
        first[p] = to;
        for (size_t i = 0, rest = 0; i < n; i++) {
            uint8_t of = cv->fold[i] == f ? SEG_PART_TEST : part[rest++];
            if (of == p) rows[to++] = (uint32_t)i;
        }
    }
    first[SEG_PARTS] = to;
out:
    seg_free(part);
    seg_free(y);
    return st;
}

static enum seg_status run_fold(struct cv *cv, size_t f)
{
    struct part parts[SEG_PARTS] = { 0 };
    size_t first[SEG_PARTS + 1];
    struct seg_train_params p = cv->p->train;
    uint32_t *rows = seg_alloc(cv->x->n_rows, sizeof *rows);
    enum seg_status st = SEG_ENOMEM;
    if (rows == NULL) goto out;
    st = sort_rows(cv, f, rows, first, &cv->error[f]);
    for (int i = 0; i < SEG_PARTS && st == SEG_OK; i++)
        st = part_init(&parts[i], cv, rows + first[i], first[i + 1] - first[i]);
    if (st != SEG_OK) goto out;
    p.seed += f;
    st = mlp_fit_and_measure((struct mlp_rows){ &parts[0].x, parts[0].y },
                             (struct mlp_rows){ &parts[1].x, parts[1].y },
                             (struct mlp_rows){ &parts[2].x, parts[2].y }, cv->n_classes, &p,
                             &cv->quiet, &cv->figures[f], &cv->error[f]);
out:
    for (int i = 0; i < SEG_PARTS; i++)
        part_release(&parts[i]);
    seg_free(rows);
    return st;
}

static void fold_task(void *ctx, size_t f)
{
    struct cv *cv = ctx;
    cv->status[f] = run_fold(cv, f);
}

static struct seg_mean_sd mean_sd(const double *values, uint32_t n)
{
    struct seg_mean_sd m = { 0, 0 };
    for (uint32_t i = 0; i < n; i++)
        m.mean += values[i] / n;
    for (uint32_t i = 0; i < n; i++)
        m.sd += (values[i] - m.mean) * (values[i] - m.mean) / (n - 1);
    m.sd = sqrt(m.sd);
    return m;
}

static struct seg_mlp_cv summary(const struct cv *cv)
{
    double accuracy[SEG_MLP_FOLDS_MAX], log_loss[SEG_MLP_FOLDS_MAX], roc_auc[SEG_MLP_FOLDS_MAX];
    const uint32_t n = cv->p->folds;
    for (uint32_t f = 0; f < n; f++) {
        accuracy[f] = cv->figures[f].accuracy;
        log_loss[f] = cv->figures[f].log_loss;
        roc_auc[f] = cv->figures[f].roc_auc;
    }
    return (struct seg_mlp_cv){ mean_sd(accuracy, n), mean_sd(log_loss, n), mean_sd(roc_auc, n) };
}

enum seg_status seg_mlp_cv(struct seg_pool *pool, const struct seg_tiles *x, const uint16_t *y,
                           uint32_t n_classes, const struct seg_mlp_cv_params *p,
                           const struct seg_progress *progress, struct seg_mlp_cv *ret_cv,
                           struct seg_error *err)
{
    const char *fault = seg_mlp_cv_check(p, x->n_rows);
    if (fault != NULL) return seg_fail(err, SEG_EINVAL, "%s", fault);
    for (size_t i = 0; i < x->n_rows; i++)
        if (y[i] >= n_classes)
            return seg_fail(err, SEG_EINVAL, "class is %u at row %zu (limit %u)", y[i], i,
                            n_classes - 1);
    enum seg_status st = SEG_ENOMEM;
    struct cv *cv = seg_calloc(1, sizeof *cv);
    if (cv == NULL) goto out;
    *cv = (struct cv){ .p = p, .x = x, .y = y, .n_classes = n_classes };
    if (progress != NULL) cv->quiet.cancel = progress->cancel;
    cv->fold = seg_alloc(x->n_rows, sizeof *cv->fold);
    if (cv->fold == NULL) goto out;
    st = deal_folds(cv);
    if (st != SEG_OK) goto out;
    seg_progress_report(progress, 0, "cross-validation");
    seg_pool_for(pool, SEG_PRIORITY_TRAINING, p->folds, fold_task, cv);
    for (size_t f = 0; f < p->folds && st == SEG_OK; f++) {
        st = cv->status[f];
        if (st != SEG_OK && cv->error[f].text[0] != '\0')
            seg_fail(err, st, "fold %zu: %s", f + 1, cv->error[f].text);
    }
    if (st != SEG_OK) goto out;
    seg_progress_report(progress, 1, "cross-validation");
    *ret_cv = summary(cv);
out:
    if (cv != NULL) seg_free(cv->fold);
    seg_free(cv);
    if (st == SEG_ENOMEM) seg_fail(err, st, "not enough memory for cross-validation");
    return st;
}
