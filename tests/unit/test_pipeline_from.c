/* test_pipeline_from.c - a model that goes on from an earlier one. */
#include "blobs.h"
#include "model/model_private.h"

static const enum seg_algorithm RESUMES[] = { SEG_KMEANS, SEG_MINIBATCH_KMEANS, SEG_GMM,
                                              SEG_AUTOENCODER_KMEANS, SEG_DEEP_CLUSTERING };
#define N_RESUMES (sizeof RESUMES / sizeof RESUMES[0])

/* Trains anew from `from` (NULL: from nothing) on 150 users. */
static struct seg_model *train_from(const struct seg_model *from, enum seg_algorithm algorithm,
                                    struct seg_pool *pool, struct seg_report *ret_report)
{
    struct blobs b;
    blobs_init(&b, algorithm, false, 150, 1.0);
    b.training.from = from;
    struct seg_model *m = blobs_train(&b, pool, ret_report);
    blobs_release(&b);
    return m;
}

/* An earlier model whose segments have ids that no order would give. */
static struct seg_model *earlier_model(enum seg_algorithm algorithm)
{
    struct seg_model *m = blobs_model(algorithm, false);
    for (uint32_t i = 0; m->segment_ids != NULL && i < m->n_results; i++)
        m->segment_ids[i] = 40 - i;
    return m;
}

static void segments_keep_their_ids_and_preprocessing(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_RESUMES; i++) {
        struct seg_report report = { 0 };
        struct seg_model *from = earlier_model(RESUMES[i]);
        struct seg_model *m = train_from(from, RESUMES[i], NULL, &report);
        assert_int_equal(m->n_results, from->n_results);
        for (uint32_t row = 0; row < m->n_results; row++) {
            double best = INFINITY;
            uint32_t nearest = 0;
            for (uint32_t other = 0; other < m->n_results; other++) {
                double d2 = 0.0;
                for (uint32_t c = 0; c < m->n_space; c++)
                    d2 += pow((double)(seg_matrix_row(&m->centroids, row)[c] -
                                       seg_matrix_row(&from->centroids, other)[c]),
                              2.0);
                if (d2 < best) nearest = other;
                if (d2 < best) best = d2;
            }
            assert_int_equal(m->segment_ids[row], from->segment_ids[nearest]);
        }
        seg_report_release(&report);
        seg_model_unref(m);
        seg_model_unref(from);
    }
}

static void kmeans_at_rest_takes_two_iterations_and_gives_the_same_centroids(void **state)
{
    (void)state;
    struct seg_report report = { 0 };
    struct seg_model *from = earlier_model(SEG_KMEANS);
    struct seg_model *m = train_from(from, SEG_KMEANS, NULL, &report);
    assert_true(report.n_iter <= 2);
    assert_true(report.converged);
    assert_memory_equal(m->centroids.data, from->centroids.data,
                        m->centroids.n_rows * m->centroids.n_cols * sizeof(float));
    seg_report_release(&report);
    seg_model_unref(m);
    seg_model_unref(from);
}

static void mixture_begins_at_the_likelihood_where_the_earlier_one_ended(void **state)
{
    (void)state;
    struct seg_report first = { 0 }, second = { 0 };
    struct seg_model *from = train_from(NULL, SEG_GMM, NULL, &first);
    struct seg_model *m = train_from(from, SEG_GMM, NULL, &second);
    assert_true(fabs(second.likelihood_curve[0] - first.log_likelihood) < 1e-4);
    assert_true(second.log_likelihood >= first.log_likelihood - 1e-4);
    seg_report_release(&first);
    seg_report_release(&second);
    seg_model_unref(m);
    seg_model_unref(from);
}

static void classifier_begins_at_the_loss_where_the_earlier_one_ended(void **state)
{
    (void)state;
    struct seg_report first = { 0 }, second = { 0 };
    struct seg_model *from = train_from(NULL, SEG_MLP, NULL, &first);
    struct seg_model *m = train_from(from, SEG_MLP, NULL, &second);
    double ended = first.network_curve.train_loss[first.network_curve.n_epochs - 1];
    assert_true(second.network_curve.train_loss[0] < 1.2 * ended + 0.01);
    assert_true(second.network_curve.train_loss[0] < 0.5 * first.network_curve.train_loss[0]);
    seg_report_release(&first);
    seg_report_release(&second);
    seg_model_unref(m);
    seg_model_unref(from);
}

