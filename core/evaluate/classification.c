/* classification.c - confusion, precision and recall, areas under ROC and precision-recall curves.
 * Ranking measures want the rows in order of score, once for each class: a radix sort of the
 * scores' bits does it in three passes, so a million rows cost milliseconds. */
#include "evaluate/classification.h"

#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/float_key.h"
#include "compute/worker_pool.h"

#define LOG_LOSS_CLIP 1e-7
#define RADIX_BITS    11u
#define RADIX_SIZE    (1u << RADIX_BITS)
#define RADIX_PASSES  3u /* 33 bits */
/* Rows between two offers of the processor: where they are moved, and where logarithms are taken.
 */
#define PASS   ((size_t)1 << 13)
#define LOSSES ((size_t)1 << 9)

/* Sorts keys (n) by their upper 32 bits, ascending; spare (n) is as long. Returns whichever of the
 * two holds the result. */
static uint64_t *radix_sort(uint64_t *keys, uint64_t *spare, size_t n)
{
    for (unsigned pass = 0; pass < RADIX_PASSES; pass++) {
        unsigned shift = 32 + pass * RADIX_BITS;
        size_t at[RADIX_SIZE] = { 0 };
        size_t sum = 0;
        for (size_t i = 0; i < n; i++) {
            if (i % PASS == 0) seg_pool_give_way();
            at[(keys[i] >> shift) % RADIX_SIZE]++;
        }
        for (size_t b = 0; b < RADIX_SIZE; b++) {
            size_t count = at[b];
            at[b] = sum;
            sum += count;
        }
        for (size_t i = 0; i < n; i++) {
            if (i % PASS == 0) seg_pool_give_way();
            spare[at[(keys[i] >> shift) % RADIX_SIZE]++] = keys[i];
        }
        uint64_t *sorted = spare;
        spare = keys;
        keys = sorted;
    }
    return keys;
}

/* Areas for one class from keys sorted ascending, of score and, in bit 0, truth. Walks down from
 * the highest score; rows of one score stand and fall together. */
static void ranking_areas(const uint64_t *keys, size_t n, size_t n_positive, double *ret_roc,
                          double *ret_pr)
{
    size_t n_negative = n - n_positive;
    size_t true_positive = 0;
    double twice_pairs = 0.0; /* 2 x pairs in the right order; exact up to 2^53 */
    double precision_sum = 0.0;
    for (size_t end = n; end > 0;) {
        size_t begin = end, positive = 0;
        while (begin > 0 && keys[begin - 1] >> 32 == keys[end - 1] >> 32)
            positive += keys[--begin] & 1;
        size_t negative = end - begin - positive;
        twice_pairs += (double)negative * (double)(2 * true_positive + positive);
        true_positive += positive;
        precision_sum += (double)positive * ((double)true_positive / (double)(n - begin));
        end = begin;
    }
    if (n_positive > 0 && n_negative > 0)
        *ret_roc = twice_pairs / (2.0 * (double)n_positive * (double)n_negative);
    if (n_positive > 0) *ret_pr = precision_sum / (double)n_positive;
}

/* Areas of every class, and their mean. keys (n) and spare (n) are scratch. */
static void rank_classes(const float *p, const uint16_t *y, struct seg_classification *c,
                         uint64_t *keys, uint64_t *spare)
{
    double roc_sum = 0.0, pr_sum = 0.0;
    uint32_t n_roc = 0, n_pr = 0;
    for (uint32_t j = 0; j < c->n_classes; j++) {
        struct seg_class_metrics *m = &c->classes[j];
        for (size_t i = 0; i < c->n_rows; i++) {
            if (i % PASS == 0) seg_pool_give_way();
            /* + 0: the zeros are one score */
            keys[i] = (uint64_t)seg_float_key(p[i * c->n_classes + j] + 0.0f) << 32 | (y[i] == j);
        }
        const uint64_t *sorted = radix_sort(keys, spare, c->n_rows);
        m->roc_auc = m->pr_auc = NAN;
        ranking_areas(sorted, c->n_rows, m->support, &m->roc_auc, &m->pr_auc);
        if (!isnan(m->roc_auc)) {
            roc_sum += m->roc_auc;
            n_roc++;
        }
        if (!isnan(m->pr_auc)) {
            pr_sum += m->pr_auc;
            n_pr++;
        }
    }
    if (c->n_classes == 2) {
        c->roc_auc = c->classes[1].roc_auc;
        c->pr_auc = c->classes[1].pr_auc;
        return;
    }
    c->roc_auc = n_roc > 0 ? roc_sum / n_roc : NAN;
    c->pr_auc = n_pr > 0 ? pr_sum / n_pr : NAN;
}

