/* test_pipeline.c - what model/pipeline.h promises: from a raw table to a model and its figures. */
#include "compute/gemm.h"
#include "blobs.h"

/* What a run said while it worked, and when to stop it. */
struct listener {
    atomic_bool cancel;
    size_t n_reports, cancel_at; /* 0 = never */
    double last;
    bool fell;
    char phases[64]; /* first letters of the phases in order, without repetition */
};

static void listen(void *ctx, double fraction, const char *message)
{
    struct listener *l = ctx;
    if (fraction < l->last || fraction > 1.0) l->fell = true;
    l->last = fraction;
    size_t n = strlen(l->phases);
    if ((n == 0 || l->phases[n - 1] != message[0]) && n + 1 < sizeof l->phases)
        l->phases[n] = message[0];
    if (++l->n_reports == l->cancel_at) atomic_store(&l->cancel, true);
}

static void listener_attach(struct listener *l, struct seg_training *t)
{
    t->progress = (struct seg_progress){ .cancel = &l->cancel, .report = listen, .ctx = l };
}

static bool has_warning(const struct seg_report *r, const char *part)
{
    for (size_t i = 0; i < r->n_warnings; i++)
        if (strstr(r->warnings[i], part) != NULL) return true;
    return false;
}

/* Results of every row of b's groups, as the model scores a fresh copy of the table. */
static void score_all(const struct seg_model *m, const struct seg_table *t, uint32_t *result,
                      double *ret_distance2)
{
    struct seg_scores scores = { .probabilities = NULL };
    float *scratch = seg_alloc_aligned(seg_model_scratch(m), sizeof(float));
    assert_non_null(scratch);
    *ret_distance2 = 0;
    for (size_t i = 0; i < seg_tiles_count(&t->cells); i++) {
        unsigned n = seg_tiles_rows(&t->cells, i);
        seg_model_score_tile(m, seg_tiles_at(&t->cells, i), n, scratch, &scores);
        for (unsigned r = 0; r < n; r++) {
            result[i * SEG_TILE_ROWS + r] = scores.result[r];
            *ret_distance2 += (double)scores.distance[r] * (double)scores.distance[r];
        }
    }
    seg_free(scratch);
}

static void the_textbook_case_finds_three_groups_and_a_head_learns_them(void **state)
{
    (void)state;
    struct blobs b, again;
    struct seg_report r = { 0 };
    uint32_t truth[300], result[300];
    double distance2;

    blobs_init(&b, SEG_KMEANS, true, 300, 1.0);
    struct seg_model *m = blobs_train(&b, NULL, &r);
    blobs_init(&again, SEG_KMEANS, true, 300, 1.0);
    score_all(m, &again.table, result, &distance2);
    for (size_t i = 0; i < 300; i++)
        truth[i] = (uint32_t)(i % N_BLOBS);

    assert_int_equal(seg_model_n_results(m), 3);
    assert_true(r.has_classification);
    assert_true(r.classification.accuracy >= 0.95);
    assert_true(seg_adjusted_rand(truth, 3, result, 3, 300) >= 0.95);
    assert_true(r.converged);
    assert_true(r.quality.silhouette > 0.5);
    assert_int_equal(r.network_curve.n_epochs, 30);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
    blobs_release(&again);
}

static void kmeans_alone_finds_the_groups_exactly_and_reports_their_inertia(void **state)
{
    (void)state;
    struct blobs b, again;
    struct seg_report r = { 0 };
    uint32_t truth[300], result[300];
    double distance2;

    blobs_init(&b, SEG_KMEANS, false, 300, 1.0);
    struct seg_model *m = blobs_train(&b, NULL, &r);
    blobs_init(&again, SEG_KMEANS, false, 300, 1.0);
    score_all(m, &again.table, result, &distance2);
    for (size_t i = 0; i < 300; i++)
        truth[i] = (uint32_t)(i % N_BLOBS);

    assert_true(seg_adjusted_rand(truth, 3, result, 3, 300) == 1.0);
    assert_true(fabs(r.inertia - distance2) <= 1e-4 * distance2);
    assert_true(fabs(r.quality.inertia - distance2) <= 1e-4 * distance2);
    assert_false(r.has_classification);
    assert_false(r.evaluated_on_test);
    assert_int_equal(r.n_rows[SEG_PART_TRAIN], 300);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(seg_model_segment_id(m, i), i + 1);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
    blobs_release(&again);
}