static void warm_starts_give_the_same_bytes_at_any_worker_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_RESUMES; i++) {
        struct seg_model *from = earlier_model(RESUMES[i]);
        uint8_t *first = NULL;
        size_t first_len = 0;
        for (unsigned n_workers = 1; n_workers <= 4; n_workers += n_workers) {
            struct seg_report report = { 0 };
            struct seg_pool *pool = NULL;
            assert_int_equal(seg_pool_new(n_workers, 1, &pool, NULL), SEG_OK);
            struct seg_model *m = train_from(from, RESUMES[i], pool, &report);
            blobs_same_bytes(m, &first, &first_len);
            seg_report_release(&report);
            seg_model_unref(m);
            seg_pool_free(pool);
        }
        seg_free(first);
        seg_model_unref(from);
    }
}

static void refuse(struct blobs *b, const struct seg_model *from, const char *expected)
{
    struct seg_error err = { "" };
    struct seg_model *m = NULL;
    struct seg_report report = { 0 };
    b->training.from = from;
    assert_int_equal(seg_train(NULL, &b->training, &m, &report, &err), SEG_EINVAL);
    if (strstr(err.text, expected) == NULL) fail_msg("%s", err.text);
    assert_null(m);
}

static void models_of_another_shape_are_refused(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_model *from = earlier_model(SEG_AUTOENCODER_KMEANS);
    blobs_init(&b, SEG_KMEANS, false, 150, 1.0);
    refuse(&b, from, "the earlier model is a autoencoder_kmeans, not a kmeans");
    blobs_release(&b);
    blobs_init(&b, SEG_AUTOENCODER_KMEANS, false, 150, 1.0);
    b.spec.kmeans.k = 4;
    refuse(&b, from, "k is 4 but the earlier model has 3 segments");
    b.spec.kmeans.k = 3;
    b.spec.encoder[0] = 9;
    refuse(&b, from, "layers of other sizes");
    b.spec.encoder[0] = 8;
    b.spec.autoencoder.activation = SEG_RELU;
    refuse(&b, from, "layer 1 of the network to go on from differs");
    blobs_release(&b);
    seg_model_unref(from);

    from = earlier_model(SEG_GMM);
    blobs_init(&b, SEG_GMM, false, 150, 1.0);
    b.spec.gmm.covariance = SEG_COVARIANCE_DIAGONAL;
    refuse(&b, from, "another kind of covariance");
    blobs_release(&b);
    seg_model_unref(from);

    from = earlier_model(SEG_MLP);
    blobs_init(&b, SEG_MLP, false, 150, 1.0);
    b.spec.mlp.n_hidden = 0;
    refuse(&b, from, "has 2 layers instead of 1");
    blobs_release(&b);
    seg_model_unref(from);
}

static void an_encoder_alone_leaves_k_and_segments_free(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_error err = { "" };
    struct seg_model *from = earlier_model(SEG_AUTOENCODER_KMEANS), *m = NULL;
    struct seg_report report = { 0 };
    blobs_init(&b, SEG_KMEANS, false, 150, 1.0);
    b.training.encoder_only = true;
    refuse(&b, from, "kmeans has no encoder");
    blobs_release(&b);
    blobs_init(&b, SEG_AUTOENCODER_KMEANS, false, 150, 1.0);
    b.training.encoder_only = true;
    b.spec.encoder[0] = 9;
    refuse(&b, from, "layers of other sizes");
    b.spec.encoder[0] = 8;
    b.spec.kmeans.k = 2;
    b.training.from = from;
    if (seg_train(NULL, &b.training, &m, &report, &err) != SEG_OK) fail_msg("%s", err.text);
    assert_int_equal(seg_model_n_results(m), 2);
    assert_int_equal(seg_model_segment_id(m, 0), 1);
    assert_int_equal(seg_model_segment_id(m, 1), 2);
    seg_report_release(&report);
    seg_model_unref(m);
    seg_model_unref(from);
    blobs_release(&b);
}

