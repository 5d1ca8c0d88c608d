/* test_mlp_search.c - cross-validation and search on classes of which much, or nothing, can be
 * known. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "base/alloc.h"
#include "base/rng.h"
#include "model/mlp_search.h"

struct rows {
    struct seg_tiles x;
    uint16_t *y;
};

/* Two normal columns. Class: how many of n_classes - 1 thresholds their product is above, which no
 * linear model finds; or drawn without a look at them. */
static struct rows rows_new(size_t n, uint32_t n_classes, bool is_random, uint64_t seed)
{
    struct seg_rng rng = seg_rng_make(seed, 1);
    struct rows rows;
    float *x = seg_alloc(n * 2, sizeof *x);
    rows.y = seg_alloc(n, sizeof *rows.y);
    assert_non_null(x);
    assert_non_null(rows.y);
    for (size_t i = 0; i < n; i++) {
        x[2 * i] = (float)seg_rng_normal(&rng);
        x[2 * i + 1] = (float)seg_rng_normal(&rng);
        const float product = x[2 * i] * x[2 * i + 1];
        rows.y[i] = 0;
        for (uint32_t c = 1; c < n_classes; c++)
            if (product > (float)(c - 1) * 0.5f) rows.y[i]++;
        if (is_random) rows.y[i] = (uint16_t)seg_rng_below(&rng, n_classes);
    }
    assert_int_equal(seg_tiles_from_rows(&rows.x, x, n, 2), SEG_OK);
    seg_free(x);
    return rows;
}

static void rows_release(struct rows *rows)
{
    seg_tiles_release(&rows->x);
    seg_free(rows->y);
}

static const struct seg_train_params TRAIN = { .hidden = { 16 },
                                               .n_hidden = 1,
                                               .activation = SEG_TANH,
                                               .learning_rate = 0.02,
                                               .batch_size = 64,
                                               .epochs = 30,
                                               .patience = 10,
                                               .seed = 5 };

static struct seg_mlp_cv_params cv_params(uint32_t folds)
{
    return (struct seg_mlp_cv_params){ .folds = folds, .validation = 0.2, .train = TRAIN };
}

static struct seg_mlp_search_params search_params(uint32_t trials)
{
    return (struct seg_mlp_search_params){ .trials = trials, .base = TRAIN, .seed = 11 };
}

static struct seg_mlp_search search(struct seg_pool *pool, const struct rows *train,
                                    const struct rows *val, uint32_t n_classes,
                                    const struct seg_mlp_search_params *p)
{
    struct seg_mlp_search s;
    struct seg_error err = { "" };
    if (seg_mlp_search(pool, &train->x, train->y, &val->x, val->y, n_classes, p, NULL, &s, &err) !=
        SEG_OK)
        fail_msg("%s", err.text);
    return s;
}

static void cv_is_high_where_classes_can_be_known_and_a_coin_where_not(void **state)
{
    (void)state;
    for (int is_random = 0; is_random < 2; is_random++) {
        struct rows rows = rows_new(900, 2, is_random, 1);
        const struct seg_mlp_cv_params p = cv_params(3);
        struct seg_mlp_cv cv;
        assert_int_equal(seg_mlp_cv(NULL, &rows.x, rows.y, 2, &p, NULL, &cv, NULL), SEG_OK);
        if (is_random) {
            assert_true(cv.roc_auc.mean > 0.42 && cv.roc_auc.mean < 0.58);
            assert_true(cv.log_loss.mean > 0.65);
        } else {
            assert_true(cv.roc_auc.mean > 0.97 && cv.accuracy.mean > 0.9);
            assert_true(cv.log_loss.mean < 0.3);
        }
        assert_true(cv.roc_auc.sd > 0 && cv.roc_auc.sd < 0.1);
        rows_release(&rows);
    }
}

/* Five rows of the rare class and five folds: each has one, or AUC would be NaN. */
static void cv_deals_a_rare_class_over_all_folds(void **state)
{
    (void)state;
    struct rows rows = rows_new(100, 2, true, 2);
    for (size_t i = 0; i < 100; i++)
        rows.y[i] = i < 5;
    struct seg_mlp_cv_params p = cv_params(5);
    struct seg_mlp_cv cv;
    p.train.epochs = 2;
    assert_int_equal(seg_mlp_cv(NULL, &rows.x, rows.y, 2, &p, NULL, &cv, NULL), SEG_OK);
    assert_true(isfinite(cv.roc_auc.mean) && isfinite(cv.roc_auc.sd));
    rows_release(&rows);
}

