/* mlp_fit.h - one network fitted and measured, as cross-validation and search need it; private to
 * core/model. */
#ifndef SEG_MODEL_MLP_FIT_H
#define SEG_MODEL_MLP_FIT_H

#include "neural/train.h"

struct mlp_rows {
    const struct seg_tiles *x; /* (n, d) */
    const uint16_t *y;         /* (n) */
};

struct mlp_figures {
    double accuracy, log_loss, roc_auc;
};

/* Fits p to train on this thread, with `validation` for early stopping (x NULL: none), and measures
 * test. Statuses of seg_classifier_fit. */
enum seg_status mlp_fit_and_measure(struct mlp_rows train, struct mlp_rows validation,
                                    struct mlp_rows test, uint32_t n_classes,
                                    const struct seg_train_params *p,
                                    const struct seg_progress *progress, struct mlp_figures *ret_f,
                                    struct seg_error *err);

#endif