static void prototypes_count_categories_as_much_as_they_were_told(void **state)
{
    (void)state;
    static const double WEIGHTS[] = { 0, 1e6 };
    for (int i = 0; i < 3; i++) { /* the last time the weight is chosen */
        struct blobs b;
        struct seg_report r = { 0 };
        uint32_t n_app[3] = { 0 }, n_web[3] = { 0 }, result[300];
        double distance2;
        blobs_init(&b, SEG_K_PROTOTYPES, false, 300, 1.0);
        b.spec.prototypes.weight_auto = i == 2;
        b.spec.prototypes.weight = i < 2 ? WEIGHTS[i] : -1;
        for (size_t row = 0; row < 300; row++) /* nothing to do with the groups */
            seg_table_cell(&b.table, row, 2)->code = row / 3 % 2;
        struct seg_model *m = blobs_train(&b, NULL, &r);
        struct blobs again;
        blobs_init(&again, SEG_K_PROTOTYPES, false, 300, 1.0);
        for (size_t row = 0; row < 300; row++)
            seg_table_cell(&again.table, row, 2)->code = row / 3 % 2;
        score_all(m, &again.table, result, &distance2);
        for (size_t row = 0; row < 300; row++)
            (row / 3 % 2 == 0 ? n_app : n_web)[result[row]]++;
        for (int j = 0; j < 3; j++) /* a huge weight leaves no segment with both */
            assert_int_equal(n_app[j] == 0 || n_web[j] == 0, i == 1);
        assert_true(fabs(r.inertia - distance2) <= 1e-4 * distance2 + 1e-4);
        if (i == 2) /* numbers are standardised: every column varies by 1 */
            assert_true(fabs(seg_model_category_weight(m) - 2) <= 1e-4);
        else
            assert_true(seg_model_category_weight(m) == WEIGHTS[i]);
        assert_int_equal(seg_model_n_pictured(m), r.projection.axes.n_cols);
        char name[32];
        seg_model_pictured_name(m, 6, name, sizeof name);
        assert_string_equal(name, "channel=(other)");
        seg_report_release(&r);
        seg_model_unref(m);
        blobs_release(&b);
        blobs_release(&again);
    }
}

static void prototypes_choose_k_on_the_embedding(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_K_PROTOTYPES, false, 300, 0.5);
    b.spec.k_auto = true;
    b.spec.k_min = 2;
    b.spec.k_max = 6;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_int_equal(r.k_search.k, 3);
    assert_int_equal(seg_model_n_results(m), 3);
    assert_int_equal(r.k_search.n_rows_used, 300);
    assert_false(r.k_search.sampled);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
}

static void a_classifier_is_measured_on_the_test_part_that_it_never_saw(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };

    blobs_init(&b, SEG_MLP, false, 300, 1.0);
    b.spec.test = 0.2;
    b.spec.validation = 0.1;
    b.spec.mlp.patience = 5;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_true(r.evaluated_on_test);
    assert_int_equal(r.n_rows[SEG_PART_TRAIN], 210);
    assert_int_equal(r.n_rows[SEG_PART_VALIDATION], 30);
    assert_int_equal(r.n_rows[SEG_PART_TEST], 60);
    assert_int_equal(r.classification.n_rows, 60);
    for (uint32_t i = 0; i < 3; i++) /* stratified */
        assert_int_equal(r.classification.classes[i].support, 20);
    assert_true(r.classification.accuracy >= 0.95);
    assert_non_null(r.network_curve.validation_loss);
    assert_string_equal(seg_model_class_name(m, 1), "loyal");
    assert_int_equal(seg_model_n_results(m), 3);
    seg_report_release(&r);
    seg_model_unref(m);
    blobs_release(&b);
}

