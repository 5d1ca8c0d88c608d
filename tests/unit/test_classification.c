/* test_classification.c - metrics against scikit-learn's figures and against their definitions.
 * The figures were made by tests/reference/classification.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "evaluate/classification.h"

#define N_MAX 500

static void assert_near(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-9) && !(isnan(got) && isnan(wanted)))
        fail_msg("%.12g is not %.12g", got, wanted);
}

/* The rows of the reference script: scores of 64 levels, so that many are equal. */
static void reference_rows(size_t n, uint32_t n_classes, uint32_t n_true, float *p, uint16_t *y)
{
    uint32_t state = 12345;
    for (size_t i = 0; i < n; i++) {
        uint32_t levels[8], sum = 0;
        state = (state * 1103515245u + 12345u) & 0x7fffffffu;
        y[i] = (uint16_t)((state >> 16) % n_true);
        for (uint32_t j = 0; j < n_classes; j++) {
            state = (state * 1103515245u + 12345u) & 0x7fffffffu;
            levels[j] = 1 + (state >> 16) % 64 + (j == y[i] ? 40 : 0);
            sum += levels[j];
        }
        for (uint32_t j = 0; j < n_classes; j++)
            p[i * n_classes + j] = (float)levels[j] / (float)sum;
    }
}

struct expected_class {
    size_t support;
    double precision, recall, f1, roc_auc, pr_auc;
};

struct expected {
    size_t n;
    uint32_t n_classes, n_true;
    double accuracy, macro_precision, macro_recall, macro_f1, log_loss, roc_auc, pr_auc;
    struct expected_class classes[4];
    uint64_t confusion[16];
};

static void check_reference(const struct expected *e)
{
    static float p[N_MAX * 4];
    static uint16_t y[N_MAX];
    struct seg_classification c = { 0 };
    reference_rows(e->n, e->n_classes, e->n_true, p, y);
    assert_int_equal(seg_classification_evaluate(p, y, e->n, e->n_classes, &c, NULL), SEG_OK);
    assert_int_equal(c.n_rows, e->n);
    assert_near(c.accuracy, e->accuracy);
    assert_near(c.macro_precision, e->macro_precision);
    assert_near(c.macro_recall, e->macro_recall);
    assert_near(c.macro_f1, e->macro_f1);
    assert_near(c.log_loss, e->log_loss);
    assert_near(c.roc_auc, e->roc_auc);
    assert_near(c.pr_auc, e->pr_auc);
    for (uint32_t j = 0; j < e->n_classes; j++) {
        const struct expected_class *want = &e->classes[j];
        const struct seg_class_metrics *got = &c.classes[j];
        assert_int_equal(got->support, want->support);
        assert_near(got->precision, want->precision);
        assert_near(got->recall, want->recall);
        assert_near(got->f1, want->f1);
        assert_near(got->roc_auc, want->roc_auc);
        assert_near(got->pr_auc, want->pr_auc);
    }
    assert_memory_equal(c.confusion, e->confusion,
                        (size_t)e->n_classes * e->n_classes * sizeof(uint64_t));
    seg_classification_release(&c);
}

static void two_classes_give_the_figures_of_scikit_learn(void **state)
{
    (void)state;
    const struct expected e = {
        500,
        2,
        2,
        0.924,
        0.923860143442623,
        0.9240502274328912,
        0.9239403692494916,
        0.38633941710240144,
        0.9812287782689474,
        0.9831437295373766,
        { { 242, 0.9180327868852459, 0.9256198347107438, 0.9218106995884774, 0.9812287782689475,
            0.9810219251332418 },
          { 258, 0.9296875, 0.9224806201550387, 0.9260700389105059, 0.9812287782689474,
            0.9831437295373766 } },
        { 224, 18, 20, 238 },
    };
    check_reference(&e);
}

