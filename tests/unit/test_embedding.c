/* test_embedding.c - vectors for categories: look-up, gradient against a float64 twin, training at
 * any worker count, storage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "gradient_twin.h"
#include "neural/embedding.h"

/* Columns: number, code, number, code; 3 + 4 numbers of vectors among them. */
static const struct seg_embedding_shape SHAPES[] = { { 1, 5, 3 }, { 3, 40, 4 } };
enum { N_IN = 4, N_COLUMNS = 9 };

static struct seg_embeddings drawn(uint64_t seed)
{
    struct seg_embeddings e;
    struct seg_rng rng = seg_rng_make(seed, 0);
    assert_int_equal(seg_embeddings_init(&e, SHAPES, 2, N_IN, &rng), SEG_OK);
    return e;
}

static void codes_become_their_vectors_and_numbers_pass(void **state)
{
    (void)state;
    struct seg_embeddings e = drawn(1);
    _Alignas(64) float x[N_IN * ROWS], out[N_COLUMNS * ROWS];
    assert_int_equal(e.n_out, N_COLUMNS);
    for (size_t r = 0; r < ROWS; r++) {
        x[r] = (float)r;
        x[ROWS + r] = (float)(r % 5);
        x[2 * ROWS + r] = -(float)r;
        x[3 * ROWS + r] = (float)(r % 40);
    }
    seg_embeddings_expand(&e, x, out);
    for (size_t r = 0; r < ROWS; r++) {
        assert_true(out[r] == (float)r && out[4 * ROWS + r] == -(float)r);
        for (size_t j = 0; j < 3; j++)
            assert_true(out[(1 + j) * ROWS + r] == e.params[r % 5 * 3 + j]);
        for (size_t j = 0; j < 4; j++)
            assert_true(out[(5 + j) * ROWS + r] == e.params[15 + r % 40 * 4 + j]);
    }
    seg_embeddings_release(&e);
}

static void what_is_no_code_reads_the_last_vector_and_nothing_beyond(void **state)
{
    (void)state;
    struct seg_embeddings e = drawn(2);
    const float odd[] = { 5.0f, -1.0f, 1e30f, -1e30f, NAN, INFINITY, 4.5f, 65536.0f };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        assert_int_equal(seg_embeddings_code(&e, 0, odd[i]), 4);
    assert_int_equal(seg_embeddings_code(&e, 0, 3.0f), 3);
    seg_embeddings_release(&e);
}

static void a_vector_is_as_long_as_a_standardized_number(void **state)
{
    (void)state;
    const struct seg_embedding_shape shape = { 0, 2001, 8 };
    struct seg_rng rng = seg_rng_make(3, 0);
    struct seg_embeddings e;
    double squares = 0.0;
    assert_int_equal(seg_embeddings_init(&e, &shape, 1, 1, &rng), SEG_OK);
    for (size_t i = 0; i < 2000 * 8; i++)
        squares += (double)e.params[i] * (double)e.params[i];
    assert_near(squares / 2000.0, 1.0, 0.03);
    for (size_t j = 0; j < 8; j++)
        assert_true(e.params[2000 * 8 + j] == 0.0f);
    seg_embeddings_release(&e);
}

static void a_size_left_open_grows_with_the_codes_up_to_a_limit(void **state)
{
    (void)state;
    assert_int_equal(seg_embedding_size(2), 3);     /* 1.6 * 1.474 */
    assert_int_equal(seg_embedding_size(100), 22);  /* 1.6 * 13.18 */
    assert_int_equal(seg_embedding_size(4097), 50); /* 1.6 * 105.4 */
}

static void gradients_of_vectors_are_those_of_the_twin(void **state)
{
    (void)state;
    static const uint32_t SIZES[] = { N_COLUMNS, 6, 3 }, ONE_LAYER[] = { N_COLUMNS, 3 };
    struct gradient_case g = { .sizes = SIZES,
                               .n_layers = 2,
                               .hidden = SEG_TANH,
                               .output = SEG_LINEAR,
                               .n = 150,
                               .weighted = true,
                               .embeddings = SHAPES,
                               .n_embeddings = 2 };
    check_gradient(&g);
    g.normalization = SEG_NORMALIZE_LAYER;
    check_gradient(&g);
    g.normalization = SEG_NORMALIZE_BATCH;
    check_gradient(&g);
    g.normalization = SEG_NORMALIZE_NONE;
    g.sizes = ONE_LAYER;
    g.n_layers = 1;
    check_gradient(&g);
    g.n = SEG_BATCH_SLOTS * ROWS + 70; /* a second group */
    g.step = 3;
    check_gradient(&g);
}