static void a_classifier_begins_with_the_encoder_as_its_first_layers(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_error err = { "" };
    struct seg_model *from = earlier_model(SEG_AUTOENCODER_KMEANS), *m = NULL;
    struct seg_report report = { 0 };
    blobs_init(&b, SEG_MLP, false, 150, 1.0);
    b.training.encoder_only = true;
    b.spec.mlp.hidden[0] = 7;
    refuse(&b, from, "layers of other sizes");
    b.spec.mlp.n_hidden = from->n_encoder + 1;
    for (uint32_t i = 0; i < from->n_encoder; i++)
        b.spec.mlp.hidden[i] = (uint32_t)from->autoencoder.layers[i].weights.n_rows;
    b.spec.mlp.hidden[from->n_encoder] = 5;
    b.spec.mlp.activation = SEG_RELU;
    b.spec.mlp.normalization = SEG_NORMALIZE_LAYER; /* of what follows the encoder */
    b.spec.mlp.epochs = 1;
    b.spec.mlp.learning_rate = 1e-9; /* weights stay where they begin */
    b.spec.search_trials = 2;
    b.spec.validation = 0.2; /* which a search needs */
    refuse(&b, from, "a search draws layers");
    b.spec.search_trials = 0;
    b.spec.validation = 0.0;
    b.training.from = from;
    if (seg_train(NULL, &b.training, &m, &report, &err) != SEG_OK) fail_msg("%s", err.text);
    assert_int_equal(m->network.n_layers, from->n_encoder + 2);
    for (uint32_t i = 0; i < from->n_encoder; i++) {
        const struct seg_layer *a = &m->network.layers[i], *e = &from->autoencoder.layers[i];
        assert_int_equal(a->activation, e->activation);
        for (size_t w = 0; w < e->weights.n_rows * e->weights.n_cols; w++)
            assert_true(fabsf(a->weights.data[w] - e->weights.data[w]) < 1e-6f);
    }
    assert_int_equal(m->network.layers[from->n_encoder].activation, SEG_RELU);
    assert_int_equal(m->network.layers[from->n_encoder].normalization, SEG_NORMALIZE_LAYER);
    seg_report_release(&report);
    blobs_release(&b);

    /* and a warm start goes on from that network, linear code and all */
    struct seg_model *next = NULL;
    blobs_init(&b, SEG_MLP, false, 150, 1.0);
    memcpy(b.spec.mlp.hidden, (uint32_t[]){ 8, 2, 5 }, 3 * sizeof(uint32_t));
    b.spec.mlp.n_hidden = 3;
    b.spec.mlp.normalization = SEG_NORMALIZE_LAYER;
    b.training.from = m;
    if (seg_train(NULL, &b.training, &next, &report, &err) != SEG_OK) fail_msg("%s", err.text);
    assert_int_equal(next->network.layers[1].activation, SEG_LINEAR);
    seg_report_release(&report);
    blobs_release(&b);
    seg_model_unref(next);
    seg_model_unref(m);
    seg_model_unref(from);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_RESUMES; i++) {
        struct seg_model *from = earlier_model(RESUMES[i]);
        enum seg_status st = SEG_ENOMEM;
        uint64_t n = 0;
        while (st == SEG_ENOMEM) {
            struct blobs b;
            struct seg_model *m = NULL;
            struct seg_report report = { 0 };
            blobs_init(&b, RESUMES[i], false, 70, 1.0);
            b.spec.autoencoder.epochs = 1;
            b.training.from = from;
            seg_alloc_fail_at(n += 7);
            st = seg_train(NULL, &b.training, &m, &report, NULL);
            seg_alloc_fail_at(0);
            seg_report_release(&report);
            seg_model_unref(m);
            blobs_release(&b);
        }
        assert_int_equal(st, SEG_OK);
        assert_true(n > 50);
        seg_model_unref(from);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_keep_their_ids_and_preprocessing),
        cmocka_unit_test(kmeans_at_rest_takes_two_iterations_and_gives_the_same_centroids),
        cmocka_unit_test(mixture_begins_at_the_likelihood_where_the_earlier_one_ended),
        cmocka_unit_test(classifier_begins_at_the_loss_where_the_earlier_one_ended),
        cmocka_unit_test(warm_starts_give_the_same_bytes_at_any_worker_count),
        cmocka_unit_test(models_of_another_shape_are_refused),
        cmocka_unit_test(an_encoder_alone_leaves_k_and_segments_free),
        cmocka_unit_test(a_classifier_begins_with_the_encoder_as_its_first_layers),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