static void a_part_for_validation_and_test_serves_every_kind_of_model(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct blobs b;
        struct seg_report r = { 0 };
        blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 300, 1.0);
        b.spec.test = 0.2;
        b.spec.validation = 0.2;
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_true(r.evaluated_on_test);
        bool supervised = BLOB_KINDS[kind].has_head || seg_model_task(m) == SEG_CLASSIFICATION;
        assert_int_equal(r.has_classification, supervised);
        if (r.has_classification) {
            assert_int_equal(r.classification.n_rows, 60);
            assert_true(r.classification.accuracy >= 0.9);
        }
        if (seg_model_task(m) == SEG_SEGMENTATION) assert_int_equal(r.quality.silhouette_rows, 60);
        assert_int_equal(r.projection.n_points, 180);
        for (size_t i = 0; i < 180; i++)
            assert_true(r.projection_result[i] < seg_model_n_results(m));
        seg_report_release(&r);
        seg_model_unref(m);
        blobs_release(&b);
    }
}

static void every_algorithm_gives_the_same_bytes_at_any_number_of_workers(void **state)
{
    (void)state;
    static const unsigned WORKERS[] = { 1, 2, 4 };
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        uint8_t *first = NULL;
        size_t first_len = 0;
        for (size_t w = 0; w < 3; w++) {
            struct blobs b;
            struct seg_report r = { 0 };
            struct seg_pool *pool = NULL;
            uint8_t *bytes = NULL;
            size_t len = 0;
            assert_int_equal(seg_pool_new(WORKERS[w], 4, &pool, NULL), SEG_OK);
            /* more than one chunk of rows, so that the order of chunks could matter */
            blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 9001, 3.0);
            b.spec.test = 0.1;
            b.spec.validation = 0.1;
            b.spec.mlp.epochs = 2;
            b.spec.mlp.dropout = 0.1;
            b.spec.autoencoder.epochs = 2;
            struct seg_model *m = blobs_train(&b, pool, &r);
            assert_int_equal(seg_model_save(m, NULL, &bytes, &len), SEG_OK);
            if (first == NULL) {
                first = bytes;
                first_len = len;
            } else {
                assert_int_equal(len, first_len);
                assert_memory_equal(bytes, first, len);
                seg_free(bytes);
            }
            seg_model_unref(m);
            seg_report_release(&r);
            blobs_release(&b);
            seg_pool_free(pool);
        }
        seg_free(first);
    }
}

static void training_frees_the_cells_of_its_table(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_KMEANS, false, 5000, 1.0);
    assert_int_equal(b.table.cells.n_chunks, 2);
    struct seg_model *m = blobs_train(&b, NULL, &r);
    for (size_t i = 0; i < b.table.cells.n_chunks; i++)
        assert_null(b.table.cells.chunks[i]);
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

static void identical_rows_give_one_segment_and_a_warning(void **state)
{
    (void)state;
    for (int has_head = 0; has_head < 2; has_head++) {
        struct blobs b;
        struct seg_report r = { 0 };
        blobs_init(&b, SEG_KMEANS, has_head, 60, 0.0);
        for (size_t row = 0; row < 60; row++)
            for (uint32_t c = 0; c < BLOB_CELLS; c++)
                *seg_table_cell(&b.table, row, c) = *seg_table_cell(&b.table, 0, c);
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_int_equal(seg_model_n_results(m), 1);
        assert_true(r.inertia == 0.0);
        assert_true(has_warning(&r, "1 distinct row for k = 3: 2 segments are empty"));
        assert_true(has_warning(&r, "4 of 4 features are the same for all users"));
        assert_true(has_warning(&r, "a, b, channel, taste"));
        assert_int_equal(has_warning(&r, "no head was trained"), has_head);
        assert_false(seg_model_has_probabilities(m));
        seg_model_unref(m);
        seg_report_release(&r);
        blobs_release(&b);
    }
}