/* Rows whose class is decided by their codes, of which the last of each column is never seen. */
struct task {
    struct seg_tiles x;
    uint16_t *y;
};

static struct task make_task(size_t n)
{
    struct task t;
    struct seg_rng rng = seg_rng_make(4, 0);
    float *rows = seg_alloc(n * N_IN, sizeof *rows);
    t.y = seg_alloc(n, sizeof *t.y);
    assert_true(rows != NULL && t.y != NULL);
    for (size_t i = 0; i < n; i++) {
        uint64_t a = seg_rng_below(&rng, 4), b = seg_rng_below(&rng, 39);
        rows[i * N_IN] = (float)seg_rng_normal(&rng);
        rows[i * N_IN + 1] = (float)a;
        rows[i * N_IN + 2] = (float)seg_rng_normal(&rng);
        rows[i * N_IN + 3] = (float)b;
        t.y[i] = (uint16_t)((b * 7 + a) % 3);
    }
    assert_int_equal(seg_tiles_from_rows(&t.x, rows, n, N_IN), SEG_OK);
    seg_free(rows);
    return t;
}

static void task_release(struct task *t)
{
    seg_tiles_release(&t->x);
    seg_free(t->y);
}

static struct seg_train_params embedded(void)
{
    struct seg_train_params p = SMALL;
    p.embeddings = SHAPES;
    p.n_embeddings = 2;
    return p;
}

static struct seg_network trained(struct seg_pool *pool, const struct task *t,
                                  const struct seg_train_params *p, double *ret_loss)
{
    struct seg_network net;
    struct seg_curve curve;
    struct seg_error err = { "" };
    if (seg_classifier_fit(pool, &t->x, t->y, NULL, NULL, 3, p, NULL, &net, &curve, &err) != SEG_OK)
        fail_msg("%s", err.text);
    if (ret_loss != NULL) *ret_loss = curve.train_loss[curve.n_epochs - 1];
    seg_curve_release(&curve);
    return net;
}

static void classes_that_stand_in_the_codes_are_learned(void **state)
{
    (void)state;
    struct task t = make_task(3000);
    struct seg_train_params p = embedded();
    double loss;
    p.epochs = 30;
    struct seg_network net = trained(NULL, &t, &p, &loss);
    assert_true(loss < 0.05);
    assert_int_equal(net.n_in, N_IN);
    seg_network_release(&net);
    task_release(&t);
}

static void training_gives_the_same_bits_at_any_worker_count(void **state)
{
    (void)state;
    struct task t = make_task(2500);
    struct seg_train_params p = embedded();
    p.batch_size = 1200; /* two groups; enough work for a team */
    p.clip_norm = 0.5;
    p.n_hidden = 2;
    p.hidden[0] = p.hidden[1] = 64;
    struct seg_network alone = trained(NULL, &t, &p, NULL);
    for (unsigned workers = 1; workers <= 4; workers *= 2) {
        struct seg_pool *pool;
        assert_int_equal(seg_pool_new(workers, 4, &pool, NULL), SEG_OK);
        struct seg_network net = trained(pool, &t, &p, NULL);
        assert_same_network(&alone, &net);
        seg_network_release(&net);
        seg_pool_free(pool);
    }
    seg_network_release(&alone);
    task_release(&t);
}

static void a_code_that_no_row_has_does_not_move_and_the_last_becomes_the_mean(void **state)
{
    (void)state;
    struct task t = make_task(300);
    struct seg_train_params p = embedded();
    uint64_t n[40] = { 0 };
    double mean[4] = { 0 };
    for (size_t r = 0; r < 300; r++) {
        float *code = seg_tiles_cell(&t.x, r, 3);
        if (*code == 17.0f) *code = 16.0f;
        n[(size_t)*code]++;
    }
    struct seg_network net = trained(NULL, &t, &p, NULL);
    struct seg_rng rng = seg_rng_make(p.seed, SEG_STREAM_TABLES);
    struct seg_embeddings before;
    assert_int_equal(seg_embeddings_init(&before, SHAPES, 2, N_IN, &rng), SEG_OK);
    const float *table = net.embeddings.params + 15;
    assert_memory_equal(table + 17 * 4, before.params + 15 + 17 * 4, 4 * sizeof(float));
    assert_memory_not_equal(table + 16 * 4, before.params + 15 + 16 * 4, 4 * sizeof(float));
    for (size_t code = 0; code < 39; code++)
        for (size_t j = 0; j < 4; j++)
            mean[j] += (double)n[code] / 300.0 * (double)table[code * 4 + j];
    for (size_t j = 0; j < 4; j++)
        assert_near((double)table[39 * 4 + j], mean[j], 1e-6);
    seg_embeddings_release(&before);
    seg_network_release(&net);
    task_release(&t);
}