static double row_log_loss(const float *p, uint32_t n_classes, uint16_t y)
{
    double sum = 0.0, of_y = 0.0;
    for (uint32_t j = 0; j < n_classes; j++) {
        double clipped = (double)p[j];
        if (clipped < LOG_LOSS_CLIP) clipped = LOG_LOSS_CLIP;
        if (clipped > 1.0 - LOG_LOSS_CLIP) clipped = 1.0 - LOG_LOSS_CLIP;
        sum += clipped;
        if (j == y) of_y = clipped;
    }
    return -log(of_y / sum);
}

/* Confusion, accuracy and log loss. */
static void count_rows(const float *p, const uint16_t *y, struct seg_classification *c)
{
    size_t n_right = 0;
    for (size_t i = 0; i < c->n_rows; i++) {
        const float *row = p + i * c->n_classes;
        uint32_t top = 0;
        if (i % LOSSES == 0) seg_pool_give_way();
        for (uint32_t j = 1; j < c->n_classes; j++)
            if (row[j] > row[top]) top = j;
        c->confusion[(size_t)y[i] * c->n_classes + top]++;
        n_right += top == y[i];
        c->log_loss += row_log_loss(row, c->n_classes, y[i]);
    }
    c->accuracy = (double)n_right / (double)c->n_rows;
    c->log_loss /= (double)c->n_rows;
}

static double ratio_or_zero(double a, double b)
{
    return b > 0.0 ? a / b : 0.0;
}

/* Precision, recall and F1 of every class from the confusion, and their means. */
static void weigh_classes(struct seg_classification *c)
{
    uint32_t n_seen = 0;
    for (uint32_t j = 0; j < c->n_classes; j++) {
        struct seg_class_metrics *m = &c->classes[j];
        uint64_t support = 0, predicted = 0;
        for (uint32_t k = 0; k < c->n_classes; k++) {
            support += c->confusion[(size_t)j * c->n_classes + k];
            predicted += c->confusion[(size_t)k * c->n_classes + j];
        }
        double right = (double)c->confusion[(size_t)j * c->n_classes + j];
        m->support = support;
        m->precision = ratio_or_zero(right, (double)predicted);
        m->recall = ratio_or_zero(right, (double)support);
        m->f1 = ratio_or_zero(2.0 * right, (double)(support + predicted));
        if (support + predicted == 0) continue;
        n_seen++;
        c->macro_precision += m->precision;
        c->macro_recall += m->recall;
        c->macro_f1 += m->f1;
    }
    c->macro_precision /= n_seen;
    c->macro_recall /= n_seen;
    c->macro_f1 /= n_seen;
}

enum seg_status seg_classification_evaluate(const float *p, const uint16_t *y, size_t n,
                                            uint32_t n_classes, struct seg_classification *ret_c,
                                            struct seg_error *err)
{
    if (n == 0) return seg_fail(err, SEG_EINVAL, "no rows to evaluate");
    if (n_classes < 1 || n_classes > SEG_CLASSES_MAX)
        return seg_fail(err, SEG_EINVAL, "%u classes (limit 1 to %u)", n_classes, SEG_CLASSES_MAX);
    for (size_t i = 0; i < n; i++)
        if (y[i] >= n_classes)
            return seg_fail(err, SEG_EINVAL, "class is %u at row %zu (limit %u)", y[i], i,
                            n_classes - 1);

    enum seg_status st = SEG_OK;
    struct seg_classification c = { .n_rows = n, .n_classes = n_classes };
    uint64_t *keys = seg_alloc(n, sizeof *keys), *spare = seg_alloc(n, sizeof *spare);
    c.classes = seg_calloc(n_classes, sizeof *c.classes);
    c.confusion = seg_calloc((size_t)n_classes * n_classes, sizeof *c.confusion);
    if (keys == NULL || spare == NULL || c.classes == NULL || c.confusion == NULL) {
        st = seg_fail(err, SEG_ENOMEM, "out of memory for metrics of %zu rows", n);
        goto out;
    }
    count_rows(p, y, &c);
    weigh_classes(&c);
    rank_classes(p, y, &c, keys, spare);
    *ret_c = c;
    c = (struct seg_classification){ 0 };
out:
    seg_classification_release(&c);
    seg_free(keys);
    seg_free(spare);
    return st;
}

void seg_classification_release(struct seg_classification *c)
{
    seg_free(c->classes);
    seg_free(c->confusion);
    *c = (struct seg_classification){ 0 };
}
