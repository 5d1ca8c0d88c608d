/* mlp_search.h - how good a classifier's parameters are, and which are better.
 *
 * Cross-validation fits one network a fold. The search draws trials at random (Bergstra and Bengio
 * 2012) and spends its epochs by successive halving (Jamieson and Talwalkar 2016): every trial gets
 * a ninth of the epochs, the best third of them a third, the best third of those all. The score is
 * of the validation rows: the ROC AUC for two classes, minus the log loss for more. Trial 0 is the
 * parameters that the caller began with, so that the search never ends below them on those rows.
 *
 * Pure functions: any thread may call, nothing is logged. Fits run side by side on the pool, each
 * on one worker, and results are put together in their order: same data, params and seed give the
 * same bits at any worker count, as long as seconds_max is 0. With a limit in seconds the clock
 * decides how many trials there are, and nothing else. */
#ifndef SEG_MODEL_MLP_SEARCH_H
#define SEG_MODEL_MLP_SEARCH_H

#include "model/spec.h"
#include "neural/train.h"

#define SEG_MLP_FOLDS_MAX  20u
#define SEG_MLP_TRIALS_MAX 1000u

struct seg_mlp_cv_params {
    uint32_t folds;                /* 2..SEG_MLP_FOLDS_MAX, at most the rows */
    double validation;             /* share of a fold's training rows kept for patience, 0 to < 1 */
    struct seg_train_params train; /* of each fit; each fold has a seed of its own */
};

struct seg_mean_sd {
    double mean, sd; /* over the folds; sd with n - 1. NaN when it is NaN in a fold */
};

struct seg_mlp_cv {
    struct seg_mean_sd accuracy, log_loss, roc_auc; /* evaluate/classification.h has definitions */
};

/* NULL if the params suit n_rows rows, else a sentence for the user (static storage). */
const char *seg_mlp_cv_check(const struct seg_mlp_cv_params *p, size_t n_rows);
/* x (n, d), y (n) in 0..n_classes-1. Folds are stratified: each holds its share of every class to
 * within a row. SEG_EINVAL: bad params, a class out of range, a training that diverged.
 * SEG_ENOMEM, SEG_ECANCELED. */
enum seg_status seg_mlp_cv(struct seg_pool *pool, const struct seg_tiles *x, const uint16_t *y,
                           uint32_t n_classes, const struct seg_mlp_cv_params *p,
                           const struct seg_progress *progress, struct seg_mlp_cv *ret_cv,
                           struct seg_error *err);

struct seg_mlp_search_params {
    uint32_t trials;    /* 1..SEG_MLP_TRIALS_MAX */
    double seconds_max; /* the first rung begins no more trials after this long, as it goes on by
                           groups of 32; 0: no limit */
    struct seg_train_params base; /* trial 0, and of every trial whatever its space leaves out.
                                     Epochs of warm-up and of a step shrink with those of a rung */
    enum seg_mlp_space space;     /* basic: layers, activation, learning rate, l2, dropout, batch
                                     size; wide: also normalization, schedule with warm-up,
                                     label smoothing, clipping */
    uint64_t seed;
};

struct seg_mlp_trial {
    struct seg_train_params params; /* with all epochs, whatever it was given */
    uint32_t epochs;                /* it was given last */
    double score;                   /* after those; -INFINITY when training diverged */
};

struct seg_mlp_search {
    struct seg_train_params best;
    double score;                 /* of the best */
    struct seg_mlp_trial *trials; /* (n_trials) in the order they were drawn. Owned */
    size_t n_trials;
    char reason[256];
};

/* NULL, or a sentence for the user (static storage). */
const char *seg_mlp_search_check(const struct seg_mlp_search_params *p);
/* x (n, d) with y (n) to train on, x_val with y_val to score; both have rows. Statuses as above;
 * SEG_EINVAL also when every trial diverged, and for two classes when y_val has only one. */
enum seg_status seg_mlp_search(struct seg_pool *pool, const struct seg_tiles *x, const uint16_t *y,
                               const struct seg_tiles *x_val, const uint16_t *y_val,
                               uint32_t n_classes, const struct seg_mlp_search_params *p,
                               const struct seg_progress *progress, struct seg_mlp_search *ret_s,
                               struct seg_error *err);
void seg_mlp_search_release(struct seg_mlp_search *s);

#endif