static void clipping_counts_the_vectors_too(void **state)
{
    (void)state;
    struct task t = make_task(100);
    struct seg_train_params p = embedded();
    p.optimizer = SEG_SGD;
    p.momentum = 0;
    p.learning_rate = 1.0;
    p.epochs = 1;
    p.clip_norm = 1e-3;
    struct seg_network net = trained(NULL, &t, &p, NULL);
    p.clip_norm = 0;
    p.learning_rate = 1e-30; /* stands still */
    struct seg_network before = trained(NULL, &t, &p, NULL);
    double squares = 0.0, tables = 0.0;
    double *a = flat_params(&net), *b = flat_params(&before);
    const size_t n = seg_network_n_params(&net), n_dense = n - net.embeddings.n_params;
    for (size_t i = 0; i < n; i++) {
        const size_t at = i - n_dense; /* in the tables; the last codes' vectors are means */
        if (i >= n_dense && ((at >= 12 && at < 15) || at >= 15 + 39 * 4)) continue;
        squares += (a[i] - b[i]) * (a[i] - b[i]);
        if (i >= n_dense) tables += (a[i] - b[i]) * (a[i] - b[i]);
    }
    assert_near(sqrt(squares), 1e-3, 2e-5); /* steps are rounded to the last bit of a weight */
    assert_true(tables > 0.01 * squares);
    seg_free(a);
    seg_free(b);
    seg_network_release(&net);
    seg_network_release(&before);
    task_release(&t);
}

static void scores_do_not_depend_on_neighbours(void **state)
{
    (void)state;
    struct task t = make_task(ROWS);
    struct seg_train_params p = embedded();
    struct seg_network net = trained(NULL, &t, &p, NULL);
    size_t n_scratch = seg_network_scratch(&net);
    float *scratch = seg_alloc_aligned(n_scratch, sizeof *scratch);
    _Alignas(64) float all[3 * ROWS], one[3 * ROWS], x[N_IN * ROWS] = { 0 };
    seg_network_forward(&net, 0, net.n_layers, seg_tiles_at(&t.x, 0), all, scratch);
    for (uint32_t c = 0; c < N_IN; c++)
        x[c * ROWS] = *seg_tiles_cell(&t.x, 5, c);
    seg_network_forward_few(&net, 0, net.n_layers, 1, x, one, scratch);
    for (size_t j = 0; j < 3; j++)
        assert_memory_equal(&one[j * ROWS], &all[j * ROWS + 5], sizeof(float));
    seg_free(scratch);
    seg_network_release(&net);
    task_release(&t);
}

/* Loads what saving net gives; with params of net that do not fit together as well. */
static enum seg_status load_again(const struct seg_network *net, struct seg_network *ret_net,
                                  struct seg_error *err)
{
    struct seg_tensors ts;
    seg_tensors_init(&ts);
    assert_int_equal(seg_network_save(net, "net", &ts), SEG_OK);
    enum seg_status st = seg_network_load(&ts, "net", ret_net, err);
    seg_tensors_release(&ts);
    return st;
}

static void a_loaded_network_is_the_one_that_was_saved(void **state)
{
    (void)state;
    struct task t = make_task(200);
    struct seg_train_params p = embedded();
    struct seg_network net = trained(NULL, &t, &p, NULL), loaded;
    assert_int_equal(load_again(&net, &loaded, NULL), SEG_OK);
    assert_same_network(&net, &loaded);
    assert_int_equal(loaded.n_in, N_IN);
    seg_network_release(&loaded);
    seg_network_release(&net);
    task_release(&t);
}

