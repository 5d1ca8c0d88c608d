/* classification.h - how good predicted class probabilities are. Definitions are those of
 * scikit-learn 1.2. Pure functions; sums in float64 in row order. */
#ifndef SEG_EVALUATE_CLASSIFICATION_H
#define SEG_EVALUATE_CLASSIFICATION_H

#include <stddef.h>
#include <stdint.h>
#include "base/status.h"

#define SEG_CLASSES_MAX 1024u

struct seg_class_metrics {
    size_t support;   /* rows whose true class it is */
    double precision; /* TP / (TP + FP); 0 when nothing was predicted so */
    double recall;    /* TP / support; 0 when support is 0 */
    double f1;
    double roc_auc; /* this class against the rest (Mann-Whitney, ties count half); NaN when one
                       side is empty */
    double pr_auc;  /* average precision: sum of (R_i - R_{i-1}) * P_i over distinct scores; NaN
                       without positives */
};

struct seg_classification {
    size_t n_rows;
    uint32_t n_classes;
    double accuracy;
    double macro_precision, macro_recall,
        macro_f1;    /* unweighted means over classes that occur in truth or prediction */
    double roc_auc;  /* two classes: of class 1; more: unweighted mean of one-vs-rest over the
                        classes where it is defined */
    double pr_auc;   /* likewise */
    double log_loss; /* natural log, probabilities clipped to [1e-7, 1 - 1e-7] and renormalised */
    struct seg_class_metrics *classes; /* (n_classes), owned */
    uint64_t *confusion;               /* (n_classes, n_classes), [truth][predicted], owned */
};
/* p (n, n_classes) row-major probabilities; y (n) true classes. The predicted class is the most
 * probable, ties to the lower. SEG_ENOMEM; SEG_EINVAL when n is 0. */
enum seg_status seg_classification_evaluate(const float *p, const uint16_t *y, size_t n,
                                            uint32_t n_classes, struct seg_classification *ret_c,
                                            struct seg_error *err);
void seg_classification_release(struct seg_classification *c);

#endif