static void a_constant_column_is_named_and_harms_nothing(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_KMEANS, true, 90, 1.0);
    for (size_t row = 0; row < 90; row++)
        seg_table_cell(&b.table, row, 1)->number = 1e6f;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_int_equal(r.n_warnings, 1);
    assert_string_equal(r.warnings[0],
                        "1 of 4 features are the same for all users and have no effect: b");
    assert_true(isfinite(r.inertia) && r.inertia > 0);
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

static void k_may_equal_the_number_of_users_even_one(void **state)
{
    (void)state;
    static const uint32_t N[] = { 1, 2, 7 };
    for (size_t i = 0; i < 3; i++) {
        struct blobs b;
        struct seg_report r = { 0 };
        blobs_init(&b, SEG_KMEANS, true, N[i], 1.0);
        b.spec.kmeans.k = N[i];
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_int_equal(seg_model_n_results(m), N[i]);
        assert_true(r.inertia == 0.0);
        assert_int_equal(r.projection.n_points, N[i]);
        seg_model_unref(m);
        seg_report_release(&r);
        blobs_release(&b);
    }
}

static void a_class_with_one_user_trains_and_is_named(void **state)
{
    (void)state;
    struct blobs b;
    struct seg_report r = { 0 };
    blobs_init(&b, SEG_MLP, false, 90, 1.0);
    for (size_t row = 1; row < 90; row++)
        b.y[row] = (uint16_t)(row % 2); /* class 2: only row 0 */
    b.y[0] = 2;
    b.spec.test = 0.2;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_true(has_warning(&r, "1 of 3 classes have too few users for the test part: lapsed"));
    assert_int_equal(seg_model_n_results(m), 3);
    assert_int_equal(r.classification.classes[2].support, 0);
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

/* One fault of a spec or of the data, and the sentence it must bring. */
struct fault {
    enum seg_algorithm algorithm;
    size_t n_rows;
    void (*make)(struct blobs *b);
    const char *sentence;
};

static void make_k_5(struct blobs *b)
{
    b->spec.kmeans.k = 5;
}
static void make_big_split(struct blobs *b)
{
    b->spec.kmeans.k = 6;
    b->spec.test = 0.5;
}
static void make_shares_of_one(struct blobs *b)
{
    b->spec.test = 0.5;
    b->spec.validation = 0.5;
}
static void make_nan_share(struct blobs *b)
{
    b->spec.min_features_share = NAN;
}
static void make_one_class(struct blobs *b)
{
    memset(b->y, 0, 9 * sizeof *b->y);
}
static void make_unknown_class(struct blobs *b)
{
    b->y[4] = 3;
}
static void make_no_target(struct blobs *b)
{
    b->training.y = NULL;
}
static void make_other_task(struct blobs *b)
{
    b->spec.task = SEG_CLASSIFICATION;
}
static void make_short_spec(struct blobs *b)
{
    b->spec.n_columns = 3;
}
static void make_no_encoder(struct blobs *b)
{
    b->spec.n_encoder = 0;
}
static void make_wide_encoder(struct blobs *b)
{
    b->spec.encoder[1] = SEG_UNITS_MAX + 1;
}
static void make_bad_head(struct blobs *b)
{
    b->spec.has_head = true;
    b->spec.mlp.learning_rate = 0;
}
static void make_bad_autoencoder(struct blobs *b)
{
    b->spec.autoencoder.epochs = 0;
}
static void make_enormous(struct blobs *b)
{
    for (uint32_t f = 0; f < BLOB_FEATURES; f++)
        b->spec.columns[f].scale = SEG_SCALE_NONE;
    for (size_t row = 0; row < 9; row++)
        seg_table_cell(&b->table, row, 0)->number = 1e30f;
}

static void make_one_hot(struct blobs *b)
{
    b->spec.columns[2].encode = SEG_ENCODE_ONE_HOT;
}
static void make_code(struct blobs *b)
{
    b->spec.columns[2].encode = SEG_ENCODE_CODE;
}
static void make_bad_weight(struct blobs *b)
{
    b->spec.prototypes.weight_auto = false;
    b->spec.prototypes.weight = -1;
}

static const struct fault FAULTS[] = {
    { SEG_KMEANS, 3, make_k_5, "k is 5 but the feature set has only 3 users" },
    { SEG_KMEANS, 1, make_k_5, "k is 5 but the feature set has only 1 user" },
    { SEG_KMEANS, 0, make_k_5, "the feature set has no users" },
    { SEG_KMEANS, 9, make_big_split, "k is 6 but the split leaves only" },
    { SEG_KMEANS, 9, make_shares_of_one, "split leaves nothing to train on" },
    { SEG_KMEANS, 9, make_nan_share, "min_features_share is nan (limit 0..1)" },
    { SEG_KMEANS, 9, make_other_task, "algorithm kmeans does not do that task" },
    { SEG_KMEANS, 9, make_short_spec, "the spec describes 3 features but the data has 4" },
    { SEG_KMEANS, 9, make_bad_head, "head: learning_rate" },
    { SEG_KMEANS, 9, make_enormous, "scale features" },
    { SEG_KMEANS, 9, make_code, "feature channel: kmeans cannot have its categories encoded as" },
    { SEG_K_PROTOTYPES, 9, make_one_hot, "feature channel: k_prototypes wants its categories" },
    { SEG_K_PROTOTYPES, 9, make_bad_weight, "the weight of categories must be" },
    { SEG_MLP, 9, make_one_class, "the target has only one class: \"new\"" },
    { SEG_MLP, 9, make_unknown_class, "row 4 has class 3 of only 3" },
    { SEG_MLP, 9, make_no_target, "classification needs a target" },
    { SEG_AUTOENCODER_KMEANS, 9, make_no_encoder, "encoder has 0 layers (limit 1..8)" },
    { SEG_AUTOENCODER_KMEANS, 9, make_wide_encoder, "encoder layer 2 has 4097 units" },
    { SEG_AUTOENCODER_KMEANS, 9, make_bad_autoencoder, "autoencoder: epochs" },
};

static void what_cannot_be_trained_is_refused_with_a_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
        struct blobs b;
        struct seg_error err = { "" };
        struct seg_model *m = NULL;
        struct seg_report r = { 0 };
        blobs_init(&b, FAULTS[i].algorithm, false, FAULTS[i].n_rows, 1.0);
        FAULTS[i].make(&b);
        assert_int_equal(seg_train(NULL, &b.training, &m, &r, &err), SEG_EINVAL);
        if (strstr(err.text, FAULTS[i].sentence) == NULL)
            fail_msg("\"%s\" instead of \"%s\"", err.text, FAULTS[i].sentence);
        assert_null(m);
        assert_null(r.warnings);
        blobs_release(&b);
    }
}