static void damaged_tables_are_refused(void **state)
{
    (void)state;
    static const struct seg_embedding_shape BAD[][2] = {
        { { 1, 5, 3 }, { 1, 40, 4 } },    /* a column twice */
        { { 3, 5, 3 }, { 1, 40, 4 } },    /* descending */
        { { 1, 5, 3 }, { 4, 40, 4 } },    /* beyond the columns */
        { { 1, 5, 0 }, { 3, 40, 4 } },    /* no numbers */
        { { 1, 1, 3 }, { 3, 40, 4 } },    /* no code but the last */
        { { 1, 5, 3 }, { 3, 41, 4 } },    /* larger than what is stored */
        { { 1, 5, 3 }, { 3, 70000, 4 } }, /* beyond the limit */
        { { 1, 5, 3 }, { 3, 40, 300 } },
    };
    struct task t = make_task(100);
    struct seg_train_params p = embedded();
    struct seg_network net = trained(NULL, &t, &p, NULL), loaded;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct seg_error err = { "" };
        struct seg_embedding_shape good[2] = { net.embeddings.shapes[0], net.embeddings.shapes[1] };
        memcpy(net.embeddings.shapes, BAD[i], sizeof BAD[i]);
        assert_int_equal(load_again(&net, &loaded, &err), SEG_EFORMAT);
        assert_true(err.text[0] != '\0');
        memcpy(net.embeddings.shapes, good, sizeof good);
    }
    net.embeddings.params[7] = INFINITY;
    assert_int_equal(load_again(&net, &loaded, NULL), SEG_EFORMAT);
    seg_network_release(&net);
    task_release(&t);
}

static void shapes_that_do_not_suit_the_rows_are_refused(void **state)
{
    (void)state;
    static const struct seg_embedding_shape BAD[][2] = { { { 1, 5, 3 }, { 4, 40, 4 } },
                                                         { { 3, 5, 3 }, { 1, 40, 4 } },
                                                         { { 1, 1, 3 }, { 3, 40, 4 } },
                                                         { { 1, 5, 257 }, { 3, 40, 4 } } };
    struct task t = make_task(100);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct seg_train_params p = embedded();
        struct seg_network net;
        struct seg_curve curve;
        struct seg_error err = { "" };
        p.embeddings = BAD[i];
        assert_int_equal(
            seg_classifier_fit(NULL, &t.x, t.y, NULL, NULL, 3, &p, NULL, &net, &curve, &err),
            SEG_EINVAL);
        assert_non_null(strstr(err.text, "embedding"));
    }
    task_release(&t);
}

static void training_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct task t = make_task(100);
    struct seg_train_params p = embedded();
    enum seg_status st = SEG_ENOMEM;
    p.patience = 1;
    for (uint64_t n = 1; st == SEG_ENOMEM; n++) {
        struct seg_network net;
        struct seg_curve curve;
        seg_alloc_fail_at(n);
        st = seg_classifier_fit(NULL, &t.x, t.y, &t.x, t.y, 3, &p, NULL, &net, &curve, NULL);
        seg_alloc_fail_at(0);
        if (st != SEG_OK) continue;
        assert_true(n > 20);
        seg_network_release(&net);
        seg_curve_release(&curve);
    }
    assert_int_equal(st, SEG_OK);
    task_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_become_their_vectors_and_numbers_pass),
        cmocka_unit_test(what_is_no_code_reads_the_last_vector_and_nothing_beyond),
        cmocka_unit_test(a_vector_is_as_long_as_a_standardized_number),
        cmocka_unit_test(a_size_left_open_grows_with_the_codes_up_to_a_limit),
        cmocka_unit_test(gradients_of_vectors_are_those_of_the_twin),
        cmocka_unit_test(classes_that_stand_in_the_codes_are_learned),
        cmocka_unit_test(training_gives_the_same_bits_at_any_worker_count),
        cmocka_unit_test(a_code_that_no_row_has_does_not_move_and_the_last_becomes_the_mean),
        cmocka_unit_test(clipping_counts_the_vectors_too),
        cmocka_unit_test(scores_do_not_depend_on_neighbours),
        cmocka_unit_test(a_loaded_network_is_the_one_that_was_saved),
        cmocka_unit_test(damaged_tables_are_refused),
        cmocka_unit_test(shapes_that_do_not_suit_the_rows_are_refused),
        cmocka_unit_test(training_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