static void four_classes_give_the_figures_of_scikit_learn(void **state)
{
    (void)state;
    const struct expected e = {
        500,
        4,
        4,
        0.864,
        0.86214957570537,
        0.8651369704145955,
        0.8627870371501039,
        0.8454403654397179,
        0.9687585069475193,
        0.9231013664570211,
        { { 153, 0.9280575539568345, 0.8431372549019608, 0.8835616438356164, 0.9740916539526474,
            0.9481972131999044 },
          { 107, 0.8691588785046729, 0.8691588785046729, 0.8691588785046729, 0.9734132363082924,
            0.9261461966027458 },
          { 110, 0.811965811965812, 0.8636363636363636, 0.8370044052863437, 0.9606060606060606,
            0.8935165740405738 },
          { 130, 0.8394160583941606, 0.8846153846153846, 0.8614232209737828, 0.966923076923077,
            0.9245454819848609 } },
        { 129, 7, 8, 9, 5, 93, 3, 6, 2, 6, 95, 7, 3, 1, 11, 115 },
    };
    check_reference(&e);
}

static void a_class_that_is_only_predicted_counts_in_the_means(void **state)
{
    (void)state;
    const struct expected e = {
        300,
        4,
        3,
        0.8566666666666667,
        0.6767554116447803,
        0.6413839783405001,
        0.658512118412561,
        0.8683907152073914,
        0.9581552371552027,
        0.9284998940717477,
        { { 92, 0.8888888888888888, 0.8695652173913043, 0.8791208791208792, 0.9700041806020067,
            0.940293562822351 },
          { 91, 0.8823529411764706, 0.8241758241758241, 0.8522727272727273, 0.9479205005520795,
            0.9047942234889871 },
          { 117, 0.9357798165137615, 0.8717948717948718, 0.9026548672566371, 0.956541030311522,
            0.9404118959039047 },
          { 0, 0.0, 0.0, 0.0, NAN, NAN } },
        { 80, 3, 4, 5, 7, 75, 3, 6, 3, 7, 102, 5, 0, 0, 0, 0 },
    };
    check_reference(&e);
}

/* Share of (positive, negative) pairs in the right order, ties half. */
static double twin_roc(const float *score, const uint16_t *y, size_t n, uint16_t class)
{
    double right = 0.0, pairs = 0.0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            if (y[i] != class || y[j] == class) continue;
            pairs += 1.0;
            right += score[i] > score[j] ? 1.0 : score[i] == score[j] ? 0.5 : 0.0;
        }
    return right / pairs;
}

/* Mean over positives of the precision among all rows scored at least as high. */
static double twin_pr(const float *score, const uint16_t *y, size_t n, uint16_t class)
{
    double sum = 0.0, positives = 0.0;
    for (size_t i = 0; i < n; i++) {
        if (y[i] != class) continue;
        double above = 0.0, right = 0.0;
        for (size_t j = 0; j < n; j++) {
            above += score[j] >= score[i];
            right += score[j] >= score[i] && y[j] == class;
        }
        sum += right / above;
        positives += 1.0;
    }
    return sum / positives;
}

static void areas_are_their_definitions_whatever_the_ties(void **state)
{
    (void)state;
    enum { N = 300 };
    static float p[N * 2], score[N];
    static uint16_t y[N];
    struct seg_rng rng = seg_rng_make(9, 9);
    for (uint64_t levels = 2; levels <= 100000; levels *= 7) {
        struct seg_classification c = { 0 };
        for (size_t i = 0; i < N; i++) {
            y[i] = seg_rng_below(&rng, 4) == 0;
            score[i] = (float)seg_rng_below(&rng, levels) / (float)(levels - 1);
            if (levels > 1000 && i % 5 == 0) score[i] *= 1e-30f; /* exponents far apart */
            p[2 * i] = 1.0f - score[i];
            p[2 * i + 1] = score[i];
        }
        assert_int_equal(seg_classification_evaluate(p, y, N, 2, &c, NULL), SEG_OK);
        assert_near(c.roc_auc, twin_roc(score, y, N, 1));
        assert_near(c.pr_auc, twin_pr(score, y, N, 1));
        seg_classification_release(&c);
    }
}

static void equal_scores_rank_nothing(void **state)
{
    (void)state;
    const float p[] = { 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f };
    const uint16_t y[] = { 0, 1, 1, 1 };
    struct seg_classification c = { 0 };
    assert_int_equal(seg_classification_evaluate(p, y, 4, 2, &c, NULL), SEG_OK);
    assert_near(c.roc_auc, 0.5);
    assert_near(c.pr_auc, 0.75);
    assert_near(c.accuracy, 0.25); /* a tie goes to the lower class */
    assert_near(c.log_loss, log(2.0));
    seg_classification_release(&c);
}