static void cv_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct rows rows = rows_new(300, 3, false, 3);
    const struct seg_mlp_cv_params p = cv_params(4);
    struct seg_mlp_cv alone, together;
    struct seg_pool *pool;
    assert_int_equal(seg_mlp_cv(NULL, &rows.x, rows.y, 3, &p, NULL, &alone, NULL), SEG_OK);
    assert_int_equal(seg_pool_new(4, 4, &pool, NULL), SEG_OK);
    assert_int_equal(seg_mlp_cv(pool, &rows.x, rows.y, 3, &p, NULL, &together, NULL), SEG_OK);
    assert_memory_equal(&alone, &together, sizeof alone);
    seg_pool_free(pool);
    rows_release(&rows);
}

static void cv_refuses_bad_params_and_classes(void **state)
{
    (void)state;
    struct rows rows = rows_new(10, 2, true, 4);
    struct seg_mlp_cv_params p = cv_params(11);
    struct seg_error err = { "" };
    struct seg_mlp_cv cv;
    assert_int_equal(seg_mlp_cv(NULL, &rows.x, rows.y, 2, &p, NULL, &cv, &err), SEG_EINVAL);
    assert_string_equal(err.text, "more folds than rows");
    p = cv_params(1);
    assert_non_null(seg_mlp_cv_check(&p, 10));
    p = cv_params(2);
    assert_null(seg_mlp_cv_check(&p, 10));
    rows.y[7] = 2;
    assert_int_equal(seg_mlp_cv(NULL, &rows.x, rows.y, 2, &p, NULL, &cv, &err), SEG_EINVAL);
    assert_string_equal(err.text, "class is 2 at row 7 (limit 1)");
    rows_release(&rows);
}

static void search_beats_a_start_that_cannot_learn(void **state)
{
    (void)state;
    for (uint32_t n_classes = 2; n_classes <= 3; n_classes++) {
        struct rows train = rows_new(1000, n_classes, false, 5),
                    val = rows_new(500, n_classes, false, 6);
        struct seg_mlp_search_params p = search_params(9);
        p.base.n_hidden = 0; /* logistic regression of a product */
        struct seg_mlp_search s = search(NULL, &train, &val, n_classes, &p);
        assert_int_equal(s.n_trials, 9);
        assert_int_equal(s.trials[0].params.n_hidden, 0);
        assert_int_equal(s.trials[0].epochs, 30); /* it always goes to the end */
        assert_true(s.best.n_hidden > 0);
        assert_int_equal(s.best.epochs, 30);
        assert_true(s.score > s.trials[0].score + 0.2);
        assert_true(n_classes == 3 || s.score > 0.95);
        size_t n_rung[3] = { 0, 0, 0 };
        for (size_t i = 0; i < s.n_trials; i++) {
            const uint32_t e = s.trials[i].epochs;
            assert_true(e == 4 || e == 10 || e == 30);
            n_rung[e == 4 ? 0 : e == 10 ? 1 : 2]++;
            assert_null(seg_train_check(&s.trials[i].params));
            if (e == 30) assert_true(s.trials[i].score <= s.score);
        }
        /* 9, then 3 and trial 0, then 2 of these 4 and trial 0 */
        assert_int_equal(n_rung[0], 5);
        assert_true(n_rung[2] == 2 || n_rung[2] == 3);
        assert_non_null(strstr(s.reason, n_classes == 2 ? "ROC AUC" : "log loss"));
        seg_mlp_search_release(&s);
        rows_release(&train);
        rows_release(&val);
    }
}

static void search_of_one_trial_is_what_it_began_with(void **state)
{
    (void)state;
    struct rows train = rows_new(200, 2, false, 7), val = rows_new(100, 2, false, 8);
    const struct seg_mlp_search_params p = search_params(1);
    struct seg_mlp_search s = search(NULL, &train, &val, 2, &p);
    assert_memory_equal(&s.best, &TRAIN, sizeof TRAIN);
    seg_mlp_search_release(&s);
    rows_release(&train);
    rows_release(&val);
}