static void progress_never_falls_and_names_the_phases_in_order(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        struct blobs b;
        struct seg_report r = { 0 };
        struct listener l = { .last = 0 };
        blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 150, 1.0);
        listener_attach(&l, &b.training);
        struct seg_model *m = blobs_train(&b, NULL, &r);
        assert_false(l.fell);
        assert_true(l.last == 1.0);
        assert_string_equal(l.phases, "pte");
        seg_model_unref(m);
        seg_report_release(&r);
        blobs_release(&b);
    }
}

static void a_run_ends_wherever_it_is_canceled(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        size_t n_canceled = 0;
        for (size_t at = 1;; at++) {
            struct blobs b;
            struct seg_report r = { 0 };
            struct seg_model *m = NULL;
            struct listener l = { .cancel_at = at };
            blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 90, 1.0);
            b.spec.test = 0.2;
            b.spec.mlp.epochs = b.spec.autoencoder.epochs = 3;
            listener_attach(&l, &b.training);
            enum seg_status st = seg_train(NULL, &b.training, &m, &r, NULL);
            blobs_release(&b);
            if (st == SEG_OK) {
                assert_true(l.n_reports <= at); /* only the very last word may come too late */
                seg_model_unref(m);
                seg_report_release(&r);
                break;
            }
            assert_int_equal(st, SEG_ECANCELED);
            assert_null(m);
            n_canceled++;
        }
        assert_true(n_canceled >= 4);
    }
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < N_BLOB_KINDS; kind++) {
        enum seg_status st = SEG_ENOMEM;
        for (uint64_t nth = 1; st != SEG_OK; nth++) {
            struct blobs b;
            struct seg_report r = { 0 };
            struct seg_model *m = NULL;
            blobs_init(&b, BLOB_KINDS[kind].algorithm, BLOB_KINDS[kind].has_head, 12, 1.0);
            b.spec.test = b.spec.validation = 0.2;
            b.spec.mlp.epochs = b.spec.autoencoder.epochs = 1;
            seg_alloc_fail_at(nth);
            st = seg_train(NULL, &b.training, &m, &r, NULL);
            seg_alloc_fail_at(0);
            blobs_release(&b);
            if (st == SEG_OK) {
                assert_true(nth > 50); /* the loop met real allocations */
                seg_model_unref(m);
                seg_report_release(&r);
            } else {
                assert_int_equal(st, SEG_ENOMEM);
                assert_null(m);
            }
        }
    }
}