static void minus_zero_ranks_as_zero(void **state)
{
    (void)state;
    const float p[] = { 1.0f, -0.0f, 1.0f, 0.0f };
    const uint16_t y[] = { 1, 0 };
    struct seg_classification c = { 0 };
    assert_int_equal(seg_classification_evaluate(p, y, 2, 2, &c, NULL), SEG_OK);
    assert_near(c.roc_auc, 0.5);
    seg_classification_release(&c);
}

static void one_class_alone_has_no_roc(void **state)
{
    (void)state;
    const float p[] = { 0.25f, 0.75f, 0.5f, 0.5f };
    const uint16_t y[] = { 1, 1 };
    struct seg_classification c = { 0 };
    assert_int_equal(seg_classification_evaluate(p, y, 2, 2, &c, NULL), SEG_OK);
    assert_true(isnan(c.roc_auc));
    assert_near(c.pr_auc, 1.0);
    assert_true(isnan(c.classes[0].roc_auc));
    assert_true(isnan(c.classes[0].pr_auc));
    assert_near(c.classes[1].recall, 0.5);
    assert_near(c.macro_recall, 0.25); /* class 0 was predicted once */
    seg_classification_release(&c);

    const float sure[] = { 1.0f, 1.0f };
    const uint16_t zeros[] = { 0, 0 };
    assert_int_equal(seg_classification_evaluate(sure, zeros, 2, 1, &c, NULL), SEG_OK);
    assert_near(c.accuracy, 1.0);
    assert_near(c.macro_f1, 1.0);
    assert_near(c.log_loss, 0.0);
    assert_true(isnan(c.roc_auc));
    seg_classification_release(&c);
}

static void certainty_that_is_wrong_costs_a_finite_loss(void **state)
{
    (void)state;
    const float p[] = { 1.0f, 0.0f };
    const uint16_t y[] = { 1 };
    struct seg_classification c = { 0 };
    assert_int_equal(seg_classification_evaluate(p, y, 1, 2, &c, NULL), SEG_OK);
    assert_near(c.log_loss, -log(1e-7));
    seg_classification_release(&c);
}

static void nonsense_is_refused(void **state)
{
    (void)state;
    const float p[] = { 0.5f, 0.5f };
    const uint16_t y[] = { 2 };
    struct seg_classification c = { 0 };
    struct seg_error err = { 0 };
    assert_int_equal(seg_classification_evaluate(p, y, 0, 2, &c, &err), SEG_EINVAL);
    assert_string_equal(err.text, "no rows to evaluate");
    assert_int_equal(seg_classification_evaluate(p, y, 1, 2, &c, &err), SEG_EINVAL);
    assert_string_equal(err.text, "class is 2 at row 0 (limit 1)");
    assert_int_equal(seg_classification_evaluate(p, y, 1, 0, &c, &err), SEG_EINVAL);
    assert_int_equal(seg_classification_evaluate(p, y, 1, SEG_CLASSES_MAX + 1, &c, &err),
                     SEG_EINVAL);
    assert_null(c.classes);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    const float p[] = { 0.5f, 0.5f };
    const uint16_t y[] = { 1 };
    struct seg_classification c = { 0 };
    enum seg_status st = SEG_ENOMEM;
    uint64_t n = 0;
    while (st == SEG_ENOMEM) {
        seg_alloc_fail_at(++n);
        st = seg_classification_evaluate(p, y, 1, 2, &c, NULL);
    }
    seg_alloc_fail_at(0);
    assert_int_equal(st, SEG_OK);
    assert_int_equal(n, 5);
    seg_classification_release(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_classes_give_the_figures_of_scikit_learn),
        cmocka_unit_test(four_classes_give_the_figures_of_scikit_learn),
        cmocka_unit_test(a_class_that_is_only_predicted_counts_in_the_means),
        cmocka_unit_test(areas_are_their_definitions_whatever_the_ties),
        cmocka_unit_test(equal_scores_rank_nothing),
        cmocka_unit_test(minus_zero_ranks_as_zero),
        cmocka_unit_test(one_class_alone_has_no_roc),
        cmocka_unit_test(certainty_that_is_wrong_costs_a_finite_loss),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