static void a_trial_does_not_depend_on_how_many_there_are_nor_on_workers(void **state)
{
    (void)state;
    struct rows train = rows_new(200, 2, false, 9), val = rows_new(100, 2, false, 10);
    struct seg_mlp_search_params p = search_params(40);
    p.base.epochs = 9;
    struct seg_mlp_search alone = search(NULL, &train, &val, 2, &p);
    struct seg_pool *pool;
    assert_int_equal(seg_pool_new(4, 4, &pool, NULL), SEG_OK);
    struct seg_mlp_search together = search(pool, &train, &val, 2, &p);
    assert_string_equal(alone.reason, together.reason);
    for (size_t i = 0; i < 40; i++)
        assert_true(alone.trials[i].score == together.trials[i].score);
    p.trials = 4;
    struct seg_mlp_search few = search(pool, &train, &val, 2, &p);
    for (size_t i = 0; i < 4; i++)
        assert_memory_equal(&few.trials[i].params, &alone.trials[i].params,
                            sizeof few.trials[i].params);
    seg_mlp_search_release(&few);
    seg_mlp_search_release(&together);
    seg_mlp_search_release(&alone);
    seg_pool_free(pool);
    rows_release(&train);
    rows_release(&val);
}

static void a_wide_space_draws_the_basic_options_and_more(void **state)
{
    (void)state;
    struct rows train = rows_new(200, 2, false, 9), val = rows_new(100, 2, false, 10);
    struct seg_mlp_search_params p = search_params(30);
    p.base.epochs = 20;
    struct seg_mlp_search basic = search(NULL, &train, &val, 2, &p);
    p.space = SEG_SPACE_WIDE;
    struct seg_mlp_search wide = search(NULL, &train, &val, 2, &p);
    unsigned n[3] = { 0 }, n_cosine = 0, n_warm = 0, n_smooth = 0, n_clipped = 0;
    assert_memory_equal(&wide.trials[0].params, &p.base, sizeof p.base);
    for (size_t i = 0; i < 30; i++) {
        const struct seg_train_params *b = &basic.trials[i].params, *w = &wide.trials[i].params;
        assert_true(b->learning_rate == w->learning_rate && b->dropout == w->dropout);
        assert_int_equal(b->hidden[0], w->hidden[0]);
        assert_int_equal(b->normalization, SEG_NORMALIZE_NONE);
        assert_int_equal(b->schedule, SEG_SCHEDULE_CONSTANT);
        assert_true(isfinite(wide.trials[i].score));
        n[w->normalization]++;
        n_cosine += w->schedule == SEG_SCHEDULE_COSINE;
        n_warm += w->warmup_epochs > 0;
        n_smooth += w->label_smoothing > 0;
        n_clipped += w->clip_norm > 0;
    }
    for (int how = SEG_NORMALIZE_NONE; how <= SEG_NORMALIZE_LAYER; how++)
        assert_true(n[how] > 0);
    assert_true(n_cosine > 0 && n_warm > 0 && n_smooth > 0 && n_clipped > 0);
    seg_mlp_search_release(&basic);
    seg_mlp_search_release(&wide);
    rows_release(&train);
    rows_release(&val);
}

static void search_out_of_time_keeps_its_first_group(void **state)
{
    (void)state;
    struct rows train = rows_new(100, 2, false, 9), val = rows_new(100, 2, false, 10);
    struct seg_mlp_search_params p = search_params(80);
    p.base.epochs = 2;
    p.seconds_max = 1e-9;
    struct seg_mlp_search s = search(NULL, &train, &val, 2, &p);
    assert_int_equal(s.n_trials, 32);
    assert_true(isfinite(s.score));
    seg_mlp_search_release(&s);
    rows_release(&train);
    rows_release(&val);
}

static void search_outlives_a_start_that_diverges(void **state)
{
    (void)state;
    struct rows train = rows_new(200, 2, false, 9), val = rows_new(100, 2, false, 10);
    struct seg_mlp_search_params p = search_params(4);
    struct seg_error err = { "" };
    struct seg_mlp_search s;
    p.base.optimizer = SEG_SGD;
    p.base.learning_rate = 1e38;
    p.base.activation = SEG_LINEAR;
    struct seg_mlp_search found = search(NULL, &train, &val, 2, &p);
    assert_true(isinf(found.trials[0].score) && isfinite(found.score));
    assert_non_null(strstr(found.reason, "diverged"));
    seg_mlp_search_release(&found);
    p.trials = 1;
    assert_int_equal(seg_mlp_search(NULL, &train.x, train.y, &val.x, val.y, 2, &p, NULL, &s, &err),
                     SEG_EINVAL);
    assert_non_null(strstr(err.text, "diverged"));
    rows_release(&train);
    rows_release(&val);
}