static void figures_of_very_many_probabilities_are_of_spaced_rows_and_say_so(void **state)
{
    (void)state;
    enum { N = 16400, CLASSES = 1024 }; /* 16,384 rows of 1,024 probabilities are the limit */
    struct blobs b;
    struct seg_report r = { 0 };
    static char names[CLASSES][8];
    static const char *pointers[CLASSES];

    blobs_init(&b, SEG_MLP, false, N, 1.0);
    for (size_t i = 0; i < CLASSES; i++) {
        snprintf(names[i], sizeof names[i], "c%zu", i);
        pointers[i] = names[i];
    }
    for (size_t i = 0; i < N; i++)
        b.y[i] = (uint16_t)(i % CLASSES);
    b.training.class_names = pointers;
    b.training.n_classes = CLASSES;
    b.spec.mlp.n_hidden = 0;
    b.spec.mlp.epochs = 1;
    b.spec.mlp.batch_size = 4096;
    struct seg_model *m = blobs_train(&b, NULL, &r);
    assert_int_equal(r.classification.n_rows, 16384);
    assert_true(has_warning(&r, "classification figures are of 16384 of 16400 users"));
    seg_model_unref(m);
    seg_report_release(&r);
    blobs_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_textbook_case_finds_three_groups_and_a_head_learns_them),
        cmocka_unit_test(kmeans_alone_finds_the_groups_exactly_and_reports_their_inertia),
        cmocka_unit_test(prototypes_count_categories_as_much_as_they_were_told),
        cmocka_unit_test(prototypes_choose_k_on_the_embedding),
        cmocka_unit_test(a_classifier_is_measured_on_the_test_part_that_it_never_saw),
        cmocka_unit_test(a_part_for_validation_and_test_serves_every_kind_of_model),
        cmocka_unit_test(every_algorithm_gives_the_same_bytes_at_any_number_of_workers),
        cmocka_unit_test(training_frees_the_cells_of_its_table),
        cmocka_unit_test(identical_rows_give_one_segment_and_a_warning),
        cmocka_unit_test(a_constant_column_is_named_and_harms_nothing),
        cmocka_unit_test(k_may_equal_the_number_of_users_even_one),
        cmocka_unit_test(a_class_with_one_user_trains_and_is_named),
        cmocka_unit_test(what_cannot_be_trained_is_refused_with_a_sentence),
        cmocka_unit_test(progress_never_falls_and_names_the_phases_in_order),
        cmocka_unit_test(a_run_ends_wherever_it_is_canceled),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(figures_of_very_many_probabilities_are_of_spaced_rows_and_say_so),
    };
    if (seg_gemm_init(NULL) != SEG_OK) return 1; /* one BLAS thread, as in the service */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