static void search_refuses_bad_params_and_rows(void **state)
{
    (void)state;
    struct rows train = rows_new(50, 2, false, 9), val = rows_new(20, 2, false, 10);
    struct seg_mlp_search_params p = search_params(0);
    struct seg_error err = { "" };
    struct seg_mlp_search s;
    assert_string_equal(seg_mlp_search_check(&p), "trials must be 1 to 1000");
    p = search_params(2);
    p.seconds_max = NAN;
    assert_non_null(seg_mlp_search_check(&p));
    p = search_params(2);
    memset(val.y, 0, 20 * sizeof *val.y);
    assert_int_equal(seg_mlp_search(NULL, &train.x, train.y, &val.x, val.y, 2, &p, NULL, &s, &err),
                     SEG_EINVAL);
    assert_string_equal(err.text, "the validation rows are all of one class");
    rows_release(&train);
    rows_release(&val);
}

static void search_and_cv_stop_when_cancelled(void **state)
{
    (void)state;
    struct rows rows = rows_new(50, 2, false, 9);
    const struct seg_mlp_search_params p = search_params(2);
    const struct seg_mlp_cv_params q = cv_params(2);
    const atomic_bool cancel = true;
    const struct seg_progress progress = { .cancel = &cancel };
    struct seg_mlp_search s;
    struct seg_mlp_cv cv;
    assert_int_equal(
        seg_mlp_search(NULL, &rows.x, rows.y, &rows.x, rows.y, 2, &p, &progress, &s, NULL),
        SEG_ECANCELED);
    assert_int_equal(seg_mlp_cv(NULL, &rows.x, rows.y, 2, &q, &progress, &cv, NULL), SEG_ECANCELED);
    rows_release(&rows);
}

static void search_and_cv_survive_every_failed_allocation(void **state)
{
    (void)state;
    struct rows rows = rows_new(50, 2, false, 9);
    struct seg_mlp_search_params p = search_params(2);
    struct seg_mlp_cv_params q = cv_params(2);
    p.base.epochs = q.train.epochs = 1;
    for (int which = 0; which < 2; which++) {
        enum seg_status st = SEG_ENOMEM;
        for (uint64_t n = 1; st == SEG_ENOMEM; n++) {
            struct seg_mlp_search s = { 0 };
            struct seg_mlp_cv cv;
            struct seg_error err = { "" };
            seg_alloc_fail_at(n);
            st = which ? seg_mlp_cv(NULL, &rows.x, rows.y, 2, &q, NULL, &cv, &err)
                       : seg_mlp_search(NULL, &rows.x, rows.y, &rows.x, rows.y, 2, &p, NULL, &s,
                                        &err);
            seg_alloc_fail_at(0);
            assert_true(st == SEG_OK || err.text[0] != '\0');
            if (st == SEG_OK) seg_mlp_search_release(&s);
            assert_true(st == SEG_ENOMEM || n > 20);
        }
        assert_int_equal(st, SEG_OK);
    }
    rows_release(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cv_is_high_where_classes_can_be_known_and_a_coin_where_not),
        cmocka_unit_test(cv_deals_a_rare_class_over_all_folds),
        cmocka_unit_test(cv_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(cv_refuses_bad_params_and_classes),
        cmocka_unit_test(search_beats_a_start_that_cannot_learn),
        cmocka_unit_test(search_of_one_trial_is_what_it_began_with),
        cmocka_unit_test(a_trial_does_not_depend_on_how_many_there_are_nor_on_workers),
        cmocka_unit_test(a_wide_space_draws_the_basic_options_and_more),
        cmocka_unit_test(search_out_of_time_keeps_its_first_group),
        cmocka_unit_test(search_outlives_a_start_that_diverges),
        cmocka_unit_test(search_refuses_bad_params_and_rows),
        cmocka_unit_test(search_and_cv_stop_when_cancelled),
        cmocka_unit_test(search_and_cv_survive_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
